"""Local response normalisation (lrn_layer.cpp)."""

import torch
import torch.nn.functional as F

from ..proto import caffe_pb2
from .base import Layer, register


class _AcrossChannels(torch.autograd.Function):
    """x / scale^beta with scale = k + (alpha / n) Σ x² over n neighbouring channels.

    The sum over neighbours is a 1×1 convolution with a banded matrix, which beats a chain of shifted additions.
    """

    @staticmethod
    def forward(ctx, x, band, alpha, beta, k):
        scale = F.conv2d(x * x, band).mul_(alpha).add_(k)
        factor = scale.pow(-beta)
        y = x * factor
        ctx.save_for_backward(x, y, scale, factor, band)
        ctx.constants = alpha, beta
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y, scale, factor, band = ctx.saved_tensors
        alpha, beta = ctx.constants
        ratio = F.conv2d((grad * y).div_(scale), band)
        return ratio.mul_(x).mul_(-2 * alpha * beta).addcmul_(grad, factor), None, None, None, None


@register("LRN")
class LRN(Layer):
    """ACROSS_CHANNELS or WITHIN_CHANNEL normalisation of N×C×H×W."""

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        p = self.param.lrn_param
        if p.local_size % 2 == 0:
            self.fail("LRN only supports odd values for local_size")
        self.band = None

    def reshape(self, bottom, top):
        if len(bottom[0].shape) != 4:
            self.fail("Input must have 4 axes, corresponding to (num, channels, height, width)")
        top[0].reshape(*bottom[0].shape)

    def compute(self, x):
        p = self.param.lrn_param
        if p.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL:
            mean = F.avg_pool2d(x * x, p.local_size, 1, (p.local_size - 1) // 2)
            return x * (mean * p.alpha + 1).pow(-p.beta)
        channels = x.shape[1]
        if self.band is None or self.band.shape[0] != channels or self.band.device != x.device:
            index = torch.arange(channels, device=x.device)
            near = (index[:, None] - index).abs() <= p.local_size // 2
            self.band = near.to(x.dtype).reshape(channels, channels, 1, 1)
        return _AcrossChannels.apply(x, self.band, p.alpha / p.local_size, p.beta, p.k)
