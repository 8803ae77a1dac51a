"""Convolution and Deconvolution (base_conv_layer.cpp, conv_layer.cpp, deconv_layer.cpp)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .base import Layer, register

LONGEST_CHAIN = 1000
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_DECONV = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _BaseConvolution(Layer):
    min_bottom = min_top = 1
    equal_bottom_top = True

    # what the two ways give
    weight_shape: Callable[[], tuple]
    output_size: Callable[[int, int, int, int, int], int]
    kernel_function: Callable

    def setup(self, bottom, top):
        p = self.param.convolution_param
        self.axis = self.axis_of(bottom[0], p.axis)
        n = self.num_spatial = len(bottom[0].shape) - self.axis - 1
        if n not in (0, *_CONV):
            self.fail(f"{self.type} Layer works on up to 3 spatial axes, not {n}")
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
        self.num_output, self.group = p.num_output, p.group
        if self.num_output < 1:
            self.fail("num_output must be positive")
        if self.group < 1 or self.channels % self.group:
            self.fail(f"The {self.channels} channels of the bottom are no multiple of group {self.group}")
        if self.num_output % self.group:
            self.fail("Number of output should be multiples of group")
        self.add_blob(self.weight_shape() + self.kernel, p.weight_filler)
        if p.bias_term:
            self.add_blob((self.num_output,), p.bias_filler)

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
        out = tuple(
            self.output_size(size, k, s, p, d)
            for size, k, s, p, d in zip(
                bottom[0].shape[self.axis + 1 :], self.kernel, self.stride, self.pad, self.dilation
            )
        )
        if min(out, default=1) < 1:
            self.fail(f"The kernel does not fit into the input of {bottom[0].shape_string()}")
        for blob in top:
            blob.reshape(*bottom[0].shape[: self.axis], self.num_output, *out)

    def compute(self, *tensors):
        count = len(tensors) - len(self.blobs)
        weight, bias = (*tensors[count:], None)[:2]
        return [self._apply(x, weight, bias) for x in tensors[:count]]

    def _apply(self, x, weight, bias):
        lead = x.shape[: self.axis]
        if self.axis != 1:
            x = x.reshape(-1, *x.shape[self.axis :])
        if self.num_spatial == 2 and x.device.type == "cpu":
            # channels_last is the faster layout, but its kernels add up all products of an output in one chain: with
            # more than some thousand the rounding error is twice that of the blocked kernels, further from Caffe's
            long_sums = weight[0].numel() > LONGEST_CHAIN
            layout = torch.contiguous_format if long_sums else torch.channels_last
            x, weight = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
        if self.num_spatial:
            y = self.kernel_function(x, weight, bias)
        else:  # each group's channels times its matrix, as a convolution of one place
            y = self.kernel_function(x[..., None], weight[..., None], bias)[..., 0]
        return y if self.axis == 1 else y.reshape(*lead, *y.shape[1:])


@register("Convolution")
class Convolution(_BaseConvolution):
    """Cross-correlation; output floors."""

    def weight_shape(self):
        return (self.num_output, self.channels // self.group)

    @staticmethod
    def output_size(size, kernel, stride, pad, dilation):
        return (size + 2 * pad - (dilation * (kernel - 1) + 1)) // stride + 1

    def kernel_function(self, x, weight, bias):
        return _CONV[x.dim() - 2](x, weight, bias, self.stride or 1, self.pad or 0, self.dilation or 1, self.group)


@register("Deconvolution")
class Deconvolution(_BaseConvolution):
    """The transpose of Convolution."""

    def weight_shape(self):
        return (self.channels, self.num_output // self.group)

    @staticmethod
    def output_size(size, kernel, stride, pad, dilation):
        return stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad

    def kernel_function(self, x, weight, bias):
        return _DECONV[x.dim() - 2](x, weight, bias, self.stride or 1, self.pad or 0, 0, self.group, self.dilation or 1)
