"""Model cards: what training starts from, where to download it, and which mean belongs to it.

A card is a file ``models/<name>.yaml``; ``models/README.md`` explains its keys.
"""

import contextlib
import itertools
import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sentiment.data.dataset import Dataset
from sentiment.data.means import mean_for, mean_image, parse_mean
from sentiment.networks import weights_files
from sentiment.paper import IMAGENET_MEANS_BGR, INITIALISATIONS
from sentiment.sources import download
from sentiment.sources.download import DIGITS, Link, Wanted
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import PROJECT, digests
from sentiment.utils.yaml_files import ANYTHING, LIST, TEXT, checked, read_mapping

log = logging.getLogger(__name__)

MODELS = PROJECT / "models"
SCRATCH = "scratch"
WEIGHTS = (".caffemodel", ".h5", ".binaryproto")
"""Suffixes by which an INIT without a folder is a path."""

_NAME = (str, r"[^/]*[^/.]", "a name without folders")
_LINK_KEYS = {"url": TEXT, "member": _NAME}
_FILE_KEYS = {
    "file": (str, r"(?!fetched\.json$)[^/]*[^/.](?<!\.yaml)", "a name without folders"),
    "links": LIST,
    "where": TEXT,
    "size": (int, r"[1-9]\d*", "a number of bytes"),
    **{name: (object, rf"[0-9a-fA-F]{{{count}}}", f"{count} hexadecimal digits") for name, count in DIGITS.items()},
}
_CARD_KEYS = {
    "title": TEXT,
    "about": TEXT,
    **_FILE_KEYS,
    "mean": ANYTHING,
    "last_layer": (dict, r".*", "a mapping of name and classes"),
    "licence": TEXT,
    "citation": TEXT,
}


@dataclass(frozen=True)
class Card:
    """One ``models/<name>.yaml``; the attributes are its keys."""

    name: str
    title: str
    about: str
    file: Wanted
    mean: Any  # a Wanted mean image, or three channel means (B, G, R, 0 to 255)
    last_layer: dict = field(default_factory=dict)
    licence: str = ""
    citation: str = ""

    @property
    def files(self) -> list[Wanted]:
        """What has to be downloaded for it."""
        return [file for file in (self.file, self.mean) if isinstance(file, Wanted)]


@dataclass(frozen=True)
class Source:
    """What a training starts from."""

    name: str  # fit for a folder's name, see `run_name`
    path: Path | None  # the weights, absolute; None from scratch
    mean: Path | tuple[float, ...]  # as `parse_mean` returns it
    card: Card | None = None
    known_as: str = ""  # the card of this project (for drawn images, of their stand-ins) that has this very file


def names(models=MODELS) -> list[str]:
    """Names of the cards in a folder, sorted."""
    return sorted(path.stem for path in Path(models).glob("*.yaml"))


def known_as(path, models=MODELS) -> list[str]:
    """Names of the cards whose file this is by its checksums, whatever it is called.

    A card's checksums are the published ones, or else that of the first file obtained under the card.
    """
    found = digests(path, *DIGITS)
    known = ((card.name, download.known_digests(card.file)) for card in _readable(models))
    return [name for name, wanted in known if wanted and wanted.items() <= found.items()]


def _readable(models):
    """The cards in a folder but for those with a mistake, which is reported to whoever asks for them."""
    for name in names(models):
        with contextlib.suppress(UserError):
            yield read(name, models)


def read(name: str, models=MODELS, _above=()) -> Card:
    """Read one card.

    A `UserError` says that there is none of that name, or names a key that is unknown, missing or has a wrong value.
    """
    path = Path(models) / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"unknown INIT {name!r}: neither a file nor a card in {models} "
            f"(known: {', '.join([*names(models), SCRATCH])}); INIT=path/to/file.caffemodel takes any weights, "
            f"INIT=./{name} a file of that name here"
        )
    card = checked(read_mapping(path), _CARD_KEYS, path, ("title", "about", "file", "mean"))
    return Card(
        name=name,
        file=_wanted(card, path, name, _read_caffenet if name in INITIALISATIONS else weights_files.read),
        mean=_mean(card["mean"], path, (*_above, name)),
        **{key: card[key] for key in ("title", "about", "last_layer", "licence", "citation") if key in card},
    )


def _wanted(entry, path, key, reader):
    """The file that a card, or its ``mean`` part, describes."""
    return Wanted(
        path=path.with_name(entry["file"]),
        key=key,
        links=tuple(_link(link, f"{path}: links") for link in entry.get("links", [])),
        size=entry.get("size"),
        digests={name: str(entry[name]).lower() for name in DIGITS if name in entry},
        where=" ".join(entry.get("where", "").split()),
        read=reader,
        hint="INIT=, or MEAN=, with a path takes any file as it is",
    )


