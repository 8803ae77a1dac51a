"""The paper's claims, each tried on this project's numbers and on the paper's own.

A claim is a predicate on the numbers that a `Published` or `Found` looks up, stated in words beside it. It compares
means; whether a difference is beyond chance is for the deviations beside the means and for McNemar's test to say.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from sentiment import paper
from sentiment.evaluation.results import mean_std
from sentiment.names import SUBSET_TITLES, net_title, score
from sentiment.report import departures
from sentiment.report.paper_tables import PUBLISHED
from sentiment.report.study import FIVE
from sentiment.report.tables import NOTHING, Cell, Score, Table
from sentiment.training.loss_curves import Curve

FOLD = 1  # whose training losses are compared
SENTIMENT = ("deepsentibank", "mvso_en", "mvso_es", "mvso_fr", "mvso_it", "mvso_de", "mvso_zh")
MVSO = SENTIMENT[1:]
CONVOLUTIONAL = ("conv1", "pool1", "norm1", "conv2", "pool2", "norm2", "conv3", "conv4", "conv5", "pool5")
CONNECTED = ("fc6", "fc7", "fc8")

HELD, NOT_HELD, NOT_TESTED = "held", "not held", "not tested here"


class Published:
    """Where a claim looks up the paper's numbers; ``missing`` collects what it asked for and was not there."""

    def __init__(self):
        self.missing = []

    def accuracy(self, arch, init, subset=FIVE, way="center") -> Score:
        """Mean and deviation over the five folds."""
        return Score(*PUBLISHED[arch, init, subset][way])

    def layer(self, name, classifier) -> float:
        """Mean accuracy of a classifier on a layer of the fine-tuned CaffeNet, C chosen the paper's way."""
        return paper.TABLE3[name][classifier][0]

    def curve(self, init) -> Curve | None:
        """Training loss of fold 1 of a fine-tuned initialisation; the paper prints none."""
        return self._lacks(f"the training loss of {net_title('finetune', init)}, fold {FOLD}")

    def fast_fc6_2(self) -> tuple[Curve | None, float]:
        """Training loss of fc6-2 at the base rate of the other nets, and that rate."""
        return self._lacks("a run of fc6-2 at the base rate of the other nets"), math.nan

    def _lacks(self, what, instead=None):
        if what not in self.missing:
            self.missing.append(what)
        return instead


class Found(Published):
    """Where a claim looks up the numbers of this project: only nets with all five folds count."""

    def __init__(self, study):
        super().__init__()
        self.study = study

    def accuracy(self, arch, init, subset=FIVE, way="center"):
        net, title = self.study.net(arch, init, subset), f"{net_title(arch, init)} {SUBSET_TITLES[subset]}"
        if net.results and not net.missing_folds:
            return net.score(way)
        folds = f" folds {' '.join(map(str, net.missing_folds))}" if net.results else ""
        return self._lacks(title + folds, Score(math.nan, math.nan))

    def layer(self, name, classifier):
        analysis = self.study.paper_layers
        entry = analysis and analysis.layers.get(paper.NEW_LAYER if name == "fc8" else name)
        if entry and len(analysis.folds) == len(paper.FOLDS):
            return mean_std(getattr(entry, classifier).paper.accuracy.values())[0]
        return self._lacks("the layer analysis of CaffeNet, five folds", math.nan)

    def curve(self, init):
        return self.study.net("finetune", init).curve(FOLD) or super().curve(init)

    def fast_fc6_2(self):
        rate = self.study.net("finetune", "caffenet").settings.get("base_lr")
        for net in self.study.nets:
            if (net.subset, net.arch, net.settings["base_lr"]) == (FIVE, "fc6-2", rate):
                curve = net.curve(net.folds[0])
                return (curve, rate) if curve else super().fast_fc6_2()
        return super().fast_fc6_2()


@dataclass(frozen=True)
class Verdict(Cell):
    """A cell of the table: ``held``, ``not held``, or ``not tested here`` and what that needs."""

    word: str
    needs: str = ""

    parts = ("", "needs")

    @property
    def kind(self):
        return {HELD: "held", NOT_HELD: "not-held"}.get(self.word, "open")

    def text(self):
        return f"{self.word}: needs {self.needs}" if self.needs else self.word

    def values(self):
        return self.word, self.needs or None


