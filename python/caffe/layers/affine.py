"""InnerProduct, Embed, Scale, Bias, BatchNorm and MVN.

Sources of the behaviour: inner_product_layer.cpp, embed_layer.cpp, scale_layer.cpp, bias_layer.cpp,
batch_norm_layer.cpp, mvn_layer.cpp.
"""

import math

import torch
import torch.nn.functional as F

from ..proto import caffe_pb2
from ..runtime.products import linear, product
from .base import TEST, Layer, check_range, log_creation, register
from .neuron import Neuron


def _rows(x, width):
    return x if x.dim() == 2 and x.shape[1] == width else x.reshape(-1, width)


@register("InnerProduct")
class InnerProduct(Layer):
    """Everything from ``axis`` on, flattened to K numbers, times an N×K weight (K×N where ``transpose``), plus bias."""

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        p = self.param.inner_product_param
        self.axis = self.axis_of(bottom[0], p.axis)
        self.inputs = math.prod(bottom[0].shape[self.axis :])
        if p.num_output < 1:
            self.fail("num_output must be positive")
        self.transpose = p.transpose
        shape = (self.inputs, p.num_output) if p.transpose else (p.num_output, self.inputs)
        self.add_blob(shape, p.weight_filler)
        if p.bias_term:
            self.add_blob((p.num_output,), p.bias_filler)

    def reshape(self, bottom, top):
        inputs = math.prod(bottom[0].shape[self.axis :])
        if inputs != self.inputs:
            self.fail(f"Input size incompatible with inner product parameters: {inputs} numbers, not {self.inputs}")
        top[0].reshape(*bottom[0].shape[: self.axis], self.param.inner_product_param.num_output)

    def forward(self, bottom, top, record):
        weight, *bias = [blob.tensor() for blob in self.blobs]
        if self.transpose:
            weight = weight.t()
        y = self.products(linear, _rows(bottom[0].tensor(), self.inputs), weight, *bias)
        top[0].set_tensor(y if len(top[0].shape) == 2 else y.reshape(top[0].shape))

    def backward(self, top, propagate_down, bottom):
        weight, *bias = self.blobs
        dy = _rows(top[0].diff_tensor(), self.param.inner_product_param.num_output)
        dy, x, w = self.rounded(dy, _rows(bottom[0].tensor(), self.inputs), weight.tensor())
        if propagate_down[0]:
            bottom[0].set_diff(product(dy, w.t() if self.transpose else w).float().reshape(bottom[0].shape))
        if self.param_propagate_down[0]:
            weight.add_diff(product(*((x.t(), dy) if self.transpose else (dy.t(), x))).float())
        if bias and self.param_propagate_down[1]:
            bias[0].add_diff(dy.sum(0).float())


@register("Embed")
class Embed(Layer):
    """The row of an input_dim×N weight for each index in the bottom, plus bias: one-hot vectors times the weight."""

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        p = self.param.embed_param
        if p.num_output < 1:
            self.fail("EmbedLayer num_output must be positive")
        if p.input_dim < 1:
            self.fail("EmbedLayer input_dim must be positive")
        self.add_blob((p.input_dim, p.num_output), p.weight_filler)
        if p.bias_term:
            self.add_blob((p.num_output,), p.bias_filler)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape, self.param.embed_param.num_output)

    def compute(self, index, weight, bias=None):
        index = index.detach().trunc()
        check_range(self, index, len(weight), "Index of a row of the weight")
        y = F.embedding(index.long(), weight)
        return y if bias is None else y + bias

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            self.fail("Can't backpropagate to EmbedLayer input")
        super().backward(top, propagate_down, bottom)


