"""The records of databases, Caffe's Datum messages (io.cpp)."""

import math

import numpy as np
from google.protobuf.message import DecodeError

from ..errors import CaffeError, at
from ..proto import caffe_pb2
from .databases import open_database
from .images import decode, to_planes


def records(source, backend="lmdb"):
    """The images of a database in the order of keys: (C, H, W) array as stored, whether encoded, place for messages."""
    database = open_database(source, backend)  # closed when it is no longer referenced
    with database.cursor() as cursor:
        more = cursor.first()
        while more:
            where = f"record '{key_text(cursor.key())}' of {source}"
            with at(where):
                datum = parse_datum(cursor.value())
                image = datum_image(datum, None, where)
            yield image, datum.encoded, where
            more = cursor.next()


def parse_datum(value):
    datum = caffe_pb2.Datum()
    try:
        datum.ParseFromString(value)
    except DecodeError:
        raise CaffeError("Could not parse a Datum") from None
    return datum


def datum_image(datum, color, where):
    """The image of a ``Datum``, (C, H, W), uint8 or float32; ``where`` is its place for warnings.

    Encoded images are decoded to BGR if ``color`` is True, to greyscale if False, and as they are stored if None.
    Raises CaffeError if the values do not match the shape or an encoded image does not have 8 bits.
    """
    if datum.encoded:
        image = decode(datum.data, color, where)
        if image is None:
            raise CaffeError("Could not decode datum")
        if image.dtype != np.uint8:
            raise CaffeError("Image data type must be unsigned byte")
        return to_planes(image)
    shape = datum.channels, datum.height, datum.width
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or values.size != math.prod(shape):
        raise CaffeError(f"a Datum of {values.size} values cannot have the shape {shape}")
    return values.reshape(shape)


def key_text(key):
    return key.decode("utf-8", "backslashreplace")
