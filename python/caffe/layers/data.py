"""Layers that read pictures: ImageData from a list, Data from an LMDB (image_data_layer.cpp, data_layer.cpp).

Each makes its next batch ahead, in a thread. All draws still come in Caffe's order: the global stream is used at setup
only, everything later comes from streams of the layer's own.
"""

import contextlib
import hashlib
import itertools
import math
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import lmdb
import numpy as np
import torch
from google.protobuf.message import DecodeError

from .. import names
from ..data.images import decode, on_device, read_image, to_planes
from ..data.transformer import DataTransformer
from ..errors import CaffeError
from ..formats.storage import refusal
from ..proto import caffe_pb2
from ..random.rng import Stream, global_stream, index_below, permutation, shuffled
from ..runtime import mode
from ..runtime.glog import log, warn
from .base import Layer, register


class _Task(threading.Thread):
    """A function at work in the background. A fork waits until it is done: the child has none of its parent's threads.

    Such a child finds the value, and no lock that such a thread holds.
    """

    _running: ClassVar[set["_Task"]] = set()
    _starting = threading.Lock()

    def __init__(self, function):
        super().__init__()
        self._function = function
        self._value = self._error = None
        with self._starting:
            self._running.add(self)
            self.start()

    def run(self):
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        self._running.discard(self)

    @classmethod
    def before_fork(cls):
        """Wait for all that run, and let none start."""
        cls._starting.acquire()
        for task in list(cls._running):
            if task is not threading.current_thread():
                task.join()

    @classmethod
    def after_fork(cls):
        """Let others start."""
        cls._running.clear()
        cls._starting.release()

    def result(self):
        """What the function returned; raises what it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._value


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_Task.before_fork, after_in_parent=_Task.after_fork, after_in_child=_Task.after_fork)


_waits = itertools.count()


def _log_waiting():
    """Log the first and every thousandth wait for a batch, of all layers of a process together."""
    if next(_waits) % 1000 == 0:
        log("blocking_queue.cpp:49", "Waiting for data")


@contextlib.contextmanager
def _at(where):
    """Add to an error's message where it happened."""
    try:
        yield
    except CaffeError as error:
        raise CaffeError(f"{error} ({where}).") from None


class PictureLayer(Layer):
    """Batches of transformed images (N, C, H, W) and, with a second top, their labels (N,), from an endless source.

    A subclass gives ``open_source`` (check the definition, open what it names, draw what Caffe draws), ``first`` and
    ``items(n)`` (the next image, the next n; the latter move on), each as (image (C, H, W), label, where it is from),
    and ``position`` / ``seek``, where the next image comes from, with ``pack`` / ``unpack`` for JSON.
    """

    exact_bottom = 0
    differentiable = False
    kept = False  # whether the arrays of pictures are the same ones in each epoch
    log_name: str  # of Caffe's source file
    log_line: int  # where that says the size of a batch
    open_source: Callable[[], int]
    first: Callable[[], tuple]
    items: Callable[[int], Iterator[tuple]]
    position: Callable[[], Any]
    seek: Callable[[Any], None]
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]

    def setup(self, bottom, top):
        if self.param.transform_param.HasField("mean_file"):
            log("data_transformer.cpp:25", f"Loading mean file from: {self.param.transform_param.mean_file}")
        self.transformer = DataTransformer(self.param.transform_param, self.phase)
        self.transformer.init_rand(global_stream())
        self.batch_size = self.open_source()
        if self.batch_size < 1:
            self.fail("Positive batch size required")
        image, _, where = self.first()
        with _at(where):
            shape = (self.batch_size, *self.transformer.output_shape(image.shape))
        top[0].reshape(*shape)
        log(f"{self.log_name}:{self.log_line}", "output data size: " + ",".join(str(n) for n in shape))
        for label in top[1:]:
            label.reshape(self.batch_size)
        # as Caffe: seeded once more, then its prefetch thread, whose own stream serves nothing here
        self.transformer.init_rand(global_stream())
        global_stream().word()
        self._ahead = None
        self._seen = self._stand()

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top, record):
        """Hand over the batch made ahead and start on the next; after an error the same batch is tried again."""
        try:
            if self._ahead is None or self._ahead.is_alive():
                _log_waiting()
            data, labels, self._seen = self._load() if self._ahead is None else self._ahead.result()
        except BaseException:
            self._go_to(*self._seen)
            raise
        self._ahead = _Task(self._load)
        for blob, values in zip(top, (data, labels)):
            blob.reshape(*values.shape)
            blob.set_tensor(values)

    def state(self):
        """Where the next batch comes from, as JSON can hold it; what was only made ahead does not count."""
        position, stream = self._seen
        return {"source": self.pack(position), "transformer": None if stream is None else stream.state()}

    def set_state(self, state):
        """Go on where ``state()`` was taken, in this process or another; CaffeError where the source is another."""
        stream = Stream.of_state(state["transformer"])
        if (stream is None) != (self.transformer.stream is None):
            self.fail("Cannot resume: the layer was saved with other transform_param")
        self._go_to(self.unpack(state["source"]), stream)
        self._seen = self._stand()

    def _stand(self):
        stream = self.transformer.stream
        return self.position(), None if stream is None else stream.copy()

    def _go_to(self, position, stream):
        if self._ahead is not None:
            self._ahead.join()
            self._ahead = None
        self.seek(position)
        self.transformer.stream = None if stream is None else stream.copy()

    def _load(self):
        data, labels = (self._load_on_device if mode.is_gpu() else self._load_on_host)()
        labels = torch.tensor(labels, dtype=torch.float32, device="cpu")
        return data, mode.to_device(labels), self._stand()

    def _load_on_host(self):
        data, labels = None, []
        for i, (image, label, where) in enumerate(self.items(self.batch_size)):
            with _at(where):
                if data is None:
                    shape = self.batch_size, *self.transformer.output_shape(image.shape)
                    data = torch.empty(shape, dtype=torch.float32, device="cpu")
                self.transformer.transform(image, data[i].numpy())
            labels.append(label)
        return data, labels

    def _load_on_device(self):
        """The same batch: pictures stay on the card as bytes, and are cropped and mirrored there."""
        images, places, labels = [], [], []
        for image, label, where in self.items(self.batch_size):
            with _at(where):
                shape = self.transformer.output_shape((images or [image])[0].shape)
                places.append(self.transformer.place(image.shape, shape))
            images.append(on_device(image, mode.device(), self.kept))
            labels.append(label)
        return self.transformer.transform_together(images, places), labels


