"""Model cards: what training starts from, where to download it, and which mean belongs to it.

A card is a file ``models/<name>.yaml``; ``models/README.md`` explains its keys.
"""

import contextlib
import itertools
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from sentiment.data.dataset import Dataset
from sentiment.data.means import mean_for, mean_image, npy_to_binaryproto, parse_mean
from sentiment.networks import weights_files
from sentiment.networks.architectures import ARCHITECTURES, SCRATCH, deploy
from sentiment.networks.definitions import weight_shapes
from sentiment.paper import CLASSES, IMAGENET_MEANS_BGR, INITIALISATIONS
from sentiment.sources import download, foreign
from sentiment.sources.download import DIGITS, Link, Wanted
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import PROJECT, digests
from sentiment.utils.yaml_files import ANYTHING, COUNT, LIST, TEXT, checked, read_mapping

log = logging.getLogger(__name__)

MODELS = PROJECT / "models"
WEIGHTS = (".caffemodel", ".h5", ".binaryproto", *foreign.SUFFIXES)
"""An INIT that ends in one of these is a path, even without a folder."""
OVERHEAD = 10_000
"""Bytes that a CaffeNet's file may have beside its weights and biases; published ones have 1,000 to 1,500."""

_NAME = (str, r"[^/]*[^/.]", "a name without folders")
_DIGESTS = {name: (object, rf"[0-9a-fA-F]{{{count}}}", f"{count} hexadecimal digits") for name, count in DIGITS.items()}
_LINK_KEYS = {"url": TEXT, "member": _NAME, **_DIGESTS}
_LAST_KEYS = {"name": TEXT, "classes": COUNT}
_OTHER_KEYS = {"name": TEXT, "net": TEXT, "layer": TEXT, "classes": COUNT, **_DIGESTS}
_FILE_KEYS = {
    "file": (str, rf"(?!{re.escape(download.CHECKSUM_FILE)}$)[^/]*[^/.](?<!\.yaml)", "a name without folders"),
    "links": LIST,
    "where": TEXT,
    "size": (int, r"[1-9]\d*", "a number of bytes"),
    **_DIGESTS,
}
_CARD_KEYS = {
    "title": TEXT,
    "about": TEXT,
    **_FILE_KEYS,
    "mean": ANYTHING,
    "arch": (str, "|".join(ARCHITECTURES), f"one of {', '.join(ARCHITECTURES)}"),
    "last_layer": (dict, r".*", "a mapping of name and classes"),
    "not": LIST,
    "next": TEXT,
    "licence": TEXT,
    "citation": TEXT,
}


@dataclass(frozen=True)
class Card:
    """A model card, ``models/<name>.yaml``; the attributes are its keys."""

    name: str
    title: str
    about: str
    file: Wanted
    mean: Any  # a Wanted mean image, or three channel means (B, G, R, 0 to 255)
    last_layer: dict = field(default_factory=dict)
    licence: str = ""
    citation: str = ""
    arch: str = ""  # the architecture its weights are of; empty where they are not checked against one
    next: str = ""  # what to do with it, for whoever has just obtained it
    others: tuple[dict, ...] = ()  # its key ``not``: files that may be mistaken for its own

    @property
    def files(self) -> list[Wanted]:
        """The files to obtain for it: its weights, and its mean if that is a file."""
        return [file for file in (self.file, self.mean) if isinstance(file, Wanted)]


@dataclass(frozen=True)
class Source:
    """What a training starts from."""

    name: str  # its name in the folders of runs, see `run_name`
    path: Path | None  # absolute path of the weights; None for `scratch`
    mean: Path | tuple[float, ...]  # as `parse_mean` returns it
    card: Card | None = None
    known_as: str = ""  # the model card that describes this very file, if there is one; see `of_data_set`


def identity(found: dict[str, str], models=MODELS) -> str:
    """The network or mean that has any of these checksums, by the cards in a folder; empty if none of them tells."""
    return next((name for name, known in _identities(models) if known.items() & found.items()), "")


def _identities(models) -> Iterator[tuple[str, dict]]:
    """Yield names of networks and means with their published checksums."""
    for card in _readable(models):
        yield card.title, card.file.digests
        if isinstance(card.mean, Wanted):
            yield card.mean.path.name, card.mean.digests
        for other in card.others:
            yield other["name"], _digests(other)


def names(models=MODELS) -> list[str]:
    """Names of the cards in a folder, sorted."""
    return sorted(path.stem for path in Path(models).glob("*.yaml"))


