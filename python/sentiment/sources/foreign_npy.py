"""Read the weights in a numpy file of caffe-tensorflow, ``{layer: {"weights": …, "biases": …}}``.

Such a file is a pickle, which can run any code when it is loaded; here nothing but numpy arrays is made from it.
"""

import io
import pickle
import pickletools
import re
from pathlib import Path

import numpy as np

from sentiment.sources.parameters import Content, Parameters
from sentiment.utils.errors import UserError


def read(path: Path) -> Content:
    """The convolutions and fully connected layers in a file, in the file's order, which may be any.

    A `UserError` says that the file is not complete, names an object that is not an array, or has other content.
    """
    try:
        with open(path, "rb") as file:
            content = _load(file)
        if not isinstance(content, dict):
            raise UserError("is not a dictionary of layers, as caffe-tensorflow writes it; a mean is for MEAN=")
        return Content("numpy", [_layer(_text(name), arrays) for name, arrays in content.items()])
    except UserError as reason:
        raise UserError(f"{path} {reason}") from None
    except Exception as error:  # what is raised for a damaged pickle can be of any type
        raise UserError(f"{path} is not a complete numpy file ({error}); copy or download it again") from error


class _Type:
    """Stands for a numpy.dtype of a pickle."""

    def __init__(self, code, *_):
        self.code, self.order = code, "="

    def __setstate__(self, state):
        self.order = state[1]


class _Array:
    """Stands for a numpy.ndarray of a pickle, since numpy's own can be damaged by the state that a file gives it."""

    def __setstate__(self, state):
        _, self.shape, self.type, self.fortran, self.data = state

    def array(self):
        """The array of numbers; a ValueError if it is none."""
        if not re.fullmatch("[fiub][1248]", self.type.code):
            raise ValueError(f"an array of type {self.type.code}")
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data  # str: written by Python 2
        numbers = np.frombuffer(data, np.dtype(self.type.code).newbyteorder(self.type.order))
        return numbers.reshape(self.shape, order="F" if self.fortran else "C")


class _Unpickler(pickle.Unpickler):
    """Loads dictionaries, lists and arrays, and nothing else."""

    def find_class(self, module, name):
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda *_: _Array()
        stands_for = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Type, ("collections", "OrderedDict"): dict}
        if (module, name) not in stands_for:
            raise UserError(f"is a pickle with more than arrays in it ({module}.{name}), which could run any program")
        return stands_for[module, name]


def _load(file):
    """The object in a numpy file; for an array of numbers, None."""
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(file)](file)
    if not dtype.hasobject or shape != ():
        return None
    pickled = file.read()
    for opcode, argument, _ in pickletools.genops(pickled):
        # Python would make room for as many objects as such a number says.
        if "PUT" in opcode.name and isinstance(argument, int) and argument > len(pickled):
            raise ValueError(f"a place {argument:,} of its memo")
    # latin1 is for texts and arrays that Python 2 has written.
    (content,) = _Unpickler(io.BytesIO(pickled), encoding="latin1").load().data
    return content


def _layer(name, arrays):
    """A layer, whose arrays are a dictionary, or a list of weights and biases."""
    if isinstance(arrays, dict):
        arrays = {_text(kind): array for kind, array in arrays.items()}
        arrays = [arrays[kind] for kind in ("weights", "biases") if kind in arrays]
    if not (isinstance(arrays, (list, tuple)) and arrays and all(isinstance(array, _Array) for array in arrays)):
        raise UserError(f"is not of caffe-tensorflow: {name} has neither a dictionary nor a list of arrays")
    weights, *bias = (array.array() for array in arrays)
    if weights.ndim not in (2, 4) or len(bias) > 1:
        raise UserError(f"is not of caffe-tensorflow: {name} is not a convolution or a fully connected layer")
    axes = (3, 2, 0, 1) if weights.ndim == 4 else (1, 0)  # from height, width, inputs, outputs; or inputs, outputs
    return Parameters(name, weights.transpose(axes), bias[0].ravel() if bias else None, channels_last=True)


def _text(name):
    return name.decode("latin1") if isinstance(name, bytes) else str(name)
