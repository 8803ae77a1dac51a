"""Depthwise convolutions of MobileNets: conv_dw_layer.cpp (BVLC/caffe#5665), yonghenglh6/DepthwiseConvolution."""

from ..extension import Fork
from ..layers.conv import Convolution


class ConvolutionDepthwise(Convolution):
    """A Convolution with a group and an output for each channel, whatever its definition says of them."""

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        p = self.param.convolution_param
        p.group = p.num_output = bottom[0].shape[self.axis_of(bottom[0], p.axis)]
        super().setup(bottom, top)


FORK = Fork("mobilenet", "", {"ConvolutionDepthwise": ConvolutionDepthwise, "DepthwiseConvolution": Convolution})
