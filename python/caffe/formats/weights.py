"""Weights, solver states and means in Caffe's binary files (net.cpp, sgd_solver.cpp, upgrade_proto.cpp)."""

import os
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError

from .. import names
from ..errors import CaffeError
from ..proto import caffe_pb2
from . import blobs
from .blobs import Array, Damaged
from .storage import MAX_BINARY_BYTES, open_binary, write_whole
from .upgrade import DATA_PARAMS, TRANSFORM_FIELDS, V0_TYPES, V1_TYPES, note_upgrades

MAX_LAYERS = 50_000  # a ResNet-152 has about 500
_USE_HDF5 = "; set snapshot_format: HDF5"


@dataclass(slots=True)
class LayerWeights:
    """A layer of a weights file. ``blobs`` are `Array` objects, or None for a shared one that an HDF5 file leaves out.

    ``type`` is the current name whatever the file's generation, and "" in HDF5 files, which do not have types.
    """

    name: str
    type: str = ""
    blobs: list[Array | None] = field(default_factory=list)


@dataclass(slots=True)
class Weights:
    """A weights file: the net's name and its layers in order."""

    name: str = ""
    layers: list[LayerWeights] = field(default_factory=list)


@dataclass(slots=True)
class SolverState:
    """The state of a solver. ``history`` holds float32 arrays, momentum first, in the order of the parameters."""

    iter: int = 0
    learned_net: str = ""
    current_step: int = 0
    history: list[np.ndarray] = field(default_factory=list)


def read_weights(path):
    """The weights of a .caffemodel of any of the three generations."""
    weights, old = _read(path, "weights file (.caffemodel)", "NetParameter", _weights)
    note_upgrades(old, path)
    return weights


def _weights(net):
    """The `Weights` in a NetParameter, and the set of what is old about it, for `note_upgrades`."""
    blobs.check_types(net)
    if not net.layer and not net.layers:
        raise Damaged("it has no layers")
    if net.layer and net.layers:
        raise Damaged("it has both 'layer' and old 'layers' entries")
    if len(net.layer) + len(net.layers) > MAX_LAYERS:
        raise Damaged(f"it has more than {MAX_LAYERS} layers")
    old = {"input"} if net.input else set()
    layers = [_layer(layer, names.of_bytes(layer.type)) for layer in net.layer]
    if any(layer.type == b"BatchNorm" and len(layer.param) == 3 for layer in net.layer):
        old.add("BatchNorm")
    for entry in net.layers:
        layers.append(_old_layer(entry))
        old.add("V1")
        if entry.HasField("layer"):
            old.add("V0")
        data = DATA_PARAMS.get(layers[-1].type)
        if data and any(getattr(entry, data).HasField(name) for name in TRANSFORM_FIELDS):
            old.add("data")
    return Weights(names.of_bytes(net.name), [layer for layer in layers if layer.type != "padding"]), old


def _old_layer(entry):
    """A layer of generation V1, or of V0, which is a message inside a V1 layer."""
    if not entry.HasField("layer"):
        return _layer(entry, V1_TYPES.get(entry.type, str(entry.type)))
    blobs.check_types(entry)
    v0 = names.of_bytes(entry.layer.type)
    return _layer(entry.layer, V0_TYPES.get(v0, v0))


def _layer(layer, type_):
    blobs.check_types(layer)
    name = names.of_bytes(layer.name)
    try:
        return LayerWeights(name, type_, blobs.read_blobs(layer.blobs))
    except Damaged as error:
        raise Damaged(f"in layer '{name}', {error}") from error


def write_weights(path, net, arrays, diffs=None):
    """Write a .caffemodel.

    Parameters
    ----------
    path : str
        The file, which is written completely or not at all.
    net : NetParameter
        Name and layers of the current generation; blobs in it are not written.
    arrays : list of list of ndarray
        The parameters of each layer, in the net's order; layers may have one name.
    diffs : list of list of ndarray, optional
        Their gradients.
    """
    _write(path, list(_net_parts(net, arrays, diffs)), _USE_HDF5)


def read_state(path):
    """The solver state in a .solverstate file."""
    return _read(path, "solver state (.solverstate)", "SolverState", _state)


