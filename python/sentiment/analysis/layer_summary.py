"""layers.json: what the layer analysis of a net's folds found, as records.

The attributes are the keys of the file, in its order. Those that are None by default may be absent from it.
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
    """The C = 2^N that were chosen in one way."""

    exponent: dict  # fold -> N
    accuracy: dict  # fold -> accuracy on its test images


@dataclass(frozen=True)
class Classifier:
    """One classifier on one layer."""

    fits: int
    not_converged: int  # how many of the fits their solver gave up
    flat_from: dict | None  # of the SVM, fold -> the N from which it stays the same, or None
    accuracy: dict  # fold -> on its test images, a value for each C
    inner: dict  # fold -> over inner folds of its training images, a value for each C, or None
    paper: Chosen
    nested: Chosen | None = None  # None where a fold has no inner folds


@dataclass(frozen=True)
class Layer:
    """One layer and both classifiers."""

    features: int  # numbers an image has there
    svm: Classifier
    softmax: Classifier


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layer analysis of one net."""

    dataset: str
    demo: bool
    subset: str
    arch: str  # "source" for a source as it is, not fine-tuned
    init: str
    card: str | None = None  # the model card whose file the source is, or empty
    variant: str = ""
    images: int
    folds: list
    exponents: list  # the grid: N of C = 2^N
    inner_folds: int
    mean_way: str  # one of features.MEAN_WAYS
    precision: str | None = None  # what the features were computed in, where that was not float32
    classifiers: dict | None = None  # name -> its scikit-learn equivalent; the first version did not record it
    engine: str
    versions: dict
    weights: dict  # fold -> SHA-256
    layers: dict  # name -> Layer, from the output to the input

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
    """Read a layers.json, also of an earlier version; a `UserError` names a damaged one."""
    record = read_json(path)
    try:
        layers = {
            name: Layer(entry["features"], _classifier(entry["svm"]), _classifier(entry["softmax"]))
            for name, entry in record["layers"].items()
        }
        return Summary(**{**record, "weights": _by_fold(record["weights"]), "layers": layers})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a layer analysis; remove it, or run tools/analyze_layers.py again") from error


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
