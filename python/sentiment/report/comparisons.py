"""Tables the paper does not have, which say what its accuracies can show: intervals, confusion, McNemar's test.

The intervals and the accuracies beside them are means over folds. Confusion and McNemar's test are counted over the
test images of all folds together; each was tested once, by the net of its fold.
"""

import itertools
import statistics

from sentiment import paper
from sentiment.evaluation import predictions
from sentiment.evaluation.predictions import Prediction
from sentiment.evaluation.uncertainty import corrected_interval, holm, mcnemar
from sentiment.names import SUBSET_TITLES, WAY_TITLES
from sentiment.report import departures
from sentiment.report.study import Net, Study
from sentiment.report.tables import NOTHING, Interval, Number, Table

MOST_NETS = 6
"""Of more nets of a subset, not every pair is compared."""
REFERENCE = ("finetune", "caffenet")  # arch and init of the net that most of the paper's tables have

Tested = dict[int, dict[int, list[Prediction]]]
"""Seed -> fold -> predictions, both ascending."""


def tested(net: Net) -> Tested:
    """A net's predictions; results without predictions.csv are left out."""
    found = {
        seed: {result.config.fold: _read(result) for result in of_seed if _path(result).is_file()}
        for seed, of_seed in net.by_seed.items()
    }
    return {seed: folds for seed, folds in found.items() if folds}


def pooled(net: Net) -> list[Prediction]:
    """A net's predictions of all folds, those of the seed with most folds; of several, of the lowest."""
    return list(itertools.chain(*max(tested(net).values(), key=len, default={}).values()))


def interval_tables(study: Study) -> list[Table]:
    """Mean, 95 % interval and accuracy by class, one row for each net, subset and way; an empty list for no net."""
    rows = []
    for net in study.nets:
        read = [(result.config.fold, _read(result)) for result in net.results]
        for way, title in WAY_TITLES.items():
            cells = [_of_class(read, label, way) for label in (paper.NEGATIVE, paper.POSITIVE)]
            rows.append([net.title, SUBSET_TITLES[net.subset], title, net.score(way), _interval(net, way), *cells])
    by_class = [("accuracy by class", "negative"), ("accuracy by class", "positive")]
    header = ["net", "subset", "tested by", "mean", "95 % interval", *by_class]
    notes = [
        *departures.about(study),
        f"The ± is the {'sample' if study.sample else 'population'} standard deviation. 95 % interval: the corrected "
        "resampled t interval of Nadeau and Bengio (2003), which takes into account that folds share training images. "
        "It extends t × s × the square root of (1/k + test images/training images) to both sides of the mean over k "
        "folds, with s their sample standard deviation and t Student's 97.5 % quantile for k − 1 degrees of freedom, "
        "and is cut at 0 and 1. It was derived for random divisions into training and test images, and is an "
        "approximation for folds. One fold has no interval.",
        *_seeds_note(study, "A fold with several seeds counts once, with the mean over its seeds."),
        "Accuracy by class: that on the negative and that on the positive images (their recall), as means over folds.",
        *_missing_note(study),
    ]
    title = "Mean accuracy with its 95 % interval, and by class"
    return [Table("intervals", title, notes, header, rows, study.demo)] if rows else []


def classes_table(study: Study) -> Table:
    """Accuracy by class and confusion counts, one row for each net, subset and way of testing."""
    rows = []
    for net in study.nets:
        images = pooled(net)
        for way, title in WAY_TITLES.items():
            cells = []
            for label in (paper.NEGATIVE, paper.POSITIVE):
                right = [one.is_right(way) for one in images if one.label == label]
                cells += [sum(right), len(right) - sum(right), _rate(right)]
            overall = _rate([one.is_right(way) for one in images])
            rows.append([net.title, SUBSET_TITLES[net.subset], title, *cells, overall])
    groups = ("negative images", "positive images")
    by_class = [(group, name) for group in groups for name in ("right", "wrong", "accuracy")]
    header = ["net", "subset", "tested by", *by_class, "accuracy"]
    notes = [
        *departures.about(study),
        "Counts over the test images of the folds there are, pooled; a wrong negative image was answered positive, and "
        "the other way round. Accuracy here is that of the pooled images, the last column's too.",
        *_seeds_note(study, "Of several seeds, the lowest that has most folds."),
        *_missing_note(study),
    ]
    return Table("classes", "Accuracy by class and confusion", notes, header, rows, study.demo)


