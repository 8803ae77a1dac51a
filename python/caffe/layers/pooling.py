"""Pooling (pooling_layer.cpp): the number of windows is rounded up, and divisors count padding."""

import torch
import torch.nn.functional as F

from ..proto import caffe_pb2
from ..runtime.mode import to_device
from .base import Layer, below, register

_LOWEST = torch.finfo(torch.float32).min  # Caffe's -FLT_MAX, the maximum of an empty window


@register("Pooling")
class Pooling(Layer):
    """MAX or AVE over H×W windows of N×C×H×W; a second top of MAX holds the index h·W+w of the maximum."""

    exact_bottom = 1
    min_top = 1

    def __init__(self, param):
        super().__init__(param)
        self.max_top = 2 if param.pooling_param.pool == caffe_pb2.PoolingParameter.MAX else 1

    def setup(self, bottom, top):
        p = self.param.pooling_param
        if p.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
            self.fail("STOCHASTIC pooling is not implemented, as in Caffe on CPUs; use MAX or AVE")
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

    def compute(self, x):
        size = x.shape[2:]
        # the extent of windows beyond the padded edge on the lower right, which torch would drop
        extra = [(n - 1) * s + k - p - h for n, s, k, p, h in zip(self.out, self.stride, self.kernel, self.pad, size)]
        border = (self.pad[1], max(extra[1], 0), self.pad[0], max(extra[0], 0))
        if self.param.pooling_param.pool == caffe_pb2.PoolingParameter.AVE:
            return self._average(x, size, border)
        y, index = self._maximum(x, size, extra, border)
        if below(y, _LOWEST):  # in Caffe only greater values win, NaN never, and without one there is no gradient
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
            y, index = _max_pool(x, self.kernel, self.stride, self.pad, not floor)
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


def _max_pool(x, kernel, stride, pad, ceil):
    return F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil, return_indices=True)
