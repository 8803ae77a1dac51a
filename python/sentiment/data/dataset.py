"""A data set: its images, the labels of each subset, and the schedule that suits it.

Two layouts are read. The project's own::

    DATA/images/*.jpg            DATA/twitter_five_agrees.txt   (and four, three)

and that of the DeepSent Twitter archive: a folder ``Agg_AMT_Candidates`` with the images, and label files
(``twitter_five_agrees.txt``, ``five_agrees.txt`` or ``five_agree.txt``) beside it or in ``ground_truth``; without label
files, the labels in `MANIFEST` are used. DATA may be that folder or its parent. `lists.read` reads the label files.

``DATA/dataset.yaml`` is optional. Its keys ``name``, ``note`` and ``demo`` (the images are drawn, which every table
says) describe the data set; the other keys override the schedule of training.
"""

import csv
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sentiment.data import lists
from sentiment.paper import ANNOTATORS, SUBSETS
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, read_text
from sentiment.utils.yaml_files import COUNT, POSITIVE, TEXT, YES_OR_NO, checked, read_mapping

MANIFEST = PROJECT / "splits" / "deepsent_manifest.tsv"
"""A line for each image of the DeepSent Twitter set: size, SHA-256, width, height, label, annotators who agree."""
WEAK, WEAK_LIST = "weak", "list.txt"
"""The only subset of a folder of weakly labelled pictures, and the file of its labels."""

_DESCRIPTION = {"name": TEXT, "note": TEXT, "demo": YES_OR_NO}
_SCHEDULE = {  # a key's value may also be a mapping of subsets to values
    "channels_divisor": COUNT,
    "batch_size": COUNT,
    "iterations": COUNT,
    "stepsize": COUNT,
    "base_lr": POSITIVE,
    "gamma": POSITIVE,
    "momentum": POSITIVE,
    "weight_decay": POSITIVE,
}


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one DATA folder."""

    folder: Path  # as given by the user
    name: str  # as folders are named: from dataset.yaml, else `deepsent` for those images, else the folder's
    images: Path  # the folder that image names are relative to
    labels: dict[str, list[tuple[str, int]]]  # subset -> (image, label) pairs, in the label file's order
    deepsent: bool = False  # the images are of the DeepSent Twitter set, so the published folds apply
    demo: bool = False  # the images are drawn
    note: str = ""
    schedule: dict = field(default_factory=dict)  # the schedule keys of dataset.yaml, see `setting`

    def subset(self, subset: str) -> list[tuple[str, int]]:
        """The (image, label) pairs of one subset; a `UserError` if there are no labels for it."""
        if subset not in self.labels:
            raise UserError(
                f"{self.folder} has no labels for {subset}: expected {self.folder / f'twitter_{subset}.txt'} "
                f"(there are labels for {', '.join(self.labels)})"
            )
        return self.labels[subset]

    def setting(self, key: str, subset: str | None, default=None):
        """The value ``dataset.yaml`` gives a schedule key for a subset, or ``default``."""
        value = self.schedule.get(key, default)
        return value.get(subset, default) if isinstance(value, dict) else value

    def missing(self, names) -> list[str]:
        """The given image names that have no file in `images`, in the given order."""
        return [name for name in names if not (self.images / name).is_file()]


def load(folder) -> Dataset:
    """Read a DATA folder.

    A `UserError` says that there is no such folder, or no images or labels in it, or names the line of a label file
    or the key of ``dataset.yaml`` that is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"DATA: {folder} is not a folder; run `make data` for the DeepSent images, or `make demo` for drawn ones"
        )
    images = _images_folder(folder)
    files = {subset: _label_file(images.parent, subset) for subset in SUBSETS}
    labels = {subset: lists.read(path, unique=True) for subset, path in files.items() if path}
    if not labels and all((images / name).is_file() for name in manifest()):
        labels = {subset: manifest_labels(subset) for subset in SUBSETS}
    if not labels:
        raise UserError(
            f"{folder} has no label file: expected twitter_five_agrees.txt (or four, three) with `name label` lines"
        )
    return _described(folder, images, labels, all(_is_deepsent(subset, pairs) for subset, pairs in labels.items()))


