"""The paper's claims, each tested on this project's numbers and on the paper's own.

The test of a claim is a function of an `Evidence`, and its docstring, which the table prints, says what it compares.
It compares means. The 95 % intervals and McNemar's test show whether a difference may be chance.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from sentiment import paper
from sentiment.evaluation.predictions import WAYS
from sentiment.evaluation.results import mean_std
from sentiment.names import SUBSET_TITLES, net_title, score
from sentiment.report import departures
from sentiment.report.paper_tables import PUBLISHED
from sentiment.report.study import FIVE, Study
from sentiment.report.tables import NOTHING, Cell, Score, Table
from sentiment.training.loss_curves import Curve

FOLD = 1  # fold whose training losses are compared
MVSO = ("mvso_en", "mvso_es", "mvso_fr", "mvso_it", "mvso_de", "mvso_zh")
SENTIMENT = ("deepsentibank", *MVSO)  # sources that were trained on sentiment
CONVOLUTIONAL = ("conv1", "pool1", "norm1", "conv2", "pool2", "norm2", "conv3", "conv4", "conv5", "pool5")
CONNECTED = ("fc6", "fc7", "fc8")

HELD, NOT_HELD, NOT_TESTED = "held", "not held", "not tested here"


class Evidence:
    """The numbers that claims are tested on: those of a study's nets with all five folds, or the paper's own.

    ``study`` is None for the paper's. ``missing`` names the numbers that a test asked for and that do not exist.
    """

    def __init__(self, study: Study | None = None):
        self.study = study
        self.missing: list[str] = []

    def accuracy(self, arch, init, subset=FIVE, way="center") -> Score:
        """Mean and standard deviation over the five folds."""
        if self.study is None:
            return Score(*PUBLISHED[arch, init, subset][way])
        net = self.study.net(arch, init, subset)
        found = net.score(way)
        if isinstance(found, Score) and not net.missing_folds:
            return found
        folds = f" folds {' '.join(map(str, net.missing_folds))}" if net.results else ""
        self._add_missing(f"{net_title(arch, init)} {SUBSET_TITLES[subset]}{folds}")
        return Score(math.nan, math.nan)

    def layer(self, name, classifier) -> float:
        """Mean accuracy of a classifier on a layer of the fine-tuned CaffeNet, C chosen the paper's way."""
        if self.study is None:
            return paper.TABLE3[name][classifier][0]
        analysis = self.study.paper_layers
        layer = paper.NEW_LAYER if name == "fc8" else name
        if analysis and layer in analysis.layers and len(analysis.folds) == len(paper.FOLDS):
            return mean_std(getattr(analysis.layers[layer], classifier).paper.accuracy.values())[0]
        self._add_missing("the layer analysis of CaffeNet, five folds")
        return math.nan

    def curve(self, init) -> Curve | None:
        """Training loss of a fine-tuned initialisation on fold 1; None if it is missing, as in the paper."""
        curve = self.study.net("finetune", init).curve(FOLD) if self.study else None
        if curve is None:
            self._add_missing(f"the training loss of {net_title('finetune', init)}, fold {FOLD}")
        return curve

    def fast_fc6_2(self) -> tuple[Curve | None, float | None]:
        """Training loss of fc6-2 at the base rate of the other nets, and that rate; None if there is no such run."""
        rate, curve = None, None
        if self.study:
            rate = self.study.net("finetune", "caffenet").settings.get("base_lr")
            fc6_2 = [net for net in self.study.nets if (net.subset, net.arch) == (FIVE, "fc6-2")]
            curve = next((net.curve(net.folds[0]) for net in fc6_2 if net.settings["base_lr"] == rate), None)
        if curve is None:
            self._add_missing("a run of fc6-2 at the base rate of the other nets")
        return curve, rate

    def _add_missing(self, what):
        if what not in self.missing:
            self.missing.append(what)


@dataclass(frozen=True)
class Verdict(Cell):
    """A cell of the table: `HELD`, `NOT_HELD`, or `NOT_TESTED` and what a test needs."""

    outcome: str
    needs: str = ""

    value_names = ("", "needs")

    @property
    def kind(self):
        return {HELD: "held", NOT_HELD: "not-held"}.get(self.outcome, "open")

    def text(self):
        return f"{self.outcome}: needs {self.needs}" if self.needs else self.outcome

    def values(self):
        return self.outcome, self.needs or None


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and its test."""

    title: str
    where: str  # the table, figure or section that makes it
    means: str  # what is tested here, in words
    test: Callable  # from an `Evidence` to whether the claim holds, and the numbers that decide

    def verdict(self, evidence: Evidence) -> tuple[Verdict, str]:
        """Whether the claim holds, and the numbers that decide."""
        held, numbers = self.test(evidence)
        if evidence.missing:
            more = len(evidence.missing) - 3
            needs = ", ".join(evidence.missing[:3]) + (f" and {more} more" if more > 0 else "")
            return Verdict(NOT_TESTED, needs), NOTHING
        return Verdict(HELD if held else NOT_HELD), numbers


CLAIMS: list[Claim] = []
"""All claims, in the order of the report."""


def _claim(title, where):
    """Add the decorated function as the test of a claim; its docstring says what the claim means here."""

    def add(test):
        first, *rest = test.__doc__.strip().rstrip(".").split()
        first = first if first[1:].lower() != first[1:] else first.lower()  # names keep their capitals: SVM, CaffeNet
        CLAIMS.append(Claim(title, where, " ".join((first, *rest)), test))
        return test

    return add


def table(study: Study) -> Table:
    """Every claim with its verdict here and on the paper's own numbers."""
    rows = []
    for claim in CLAIMS:
        here, numbers = claim.verdict(Evidence(study))
        of_paper, of_paper_numbers = claim.verdict(Evidence())
        printed = NOTHING if of_paper.needs else f"{of_paper.text()}: {of_paper_numbers}"
        rows.append([claim.title, claim.where, claim.means, here, numbers, printed])
    header = ["claim", "paper", "tried as", "here", "numbers here", "the paper's own numbers"]
    notes = [
        *departures.about(study),
        "Each claim is tried as a comparison of means, in the words of the third column, and on the paper's own "
        "numbers too where it prints them. Accuracy is by the centre crop on the five-agree subset unless said "
        "otherwise. Held says nothing of chance: see the intervals and McNemar's test.",
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
    """Noise, and iterations to convergence (infinity if it does not converge), by initialisation."""
    curves = {init: evidence.curve(init) for init in paper.INITIALISATIONS}
    noise = {init: curve.noise if curve else math.nan for init, curve in curves.items()}
    steps = {init: curve.converged_at if curve else None for init, curve in curves.items()}
    return noise, {init: math.inf if step is None else step for init, step in steps.items()}


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
    means = {}
    for init in paper.TABLE6:
        means[paper.INITIALISATIONS[init]] = [evidence.accuracy(arch, init).mean for arch in ("finetune", "fc9")]
    return all(added < tuned for tuned, added in means.values()), _changes(means)


@_claim("Ten crops help", "Table 2")
def _crops_help(evidence):
    """CaffeNet with oversampling is above CaffeNet without, on each of the three subsets."""
    means = {}
    for subset, title in SUBSET_TITLES.items():
        means[title] = [evidence.accuracy("finetune", "caffenet", subset, way).mean for way in WAYS]
    return all(ten > one for one, ten in means.values()), _changes(means)


def _changes(means):
    return "; ".join(f"{name} {score(before)} → {score(after)}" for name, (before, after) in means.items())
