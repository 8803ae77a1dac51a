"""What runs found on one data set, as tables, claims and the report ask for it."""

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
from sentiment.report.tables import Score
from sentiment.training import loss_curves
from sentiment.utils.errors import UserError

_FOLLOWS = {"stepsize"}  # a setting that follows from a training list's length, so folds of one net may differ in it


@dataclass(frozen=True)
class Net:
    """One trained network: the results of its folds, and of its seeds where there are several."""

    subset: str
    arch: str
    init: str  # as `names.source_name` gives it
    settings: dict  # what the paper leaves open, as its results record it
    results: list[Result]
    title: str  # names the settings that differ, where another net has the same name

    @property
    def variant(self):
        """The name of a training that departs from the paper on purpose; empty for the paper's own."""
        return self.settings["variant"] or ""

    @property
    def seeds(self):
        """The seeds, ascending."""
        return sorted({result.config.seed for result in self.results})

    @property
    def folds(self):
        """The folds that some seed has, ascending."""
        return sorted({result.config.fold for result in self.results})

    @property
    def missing_folds(self):
        """Folds that no seed has."""
        return [fold for fold in paper.FOLDS if fold not in self.folds]

    def of_seed(self, seed):
        """One seed's results, by fold."""
        return [result for result in self.results if result.config.seed == seed]

    def curve(self, fold):
        """The training loss of a fold, of the lowest seed that has a log; None where none has."""
        of_fold = sorted((one.config.seed, one.folder) for one in self.results if one.config.fold == fold)
        logs = (folder / "train.log" for _, folder in of_fold)
        return next((loss_curves.read(log) for log in logs if log.is_file()), None)

    @cached_property
    def diverged(self):
        """Folds of which a training ended with a loss that is not finite, ascending."""
        found = set()
        for result in self.results:
            with contextlib.suppress(UserError):  # a log that is missing or shows no loss
                if not math.isfinite(loss_curves.read(result.folder / "train.log").losses[-1]):
                    found.add(result.config.fold)
        return sorted(found)

    def score(self, way, sample=False):
        """Mean and deviation over folds (and seeds) as a cell that names missing folds and seeds.

        A training that diverged counts with the accuracy its net has, and is named.
        """
        values = [result.accuracy[way] for result in self.results]
        mean, std = results.mean_std(values, sample)
        notes = []
        if self.missing_folds:
            notes.append(f"{folds_text(self.folds)} only")
        if self.diverged:
            notes.append(f"{folds_text(self.diverged)} diverged")
        if len(self.seeds) > 1:
            of_seeds = {seed: [result.config.fold for result in self.of_seed(seed)] for seed in self.seeds}
            most = max(map(len, of_seeds.values()))  # an interrupted repeat has fewer
            partial = [f"of seed {seed} {folds_text(of)}" for seed, of in of_seeds.items() if len(of) < most]
            notes.append(", ".join((f"{len(self.seeds)} seeds", *partial)))
        return Score(mean, std if len(values) > 1 else None, len(values), ", ".join(notes))


@dataclass(frozen=True)
class Study:
    """All results on one data set."""

    dataset: str
    demo: bool
    nets: list[Net]
    layers: list[Summary]  # of the layer analysis
    sample: bool = False  # sample standard deviations instead of the population's
    root: str | Path = "runs"  # the folder of runs that all is from
    only: dict[str, list[str]] = field(default_factory=dict)  # values of subset, arch or init the nets were chosen by

    def of(self, only):
        """The study of some nets only, ``only`` as above."""
        chosen = [result for result in self.results if _fits(result.config, _source(result), only)]
        layers = [summary for summary in self.layers if _fits(summary, summary.source, only)]
        return replace(self, nets=nets(chosen), layers=layers, only=only)

    def shows(self, arch, init, subset="five_agrees"):
        """Whether a net is among these or would be, had it been run: it was not left out by ``only``."""
        asked = {"arch": arch, "init": init, "subset": subset}
        allowed = all(asked[key] in values for key, values in self.only.items())
        return allowed or self.net(arch, init, subset) is not None

    @property
    def results(self):
        """The results of all nets."""
        return [result for net in self.nets for result in net.results]

    @property
    def note(self):
        """What the data set's description says to readers of a table, as the runs last recorded it."""
        note = next((result.note for result in reversed(self.results) if result.note), "")
        return note if note.endswith((".", "!", "?")) or not note else f"{note}."

    @property
    def default_nets(self):
        """The nets that are no variants, which the paper's tables are of."""
        return [net for net in self.nets if not net.variant]

    def net(self, arch, init, subset="five_agrees"):
        """The net a paper's table means, or None; of several with other choices the one with most folds and seeds."""
        named = [net for net in self.default_nets if (net.subset, net.arch, net.init) == (subset, arch, init)]
        return max(named, key=lambda net: len(net.results), default=None)

    @property
    def paper_layers(self):
        """The layer analysis that the paper's Table 3 means, or None; a renamed copy of the card comes second."""
        named = [
            one
            for one in self.layers
            if (one.subset, one.arch, one.source) == ("five_agrees", "finetune", "caffenet") and not one.variant
        ]
        return min(named, key=lambda one: one.init != "caffenet", default=None)

    def score(self, arch, init, subset, way):
        """The net's score as a cell, or None."""
        net = self.net(arch, init, subset)
        return net and net.score(way, self.sample)


