"""Forks of Caffe: layer types and fields that BVLC Caffe does not have, and that are switched on by name."""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import CaffeError
from .formats import definitions
from .formats.known_forks import SHIPPED, misspelt
from .formats.schema import combined
from .layers import base
from .proto import replace

_on: dict[str, "Fork"] = {}


@dataclass(frozen=True)
class Fork:
    """What a fork of Caffe adds to BVLC Caffe, for `forks`.

    Attributes
    ----------
    name : str
    proto : str
        Its messages and fields, in the language of .proto files; a message of a name that BVLC Caffe has is extended.
        The text of a fork's whole caffe.proto will do.
    layers : dict
        Layer type -> its class, derived from ``caffe.layers.Layer``; it may take the place of one of BVLC Caffe's.
    """

    name: str
    proto: str = ""
    layers: Mapping[str, type[base.Layer]] = field(default_factory=dict)


def forks(*wanted):
    """Switch on forks, beside those that are on; returns the names of all that are.

    Each is the name of one that comes with this package (``caffe.forks("ssd")``), the name of a Python module that has
    a `Fork` as ``FORK``, or a `Fork`. The environment variable CAFFE_FORKS=ssd,fast-rcnn does the same when caffe is
    imported. The messages of ``caffe.proto.caffe_pb2`` become others, so switch on first and make messages and nets
    then. CaffeError for a name that is none, and for forks that do not agree on a field or a layer type; nothing is
    switched on then.
    """
    new = _on | {fork.name: fork for fork in map(_find, wanted)}
    if new != _on:
        _switch(new)
    return list(_on)


def from_environment():
    """Switch on the forks in CAFFE_FORKS; where this fails, reading a definition says why."""
    names = [name.strip() for name in os.environ.get("CAFFE_FORKS", "").split(",")]
    try:
        forks(*filter(None, names))
    except CaffeError as error:
        definitions.refusal = f"CAFFE_FORKS: {error}"


def _find(wanted):
    if isinstance(wanted, Fork):
        return wanted
    name = f"caffe.fork_layers.{wanted.replace('-', '_')}" if wanted in SHIPPED else wanted
    try:
        found = getattr(importlib.import_module(name), "FORK", None)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        near = misspelt(wanted, SHIPPED)
        raise CaffeError(
            f"There is no fork '{wanted}'; {f'did you mean {near}?' if near else 'there are ' + ', '.join(SHIPPED)}, "
            "and a fork of your own is a Python module on PYTHONPATH that has FORK."
        ) from None
    if not isinstance(found, Fork):
        raise CaffeError(f"The Python module '{wanted}' has no caffe.Fork called FORK.")
    return found


def _switch(new):
    """Let exactly these forks be on."""
    file = combined({fork.name: fork.proto for fork in new.values()}) if new else None
    layers = {}  # type -> class, fork
    for fork in new.values():
        for kind, cls in fork.layers.items():
            if not (isinstance(cls, type) and issubclass(cls, base.Layer)):
                raise CaffeError(f"Layer type {kind} of the fork '{fork.name}' must derive from caffe.layers.Layer.")
            if layers.setdefault(kind, (cls, fork.name))[0] is not cls:
                raise CaffeError(
                    f"The forks '{layers[kind][1]}' and '{fork.name}' cannot both be on, because each has a layer type "
                    f"{kind} of its own."
                )
    try:
        replace(file)
    except (TypeError, ValueError) as error:  # a type that no message has
        raise CaffeError(f"The .proto of the fork '{list(new)[-1]}' is not complete: {error}.") from None
    base.use_forks({kind: cls for kind, (cls, _) in layers.items()})
    _on.clear()
    _on.update(new)
