"""Local response normalisation (lrn_layer.cpp)."""

import torch
import torch.nn.functional as F

from ..mode import exact_products
from ..proto import caffe_pb2
from .base import register
from .neuron import Neuron


@register("LRN")
class LRN(Neuron):
    """ACROSS_CHANNELS or WITHIN_CHANNEL normalisation of N×C×H×W: x / scale^beta.

    The scale is k + (alpha / n) Σ x² over n neighbouring channels, or 1 + alpha times the mean of x² over n×n places.
    """

    saved: tuple[torch.Tensor, torch.Tensor] | None = None  # scale and scale^-beta, where backward may follow

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
        if not record:  # memory that no backward pass will read
            self.saved = None

    def compute(self, x):
        self.saved = self._scale(x)
        return x * self.saved[1]

    def _scale(self, x):
        scale = self._near(x * x).mul_(self.alpha).add_(self.k)
        return scale, scale.pow(-self.param.lrn_param.beta)

    def gradient(self, dy, x, y):
        scale, factor = self.saved or self._scale(x)
        if self.within:
            y = x * factor  # in place another number than y
        ratio = self._near((dy * y).div_(scale))
        return ratio.mul_(x).mul_(-2 * self.alpha * self.param.lrn_param.beta).addcmul_(dy, factor)

    def _near(self, values):
        """Sums over neighbouring channels, or means over neighbouring places.

        The former are a 1×1 convolution with a banded matrix, which beats a chain of shifted additions.
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
