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
    """An LMDB opened for reading; LMDB allows one environment per process and folder, so layers share it."""

    def __init__(self, source):
        try:
            path = os.fsencode(names.for_os(source))
            self.environment = lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False, create=False)
        except lmdb.Error as error:
            reason = str(error).removeprefix(f"{path.decode('utf-8', 'replace')}: ")
            raise refusal("Could not open the LMDB", source, reason) from None
        weakref.finalize(self, self.environment.close)


def open_database(source):
    """The database in this folder, opened if it is not yet."""
    path = names.for_os(source)
    key = None  # where there is none, which opening it says
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(os.path.join(path, "data.mdb") if os.path.isdir(path) else path)
        key = status.st_dev, status.st_ino  # one that was made anew is another, whoever still reads the old one
    database = _open_databases.get(key)
    if database is None:
        database = _open_databases[key] = Database(source)
    log("db_lmdb.cpp:35", f"Opened lmdb {source}")
    return database


def records(source):
    """Every image of an LMDB (C, H, W) as it is stored, in the order of keys: image, whether encoded, where from."""
    database = open_database(source)  # closed when nobody holds it any more
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
    """A ``Datum``'s image (C, H, W), uint8 or float32; encoded ones are decoded, to BGR or grey where ``color`` is True
    or False, as they are where it is None. ``where`` it stands names it in warnings.

    Raises CaffeError where the numbers do not fill the shape or the encoded picture is none of 8 bits.
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
