"""Layers whose data are arrays: Input, Parameter, MemoryData, HDF5Data, DummyData, and for output HDF5Output.

Sources of the behaviour: memory_data_layer.cpp, hdf5_data_layer.cpp, dummy_data_layer.cpp, hdf5_output_layer.cpp.
"""

import math

import numpy as np

from .. import names
from ..data.transformer import DataTransformer
from ..errors import CaffeError
from ..formats import read_tables, write_tables
from ..formats.storage import refusal
from ..proto import caffe_pb2
from ..random.fillers import fill
from ..random.rng import c_rand, global_stream, index_below, permutation
from ..runtime.blob import from_array
from ..runtime.glog import log, warn
from .base import Layer, register


@register("Input")
class Input(Layer):
    """Blobs that the user fills; with a shape for all tops or one for each (input_layer.cpp)."""

    exact_bottom = 0
    min_top = 1
    differentiable = False

    def setup(self, bottom, top):
        shapes = self.param.input_param.shape
        if len(shapes) not in (0, 1, len(top)):
            self.fail(
                f"Must specify 'shape' once, once per top blob, or not at all: {len(top)} tops vs. {len(shapes)} shapes"
            )
        for i, blob in enumerate(top):
            if len(shapes):
                blob.reshape(*shapes[i if len(shapes) > 1 else 0].dim)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top, record):
        pass


@register("Parameter")
class Parameter(Layer):
    """A learned blob as a top (parameter_layer.hpp)."""

    exact_bottom = 0
    exact_top = 1

    def setup(self, bottom, top):
        self.add_blob(tuple(self.param.parameter_param.shape.dim))

    def reshape(self, bottom, top):
        top[0].reshape(*self.blobs[0].shape)
        top[0].share_data(self.blobs[0])
        top[0].share_diff(self.blobs[0])

    def forward(self, bottom, top, record):
        pass

    def backward(self, top, propagate_down, bottom):
        pass


class _ArrayLayer(Layer):
    exact_bottom = 0
    differentiable = False

    def reshape(self, bottom, top):
        pass


def _put(blob, values):
    blob.reshape(*values.shape)
    blob.set_tensor(from_array(values))


@register("MemoryData")
class MemoryData(_ArrayLayer):
    """Batches of the arrays given to ``set_input_arrays``, which are repeated."""

    exact_top = 2

    def setup(self, bottom, top):
        p = self.param.memory_data_param
        # draws a word for a transformer that set_input_arrays does not use
        DataTransformer(self.param.transform_param, self.phase).init_rand(global_stream())
        self._shape = (p.batch_size, p.channels, p.height, p.width)
        if min(self._shape) < 1:
            self.fail("batch_size, channels, height, and width must be specified and positive in memory_data_param")
        crop = self.param.transform_param.crop_size
        top[0].reshape(*((*self._shape[:2], crop, crop) if crop else self._shape))
        top[1].reshape(p.batch_size)
        self._data = self._labels = None
        self._position = 0

    def set_input_arrays(self, data, labels):
        """Take ``data`` (n, channels, height, width) and ``labels`` (n, 1, 1, 1) or (n,), n a multiple of a batch.

        Both must be C-contiguous float32. They are not copied, so later changes to them appear in later batches.
        Raises CaffeError with pycaffe's messages if they do not fit.
        """
        data, labels = np.asarray(data), np.asarray(labels)
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        _check_array(data, "data array", self._shape[1:])
        _check_array(labels, "labels array", (1, 1, 1))
        if len(data) != len(labels):
            raise CaffeError("data and labels must have the same first dimension")
        if len(data) % self._shape[0] or not len(data):
            raise CaffeError("first dimensions of input arrays must be a multiple of batch size")
        if self.param.HasField("transform_param"):
            warn("memory_data_layer.cpp:90", "MemoryData does not transform array data on Reset()")
        self._data, self._labels = data, labels
        self._position = 0

    def forward(self, bottom, top, record):
        if self._data is None or self._labels is None:
            self.fail("MemoryDataLayer needs to be initialized by calling Reset, as net.set_input_arrays does")
        batch = slice(self._position, self._position + self._shape[0])
        _put(top[0], self._data[batch])
        _put(top[1], self._labels[batch])
        self._position = batch.stop % len(self._data)

    def state(self):
        """The index of the next batch's first image."""
        return {"position": self._position}

    def set_state(self, state):
        """Return to a ``state()``; the user sets the arrays."""
        self._position = index_below(state["position"], 2**63 if self._data is None else len(self._data))


