"""Convolution, Deconvolution and Im2col.

Sources of the behaviour: base_conv_layer.cpp, conv_layer.cpp, deconv_layer.cpp, im2col_layer.cpp, im2col.cpp.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .base import FINITE, Layer, register

# On a CPU, channels-last kernels add all products of an output one after the other. For longer sums than this they make
# two to four times the rounding errors of the blocked kernels for NCHW and of Caffe, and rounding can change which of
# nearly equal values is the maximum later. So these sums are computed in NCHW.
LONGEST_CHAIN = 1000

# oneDNN's convolution with something done to its results on the way to memory, of which torch has no public function
_onednn: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)

_LARGE = 1 << 18  # values in a top from which a limit to them is worth its while


def _largest(x):
    """The largest absolute value."""
    if x.dim() == 4 and not x.is_contiguous():
        x = x.permute(0, 2, 3, 1)  # aminmax is fast where this is contiguous
    low, high = torch.aminmax(x)
    return max(high.item(), -low.item())


def _dense(x):
    """Images in channels-last, others in rows."""
    return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.contiguous_format)


class _Windows(Layer):
    """Windows over the axes after the channels', with the sizes in ``convolution_param``."""

    def set_windows(self, bottom):
        """Set the axis of the channels, their number, and kernel, stride, pad and dilation of each axis after it."""
        p = self.param.convolution_param
        self.axis = self.axis_of(bottom[0], p.axis)
        n = self.num_spatial = len(bottom[0].shape) - self.axis - 1
        self.kernel = self._sizes("kernel_size", p.kernel_size, n, "kernel_h", "kernel_w", None)
        self.stride = self._sizes("stride", p.stride, n, "stride_h", "stride_w", 1)
        self.pad = self._sizes("pad", p.pad, n, "pad_h", "pad_w", 0)
        self.dilation = self._sizes("dilation", p.dilation, n, None, None, 1)
        if min(self.kernel, default=1) < 1:
            self.fail("Filter dimensions must be nonzero")
        if min(self.stride, default=1) < 1:
            self.fail("Stride dimensions must be nonzero")
        if min(self.dilation, default=1) < 1:
            self.fail("Dilation dimensions must be nonzero")
        self.channels = bottom[0].shape[self.axis]

    def _sizes(self, name, values, n, h, w, default):
        p = self.param.convolution_param
        if h and (p.HasField(h) or p.HasField(w)):
            if n != 2:
                self.fail(f"{h} & {w} can only be used for 2D convolution")
            if len(values):
                self.fail(f"Either {name} or {h}/{w} should be specified; not both")
            return (getattr(p, h), getattr(p, w))
        if len(values) not in ({1, n} if default is None else {0, 1, n}):
            self.fail(
                f"{name} must be specified once, or once per spatial dimension "
                f"({name} specified {len(values)} times; {n} spatial dims)"
            )
        if not len(values) or not n:
            return (default,) * n
        return tuple(values) * n if len(values) == 1 else tuple(values)

    def places(self, size_of, shape):
        """The number of windows along each axis, by ``size_of``; CaffeError if there are none."""
        each = zip(shape[self.axis + 1 :], self.kernel, self.stride, self.pad, self.dilation)
        out = tuple(size_of(*sizes) for sizes in each)
        if min(out, default=1) < 1:
            text = "".join(f"{n} " for n in shape)
            self.fail(f"The kernel does not fit into the input of {text}({math.prod(shape)})")
        return out

    def extended(self, x):
        """``x`` with zeros where a window reaches beyond the padded input, which may be by less than a stride."""
        sizes = zip(x.shape[self.axis + 1 :], self.kernel, self.pad, self.dilation)
        beyond = [max(dilation * (kernel - 1) + 1 - size - 2 * pad, 0) for size, kernel, pad, dilation in sizes]
        return F.pad(x, [n for end in reversed(beyond) for n in (0, end)]) if any(beyond) else x


def cross_correlated(size, kernel, stride, pad, dilation):
    """The number of windows on an axis, rounded towards zero, as in C++."""
    return int((size + 2 * pad - (dilation * (kernel - 1) + 1)) / stride) + 1


