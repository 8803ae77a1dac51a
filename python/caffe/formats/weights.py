"""Weights, solver states and means in Caffe's binary files (net.cpp, sgd_solver.cpp, upgrade_proto.cpp)."""

import contextlib
import os
from dataclasses import dataclass, field

import numpy as np

from .. import names
from ..errors import CaffeError
from ..proto import caffe_pb2
from . import wire
from .storage import MAX_BINARY_BYTES, open_binary, write_whole
from .upgrade import DATA_PARAMS, TRANSFORM_FIELDS, V0_TYPES, V1_TYPES, note_upgrades
from .wire import Array, Damaged, Reader

# the numbers of fields that were not in transform_param yet: the same in all data parameters
_OLD_TRANSFORM = {caffe_pb2.DataParameter.DESCRIPTOR.fields_by_name[name].number for name in TRANSFORM_FIELDS}
_USE_HDF5 = "; set snapshot_format: HDF5"


@dataclass(slots=True)
class LayerWeights:
    """A layer of a weights file. ``blobs`` holds an `Array` each, or None where an HDF5 file leaves a shared one out.

    ``type`` is the current name whatever the file's generation, and "" for HDF5, which keeps no types.
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
    """What a solver goes on from. ``history`` holds float32 arrays, momentum first, in the order of the parameters."""

    iter: int = 0
    learned_net: str = ""
    current_step: int = 0
    history: list[np.ndarray] = field(default_factory=list)


def read_weights(path):
    """The weights of a .caffemodel of any of the three generations."""
    with _open(path, "weights file (.caffemodel)") as reader:
        weights = Weights()
        generations, old = set(), set()
        for part in reader.fields():
            if part.number == 1:
                weights.name = reader.text(part)
            elif part.number in (2, 100):
                wire.expect(part, wire.BYTES)
                generations.add(part.number)
                weights.layers.append(_LAYER[part.number](reader, part, old))
            elif part.number == 3:
                old.add("input")
        if not weights.layers:
            raise Damaged("it has no layers")
        if len(generations) > 1:
            raise Damaged("it has both 'layer' and old 'layers' entries")
        weights.layers = [layer for layer in weights.layers if layer.type != "padding"]
        note_upgrades(old, path)
        return weights


def write_weights(path, net, arrays, diffs=None):
    """Write a .caffemodel.

    Parameters
    ----------
    path : str
        The file, which appears whole or not at all.
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
    with _open(path, "solver state (.solverstate)") as reader:
        state, iteration = SolverState(), None
        for part in reader.fields():
            if part.number == 1:
                iteration = wire.integer(part)
            elif part.number == 2:
                state.learned_net = reader.text(part)
            elif part.number == 3:
                wire.expect(part, wire.BYTES)
                array = wire.read_blob(reader, part.start, part.stop)
                state.history.append(array.data.reshape(array.shape))
            elif part.number == 4:
                state.current_step = wire.integer(part)
        if iteration is None:
            raise Damaged("it has no iteration")
        state.iter = iteration
        return state


def write_state(path, iteration, learned_net, current_step, history):
    """Write a .solverstate file; ``learned_net`` is the path of the weights, relative to the working directory."""
    head = names.raw_of(
        caffe_pb2.SolverState(iter=iteration, learned_net=names.of_path(learned_net))
    ).SerializeToString()
    tail = caffe_pb2.SolverState(current_step=current_step).SerializeToString()
    blobs = [part for array in history for part in wire.message(3, *wire.blob(array))]
    _write(path, [head, *blobs, tail], _USE_HDF5)


def read_blob(path):
    """The float32 array in a .binaryproto file in the shape it says: 1 x C x H x W for a mean image (BGR, 0 to 255)."""
    with _open(path, "mean file (.binaryproto)") as reader:
        array = wire.read_blob(reader)
        return array.data.reshape(array.shape)


def write_blob(path, array):
    """Write an array as a .binaryproto file, as compute_image_mean does: up to four axes in the legacy extents."""
    array = np.asarray(array)
    _write(path, wire.blob(array, legacy=array.ndim <= 4), "")