def _link(entry, where):
    if isinstance(entry, str):
        return Link(entry)
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected an address or a mapping of url and member, not {entry!r}")
    return Link(**checked(entry, _LINK_KEYS, where, ("url",)))


def _read_caffenet(path):
    """Read weights of the CaffeNet template, of which all of the paper's nine networks are."""
    model = weights_files.read(path)
    if problem := weights_files.misfit(model, "finetune", model.divisor):
        raise UserError(f"{path} is not a CaffeNet: {problem}")


def _mean(entry, path, above):
    """The file or the numbers that a card's ``mean`` stands for; ``above`` are the cards that ask for it."""
    if isinstance(entry, dict):
        entry = checked(entry, _FILE_KEYS, f"{path}: mean", ("file",))
        return _wanted(entry, path, f"{above[-1]} mean", mean_image)
    if not isinstance(entry, str):
        return parse_mean(entry, f"{path}: mean")
    if entry in above:
        raise UserError(f"{path}: mean leads back to {entry}; it must be another card's name, a file or three numbers")
    return read(entry, path.parent, above).mean


def resolve(init: str, mean=None, models=MODELS, own: Path | None = None) -> Source:
    """Find the weights and the mean an INIT stands for; a card's missing files are downloaded.

    ``init`` is a card's name, a path to weights (see `is_path`), or ``scratch``. ``mean`` (see `parse_mean`) is used
    instead of the card's; without either the ImageNet channel means are. ``models`` is the folder of cards and their
    files; a card in ``own``, the data set's folder of cards, comes before one of the same name there.

    A `UserError` says that the name is unknown, a file is missing, or no link gives it: then which file to put where.
    """
    mean = parse_mean(mean) if mean else None
    if init == SCRATCH:
        return Source(SCRATCH, None, mean or IMAGENET_MEANS_BGR)
    if is_path(init):
        path = Path(init).expanduser().absolute()
        if not path.is_file():
            raise UserError(f"INIT: no file {init}")
        return Source(run_name(init), path, mean_for(path, mean))
    folder = own if own and (own / f"{init}.yaml").is_file() else Path(models)
    card = read(init, folder.absolute())  # who computes with it may do so in another folder
    _check_alone(card, folder.absolute())
    if mean is None and isinstance(card.mean, Wanted):
        weights, mean = download.obtain(card.file, card.mean)
    else:
        (weights,) = download.obtain(card.file)
        mean = mean or card.mean
    log.info("INIT %s: card %s/%s.yaml, weights %s, mean %s", init, folder, init, weights, mean)
    return Source(card.name, weights, mean, card)


def of_data_set(init: str, mean, data: Dataset) -> Source:
    """`resolve` for a training on a data set, whose own cards come first.

    A `UserError` is as of `resolve`, or says that a card has no stand-in for drawn images: published weights do not fit
    their small nets.
    """
    own = data.folder / "models"
    if data.demo and init in INITIALISATIONS and not (own / f"{init}.yaml").is_file():
        raise UserError(
            f"INIT {init!r}: no stand-in for it in {own}; run "
            f"`{python()} tools/demo_sources.py --init {init}`, or `make demo-paper` for all of them"
        )
    source = resolve(init, mean, own=own)
    if source.path is None:
        return source
    if source.card and (data.demo or not (own / f"{source.name}.yaml").is_file()):
        return replace(source, known_as=source.name)
    known = known_as(source.path, own if data.demo else MODELS)
    return replace(source, known_as=known[0] if known else "")


def is_path(init) -> bool:
    """Whether an INIT is a path to weights and not a card's name: it has a slash, or a suffix of `WEIGHTS`.

    Whether the file exists makes no difference, so that a run is found under the same INIT when the file is gone.
    """
    return "/" in str(init) or Path(init).suffix.lower() in WEIGHTS


def run_name(init) -> str:
    """What an INIT is called in the folders of runs: a path by its stem, a card by its name.

    A file named like one of the paper's nine, or ``scratch``, is called ``<stem>-file``: its content may be another.
    """
    if not is_path(init):
        return init
    stem = re.sub(r"[^\w.-]+", "-", Path(init).stem).strip(".-") or "weights"
    return f"{stem}-file" if stem in (*INITIALISATIONS, SCRATCH) else stem


def _check_alone(card, models):
    """Refuse two cards that keep different files under one name."""
    for other in _readable(models):
        for own, of_other in itertools.product(card.files, other.files):
            if own.path == of_other.path and own != of_other:
                raise UserError(
                    f"{models / card.name}.yaml and {other.name}.yaml describe different files by the same name, "
                    f"{own.path.name}; give one of the two another `file`"
                )
