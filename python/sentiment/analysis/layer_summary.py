"""layers.json: the results of the layer analysis of a net's folds, as typed records.

The attributes are the keys of the file, in its order. Those that are None by default may be absent from it.
"""

from dataclasses import dataclass
from pathlib import Path

from sentiment import names
from sentiment.utils import records
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_json

FILE = "layers.json"  # of all folds, beside their folders
SELECTIONS = ("paper", "nested")
"""How C is chosen: by the mean accuracy on the test images, or by inner folds of the training images."""


@dataclass(frozen=True)
class Chosen:
    """The C = 2^N that one of `SELECTIONS` chooses."""

    exponent: dict[int, int]  # fold -> N
    accuracy: dict[int, float]  # fold -> accuracy on its test images


@dataclass(frozen=True)
class Classifier:
    """One classifier on one layer."""

    fits: int
    not_converged: int  # number of fits that stopped before they converged
    flat_from: dict[int, int | None] | None  # SVM only: fold -> the N from which it stays the same, or None
    accuracy: dict[int, list]  # fold -> accuracy on its test images for each C
    inner: dict[int, list | None]  # fold -> mean accuracy over its inner folds for each C, or None
    paper: Chosen
    nested: Chosen | None = None  # None if a fold was analysed without inner folds


@dataclass(frozen=True)
class Layer:
    """One layer and both classifiers."""

    features: int  # number of features of an image
    svm: Classifier
    softmax: Classifier


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layer analysis of one net."""

    dataset: str
    demo: bool
    subset: str
    arch: str  # "source" for a source that is not fine-tuned
    init: str
    card: str | None = None  # the model card whose file the source is; empty if it is none's
    variant: str = ""
    images: int
    folds: list
    exponents: list  # the grid: N of C = 2^N
    inner_folds: int
    mean_way: str  # one of features.MEAN_WAYS
    precision: str | None = None  # what the features were computed in, if not in float32
    classifiers: dict | None = None  # name -> its scikit-learn equivalent; the first version did not record it
    engine: str | dict  # a mapping of name and version in the first version
    versions: dict
    weights: dict[int, str]  # fold -> SHA-256
    layers: dict[str, Layer]  # by name, from the output to the input

    @property
    def source(self):
        """The name of the net's source (see `names.source_name`)."""
        return names.source_name(self.init, self.card)

    @property
    def selections(self):
        """Those of `SELECTIONS` that every layer has."""
        return [way for way in SELECTIONS if all(getattr(layer.svm, way) for layer in self.layers.values())]


def write(path, summary: Summary):
    """Write a layers.json."""
    write_json(path, records.to_json(summary))


def read(path) -> Summary:
    """Read a layers.json, also of an earlier version; a `UserError` names a damaged one."""
    try:
        return records.read(Summary, read_json(path), path)
    except UserError as error:
        raise UserError(f"{error}; remove that file, or run tools/analyze_layers.py again") from error


def collect(root) -> list[Summary]:
    """Every net's summary under a folder of runs, by data set, subset, architecture and initialisation."""
    found = [read(path) for path in Path(root).glob(f"**/{FILE}")]
    return sorted(found, key=lambda summary: (summary.dataset, summary.subset, summary.arch, summary.init))
