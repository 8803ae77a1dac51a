"""Model cards: what training starts from, where its file is had, which mean belongs to it.

``models/<name>.yaml`` describes a pre-trained network by these keys:

``title``, ``about``
    The name a table prints; what the network was trained on.
``file``
    The weights' file name under ``models/``.
``links``
    Addresses, tried in order: of the file itself, or a mapping ``{url, member}`` for one file inside an archive. A
    plain path (``~`` allowed) is a link too.
``where``
    Where else to look when no link answers.
``size``, ``sha1``, ``sha256``
    Bytes and digests of the file, as far as they were published.
``mean``
    The mean image: a mapping of ``file``, ``links`` and digests like the card's own; the name of the card whose mean it
    shares; or three numbers, the channel means in the order B G R.
``last_layer``
    ``name`` and ``classes`` as far as published; tools read them from the weights and never rely on this.
``licence``, ``citation``
    What whoever uses the network owes its authors.
"""

import contextlib
import logging
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sentiment.data.means import mean_image
from sentiment.paper import IMAGENET_MEANS_BGR, INITIALISATIONS
from sentiment.sources import checksums, download
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import PROJECT, read_text

log = logging.getLogger(__name__)

MODELS = PROJECT / "models"
SCRATCH = "scratch"
WEIGHTS = (".caffemodel", ".h5", ".binaryproto")
"""Suffixes by which an INIT without a folder is a path."""
_KEYS_OF_FILE = {"file", "links", "where", "size", "sha1", "sha256"}
_KEYS = {"title", "about", *_KEYS_OF_FILE, "mean", "last_layer", "licence", "citation"}


@dataclass(frozen=True)
class Card:
    """One ``models/<name>.yaml``; the attributes are its keys."""

    name: str
    title: str
    about: str
    file: download.Wanted
    mean: Any  # a download.Wanted, or three channel means (B, G, R)
    last_layer: dict = field(default_factory=dict)
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Source:
    """What a training starts from.

    Attributes
    ----------
    name : str
        Fit for a folder's name, see `run_name`.
    path : Path or None
        The weights, absolute; None from scratch.
    mean : Path or tuple of float
        A binaryproto mean image (absolute), or channel means (B, G, R) on the 0 to 255 scale.
    card : Card or None
    known_as : str
        The card of this project, or on drawn pictures the stand-in, whose very file this is; empty where it is another.
    """

    name: str
    path: Path | None
    mean: Any
    card: Card | None = None
    known_as: str = ""


def names(models=MODELS) -> list[str]:
    """Names of the cards there are, sorted."""
    return sorted(path.stem for path in Path(models).glob("*.yaml"))


def known_as(digests, models=MODELS) -> list[str]:
    """Names of the cards whose file this is by its digests, whatever it is called; see `trust.digests_of`.

    A card's digest is the published one, or else that of the file which was first had under it.
    """
    found = []
    for name in names(models):
        with contextlib.suppress(UserError):  # a card that is wrong says so to whoever asks for it
            wanted = read(name, models).file
            known = wanted.known or checksums.Book(Path(models)).known(wanted)
            if known and all(digests[kind] == of for kind, of in known.items()):
                found.append(name)
    return found


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
    try:
        card = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(card, dict):
        raise UserError(f"{path}: expected `key: value` lines")
    _check_keys(card, _KEYS, path)
    if missing := {"title", "about", "file", "mean"} - set(card):
        raise UserError(f"{path}: no key {min(missing)!r}")
    _check_text(card, ("title", "about", "licence", "citation"), path)
    if not isinstance(card.get("last_layer") or {}, dict):
        raise UserError(f"{path}: last_layer must have name and classes, not {card['last_layer']!r}")
    return Card(
        name=name,
        title=card["title"],
        about=card["about"],
        file=_wanted(card, path, models, name, _is_caffenet if name in INITIALISATIONS else _is_weights),
        mean=_mean(card["mean"], path, models, (*_above, name)),
        last_layer=card.get("last_layer") or {},
        licence=card.get("licence") or "",
        citation=card.get("citation") or "",
    )