def _state(state):
    blobs.check_types(state)
    if not state.HasField("iter"):
        raise Damaged("it has no iteration")
    history = [array.data.reshape(array.shape) for array in blobs.read_blobs(state.history)]
    return SolverState(state.iter, names.of_bytes(state.learned_net), state.current_step, history)


def write_state(path, iteration, learned_net, current_step, history):
    """Write a .solverstate file; ``learned_net`` is the path of the weights, relative to the working directory."""
    head = names.raw_of(
        caffe_pb2.SolverState(iter=iteration, learned_net=names.of_path(learned_net))
    ).SerializeToString()
    tail = caffe_pb2.SolverState(current_step=current_step).SerializeToString()
    parts = [part for array in history for part in blobs.field_parts(3, *blobs.blob_parts(array))]
    _write(path, [head, *parts, tail], _USE_HDF5)


def read_blob(path):
    """The float32 array in a .binaryproto file in the shape it says: 1 x C x H x W for a mean image (BGR, 0 to 255)."""
    array = _read(path, "mean file (.binaryproto)", "BlobProto", blobs.read_blob)
    return array.data.reshape(array.shape).copy()


def write_blob(path, array):
    """Write an array as a .binaryproto file, as compute_image_mean does: up to four axes in the legacy extents."""
    array = np.asarray(array)
    _write(path, blobs.blob_parts(array, legacy=array.ndim <= 4), "")


def _write(path, parts, advice):
    size = sum(memoryview(part).nbytes for part in parts)
    if size > MAX_BINARY_BYTES:
        raise CaffeError(f"{path} would have {size} bytes, more than the 2 GB of a protobuf file{advice}.")
    write_whole(path, *parts)


def _read(path, kind, name, read):
    """The result of ``read`` for the message ``name`` in a file; any error in the file becomes one CaffeError.

    The second attempt is for files with numbers that are not packed.
    """
    path = os.fspath(path)
    with open_binary(path) as (file, size):
        if size > MAX_BINARY_BYTES:
            raise CaffeError(f"{path} has {size} bytes, more than the 2 GB of a protobuf file; use an HDF5 file (.h5).")
        for parse in (blobs.parse, blobs.parse_unpacked):
            file.seek(0)
            try:
                return read(parse(name, file.read()))
            except DecodeError:
                reason = "it is cut short or damaged"
            except Damaged as error:
                reason = str(error)
        raise CaffeError(f"{path} is not a complete Caffe {kind}: {reason}; {_advice(file)}.")


def _advice(file):
    """What to do about a file that cannot be read."""
    file.seek(0)
    head = file.read(40)
    if head.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return f"it is a text that begins with {head.decode()!r}, so check what was downloaded and which file is named"
    return "copy or download it again, or check that the right file is named"


def _net_parts(net, arrays, diffs):
    """The parts of a NetParameter in the order of field numbers, which gives the same bytes as Caffe's serialiser."""
    if net.layers:
        raise ValueError("a definition of V1 layers")
    head = caffe_pb2.NetParameter()
    head.CopyFrom(net)
    head.ClearField("layer")
    yield names.raw_of(head).SerializeToString()
    for layer, values, gradients in zip(net.layer, arrays, diffs or [[]] * len(arrays), strict=True):
        gradients = gradients or [None] * len(values)
        parts = [part for a, d in zip(values, gradients, strict=True) for part in _blob_field(a, d)]
        before, after = _split(layer, 7)
        yield from blobs.field_parts(100, before, *parts, after)


def _blob_field(array, diff):
    return blobs.field_parts(7, *blobs.blob_parts(array, diff))


def _split(layer, number):
    """The serialised fields of a message below and above a field number."""
    before, after = type(layer)(), type(layer)()
    before.CopyFrom(layer)
    after.CopyFrom(layer)
    for descriptor, _ in layer.ListFields():
        if descriptor.number >= number:
            before.ClearField(descriptor.name)
        if descriptor.number <= number:
            after.ClearField(descriptor.name)
    return [names.raw_of(part).SerializeToString() for part in (before, after)]