class _Affine(Layer):
    """A factor or summand, learned or from a second bottom, broadcast to the first bottom from ``axis`` on."""

    min_bottom, max_bottom = 1, 2
    exact_top = 1

    def operand_shape(self, p, bottom):
        """The shape of a learned operand: ``num_axes`` axes of the bottom from ``axis`` on, or all for −1."""
        axis = self.axis_of(bottom[0], p.axis)
        if p.num_axes < -1:
            self.fail("num_axes must be non-negative, or -1 to extend to the end of bottom[0]")
        end = len(bottom[0].shape) if p.num_axes == -1 else axis + p.num_axes
        if end > len(bottom[0].shape):
            self.fail(f"{self.type} blob's shape extends past bottom[0]'s shape when applied starting with axis {axis}")
        return bottom[0].shape[axis:end]

    def check_spread(self, p, bottom, operand):
        """Set the axis at which the operand starts; its shape must equal the bottom's from there."""
        # a scalar fits any bottom, even a scalar one
        self.start = 0 if operand.shape == () else self.axis_of(bottom[0], p.axis)
        end = self.start + len(operand.shape)
        if bottom[0].shape[self.start : end] != operand.shape:
            self.fail(
                f"dimension mismatch between bottom[0] {bottom[0].shape_string()} and {self.type.lower()} blob "
                f"{operand.shape_string()} from axis {self.start}"
            )

    def spread(self, operand, x):
        """The operand with trailing axes of one, so that it broadcasts over ``x``."""
        return operand.reshape(*operand.shape, *[1] * (x.dim() - self.start - operand.dim()))


@register("Bias")
class Bias(_Affine):
    """x + b."""

    def setup(self, bottom, top):
        if len(bottom) == 1:
            p = self.param.bias_param
            self.add_blob(self.operand_shape(p, bottom), p.filler)

    def reshape(self, bottom, top):
        self.check_spread(self.param.bias_param, bottom, bottom[1] if len(bottom) > 1 else self.blobs[0])
        top[0].reshape(*bottom[0].shape)

    def compute(self, x, bias):
        return x + self.spread(bias, x)


@register("Scale")
class Scale(_Affine):
    """x · s, plus a bias of the same shape where ``bias_term``."""

    def setup(self, bottom, top):
        p = self.param.scale_param
        shape = bottom[1].shape if len(bottom) > 1 else self.operand_shape(p, bottom)
        if len(bottom) == 1:
            one = caffe_pb2.FillerParameter(type="constant", value=1)
            self.add_blob(shape, p.filler if p.HasField("filler") else one)
        if p.bias_term:
            log_creation(self.name)  # of the Bias inside
            self.add_blob(shape, p.bias_filler)

    def reshape(self, bottom, top):
        self.check_spread(self.param.scale_param, bottom, bottom[1] if len(bottom) > 1 else self.blobs[0])
        top[0].reshape(*bottom[0].shape)

    def compute(self, x, scale, bias=None):
        y = x * self.spread(scale, x)
        return y if bias is None else y + self.spread(bias, x)

    def backward(self, top, propagate_down, bottom):
        learned = len(bottom) == 1
        factor, wanted = (self.blobs[0], self.param_propagate_down[0]) if learned else (bottom[1], propagate_down[1])
        if learned and wanted and self._overwrites(bottom[0].shape):
            factor.zero_diff()
        super().backward(top, propagate_down, bottom)
        if wanted and not propagate_down[0] and top[0] is not bottom[0] and factor.count != bottom[0].count:
            bottom[0].set_diff(top[0].diff_tensor() * bottom[0].tensor())  # where Caffe stores the products

    def _overwrites(self, shape):
        """Whether Caffe overwrites the factor's diff where it should add: if there is nothing before the factor's axes.

        The exception is a single factor for several values. A batch of one image is enough, so with ``iter_size`` > 1
        gradients are lost.
        """
        factors = self.blobs[0].count
        before, of_each = math.prod(shape[: self.start]), math.prod(shape[self.start + len(self.blobs[0].shape) :])
        return before == 1 and not (factors == 1 and of_each > 1)


