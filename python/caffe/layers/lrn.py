"""Local response normalisation (lrn_layer.cpp)."""

import torch
import torch.nn.functional as F

from ..proto import caffe_pb2
from ..runtime.mode import exact_products
from .base import register
from .neuron import Neuron


@register("LRN")
class LRN(Neuron):
    """ACROSS_CHANNELS or WITHIN_CHANNEL normalisation of N×C×H×W: x / scale^beta.

    The scale is k + (alpha / n) Σ x² over n neighbouring channels, or 1 + alpha times the mean of x² over n×n places.
    """

    saved: tuple | None = None  # scale, scale^-beta and whether scale overflowed, kept for backward

    def setup(self, bottom, top):
        p = self.param.lrn_param
        self.within = p.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL
        if top[0] is bottom[0] and not self.within:
            self.fail("LRN Layer across channels does not allow in-place computation (Caffe's would lose its bottom)")
        if p.local_size % 2 == 0:
            self.fail("LRN only supports odd values for local_size")
        self.alpha, self.k = (p.alpha, 1) if self.within else (p.alpha / p.local_size, p.k)
        self.band = None

    def reshape(self, bottom, top):
        if len(bottom[0].shape) != 4:
            self.fail("Input must have 4 axes, corresponding to (num, channels, height, width)")
        super().reshape(bottom, top)

    def forward(self, bottom, top, record):
        super().forward(bottom, top, record)
        if not record:  # not needed without a backward pass
            self.saved = None

    def compute(self, x):
        self.saved = self._scale(x)
        return x * self.saved[1]

    def _scale(self, x):
        scale = self._near(x * x).mul_(self.alpha).add_(self.k)
        overflown = not self.within and _overflown(scale)
        if overflown:
            scale = self._running(x * x * self.alpha, self.k, head_first=True)
        return scale, scale.pow(-self.param.lrn_param.beta), overflown

    def gradient(self, dy, x, y):
        scale, factor, overflown = self.saved or self._scale(x)
        if self.within:
            y = x * factor  # which differs from y in place
        each = (dy * y).div_(scale)
        ratio = self._near(each)
        if overflown or (not self.within and _overflown(ratio)):
            ratio = self._running(each, 0, head_first=False)
        return ratio.mul_(x).mul_(-2 * self.alpha * self.param.lrn_param.beta).addcmul_(dy, factor)

    def _running(self, values, start, head_first):
        """Caffe's running sums over neighbouring channels, from each of which the next is computed.

        So after an infinite value all further sums are NaN.
        """
        size = self.param.lrn_param.local_size
        padded = F.pad(values, (0, 0, 0, 0, size // 2, size // 2)).unbind(1)
        sums = [sum(padded[:size], torch.full_like(padded[0], start))]
        for tail, head in zip(padded, padded[size:]):
            sums.append(sums[-1] + head - tail if head_first else sums[-1] - tail + head)
        return torch.stack(sums, 1)

    def _near(self, values):
        """Sums over neighbouring channels, or means over neighbouring places.

        The former are computed as a 1×1 convolution with a band matrix, which is faster than shifted additions.
        """
        size = self.param.lrn_param.local_size
        if self.within:
            return F.avg_pool2d(values, size, 1, (size - 1) // 2)
        channels = values.shape[1]
        if self.band is None or self.band.shape[0] != channels or self.band.device != values.device:
            index = torch.arange(channels, device=values.device)
            near = (index[:, None] - index).abs() <= size // 2
            self.band = near.to(values.dtype).reshape(channels, channels, 1, 1)
        with exact_products():
            return F.conv2d(values, self.band)


def _overflown(sums):
    """Whether a sum is infinite or NaN, or the sum of all is, which does no harm; False on a GPU."""
    return sums.device.type == "cpu" and not bool(sums.sum().isfinite())