@register("ImageData")
class ImageData(PictureLayer):
    """Pictures named in a list of lines ``path label``, the label an integer behind the last space."""

    exact_top = 2
    kept = True
    log_name, log_line = "image_data_layer.cpp", 90

    def open_source(self):
        p = self.param.image_data_param
        if (p.new_height > 0) != (p.new_width > 0):
            self.fail("Current implementation requires new_height and new_width to be set at the same time")
        self._size = p.new_height, p.new_width
        self._color = p.is_color
        log(f"{self.log_name}:38", f"Opening file {p.source}")
        self._lines, self._digest = read_list(p.source)
        self._order = np.arange(len(self._lines))
        self._line = 0
        self._stream = None
        if p.shuffle:
            log(f"{self.log_name}:53", "Shuffling data")
            self._stream = Stream(global_stream().word())
            self._shuffle()
        log(f"{self.log_name}:63", f"A total of {len(self._lines)} images.")
        if p.rand_skip:
            skip = global_stream().word() % p.rand_skip
            log(f"{self.log_name}:70", f"Skipping first {skip} data points.")
            if skip >= len(self._lines):
                self.fail(f"Not enough points to skip: {skip} of {len(self._lines)} in {p.source}")
            self._line = skip
        return p.batch_size

    def _shuffle(self):
        self._order = self._order[shuffled(len(self._order), self._stream)]

    def first(self):
        """The next picture."""
        p = self.param.image_data_param
        index = self._order[self._line]
        name, label = self._lines[index]
        where = f"line {index + 1} of {p.source}"
        with _at(where):
            return read_image(p.root_folder + name, *self._size, self._color), label, where

    def items(self, n):
        """The next ``n`` pictures; the list starts anew, shuffled again, wherever it ends."""
        for _ in range(n):
            item = self.first()
            self._line += 1
            if self._line == len(self._lines):
                self._line = 0
                if self._stream is not None:
                    self._shuffle()
            yield item

    def position(self):
        """The next line's place in the order, the order, and the stream that shuffles it next."""
        return self._line, self._order, None if self._stream is None else self._stream.copy()

    def seek(self, position):
        """Stand where ``position()`` was taken."""
        self._line, self._order, stream = position
        self._stream = None if stream is None else stream.copy()

    def pack(self, position):
        """A position with the digest of the list it belongs to; the list's own order is left out."""
        line, order, stream = position
        if stream is None:
            return {"list": self._digest, "line": line, "order": None, "shuffle": None}
        return {"list": self._digest, "line": line, "order": order.tolist(), "shuffle": stream.state()}

    def unpack(self, packed):
        """The position that was packed; CaffeError where the list or its shuffling is another."""
        if packed["list"] != self._digest:
            self.fail(f"Cannot resume: {self.param.image_data_param.source} is not the list of the interrupted run")
        stream = Stream.of_state(packed["shuffle"])
        if (stream is None) != (self._stream is None):
            self.fail("Cannot resume: shuffle is not what it was in the interrupted run")
        count = len(self._lines)
        order = np.arange(count) if stream is None else permutation(packed["order"], count)
        return index_below(packed["line"], count), order, stream


