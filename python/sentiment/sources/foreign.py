"""Weights in formats of other programs, converted once to a .caffemodel.

The layers of a file are matched with an architecture's by name (``features.conv1``, ``conv1_w_0`` and ``conv1`` are
Caffe's ``conv1``), or else, if there are as many, by their order; every shape must be the architecture's. The last
layer may have any name and any number of outputs, as in a .caffemodel.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from sentiment.networks import definitions, weights_files
from sentiment.networks.architectures import ARCHITECTURES, LastLayer, deploy
from sentiment.sources import foreign_coreml, foreign_npy, foreign_onnx, foreign_pytorch
from sentiment.sources.parameters import Content, Parameters
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, replacing, sha256
from sentiment.utils.progress import patience

CONVERTED = PROJECT / "models" / "converted"
"""Folder of the converted files."""
_READERS = {
    ".onnx": foreign_onnx.read,
    ".mlmodel": foreign_coreml.read,
    ".npy": foreign_npy.read,
    **dict.fromkeys((".pth", ".pt", ".pth.tar"), foreign_pytorch.read),
}
SUFFIXES = tuple(_READERS)
_LAST = LastLayer("last", 1)  # stands for a source's last layer, of whatever name and size


def caffemodel(path: Path) -> Path:
    """The .caffemodel with a file's weights: the file itself, or a converted one if its name ends in one of `SUFFIXES`.

    The converted one is written into `CONVERTED`, once for a file's name and content; a line says so, and others tell
    what the file says of its input. A `UserError` says that the file is not complete, that it fits none of the
    architectures, or that the folder cannot be written.
    """
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        return path
    if not path.is_file():
        raise UserError(f"{path} is not a file" if path.exists() else f"no file {path}")
    digest = sha256(path)
    out = CONVERTED / f"{path.name[: -len(suffix)]}-{digest[:12]}.caffemodel"
    if out.is_file():
        return out
    with patience(f"converting {path}"):
        try:
            content = _READERS[suffix](path)
            layers = fitted(path, content)
        except UserError as error:
            raise UserError(weights_files.printable(str(error))) from error  # it may have names from the file in it
        with replacing(out) as part:
            part.write_bytes(_message(layers, f"converted from {content.format}, SHA-256 {digest}").SerializeToString())
    if kinds := sorted({str(layer.weights.dtype) for layer in content.layers} - {"float32"}):
        content.notes.append(f"its weights are {' and '.join(kinds)}, converted to float32")
    lines = [f"converted {path} to {out}: {layers[0].name} … {layers[-1].name}"]
    lines += [f"note: {path.name}: {note}" for note in content.notes]
    print("\n".join(map(weights_files.printable, lines)), flush=True)
    return out


def fitted(path: Path, content: Content) -> list[Parameters]:
    """A file's layers under Caffe's names, float32 and in Caffe's layout, for the first architecture that they fit.

    A `UserError` names the first layer that does not fit, of the architecture of which the most layers do.
    """
    layers = [_whole(path, layer) for layer in content.layers]
    if not layers:
        raise UserError(f"{path} has no convolution and no fully connected layer")
    furthest, misfit = -2, ""
    for architecture in ARCHITECTURES.values():
        full = _shapes(architecture, 1)
        for match in _by_name, _by_order:
            try:
                named = match(layers, list(full), 2 if architecture.keeps_last else 1)
            except UserError as reason:
                fitting, problem = -1, str(reason)
            else:
                divisor = architecture.divisor(_divisor(len(named[0].weights), next(iter(full.values()))[0][0]))
                fitting, problem = _compare(named, _shapes(architecture, divisor))
                if not problem:
                    return _reordered(named, deploy(architecture.name, divisor, _LAST))
            if fitting > furthest:
                furthest, misfit = fitting, f"{problem} (ARCH={architecture.name})"
    raise UserError(f"{path} fits none of the architectures: {misfit}")


def _whole(path, layer):
    """A layer in float32 with a bias; a `UserError` if its numbers are of another kind or count."""
    where, outputs = f"{path}: layer {layer.name}", len(layer.weights) if layer.weights.ndim else 0
    bias = np.zeros(outputs, np.float32) if layer.bias is None else layer.bias
    for array in layer.weights, bias:
        if array.dtype.kind != "f":
            raise UserError(f"{where} has numbers of type {array.dtype}; only those in floating point are exact")
    if layer.weights.ndim not in (2, 4) or bias.shape != (outputs,):
        shapes = weights_files.shapes_text([layer.weights.shape, bias.shape])
        raise UserError(f"{where} is {shapes}, so it is neither a convolution of images nor fully connected")
    return replace(layer, weights=layer.weights.astype(np.float32), bias=bias.astype(np.float32))


def _shapes(architecture, divisor):
    """The shapes of the layers that an architecture takes from a source, by name."""
    shapes = definitions.weight_shapes(deploy(architecture.name, divisor, _LAST))
    own = architecture.new_layer, _LAST.name
    return {name: of_layer for name, of_layer in shapes.items() if name not in own}


def _divisor(outputs, of_full):
    """The number of channels at full width divided by a net's; 1 if that is not a whole number."""
    return of_full // outputs if outputs and of_full % outputs == 0 else 1


