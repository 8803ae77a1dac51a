"""Layers that read images: ImageData from a list, Data from a database, WindowData as R-CNN does.

Sources of the behaviour: image_data_layer.cpp, data_layer.cpp, window_data_layer.cpp.

Each prepares its next batch in a thread. Random numbers are nevertheless drawn in Caffe's order: the global stream is
used at setup only, and later a layer uses its own streams.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..data.databases import BACKENDS, open_database
from ..data.images import on_device, read_image
from ..data.lists import read_list
from ..data.records import datum_image, key_text, parse_datum
from ..data.transformer import DataTransformer
from ..data.windows import CHANNELS, read_windows, warp
from ..errors import at
from ..proto import caffe_pb2
from ..random.rng import Stream, copied, global_stream, index_below, permutation, shuffled
from ..runtime import mode
from ..runtime.background import Task
from ..runtime.glog import log, warn
from .base import Layer, register

_waits = itertools.count()


def _log_waiting():
    """Log every thousandth wait for a batch, beginning with the first, counted over all layers of the process."""
    if next(_waits) % 1000 == 0:
        log("blocking_queue.cpp:49", "Waiting for data")


class ImageLayer(Layer):
    """Batches of transformed images (N, C, H, W) and, with a second top, their labels (N,), from an endless source.

    A subclass defines ``open_source`` (check the definition, open the source, draw what Caffe draws; returns the batch
    size), ``first()`` (the next image, without advancing) and ``items(n)`` (the next n images, advancing), each as
    (image (C, H, W), label, place for messages), ``position`` and ``seek`` for the position of the next image, and
    ``pack`` and ``unpack`` to convert a position for JSON.
    """

    exact_bottom = 0
    differentiable = False
    kept = False  # whether the images' arrays are the same objects in each epoch
    log_name: str  # of Caffe's source file
    log_line: int  # of its message on the size of a batch
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
        shape = (self.batch_size, *self.item_shape())
        top[0].reshape(*shape)
        log(f"{self.log_name}:{self.log_line}", "output data size: " + ",".join(str(n) for n in shape))
        for label in top[1:]:
            label.reshape(self.batch_size)
        # as in Caffe: seeded again, then a word for its prefetch thread, whose stream is not needed here
        self.transformer.init_rand(global_stream())
        global_stream().word()
        self._ahead = None
        self._batch_start = self._current()

    def item_shape(self):
        """The shape (C, H, W) of an image in a batch."""
        image, _, where = self.first()
        with at(where):
            return self.transformer.output_shape(image.shape)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top, record):
        """Write the prepared batch to the tops and prepare the next; after an error the same batch is tried again."""
        try:
            if self._ahead is None or self._ahead.is_alive():
                _log_waiting()
            data, labels, self._batch_start = self._load() if self._ahead is None else self._ahead.result()
        except BaseException:
            self._go_to(*self._batch_start)
            raise
        self._ahead = Task(self._load)
        for blob, values in zip(top, (data, labels)):
            blob.reshape(*values.shape)
            blob.set_tensor(values)

    def state(self):
        """The position of the next batch, for JSON; a batch that is only prepared is not counted."""
        position, stream = self._batch_start
        return {"source": self.pack(position), "transformer": None if stream is None else stream.state()}

    def set_state(self, state):
        """Return to a ``state()`` of this process or another; CaffeError if the source is another."""
        stream = Stream.of_state(state["transformer"])
        if (stream is None) != (self.transformer.stream is None):
            self.fail("Cannot resume: the layer was saved with other transform_param")
        self._go_to(self.unpack(state["source"]), stream)
        self._batch_start = self._current()

    def _current(self):
        """The position in the source, and a copy of the transformer's stream."""
        return self.position(), copied(self.transformer.stream)

    def _go_to(self, position, stream):
        if self._ahead is not None:
            self._ahead.join()
            self._ahead = None
        self.seek(position)
        self.transformer.stream = copied(stream)

    def _load(self):
        data, labels = self._load_on_device() if mode.is_gpu() else self._load_on_host()
        labels = torch.tensor(labels, dtype=torch.float32, device="cpu")
        return data, mode.to_device(labels), self._current()

    def _load_on_host(self):
        data, labels = None, []
        for i, (image, label, where) in enumerate(self.items(self.batch_size)):
            with at(where):
                if data is None:
                    shape = self.batch_size, *self.transformer.output_shape(image.shape)
                    data = torch.empty(shape, dtype=torch.float32, device="cpu")
                self.transformer.transform(image, data[i].numpy())
            labels.append(label)
        return data, labels

    def _load_on_device(self):
        """The same batch on a GPU, where images are kept as bytes, cropped and mirrored."""
        images, places, labels = [], [], []
        for image, label, where in self.items(self.batch_size):
            with at(where):
                shape = self.transformer.output_shape((images or [image])[0].shape)
                places.append(self.transformer.place(image.shape, shape))
            images.append(on_device(image, mode.device(), self.kept))
            labels.append(label)
        return self.transformer.transform_together(images, places), labels


