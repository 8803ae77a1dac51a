"""A labelled set of images: where its files lie, who agrees on which label, which schedule suits it.

Two layouts are read. The project's own::

    DATA/images/*.jpg            DATA/twitter_five_agrees.txt   (and four, three)

and the one in which the DeepSent Twitter archive is passed on: a folder ``Agg_AMT_Candidates`` with the images, label
files (``twitter_five_agrees.txt``, ``five_agrees.txt`` or ``five_agree.txt``) beside it or in ``ground_truth`` (without
any, the known labels). DATA may be that folder or the one around it. A label file has one ``name label`` a line; the
label is what follows the last blank, so names may contain blanks.

``DATA/dataset.yaml`` is optional: ``name``, ``note`` and ``demo`` (drawn data: every table says so) describe the set,
everything else overrides the schedule of training.
"""

import logging
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from sentiment.paper import ANNOTATORS, SUBSETS
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, read_text

log = logging.getLogger(__name__)

MANIFEST = PROJECT / "splits" / "deepsent_manifest.tsv"
"""Facts of the DeepSent Twitter set, an image a line: size, SHA-256, width, height, label, annotators agreeing."""

_POSITIVE_NUMBER = "a number above zero"
_POSITIVE_INTEGER = "a whole number above zero"
_DESCRIPTION = ("name", "note", "demo")
_SCHEDULE = {  # key -> what its value must be; every one may also be given per subset
    "channels_divisor": _POSITIVE_INTEGER,
    "batch_size": _POSITIVE_INTEGER,
    "iterations": _POSITIVE_INTEGER,
    "stepsize": _POSITIVE_INTEGER,
    "base_lr": _POSITIVE_NUMBER,
    "gamma": _POSITIVE_NUMBER,
    "momentum": _POSITIVE_NUMBER,
    "weight_decay": _POSITIVE_NUMBER,
}


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one DATA folder.

    Attributes
    ----------
    folder : Path
        As given by the user.
    name : str
        Fit for a folder's name: that of ``dataset.yaml``, ``deepsent`` by content, or the folder's own.
    images : Path
        The folder image names are relative to.
    labels : dict of str to list of (str, int)
        Subset -> (image, label) in the label file's order; only the subsets that are there.
    deepsent : bool
        The images are those of the DeepSent Twitter set, whatever the folder is called: the published folds apply.
    demo : bool
        Drawn data.
    note : str
    schedule : dict
        What ``dataset.yaml`` overrides; ask with `setting`.
    """

    folder: Path
    name: str
    images: Path
    labels: dict
    deepsent: bool = False
    demo: bool = False
    note: str = ""
    schedule: dict = field(default_factory=dict)

    def subset(self, subset):
        """The (image, label) pairs of one subset; a `UserError` when this set has none."""
        if subset not in self.labels:
            raise UserError(
                f"{self.folder} has no labels for {subset}: expected {self.folder / f'twitter_{subset}.txt'} "
                f"(there are labels for {', '.join(self.labels)})"
            )
        return self.labels[subset]

    def setting(self, key, subset, default=None):
        """The value ``dataset.yaml`` gives a schedule key for a subset, or ``default``."""
        value = self.schedule.get(key, default)
        return value.get(subset, default) if isinstance(value, dict) else value

    def missing(self, names):
        """Those of the image names that are not files under `images`, in their order."""
        return [name for name in names if not (self.images / name).is_file()]


def load(folder) -> Dataset:
    """Read a DATA folder.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        No such folder, no images or labels in it, a label line that is wrong (file and line), an image listed twice, a
        key or value in ``dataset.yaml`` that is unknown or no number.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"DATA: {folder} is not a folder; `make data` fetches the DeepSent images, `make demo` draws some"
        )
    images = _images_folder(folder)
    description = _description(folder / "dataset.yaml")
    labels = {}
    for subset in SUBSETS:
        path = _label_file(images, subset)
        if path is not None:
            labels[subset] = read_labels(path, unique=True)
    if not labels:
        labels = _labels_by_manifest(images)
    if not labels:
        raise UserError(
            f"{folder} has no label file: expected twitter_five_agrees.txt (or four, three) with `name label` lines"
        )
    deepsent = all(_is_deepsent(subset, pairs) for subset, pairs in labels.items())
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


