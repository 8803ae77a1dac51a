"""The trainings of experiments: which are possible, which are done, how long the others take, their commands."""

import importlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment import paper
from sentiment.analysis import layer_analysis, layer_summary
from sentiment.data.dataset import Dataset
from sentiment.evaluation import results
from sentiment.experiments.paper_parts import Experiment
from sentiment.networks import architectures
from sentiment.sources import cards
from sentiment.training.plans import Plan, settings
from sentiment.training.runs import Run, variant_name
from sentiment.training.solvers import DEFAULT_SEED
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import PROJECT
from sentiment.utils.progress import duration

SECONDS_EXTRACTING, SECONDS_MAPPING = 450, 120  # Table 3's and Figure 7's nets of full width, on two CPU cores
PASSES_TESTING = 4  # testing an image (ten crops forward) takes as long as training four images for an iteration


@dataclass(frozen=True)
class Options:
    """What is the same for all trainings of a call, the last four as tools/train.py takes them."""

    data: Dataset
    splits: Path  # folder of all fold lists
    runs: Path  # folder of all runs
    seeds: Sequence[int]  # of experiments on all folds; those on some folds use the first
    batch_size: int | None
    iterations: int | None
    mean: str | None
    set: Sequence[str]

    def of(self, experiment: Experiment) -> "Options":
        """The options for an experiment: a net that is fitted has no schedule, and nothing in it is random."""
        if not architectures.ARCHITECTURES[experiment.arch].fitted:
            return self
        return replace(self, seeds=[DEFAULT_SEED], batch_size=None, iterations=None, set=())


@dataclass(frozen=True)
class Repeat:
    """An experiment with one seed: a plan per fold."""

    experiment: Experiment
    plans: list[Plan]
    options: Options

    @property
    def untested(self) -> list[Plan]:
        """The plans that are still to be trained or tested; `UserError` if a folder holds another run.

        A result is enough: a 240 MB file of weights is not read to see whether it is complete.
        """
        return [plan for plan in self.plans if not _is_tested(plan)]

    @property
    def is_analysed(self) -> bool:
        """Whether the layer analysis is there, of the weights that were tested."""
        found = layer_analysis.written(self.plans[0].run.folder.parent / layer_summary.FILE)
        tested = {plan.run.fold: results.read(plan.run.result).weights for plan in self.plans}
        return found is not None and found.classifiers == layer_analysis.FITTED and found.weights == tested

    def commands(self, plans: list[Plan], gpu: int | None = None) -> list[list[str]]:
        """The commands that train and test some of its plans, each a list of a tool's name and its arguments."""
        options, first = self.options, plans[0]
        which = _words(
            data=options.data.folder,
            splits=options.splits,
            runs=options.runs,
            subset=self.experiment.subset,
            arch=self.experiment.arch,
            init=self.experiment.init,
            seed=first.seed if first.seed != DEFAULT_SEED else None,
            variant=first.variant or None,
            gpu=gpu,
            fold=[plan.run.fold for plan in plans],
        )
        given = _words(
            batch_size=options.batch_size,
            iterations=options.iterations,
            mean=options.mean,
            base_lr=first.schedule.base_lr if self.experiment.full_rate else None,
            set=options.set or None,
        )
        # A training that diverges is a result too, as that of fc6-2 at the full rate, and no reason to end the others.
        return [["train", *which, *given, "--keep-diverged"], ["evaluate", *which]]


def repeats(experiments: list[Experiment], options: Options) -> tuple[list[Repeat], list[str]]:
    """The trainings of experiments, as far as their labels and sources are there, and a sentence for what is missing.

    A `UserError` names a fold list that is missing or wrong, a value that cannot be trained with, or a folder that
    holds a run of another configuration.
    """
    data, sources = options.data, {}
    missing: dict[str | Experiment, str] = {}
    for name in dict.fromkeys(name for experiment in experiments for name in (experiment.subset, experiment.init)):
        try:
            if name in paper.SUBSETS:
                data.subset(name)
            else:
                sources[name] = cards.of_data_set(name, options.mean, data)
        except UserError as error:
            missing[name] = str(error)
    found = []
    for experiment in experiments:
        if missing.keys() & {experiment.subset, experiment.init}:
            continue
        own = options.of(experiment)
        seeds = own.seeds if experiment.folds == paper.FOLDS else own.seeds[:1]
        planned = [_repeat(experiment, sources[experiment.init], seed, own) for seed in seeds]
        untested = [plan for repeat in planned for plan in repeat.untested]
        try:
            for plan in untested:
                plan.check_source()
            found.extend(planned)
        except UserError as error:
            missing[experiment] = str(error)
    return found, list(dict.fromkeys(missing.values()))


def _repeat(experiment, source, seed, options):
    given, variant = settings(options.set, vars(options)), ""
    if experiment.full_rate:
        rate = options.data.setting("base_lr", experiment.subset, paper.BASE_LR)
        given, variant = {**given, "base_lr": rate}, f"lr{rate:g}"
    runs = options.runs.resolve()  # a task of a cluster runs in another folder
    net = runs, experiment.subset, experiment.arch, source.name
    of_folds = [Run(*net, fold, variant_name(variant, seed)) for fold in experiment.folds]
    plans = [Plan(run, options.data, source, options.splits, seed, variant, given) for run in of_folds]
    return Repeat(experiment, plans, options)


def _is_tested(plan):
    if not (plan.run.result.is_file() and plan.run.predictions.is_file() and plan.run.is_of(plan.configuration)):
        return False
    results.read(plan.run.result)  # refuses a damaged one
    return True


def work(plans: list[Plan], parts) -> str:
    """How much there is to do for some plans and the analyses of the parts, in words."""
    testing = sum(plan.seconds_an_image * PASSES_TESTING * len(plan.lists.test) for plan in plans)
    seconds = sum(plan.estimate() for plan in plans) + testing + seconds_analysing(parts, plans[0].divisor)
    weights = sum(4 * architectures.parameters(plan.run.arch, plan.divisor, plan.last) for plan in plans)
    return (
        f"{len(plans)} nets, in about {duration(seconds)} on two CPU cores; their weights take {weights / 1e6:,.0f} MB"
    )


def seconds_analysing(parts, divisor: int = 1) -> float:
    """About how many seconds the parts take that need more than trained nets, on two CPU cores."""
    total = 0.0
    if "table3" in parts:
        layers = len(paper.TABLE3) * len(paper.FOLDS)
        total += SECONDS_EXTRACTING / divisor + layer_analysis.seconds(layers, jobs=2)
    if "figure7" in parts:
        total += SECONDS_MAPPING / divisor
    return total


def _words(**options):
    """Options of a command line and their values, those that are not None."""
    words = []
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    return [str(word) for word in words]


def call(tool: str, *words: str, **options):
    """Run a command of tools/ in this process, printed as a user could call it; options that are None are left out."""
    words = (*words, *_words(**options))
    print(f"$ {python()} tools/{tool}.py {shlex.join(words)}", flush=True)
    tools = str(PROJECT / "tools")
    if tools not in sys.path:
        sys.path.insert(0, tools)
    importlib.import_module(tool).main(list(words))