def _by_name(layers, names, more):
    """The layers under Caffe's names and in its order, then up to ``more`` others; a `UserError` names one missing."""
    keys, found = [_key(layer.name) for layer in layers], {}
    for name in names:
        key = _key(name)
        places = [place for place, of in enumerate(keys) if of == key]
        places = places or [place for place, of in enumerate(keys) if of.endswith(f"_{key}")]
        if len(places) != 1:
            raise UserError(f"{len(places) or 'no'} layers are named {name}")
        found[places[0]] = replace(layers[places[0]], name=name)
    others = [layer for place, layer in enumerate(layers) if place not in found]
    if len(others) > more:
        raise UserError(f"its layer {others[0].name} belongs to another network")
    return [*found.values(), *others]


def _key(name):
    """A layer's name without what programs change in it: ``fire2/squeeze1x1`` is ``fire2_squeeze1x1`` in some."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def _by_order(layers, names, more):
    """The layers under Caffe's names by their order, then ``more`` others; a `UserError` if their number differs."""
    if len(layers) != len(names) + more:
        raise UserError(f"it has {len(layers)} layers with weights, not {len(names) + more}")
    named = [replace(layer, name=name) for layer, name in zip(layers, names)]
    others = [
        layer if layer.name and layer.name not in names else replace(layer, name=f"last{count or ''}")
        for count, layer in enumerate(layers[len(names) :])
    ]
    return [*named, *others]


def _compare(layers, expected):
    """How many layers have the shapes expected before one has not, and what is wrong with that one."""
    for count, (layer, (name, shapes)) in enumerate(zip(layers, expected.items())):
        found = [layer.weights.shape, layer.bias.shape]
        if found != shapes:
            return count, f"{name} is {weights_files.shapes_text(found)}, not {weights_files.shapes_text(shapes)}"
    return len(expected), ""


def _reordered(layers, net):
    """The layers with the inputs of the first fully connected one in Caffe's order."""
    first = next((layer.bottom[0] for layer in net.layer if layer.type == "InnerProduct"), None)
    map_ = definitions.fields(net)[first] if first else None

    def turned(layer):
        shape = (len(layer.weights), *map_.size, map_.channels) if map_ else ()
        if not layer.channels_last or layer.weights.ndim != 2 or layer.weights.size != math.prod(shape):
            return layer
        weights = layer.weights.reshape(shape).transpose(0, 3, 1, 2).reshape(len(layer.weights), -1)
        return replace(layer, weights=weights, channels_last=False)

    return [turned(layer) for layer in layers]


def _message(layers, name):
    """A ``NetParameter`` with the layers' names, types and blobs."""
    from caffe.proto import caffe_pb2

    net = caffe_pb2.NetParameter(name=name)
    for layer in layers:
        added = net.layer.add(name=layer.name, type=layer.type)
        for array in layer.weights, layer.bias:
            blob = added.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(memoryview(array.ravel()))
    return net
