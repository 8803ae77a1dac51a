"""Table 3: the results of the layer analysis beside the paper's numbers."""

from typing import Any

from sentiment import paper
from sentiment.analysis.layer_summary import Summary
from sentiment.evaluation import results
from sentiment.names import SUBSET_TITLES, net_title
from sentiment.report.study import folds_text
from sentiment.report.tables import NOTHING, Score, Table, difference, published

CLASSIFIERS = {"svm": "SVM", "softmax": "Softmax"}
CHOSEN = {  # selection -> how C was chosen, for the title and for the notes
    "paper": (
        "on the test images (the paper's way)",
        "C = 2^N is the one with the best mean accuracy on the test images, per layer and classifier: the paper's way, "
        "which is optimistic.",
    ),
    "nested": (
        "inside the training images (nested)",
        "C = 2^N is chosen per fold by {inner_folds}-fold cross-validation on the training images; the test images "
        "are not used.",
    ),
}
_FINE_TUNED = "(The fold's net was fine-tuned on all of these, so they look easier than new images.)"
_EARLIER = (
    "Softmax was fitted by an earlier version, without a penalty on the intercept; tools/analyze_layers.py fits it "
    "again, the authors' way."
)
_MEANS = {"image": "the mean image resized to the crop", "channels": "the means of the channels"}


def table(summary: Summary, selection: str, sample=False) -> Table:
    """Table 3 for one net: accuracy of both classifiers on every layer, the paper's rows beside them.

    ``selection``, one of ``layer_summary.SELECTIONS``, is how C was chosen. With ``sample``, the standard deviation is
    that of a sample instead of the population's.
    """
    of_paper = _published(summary)
    columns = ["here", "N"]
    if of_paper:
        columns += ["paper"] if summary.demo else ["paper", "difference"]
    rows = []
    for layer, entry in summary.layers.items():
        row: list = [layer]
        for name in CLASSIFIERS:
            chosen = getattr(getattr(entry, name), selection)
            mean, std = results.mean_std(chosen.accuracy.values(), sample)
            here = Score(mean, std if len(chosen.accuracy) > 1 else None)
            beside = of_paper.get("fc8" if layer == paper.NEW_LAYER else layer, {}).get(name)
            cells: dict[str, Any] = {
                "here": here,
                "N": " ".join(map(str, sorted(set(chosen.exponent.values())))),
                "paper": published(beside),
                "difference": difference(here, beside),
            }
            row += [cells[column] for column in columns]
        rows.append(row)
    title = f"Table 3: linear classifiers on layers, mean ± std over folds, C chosen {CHOSEN[selection][0]}"
    file = "table3" if selection == "paper" else f"table3-{selection}"
    return Table(file, title, _notes(summary, selection, sample), _header(columns), rows, summary.demo)


def not_run(demo: bool) -> Table:
    """Table 3 with the paper's numbers only, for a layer analysis that was not run."""
    rows = [
        [layer, NOTHING, published(scores["svm"]), NOTHING, published(scores["softmax"])]
        for layer, scores in paper.TABLE3.items()
    ]
    notes = ["Not run: tools/extract_features.py and tools/analyze_layers.py fill it."]
    return Table("table3", "Table 3: linear classifiers on layers", notes, _header(["here", "paper"]), rows, demo)


def _header(columns):
    return ["layer", *((title, column) for title in CLASSIFIERS.values() for column in columns)]


def _published(summary):
    """The paper's rows; empty for a net of another architecture, even if some of its layers have the same names."""
    return paper.TABLE3 if "norm2" in summary.layers else {}


def _notes(summary, selection, sample):
    """The table's notes: its data set, net and mean, how C was chosen, and how many fits converged."""
    deviation = f"The ± is the {'sample' if sample else 'population'} standard deviation."
    if summary.arch == "source":
        of = f"{paper.INITIALISATIONS.get(summary.source, summary.source)} as it is, not fine-tuned"
    else:
        variant = f" ({summary.variant})" if summary.variant else ""
        of = f"{net_title(summary.arch, summary.source)}{variant}, each fold's own"
    net = f"Net: {of}; {SUBSET_TITLES[summary.subset]}, {summary.images} images."
    if summary.folds != list(paper.FOLDS):
        net += f" {folds_text(summary.folds).capitalize()} only."
    if _published(summary):
        net += " The paper's rows are of CaffeNets fine-tuned on the five-agree subset"
        net += "." if summary.demo else "; a difference is within its standard deviation, or beyond it."
    chosen = CHOSEN[selection][1].format(inner_folds=summary.inner_folds)
    if selection == "nested" and summary.arch != "source":
        chosen = f"{chosen} {_FINE_TUNED}"
    return [
        f"Data set: {summary.dataset}. {deviation}",
        f"{net} Subtracted: {_MEANS[summary.mean_way]}."
        + (f" Features computed in {summary.precision}." if summary.precision else ""),
        chosen,
        _convergence(summary),
        *([] if summary.classifiers is not None else [_EARLIER]),
    ]


def _convergence(summary):
    """Sentences on how many fits converged, and on the C from which the SVM stays the same."""
    sentences = []
    for name, title in CLASSIFIERS.items():
        failed = {layer: getattr(entry, name).not_converged for layer, entry in summary.layers.items()}
        fits = sum(getattr(entry, name).fits for entry in summary.layers.values())
        said = f"all {fits} fits converged"
        if where := ", ".join(f"{layer} {count}" for layer, count in failed.items() if count):
            said = f"{sum(failed.values())} of {fits} fits stopped before they converged ({where})"
        sentences.append(f"{title}: {said}.")
    flat: dict[int, list] = {}  # exponent -> layers whose SVM is the same from there on, in every fold
    for layer, entry in summary.layers.items():
        if None not in (exponents := entry.svm.flat_from.values()):
            flat.setdefault(max(exponents), []).append(layer)
    if flat:
        every = len(summary.layers)
        least = "; ".join(
            f"{exponent} ({'every layer' if len(layers) == every else ', '.join(layers)})"
            for exponent, layers in sorted(flat.items())
        )
        sentences.append(f"Margins are hard, so the SVM stays the same, from N = {least} on.")
    return " ".join(sentences)