def _write(path, parts, advice):
    size = sum(memoryview(part).nbytes for part in parts)
    if size > MAX_BINARY_BYTES:
        raise CaffeError(f"{path} would have {size} bytes, more than the 2 GB of a protobuf file{advice}.")
    write_whole(path, *parts)


@contextlib.contextmanager
def _open(path, kind):
    """A `Reader` of the file; whatever is wrong with its bytes becomes one CaffeError."""
    path = os.fspath(path)
    with open_binary(path) as (file, size):
        if size > MAX_BINARY_BYTES:
            raise CaffeError(f"{path} has {size} bytes, more than the 2 GB of a protobuf file; use an HDF5 file (.h5).")
        try:
            yield Reader(file, size)
        except Damaged as error:
            raise CaffeError(f"{path} is not a whole Caffe {kind}: {error}; {_advice(file)}.") from error


def _advice(file):
    """What a file that cannot be read probably is instead."""
    file.seek(0)
    head = file.read(40)
    if head.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return f"it is a text that begins {head.decode()!r}, so check what was downloaded or named"
    return "copy or download it again, or check that the right file is named"


def _read_current(reader, layer, old):
    result, parts = _read_layer(reader, layer, name=1, type_=2, blobs=7)
    if result.type == "BatchNorm" and sum(part.number == 6 for part in parts) == 3:
        old.add("BatchNorm")
    return result


def _read_v1(reader, layer, old):
    result, parts = _read_layer(reader, layer, name=4, type_=5, blobs=6, inner=1)
    old.add("V1")
    if any(part.number == 1 for part in parts):
        old.add("V0")
    data = caffe_pb2.V1LayerParameter.DESCRIPTOR.fields_by_name.get(DATA_PARAMS.get(result.type, ""))
    messages = [part for part in parts if data and part.number == data.number and part.wire == wire.BYTES]
    if any(inner.number in _OLD_TRANSFORM for part in messages for inner in reader.fields(part.start, part.stop)):
        old.add("data")
    return result


def _read_layer(reader, layer, name, type_, blobs, inner=None):
    """A layer message, given the numbers of its fields; ``inner`` is the V0 layer inside a V1 one. All parts too."""
    result = LayerWeights("")
    parts = []
    for part in reader.fields(layer.start, layer.stop):
        parts.append(part)
        if part.number == name:
            result.name = reader.text(part)
        elif part.number == type_:
            result.type = _type(reader, part)
        elif part.number == blobs:
            wire.expect(part, wire.BYTES)
            try:
                result.blobs.append(wire.read_blob(reader, part.start, part.stop))
            except Damaged as error:
                raise Damaged(f"in layer '{result.name}', {error}") from error
        elif part.number == inner:
            wire.expect(part, wire.BYTES)
            v0, _ = _read_layer(reader, part, name=1, type_=2, blobs=50)
            result.name, result.type = v0.name, V0_TYPES.get(v0.type, v0.type)
            result.blobs += v0.blobs
    return result, parts


def _type(reader, part):
    if part.wire == wire.VARINT:
        return V1_TYPES.get(part.value, str(part.value))
    return reader.text(part)


_LAYER = {100: _read_current, 2: _read_v1}


def _net_parts(net, arrays, diffs):
    """The parts of a NetParameter in the order of field numbers: byte for byte the file that Caffe writes."""
    if net.layers:
        raise ValueError("a definition of V1 layers")
    head = caffe_pb2.NetParameter()
    head.CopyFrom(net)
    head.ClearField("layer")
    yield names.raw_of(head).SerializeToString()
    for layer, values, gradients in zip(net.layer, arrays, diffs or [[]] * len(arrays), strict=True):
        gradients = gradients or [None] * len(values)
        blobs = [part for a, d in zip(values, gradients, strict=True) for part in wire.message(7, *wire.blob(a, d))]
        before, after = _split(layer, 7)
        yield from wire.message(100, before, *blobs, after)


def _split(layer, number):
    """The serialised fields of a message below and above a field number."""
    parts = []
    for keep in (int(number).__gt__, int(number).__lt__):
        part = type(layer)()
        part.CopyFrom(layer)
        for descriptor, _ in layer.ListFields():
            if not keep(descriptor.number):
                part.ClearField(descriptor.name)
        parts.append(names.raw_of(part).SerializeToString())
    return parts
