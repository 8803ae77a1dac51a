"""The layers, a module for each family; importing this package registers all of them.

As in pycaffe, ``from caffe import layers as L`` also gives the functions of net specifications: ``L.Convolution(…)``.
"""

from .. import net_spec as _net_spec
from . import affine, array_data, conv, data, loss, metric, neuron, pooling, python, recurrent, structure  # noqa: F401
from .base import Layer, create_layer, layer_type_list
from .python import PythonLayer

__all__ = ["Layer", "PythonLayer", "create_layer", "layer_type_list"]


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_net_spec.layers, name)
