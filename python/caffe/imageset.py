"""Image lists as LMDB, and the mean of one: Caffe's tools convert_imageset and compute_image_mean (tools/*.cpp)."""

import os
import shutil
import tempfile

import cv2
import lmdb
import numpy as np

from .errors import CaffeError
from .formats import write_blob
from .glog import log
from .images import read_image
from .layers.data import read_list, records
from .proto import caffe_pb2
from .rng import global_stream, shuffled

_EACH = 1000  # records to a transaction, as in Caffe
_FIRST_BYTES = 2**24


def convert_imageset(root, source, database, height=0, width=0, color=True, encoding=None, shuffle=False):
    """Write the pictures of a list as the records of a new LMDB.

    Parameters
    ----------
    root : str
        Put in front of every path as it is.
    source : str
        List of lines ``path label``.
    database : str
        Folder to make; it appears whole or not at all.
    height, width : int
        Size to resize to, in pixels; 0 keeps each picture's own.
    color : bool
        BGR, or else grey.
    encoding : str, optional
        Keep pictures encoded: ``png``, ``jpg`` …; a file of that kind that is not resized is kept as it is.
    shuffle : bool
        Mix the list first, by the global random stream.

    Returns
    -------
    int
        How many records were written.

    Raises
    ------
    CaffeError
        The list or a picture cannot be read (Caffe leaves such a picture out), or the database is there already.
    """
    if os.path.lexists(database):
        raise CaffeError(f"{database} is there already; remove it or name another database.")
    lines, _ = read_list(source)
    if shuffle:
        lines = [lines[i] for i in shuffled(len(lines), global_stream())]
    folder = os.path.dirname(os.path.abspath(database))
    try:
        temporary = tempfile.mkdtemp(prefix=f".{os.path.basename(database)}.", dir=folder)
    except OSError as error:
        raise CaffeError(f"Could not write {database}: {error.strerror}.") from None
    try:
        with lmdb.open(temporary, map_size=_FIRST_BYTES) as environment:
            for start in range(0, len(lines), _EACH):
                records = [
                    (
                        f"{start + i:08}_{name}".encode("utf-8", "surrogateescape"),
                        _record(root + name, label, height, width, color, encoding),
                    )
                    for i, (name, label) in enumerate(lines[start : start + _EACH])
                ]
                _put(environment, records)
                log("convert_imageset.cpp:145", f"Processed {start + len(records)} files.")
        os.chmod(temporary, 0o755)
        os.rename(temporary, database)
    except (OSError, lmdb.Error) as error:
        raise CaffeError(f"Could not write {database}: {error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(lines)


def _record(path, label, height, width, color, encoding):
    image = read_image(path, height, width, color)
    if encoding is None:
        channels, rows, columns = image.shape
        datum = caffe_pb2.Datum(channels=channels, height=rows, width=columns, data=image.tobytes(), encoded=False)
    elif path.lower().endswith(f".{encoding}") and not (height or width):
        with open(path, "rb") as file:
            datum = caffe_pb2.Datum(data=file.read(), encoded=True)
    else:
        try:
            _, data = cv2.imencode(f".{encoding}", image.transpose(1, 2, 0))
        except cv2.error:
            raise CaffeError(f"OpenCV cannot encode pictures as '{encoding}'; name another kind, as png.") from None
        datum = caffe_pb2.Datum(data=data.tobytes(), encoded=True)
    datum.label = label
    return datum.SerializeToString(deterministic=True)


def _put(environment, records):
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in records:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
        else:
            return


def compute_image_mean(database, output=None):
    """The mean of an LMDB's images, (1, C, H, W) float32, BGR in [0, 255]; written as .binaryproto where one is named.

    Sums are float32, as Caffe's. CaffeError where images differ in shape or a record is none.
    """
    count = 0
    for image, where in records(database):
        if not count:
            total = np.zeros(image.shape, np.float32)
        if image.shape != total.shape:
            raise CaffeError(f"An image of {image.shape}, not {total.shape}: resize them all ({where}).")
        total += image
        count += 1
    if not count:
        raise CaffeError(f"The LMDB {database} is empty.")
    mean = total[None] / np.float32(count)
    if output:
        log("compute_image_mean.cpp:98", f"Write to {output}")
        write_blob(output, mean)
    for channel, value in enumerate(mean[0].mean((1, 2), dtype=np.float64)):
        log("compute_image_mean.cpp:114", f"mean_value channel [{channel}]: {value:g}")
    return mean
