"""The results on one data set, by net, for the tables, the claims and the report."""

import contextlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sentiment import paper
from sentiment.analysis import layer_summary
from sentiment.analysis.layer_summary import Summary
from sentiment.evaluation import results
from sentiment.evaluation.results import Result
from sentiment.names import net_title, source_name
from sentiment.networks import architectures
from sentiment.report.tables import NOTHING, Score
from sentiment.training import loss_curves
from sentiment.training.loop import LOG
from sentiment.training.loss_curves import Curve
from sentiment.utils.errors import UserError

FIVE = "five_agrees"  # the subset of most of the paper's tables
_BY_IMAGES = {"stepsize", "iterations"}  # settings that depend on the number of a fold's training images


@dataclass(frozen=True)
class Net:
    """A net and its results of all folds and seeds; it has no results if it was not run."""

    subset: str
    arch: str
    init: str  # as `names.source_name` gives it
    settings: dict = field(default_factory=dict)  # the choices that its results record, by name
    results: list[Result] = field(default_factory=list)
    title: str = ""  # includes the settings in which nets of the same name differ
    sample: bool = False  # sample standard deviation instead of the population's

    @property
    def key(self) -> tuple[str, str, str]:
        """Arch, init and subset, which several nets with different settings may share."""
        return self.arch, self.init, self.subset

    @property
    def variant(self) -> str:
        """The name of a training that departs from the paper on purpose; empty for the paper's own."""
        return self.settings.get("variant") or ""

    @property
    def by_seed(self) -> dict[int, list[Result]]:
        """The results of each seed, in ascending order of seeds and folds."""
        seeds = sorted({result.config.seed for result in self.results})
        return {seed: [result for result in self.results if result.config.seed == seed] for seed in seeds}

    @property
    def folds(self) -> list[int]:
        """The folds that have a result of any seed, ascending."""
        return sorted({result.config.fold for result in self.results})

    @property
    def missing_folds(self) -> list[int]:
        """The folds that have no result, ascending."""
        return [fold for fold in paper.FOLDS if fold not in self.folds]

    def curve(self, fold: int) -> Curve | None:
        """The training loss of a fold, of the lowest seed that has a log; None if there is no log."""
        for result in sorted(self.results, key=lambda result: result.config.seed):
            log = result.folder / LOG
            if result.config.fold == fold and log.is_file():
                return loss_curves.read(log)
        return None

    @cached_property
    def diverged(self) -> list[int]:
        """The folds with a training that ended with a loss that is not finite, ascending."""
        found = set()
        for result in self.results:
            with contextlib.suppress(UserError):  # a log that is missing or shows no loss
                if not math.isfinite(loss_curves.read(result.folder / LOG).losses[-1]):
                    found.add(result.config.fold)
        return sorted(found)

    def score(self, way: str) -> Score | str:
        """Mean and standard deviation over folds and seeds as a cell that names what is missing; empty if not run.

        A training that diverged counts with the accuracy of its net, and the cell names its fold.
        """
        if not self.results:
            return NOTHING
        mean, std = results.mean_std([result.accuracy[way] for result in self.results], self.sample)
        notes = []
        if self.missing_folds:
            notes.append(f"{folds_text(self.folds)} only")
        if self.diverged:
            notes.append(f"{folds_text(self.diverged)} diverged")
        folds = {seed: [result.config.fold for result in found] for seed, found in self.by_seed.items()}
        if len(folds) > 1:
            most = max(map(len, folds.values()))  # a seed whose runs were interrupted has fewer
            partial = [f"of seed {seed} {folds_text(of)}" for seed, of in folds.items() if len(of) < most]
            notes.append(", ".join((f"{len(folds)} seeds", *partial)))
        return Score(mean, std if len(self.results) > 1 else None, len(self.results), ", ".join(notes))