@register("ImageData")
class ImageData(ImageLayer):
    """Images in a list of lines ``path label``, where the label is an integer after the last space."""

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
        """The next image."""
        p = self.param.image_data_param
        index = self._order[self._line]
        name, label = self._lines[index]
        where = f"line {index + 1} of {p.source}"
        with at(where):
            return read_image(p.root_folder + name, *self._size, self._color), label, where

    def items(self, n):
        """The next ``n`` images; at the end of the list it starts again, shuffled again."""
        for _ in range(n):
            item = self.first()
            self._line += 1
            if self._line == len(self._lines):
                self._line = 0
                if self._stream is not None:
                    self._shuffle()
            yield item

    def position(self):
        """The index of the next line in the order, the order, and the stream that shuffles it."""
        return self._line, self._order, copied(self._stream)

    def seek(self, position):
        """Return to a ``position()``."""
        self._line, self._order, stream = position
        self._stream = copied(stream)

    def pack(self, position):
        """A position with the digest of its list; the order is left out if it is that of the list."""
        line, order, stream = position
        if stream is None:
            return {"list": self._digest, "line": line, "order": None, "shuffle": None}
        return {"list": self._digest, "line": line, "order": order.tolist(), "shuffle": stream.state()}

    def unpack(self, packed):
        """The position that was packed; CaffeError if the list or its shuffling is another."""
        if packed["list"] != self._digest:
            self.fail(f"Cannot resume: {self.param.image_data_param.source} is not the list of the interrupted run")
        stream = Stream.of_state(packed["shuffle"])
        if (stream is None) != (self._stream is None):
            self.fail("Cannot resume: shuffle is not what it was in the interrupted run")
        count = len(self._lines)
        order = np.arange(count) if stream is None else permutation(packed["order"], count)
        return index_below(packed["line"], count), order, stream


@register("Data")
class Data(ImageLayer):
    """Records (``Datum``) of a LevelDB, Caffe's default, or an LMDB in the order of their keys."""

    min_top, max_top = 1, 2
    log_name, log_line = "data_layer.cpp", 45

    def __init__(self, param):
        super().__init__(param)
        p = self.param.data_param
        backend = caffe_pb2.DataParameter.DB.Name(p.backend).lower()
        self._database = open_database(p.source, backend)
        self._kind = BACKENDS[backend][0]

    def open_source(self):
        p, t = self.param.data_param, self.param.transform_param
        if t.force_color and t.force_gray:
            self.fail("cannot set both force_color and force_gray")
        self._color = None
        if t.force_color or t.force_gray:
            self._color = t.force_color
        for field, instead in (("rand_skip", ""), ("force_encoded_color", "; set force_color in transform_param")):
            if getattr(p, field):
                warn("data.py:1", f"{field} has no effect in a Data layer, as in Caffe{instead}.")
        with self._database.cursor() as cursor:
            if not cursor.first():
                self.fail(f"The {self._kind} {p.source} is empty")
            self._key = cursor.key()
        return p.batch_size

    def first(self):
        """The next record's image."""
        return next(self.items(1, move=False))

    def items(self, n, move=True):
        """The images of the next ``n`` records; the last record is followed by the first."""
        source = self.param.data_param.source
        with self._database.cursor() as cursor:
            if not cursor.set_key(self._key):
                self.fail(f"The {self._kind} {source} has lost its record '{key_text(self._key)}'")
            for _ in range(n):
                where = f"record '{key_text(cursor.key())}' of {source}"
                with at(where):
                    datum = parse_datum(cursor.value())
                    image = datum_image(datum, self._color, where)
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
        """Return to a ``position()``."""
        self._key = position

    def pack(self, position):
        """A key as JSON can hold it."""
        return {"key": position.hex()}

    def unpack(self, packed):
        """The key that was packed."""
        return bytes.fromhex(packed["key"])