def read_list(source):
    """A list's lines as [(path, label)], and a digest of the file.

    Raises CaffeError, naming the line, where one is not a path, a space and an integer.
    """
    try:
        with open(names.for_os(source), "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        raise refusal("Could not open the image list", source, error) from None
    text = content.decode("utf-8", "surrogateescape").rstrip()
    if not text:
        raise CaffeError(f"File is empty: {source} names no images.")
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        name, space, label = line.rpartition(" ")
        if not space:
            raise CaffeError(
                f"Line {number} of {source} has no label: it should be path, space, label, not '{line:.200}'."
            )
        if not re.fullmatch(r"[+-]?[0-9]{1,10}", label) or not -(2**31) <= int(label) < 2**31:
            raise CaffeError(f"Line {number} of {source}: the label '{label:.40}' is not an integer of 32 bits.")
        lines.append((name, int(label)))
    return lines, hashlib.sha256(content).hexdigest()


_open_databases = weakref.WeakValueDictionary()


class _Database:
    """An LMDB opened for reading; LMDB allows one environment per process and folder, so layers share it."""

    def __init__(self, source):
        try:
            path = os.fsencode(names.for_os(source))
            self.environment = lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False, create=False)
        except lmdb.Error as error:
            reason = str(error).removeprefix(f"{path.decode('utf-8', 'replace')}: ")
            raise refusal("Could not open the LMDB", source, reason) from None
        weakref.finalize(self, self.environment.close)


def _database(source):
    """The database in this folder, opened if it is not yet."""
    path = names.for_os(source)
    key = None  # where there is none, which opening it says
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(os.path.join(path, "data.mdb") if os.path.isdir(path) else path)
        key = status.st_dev, status.st_ino  # one that was made anew is another, whoever still reads the old one
    database = _open_databases.get(key)
    if database is None:
        database = _open_databases[key] = _Database(source)
    log("db_lmdb.cpp:35", f"Opened lmdb {source}")
    return database


@register("Data")
class Data(PictureLayer):
    """Records (``Datum``) of an LMDB in the order of their keys."""

    min_top, max_top = 1, 2
    log_name, log_line = "data_layer.cpp", 45

    def __init__(self, param):
        super().__init__(param)
        p = self.param.data_param
        if p.backend != caffe_pb2.DataParameter.LMDB:
            self.fail(
                f"Cannot read {p.source}: the backend is LEVELDB, Caffe's default, and only LMDB is supported; "
                "convert the database if it is one of LevelDB, and set backend: LMDB"
            )
        self._database = _database(p.source)

    def open_source(self):
        p, t = self.param.data_param, self.param.transform_param
        if t.force_color and t.force_gray:
            self.fail("cannot set both force_color and force_gray")
        self._color = True if t.force_color else False if t.force_gray else None
        for field, instead in (("rand_skip", ""), ("force_encoded_color", "; set force_color in transform_param")):
            if getattr(p, field):
                warn("data.py:1", f"{field} has no effect in a Data layer, as in Caffe{instead}.")
        with self._cursor() as cursor:
            if not cursor.first():
                self.fail(f"The LMDB {p.source} is empty")
            self._key = cursor.key()
        return p.batch_size

    @contextlib.contextmanager
    def _cursor(self):
        with self._database.environment.begin(buffers=False) as transaction, transaction.cursor() as cursor:
            yield cursor

    def first(self):
        """The next record's image."""
        return next(self.items(1, move=False))

    def items(self, n, move=True):
        """The images of the next ``n`` records; after the last comes the first again."""
        source = self.param.data_param.source
        with self._cursor() as cursor:
            if not cursor.set_key(self._key):
                self.fail(f"The LMDB {source} has lost its record '{_text(self._key)}'")
            for _ in range(n):
                where = f"record '{_text(cursor.key())}' of {source}"
                with _at(where):
                    datum = _parsed(cursor.value())
                    image = _datum_image(datum, self._color, where)
                if move:
                    if not cursor.next():
                        log(f"{self.log_name}:73", "Restarting data prefetching from start.")
                        cursor.first()
                    self._key = cursor.key()
                yield image, datum.label, where

    def position(self):
        """The next record's key."""
        return self._key

    def seek(self, position):
        """Stand where ``position()`` was taken."""
        self._key = position

    def pack(self, position):
        """A key as JSON can hold it."""
        return {"key": position.hex()}

    def unpack(self, packed):
        """The key that was packed."""
        return bytes.fromhex(packed["key"])


def records(source):
    """Every image of an LMDB (C, H, W) as it is stored, in the order of keys: image, whether encoded, where from."""
    database = _database(source)  # closed when nobody holds it any more
    with database.environment.begin() as transaction, transaction.cursor() as cursor:
        for key, value in cursor:
            where = f"record '{_text(key)}' of {source}"
            with _at(where):
                datum = _parsed(value)
                image = _datum_image(datum, None, where)
            yield image, datum.encoded, where


def _parsed(value):
    datum = caffe_pb2.Datum()
    try:
        datum.ParseFromString(value)
    except DecodeError:
        raise CaffeError("Could not parse a Datum") from None
    return datum


def _datum_image(datum, color, where):
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


def _text(key):
    return key.decode("utf-8", "backslashreplace")