class _BaseConvolution(_Windows):
    min_bottom = min_top = 1
    equal_bottom_top = True

    # defined by subclasses
    weight_shape: Callable[[], tuple]
    output_size: Callable[[int, int, int, int, int], int]
    transposed: bool

    def setup(self, bottom, top):
        p = self.param.convolution_param
        self.set_windows(bottom)
        if self.num_spatial > 3:
            self.fail(f"{self.type} Layer works on up to 3 spatial axes, not {self.num_spatial}")
        self.num_output, self.group = p.num_output, p.group
        if self.num_output < 1:
            self.fail("num_output must be positive")
        if self.group < 1 or self.channels % self.group:
            self.fail(f"The {self.channels} channels of the bottom are not a multiple of group {self.group}")
        if self.num_output % self.group:
            self.fail("Number of output should be multiples of group")
        weight = self.add_blob(self.weight_shape() + self.kernel, p.weight_filler)
        self.in_rows = math.prod(weight.shape[1:]) > LONGEST_CHAIN
        if p.bias_term:
            self.add_blob((self.num_output,), p.bias_filler)

    def reshape(self, bottom, top):
        for blob in bottom:
            if len(blob.shape) != self.axis + 1 + self.num_spatial:
                self.fail("bottom num_axes may not change")
            if blob.shape[self.axis] != self.channels:
                self.fail(
                    "Input size incompatible with convolution kernel: "
                    f"{blob.shape[self.axis]} channels, not {self.channels}"
                )
            if blob.shape != bottom[0].shape:
                self.fail("All inputs must have the same shape")
        out = self.places(self.output_size, bottom[0].shape)
        for blob in top:
            blob.reshape(*bottom[0].shape[: self.axis], self.num_output, *out)

    def forward(self, bottom, top, record):
        weight, bias = (*(blob.tensor() for blob in self.blobs), None)[:2]
        plain = self.in_rows and weight.is_cpu and self.precision != "bf16"
        for source, target in zip(bottom, top):
            x = self._input(source.tensor(), plain)
            if record and not plain and x.shape == source.shape:
                source.lay_out(x)  # for backward
            limit = self._limit(source, target)
            x, w, b = self.rounded(x, self._laid_out(weight, plain), bias)
            self.rectify = self.rectify and limit < FINITE and not plain and self._by_onednn(x, w, b)
            y = self._rectified(x, w, b) if self.rectify else torch.convolution(x, w, b, *self._options())
            if record or not (plain and self.leaves_rows):
                y = _dense(y.float())
            target.set_tensor(y.reshape(target.shape), limit=limit)

    def backward(self, top, propagate_down, bottom):
        learned = [*self.param_propagate_down, False][:2]
        for source, target, down in zip(bottom, top, propagate_down):
            if not (down or any(learned)):
                continue
            x, weight = self._input(source.tensor()), self._laid_out(self.blobs[0].tensor())
            dy = self._laid_out(target.diff_tensor())
            options = [self.num_output], *self._options(), [down, *learned]
            grads = torch.ops.aten.convolution_backward(*self.rounded(dy, x, weight), *options)
            if down:
                dx = grads[0].float()
                for axis, size in enumerate(source.shape[self.axis + 1 :], 2):
                    dx = dx.narrow(axis, 0, size)  # without what `extended` added
                source.set_diff(_dense(dx).reshape(source.shape))
            for blob, grad in zip(self.blobs, grads[1:]):
                if grad is not None:
                    blob.add_diff(grad.float().reshape(blob.shape))

    def _limit(self, source, target):
        """A limit to the values of a large top, from that of its bottom, which is found out if it has fewer values."""
        weight, *bias = [blob.tensor() for blob in self.blobs]
        limit = source.limit
        known = limit < math.inf
        cost = 3 * weight.numel() + (0 if known else source.count)  # in values read or written
        if max(cost, _LARGE) > target.count or not weight.is_cpu or self.transposed or self.precision == "bf16":
            return math.inf
        if not known:
            limit = _largest(source.tensor())
        limit *= weight.flatten(1).abs().sum(1).amax().item()
        limit += _largest(bias[0]) if bias else 0
        return min(math.inf, limit)  # NaN too

    def _by_onednn(self, *operands):
        """Whether PyTorch computes this convolution of images by oneDNN and leaves it in channels-last."""
        if self.num_spatial != 2 or self.num_output == 1:  # of one channel the layout is ambiguous
            return False
        return torch._C._select_conv_backend(*operands, *self._options(), bias_sizes=None).name == "Mkldnn"

    def _rectified(self, *operands):
        """max(y, 0) of the convolution's results, which have to be finite."""
        return _onednn(*operands, self.pad, self.stride, self.dilation, self.group, "relu", [], "")

    def _options(self):
        places = (self.stride or (1,), self.pad or (0,), self.dilation or (1,))
        return (*places, self.transposed, (0,) * len(places[0]), self.group)

    def _input(self, x, plain=False):
        """A bottom as the convolution takes it."""
        return self._laid_out(x, plain)

    def _laid_out(self, x, plain=False):
        """With one axis before the channels and at least one after them, in the layout whose kernels are fastest."""
        if x.dim() != self.num_spatial + 2:
            x = x.reshape(math.prod(x.shape[: self.axis]), *x.shape[self.axis :])
        if not self.num_spatial:
            x = x[..., None]
        return x.contiguous() if plain else _dense(x)


@register("Convolution")
class Convolution(_BaseConvolution):
    """Cross-correlation; the output's size is rounded towards zero, as in C++.

    So a kernel larger than the padded input by less than a stride has one place, and the input is extended by zeros.
    """

    transposed = False
    can_rectify = _onednn is not None

    def weight_shape(self):
        return (self.num_output, self.channels // self.group)

    output_size = staticmethod(cross_correlated)

    def _input(self, x, plain=False):
        return super()._input(self.extended(x), plain)


@register("Deconvolution")
class Deconvolution(_BaseConvolution):
    """The transpose of Convolution."""

    transposed = True

    def weight_shape(self):
        return (self.channels, self.num_output // self.group)

    @staticmethod
    def output_size(size, kernel, stride, pad, dilation):
        return stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad


@register("Im2col")
class Im2col(_Windows):
    """The numbers under each window of a Convolution: a channel for each channel and place in the kernel."""

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        self.set_windows(bottom)
        if self.num_spatial < 1:
            self.fail("Im2col Layer needs at least one spatial axis after the channels")

    def reshape(self, bottom, top):
        if len(bottom[0].shape) != self.axis + 1 + self.num_spatial:
            self.fail("bottom num_axes may not change")
        self.out = self.places(cross_correlated, bottom[0].shape)
        channels = bottom[0].shape[self.axis] * math.prod(self.kernel)
        top[0].reshape(*bottom[0].shape[: self.axis], channels, *self.out)

    def compute(self, x):
        x = F.pad(self.extended(x), [n for pad in reversed(self.pad) for n in (pad, pad)])
        places = []
        for offsets in itertools.product(*map(range, self.kernel)):
            sizes = zip(offsets, self.dilation, self.out, self.stride)
            window = (..., *(slice(i * d, i * d + (n - 1) * step + 1, step) for i, d, n, step in sizes))
            places.append(x[window])
        return torch.stack(places, self.axis + 1).flatten(self.axis, self.axis + 1)
