"""Element-wise layers, each of which may run in place (neuron_layer.cpp and its family)."""

import math

import torch
import torch.nn.functional as F

from .. import mode
from ..proto import caffe_pb2
from ..rng import global_stream, keep_mask
from .base import TRAIN, Layer, register


class Elementwise(Layer):
    """One bottom, one top of the same shape."""

    exact_bottom = exact_top = 1

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)


class Neuron(Elementwise):
    """A function of numbers, its gradient taken from the blobs as backward finds them.

    That is what Caffe does, and it shows in place: ``x`` is then the layer's own result, and both ``x`` and ``y`` are
    what later in-place layers made of it.
    """

    def forward(self, bottom, top, record):
        super().forward(bottom, top, record=False)

    def gradient(self, dy, x, y):
        """The bottom's diff from the top's, the bottom's data and the top's data."""
        raise NotImplementedError

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            dy = top[0].diff_tensor()
            grad = self.gradient(dy, bottom[0].tensor(), top[0].tensor())
            bottom[0].set_diff(grad.clone() if grad is dy else grad)


class DerivativeFirst(Neuron):
    """A neuron whose derivative Caffe writes into the bottom's diff before it multiplies by the top's.

    In place the two are one memory, so the derivative ends up multiplied by itself.
    """

    def derivative(self, x, y):
        """dy/dx."""
        raise NotImplementedError

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            slope = self.derivative(bottom[0].tensor(), top[0].tensor())
            bottom[0].set_diff(slope * (slope if top[0] is bottom[0] else top[0].diff_tensor()))


@register("ReLU")
class ReLU(Neuron):
    """max(x, 0) + negative_slope · min(x, 0)."""

    def compute(self, x):
        slope = self.param.relu_param.negative_slope
        return F.leaky_relu(x, slope) if slope else F.relu(x)

    def gradient(self, dy, x, y):
        slope = self.param.relu_param.negative_slope
        return torch.ops.aten.leaky_relu_backward(dy, x, slope, False)


@register("PReLU")
class PReLU(Elementwise):
    """ReLU with a learned slope for each channel, or one for all."""

    def setup(self, bottom, top):
        p = self.param.prelu_param
        if len(bottom[0].shape) < 2:
            self.fail("Number of axes of bottom blob must be >=2")
        self.channels = bottom[0].shape[1]
        filler = p.filler if p.HasField("filler") else caffe_pb2.FillerParameter(type="constant", value=0.25)
        self.add_blob(() if p.channel_shared else (self.channels,), filler)

    def reshape(self, bottom, top):
        if bottom[0].shape[1] != self.channels:
            self.fail(f"The bottom has {bottom[0].shape[1]} channels, its slopes {self.channels}")
        super().reshape(bottom, top)

    def compute(self, x, slope):
        return F.prelu(x, slope.reshape(-1))


@register("ELU")
class ELU(Neuron):
    """x where positive, alpha (e^x − 1) elsewhere."""

    def compute(self, x):
        return F.elu(x, self.param.elu_param.alpha)

    def gradient(self, dy, x, y):
        return torch.where(x > 0, dy, dy * (y + self.param.elu_param.alpha))


@register("Sigmoid")
class Sigmoid(Neuron):
    """1 / (1 + e^−x)."""

    def compute(self, x):
        return torch.sigmoid(x)

    def gradient(self, dy, x, y):
        return dy * y * (1 - y)


@register("TanH")
class TanH(Neuron):
    """Hyperbolic tangent."""

    def compute(self, x):
        return torch.tanh(x)

    def gradient(self, dy, x, y):
        return dy * (1 - y * y)


@register("AbsVal")
class AbsVal(Neuron):
    """Absolute value."""

    def setup(self, bottom, top):
        if top[0] is bottom[0]:
            self.fail("AbsVal Layer does not allow in-place computation")

    def compute(self, x):
        return x.abs()

    def gradient(self, dy, x, y):
        return dy * x.sign()


@register("BNLL")
class BNLL(Neuron):
    """log(1 + e^x), without overflow."""

    def compute(self, x):
        return F.softplus(x, threshold=50)

    def gradient(self, dy, x, y):
        return dy * torch.sigmoid(x)


@register("Exp")
class Exp(Neuron):
    """base^(shift + scale · x); base −1 stands for e."""

    def setup(self, bottom, top):
        p = self.param.exp_param
        if p.base != -1 and p.base <= 0:
            self.fail("base must be strictly positive")
        log_base = 1.0 if p.base == -1 else math.log(p.base)
        self.inner = p.scale * log_base
        self.outer = math.exp(p.shift * log_base)

    def compute(self, x):
        y = torch.exp(x * self.inner)
        return y * self.outer if self.outer != 1 else y

    def gradient(self, dy, x, y):
        return dy * y * self.inner


@register("Log")
class Log(DerivativeFirst):
    """Logarithm of shift + scale · x to a base; base −1 stands for e."""

    def setup(self, bottom, top):
        p = self.param.log_param
        if p.base != -1 and (p.base <= 0 or p.base == 1):
            self.fail("base must be strictly positive and not 1")
        self.factor = 1.0 if p.base == -1 else 1 / math.log(p.base)

    def compute(self, x):
        p = self.param.log_param
        y = torch.log(x * p.scale + p.shift)
        return y * self.factor if self.factor != 1 else y

    def derivative(self, x, y):
        p = self.param.log_param
        return (p.scale * self.factor) / (x * p.scale + p.shift)


@register("Power")
class Power(DerivativeFirst):
    """(shift + scale · x)^power."""

    def compute(self, x):
        p = self.param.power_param
        if p.power * p.scale == 0:
            return torch.full_like(x, p.shift).pow(p.power)
        y = x * p.scale + p.shift
        return y if p.power == 1 else y.pow(p.power)

    def derivative(self, x, y):
        # as in Caffe by way of y, which is 0 / 0 where the base is 0
        p = self.param.power_param
        factor = p.power * p.scale
        if factor == 0 or p.power == 1:
            return torch.full_like(x, factor)
        base = x * p.scale + p.shift
        return base * factor if p.power == 2 else y / base * factor


@register("Dropout")
class Dropout(Neuron):
    """Keeps each value with probability 1 − ratio at TRAIN and scales it by 1 / (1 − ratio); identity at TEST.

    The mask is Caffe's, word for word, on a GPU too: there it is drawn while the GPU computes what comes before it.
    """

    mask: torch.Tensor | int = 0  # nothing passes back before the first forward

    def setup(self, bottom, top):
        self.ratio = self.param.dropout_param.dropout_ratio
        if not 0 <= self.ratio < 1:
            self.fail(f"dropout_ratio must be at least 0 and less than 1, not {self.ratio:g}")

    def compute(self, x):
        if self.phase != TRAIN:
            return x
        stream = global_stream()
        # a GPU leaves the CPU time to draw the next masks
        words = stream.words_ahead if mode.is_gpu() else stream.words
        self.mask = mode.to_device(torch.from_numpy(keep_mask(words, x.numel(), self.ratio))).view(x.shape)
        return x * self.mask * (1 / (1 - self.ratio))

    def gradient(self, dy, x, y):
        return dy if self.phase != TRAIN else dy * self.mask * (1 / (1 - self.ratio))