@dataclass(frozen=True)
class Claim:
    """A claim, where the paper makes it, what it means here, and how it is tried.

    ``test`` takes a `Published` and returns whether it holds and the numbers that decide.
    """

    title: str
    where: str
    means: str
    test: Callable

    def verdict(self, evidence):
        """A `Verdict` and the numbers that decide."""
        held, numbers = self.test(evidence)
        if evidence.missing:
            return Verdict(NOT_TESTED, _listed(evidence.missing)), NOTHING
        return Verdict(HELD if held else NOT_HELD), numbers


CLAIMS: list[Claim] = []
"""In the order of the report."""


def _claim(title, where):
    """Add the function below as the test of a claim; its docstring says what the claim means here."""

    def add(test):
        first, *rest = test.__doc__.strip().rstrip(".").split()
        first = first if first[1:].lower() != first[1:] else first.lower()  # but for names: SVM, CaffeNet
        CLAIMS.append(Claim(title, where, " ".join((first, *rest)), test))
        return test

    return add


def table(study):
    """Every claim with its verdict here and on the paper's own numbers."""
    rows = []
    for claim in CLAIMS:
        here, numbers = claim.verdict(Found(study))
        of_paper, of_paper_numbers = claim.verdict(Published())
        printed = NOTHING if of_paper.needs else f"{of_paper.text()}: {of_paper_numbers}"
        rows.append([claim.title, claim.where, claim.means, here, numbers, printed])
    header = ["claim", "paper", "tried as", "here", "numbers here", "the paper's own numbers"]
    notes = [
        *departures.about(study),
        "Each claim is tried as a comparison of means, in the words of the third column, and on the paper's own "
        "numbers too where it prints them. Accuracy is by the centre crop on the five-agree subset unless said "
        "otherwise. Held says nothing of chance: see the deviations and McNemar's test.",
    ]
    return Table("claims", "The paper's claims, tried on these runs", notes, header, rows, study.demo)


@_claim("conv5 and pool5 fall below conv4", "Table 3")
def _late_layers(evidence):
    """SVM, C chosen the paper's way: the mean on conv5 and the mean on pool5 are both below that on conv4."""
    conv4, conv5, pool5 = (evidence.layer(name, "svm") for name in ("conv4", "conv5", "pool5"))
    return max(conv5, pool5) < conv4, f"conv4 {score(conv4)}, conv5 {score(conv5)}, pool5 {score(pool5)}"


@_claim("Fully connected layers are above convolutional ones", "Table 3")
def _connected_above(evidence):
    """For SVM and Softmax alike, the worst of fc6, fc7, fc8 is above the best of conv1 to pool5."""
    held, numbers = True, []
    for classifier, title in ("svm", "SVM"), ("softmax", "Softmax"):
        connected = min((evidence.layer(name, classifier), name) for name in CONNECTED)
        convolutional = max((evidence.layer(name, classifier), name) for name in CONVOLUTIONAL)
        held &= connected[0] > convolutional[0]
        worst, best = (f"{name} {score(value)}" for value, name in (connected, convolutional))
        numbers.append(f"{title}: worst fc {worst}, best other {best}")
    return held, "; ".join(numbers)


@_claim("fc7-2 is slightly worse than the whole net", "Table 4")
def _slightly_worse(evidence):
    """Lower than CaffeNet, by no more than CaffeNet's standard deviation over folds."""
    whole, cut = evidence.accuracy("finetune", "caffenet"), evidence.accuracy("fc7-2", "caffenet")
    return 0 < whole.mean - cut.mean <= whole.std, f"{whole.text()} → {cut.text()}"


@_claim("fc6-2 is much worse than the whole net", "Table 4")
def _much_worse(evidence):
    """Lower than CaffeNet by more than twice CaffeNet's standard deviation over folds."""
    whole, cut = evidence.accuracy("finetune", "caffenet"), evidence.accuracy("fc6-2", "caffenet")
    return whole.mean - cut.mean > 2 * whole.std, f"{whole.text()} → {cut.text()}"


