"""Tables the paper does not have: accuracy by class, confusion, and McNemar's test.

Everything is counted over the test images of all folds together; each was tested once, by the net of its fold.
"""

import itertools
import math

from sentiment import paper
from sentiment.evaluation import predictions
from sentiment.evaluation.predictions import Prediction
from sentiment.names import SUBSET_TITLES, WAY_TITLES
from sentiment.report import departures
from sentiment.report.study import Net, Study
from sentiment.report.tables import NOTHING, Number, Table


def pooled(net: Net) -> dict[tuple[int, str], Prediction]:
    """A net's predictions by fold and image, those of the seed with most folds; of several, of the lowest."""
    return {
        (result.config.fold, one.image): one
        for result in max(net.by_seed.values(), key=len)
        for one in predictions.read(result.folder / "predictions.csv")
    }


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test: twice the tail of a binomial distribution with probability ½.

    The arguments are the numbers of images that only the first and only the second net classifies correctly.

    >>> mcnemar(1, 7)  # 2 · (1 + 8) / 2⁸
    0.0703125
    """
    n, k = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for the number of tests (Holm's step-down method), in the same order.

    >>> holm([0.5, 0.125, 0.25])
    [0.5, 0.375, 0.5]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def classes_table(study: Study) -> Table:
    """Accuracy by class and confusion counts, one row for each net, subset and way of testing."""
    rows = []
    for net in study.nets:
        tested = pooled(net).values()
        for way, title in WAY_TITLES.items():
            cells = []
            for label in (paper.NEGATIVE, paper.POSITIVE):
                right = [one.is_right(way) for one in tested if one.label == label]
                cells += [sum(right), len(right) - sum(right), _rate(right)]
            overall = _rate([one.is_right(way) for one in tested])
            rows.append([net.title, SUBSET_TITLES[net.subset], title, *cells, overall])
    groups = ("negative images", "positive images")
    by_class = [(group, name) for group in groups for name in ("right", "wrong", "accuracy")]
    header = ["net", "subset", "tested by", *by_class, "accuracy"]
    notes = [
        *departures.about(study),
        "Counts over the test images of the folds there are, pooled; a wrong negative image was answered positive, and "
        "the other way round. Accuracy here is that of the pooled images, the last column's too.",
        *_seeds_note(study),
    ]
    return Table("classes", "Accuracy by class and confusion", notes, header, rows, study.demo)


def mcnemar_tables(study: Study) -> list[Table]:
    """McNemar's test between any two nets of a subset, both ways of testing; an empty list if no subset has two."""
    found = []
    for subset in paper.SUBSETS:
        nets = [net for net in study.nets if net.subset == subset]
        tested = {net.title: pooled(net) for net in nets}
        for (one, of_one), (other, of_other) in itertools.combinations(tested.items(), 2):
            same = [key for key in of_one if key in of_other and of_one[key].label == of_other[key].label]
            for way, title in WAY_TITLES.items():
                pairs = [(of_one[key].is_right(way), of_other[key].is_right(way)) for key in same]
                if pairs:
                    counts = [pairs.count(both) for both in itertools.product((True, False), (True, False))]
                    p = mcnemar(counts[1], counts[2])
                    found.append(([one, other, SUBSET_TITLES[subset], title, len(pairs), *counts], p))
    adjusted = holm([p for _, p in found])
    rows = [[*cells, _p(p), _p(corrected)] for (cells, p), corrected in zip(found, adjusted, strict=True)]
    counted = ["images", "both right", "only first", "only second", "both wrong"]
    header = ["first net", "second net", "subset", "tested by", *counted, "p", "p (Holm)"]
    notes = [
        *departures.about(study),
        "McNemar's exact test over the images both nets were tested on, in the same fold; p: how likely so uneven a "
        "split of “only first” and “only second” would be, were both nets equally good on such images (two-sided). "
        f"p (Holm) is adjusted for there being {len(rows)} tests here.",
        "Nets of different folds share four fifths of their training images, so images are not quite independent.",
        *_seeds_note(study),
    ]
    return [Table("mcnemar", "McNemar's test between nets", notes, header, rows, study.demo)] if rows else []


def _seeds_note(study):
    several = any(len(net.by_seed) > 1 for net in study.nets)
    return ["Of several seeds, the lowest that has most folds."] if several else []


def _rate(right):
    """The fraction of correct predictions, as a cell."""
    return Number(sum(right) / len(right)) if right else NOTHING


def _p(value):
    return Number(value, "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0"))
