"""ShuffleNet (farmingyard/ShuffleNet): shuffle_channel_layer.cpp."""

from ..extension import Fork
from ..layers.neuron import Elementwise

PROTO = """
message LayerParameter { optional ShuffleChannelParameter shuffle_channel_param = 164; }
message ShuffleChannelParameter { optional uint32 group = 1 [default = 1]; }
"""


class ShuffleChannel(Elementwise):
    """The channels of ``group`` groups in turn: the first of each group, then the second of each, and so on."""

    def setup(self, bottom, top):
        group, channels = self.param.shuffle_channel_param.group, self.image_shape(bottom[0])[1]
        if group < 1 or channels % group:
            self.fail(f"The {channels} channels of the bottom are not a multiple of group {group}")
        if top[0] is bottom[0]:
            self.fail("ShuffleChannel Layer does not allow in-place computation")

    def compute(self, x):
        group = self.param.shuffle_channel_param.group
        return x.reshape(len(x), group, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape)


FORK = Fork("shufflenet", PROTO, {"ShuffleChannel": ShuffleChannel})
