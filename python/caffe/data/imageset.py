"""Make databases of image lists, MNIST and CIFAR-10, and compute the mean image of one.

These are Caffe's tools convert_imageset, compute_image_mean, convert_mnist_data, convert_mnist_siamese_data and
convert_cifar_data (tools/*.cpp, examples/*/convert_*.cpp).
"""

import math
import os
import struct

import cv2
import numpy as np

from ..errors import CaffeError
from ..formats import write_blob
from ..proto import caffe_pb2
from ..random.rng import global_stream, shuffled
from ..runtime.glog import log, number, warn
from .databases import new_database
from .images import read_image
from .lists import read_list
from .records import records

_EACH = 1000  # records per transaction, as in Caffe


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
    backend="lmdb",
):
    """Write the images of a list as the records of a new database.

    Parameters
    ----------
    root : str
        Prefix of every path, to which it is joined without a separator.
    source : str
        List of lines ``path label``.
    database : str
        Folder to make; it appears completely or not at all.
    height, width : int
        Size to resize to, in pixels; 0 keeps each image's size.
    color : bool
        Whether images are BGR or greyscale.
    encoded : bool
        Store images encoded, in the format of each file's extension.
    encode_type : str
        Store all images encoded in this format: ``png``, ``jpg`` …. A file with that extension (``jpeg`` is a jpg) that
        is not resized is stored byte for byte, in colour even if ``color`` is false.
    shuffle : bool
        Shuffle the list first, with the global random stream.
    check_size : bool
        Refuse images with another number of values than the first one.
    backend : str
        ``lmdb`` or ``leveldb``.

    Returns
    -------
    int
        Number of records written: images that cannot be read are skipped and logged as errors.

    Raises
    ------
    CaffeError
        If the list or all of its images cannot be read, or the database exists already.
    """
    lines, _ = read_list(source)
    if shuffle:
        log("convert_imageset.cpp:86", "Shuffling data")
        lines = [lines[i] for i in shuffled(len(lines), global_stream())]
    log("convert_imageset.cpp:89", f"A total of {len(lines)} images.")
    if encode_type and not encoded:
        log("convert_imageset.cpp:92", "encode_type specified, assuming encoded=true.")
    values, count, records = None, 0, []  # values of the first image, records so far, records to write next
    with new_database(database, backend) as put:
        for i, (name, label) in enumerate(lines):
            try:
                image = read_image(root + name, height, width, color)
            except CaffeError:
                log("io.cpp:80", f"Could not open or find file {root}{name}", level=2)
                continue
            values = values or image.size
            if check_size and image.size != values:
                raise CaffeError(f"{root}{name} has {image.size} values, not {values}: resize all images.")
            kind = encode_type or (_extension_of(name) if encoded else "")
            datum = _datum(root + name, image, kind, bool(height or width))
            datum.label = label
            records.append((f"{i:08}_{name}", datum))
            count += 1
            if len(records) == _EACH:
                put(records)
                records = []
                log("convert_imageset.cpp:147", f"Processed {count} files.")
        if records:
            put(records)
            log("convert_imageset.cpp:153", f"Processed {count} files.")
        if not count:
            raise CaffeError(
                f"None of the {len(lines)} images of {source} could be read; check their folder, '{root}'."
            )
    return count


def _extension_of(name):
    """The format that Caffe guesses from a file's name: what follows the last dot, or else the complete name."""
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
        raise CaffeError(
            f"OpenCV cannot encode {path} as '{kind}'; name another format, for example -encode_type png."
        ) from None
    return caffe_pb2.Datum(data=data.tobytes(), encoded=True)


def compute_image_mean(database, output=None, backend="lmdb"):
    """The mean of a database's images, (1, C, H, W) float32, BGR in [0, 255], also written to a file (.binaryproto).

    Sums are float32, as in Caffe. Raises CaffeError if images differ in shape or a record is not an image.
    """
    count = 0
    for image, encoded, where in records(database, backend):
        if not count:
            if encoded:
                log("compute_image_mean.cpp:57", "Decoding Datum")
            log("compute_image_mean.cpp:70", "Starting iteration")
            total = np.zeros(image.shape, np.float32)
        if image.shape != total.shape:
            raise CaffeError(f"An image of {image.shape}, not {total.shape}: resize all images ({where}).")
        total += image
        count += 1
        if count % 10000 == 0:
            log("compute_image_mean.cpp:95", f"Processed {count} files.")
    if not count:
        raise CaffeError(f"The database {database} is empty.")
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