def read(root: str | Path, sample=False, **wanted) -> list[Study]:
    """The studies under a folder of runs, one a data set, of results with the wanted values alone: ``dataset="demo"``.

    A value may be a list of values. A `UserError` says that there is no result, that one is wrong, or that two are of
    the same net, fold and seed.
    """
    wanted = {key: value if isinstance(value, list) else [value] for key, value in wanted.items()}
    only = {key: values for key, values in wanted.items() if key != "dataset"}
    found = [result for result in results.collect(root) if _fits(result.config, _source(result), wanted)]
    if not found:
        raise UserError(
            f"no result.json under {root}{' that fits the options' if wanted else ''}; "
            "run tools/train.py and tools/evaluate.py first"
        )
    summaries = [summary for summary in layer_summary.collect(root) if _fits(summary, summary.source, wanted)]
    studies = []
    for dataset in dict.fromkeys(result.config.dataset for result in found):
        own = [result for result in found if result.config.dataset == dataset]
        layers = [summary for summary in summaries if summary.dataset == dataset]
        demo = any(result.config.demo for result in own)
        studies.append(Study(dataset, demo, nets(own), layers, sample, root, only))
    return studies


def nets(found: list[Result]) -> list[Net]:
    """Results by net, in the paper's order of subsets and initialisations."""
    named = {}  # (subset, arch, init) -> [(settings, results)], an entry a variant
    for result in found:
        config = result.config
        settings = {key: value for key, value in config.settings().items() if key not in (*_FOLLOWS, "iterations")}
        variants = named.setdefault((config.subset, config.arch, _source(result)), [])
        own = next((of_variant for known, of_variant in variants if known == settings), None)
        if own is None:
            variants.append((settings, own := []))
        own.append(result)
    nets = []
    for (subset, arch, init), variants in sorted(named.items(), key=lambda item: _place(*item[0])):
        for settings, of_variant in variants:
            _check_once(of_variant)
            alike = [other for other, _ in variants if other["variant"] == settings["variant"]]
            differing = [key for key in settings if any(other[key] != settings[key] for other in alike)]
            apart = [settings["variant"]] if settings["variant"] else []
            apart += [f"{key} {settings[key]}" for key in differing]
            title = net_title(arch, init) + (f" ({', '.join(apart)})" if apart else "")
            nets.append(Net(subset, arch, init, settings, of_variant, title))
    return nets


def folds_text(folds):
    """Folds in a sentence: ``fold 1``, ``folds 1 2``."""
    return f"fold{'s' * (len(folds) > 1)} {' '.join(map(str, folds))}"


def _fits(record, source, wanted):
    """Whether a configuration or a layer summary has the wanted values; an init may also be the source's name."""
    found = {key: {record.init, source} if key == "init" else {getattr(record, key)} for key in wanted}
    return all(not found[key].isdisjoint(values) for key, values in wanted.items())


def _source(result):
    return source_name(result.config.init, result.config.card)


def _place(subset, arch, init):
    """Where a net stands among others: the paper's before a user's."""
    orders = (paper.SUBSETS, tuple(architectures.ARCHITECTURES), tuple(paper.INITIALISATIONS))
    names = (subset, arch, init)
    return [(order.index(name) if name in order else len(order), name) for order, name in zip(orders, names)]


def _check_once(found):
    """Refuse the same fold and seed twice: a mean over copies is no mean over folds."""
    seen = {}
    for result in found:
        key = result.config.fold, result.config.seed
        if key in seen:
            raise UserError(
                f"{result.folder} and {seen[key]} hold the same net, fold and seed; remove one of them, or name the "
                "folder of one by RUNS= or --runs"
            )
        seen[key] = result.folder
