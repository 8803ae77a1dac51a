"""Weights, solver states and HDF5Data's tables in HDF5 files (net.cpp, sgd_solver.cpp, hdf5.cpp)."""

import contextlib
import functools
import os

import h5py
import numpy as np

from .. import names
from ..errors import CaffeError
from ..runtime.glog import log
from .blobs import Array
from .storage import open_binary, replacing
from .weights import LayerWeights, SolverState, Weights

# A small file may declare data sets of any extent. Those of Caffe are neither compressed nor shared.
_MAX_RATIO, _MIN_BYTES = 16, 2**20
_MAX_BLOBS = 1000  # of one layer
_MAX_DEFLATE = 1100  # the largest ratio of compressed tables

_CLASSES = {
    getattr(h5py.h5t, name): f"H5T_{name}"
    for name in ["TIME", "STRING", "BITFIELD", "OPAQUE", "COMPOUND", "REFERENCE", "ENUM", "VLEN", "ARRAY"]
}


def read_weights(path):
    """The weights in an HDF5 file: data sets ``data/<layer>/<index>``, and optionally the same in ``diff``."""
    with _open(path, "weights file") as source:
        data = source.group("data")
        diff = source.group("diff") if "diff" in source.file else None
        return Weights("", [_read_layer(source, name, data, diff) for name in data.id])


def write_weights(path, net, arrays, diffs=None):
    """Write weights; parameters as for the binary file, with None for a shared blob that another layer owns.

    Raises CaffeError for a layer's name that HDF5 cannot hold, for example with a slash or used twice.
    """
    seen = set()
    for layer in net.layer:
        if layer.name in seen:
            raise CaffeError(
                f"Could not write {path}: HDF5 cannot hold two layers named '{layer.name}'; rename one, or save a "
                "binary file (snapshot_format: BINARYPROTO)."
            )
        seen.add(layer.name)
        if layer.name in ("", ".") or "/" in layer.name:
            raise CaffeError(
                f"Could not write {path}: HDF5 cannot hold a layer named '{layer.name}'; rename it without '/', "
                "or save a binary file (snapshot_format: BINARYPROTO)."
            )
    with _create(path) as file:
        for kind, values in (("data", arrays), ("diff", diffs)):
            if values is None:
                continue
            group = file.create_group(kind)
            for layer, blobs in zip(net.layer, values, strict=True):
                _write_arrays(_group(group, names.to_bytes(layer.name), create=True), blobs)


def read_state(path):
    """The solver state in an HDF5 file."""
    with _open(path, "solver state") as source:
        history = source.group("history")
        return SolverState(
            source.integer("iter"),
            source.text("learned_net") if "learned_net" in source.file else "",
            source.integer("current_step"),
            [source.numbers(history[str(i)], np.float32) for i in range(len(history))],
        )


def write_state(path, iteration, learned_net, current_step, history):
    """Write a solver state; ``learned_net`` is the path of the weights, relative to the working directory."""
    with _create(path) as file:
        file.create_dataset("iter", data=np.array([iteration], np.int32))
        _write_string(file, "learned_net", learned_net)
        file.create_dataset("current_step", data=np.array([current_step], np.int32))
        _write_arrays(file.create_group("history"), history)


def read_tables(path, data_sets):
    """The data sets of these names as float32 arrays of at least one axis, for HDF5Data."""
    with _open(path, "table for HDF5Data", _MAX_DEFLATE) as source:
        tables = []
        for name in data_sets:
            try:
                data_set = source.file[names.to_bytes(name)]
            except KeyError:
                raise CaffeError(f"Failed to find HDF5 dataset {name} in {path}.") from None
            table = source.numbers(data_set, np.float32)
            if table.ndim < 1 or table.size == 0:
                raise CaffeError(f"HDF5 dataset {name} in {path} must have at least 1 axis and one row: {table.shape}.")
            tables.append(table)
        return tables


def write_tables(path, tables):
    """Write arrays as float32 data sets of a new file, name -> array."""
    with _create(path) as file:
        for name, values in tables.items():
            file.create_dataset(name, data=np.asarray(values, np.float32))