def resolve(init, mean=None, models=MODELS, say=print, fetch=True, own=None) -> Source:
    """Find the weights and the mean an INIT stands for, fetching what a card's file lacks.

    Parameters
    ----------
    init : str
        A card's name, a path to weights (see `is_path`), or ``scratch``.
    mean : str or Path or sequence of float, optional
        Overrides the mean: a binaryproto file, or channel means ``b,g,r``. Without it a card brings its own, and
        everything else uses the ImageNet channel means.
    models : str or Path
        Folder of cards and fetched files.
    say : callable
        Takes a line about what is being fetched.
    fetch : bool
        Download what is missing.
    own : Path, optional
        The data set's own folder of cards, if it has one; a card there comes before one of the same name elsewhere.

    Returns
    -------
    Source

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
    # Absolute, for what computes with a source may do so in another folder.
    folder = own if own and (own / f"{init}.yaml").is_file() else models
    card = read(init, Path(folder).absolute())
    _check_alone(card, Path(folder).absolute())
    own_mean = mean is None and isinstance(card.mean, download.Wanted)
    weights = download.obtain(card.file, fetch=fetch, say=say, along=[card.mean] if own_mean else [])
    if mean is None:
        mean = download.obtain(card.mean, fetch=fetch, say=say) if own_mean else card.mean
    log.info("INIT %s: card %s/%s.yaml, weights %s, mean %s", init, folder, init, weights, mean)
    return Source(card.name, weights, mean, card)


def of_data_set(init, mean, data) -> Source:
    """`resolve` for a training on a data set, whose own cards come first.

    Raises
    ------
    UserError
        As `resolve`; on drawn pictures also a card without a stand-in: published weights do not fit their small nets.
    """
    own = data.folder / "models"
    if data.demo and init in INITIALISATIONS and not (own / f"{init}.yaml").is_file():
        raise UserError(
            f"INIT {init!r}: no stand-in for it in {own}; "
            f"`{python()} tools/demo_sources.py --init {init}` makes it, "
            "`make demo-paper` all of them"
        )
    source = resolve(init, mean, own=own)
    return replace(source, known_as=_known_as(source, own, data.demo))


def _known_as(source, own, demo):
    """As `Source.known_as`: the card it was had by, where that is one of those that count; else by its content."""
    if source.path is None:
        return ""
    if source.card and (demo or not (own / f"{source.name}.yaml").is_file()):
        return source.name
    known = known_as(checksums.digests_of(source.path), own if demo else MODELS)
    return known[0] if known else ""


def is_path(init) -> bool:
    """Whether an INIT is a path to weights, and no card's name: it has a slash, or a suffix of `WEIGHTS`.

    Whether a file is there makes no difference, for a run is to be found under the same INIT when it is gone.
    """
    return "/" in str(init) or Path(init).suffix.lower() in WEIGHTS


def run_name(init) -> str:
    """What an INIT is called in runs' folders: a path by its stem, a card by its name.

    A file that bears the name of one of the paper's nine, or ``scratch``, is called ``<stem>-file``: a name is no
    content.
    """
    if not is_path(init):
        return init
    stem = re.sub(r"[^\w.-]+", "-", Path(init).stem).strip(".-") or "weights"
    return f"{stem}-file" if stem in (*INITIALISATIONS, SCRATCH) else stem


def mean_for(weights, mean=None):
    """The mean given for weights that no card describes; without one the ImageNet means, and a line that says so."""
    if mean is not None and mean != "":
        return parse_mean(mean)
    shown = ",".join(f"{value:g}" for value in IMAGENET_MEANS_BGR)
    print(
        f"{Path(weights).name}: no mean given, so the ImageNet means are taken (b,g,r {shown}); "
        "MEAN= or --mean names another",
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


def _mean(entry, path, models, above):
    """The file or the numbers a card's ``mean`` stands for; ``above`` are the cards that it is asked for by."""
    if isinstance(entry, str):
        if entry in above:
            raise UserError(
                f"{path}: mean leads back to {entry}; it must be another card's name, a file or three numbers"
            )
        return read(entry, models, above).mean
    if not isinstance(entry, dict):
        return _numbers(entry, f"{path}: mean")
    _check_keys(entry, _KEYS_OF_FILE, f"{path}: mean")
    return _wanted(entry, path, models, f"{above[-1]} mean", _is_mean)