def load_weak(folder) -> Dataset:
    """Read a folder of weakly labelled pictures: ``images/``, their labels ``list.txt`` and ``dataset.yaml``, if any.

    The labels are those of the subset `WEAK`. A `UserError` says what is missing, or names the line or key that is
    wrong.
    """
    folder = Path(folder)
    for path, is_there in ((folder / "images", Path.is_dir), (folder / WEAK_LIST, Path.is_file)):
        if not is_there(path):
            raise UserError(f"WEAK: no {path}; a folder of weakly labelled pictures has images/ and {WEAK_LIST}")
    return _described(folder, folder / "images", {WEAK: lists.read(folder / WEAK_LIST, unique=True)})


def _described(folder, images, labels, deepsent=False):
    """The data set in a folder, with what its ``dataset.yaml`` says of it."""
    description = _description(folder / "dataset.yaml")
    name = description.get("name") or ("deepsent" if deepsent else folder.resolve().name)
    return Dataset(
        folder=folder,
        name=re.sub(r"[^\w.-]+", "-", name).strip(".-") or "data",
        images=images,
        labels=labels,
        deepsent=deepsent,
        demo=description.get("demo", False),
        note=description.get("note", ""),
        schedule={key: value for key, value in description.items() if key in _SCHEDULE},
    )


@cache
def facts(path: Path, key: str) -> dict[str, dict]:
    """The rows of a table in ``splits/`` by their value in column ``key``; all values but the SHA-256 are integers."""
    rows = {}
    for row in csv.DictReader(read_text(path).splitlines(), delimiter="\t"):
        name = row.pop(key)
        rows[name] = {column: value if column == "sha256" else int(value) for column, value in row.items()}
    return rows


def manifest() -> dict[str, dict]:
    """Facts about the DeepSent images by name: `bytes`, `sha256`, `width`, `height`, `label`, `agreement`.

    The images are those of github.com/johnwsh/twitterDataset at commit 4604b72; their publishers give no checksums.
    """
    return facts(MANIFEST, "image")


def manifest_labels(subset: str) -> list[tuple[str, int]]:
    """(image, label) of a DeepSent subset, in the manifest's order."""
    return [(name, row["label"]) for name, row in manifest().items() if row["agreement"] >= ANNOTATORS[subset]]


def _is_deepsent(subset, pairs):
    """Whether these are a DeepSent subset's images; up to four may be missing, as in the published folds."""
    known = {name for name, _ in manifest_labels(subset)}
    names = {name for name, _ in pairs}
    return names <= known and len(names) >= len(known) - 4


def _images_folder(folder):
    if folder.name == "Agg_AMT_Candidates":
        return folder
    for name in ("images", "Agg_AMT_Candidates"):
        if (folder / name).is_dir():
            return folder / name
    raise UserError(f"{folder} has no folder images or Agg_AMT_Candidates; give the folder that contains one of them")


def _label_file(folder, subset):
    """The file with a subset's labels, given the parent of the folder of images; None if there is none."""
    names = (f"twitter_{subset}.txt", f"{subset}.txt", f"{subset.removesuffix('s')}.txt")
    paths = (folder / place / name for place in (".", "ground_truth") for name in names)
    return next(filter(Path.is_file, paths), None)


def _description(path):
    """The keys of ``dataset.yaml`` and their values, checked."""
    if not path.is_file():
        return {}
    content, by_subset = read_mapping(path), {}
    for key, kind in _SCHEDULE.items():
        if isinstance(content.get(key), dict):
            by_subset[key] = checked(content.pop(key), dict.fromkeys(SUBSETS, kind), f"{path}: {key}")
    return checked(content, _DESCRIPTION | _SCHEDULE, path) | by_subset