@functools.cache
def _note_class(floats):
    """Log, once per process as Caffe does, that a data set holds floats, or integers."""
    line, name = (33, "H5T_FLOAT") if floats else (36, "H5T_INTEGER")
    log(f"hdf5.cpp:{line}", f"Datatype class: {name}")


class _Source:
    """An open file and the number of bytes that may still be read from it. Errors are those of h5py for bad files."""

    def __init__(self, file, size, ratio):
        self.file = file
        self._left = max(_MIN_BYTES, ratio * size)

    def group(self, name):
        item = self.file[name]
        if not isinstance(item, h5py.Group):
            raise ValueError(f"'{name}' is not a group")
        return item

    def numbers(self, dataset, dtype):
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise CaffeError(
                f"'{dataset.name}' in {self.file.filename} is not a data set of numbers: save one of this name."
            )
        kind = dataset.id.get_type().get_class()
        if kind not in (h5py.h5t.FLOAT, h5py.h5t.INTEGER):
            raise CaffeError(
                f"Unsupported datatype class: {_CLASSES.get(kind, 'unknown')} in data set '{dataset.name}' of "
                f"{self.file.filename}: save it as integers or floats, for example as float32."
            )
        self._spend(dataset)
        if dtype == np.float32:
            _note_class(dataset.dtype.kind == "f")
        with np.errstate(over="ignore"):  # becomes infinite
            return np.asarray(dataset[()]).astype(dtype, copy=False)

    def integer(self, name):
        return int(self.numbers(self.file[name], np.int64).ravel()[0])

    def text(self, name):
        self._spend(self.file[name])
        value = np.asarray(self.file[name][()]).item()
        return names.of_bytes(value) if isinstance(value, bytes) else str(value)

    def _spend(self, dataset):
        self._left -= dataset.size * max(dataset.dtype.itemsize, 4)
        if self._left < 0:
            raise ValueError(f"'{dataset.name}' claims more numbers than the file can hold")


@contextlib.contextmanager
def _open(path, kind, ratio=_MAX_RATIO):
    path = os.fspath(path)
    with open_binary(path) as (_, size):
        try:
            with h5py.File(names.for_os(path), "r") as file:
                yield _Source(file, size, ratio)
        except CaffeError:
            raise
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
            reason = error.args[0] if isinstance(error, KeyError) else error
            raise CaffeError(
                f"{path} is not a complete HDF5 {kind}: {reason}; copy or download it again, or check its name."
            ) from error


@contextlib.contextmanager
def _create(path):
    with replacing(path) as temporary:
        try:
            with h5py.File(temporary, "w") as file:
                yield file
        except RuntimeError as error:  # raised by HDF5, besides OSError, when the disk is full
            raise OSError(str(error)) from error


def _group(parent, name, create=False):
    """The group of a name in bytes of any encoding, which h5py's own groups do not take."""
    return h5py.Group(h5py.h5g.create(parent.id, name) if create else h5py.h5g.open(parent.id, name))


def _read_layer(source, name, data, diff):
    group = _group(data, name)
    diffs = _group(diff, name) if diff is not None and diff.id.links.exists(name) else {}
    name = names.of_bytes(name)
    indices = [int(key) for key in group]
    if indices and not 0 <= min(indices) <= max(indices) < _MAX_BLOBS:
        raise ValueError(f"layer '{name}' has blobs {sorted(indices)}")
    layer = LayerWeights(name)
    for i in range(max(indices, default=-1) + 1):
        if str(i) not in group:
            layer.blobs.append(None)
            continue
        data = source.numbers(group[str(i)], np.float32)
        diff = None
        if str(i) in diffs:
            diff = source.numbers(diffs[str(i)], np.float32)
            if diff.shape != data.shape:
                raise ValueError(f"layer '{name}' has a diff of shape {diff.shape} for data of shape {data.shape}")
            diff = diff.ravel()
        layer.blobs.append(Array(data.ravel(), diff, data.shape))
    return layer


def _write_arrays(group, arrays):
    for i, array in enumerate(arrays):
        if array is not None:
            group.create_dataset(str(i), data=np.asarray(array, np.float32))


def _write_string(file, name, text):
    """Write a string with the terminating zero that Caffe's reader needs and h5py's own strings lack."""
    value = names.to_bytes(text)
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(value) + 1)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(value, f"S{len(value) + 1}"), kind)
