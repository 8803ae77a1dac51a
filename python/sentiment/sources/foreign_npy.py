"""Read the weights in a numpy file of caffe-tensorflow, ``{layer: {"weights": …, "biases": …}}``.

Such a file is a pickle, which can run any code when it is loaded; here nothing but numpy arrays is made from it.
"""

import pickle
from pathlib import Path

import numpy as np

from sentiment.sources.parameters import Content, Parameters
from sentiment.utils.errors import UserError

_HARMLESS = {
    *(("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict")),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
}
"""What a pickle may name: module and name of what makes an array or a dictionary."""


def read(path: Path) -> Content:
    """The convolutions and fully connected layers in a file, in the file's order, which may be any.

    A `UserError` says that the file is not complete, names an object that is not an array, or has other content.
    """
    try:
        with open(path, "rb") as file:
            content = _load(file)
    except UserError as reason:
        raise UserError(f"{path} {reason}") from None
    except Exception as error:  # what is raised for a damaged pickle can be of any type
        raise UserError(f"{path} is not a complete numpy file ({error}); copy or download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a dictionary of layers, as caffe-tensorflow writes it; a mean is for MEAN=")
    return Content("numpy", [_layer(path, _text(name), arrays) for name, arrays in content.items()])


class _Arrays(pickle.Unpickler):
    """Loads dictionaries, lists and numpy arrays, and nothing else."""

    def find_class(self, module, name):
        if (module, name) not in _HARMLESS:
            raise UserError(f"is a pickle with more than arrays in it ({module}.{name}), which could run any program")
        return super().find_class(module.replace("numpy.core", "numpy._core") if _NEW else module, name)


_NEW = hasattr(np, "_core")  # the module's name since numpy 2


def _load(file):
    """The object in a numpy file; for an array of numbers, None."""
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(file)](file)
    if not dtype.hasobject or shape != ():
        return None
    return _Arrays(file, encoding="latin1").load().item()  # latin1: for arrays that Python 2 has written


def _layer(path, name, arrays):
    """A layer, whose arrays are a dictionary, or a list of weights and biases."""
    if isinstance(arrays, dict):
        arrays = {_text(kind): array for kind, array in arrays.items()}
        arrays = [arrays[kind] for kind in ("weights", "biases") if kind in arrays]
    if not (isinstance(arrays, (list, tuple)) and arrays and all(isinstance(array, np.ndarray) for array in arrays)):
        raise UserError(f"{path}: {name} has no weights; expected a dictionary of weights and biases, or a list")
    weights, *bias = arrays
    if weights.ndim not in (2, 4) or len(bias) > 1:
        raise UserError(f"{path}: {name} is not a convolution or a fully connected layer")
    axes = (3, 2, 0, 1) if weights.ndim == 4 else (1, 0)  # from height, width, inputs, outputs; or inputs, outputs
    return Parameters(name, weights.transpose(axes), bias[0].ravel() if bias else None, channels_last=True)


def _text(name):
    return name.decode("latin1") if isinstance(name, bytes) else str(name)
