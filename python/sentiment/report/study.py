"""What runs found on one data set, as tables, claims and the report ask for it."""

import contextlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sentiment import paper
from sentiment.analysis import layer_analysis
from sentiment.evaluation import results
from sentiment.names import net_title, source
from sentiment.networks import architectures
from sentiment.report.tables import Score
from sentiment.training import loss_curves
from sentiment.utils.errors import UserError

_FOLLOWS = {"stepsize"}  # a choice that follows from a training list's length, so folds of one net may differ in it


@dataclass(frozen=True)
class Net:
    """One trained net: the rows of its folds, and of its seeds where there are several.

    Attributes
    ----------
    subset, arch, init : str
        ``init`` is that of `names.source`.
    choices : dict
        As its result.json files say.
    rows : list of dict
        As `results.collect` gives them.
    title : str
        Names what it was trained otherwise with, where another net has the same name.
    """

    subset: str
    arch: str
    init: str
    choices: dict
    rows: list
    title: str

    @property
    def variant(self):
        """What its training is called that departs from the paper on purpose; empty for the paper's own."""
        return self.choices.get("variant", "")

    @property
    def seeds(self):
        """The seeds, ascending."""
        return sorted({row["seed"] for row in self.rows})

    @property
    def whole(self):
        """Whether some seed has all folds."""
        return not self.missing_folds

    @property
    def missing_folds(self):
        """Folds that no seed has."""
        there = {row["fold"] for row in self.rows}
        return [fold for fold in paper.FOLDS if fold not in there]

    @property
    def _partial_seeds(self):
        """Of each seed that lacks folds which others have, as an interrupted repeat does, those it has."""
        of_seeds = {seed: sorted(row["fold"] for row in self.of_seed(seed)) for seed in self.seeds}
        most = max(map(len, of_seeds.values()))
        return [f"of seed {seed} fold{_folds(folds)}" for seed, folds in of_seeds.items() if len(folds) < most]

    def of_seed(self, seed):
        """One seed's rows, by fold."""
        return [row for row in self.rows if row["seed"] == seed]

    def curve(self, fold):
        """The training loss of a fold, of the lowest seed that has a log; None where none has."""
        rows = sorted((row for row in self.rows if row["fold"] == fold), key=lambda row: row["seed"])
        logs = (Path(row["path"]).with_name("train.log") for row in rows)
        return next((loss_curves.read(log) for log in logs if log.is_file()), None)

    @cached_property
    def diverged(self):
        """Folds a training of which ended with a loss that is no number, ascending."""
        found = set()
        for row in self.rows:
            with contextlib.suppress(UserError):  # a log that is not there or shows no loss
                if not math.isfinite(loss_curves.read(Path(row["path"]).with_name("train.log")).losses[-1]):
                    found.add(row["fold"])
        return sorted(found)

    def score(self, way, sample=False):
        """Mean and deviation over folds (and seeds) as a cell that says which folds or seeds it is of.

        A training that diverged counts with the accuracy its net has, and is named.
        """
        values = [row["accuracy"][way] for row in self.rows]
        mean, std = results.mean_std(values, sample)
        notes = []
        if self.missing_folds:
            there = sorted({row["fold"] for row in self.rows})
            notes.append(f"fold{_folds(there)} only")
        if self.diverged:
            notes.append(f"fold{_folds(self.diverged)} diverged")
        if len(self.seeds) > 1:
            notes.append(", ".join((f"{len(self.seeds)} seeds", *self._partial_seeds)))
        return Score(mean, std if len(values) > 1 else None, len(values), ", ".join(notes))


@dataclass(frozen=True)
class Study:
    """All results on one data set.

    Attributes
    ----------
    dataset : str
    demo : bool
    nets : list of Net
    layers : list of dict
        Summaries of the layer analysis, as `layer_analysis.collect` gives them.
    sample : bool
        Sample standard deviations instead of the population's.
    root : path
        The folder of runs that all is from.
    only : dict of str to list of str
        Values of subset, arch or init that the nets were chosen by; empty where all are there.
    """

    dataset: str
    demo: bool
    nets: list
    layers: list
    sample: bool = False
    root: str | Path = "runs"
    only: dict = field(default_factory=dict)

    def of(self, only):
        """The study of some nets only, ``only`` as above."""
        rows, layers = ([one for one in all_of if _fits(one, only)] for all_of in (self.rows, self.layers))
        return replace(self, nets=nets(rows), layers=layers, only=only)

    def shows(self, arch, init, subset="five_agrees"):
        """Whether a net is among these or would be, had it been run: it was not left out by ``only``."""
        left = _fits({"arch": arch, "init": init, "subset": subset}, self.only)
        return left or self.net(arch, init, subset) is not None

    @property
    def rows(self):
        """All result.json rows."""
        return [row for net in self.nets for row in net.rows]

    @property
    def note(self):
        """What the data set's description says to whoever reads a table, as the runs last recorded it."""
        said = next((row["note"] for row in reversed(self.rows) if row.get("note")), "")
        return said if said.endswith((".", "!", "?")) or not said else f"{said}."

    @property
    def usual(self):
        """The nets that are no variants, which the paper's tables are of."""
        return [net for net in self.nets if not net.variant]

    def net(self, arch, init, subset="five_agrees"):
        """The net a paper's table means, or None; of several with other choices the one with most folds and seeds."""
        named = [net for net in self.usual if (net.subset, net.arch, net.init) == (subset, arch, init)]
        return max(named, key=lambda net: len(net.rows), default=None)

    @property
    def paper_layers(self):
        """The layer analysis that the paper's Table 3 means, or None; a renamed copy of the card comes second."""
        named = [
            one
            for one in self.layers
            if (one["subset"], one["arch"], source(one)) == ("five_agrees", "finetune", "caffenet")
            and not one.get("variant")
        ]
        return min(named, key=lambda one: one["init"] != "caffenet", default=None)

    def score(self, arch, init, subset, way):
        """The net's score as a cell, or None."""
        net = self.net(arch, init, subset)
        return net and net.score(way, self.sample)


