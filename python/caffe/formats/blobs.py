"""Weights, solver states and means as protobuf messages whose numbers are bytes, and blobs as bytes to be written.

The classes of caffe_pb2 would turn a model's 60 million floats into as many Python objects. The classes here parse the
same bytes, but have only the fields that are read, and packed numbers are byte strings, which numpy uses directly.
At most two copies of a file are in memory at a time.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet

from ..proto import caffe_pb2, variant
from .upgrade import DATA_PARAMS, TRANSFORM_FIELDS

MAX_BLOBS = 50_000  # in a layer or a solver's history
MAX_AXES = 32  # Caffe's kMaxBlobAxes
MAX_COUNT = 2**31 - 1  # "blob size exceeds INT_MAX"

_LEGACY = ("num", "channels", "height", "width")
_FIELDS = {
    "NetParameter": ("name", "input", "layers", "layer"),
    "LayerParameter": ("name", "type", "param", "blobs"),
    "V1LayerParameter": ("name", "type", "layer", "blobs", *DATA_PARAMS.values()),
    "V0LayerParameter": ("name", "type", "blobs"),
    "DataParameter": TRANSFORM_FIELDS,
    "ImageDataParameter": TRANSFORM_FIELDS,
    "WindowDataParameter": TRANSFORM_FIELDS,
    "SolverState": ("iter", "learned_net", "history", "current_step"),
    "BlobProto": (*_LEGACY, "shape", "data", "diff", "double_data", "double_diff"),
    "BlobShape": ("dim",),
}


class Damaged(Exception):
    """Why a file is not the message that was expected."""


@dataclass(slots=True, eq=False)
class Array:
    """One blob of a file.

    Attributes
    ----------
    data : float32 ndarray, flat, in C order, read-only
    diff : float32 ndarray, flat, or None
    shape : tuple of int, as the file gives it; legacy files give num, channels, height, width
    legacy : bool, whether the legacy extents are present
    """

    data: np.ndarray
    diff: np.ndarray | None
    shape: tuple
    legacy: bool = False

    def fits(self, shape):
        """Whether these numbers may become a blob of ``shape`` (``Blob::ShapeEquals``).

        Legacy extents fit a shape of at most four axes that equals them when padded with ones on the left.
        """
        shape = tuple(shape)
        if not self.legacy:
            return shape == self.shape
        return len(shape) <= 4 and (1,) * (4 - len(shape)) + shape == self.shape


@functools.cache
def _classes(packed):
    """The messages of a file with the fields that are read; with ``packed`` each chunk of packed numbers is bytes."""

    def change(message):
        for index in reversed(range(len(message.field))):
            if message.field[index].name not in _FIELDS.get(message.name, ()):
                del message.field[index]
        for field in message.field:
            if field.type == field.TYPE_ENUM:  # a number that the enumeration lacks is kept too
                field.type = field.TYPE_INT32
                field.ClearField("type_name")
            elif field.type == field.TYPE_STRING or (packed and field.options.packed and message.name == "BlobProto"):
                field.type = field.TYPE_BYTES
                field.ClearField("options")
            elif field.type_name == ".caffe.ParamSpec":  # only counted
                field.type = field.TYPE_BYTES
                field.ClearField("type_name")

    return variant(change)


def parse(name, content):
    """The message of that name in a file's content; raises DecodeError if the content is another."""
    return _classes(packed=True)(name).FromString(content)


def parse_unpacked(name, content):
    """The same for files in which some numbers are not packed; it takes more time and memory."""
    content = _classes(packed=False)(name).FromString(content).SerializePartialToString()  # packed, in one chunk
    return parse(name, content)


def check_types(message):
    """Raise Damaged if a field has another type in the file than in the message, which makes it an unknown field."""
    unknown = UnknownFieldSet(message)
    for number in [unknown[i].field_number for i in range(len(unknown))]:
        if number in message.DESCRIPTOR.fields_by_number:
            raise Damaged(f"field {number} of a {message.DESCRIPTOR.name} has another type than expected")


def read_blobs(blobs):
    """The BlobProtos of a layer or of a solver's history as a list of `Array`; raises Damaged as `read_blob`."""
    if len(blobs) > MAX_BLOBS:
        raise Damaged(f"it has more than {MAX_BLOBS} blobs")
    return [read_blob(blob) for blob in blobs]


def read_blob(blob):
    """A BlobProto from `parse` as an `Array`; raises Damaged if its shape and its values do not match."""
    legacy = any(blob.HasField(name) for name in _LEGACY)
    shape = tuple(getattr(blob, name) for name in _LEGACY) if legacy else tuple(blob.shape.dim)
    if len(shape) > MAX_AXES:
        raise Damaged(f"a blob with more than {MAX_AXES} axes")
    if any(n < 0 for n in shape) or math.prod(n for n in shape if n) > MAX_COUNT:
        raise Damaged(f"a blob of shape {shape}, whose size does not fit an int32")
    count = math.prod(shape)
    data, diff = _numbers(blob.data, blob.double_data), _numbers(blob.diff, blob.double_diff)
    for kind, values in (("data", data), ("diff", diff)):
        if values.size != count and (values.size or kind == "data"):
            raise Damaged(f"a blob of shape {shape}, {count} numbers, with {values.size} in its {kind}")
    check_types(blob)
    return Array(data, diff if diff.size else None, shape, legacy)


def _numbers(floats, doubles):
    """The float32 values in chunks of packed floats, or of doubles if there are any."""
    chunks, width = list(doubles), 8
    if not any(chunks):
        chunks, width = list(floats), 4
    for chunk in chunks:
        if len(chunk) % width:
            raise Damaged(f"{len(chunk)} bytes, which is not a multiple of {width}, for packed numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.frombuffer(b"".join(chunks), f"<f{width}").astype(np.float32, copy=False)


def field_parts(number, *parts):
    """A length-delimited field as a list of bytes-like parts: its head, then ``parts``, which are not copied."""
    return [_varint(number << 3 | 2) + _varint(sum(memoryview(part).nbytes for part in parts)), *parts]


def blob_parts(array, diff=None, legacy=False):
    """The parts of a BlobProto in the order of field numbers, as Caffe's serialiser writes it; no number is copied.

    ``legacy`` writes num, channels, height, width, which every Caffe reads, for an array of at most four axes.
    """
    array = np.asarray(array)
    parts = []
    if legacy:
        extents = dict(zip(_LEGACY, (1,) * (4 - array.ndim) + array.shape))
        parts.append(caffe_pb2.BlobProto(**extents).SerializeToString())
    for number, values in ((5, array), (6, diff)):
        if values is not None and np.size(values):
            parts += field_parts(number, np.ascontiguousarray(values, "<f4").reshape(-1).data.cast("B"))
    if array.ndim and not legacy:
        parts.append(caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=array.shape)).SerializeToString())
    return parts


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
