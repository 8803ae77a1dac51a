"""Protobuf's wire format where Caffe's files are large: blobs, read from disk into their arrays and written from them.

A weights file is a few thousand small fields around a few large float buffers. The generated classes would hold the
file twice over and turn 60 million floats into Python objects; here the fields are walked where they lie in the file,
and each buffer is read once, straight into its array. Damaged and hostile files cost no more than that: every length is
held against what is left, and the number of fields is limited.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..names import of_bytes

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)

MAX_FIELDS = 250_000  # a ResNet-152 has about 20,000; a run of unpacked numbers counts as one
MAX_NAME_BYTES = 2**16
MAX_GROUP_DEPTH = 100  # protobuf's own limit
MAX_AXES = 32  # Caffe's kMaxBlobAxes
MAX_COUNT = 2**31 - 1  # "blob size exceeds INT_MAX"


class Damaged(Exception):
    """Why the bytes at hand are not the message that was expected."""


class Field(NamedTuple):
    """One field as it lies in the file; ``count`` > 1 is a run of fixed-width fields of the same number."""

    number: int
    wire: int
    start: int  # of the content, in bytes from the start of the file
    stop: int
    value: int = 0  # of a varint
    count: int = 1  # type: ignore[assignment] # hides tuple.count, which nobody needs
    stride: int = 0  # bytes from one field of a run to the next


class Reader:
    """Walks the fields of a message in an open file of ``size`` bytes."""

    def __init__(self, file, size):
        self.file = file
        self.size = size
        self._left = MAX_FIELDS

    def fields(self, start=0, stop=None):
        """Yield every field between two positions, groups left out. Damaged where the bytes make no sense."""
        stop = self.size if stop is None else stop
        while start < stop:
            field = self._field(start, stop)
            start = field.stop
            if field.wire == END_GROUP:
                raise Damaged(f"a group ends that never started, before byte {start}")
            if field.wire == GROUP:
                start = self._skip_group(field, stop)
            else:
                yield field

    def read(self, start, array):
        """Fill a contiguous array with the bytes from ``start`` on."""
        self.file.seek(start)
        view = memoryview(array.reshape(-1).view(np.uint8))
        if self.file.readinto(view) != len(view):
            raise Damaged("the file became shorter while it was read")
        return array

    def text(self, field):
        """The content of a string field: a name or a path."""
        expect(field, BYTES)
        if field.stop - field.start > MAX_NAME_BYTES:
            raise Damaged(f"a name of {field.stop - field.start} bytes at byte {field.start}")
        return of_bytes(self.read(field.start, np.empty(field.stop - field.start, np.uint8)).tobytes())

    def varint(self, start, stop):
        """A number in base 128, and the position behind it."""
        self.file.seek(start)
        value = 0
        for i, byte in enumerate(self.file.read(min(10, stop - start))):
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                return value, start + i + 1
        raise Damaged(f"an unfinished number at byte {start}")

    def _field(self, start, stop):
        self._left -= 1
        if self._left < 0:
            raise Damaged(f"more than {MAX_FIELDS} fields")
        key, body = self.varint(start, stop)
        number, wire = key >> 3, key & 7
        if not 0 < number < 2**29:
            raise Damaged(f"a field number that cannot be, {number}, at byte {start}")
        if wire == VARINT:
            value, end = self.varint(body, stop)
            return Field(number, wire, body, end, value)
        if wire == BYTES:
            length, body = self.varint(body, stop)
            end = body + length
        elif wire in (FIXED32, FIXED64):
            end = body + (4 if wire == FIXED32 else 8)
        elif wire in (GROUP, END_GROUP):
            end = body
        else:
            raise Damaged(f"an unknown wire type at byte {start}")
        if end > stop:
            cut = "it is cut short, " if stop == self.size else ""
            raise Damaged(f"{cut}field {number} at byte {start} has {end - body} bytes, but {stop - body} are left")
        if wire in (FIXED32, FIXED64):
            count, stride = self._run(start, body, end, stop), end - start
            return Field(number, wire, body, start + count * stride, 0, count, stride)
        return Field(number, wire, body, end)

    def _run(self, start, body, end, stop):
        """How many fields with the very same tag follow one another from ``start`` on, the first included."""
        stride = end - start
        self.file.seek(start)
        tag = np.frombuffer(self.file.read(body - start), np.uint8)
        count, rows = 1, 16
        while (room := min(rows, (stop - start) // stride - count)) > 0:
            block = self.read(start + count * stride, np.empty((room, stride), np.uint8))
            other = np.flatnonzero((block[:, : len(tag)] != tag).any(axis=1))
            if other.size:
                return count + int(other[0])
            count += room
            rows = min(rows * 8, 2**20)
        return count

    def _skip_group(self, field, stop):
        open_groups = [field.number]
        position = field.stop
        while open_groups:
            if position >= stop or len(open_groups) > MAX_GROUP_DEPTH:
                raise Damaged(f"a group at byte {field.start} that does not end")
            inner = self._field(position, stop)
            position = inner.stop
            if inner.wire == GROUP:
                open_groups.append(inner.number)
            elif inner.wire == END_GROUP and inner.number != open_groups.pop():
                raise Damaged(f"groups that are not nested, at byte {position}")
        return position


def expect(field, wire):
    """Damaged unless the field has this wire type."""
    if field.wire != wire:
        raise Damaged(f"field {field.number} at byte {field.start} has another type than this kind of file gives it")


def integer(field):
    """The value of an int32 or int64 field."""
    expect(field, VARINT)
    return field.value - 2**64 if field.value >= 2**63 else field.value


@dataclass(slots=True, eq=False)
class Array:
    """One blob of a file.

    Attributes
    ----------
    data : float32 ndarray, flat, in C order
    diff : float32 ndarray, flat, or None
    shape : tuple of int, as the file says it; legacy files say num, channels, height, width
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