@_claim("fc6-2 does not converge at the base rate of the others, 0.001", "§4.3")
def _does_not_converge(evidence):
    """Trained at the base rate of the whole net, its final loss (mean of the last tenth) is not below that of
    guessing, ln 2 = .693, by more than its noise, or is NaN.
    """
    curve, rate = evidence.fast_fc6_2()
    if curve is None:
        return False, NOTHING
    return not curve.converges, f"at {rate:g}: final loss {score(curve.final)}, noise {score(curve.noise)}"


@_claim("Sources trained on sentiment are above those trained on objects and places", "Table 5")
def _sentiment_above(evidence):
    """The mean over DeepSentiBank and the six MVSO nets is above CaffeNet's and above PlacesCNN's."""
    means = {init: evidence.accuracy("finetune", init).mean for init in paper.INITIALISATIONS}
    sentiment = statistics.fmean(means[init] for init in SENTIMENT)
    others = {init: means[init] for init in ("caffenet", "places")}
    numbers = [f"{paper.INITIALISATIONS[init]} {score(mean)}" for init, mean in others.items()]
    return sentiment > max(others.values()), f"sentiment {score(sentiment)}, {', '.join(numbers)}"


@_claim("MVSO [ZH] is the worst of the MVSO sources", "Table 5")
def _chinese_worst(evidence):
    """Below each of the other five."""
    means = {init: evidence.accuracy("finetune", init).mean for init in MVSO}
    others = [mean for init, mean in means.items() if init != "mvso_zh"]
    return means["mvso_zh"] < min(others), f"ZH {score(means['mvso_zh'])}, lowest other {score(min(others))}"


def _speed(evidence):
    """Noise, and iterations to convergence (infinity where there is none), by initialisation."""
    curves = {init: evidence.curve(init) for init in paper.INITIALISATIONS}
    there = {init: curve for init, curve in curves.items() if curve is not None}
    steps = {init: curve.converged_at for init, curve in there.items()}
    noise = {init: there[init].noise if init in there else math.nan for init in curves}
    return noise, {init: math.inf if steps.get(init) is None else steps[init] for init in curves}


@_claim("DeepSentiBank's training is noisier and slower", "Figure 6")
def _deepsentibank_slow(evidence):
    """Training loss of fold 1: its noise and its iterations to convergence are both above the median of the nine
    initialisations.
    """
    noise, steps = _speed(evidence)
    middle = statistics.median(noise.values()), statistics.median(steps.values())
    own = noise["deepsentibank"], steps["deepsentibank"]
    numbers = f"noise {score(own[0])}, median {score(middle[0])}; converged at {own[1]:g}, median {middle[1]:g}"
    return own[0] > middle[0] and own[1] > middle[1], numbers


@_claim("MVSO's trainings are faster and smoother", "Figure 6")
def _mvso_fast(evidence):
    """Training loss of fold 1: the medians over the six MVSO nets of noise and of iterations to convergence are both
    below those over the other three.
    """
    noise, steps = _speed(evidence)
    held, numbers = True, []
    for what, values, form in ("noise", noise, score), ("converged at", steps, "{:g}".format):
        mvso = statistics.median(values[init] for init in MVSO)
        others = statistics.median(value for init, value in values.items() if init not in MVSO)
        held &= mvso < others
        numbers.append(f"{what} {form(mvso)}, others {form(others)}")
    return held, "; ".join(numbers)


@_claim("A layer added (fc9) stays below fine-tuning", "Table 6")
def _added_below(evidence):
    """For CaffeNet and for MVSO [EN], fc9 is below the net whose last layer was replaced."""
    held, numbers = True, []
    for init in paper.TABLE6:
        tuned, added = evidence.accuracy("finetune", init), evidence.accuracy("fc9", init)
        held &= added.mean < tuned.mean
        numbers.append(f"{paper.INITIALISATIONS[init]} {score(tuned.mean)} → {score(added.mean)}")
    return held, "; ".join(numbers)


@_claim("Ten crops help", "Table 2")
def _crops_help(evidence):
    """CaffeNet with oversampling is above CaffeNet without, on each of the three subsets."""
    held, numbers = True, []
    for subset in paper.SUBSETS:
        one, ten = (evidence.accuracy("finetune", "caffenet", subset, way).mean for way in ("center", "oversampled"))
        held &= ten > one
        numbers.append(f"{SUBSET_TITLES[subset]} {score(one)} → {score(ten)}")
    return held, "; ".join(numbers)


def _listed(names):
    """Names in a sentence; only some of many."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