def read(root, sample=False, **wanted) -> list[Study]:
    """The studies under a folder of runs, one a data set.

    Parameters
    ----------
    root : path
    sample : bool
    **wanted
        Only results with these values, as ``dataset="demo"``; a value may be a list of values.

    Returns
    -------
    list of Study

    Raises
    ------
    UserError
        No result.json there, or one that is wrong; two results of the same net, fold and seed.
    """
    wanted = {key: value if isinstance(value, list) else [value] for key, value in wanted.items()}
    only = {key: values for key, values in wanted.items() if key != "dataset"}
    rows = [row for row in results.collect(root) if _fits(row, wanted)]
    if not rows:
        raise UserError(
            f"no result.json under {root}{' that fits the options' if wanted else ''}; "
            "run tools/train.py and tools/evaluate.py first"
        )
    summaries = [summary for summary in layer_analysis.collect(root) if _fits(summary, wanted)]
    studies = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == dataset]
        layers = [summary for summary in summaries if summary["dataset"] == dataset]
        studies.append(Study(dataset, any(row["demo"] for row in own), nets(own), layers, sample, root, only))
    return studies


def _fits(row, wanted):
    """Whether a record has the wanted values; its init by its folder's name or by what `names.source` finds it is."""
    of_row = {**{key: {row[key]} for key in wanted}, "init": {row["init"], source(row)}}
    return all(not of_row[key].isdisjoint(values) for key, values in wanted.items())


def nets(rows):
    """Rows by net, in the paper's order of subsets and initialisations."""
    groups = {}
    for row in rows:
        choices = {key: value for key, value in row["choices"].items() if key not in _FOLLOWS}
        variants = groups.setdefault((row["subset"], row["arch"], source(row)), [])
        group = next((group for known, group in variants if known == choices), None)
        if group is None:
            variants.append((choices, group := []))
        group.append(row)
    nets = []
    for (subset, arch, init), variants in sorted(groups.items(), key=lambda item: _place(*item[0])):
        for choices, group in variants:
            _check_once(group)
            alike = [other for other, _ in variants if other.get("variant") == choices.get("variant")]
            apart = [choices["variant"]] if choices.get("variant") else []
            apart += [f"{key} {choices.get(key)}" for key in _differing(alike)]
            title = net_title(arch, init) + (f" ({', '.join(apart)})" if apart else "")
            nets.append(Net(subset, arch, init, choices, group, title))
    return nets


def _folds(numbers):
    """Folds after the word ``fold``: `` 1``, ``s 1 2``."""
    return f"{'s' * (len(numbers) > 1)} {' '.join(map(str, numbers))}"


def _place(subset, arch, init):
    """Where a net stands among others: the paper's before a user's."""
    orders = (paper.SUBSETS, tuple(architectures.ARCHITECTURES), tuple(paper.INITIALISATIONS))
    names = (subset, arch, init)
    return [(order.index(name) if name in order else len(order), name) for order, name in zip(orders, names)]


def _differing(variants):
    """Keys in which some of the variants differ."""
    keys = dict.fromkeys(key for choices in variants for key in choices)
    return [key for key in keys if any(choices.get(key) != variants[0].get(key) for choices in variants)]


def _check_once(rows):
    """Refuse the same fold and seed twice: a mean over copies is no mean over folds."""
    seen = {}
    for row in rows:
        key = row["fold"], row["seed"]
        if key in seen:
            raise UserError(
                f"{Path(row['path'])} and {Path(seen[key])} are of the same net, fold and seed; remove one "
                "of them, or name the folder of one by RUNS= or --runs"
            )
        seen[key] = row["path"]
