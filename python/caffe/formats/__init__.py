"""Caffe's files, read and written: definitions, weights, solver states, means.

Weights and solver states are protobuf (`weights`) or HDF5 (`hdf5`). As in Caffe, a file of weights is told
by its content, a solver state by its path: HDF5 where that ends in ``.h5``. Every file is written whole or not at all,
and a file that cannot be read is one CaffeError naming it and the reason.
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
    "read_weights",
    "read_weights_hdf5",
    "write_blob",
    "write_state",
    "write_weights",
    "write_weights_hdf5",
    "write_whole",
]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path):
    """Whether a file's content is HDF5, whatever its path ends in; CaffeError where it cannot be opened."""
    with open_binary(path) as (file, _):
        return file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE


def read_weights(path):
    """The `Weights` of a .caffemodel of any generation, or of an HDF5 file."""
    return (_hdf5() if is_hdf5(path) else _binary).read_weights(path)


def read_weights_hdf5(path):
    """The `Weights` of an HDF5 file, whatever the path ends in."""
    return _hdf5().read_weights(path)


def write_weights_hdf5(path, net, arrays, diffs=None):
    """Write weights as HDF5, whatever the path ends in; None stands for a blob that another layer owns."""
    _hdf5().write_weights(path, net, arrays, diffs)


def read_state(path):
    """The `SolverState` in a .solverstate or, where the path ends in ``.h5``, an HDF5 file."""
    return _format(path).read_state(path)


def write_state(path, iteration, learned_net, current_step, history):
    """Write a solver state, as HDF5 where the path ends in ``.h5``.

    Parameters
    ----------
    path : str
    iteration : int
        Iterations done.
    learned_net : str
        Path of the weights as given, opened relative to the working directory on restore.
    current_step : int
        Steps of the multistep policy passed.
    history : list of ndarray
        The solver's histories.
    """
    _format(path).write_state(path, iteration, learned_net, current_step, history)


def _format(path):
    return _hdf5() if os.fspath(path).endswith(".h5") else _binary


def _hdf5():
    from . import hdf5  # h5py takes a while to load, and most runs never need it

    return hdf5