_LEGACY = (1, 2, 3, 4)  # num, channels, height, width
_VALUES = {5: 4, 6: 4, 8: 8, 9: 8}  # data, diff, double_data, double_diff -> bytes a number


def read_blob(reader, start=0, stop=None):
    """The BlobProto between two positions of a file, as an `Array`. Damaged where shape and numbers disagree."""
    extents, dims, chunks = {}, [], {number: [] for number in _VALUES}
    for field in reader.fields(start, stop):
        if field.number in _LEGACY:
            extents[field.number] = integer(field)
        elif field.number == 7:
            expect(field, BYTES)
            _read_dims(reader, field, dims)
        elif field.number in _VALUES:
            chunk = _chunk(field, _VALUES[field.number])
            if chunk.count:
                chunks[field.number].append(chunk)
    shape = tuple(extents.get(number, 0) for number in _LEGACY) if extents else tuple(dims)
    if any(n < 0 for n in shape) or math.prod(n for n in shape if n) > MAX_COUNT:
        raise Damaged(f"a blob of shape {shape}, whose size no int32 holds")
    data, diff = (chunks[8] or chunks[5]), (chunks[9] or chunks[6])
    for kind, part in (("data", data), ("diff", diff)):
        count = sum(chunk.count for chunk in part)
        if count != math.prod(shape) and (count or kind == "data"):
            raise Damaged(f"a blob of shape {shape}, {math.prod(shape)} numbers, with {count} in its {kind}")
    return Array(_read_values(reader, data), _read_values(reader, diff) if diff else None, shape, bool(extents))


def _read_dims(reader, shape, dims):
    for field in reader.fields(shape.start, shape.stop):
        if field.number != 1:
            continue
        if field.wire == BYTES:
            position = field.start
            while position < field.stop and len(dims) <= MAX_AXES:
                value, end = reader.varint(position, field.stop)
                dims.append(integer(Field(1, VARINT, position, end, value)))
                position = end
        else:
            dims.append(integer(field))
        if len(dims) > MAX_AXES:
            raise Damaged(f"a blob with more than {MAX_AXES} axes")


class _Chunk(NamedTuple):
    """Numbers that stand together: packed when ``stride`` is their width in bytes, else each behind its tag."""

    start: int
    count: int  # type: ignore[assignment] # as above
    width: int
    stride: int


def _chunk(field, width):
    if field.wire == BYTES:
        length = field.stop - field.start
        if length % width:
            raise Damaged(f"{length} bytes at byte {field.start} are no whole number of {width}-byte floats")
        return _Chunk(field.start, length // width, width, width)
    expect(field, FIXED32 if width == 4 else FIXED64)
    return _Chunk(field.start, field.count, width, field.stride)


def _read_values(reader, chunks):
    values = np.empty(sum(chunk.count for chunk in chunks), "<f4")
    filled = 0
    for chunk in chunks:
        part = values[filled : filled + chunk.count]
        filled += chunk.count
        if chunk.stride == 4:
            reader.read(chunk.start, part)
            continue
        gap = chunk.stride - chunk.width  # the tag before each number of a run
        rows = reader.read(chunk.start - gap, np.empty((chunk.count, chunk.stride), np.uint8))
        with np.errstate(over="ignore", invalid="ignore"):
            part[:] = rows[:, gap:].copy().view(f"<f{chunk.width}").ravel()
    return values


def message(number, *parts):
    """The parts of a length-delimited field: its head, then ``parts`` (bytes-like, unchanged)."""
    return [_encode(number << 3 | BYTES) + _encode(sum(memoryview(part).nbytes for part in parts)), *parts]


def blob(array, diff=None, legacy=False):
    """The parts of a BlobProto in the order of field numbers, as Caffe's serialiser writes it; no number is copied.

    ``legacy`` writes num, channels, height, width, which every Caffe reads, for an array of at most four axes.
    """
    array = np.asarray(array)
    parts = []
    if legacy:
        for number, extent in zip(_LEGACY, (1,) * (4 - array.ndim) + array.shape):
            parts.append(_encode(number << 3 | VARINT) + _encode(extent))
    for number, values in ((5, array), (6, diff)):
        if values is not None and np.size(values):
            parts += message(number, np.ascontiguousarray(values, "<f4").reshape(-1).data.cast("B"))
    if array.ndim and not legacy:
        parts += message(7, *message(1, b"".join(_encode(extent) for extent in array.shape)))
    return parts


def _encode(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
