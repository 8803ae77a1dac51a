"""Synopsys (foss-for-synopsys-dwc-arc-processors/synopsys-caffe): squeeze_layer.cpp, pooling_layer.cpp."""

from ..extension import Fork
from ..layers.structure import Flatten
from .ceil_mode import CeilPooling

PROTO = """
message LayerParameter { optional SqueezeParameter squeeze_param = 241; }
message SqueezeParameter { repeated int32 axis = 1; }
message PoolingParameter { optional bool ceil_mode = 14 [default = true]; }
"""


class Squeeze(Flatten):
    """Without the axes of one at ``axis``, or without any; like Flatten it shares its bottom's data and diff."""

    def out_shape(self, shape, bottom):
        axes = [self.axis_of(bottom, axis) for axis in self.param.squeeze_param.axis]
        if any(shape[axis] != 1 for axis in axes):
            self.fail(f"Can't remove axis that is not shape 1: {axes} of {bottom.shape_string()}")
        return tuple(n for i, n in enumerate(shape) if n != 1 or (axes and i not in axes))


FORK = Fork("synopsys", PROTO, {"Squeeze": Squeeze, "Pooling": CeilPooling})
