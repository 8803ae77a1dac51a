"""Layers that users write in Python (python_layer.hpp)."""

import importlib

from ..errors import CaffeError
from ..runtime.blob import Blob
from .base import Layer, register


class BlobVec(list):
    """A list of blobs to which a layer can add parameters."""

    def add_blob(self, *shape):
        """Append a blob of this shape, filled with zeros."""
        self.append(Blob(shape))


class PythonLayer:
    """The base class of users' layers, ``caffe.Layer``.

    Subclasses define ``setup(bottom, top)``, ``reshape(bottom, top)``, ``forward(bottom, top)`` and
    ``backward(top, propagate_down, bottom)``; ``param_str`` and ``phase`` are set before ``setup``, and parameters
    are made with ``self.blobs.add_blob(*shape)``.
    """

    def __init__(self, param):
        self._param = param
        self.param_str = param.python_param.param_str
        self.phase = int(param.phase)
        self.blobs = BlobVec()

    @property
    def type(self):
        """The layer's type in definitions."""
        return self._param.type

    def setup(self, bottom, top):
        """Check the blobs and make parameters."""

    def reshape(self, bottom, top):
        """Set the shapes of the tops."""


@register("Python")
class Python(Layer):
    """Runs a user's class, which reads and writes numpy views of its blobs."""

    by_shape = overwrites = False

    def setup(self, bottom, top):
        p = self.param.python_param
        try:
            cls = getattr(importlib.import_module(p.module), p.layer)
        except ModuleNotFoundError as error:
            if error.name != p.module.split(".")[0] and error.name != p.module:
                raise
            raise CaffeError(
                f"Layer '{self.name}': there is no module '{p.module}'; add its folder to PYTHONPATH."
            ) from None
        except AttributeError:
            raise CaffeError(f"Layer '{self.name}': module '{p.module}' has no class '{p.layer}'.") from None
        self.user = cls(self.param)
        # set again for subclasses with an __init__ of their own
        self.user.param_str = p.param_str
        self.user.phase = int(self.phase)
        self.user.setup(bottom, top)
        self.blobs = self.user.blobs

    @property
    def shown(self):
        return self.user

    def reshape(self, bottom, top):
        self.user.reshape(bottom, top)

    def forward(self, bottom, top, record):
        self.user.forward(bottom, top)

    def backward(self, top, propagate_down, bottom):
        self.user.backward(top, list(propagate_down), bottom)