@register("BatchNorm")
class BatchNorm(Layer):
    """(x − mean) / √(variance + eps) per channel, with the batch's statistics in TRAIN, accumulated ones in TEST.

    The blobs are decaying sums of the means, of the variances times m / (m − 1), and of the weights of these.
    """

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        p = self.param.batch_norm_param
        self.use_global = p.use_global_stats if p.HasField("use_global_stats") else self.phase == TEST
        self.channels = bottom[0].shape[1] if len(bottom[0].shape) > 1 else 1
        for shape in ((self.channels,), (self.channels,), (1,)):
            self.add_blob(shape)
        for spec in self.param.param:
            if spec.lr_mult != 0:
                self.fail("Cannot configure batch normalization statistics as layer parameters")
        while len(self.param.param) < len(self.blobs):
            self.param.param.add(lr_mult=0)

    def reshape(self, bottom, top):
        channels = bottom[0].shape[1] if len(bottom[0].shape) > 1 else 1
        if channels != self.channels:
            self.fail(f"The bottom has {channels} channels, but there are statistics for {self.channels}")
        top[0].reshape(*bottom[0].shape)

    def compute(self, x, *sums):
        shape = x.shape
        mean_sum, variance_sum, factor = (s.detach() for s in sums)  # statistics never have a diff
        x = x.reshape(shape[0], self.channels, -1)
        if self.use_global:
            factor = torch.where(factor == 0, torch.zeros_like(factor), 1 / factor)
            mean, variance = mean_sum * factor, variance_sum * factor
        else:
            mean = x.mean((0, 2))
            variance = (x - mean[:, None]).square().mean((0, 2))
            self._accumulate(mean.detach(), variance.detach(), x.numel() // self.channels)
        y = (x - mean[:, None]) / (variance + self.param.batch_norm_param.eps).sqrt()[:, None]
        return y.reshape(shape)

    def backward(self, top, propagate_down, bottom):
        """Compute the bottom's diff in any case, as Caffe does."""
        super().backward(top, [True], bottom)

    def _accumulate(self, mean, variance, m):
        decay = self.param.batch_norm_param.moving_average_fraction
        unbiased = variance * (m / (m - 1)) if m > 1 else variance
        for blob, value in zip(self.blobs, (mean, unbiased, torch.ones_like(mean[:1]))):
            blob.set_tensor(blob.tensor() * decay + value)


@register("MVN")
class MVN(Neuron):
    """Bottom minus its mean, divided by its standard deviation plus ``eps`` where ``normalize_variance``.

    These are of each channel of each image, or of each image where ``across_channels``. The top has four axes.
    """

    deviation: torch.Tensor | None = None  # (images or channels, 1), set by forward

    def setup(self, bottom, top):
        self.in_place = top[0] is bottom[0]

    def reshape(self, bottom, top):
        top[0].reshape(*self.image_shape(bottom[0]))

    def _rows(self, tensor):
        groups = tensor.shape[0] if self.param.mvn_param.across_channels else tensor.shape[0] * tensor.shape[1]
        return tensor.reshape(groups, -1)

    def compute(self, x):
        shape = (*x.shape, 1, 1, 1)[:4]
        rows = self._rows(x.reshape(shape))
        y = rows - rows.mean(1, keepdim=True)
        if self.param.mvn_param.normalize_variance:
            self.deviation = y.square().mean(1, keepdim=True).sqrt() + self.param.mvn_param.eps
            y = y / self.deviation
        return y.reshape(shape)

    def gradient(self, dy, x, y):
        """Caffe's formula, which leaves ``eps`` out of the derivative of the deviation.

        In place its sums are written to the top's diff before that is read.
        """
        dy, y = self._rows(dy), self._rows(y)
        if not self.param.mvn_param.normalize_variance:
            return (dy - dy.mean(1, keepdim=True)).reshape(x.shape)
        if self.deviation is None:
            self.compute(x)
        along = y * (dy * y).sum(1, keepdim=True)
        along = along + (along if self.in_place else dy).sum(1, keepdim=True)
        share = -along / dy.shape[1]
        return ((share + (share if self.in_place else dy)) / self.deviation).reshape(x.shape)

    def backward(self, top, propagate_down, bottom):
        """Compute the bottom's diff in any case, as Caffe does."""
        super().backward(top, [True], bottom)