def read_labels(path, unique=False) -> list[tuple[str, int]]:
    """Read ``name label`` lines, the form of label files and of fold lists.

    Parameters
    ----------
    path : str or Path
    unique : bool
        Refuse an image that is listed twice.

    Returns
    -------
    list of (str, int)
        Label 0 is negative, 1 positive. Empty lines are skipped.

    Raises
    ------
    UserError
        Names the file and the line.
    """
    pairs, seen = [], {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip()
        if not line:
            continue
        where = f"{path}, line {number}"
        name, _, label = line.rpartition(" ")
        name = name.strip()
        if not name:
            raise UserError(
                f"{where}: no label after the image name {line!r}; a line is `name label`: a blank, then 0 or 1"
            )
        if label not in ("0", "1"):
            hint = ""
            if line[:2] in ("0 ", "1 "):
                hint = f"; the name comes first, as `{line[2:]} {line[0]}`"
            elif line[-2:-1] in ("\t", ",", ";"):
                hint = "; a blank has to stand before the label"
            elif Path(label).suffix[1:].isalpha():
                hint = "; is the label missing? a line is `name label`: a blank, then 0 or 1"
            raise UserError(f"{where}: label {label!r} is neither 0 (negative) nor 1 (positive){hint}")
        if unique and name in seen:
            raise UserError(f"{where}: {name} is listed already in line {seen[name]}; keep one of them")
        seen[name] = number
        pairs.append((name, int(label)))
    if not pairs:
        raise UserError(f"{path} lists no image")
    log.info("read %s: %d images, %d of them positive", path, len(pairs), sum(label for _, label in pairs))
    return pairs


@cache
def manifest(path=MANIFEST):
    """Facts about the DeepSent images, name -> row (`bytes`, `label`, `agreement` and so on, ints but for `sha256`).

    The images are those of github.com/johnwsh/twitterDataset at commit 4604b72; their publishers give no checksums.
    """
    header, *lines = read_text(path).splitlines()
    columns = header.split("\t")
    rows = {}
    for line in lines:
        row = dict(zip(columns, line.split("\t"), strict=True))
        name = row.pop("image")
        rows[name] = {key: value if key == "sha256" else int(value) for key, value in row.items()}
    return rows


def manifest_labels(subset):
    """(image, label) of a DeepSent subset, in the manifest's order."""
    least = ANNOTATORS[subset]
    return [(name, row["label"]) for name, row in manifest().items() if row["agreement"] >= least]


def _is_deepsent(subset, pairs):
    """Whether these are a DeepSent subset's images; up to four may be absent, as from the published folds."""
    known = {name for name, _ in manifest_labels(subset)}
    names = {name for name, _ in pairs}
    return names <= known and len(names) >= len(known) - 4


def _images_folder(folder):
    if folder.name == "Agg_AMT_Candidates":
        return folder
    for name in ("images", "Agg_AMT_Candidates"):
        if (folder / name).is_dir():
            return folder / name
    inner = (
        "it is that folder, so give the one around it" if folder.name == "images" else "give the folder that holds one"
    )
    raise UserError(f"{folder} has neither a folder images nor Agg_AMT_Candidates; {inner}")


def _label_file(images, subset):
    """The file with a subset's labels beside the images folder, or None."""
    names = (f"twitter_{subset}.txt", f"{subset}.txt", f"{subset.removesuffix('s')}.txt")
    places = (images.parent, images.parent / "ground_truth")
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _labels_by_manifest(images):
    """Labels for the bare images of the archive, where every one is known; else none."""
    labels = {subset: manifest_labels(subset) for subset in SUBSETS}
    known = all((images / name).is_file() for name, _ in labels["three_agrees"])
    return labels if known else {}


def _description(path):
    """What ``dataset.yaml`` says, checked."""
    if not path.is_file():
        return {}
    try:
        description = yaml.safe_load(read_text(path)) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(description, dict):
        raise UserError(f"{path}: expected `key: value` lines")
    for key, value in description.items():
        if key in _SCHEDULE:
            for subset, number in value.items() if isinstance(value, dict) else [(None, value)]:
                if subset is not None and subset not in SUBSETS:
                    raise UserError(f"{path}: {key} is given for {subset!r}; subsets are {', '.join(SUBSETS)}")
                _check_number(path, key, number)
        elif key not in _DESCRIPTION:
            raise UserError(f"{path}: unknown key {key!r}; known are {', '.join((*_DESCRIPTION, *_SCHEDULE))}")
        elif not isinstance(value, bool if key == "demo" else str):
            raise UserError(f"{path}: {key} must be {'true or false' if key == 'demo' else 'text'}, not {value!r}")
    return description


def _check_number(path, key, value):
    kinds = int if _SCHEDULE[key] == _POSITIVE_INTEGER else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
        raise UserError(f"{path}: {key} must be {_SCHEDULE[key]}, not {value!r}")
