"""Element-wise layers, most of which may run in place (neuron_layer.cpp and layers derived from it)."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from ..proto import caffe_pb2
from ..random.rng import global_stream, keep_mask
from ..runtime import mode
from .base import FINITE, TRAIN, Layer, below, register

aten = torch.ops.aten


class Elementwise(Layer):
    """One bottom, one top of the same shape."""

    exact_bottom = exact_top = 1

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)


class Neuron(Elementwise):
    """A function of numbers whose gradient is computed from the blobs' values at the time of backward.

    This is what Caffe does, and it matters in place: ``x`` is then the layer's own result, and both ``x`` and ``y`` are
    changed by later in-place layers.
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
    """A neuron whose derivative Caffe writes to the bottom's diff before it multiplies by the top's diff.

    In place the two share memory, so the derivative is multiplied by itself.
    """

    def derivative(self, x, y):
        """dy/dx."""
        raise NotImplementedError

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            slope = self.derivative(bottom[0].tensor(), top[0].tensor())
            bottom[0].set_diff(slope * (slope if top[0] is bottom[0] else top[0].diff_tensor()))


def _slopes(x, slope):
    """Caffe's derivative of a rectifier: 1 above 0, ``slope`` (a number or tensor) from 0 down, 0 for NaN."""
    return torch.where(x > 0, 1, torch.where(x <= 0, slope, 0.0))


@register("ReLU")
class ReLU(Neuron):
    """max(x, 0) + negative_slope · min(x, 0)."""

    any_layout = True

    def setup(self, bottom, top):
        self.slope = self.param.relu_param.negative_slope
        self.rectifies = not self.slope

    def forward(self, bottom, top, record):
        x, limit = bottom[0].tensor(), bottom[0].limit
        y = x if top[0].shares_data_with(bottom[0]) and bottom[0].writable else torch.empty_like(x)
        if self.slope or not x.is_cpu or (not limit < FINITE and below(x, -math.inf)):
            aten.leaky_relu.out(x, self.slope, out=y)  # with slope 0 it gives NaN for -inf, as Caffe does
            limit = math.inf
        else:
            torch.clamp_min(x, 0, out=y)
        top[0].set_tensor(y, limit=limit)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        dy, x = top[0].diff_tensor(), bottom[0].tensor()
        if self.slope and below(x, -math.inf):
            bottom[0].set_diff(dy * _slopes(x, self.slope))
        elif top[0] is bottom[0] and top[0].diff_writable:
            aten.leaky_relu_backward.grad_input(dy, x, self.slope, False, grad_input=dy)
        else:
            bottom[0].set_diff(aten.leaky_relu_backward(dy, x, self.slope, False))


class _PReLU(torch.autograd.Function):
    """PReLU with Caffe's results for infinite values and NaN, for example 0 · inf."""

    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope.reshape(-1))

    @staticmethod
    def backward(ctx, dy):
        x, slope = ctx.saved_tensors
        spread = slope.reshape(-1, *[1] * (x.dim() - 2)) if slope.dim() else slope
        over = [i for i in range(x.dim()) if i != 1 or not slope.dim()]
        return dy * _slopes(x, spread), (dy * x * (x <= 0)).sum(over)


@register("PReLU")
class PReLU(Elementwise):
    """ReLU with a learned slope for each channel, or one for all channels."""

    def setup(self, bottom, top):
        p = self.param.prelu_param
        if len(bottom[0].shape) < 2:
            self.fail("Number of axes of bottom blob must be >=2")
        self.channels = bottom[0].shape[1]
        filler = p.filler if p.HasField("filler") else caffe_pb2.FillerParameter(type="constant", value=0.25)
        self.add_blob(() if p.channel_shared else (self.channels,), filler)

    def reshape(self, bottom, top):
        if bottom[0].shape[1] != self.channels:
            self.fail(f"The bottom has {bottom[0].shape[1]} channels, but there are slopes for {self.channels}")
        super().reshape(bottom, top)

    def compute(self, x, slope):
        values = x.detach()  # amin and amax are fast in any layout, aminmax in one only
        moderate = values.device.type == "cpu" and values.numel() and values.amin() > -1e18 and values.amax() < 1e18
        return F.prelu(x, slope.reshape(-1)) if moderate else _PReLU.apply(x, slope)


@register("ELU")
class ELU(Neuron):
    """x where positive, alpha (e^x − 1) elsewhere."""

    def compute(self, x):
        return F.elu(x, self.param.elu_param.alpha)

    def gradient(self, dy, x, y):
        # all of Caffe's sum, in which (y + alpha) · 0 is NaN at infinity
        return (y + self.param.elu_param.alpha).mul_(x <= 0).add_(x > 0).mul_(dy)


def _sigmoid(x):
    return F.threshold(torch.sigmoid(x), 2**-55, 0)  # zero where 1 + tanh(x / 2) is 0 in double precision


@register("Sigmoid")
class Sigmoid(Neuron):
    """1 / (1 + e^−x)."""

    def compute(self, x):
        return _sigmoid(x)

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
        power = x.clamp(max=50).exp_()
        return (dy * power).div_(power + 1)


