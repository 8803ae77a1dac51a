"""Table 3: what the layer analysis found, beside the paper's numbers."""

from sentiment import paper, results, tables

CLASSIFIERS = {"svm": "SVM", "softmax": "Softmax"}
CHOSEN = {  # selection -> how C was chosen: a few words for the title, a sentence for the notes
    "paper": (
        "on the test images (the paper's way)",
        "C = 2^N is the one of the best mean accuracy on the test images, per layer and classifier: the paper's way, "
        "which is optimistic.",
    ),
    "nested": (
        "inside the training images (nested)",
        "C = 2^N is chosen per fold by {inner_folds}-fold cross-validation inside the training images; the test images "
        "have no part in it.",
    ),
}
_FINE_TUNED = "(The fold's net was fine-tuned on all of these, so they look easier than new images.)"
_MEANS = {"image": "the mean image resized to the crop", "channels": "the channels' means"}


def table(summary, selection, sample=False):
    """Table 3 for one net: accuracy of both classifiers on every layer, the paper's rows beside them.

    Parameters
    ----------
    summary : dict
        What a layers.json holds, see `layer_analysis.Analysis.summary`.
    selection : str
        How C was chosen, one of ``layer_analysis.SELECTIONS``; named in the table.
    sample : bool
        Sample standard deviation instead of the population's.

    Returns
    -------
    tables.Table
    """
    published = _published(summary)
    columns = ["", "N", "paper", "difference"]
    header = ["layer", *(f"{title} {column}".strip() for title in CLASSIFIERS.values() for column in columns)]
    rows = [
        [
            layer,
            *(cell for name in CLASSIFIERS for cell in _cells(layer, name, entry[name][selection], published, sample)),
        ]
        for layer, entry in summary["layers"].items()
    ]
    demo = "DEMO DATA, " if summary["demo"] else ""
    title = f"{demo}Table 3: linear classifiers on layers, mean ± std over folds, C chosen {CHOSEN[selection][0]}"
    file = "table3" if selection == "paper" else f"table3-{selection}"
    return tables.Table(file, title, _notes(summary, selection, sample), header, rows)


def _published(summary):
    """The paper's rows, empty for a net of another build: its layers of the same names are not the same."""
    return paper.TABLE3 if "norm2" in summary["layers"] else {}


def _cells(layer, classifier, chosen, published, sample):
    """Score, exponents, the paper's score and the difference of one layer and classifier."""
    mean, std = results.mean_std(chosen["accuracy"].values(), sample)
    exponents = " ".join(map(str, sorted(set(chosen["exponent"].values()))))
    layer = "fc8" if layer == paper.NEW_LAYERS["finetune"] else layer
    if layer not in published:
        return results.score(mean, std), exponents, tables.NOTHING, tables.NOTHING
    of_paper = published[layer][classifier]
    difference = round(mean - of_paper[0], 3) + 0.0  # no -0
    return results.score(mean, std), exponents, results.score(*of_paper), f"{difference:+.3f}".replace("0.", ".", 1)


def _notes(summary, selection, sample):
    """What the numbers are of."""
    data = (
        f"DEMO DATA ({summary['dataset']}), drawn pictures: not comparable with the paper's numbers."
        if summary["demo"]
        else f"Data set: {summary['dataset']}."
    )
    deviation = f"The ± is the {'sample' if sample else 'population'} standard deviation."
    net = f"Net: {_net_title(summary)}; {tables.SUBSET_TITLES[summary['subset']]}, {summary['images']} images."
    if summary["folds"] != list(paper.FOLDS):
        net += f" Folds {' '.join(map(str, summary['folds']))} only."
    if _published(summary):
        net += " The paper's rows are of CaffeNets fine-tuned on the five-agree subset."
    chosen = CHOSEN[selection][1].format(**summary)
    if selection == "nested" and summary["arch"] != "source":
        chosen = f"{chosen} {_FINE_TUNED}"
    return [f"{data} {deviation}", f"{net} Subtracted: {_MEANS[summary['mean_way']]}.", chosen, _convergence(summary)]


def _net_title(summary):
    """What the layers are of."""
    if summary["arch"] == "source":
        return f"{paper.INITIALISATIONS.get(summary['init'], summary['init'])} as it is, not fine-tuned"
    return f"{tables.net_title(summary['arch'], summary['init'])}, each fold's own"


def _convergence(summary):
    """A sentence or two on the solvers."""
    said = []
    for name, title in CLASSIFIERS.items():
        failed = {layer: entry[name]["not_converged"] for layer, entry in summary["layers"].items()}
        fits = sum(entry[name]["fits"] for entry in summary["layers"].values())
        where = ", ".join(f"{layer} {count}" for layer, count in failed.items() if count)
        said.append(
            f"{title}: {sum(failed.values())} of {fits} fits stopped before they converged ({where})."
            if where
            else f"{title}: all {fits} fits converged."
        )
    flat = {}  # exponent -> layers whose SVM is the same from there on, in every fold
    for layer, entry in summary["layers"].items():
        if None not in (exponents := entry["svm"]["flat_from"].values()):
            flat.setdefault(max(exponents), []).append(layer)
    if flat:
        every = len(summary["layers"])
        least = "; ".join(
            f"{exponent} ({'every layer' if len(layers) == every else ', '.join(layers)})"
            for exponent, layers in sorted(flat.items())
        )
        said.append(f"Margins are hard, so the SVM stays the same, from N = {least} on.")
    return " ".join(said)