def _check_array(array, name, shape):
    if not array.flags.c_contiguous:
        raise CaffeError(f"{name} must be C contiguous")
    if array.ndim != 4:
        raise CaffeError(f"{name} must be 4-d")
    if array.dtype != np.float32:
        raise CaffeError(f"{name} must be float32")
    for size, wanted, what in zip(array.shape[1:], shape, ("number of channels", "height", "width")):
        if size != wanted:
            raise CaffeError(f"{name} has wrong {what}")


@register("HDF5Data")
class HDF5Data(_ArrayLayer):
    """Rows of the data sets that have the tops' names, from the HDF5 files in a list; batches may extend over files.

    With ``shuffle``, files and the rows within them are in the order that Caffe draws from the C library's ``rand()``,
    which is the same in every process, whatever ``random_seed`` is.
    """

    min_top = 1

    def setup(self, bottom, top):
        if self.param.HasField("transform_param"):
            self.fail("HDF5Data does not transform data")
        p = self.param.hdf5_data_param
        if p.batch_size < 1:
            self.fail("Positive batch size required")
        log("hdf5_data_layer.cpp:81", f"Loading list of HDF5 filenames from: {p.source}")
        try:
            with open(names.for_os(p.source), encoding="utf-8", errors="surrogateescape") as file:
                self._names = file.read().split()
        except (OSError, ValueError) as error:
            self.fail(str(refusal("Failed to open source file:", p.source, error)).rstrip("."))
        log("hdf5_data_layer.cpp:95", f"Number of HDF5 files: {len(self._names)}")
        if not self._names:
            self.fail(f"Must have at least 1 HDF5 filename listed in {p.source}")
        self._files = self._mixed(np.arange(len(self._names)))
        self._file = self._row = 0
        self._load()
        for blob, values in zip(top, self._values):
            blob.reshape(p.batch_size, *values.shape[1:])

    def _mixed(self, order):
        return order[c_rand.shuffled(len(order))] if self.param.hdf5_data_param.shuffle else order

    def _load(self):
        name = self._names[self._files[self._file]]
        try:
            self._values = read_tables(name, self.param.top)
        except CaffeError as error:
            self.fail(f"Failed opening HDF5 file: {str(error).rstrip('.')}")
        if len({len(values) for values in self._values}) > 1:
            counts = ", ".join(f"{top} {len(values)}" for top, values in zip(self.param.top, self._values))
            self.fail(f"The data sets of {name} differ in their number of rows: {counts}")
        self._rows = self._mixed(np.arange(len(self._values[0])))

    def forward(self, bottom, top, record):
        size = self.param.hdf5_data_param.batch_size
        batch = [np.empty((size, *blob.shape[1:]), np.float32) for blob in top]
        done = 0
        while done < size:
            rows = self._rows[self._row : self._row + size - done]
            for out, values, name in zip(batch, self._values, self.param.top):
                if math.prod(values.shape[1:]) != math.prod(out.shape[1:]):
                    file = self._names[self._files[self._file]]
                    self.fail(f"HDF5 dataset {name} in {file} has rows of {values.shape[1:]}, not {out.shape[1:]}")
                out[done : done + len(rows)] = values[rows].reshape(-1, *out.shape[1:])
            done += len(rows)
            self._row += len(rows)
            if self._row == len(self._rows):
                self._next_file()
        for blob, values in zip(top, batch):
            _put(blob, values)

    def _next_file(self):
        if len(self._names) > 1:
            self._file += 1
            if self._file == len(self._names):
                self._file = 0
                self._files = self._mixed(self._files)
            self._load()
        self._row = 0
        self._rows = self._mixed(self._rows)

    def state(self):
        """The position of the next row, and the state of ``rand()``."""
        return {
            "files": self._files.tolist(),
            "file": self._file,
            "rows": self._rows.tolist(),
            "row": self._row,
            "rand": c_rand.state(),
        }

    def set_state(self, state):
        """Return to a ``state()``."""
        names = len(self._names)
        if len(state["files"]) != names:
            self.fail(f"Cannot resume: {self.param.hdf5_data_param.source} is not the list of the interrupted run")
        self._files = permutation(state["files"], names)
        self._file = index_below(state["file"], names)
        self._load()
        rows = len(self._rows)
        if len(state["rows"]) != rows:
            self.fail(f"Cannot resume: {self._names[self._files[self._file]]} changed since the interrupted run")
        self._rows = permutation(state["rows"], rows)
        self._row = index_below(state["row"], rows)
        c_rand.set_state(state["rand"])