def _wanted(entry, path, models, key, looks):
    """The file a card, or its ``mean`` part, describes."""
    name = entry.get("file")
    if not isinstance(name, str) or Path(name).name != name or name in ("", "..", checksums.BOOK, path.name):
        raise UserError(f"{path}: file must be a name without folders, not {name!r}")
    _check_text(entry, ("where",), path)
    links = entry.get("links") or []
    if not isinstance(links, list):
        raise UserError(f"{path}: links must be a list")
    size = entry.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise UserError(f"{path}: size must be a number of bytes, not {size!r}")
    return download.Wanted(
        path=Path(models) / name,
        links=tuple(_link(link, path) for link in links),
        size=size,
        sha1=_digest(entry, "sha1", path),
        sha256=_digest(entry, "sha256", path),
        where=" ".join((entry.get("where") or "").split()),
        key=key,
        looks=looks,
        otherwise="INIT=, or MEAN=, with a path takes any file as it is",
    )


def _digest(entry, name, path):
    """A published digest in small letters, or None."""
    value = entry.get(name)
    digits = {"sha1": 40, "sha256": 64}[name]
    if value is not None and not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", str(value)):
        raise UserError(f"{path}: {name} must be {digits} hexadecimal digits, not {value!r}")
    return None if value is None else str(value).lower()


def _check_text(entry, keys, where):
    for key in keys:
        if not isinstance(entry.get(key) or "", str):
            raise UserError(f"{where}: {key} must be text, not {entry[key]!r}")


def _check_keys(entry, known, where):
    if unknown := [key for key in entry if key not in known]:
        raise UserError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _check_alone(card, models):
    """Refuse two cards that keep different files under one name."""
    others = []
    for name in names(models):
        with contextlib.suppress(UserError):  # a wrong card says so when it is asked for
            others.append(read(name, models))
    for other in others:
        for own in _files(card):
            same = [replace(of, key=own.key, looks=own.looks) for of in _files(other) if of.path == own.path]
            if any(of != own for of in same):
                raise UserError(
                    f"{models / card.name}.yaml and {other.name}.yaml both keep a file as {own.path.name}, and not the "
                    "same one; give one of the two another `file`"
                )


def _files(card):
    """What a card wants downloaded."""
    return [file for file in (card.file, card.mean) if isinstance(file, download.Wanted)]


def _is_weights(path):
    """Raise a ValueError where a file holds no weights."""
    from sentiment.networks import weights_files

    _told(weights_files.read, path)


def _is_caffenet(path):
    """Raise a ValueError where a file holds no weights of the CaffeNet template, as all of the paper's nine are."""
    from sentiment.networks import weights_files

    model = _told(weights_files.read, path)
    if problem := weights_files.misfit(model, "finetune", model.divisor):
        raise ValueError(f"it is no CaffeNet: {problem}")


def _is_mean(path):
    """Raise a ValueError where a file is no mean image."""
    _told(mean_image, path)


def _told(reader, path):
    try:
        return reader(path)
    except UserError as error:
        raise ValueError(f"it {str(error).removeprefix(str(path)).partition(';')[0].strip()}") from error


def _link(link, path):
    if isinstance(link, str):
        return download.Link(link)
    right = isinstance(link, dict) and isinstance(link.get("url"), str) and set(link) <= {"url", "member"}
    if right and isinstance(link.get("member", ""), (str, type(None))) and "/" not in (link.get("member") or ""):
        return download.Link(**link)
    raise UserError(f"{path}: a link is an address, or a mapping of url and member, not {link!r}")