@register("Exp")
class Exp(Neuron):
    """base^(shift + scale · x); a base of −1 stands for e."""

    def setup(self, bottom, top):
        p = self.param.exp_param
        if p.base != -1 and not 0 < p.base < math.inf:
            self.fail("base must be strictly positive and not infinite")
        log_base = 1.0 if p.base == -1 else math.log(p.base)
        self.inner = p.scale * log_base
        self.outer = _quiet(np.exp, np.float64(p.shift * log_base))

    def compute(self, x):
        y = torch.exp(x * self.inner)
        return y * self.outer if self.outer != 1 else y

    def gradient(self, dy, x, y):
        return dy * y * self.inner


def _quiet(function, *numbers):
    """A function of numpy scalars as a float, which is infinite if it overflows."""
    with np.errstate(all="ignore"):
        return float(function(*numbers))


def _linear(x, p):
    """Scale · x + shift, without a scale of 1 or a shift of 0, which could change the sign of 0."""
    if p.scale != 1:
        x = x * p.scale
    return x + p.shift if p.shift else x


@register("Log")
class Log(DerivativeFirst):
    """Logarithm of shift + scale · x to a base; a base of −1 stands for e."""

    def setup(self, bottom, top):
        p = self.param.log_param
        if p.base != -1 and (not 0 < p.base < math.inf or p.base == 1):
            self.fail("base must be strictly positive and not 1 or infinite")
        self.factor = 1.0 if p.base == -1 else 1 / math.log(p.base)

    def compute(self, x):
        p = self.param.log_param
        y = torch.log(_linear(x, p))
        return y * self.factor if self.factor != 1 else y

    def derivative(self, x, y):
        p = self.param.log_param
        return _linear(x, p).reciprocal() * (p.scale * self.factor)


@register("Power")
class Power(DerivativeFirst):
    """(shift + scale · x)^power."""

    def setup(self, bottom, top):
        p = self.param.power_param
        self.slope = _quiet(np.multiply, np.float32(p.power), np.float32(p.scale))  # may be rounded to 0 in float32

    def compute(self, x):
        p = self.param.power_param
        if self.slope == 0:
            return torch.full_like(x, p.shift).pow(p.power)
        y = _linear(x, p)
        if p.power == 1:
            return y.clone() if y is x else y
        if abs(p.power) == 0.5:  # torch computes the root, which differs for -inf and -0
            return y.pow(p.power).abs_().masked_fill_(y == -math.inf, 0 if p.power < 0 else math.inf)
        return y.pow(p.power)

    def derivative(self, x, y):
        """Computed from y as in Caffe, and so 0 / 0 where the base is 0."""
        p = self.param.power_param
        if self.slope == 0 or p.power == 1:
            return torch.full_like(x, self.slope)
        if p.power == 2:
            slope = x * (self.slope * p.scale)
            return slope.add_(self.slope * p.shift) if p.shift else slope
        if p.shift == 0:
            return y / x * p.power
        return y / _linear(x, p) * self.slope

    def backward(self, top, propagate_down, bottom):
        if self.slope:
            super().backward(top, propagate_down, bottom)
        elif propagate_down[0]:
            bottom[0].set_diff(torch.zeros_like(bottom[0].tensor()))


@register("Clip")
class Clip(Neuron):
    """Values limited to the range from ``min`` to ``max``; NaN becomes ``min``."""

    def compute(self, x):
        low, high = self.param.clip_param.min, self.param.clip_param.max
        y = x.clamp(max=high)
        return torch.where(y > low, y, low)  # not clamp, which gives high where low > high, and NaN for NaN

    def gradient(self, dy, x, y):
        return dy * ((x >= self.param.clip_param.min) & (x <= self.param.clip_param.max))


@register("Swish")
class Swish(Neuron):
    """x · sigmoid(beta · x)."""

    sigmoid: torch.Tensor | int = 0  # before the first forward

    def compute(self, x):
        self.sigmoid = _sigmoid(x * self.param.swish_param.beta)
        return x * self.sigmoid

    def gradient(self, dy, x, y):
        linear = (y * self.param.swish_param.beta).double()  # in float32 the 1 would be lost beside a large y
        return (dy * (linear + self.sigmoid * (1 - linear))).to(dy.dtype)


@register("Threshold")
class Threshold(Neuron):
    """1 for values above ``threshold``, else 0."""

    def compute(self, x):
        return (x > self.param.threshold_param.threshold).to(x.dtype)

    def backward(self, top, propagate_down, bottom):
        self.fail("Not Implemented Yet: Threshold has no gradient; set propagate_down: false in the layer above it")


@register("Dropout")
class Dropout(Neuron):
    """Keeps each value with probability 1 − ratio in TRAIN and scales it by 1 / (1 − ratio); the identity in TEST.

    The mask is the same as Caffe's on a CPU. In GPU mode it is drawn on the CPU while the GPU computes.
    """

    mask: torch.Tensor | int = 0  # before the first forward gradients are 0

    def setup(self, bottom, top):
        self.ratio = self.param.dropout_param.dropout_ratio
        if not 0 <= self.ratio < 1:
            self.fail(f"dropout_ratio must be at least 0 and less than 1, not {self.ratio:g}")

    def compute(self, x):
        if self.phase != TRAIN:
            return x
        stream = global_stream()
        # in GPU mode the CPU has time to draw the next masks
        words = stream.words_ahead if mode.is_gpu() else stream.words
        self.mask = mode.to_device(torch.from_numpy(keep_mask(words, x.numel(), self.ratio))).view(x.shape)
        return x * self.mask * (1 / (1 - self.ratio))

    def gradient(self, dy, x, y):
        return dy if self.phase != TRAIN else dy * self.mask * (1 / (1 - self.ratio))
