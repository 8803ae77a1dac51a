"""Caffe's files, read and written: definitions, weights, solver states, means.

Weights and solver states are protobuf (`weights`) or HDF5 (`hdf5`). As in Caffe, the format of weights is recognised by
the file's content, that of a solver state by its path, which ends in ``.h5`` for HDF5. A file is written completely or
not at all, and one that cannot be read raises a CaffeError with its path and the reason.
"""

import os

from . import weights as _binary
from .blobs import Array
from .definitions import read_net, read_solver
from .storage import open_binary, write_whole
from .weights import LayerWeights, SolverState, Weights, read_blob, write_blob, write_weights

__all__ = [
    "Array",
    "LayerWeights",
    "SolverState",
    "Weights",
    "is_hdf5",
    "read_blob",
    "read_net",
    "read_solver",
    "read_state",
    "read_tables",
    "read_weights",
    "read_weights_hdf5",
    "write_blob",
    "write_state",
    "write_tables",
    "write_weights",
    "write_weights_hdf5",
    "write_whole",
]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path):
    """Whether a file's content is HDF5, whatever its extension; CaffeError if it cannot be opened."""
    with open_binary(path) as (file, _):
        return file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE


def read_weights(path):
    """The `Weights` of a .caffemodel of any generation, or of an HDF5 file."""
    return (_hdf5() if is_hdf5(path) else _binary).read_weights(path)


def read_weights_hdf5(path):
    """The `Weights` of an HDF5 file, whatever its extension."""
    return _hdf5().read_weights(path)


def write_weights_hdf5(path, net, arrays, diffs=None):
    """Write weights as HDF5, whatever the extension; None stands for a blob that another layer owns."""
    _hdf5().write_weights(path, net, arrays, diffs)


def read_tables(path, data_sets):
    """The data sets of these names in an HDF5 file, as float32 arrays of at least one axis."""
    return _hdf5().read_tables(path, data_sets)


def write_tables(path, tables):
    """Write arrays as float32 data sets of a new HDF5 file, name -> array."""
    _hdf5().write_tables(path, tables)


def read_state(path):
    """The `SolverState` in a .solverstate file, or in an HDF5 file if the path ends in ``.h5``."""
    return _format(path).read_state(path)


def write_state(path, iteration, learned_net, current_step, history):
    """Write a solver state, as HDF5 if the path ends in ``.h5``.

    Parameters
    ----------
    path : str
    iteration : int
        Iterations done.
    learned_net : str
        Path of the weights, relative to the working directory in which the state is restored.
    current_step : int
        Boundaries of the multistep policy passed.
    history : list of ndarray
        The solver's histories.
    """
    _format(path).write_state(path, iteration, learned_net, current_step, history)


def _format(path):
    return _hdf5() if os.fspath(path).endswith(".h5") else _binary


def _hdf5():
    from . import hdf5  # loading h5py takes time, and most programs do not use it

    return hdf5
