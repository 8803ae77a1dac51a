"""InnerProduct (inner_product_layer.cpp)."""

import math

import torch.nn.functional as F

from ..runtime.mode import products
from .base import Layer, register


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
        shape = (self.inputs, p.num_output) if p.transpose else (p.num_output, self.inputs)
        self.add_blob(shape, p.weight_filler)
        if p.bias_term:
            self.add_blob((p.num_output,), p.bias_filler)

    def reshape(self, bottom, top):
        inputs = math.prod(bottom[0].shape[self.axis :])
        if inputs != self.inputs:
            self.fail(f"Input size incompatible with inner product parameters: {inputs} numbers, not {self.inputs}")
        top[0].reshape(*bottom[0].shape[: self.axis], self.param.inner_product_param.num_output)

    def compute(self, x, weight, bias=None):
        x = x.reshape(*x.shape[: self.axis], self.inputs)
        return products(F.linear, x, weight.t() if self.param.inner_product_param.transpose else weight, bias)