def convert_mnist(images, labels, database, backend="lmdb"):
    """Write MNIST's two files, decompressed, as a database; CaffeError if they are other files or do not match."""
    pixels, names = _mnist(images, labels)
    count, rows, columns = pixels.shape
    with new_database(database, backend) as put:
        log("convert_mnist_data.cpp:88", f"A total of {count} items.")
        log("convert_mnist_data.cpp:89", f"Rows: {rows} Cols: {columns}")
        for start in range(0, count, _EACH):
            put(
                (f"{i:08}", _raw(pixels[i].reshape(1, rows, columns), names[i]))
                for i in range(start, min(start + _EACH, count))
            )
        log("convert_mnist_data.cpp:108", f"Processed {count} files.")


def convert_mnist_siamese(images, labels, database):
    """Write as many random pairs of MNIST's images as there are images, as a LevelDB of images with two channels.

    A pair's label is 1 if its images show the same digit, and 0 if not.
    """
    pixels, names = _mnist(images, labels)
    count, rows, columns = pixels.shape
    place = "convert_mnist_siamese_data.cpp"
    with new_database(database, "leveldb") as put:
        log(f"{place}:85", f"A total of {count} items.")
        log(f"{place}:86", f"Rows: {rows} Cols: {columns}")
        for start in range(0, count, _EACH):
            items = []
            for item in range(start, min(start + _EACH, count)):
                i, j = (global_stream().word() % count for _ in range(2))
                items.append((f"{item:08}", _raw(pixels[[i, j]], names[i] == names[j])))
            put(items)


def _mnist(images, labels):
    pixels, names = _idx(images, 2051, 3), _idx(labels, 2049, 1)
    if len(pixels) != len(names):
        raise CaffeError(f"{images} has {len(pixels)} images, {labels} {len(names)} labels; name two files of one set.")
    return pixels, names


def _idx(path, magic, axes):
    """The array in a file of MNIST's format: a magic number and the extents, big-endian, then bytes."""
    content = _bytes(path)
    start = 4 * (axes + 1)
    head = struct.unpack(f">{axes + 1}I", content[:start].ljust(start, b"\0"))
    if head[0] != magic or len(content) < start:
        raise CaffeError(f"{path} is not a decompressed MNIST file that begins with the number {magic}.")
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != math.prod(head[1:]):
        raise CaffeError(f"{path} is cut short: it has {values.size} values of {' x '.join(map(str, head[1:]))}.")
    return values.reshape(head[1:])


def convert_cifar(source, folder, kind="lmdb"):
    """Write the binary batches of CIFAR-10 in a folder as ``cifar10_train_<kind>`` and ``cifar10_test_<kind>``.

    Raises CaffeError if a batch is missing or is another file.
    """
    place = "convert_cifar_data.cpp"
    with new_database(os.path.join(folder, f"cifar10_train_{kind}"), kind) as put:
        log(f"{place}:52", "Writing Training data")
        for batch in range(5):
            log(f"{place}:55", f"Training Batch {batch + 1}")
            put(_cifar_records(os.path.join(source, f"data_batch_{batch + 1}.bin"), 10000 * batch))
    log(f"{place}:73", "Writing Testing data")
    with new_database(os.path.join(folder, f"cifar10_test_{kind}"), kind) as put:
        put(_cifar_records(os.path.join(source, "test_batch.bin"), 0))


def _cifar_records(path, first):
    """The records of a batch, each a byte of label and 3 x 32 x 32 bytes of RGB."""
    rows = np.frombuffer(_bytes(path), np.uint8)
    if not rows.size or rows.size % 3073:
        raise CaffeError(
            f"{path} is not a batch of CIFAR-10's binary version: {rows.size} bytes are not a multiple of 3073."
        )
    rows = rows.reshape(-1, 3073)
    return [(f"{i:05}", _raw(row[1:].reshape(3, 32, 32), row[0])) for i, row in enumerate(rows, first)]


def _raw(image, label):
    channels, rows, columns = image.shape
    return caffe_pb2.Datum(channels=channels, height=rows, width=columns, data=image.tobytes(), label=int(label))


def _bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CaffeError(f"Unable to open file {path}: {error.strerror}.") from None
