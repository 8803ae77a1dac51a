"""Caffe's files, read and written: definitions, weights, solver states, means.

Weights and solver states are protobuf (`caffe.weights`) unless the path ends in ``.h5``, then they are HDF5
(`caffe.hdf5`), as in Caffe. Every file is written whole or not at all, and a file that cannot be read is one CaffeError
naming it and the reason.
"""

import os

from . import weights as _binary
from .definitions import read_net, read_solver
from .storage import write_whole
from .weights import LayerWeights, SolverState, Weights, read_blob, write_blob, write_weights
from .wire import Array

__all__ = [
    "Array",
    "LayerWeights",
    "SolverState",
    "Weights",
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


def read_weights(path):
    """The `Weights` of a .caffemodel of any generation, or of an HDF5 file (path ends in ``.h5``)."""
    return _format(path).read_weights(path)


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