@register("WindowData")
class WindowData(ImageLayer):
    """Windows of images, warped to squares: first those of the background, then a fraction of those with an object.

    ``scale`` is that of ``window_data_param``, as in Caffe; the crop size, the mean and mirroring are those of
    ``transform_param``.
    """

    exact_top = 2
    log_name, log_line = "window_data_layer.cpp", 180

    def open_source(self):
        p, t = self.param.window_data_param, self.param.transform_param
        if t.crop_size < 1:
            self.fail("crop_size must be positive in transform_param")
        if p.context_pad and t.crop_size <= 2 * p.context_pad:
            self.fail(f"context_pad {p.context_pad} must be less than half of crop_size {t.crop_size}")
        if t.HasField("scale"):
            warn(
                "data.py:1",
                "transform_param's scale has no effect in WindowData; window_data_param's has, as in Caffe",
            )
        self._stream = Stream(global_stream().word())
        self._file = read_windows(p.source, p.fg_threshold, p.bg_threshold)
        if not len(self._file.foreground) or not len(self._file.background):
            counts = f"{len(self._file.foreground)} of objects, {len(self._file.background)} of background"
            self.fail(f"{p.source} must have windows of objects and of background: {counts}")
        log(f"{self.log_name}:157", f"Number of images: {len(self._file.images)}")
        labels = np.r_[self._file.background[:, 1], self._file.foreground[:, 1]]
        for label, count in zip(*np.unique(labels, return_counts=True)):
            log(f"{self.log_name}:161", f"class {label} has {count} samples")
        log(f"{self.log_name}:165", f"Amount of context padding: {p.context_pad}")
        log(f"{self.log_name}:168", f"Crop mode: {p.crop_mode}")
        self._mean = self._mean_of_square()
        return p.batch_size

    def _mean_of_square(self):
        """The mean (C, crop, crop), or what broadcasts to it: the middle of a mean image, as far from both edges."""
        mean, size = self.transformer.mean, self.transformer.crop_size
        if mean is None:
            values = self.transformer.mean_values
            if len(values) not in (0, 1, CHANNELS):
                self.fail(f"Specify either 1 mean_value or as many as channels: {CHANNELS}")
            return values if len(values) else np.float32(0)
        offset = (mean.shape[2] - size) // 2
        mean = mean[:, offset : offset + size, offset : offset + size]
        if offset < 0 or mean.shape != (CHANNELS, size, size):
            self.fail(f"The mean file {self.param.transform_param.mean_file} does not cover a crop of {size} x {size}")
        return mean

    def item_shape(self):
        """The shape of a square."""
        return CHANNELS, self.transformer.crop_size, self.transformer.crop_size

    def items(self, n):
        """The squares (C, crop, crop) of a batch, float32."""
        p, size = self.param.window_data_param, self.transformer.crop_size
        objects = int(np.float32(n) * np.float32(p.fg_fraction))
        for windows, count in ((self._file.background, n - objects), (self._file.foreground, objects)):
            for _ in range(count):
                index, label, *box = windows[self._stream.word() % len(windows)].tolist()
                mirror = self.param.transform_param.mirror and self._stream.word() % 2 == 1
                where = f"image {index} of {p.source}"
                with at(where):
                    image = read_image(p.root_folder + self._file.images[index]).transpose(1, 2, 0)
                    square = p.crop_mode == "square"
                    patch, top, left = warp(image, box, size, p.context_pad, square, mirror)
                data = np.zeros(self.item_shape(), np.float32)
                height, width = patch.shape[:2]
                place = np.s_[:, top : top + height, left : left + width]
                mean = np.broadcast_to(self._mean, data.shape)[place]
                data[place] = (patch.transpose(2, 0, 1) - mean) * np.float32(p.scale)
                yield data, label, where

    def _load_on_host(self):
        data, labels, _ = zip(*self.items(self.batch_size))
        return torch.from_numpy(np.stack(data)), list(labels)

    def _load_on_device(self):
        data, labels = self._load_on_host()
        return mode.to_device(data), labels

    def position(self):
        """The stream that chooses and mirrors windows."""
        return copied(self._stream)

    def seek(self, position):
        """Return to a ``position()``."""
        self._stream = copied(position)

    def pack(self, position):
        """A position with the digest of its window file."""
        return {"windows": self._file.digest, "stream": position.state()}

    def unpack(self, packed):
        """The position that was packed; CaffeError if the window file is another."""
        if packed["windows"] != self._file.digest:
            self.fail(f"Cannot resume: {self.param.window_data_param.source} is not the file of the interrupted run")
        return Stream.of_state(packed["stream"])
