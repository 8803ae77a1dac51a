"""Pooling with ``ceil_mode`` (BVLC/caffe#3057), which DenseNet and Inception definitions of 2016 and later use."""

from ..extension import Fork
from ..layers.pooling import Pooling

PROTO = "message PoolingParameter { optional bool ceil_mode = 13 [default = true]; }"


class CeilPooling(Pooling):
    """BVLC's Pooling; ``ceil_mode: false`` rounds the number of windows down, unless there is a ``round_mode``."""

    def __init__(self, param):
        super().__init__(param)
        p = param.pooling_param
        if p.HasField("ceil_mode") and not p.HasField("round_mode"):
            p.round_mode = p.CEIL if p.ceil_mode else p.FLOOR


FORK = Fork("ceil-mode", PROTO, {"Pooling": CeilPooling})
