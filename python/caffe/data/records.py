"""LMDB databases and their records, Caffe's Datum messages (db_lmdb.cpp, io.cpp)."""

import contextlib
import math
import os
import weakref

import lmdb
import numpy as np
from google.protobuf.message import DecodeError

from .. import names
from ..errors import CaffeError, at
from ..formats.storage import refusal
from ..proto import caffe_pb2
from ..runtime.glog import log
from .images import decode, to_planes

_open_databases = weakref.WeakValueDictionary()


class Database:
    """An LMDB opened for reading, shared by layers because LMDB allows one environment per process and folder."""

    def __init__(self, source):
        try:
            path = os.fsencode(names.for_os(source))
            self.environment = lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False, create=False)
        except lmdb.Error as error:
            reason = str(error).removeprefix(f"{path.decode('utf-8', 'replace')}: ")
            raise refusal("Could not open the LMDB", source, reason) from None
        weakref.finalize(self, self.environment.close)


def open_database(source):
    """The database in this folder, opened if it is not open already."""
    path = names.for_os(source)
    key = None  # if there is no such file, opening it will fail
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(os.path.join(path, "data.mdb") if os.path.isdir(path) else path)
        key = status.st_dev, status.st_ino  # differs if the database has been replaced
    database = _open_databases.get(key)
    if database is None:
        database = _open_databases[key] = Database(source)
    log("db_lmdb.cpp:35", f"Opened lmdb {source}")
    return database


def records(source):
    """The images of an LMDB in the order of keys: (C, H, W) array as stored, whether encoded, place for messages."""
    database = open_database(source)  # closed when it is no longer referenced
    with database.environment.begin() as transaction, transaction.cursor() as cursor:
        for key, value in cursor:
            where = f"record '{key_text(key)}' of {source}"
            with at(where):
                datum = parse_datum(value)
                image = datum_image(datum, None, where)
            yield image, datum.encoded, where


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
