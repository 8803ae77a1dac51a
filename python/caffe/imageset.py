"""Image lists as LMDB, and the mean of one: Caffe's tools convert_imageset and compute_image_mean (tools/*.cpp)."""

import os
import shutil
import tempfile

import cv2
import lmdb
import numpy as np

from .errors import CaffeError
from .formats import write_blob
from .glog import log, number, warn
from .images import read_image
from .layers.data import read_list, records
from .proto import caffe_pb2
from .rng import global_stream, shuffled

_EACH = 1000  # records to a transaction, as in Caffe
_FIRST_BYTES = 2**24


def convert_imageset(
    root,
    source,
    database,
    height=0,
    width=0,
    color=True,
    encoded=False,
    encode_type="",
    shuffle=False,
    check_size=False,
):
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
    encoded : bool
        Keep pictures encoded, as what each file's extension says.
    encode_type : str
        Keep pictures encoded, all as this: ``png``, ``jpg`` …. A file of that extension (``jpeg`` is a jpg) that is
        not resized is kept byte for byte, in colour even where ``color`` is not asked for.
    shuffle : bool
        Mix the list first, by the global random stream.
    check_size : bool
        Refuse pictures of more or fewer values than the first one's.

    Returns
    -------
    int
        How many records were written: a picture that cannot be read is left out, which is logged as an error.

    Raises
    ------
    CaffeError
        The list or all of its pictures cannot be read, or the database is there already.
    """
    if os.path.lexists(database):
        raise CaffeError(f"{database} is there already; remove it or name another database.")
    lines, _ = read_list(source)
    if shuffle:
        log("convert_imageset.cpp:86", "Shuffling data")
        lines = [lines[i] for i in shuffled(len(lines), global_stream())]
    log("convert_imageset.cpp:89", f"A total of {len(lines)} images.")
    if encode_type and not encoded:
        log("convert_imageset.cpp:92", "encode_type specified, assuming encoded=true.")
    folder = os.path.dirname(os.path.abspath(database))
    try:
        temporary = tempfile.mkdtemp(prefix=f".{os.path.basename(database)}.", dir=folder)
    except OSError as error:
        raise CaffeError(f"Could not write {database}: {error.strerror}.") from None
    values, count, records = None, 0, []  # of the first picture, written so far, to be written next
    try:
        with lmdb.open(temporary, map_size=_FIRST_BYTES) as environment:
            log("db_lmdb.cpp:35", f"Opened lmdb {database}")
            for i, (name, label) in enumerate(lines):
                try:
                    image = read_image(root + name, height, width, color)
                except CaffeError:
                    log("io.cpp:80", f"Could not open or find file {root}{name}", level=2)
                    continue
                values = values or image.size
                if check_size and image.size != values:
                    raise CaffeError(f"{root}{name} has {image.size} values, not {values}: resize them all.")
                kind = encode_type or (_extension_of(name) if encoded else "")
                datum = _datum(root + name, image, kind, bool(height or width))
                datum.label = label
                key = f"{i:08}_{name}".encode("utf-8", "surrogateescape")
                records.append((key, datum.SerializeToString(deterministic=True)))
                count += 1
                if len(records) == _EACH:
                    _put(environment, records)
                    records = []
                    log("convert_imageset.cpp:147", f"Processed {count} files.")
            if records:
                _put(environment, records)
                log("convert_imageset.cpp:153", f"Processed {count} files.")
        if not count:
            raise CaffeError(f"None of the {len(lines)} pictures of {source} could be read; is '{root}' their folder?")
        os.chmod(temporary, 0o755)
        os.rename(temporary, database)
    except (OSError, lmdb.Error) as error:
        raise CaffeError(f"Could not write {database}: {error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _extension_of(name):
    """What a file is encoded as by its name, without a dot the whole name, as Caffe guesses."""
    if "." not in name:
        warn("convert_imageset.cpp:117", f"Failed to guess the encoding of '{name}'")
    return name.rpartition(".")[2].lower()


def _datum(path, image, kind, resized):
    """An image (C, H, W) as a ``Datum``; encoded as ``kind`` where there is one (ReadImageToDatum in io.cpp)."""
    if not kind:
        channels, rows, columns = image.shape
        return caffe_pb2.Datum(channels=channels, height=rows, width=columns, data=image.tobytes(), encoded=False)
    extension = path.rpartition(".")[2].lower()
    if not resized and kind.lower() in (extension, "jpg" if extension == "jpeg" else None):
        with open(path, "rb") as file:
            return caffe_pb2.Datum(data=file.read(), encoded=True)
    try:
        _, data = cv2.imencode(f".{kind}", image.transpose(1, 2, 0))
    except cv2.error:
        raise CaffeError(f"OpenCV cannot encode {path} as '{kind}'; name another kind, as -encode_type png.") from None
    return caffe_pb2.Datum(data=data.tobytes(), encoded=True)


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
    for image, encoded, where in records(database):
        if not count:
            if encoded:
                log("compute_image_mean.cpp:57", "Decoding Datum")
            log("compute_image_mean.cpp:70", "Starting iteration")
            total = np.zeros(image.shape, np.float32)
        if image.shape != total.shape:
            raise CaffeError(f"An image of {image.shape}, not {total.shape}: resize them all ({where}).")
        total += image
        count += 1
        if count % 10000 == 0:
            log("compute_image_mean.cpp:95", f"Processed {count} files.")
    if not count:
        raise CaffeError(f"The LMDB {database} is empty.")
    if count % 10000:
        log("compute_image_mean.cpp:101", f"Processed {count} files.")
    mean = total[None] / np.float32(count)
    if output:
        log("compute_image_mean.cpp:108", f"Write to {output}")
        write_blob(output, mean)
    log("compute_image_mean.cpp:114", f"Number of channels: {len(mean[0])}")
    for channel, values in enumerate(mean[0]):
        total = np.cumsum(values, dtype=np.float32)[-1]  # one after the other, as Caffe adds
        log("compute_image_mean.cpp:119", f"mean_value channel [{channel}]: {number(total / np.float32(values.size))}")
    return mean