def known_as(path, models=MODELS) -> list[str]:
    """Names of the cards whose checksums a file has, whatever the file is called.

    A card's checksums are the published ones, or else those of the first file obtained for it.
    """
    found = digests(path, *DIGITS)
    known = ((card.name, download.known_digests(card.file)) for card in _readable(models))
    return [name for name, wanted in known if wanted and wanted.items() <= found.items()]


def _readable(models):
    """Yield the cards in a folder, except for those with a mistake; `read` reports it when such a card is used."""
    for name in names(models):
        with contextlib.suppress(UserError):
            yield read(name, models)


def read(name: str, models=MODELS, _above=()) -> Card:
    """Read one card.

    A `UserError` says that there is no card of that name, or names a key that is unknown, missing or has a wrong value.
    """
    path = Path(models) / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"unknown INIT {name!r}: neither a file nor a card in {models} "
            f"(known: {', '.join([*names(models), SCRATCH])}); INIT=path/to/file.caffemodel takes any weights, "
            f"INIT=./{name} a file of that name here"
        )
    values = checked(read_mapping(path), _CARD_KEYS, path, ("title", "about", "file", "mean"))
    others = [_mapping(other, _OTHER_KEYS, f"{path}: not", "name") for other in values.get("not", [])]
    card = Card(
        name=name,
        file=_wanted(values, path, name, values["title"]),
        mean=_mean(values["mean"], path, (*_above, name)),
        arch=values.get("arch", "finetune" if name in INITIALISATIONS else ""),
        others=tuple(others),
        last_layer=checked(values.get("last_layer", {}), _LAST_KEYS, f"{path}: last_layer"),
        **{key: values[key] for key in ("title", "about", "licence", "citation", "next") if key in values},
    )
    return replace(
        card,
        file=replace(card.file, read=partial(_check_weights, card), hint="use any other file as it is by INIT=path"),
    )


def _wanted(entry, path, key, title):
    """The file that a card, or the mapping under its ``mean``, describes."""

    def other(found):
        name = identity(found, path.parent)
        return f"{name}, not {title}" if name not in ("", title) else ""

    return Wanted(
        path=path.with_name(entry["file"]),
        key=key,
        links=tuple(_link(link, f"{path}: links") for link in entry.get("links", [])),
        size=entry.get("size"),
        digests=_digests(entry),
        where=" ".join(entry.get("where", "").split()),
        other=other,
    )


def _digests(entry):
    return {name: str(entry[name]).lower() for name in DIGITS if name in entry}


def _link(entry, where):
    if isinstance(entry, str):
        return Link(entry)
    entry = _mapping(entry, _LINK_KEYS, where, "url")
    return Link(entry["url"], entry.get("member"), _digests(entry))


def _mapping(entry, keys, where, required):
    """An entry of a list, checked."""
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected a mapping with {required}, not {entry!r}")
    return checked(entry, keys, where, (required,))


def _check_weights(card, path):
    """Check that a file holds a card's network: its layers, and its size, which follows from them."""
    classes, size = card.last_layer.get("classes"), path.stat().st_size
    payload = _payload(card.arch, classes) if card.arch and classes else 0
    try:
        model = weights_files.read(path)
    except UserError as error:
        if size >= payload:
            raise
        cut = f"{size:,} bytes, less than the {payload:,} of its weights, so it is cut short or another file"
        seems = str(error).removeprefix(f"{path} ").partition(";")[0]
        raise UserError(f"{path} has {cut} ({seems})") from error
    for other in card.others:
        if _is(model, other):
            raise UserError(f"{path} is {other['name']}, not {card.title}")
    architecture, problem = ARCHITECTURES.get(card.arch), ""
    if architecture:
        problem = weights_files.misfit(model, card.arch, architecture.divisor(model.divisor))
    problem = problem or _last_misfit(card, model)
    if not problem and payload and architecture and architecture.of_caffenet:
        most = _payload(card.arch, classes, model.divisor) + OVERHEAD
        problem = f"it has {size:,} bytes, more than the {most:,} possible" if size > most else ""
    if problem:
        raise UserError(f"{path} is not {card.title}: {problem}")


def _is(model, other):
    """Whether a `WeightsFile` has the net's name, or the layer, that an entry of ``not`` gives."""
    by_net = "net" in other and model.name == other["net"]
    by_layer = {"layer", "classes"} & other.keys() and any(
        other.get("layer", layer.name) == layer.name and other.get("classes", layer.outputs) == layer.outputs
        for layer in model.learned
    )
    return by_net or bool(by_layer)


