"""Model cards: what training starts from, where to download it, and which mean belongs to it.

``models/<name>.yaml`` describes a pre-trained network by these keys:

``title``, ``about``
    The name a table prints; what the network was trained on.
``file``
    The weights' file name under ``models/``.
``links``
    Addresses, tried in order: of the file itself, or a mapping ``{url, member}`` for one file inside an archive. A
    plain path (``~`` allowed) is a link too.
``where``
    Where else to look when no link gives the file.
``size``, ``sha1``, ``sha256``
    Bytes and checksums of the file, as far as they were published.
``mean``
    The mean image: a mapping of ``file``, ``links`` and so on like the card's own; the name of the card whose mean it
    shares; or three numbers, the channel means in the order B G R.
``last_layer``
    ``name`` and ``classes`` as far as published; tools read them from the weights and never rely on this.
``licence``, ``citation``
    What whoever uses the network owes its authors.
"""

import contextlib
import itertools
import logging
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sentiment.data.means import mean_image
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
    mean: Any  # a Wanted mean image, or three channel means (B, G, R)
    last_layer: dict = field(default_factory=dict)
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Source:
    """What a training starts from."""

    name: str  # fit for a folder's name, see `run_name`
    path: Path | None  # the weights, absolute; None from scratch
    mean: Path | tuple[float, ...]  # a mean image (.binaryproto, absolute), or channel means (B, G, R), 0 to 255
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
    known = []
    for card in _readable(models):
        wanted = download.known_digests(card.file)
        if wanted and wanted.items() <= found.items():
            known.append(card.name)
    return known


def _readable(models):
    """The cards in a folder but for those with a mistake, which is reported to whoever asks for them."""
    for name in names(models):
        with contextlib.suppress(UserError):
            yield read(name, models)


def read(name, models=MODELS, _above=()) -> Card:
    """Read one card.

    Raises
    ------
    UserError
        No card of that name, or one with an unknown key, a missing one or a value of the wrong kind.
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
        title=card["title"],
        about=card["about"],
        file=_wanted(card, path, name, _read_caffenet if name in INITIALISATIONS else weights_files.read),
        mean=_mean(card["mean"], path, (*_above, name)),
        last_layer=card.get("last_layer", {}),
        licence=card.get("licence", ""),
        citation=card.get("citation", ""),
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
        return _numbers(entry, f"{path}: mean")
    if entry in above:
        raise UserError(f"{path}: mean leads back to {entry}; it must be another card's name, a file or three numbers")
    return read(entry, path.parent, above).mean


def resolve(init, mean=None, models=MODELS, own=None) -> Source:
    """Find the weights and the mean an INIT stands for; what a card's file lacks is downloaded.

    Parameters
    ----------
    init : str
        A card's name, a path to weights (see `is_path`), or ``scratch``.
    mean : str or Path or sequence of float, optional
        Overrides the mean: a binaryproto file, or channel means ``b,g,r``. Without it a card brings its own, and
        everything else uses the ImageNet channel means.
    models : str or Path
        Folder of cards and their files.
    own : Path, optional
        The data set's own folder of cards, if it has one; a card there comes before one of the same name elsewhere.

    Raises
    ------
    UserError
        Unknown name, missing file, or a file no link of its card gives: one sentence names the file to put and where.
    """
    mean = None if mean is None or mean == "" else parse_mean(mean)
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


def of_data_set(init, mean, data) -> Source:
    """`resolve` for a training on a data set, whose own cards come first.

    Raises
    ------
    UserError
        As `resolve`; for drawn images also a card without a stand-in: published weights do not fit their small nets.
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


def mean_for(weights, mean=None):
    """The mean given for weights without a card; if none is given the ImageNet means, with a line that says so."""
    if mean is not None and mean != "":
        return parse_mean(mean)
    shown = ",".join(f"{value:g}" for value in IMAGENET_MEANS_BGR)
    print(
        f"{Path(weights).name}: no mean given, using the ImageNet means (b,g,r {shown}); MEAN= or --mean gives another",
        file=sys.stderr,
        flush=True,
    )
    return IMAGENET_MEANS_BGR


def parse_mean(mean) -> Path | tuple[float, ...]:
    """A mean given by a user: an existing file as a Path, or ``b,g,r`` as three floats.

    Raises
    ------
    UserError
        It is neither.
    """
    if not isinstance(mean, (str, Path)):
        return _numbers(mean, "MEAN")
    if Path(mean).expanduser().is_file():
        return Path(mean).expanduser().absolute()
    try:
        values = [float(value) for value in str(mean).split(",")]
    except ValueError:
        raise UserError(f"MEAN: {mean} is neither a file nor three channel means b,g,r") from None
    return _numbers(values, "MEAN")


def _numbers(values, where):
    right = isinstance(values, (list, tuple)) and len(values) == 3 and all(isinstance(v, (int, float)) for v in values)
    if not right or not all(0 <= value <= 255 for value in values):
        raise UserError(f"{where}: expected three channel means b,g,r between 0 and 255, not {values!r}")
    return tuple(float(value) for value in values)


def _check_alone(card, models):
    """Refuse two cards that keep different files under one name."""
    for other in _readable(models):
        for own, of_other in itertools.product(_files(card), _files(other)):
            if own.path == of_other.path and own != of_other:
                raise UserError(
                    f"{models / card.name}.yaml and {other.name}.yaml describe different files by the same name, "
                    f"{own.path.name}; give one of the two another `file`"
                )


def _files(card):
    """What has to be downloaded for a card."""
    return [file for file in (card.file, card.mean) if isinstance(file, Wanted)]