@dataclass(frozen=True)
class Study:
    """All results on one data set."""

    dataset: str
    demo: bool
    results: list[Result]
    layers: list[Summary]  # one for each net whose layers were analysed
    sample: bool = False  # sample standard deviations instead of the population's
    root: str | Path = "runs"  # the folder of all runs
    only: dict[str, list[str]] = field(default_factory=dict)  # what it is restricted to: values of subset, arch, init

    def of(self, only: dict[str, list[str]]) -> "Study":
        """The study restricted to the nets that have the values in ``only`` (see the attribute)."""
        chosen = [result for result in self.results if _fits(result.config, only)]
        return replace(self, results=chosen, layers=[one for one in self.layers if _fits(one, only)], only=only)

    @property
    def restriction(self) -> str:
        """The values of ``only`` as text: ``subset four_agrees, arch finetune``; empty for a study of all nets."""
        return ", ".join(f"{key} {' '.join(values)}" for key, values in self.only.items())

    @property
    def suffix(self) -> str:
        """End of the file names of a restricted study's tables: ``-init-caffenet``; empty for a study of all nets."""
        return "".join(f"-{word}" for key, values in self.only.items() for word in (key, *values))

    def shows(self, arch: str, init: str, subset=FIVE) -> bool:
        """Whether a net has a place in the tables, run or not: ``only`` does not leave it out."""
        asked = {"arch": arch, "init": init, "subset": subset}
        allowed = all(asked[key] in values for key, values in self.only.items())
        return allowed or bool(self.net(arch, init, subset).results)

    @property
    def note(self) -> str:
        """The note for readers of tables that is in the data set's description, as the last run recorded it."""
        note = next((one.note for net in reversed(self.nets) for one in reversed(net.results) if one.note), "")
        return note if note.endswith((".", "!", "?")) or not note else f"{note}."

    @cached_property
    def nets(self) -> list[Net]:
        """The nets, in the paper's order of subsets and initialisations."""
        found: list[Net] = []
        for result in self.results:
            config = result.config
            settings = {key: value for key, value in config.settings().items() if key not in _BY_IMAGES}
            net = Net(config.subset, config.arch, _source(config), settings, sample=self.sample)
            own = next((one for one in found if (one.key, one.settings) == (net.key, net.settings)), net)
            if own is net:
                found.append(net)
            own.results.append(result)
        return [replace(net, title=_title(net, found)) for net in sorted(found, key=_place)]

    @property
    def default_nets(self) -> list[Net]:
        """The nets that are not variants; the paper's tables show only these."""
        return [net for net in self.nets if not net.variant]

    def net(self, arch: str, init: str, subset=FIVE) -> Net:
        """The net for the paper's tables, without results if not run; of several, the one with most folds and seeds."""
        named = [net for net in self.default_nets if net.key == (arch, init, subset)]
        return max(named, key=lambda net: len(net.results), default=Net(subset, arch, init))

    @property
    def paper_layers(self) -> Summary | None:
        """The layer analysis of the CaffeNet fine-tuned on five-agree, as in Table 3; None if there is none."""
        wanted = (FIVE, "finetune", "caffenet", "")
        named = [one for one in self.layers if (one.subset, one.arch, one.source, one.variant) == wanted]
        return min(named, key=lambda one: one.init != "caffenet", default=None)  # a renamed copy of the card comes last


def read(root: str | Path, sample=False, dataset: str | None = None, only: dict | None = None) -> list[Study]:
    """The studies under a folder of runs, one for each data set or of one data set; ``only`` as in `Study`.

    A `UserError` says that there is no result, that one is invalid, or that two are of the same net, fold and seed.
    """
    found, layers = results.collect(root), layer_summary.collect(root)
    studies = []
    for name in dict.fromkeys(result.config.dataset for result in found):
        own = [result for result in found if result.config.dataset == name]
        of_layers = [summary for summary in layers if summary.dataset == name]
        study = Study(name, any(result.config.demo for result in own), own, of_layers, sample, root).of(only or {})
        if study.results and dataset in (None, name):
            studies.append(study)
    if not studies:
        raise UserError(
            f"no result.json under {root}{' that fits the options' if dataset or only else ''}; "
            "run tools/train.py and tools/evaluate.py first"
        )
    for study in studies:
        for net in study.nets:
            _check_once(net)
    return studies


def folds_text(folds: list[int]) -> str:
    """Folds in a sentence: ``fold 1``, ``folds 1 2``."""
    return f"fold{'s' * (len(folds) > 1)} {' '.join(map(str, folds))}"


def _fits(record, only):
    """Whether a configuration or a layer summary has the wanted values; an init may also be the source's name."""
    found = {key: {record.init, _source(record)} if key == "init" else {getattr(record, key)} for key in only}
    return all(not found[key].isdisjoint(values) for key, values in only.items())


def _source(record):
    return source_name(record.init, record.card)


def _place(net):
    """The key that sorts nets in the paper's order, followed by the user's own."""
    orders = (paper.SUBSETS, tuple(architectures.ARCHITECTURES), tuple(paper.INITIALISATIONS))
    names = (net.subset, net.arch, net.init)
    return [(order.index(name) if name in order else len(order), name) for order, name in zip(orders, names)]


def _title(net, nets):
    """A net's name, its variant, and the settings in which nets of the same name and variant differ."""
    alike = [one.settings for one in nets if one.key == net.key and one.settings["variant"] == net.settings["variant"]]
    apart = [net.variant] if net.variant else []
    apart += [f"{key} {value}" for key, value in net.settings.items() if any(one[key] != value for one in alike)]
    return net_title(net.arch, net.init) + (f" ({', '.join(apart)})" if apart else "")


def _check_once(net):
    """Raise a `UserError` for two results of one fold and seed: a mean over copies is not a mean over folds."""
    seen: dict[tuple, Result] = {}
    for result in net.results:
        other = seen.setdefault((result.config.fold, result.config.seed), result)
        if other is not result:
            raise UserError(
                f"{result.folder} and {other.folder} are runs of the same net, fold and seed; remove one of them, or "
                "give a folder that has only one of them by RUNS= or --runs"
            )
