"""layers.json: what the layer analysis of a net's folds found, as records.

The attributes are the keys of the file, in its order; one that is None by default may be absent from it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from sentiment import names
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_json

FILE = "layers.json"  # of all folds, beside their folders
SELECTIONS = ("paper", "nested")
"""C of the best mean accuracy on the test images, or by inner folds of the training images alone."""


@dataclass(frozen=True)
class Chosen:
    """The C = 2^N that were chosen: fold -> N (``exponent``), and its accuracy on the fold's test images."""

    exponent: dict
    accuracy: dict


@dataclass(frozen=True)
class Classifier:
    """One classifier on one layer.

    Attributes
    ----------
    fits, not_converged : int
        How many fits there were, and how many of them their solver gave up.
    flat_from : dict of int to (int or None), or None
        Fold -> the N from which the SVM stays the same; None for another classifier.
    accuracy : dict of int to list of float
        Fold -> accuracy on its test images, a value a C.
    inner : dict of int to (list of float or None)
        Likewise over inner folds of its training images; None where there were none.
    paper, nested : Chosen
        Each way of `SELECTIONS`; ``nested`` is None where some fold had no inner folds.
    """

    fits: int
    not_converged: int
    flat_from: dict | None
    accuracy: dict
    inner: dict
    paper: Chosen
    nested: Chosen | None = None


@dataclass(frozen=True)
class Layer:
    """One layer: its number of features an image, and both classifiers."""

    features: int
    svm: Classifier
    softmax: Classifier


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layer analysis of one net.

    Attributes
    ----------
    arch : str
        ``source`` for an initialisation as it is, not fine-tuned.
    card : str
        The model card whose file the source is, or empty; None where it was not recorded.
    images : int
    folds : list of int
    exponents : list of int
        The grid: N of C = 2^N.
    inner_folds : int
    mean_way : str
        One of ``features.MEAN_WAYS``.
    precision : str
        What the features were computed in, where that was not float32.
    classifiers : dict
        What of scikit-learn each classifier minimises; None for an earlier version, which penalised no intercept.
    engine, versions
        What the features were computed with.
    weights : dict of int to str
        Fold -> SHA-256.
    layers : dict of str to Layer
        From the output to the input.
    """

    dataset: str
    demo: bool
    subset: str
    arch: str
    init: str
    card: str | None = None
    variant: str = ""
    images: int
    folds: list
    exponents: list
    inner_folds: int
    mean_way: str
    precision: str | None = None
    classifiers: dict | None = None
    engine: str
    versions: dict
    weights: dict
    layers: dict

    @property
    def source(self):
        """The source of the net, see `names.source_name`."""
        return names.source_name(self.init, self.card)

    @property
    def selections(self):
        """Those of `SELECTIONS` that every layer has."""
        return [way for way in SELECTIONS if all(getattr(layer.svm, way) for layer in self.layers.values())]


_OPTIONAL = {"card", "precision", "classifiers", "nested"}


def write(path, summary):
    """Write a `Summary` to a layers.json."""

    def present(items):
        return {key: value for key, value in items if value is not None or key not in _OPTIONAL}

    write_json(path, asdict(summary, dict_factory=present))


def read(path) -> Summary:
    """Read a layers.json, also of an earlier version; a `UserError` names a file that is none."""
    record = read_json(path)
    try:
        layers = {
            name: Layer(entry["features"], _classifier(entry["svm"]), _classifier(entry["softmax"]))
            for name, entry in record["layers"].items()
        }
        return Summary(**{**record, "weights": _by_fold(record["weights"]), "layers": layers})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no layer analysis; remove it, tools/analyze_layers.py writes it again") from error


def collect(root) -> list[Summary]:
    """Every net's summary under a folder of runs, by data set, subset, architecture and initialisation."""
    found = [read(path) for path in Path(root).glob(f"**/{FILE}")]
    return sorted(found, key=lambda summary: (summary.dataset, summary.subset, summary.arch, summary.init))


def _classifier(entry):
    by_fold = {key: _by_fold(entry[key]) for key in ("flat_from", "accuracy", "inner")}
    chosen = {
        way: Chosen(*(_by_fold(entry[way][key]) for key in ("exponent", "accuracy")))
        for way in SELECTIONS
        if way in entry
    }
    return Classifier(**{**entry, **by_fold, **chosen})


def _by_fold(values):
    """A mapping by fold as JSON has it, whose keys are text there."""
    return values and {int(fold): value for fold, value in values.items()}
