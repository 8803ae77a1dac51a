"""What each table and figure of the paper is made from: which nets, on which subset, on which folds.

A training that several of them need is one training: the five-agree CaffeNet is in Tables 2 to 5 and in Figure 6.
"""

from dataclasses import dataclass, replace

from sentiment import paper
from sentiment.analysis import layer_analysis
from sentiment.evaluation import results
from sentiment.networks import architectures
from sentiment.training.plans import Plan
from sentiment.training.solvers import DEFAULT_SEED

FIVE = "five_agrees"
SECONDS_EXTRACTING, SECONDS_MAPPING = 450, 120  # Table 3's and Figure 7's nets of full width, on two CPU cores
PASSES_TESTING = 4  # an image's ten crops forward take about as long as so many images' training iteration


@dataclass(frozen=True)
class Training:
    """A net fine-tuned and tested on some folds.

    Attributes
    ----------
    subset, arch, init : str
    folds : tuple of int
    usual_rate : bool
        At the base rate of the other nets, where this architecture has its own; a variant of its own.
    """

    subset: str
    arch: str
    init: str
    folds: tuple = paper.FOLDS
    usual_rate: bool = False


CAFFENET = Training(FIVE, "finetune", "caffenet")

PARTS = {
    "table1": (),
    "table2": tuple(replace(CAFFENET, subset=subset) for subset in paper.SUBSETS),
    "table3": (CAFFENET,),
    # The paper says of fc6-2 that it does not converge at the usual rate; one fold shows whether that is so.
    "table4": (
        CAFFENET,
        *(replace(CAFFENET, arch=arch) for arch in paper.TABLE4),
        replace(CAFFENET, arch="fc6-2", folds=(1,), usual_rate=True),
    ),
    "table5": tuple(replace(CAFFENET, init=init) for init in paper.TABLE5),
    "table6": tuple(
        replace(CAFFENET, arch=arch, init=init) for arch in architectures.ON_LAST_LAYER for init in paper.TABLE6
    ),
    "figure2": (),
    "figure4": (),
    "figure5": (),
    "figure6": tuple(replace(CAFFENET, init=init, folds=(1,)) for init in paper.INITIALISATIONS),
    "figure7": (replace(CAFFENET, init="mvso_en"),),
}
"""Part of the paper -> its trainings."""
OF_ONE_NET = ("table2", "table3", "figure7")
"""Parts that another architecture or initialisation can be the subject of."""


def trainings(parts, arch=None, init=None):
    """The trainings of some parts in the paper's order, each once and on all the folds that any part wants.

    Parameters
    ----------
    parts : iterable of str
    arch, init : str, optional
        The subject of the parts ``OF_ONE_NET``, instead of the paper's.

    Returns
    -------
    list of Training
    """
    found = {}
    for part in parts:
        for training in PARTS.get(part, ()):
            if part in OF_ONE_NET:
                training = subject(training, arch, init)
            key = replace(training, folds=())
            found[key] = tuple(sorted({*found.get(key, ()), *training.folds}))
    return [replace(key, folds=folds) for key, folds in found.items()]


def subject(training, arch=None, init=None):
    """A training with another architecture or initialisation, where one is given."""
    return replace(training, arch=arch or training.arch, init=init or training.init)


def plans(training, data, source, splits, runs, seed=DEFAULT_SEED, given=None):
    """A `Plan` a fold of a training.

    Parameters
    ----------
    training : Training
    data : dataset.Dataset
    source : cards.Source
    splits, runs : Path
    seed : int
    given : dict, optional
        Values of the schedule from the command line.

    Returns
    -------
    list of Plan
    """
    given, word = dict(given or {}), ""
    if training.usual_rate:
        rate = data.setting("base_lr", training.subset, paper.BASE_LR)
        given["base_lr"], word = rate, f"lr{rate:g}"
    where = splits, runs, seed, given, word
    return [Plan(data, source, training.arch, training.subset, fold, *where) for fold in training.folds]


def is_tested(plan):
    """Whether a plan's result is there; its weights need not be, for a 240 MB file is not read to tell.

    Raises
    ------
    UserError
        The run's folder holds a run made from something else.
    """
    if not (plan.run.result.is_file() and plan.run.predictions.is_file() and plan.run.is_of(plan.configuration)):
        return False
    results.read(plan.run.result)
    return True


def seconds(plan):
    """About how many seconds a plan's training and testing take on two CPU cores."""
    return plan.estimate() + plan.seconds_an_image * PASSES_TESTING * len(plan.lists.test)


def seconds_more(parts, divisor=1):
    """About how many seconds each part takes that needs more than trained nets, on two CPU cores."""
    if "table3" in parts:
        layers = len(paper.TABLE3) * len(paper.FOLDS)
        yield SECONDS_EXTRACTING / divisor + layer_analysis.seconds(layers, jobs=2)
    if "figure7" in parts:
        yield SECONDS_MAPPING / divisor