def _last_misfit(card, model):
    """Why a network's last layer is not the card's; empty if it is, or if the file does not say which it is."""
    name, classes = card.last_layer.get("name"), card.last_layer.get("classes")
    named = next((layer for layer in model.learned if layer.name == name), None) if name else model.last
    last = named or model.last
    if (named or not name) and (last is None or classes in (None, last.outputs)):
        return ""
    if last is None:
        return f"there is no layer {name}"
    same = [
        other.title for other in _readable(card.file.path.parent) if other.last_layer.get("classes") == last.outputs
    ]
    like = f" (like {' and '.join(same)})" if same else ""
    wanted = " with ".join(filter(None, (name, f"{classes:,}" if classes else "")))
    return f"its last layer is {last.name} with {last.outputs:,} outputs{like}, not {wanted}"


def _payload(arch, classes, divisor=1):
    """Bytes of an architecture's weights and biases in float32, with so many outputs of its last layer."""
    shapes = weight_shapes(deploy(arch, divisor))
    last = sum(map(math.prod, shapes.pop(ARCHITECTURES[arch].new_layer)))
    return 4 * (sum(math.prod(shape) for of in shapes.values() for shape in of) + classes * last // CLASSES)


def _mean(entry, path, above):
    """The file or the numbers that a card's ``mean`` stands for; ``above`` lists the cards that lead to it."""
    if isinstance(entry, dict):
        entry = checked(entry, _FILE_KEYS, f"{path}: mean", ("file",))
        hint = "give another mean by MEAN=path or MEAN=b,g,r"
        wanted = _wanted(entry, path, f"{above[-1]} mean", entry["file"])
        return replace(wanted, read=mean_image, convert=npy_to_binaryproto, hint=hint)
    if not isinstance(entry, str):
        return parse_mean(entry, f"{path}: mean")
    if entry in above:
        raise UserError(f"{path}: mean leads back to {entry}; it must be another card's name, a file or three numbers")
    return read(entry, path.parent, above).mean


def resolve(init: str, mean=None, models=MODELS, own: Path | None = None) -> Source:
    """Find the weights and the mean an INIT stands for; a card's missing files are downloaded.

    ``init`` is a card's name, a path to weights (see `is_path`), or ``scratch``. ``mean`` (see
    `parse_mean`) replaces the card's; if there is neither, the ImageNet channel means are used. ``models`` is the
    folder of cards and their files; a card in ``own``, the data set's folder of cards, takes precedence.

    Weights in another format are converted, see `foreign.caffemodel`.

    A `UserError` says that the name is unknown, that a file is missing, or which file to put where if no link gives it.
    """
    mean = parse_mean(mean) if mean else None
    if init == SCRATCH:
        return Source(SCRATCH, None, mean or IMAGENET_MEANS_BGR)
    if is_path(init):
        path = Path(init).expanduser().absolute()
        if not path.is_file():
            raise UserError(f"INIT: no file {init}")
        return Source(run_name(init), foreign.caffemodel(path), mean_for(path, mean))
    folder = own if own and (own / f"{init}.yaml").is_file() else Path(models)
    card = read(init, folder.absolute())  # absolute, since its files may be used from another folder
    _check_file_names(card, folder.absolute())
    if mean is None and isinstance(card.mean, Wanted):
        weights, mean = download.obtain(card.file, card.mean)
    else:
        (weights,) = download.obtain(card.file)
        mean = mean or card.mean
    log.info("INIT %s: card %s/%s.yaml, weights %s, mean %s", init, folder, init, weights, mean)
    return Source(card.name, weights, mean, card)


def of_data_set(init: str, mean, data: Dataset) -> Source:
    """`resolve` what a training on a data set starts from; the data set's own cards take precedence.

    ``known_as`` is set to a card in models/, or for drawn images to one of their own, that describes the same file. A
    `UserError` also says that drawn images have no stand-in for a card; published weights do not fit their small nets.
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
    return "/" in str(init) or str(init).lower().endswith(WEIGHTS)


def run_name(init) -> str:
    """The name of an INIT in the folders of runs: the stem of a path, or the card's name.

    A file named like one of the paper's nine, or ``scratch``, gets ``<stem>-file``, since its content may differ.
    """
    if not is_path(init):
        return init
    stem = re.sub(r"[^\w.-]+", "-", Path(init).stem).strip(".-") or "weights"
    return f"{stem}-file" if stem in (*INITIALISATIONS, SCRATCH) else stem


def _check_file_names(card, models):
    """Refuse a card if another one keeps a different file under the same name."""
    for other in _readable(models):
        for own, of_other in itertools.product(card.files, other.files):
            if own.path == of_other.path and own != of_other:
                raise UserError(
                    f"{models / card.name}.yaml and {other.name}.yaml describe different files by the same name, "
                    f"{own.path.name}; give one of the two another `file`"
                )