def mcnemar_tables(study: Study) -> list[Table]:
    """McNemar's test between nets of a subset (see `pairs`), both ways of testing; an empty list if there is no pair.

    A pair is tested on the folds that both nets have. It is left out, and named in a note, if a fold's images or labels
    differ.
    """
    found, differing = [], []
    predicted = {id(net): tested(net) for net in study.nets}
    for one, other in pairs(study):
        tests = _shared_folds(predicted[id(one)], predicted[id(other)])
        if any(_labels(first) != _labels(second) for first, second in tests):
            differing.append(f"{one.title} and {other.title}, {SUBSET_TITLES[one.subset]}")
            continue
        images = [both for first, second in tests for both in zip(first, second, strict=True)]
        for way, title in WAY_TITLES.items():
            right = [(a.is_right(way), b.is_right(way)) for a, b in images]
            if right:
                counts = [right.count(both) for both in itertools.product((True, False), (True, False))]
                cells = [one.title, other.title, SUBSET_TITLES[one.subset], title, len(right), *counts]
                found.append((cells, mcnemar(counts[1], counts[2])))
    adjusted = holm([p for _, p in found])
    rows = [[*cells, _p(p), _p(corrected)] for (cells, p), corrected in zip(found, adjusted, strict=True)]
    counted = ["images", "both right", "only first", "only second", "both wrong"]
    header = ["first net", "second net", "subset", "tested by", *counted, "p", "p (Holm)"]
    notes = [
        *departures.about(study),
        "McNemar's exact test (binomial, two-sided) over the test images of the folds both nets have, pooled; p: how "
        "likely so uneven a split of “only first” and “only second” would be, were both nets equally good on such "
        f"images. p (Holm) is adjusted for there being {len(rows)} tests in all, two for each pair.",
        f"Any two nets of a subset are compared; where it has more than {MOST_NETS}, each with the fine-tuned CaffeNet "
        "and with the net that is best by ten crops. That one is chosen by the same images, so its p-values are "
        "somewhat too small. Also compared are a variant with the default, and a probe, of which only the new layer "
        "learns, with its fine-tuned net.",
        "The test takes images as independent. They are not quite: a fold's images were tested by the same net, and "
        "nets of different folds share three quarters of their training images. So p is an approximation.",
        *_seeds_note(study, "Of several seeds that both nets have, the lowest that has most folds."),
        *([f"Not compared, because their test images differ: {'; '.join(differing)}."] if differing else []),
        *_missing_note(study),
    ]
    return [Table("mcnemar", "McNemar's test between nets", notes, header, rows, study.demo)] if rows else []


def pairs(study: Study) -> list[tuple[Net, Net]]:
    """The pairs of nets that are compared, in the order of the study.

    They are any two default nets of a subset; of more than `MOST_NETS`, those with the `REFERENCE` or the best by ten
    crops. A variant is compared with its default, and a probe (``probe``, ``fc9-probe``) with its fine-tuned net.
    """
    found = []
    for subset in paper.SUBSETS:
        default = [net for net in study.default_nets if net.subset == subset]
        central = default
        if len(default) > MOST_NETS:
            best = max(default, key=lambda net: statistics.fmean(one.accuracy["oversampled"] for one in net.results))
            central = [net for net in default if net is best or net.key[:2] == REFERENCE]
        for one, other in itertools.combinations((net for net in study.nets if net.subset == subset), 2):
            asked = not (one.variant or other.variant) and any(net in (one, other) for net in central)
            if asked or _is_counterpart(one, other) or _is_counterpart(other, one):
                found.append((one, other))
    return found


def _is_counterpart(net, other):
    """Whether ``other`` is the default of a variant or the fine-tuned net of a probe."""
    of_probe = net.arch.removesuffix("probe").removesuffix("-") or "finetune"
    is_default = net.arch == other.arch and net.variant and not other.variant
    is_tuned = net.arch.endswith("probe") and other.arch == of_probe and net.variant == other.variant
    return net.init == other.init and (is_default or is_tuned)


def _shared_folds(first: Tested, second: Tested):
    """Pairs of predictions, a pair for each fold of the lowest seed that both have, with as many folds as any.

    Nets without a common seed are compared by the lowest seeds with most common folds.
    """
    seeds = [(seed, seed) for seed in first if seed in second] or itertools.product(first, second)
    by_seed = [[(first[a][fold], second[b][fold]) for fold in first[a] if fold in second[b]] for a, b in seeds]
    return max(by_seed, key=len, default=[])


def _labels(images):
    return [(one.image, one.label) for one in images]


def _path(result):
    return result.folder / "predictions.csv"


def _read(result):
    """A result's predictions in the order of their images' names; none if predictions.csv is missing."""
    found = predictions.read(_path(result)) if _path(result).is_file() else []
    return sorted(found, key=lambda one: one.image)


def _interval(net, way):
    """The interval of a net's mean over folds, as a cell."""
    folds = [[one for one in net.results if one.config.fold == fold] for fold in net.folds]
    accuracies = [statistics.fmean(one.accuracy[way] for one in of_fold) for of_fold in folds]
    ratio = sum(one.test_images for one in net.results) / sum(map(departures.train_images, net.results))
    found = corrected_interval(accuracies, ratio)
    return Interval(max(0.0, found[0]), min(1.0, found[1])) if found else NOTHING


def _of_class(read, label, way):
    """The mean over folds of the accuracy on a class, as a cell; ``read`` has (fold, predictions) of each result."""
    by_fold: dict[int, list[float]] = {}
    for fold, images in read:
        right = [one.is_right(way) for one in images if one.label == label]
        if not right:
            return NOTHING
        by_fold.setdefault(fold, []).append(statistics.fmean(right))
    return Number(statistics.fmean(map(statistics.fmean, by_fold.values())))


def _seeds_note(study, note):
    return [note] if any(len(net.by_seed) > 1 for net in study.nets) else []


def _missing_note(study):
    """A note that names the nets and folds whose predictions.csv is missing, if there are any."""
    titled = [(net.title, result) for net in study.nets for result in net.results]
    missing = departures.whose(titled, ["" if _path(result).is_file() else "missing" for _, result in titled])
    return [f"Not counted, because predictions.csv is missing: {missing['missing']}."] if "missing" in missing else []


def _rate(right):
    """The fraction of correct predictions, as a cell."""
    return Number(sum(right) / len(right)) if right else NOTHING


def _p(value):
    return Number(value, "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0"))
