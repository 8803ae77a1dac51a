"""Layers over windows of an image, or of neighbouring channels: Pooling, SPP and LRN.

Pooling rounds the number of windows up, and its divisors count padding. Sources of the behaviour: pooling_layer.cpp,
spp_layer.cpp, lrn_layer.cpp.
"""

import math

import torch
import torch.nn.functional as F

from ..proto import caffe_pb2
from ..runtime.blob import Blob
from ..runtime.mode import exact_products, to_device
from .base import FINITE, Layer, below, register
from .neuron import Neuron

_ONEDNN = torch.backends.mkldnn.is_available()
_LARGE = 1 << 16  # values from which oneDNN is the faster
_LOWEST = torch.finfo(torch.float32).min  # Caffe's -FLT_MAX, the maximum of an empty window


@register("Pooling")
class Pooling(Layer):
    """MAX or AVE over H×W windows of N×C×H×W; a second top of MAX holds the index h·W+w of the maximum.

    STOCHASTIC is refused in forward, as by Caffe on a CPU.
    """

    exact_bottom = 1
    min_top = 1
    shrinks = repeatable = True
    finite = False  # whether the bottom is known to have finite values only
    by_onednn = False  # whether forward uses oneDNN, which is fast for NCHW, but gives no indices for backward

    def __init__(self, param):
        super().__init__(param)
        self.max_top = 2 if param.pooling_param.pool == caffe_pb2.PoolingParameter.MAX else 1

    def setup(self, bottom, top):
        p = self.param.pooling_param
        if p.global_pooling:
            if any(p.HasField(f) for f in ("kernel_size", "kernel_h", "kernel_w")):
                self.fail("With Global_pooling: true Filter size cannot specified")
        elif p.HasField("kernel_size") == (p.HasField("kernel_h") and p.HasField("kernel_w")):
            self.fail("Filter size is kernel_size OR kernel_h and kernel_w; not both")
        self.pad = self._pair("pad")
        self.stride = self._pair("stride")
        if p.global_pooling and (self.pad != (0, 0) or self.stride != (1, 1)):
            self.fail("With Global_pooling: true; only pad = 0 and stride = 1")
        if min(self.stride) < 1:
            self.fail("Stride dimensions must be nonzero")
        if p.global_pooling:
            return  # the kernel is the input's size
        self.kernel = self._pair("kernel_size", "kernel")
        if min(self.kernel) < 1:
            self.fail("Filter dimensions cannot be zero")
        if any(self.pad) and p.pool == p.STOCHASTIC:
            self.fail("Padding implemented only for average and max pooling")
        if any(pad >= k for pad, k in zip(self.pad, self.kernel)):
            self.fail(f"Padding {self.pad} must be smaller than the kernel {self.kernel}")

    def _pair(self, name, stem=None):
        p = self.param.pooling_param
        h, w = f"{stem or name}_h", f"{stem or name}_w"
        if p.HasField(h) != p.HasField(w):
            self.fail(f"{h} and {w} must both be given")
        if p.HasField(h):
            if p.HasField(name):
                self.fail(f"{name} is {name} OR {h} and {w}; not both")
            return (getattr(p, h), getattr(p, w))
        return (getattr(p, name),) * 2

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 4:
            self.fail(f"Input must have 4 axes, corresponding to (num, channels, height, width), not {len(shape)}")
        self.in_rows = len(top) == 1 and self.param.pooling_param.pool == caffe_pb2.PoolingParameter.MAX
        if self.param.pooling_param.global_pooling:
            self.kernel = shape[2:]
        self.out = tuple(self._output_size(*a) for a in zip(shape[2:], self.kernel, self.stride, self.pad))
        if min(self.out) < 1:
            self.fail(f"The window {self.kernel} does not fit into the input of {bottom[0].shape_string()}")
        for blob in top:
            blob.reshape(*shape[:2], *self.out)
        self.with_index = len(top) > 1

    def _output_size(self, size, kernel, stride, pad):
        span = size + 2 * pad - kernel
        floor = self.param.pooling_param.round_mode == caffe_pb2.PoolingParameter.FLOOR
        out = (span // stride if floor else -(-span // stride)) + 1
        if any(self.pad) and (out - 1) * stride >= size + pad:
            out -= 1
        return out

    def forget(self):
        super().forget()
        self.finite = False

    def forward(self, bottom, top, record):
        x = bottom[0].tensor()
        rows = _ONEDNN and self.in_rows and not record and x.is_cpu and x.is_contiguous() and x.numel() >= _LARGE
        self.finite = bottom[0].limit < FINITE or (rows and bool(x.sum().isfinite()))
        self.by_onednn = rows and self.finite
        super().forward(bottom, top, record)

    def compute(self, x):
        if self.param.pooling_param.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
            self.fail("Not Implemented Yet: STOCHASTIC pooling, as in Caffe on CPUs; use MAX or AVE")
        size = x.shape[2:]
        # the extent of windows beyond the padded edge on the lower right, which torch would drop
        extra = [(n - 1) * s + k - p - h for n, s, k, p, h in zip(self.out, self.stride, self.kernel, self.pad, size)]
        border = (self.pad[1], max(extra[1], 0), self.pad[0], max(extra[0], 0))
        if self.param.pooling_param.pool == caffe_pb2.PoolingParameter.AVE:
            return self._average(x, size, border)
        y, index = self._maximum(x, size, extra, border)
        if not self.finite and below(
            y, _LOWEST
        ):  # in Caffe only greater values win, NaN never, and without one there is no gradient
            y, index = self._maximum(torch.where(x > _LOWEST, x, _LOWEST), size, extra, border)
            won = y > _LOWEST
            y, index = torch.where(won, y, _LOWEST), torch.where(won, index, -1)
        return [y, index.to(y.dtype)] if self.with_index else [y]

    def _maximum(self, x, size, extra, border):
        """The maxima and their indices h·W+w."""
        native = all(2 * p <= k for p, k in zip(self.pad, self.kernel)) and all(
            (n - 1) * s < h + p for n, s, h, p in zip(self.out, self.stride, size, self.pad)
        )
        if native:
            # torch's rounding may give Caffe's number of windows
            floor = all(e <= p for e, p in zip(extra, self.pad))
            pool = _max_pool_by_onednn if self.by_onednn and not x.requires_grad else _max_pool
            y, index = pool(x, self.kernel, self.stride, self.pad, not floor)
            if y.shape[2:] == self.out:
                return y, index
        y, index = _max_pool(F.pad(x, border, value=_LOWEST), self.kernel, self.stride, 0, False)
        width = size[1] + border[0] + border[1]
        rows, columns = index // width - border[2], index % width - border[0]
        return y[:, :, : self.out[0], : self.out[1]], (rows * size[1] + columns)[:, :, : self.out[0], : self.out[1]]

    def _average(self, x, size, border):
        padded = F.pad(x, border) if any(border) else x
        mean = F.avg_pool2d(padded, self.kernel, self.stride)[:, :, : self.out[0], : self.out[1]]
        rows, columns = (
            [min(i * s - p + k, h + p) - (i * s - p) for i in range(n)]
            for n, s, p, k, h in zip(self.out, self.stride, self.pad, self.kernel, size)
        )
        if set(rows) == {self.kernel[0]} and set(columns) == {self.kernel[1]}:
            return mean
        heights, widths = (torch.tensor(sizes, dtype=x.dtype, device="cpu") for sizes in (rows, columns))
        area = heights[:, None] * widths
        return mean * (self.kernel[0] * self.kernel[1]) / to_device(area)


def _max_pool_by_onednn(x, kernel, stride, pad, ceil):
    return torch.mkldnn_max_pool2d(x.to_mkldnn(), kernel, stride, pad, ceil_mode=ceil).to_dense(), None


def _max_pool(x, kernel, stride, pad, ceil):
    return F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil, return_indices=True)