@register("DummyData")
class DummyData(_ArrayLayer):
    """Filled blobs: constants are filled once, at setup, random values at every forward."""

    min_top = 1

    def setup(self, bottom, top):
        p = self.param.dummy_data_param
        if len(p.data_filler) not in (0, 1, len(top)):
            self.fail(
                f"Number of data fillers must be 0, 1 or equal to the number of tops: {len(top)}; "
                f"you specified {len(p.data_filler)} data fillers"
            )
        for blob, shape in zip(top, self._shapes(p, len(top))):
            blob.reshape(*shape)
        fillers = list(p.data_filler) or [caffe_pb2.FillerParameter()]
        self._fillers = fillers * len(top) if len(fillers) == 1 else fillers
        for blob, filler in zip(top, self._fillers):
            if filler.type == "constant":
                _put(blob, fill(filler, blob.shape, global_stream()))

    def _shapes(self, p, tops):
        legacy = ("num", "channels", "height", "width")
        if not any(len(getattr(p, field)) for field in legacy):
            if len(p.shape) not in (1, tops):
                self.fail(f"Must specify 'shape' once, or once per top blob ({tops}); specified {len(p.shape)}")
            return [tuple(p.shape[i if len(p.shape) > 1 else 0].dim) for i in range(tops)]
        if len(p.shape):
            self.fail("Both shape and legacy fields were specified")
        sizes = [list(getattr(p, field)) for field in legacy]
        for field, size in zip(legacy, sizes):
            if len(size) not in (1, tops):
                self.fail(f"Must specify '{field}' once, or once per top blob ({tops}); specified {len(size)}")
        sizes = [size * tops if len(size) == 1 else size for size in sizes]
        return list(zip(*sizes))

    def forward(self, bottom, top, record):
        for blob, filler in zip(top, self._fillers):
            if filler.type != "constant":
                _put(blob, fill(filler, blob.shape, global_stream()))


@register("HDF5Output")
class HDF5Output(Layer):
    """Writes a batch to a new HDF5 file, the bottoms as ``data`` and ``label``, with the four axes of images.

    As in Caffe, the file is there from setup on, and a second batch is an error, because it would need the same names.
    """

    exact_bottom = 2
    exact_top = 0
    differentiable = False

    def setup(self, bottom, top):
        self._name = self.param.hdf5_output_param.file_name
        self._full = False
        self._write({})

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top, record):
        shapes = [self.image_shape(blob) for blob in bottom]
        if shapes[0][0] != shapes[1][0]:
            self.fail(f"data blob and label blob must have the same batch size: {shapes[0][0]} and {shapes[1][0]}")
        if self._full:
            self.fail(
                f"Failed to make float dataset data: {self._name} holds a batch already, and Caffe writes one to a file"
            )
        log("hdf5_output_layer.cpp:33", f"Saving HDF5 file {self._name}")
        arrays = [blob.tensor().cpu().numpy().reshape(shape) for blob, shape in zip(bottom, shapes)]
        self._write(dict(zip(("data", "label"), arrays)))
        self._full = True
        log("hdf5_output_layer.cpp:38", f"Successfully saved {shapes[0][0]} rows")

    def _write(self, tables):
        try:
            write_tables(self._name, tables)
        except CaffeError as error:
            self.fail(f"Failed to open HDF5 file: {str(error).rstrip('.')}")