@register("SPP")
class SPP(Layer):
    """Pooling of N×C×H×W over 1, 4, 16 … windows of one size, in as many levels as ``pyramid_height``, to N×D.

    A single level is not flattened.
    """

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        if self.param.spp_param.pyramid_height < 1:
            self.fail("pyramid_height must be positive")
        if min(self.image_shape(bottom[0])[2:]) < 1:
            self.fail("Input dimensions cannot be zero")

    def reshape(self, bottom, top):
        if len(bottom[0].shape) != 4:
            self.fail("Input must have 4 axes, corresponding to (num, channels, height, width)")
        self.poolings, levels = [], []
        for level in range(self.param.spp_param.pyramid_height):
            self.poolings.append(Pooling(self._pooling(2**level, *bottom[0].shape[2:])))
            levels.append(Blob())
            self.poolings[-1].setup(bottom, levels[-1:])
            self.poolings[-1].reshape(bottom, levels[-1:])
        if len(levels) == 1:
            top[0].reshape(*levels[0].shape)
        else:
            top[0].reshape(bottom[0].shape[0], sum(math.prod(blob.shape[1:]) for blob in levels))

    def _pooling(self, bins, *size):
        """The definition of a pooling into ``bins`` windows, or fewer, along each axis."""
        kernel = [math.ceil(n / bins) for n in size]
        pad = [(k * bins - n + 1) // 2 for k, n in zip(kernel, size)]
        p = caffe_pb2.PoolingParameter(pool=self.param.spp_param.pool)  # the numbers are the same
        p.kernel_h, p.kernel_w = p.stride_h, p.stride_w = kernel
        p.pad_h, p.pad_w = pad
        return caffe_pb2.LayerParameter(name=self.name, type="Pooling", pooling_param=p)

    def compute(self, x):
        levels = [pooling.compute(x) for pooling in self.poolings]
        levels = [level[0] if isinstance(level, list) else level for level in levels]
        return levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1)


@register("LRN")
class LRN(Neuron):
    """ACROSS_CHANNELS or WITHIN_CHANNEL normalisation of N×C×H×W: x / scale^beta.

    The scale is k + (alpha / n) Σ x² over n neighbouring channels, or 1 + alpha times the mean of x² over n×n places.
    """

    repeatable = True
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
        self.shrinks = self.k >= 1 and self.alpha >= 0 and p.beta >= 0

    def reshape(self, bottom, top):
        if len(bottom[0].shape) != 4:
            self.fail("Input must have 4 axes, corresponding to (num, channels, height, width)")
        super().reshape(bottom, top)

    def forget(self):
        self.saved = None

    def forward(self, bottom, top, record):
        x = bottom[0].tensor()
        scale, factor, overflown = self._scale(x)
        self.saved = (scale, factor, overflown) if record else None
        limit = bottom[0].limit if self.shrinks and not overflown else math.inf
        top[0].set_tensor(torch.mul(x, factor, out=None if record else factor), limit=limit)

    def _scale(self, x):
        squares = x * x
        scale = self._near(squares).mul_(self.alpha).add_(self.k)
        overflown = not self.within and _overflown(scale)
        if overflown:
            scale = self._running(x * x * self.alpha, self.k, head_first=True)
        return scale, torch.pow(scale, -self.param.lrn_param.beta, out=squares), overflown

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
