"""Softmax and the losses, whose gradients are scaled by the top's diff (softmax_layer.cpp, *_loss_layer.cpp)."""

import math
from typing import Any

import torch

from ..proto import caffe_pb2
from .base import Layer, log_creation, register
from .neuron import Neuron

_FLT_MIN = torch.finfo(torch.float32).tiny
_Modes = caffe_pb2.LossParameter


@register("Softmax")
class Softmax(Neuron):
    """Probabilities along ``axis``."""

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.axis = self.axis_of(bottom[0], self.param.softmax_param.axis)

    def compute(self, x):
        return torch.softmax(x, self.axis)

    def gradient(self, dy, x, y):
        return y * (dy - (dy * y).sum(self.axis, keepdim=True))


class Loss(Layer):
    """A scalar from predictions and labels (loss_layer.cpp)."""

    exact_bottom = 2
    exact_top: int | None = 1
    auto_top = is_loss = True

    def reshape(self, bottom, top):
        if bottom[0].shape[:1] != bottom[1].shape[:1]:
            self.fail(
                "The data and label should have the same first dimension: "
                f"{bottom[0].shape_string()} against {bottom[1].shape_string()}"
            )
        top[0].reshape()

    def same_count(self, bottom):
        """Raise CaffeError unless both bottoms have the same number of values per image."""
        if math.prod(bottom[0].shape[1:]) != math.prod(bottom[1].shape[1:]):
            shapes = f"{bottom[0].shape_string()} against {bottom[1].shape_string()}"
            self.fail(f"Inputs must have the same dimension: {shapes}")

    def normalization(self, default):
        """The mode of ``loss_param``; the older ``normalize`` is used only if ``normalization`` is absent."""
        p = self.param.loss_param
        if p.HasField("normalization"):
            return p.normalization
        if p.HasField("normalize"):
            return _Modes.VALID if p.normalize else _Modes.BATCH_SIZE
        return default

    @staticmethod
    def normalizer(how, full, batch, valid):
        """The divisor of the summed loss, at least 1: a number, or a tensor if it depends on the labels."""
        if how == _Modes.VALID and torch.is_tensor(valid):
            return valid.clamp(min=1)
        count = {_Modes.FULL: full, _Modes.VALID: valid, _Modes.BATCH_SIZE: batch, _Modes.NONE: 1}[how]
        return max(count, 1)


def check_labels(layer, label, classes):
    """Raise CaffeError for a label that is not a class index; a GPU, which would have to wait, is not asked."""
    if label.device.type == "cpu" and label.numel():
        low, high = int(label.min()), int(label.max())
        if low < 0 or high >= classes:
            layer.fail(f"Label {low if low < 0 else high} is outside the {classes} classes 0 … {classes - 1}")


class LabelledClasses(Layer):
    """Base class of layers with scores of classes along an axis of the first bottom, and labels in the second."""

    def set_class_axis(self, bottom, index, noun):
        """Set the axis of the classes and the counts before and after it; CaffeError unless each place has a label."""
        shape = bottom[0].shape
        self.axis = self.axis_of(bottom[0], index)
        self.classes = shape[self.axis]
        self.outer, self.inner = math.prod(shape[: self.axis]), math.prod(shape[self.axis + 1 :])
        predictions, labels = self.outer * self.inner, bottom[1].count
        if predictions != labels:
            self.fail(
                f"Number of labels must match number of predictions; e.g., if {noun} axis == 1 and prediction shape is "
                "(N, C, H, W), label count (number of labels) must be N*H*W, with integer values in {0, 1, ..., C-1}: "
                f"{predictions} predictions, {labels} labels"
            )

    def class_labels(self, label, param):
        """The labels (outer, 1, inner), 0 where ignored, and which of them are not ignored (None: all)."""
        label, kept = label.reshape(self.outer, 1, self.inner).long(), None
        if param.HasField("ignore_label"):
            kept = label != param.ignore_label
            label = label.masked_fill(~kept, 0)
        check_labels(self, label, self.classes)
        return label, kept


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(LabelledClasses, Loss):
    """Multinomial logistic loss of the softmax along ``axis``; a second top holds the probabilities."""

    exact_top = None
    min_top, max_top = 1, 2
    prob: Any = None  # (outer, classes, inner) after forward

    def setup(self, bottom, top):
        super().setup(bottom, top)
        log_creation(self.name)  # of the Softmax inside

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.set_class_axis(bottom, self.param.softmax_param.axis, "softmax")
        if len(top) == 2:
            top[1].reshape(*bottom[0].shape)

    def forward(self, bottom, top, record):
        prob = torch.softmax(bottom[0].tensor(), self.axis)
        self.prob = prob.reshape(self.outer, self.classes, self.inner)
        label, kept = self.class_labels(bottom[1].tensor(), self.param.loss_param)
        # the logarithm of the rounded probability, as in Caffe, which near 1 differs from log-softmax
        loss = self.prob.gather(1, label).clamp(min=_FLT_MIN).log()
        if kept is not None:
            loss = loss.masked_fill(~kept, 0)
        top[0].set_tensor(-loss.sum() / self._divisor(kept))
        if len(top) == 2:
            top[1].set_tensor(prob.clone())

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            self.fail(f"{self.type} Layer cannot backpropagate to label inputs")
        if propagate_down[0]:
            if self.prob is None:
                self.forward(bottom, top, True)
            label, kept = self.class_labels(bottom[1].tensor(), self.param.loss_param)
            grad = self.prob.scatter_add(1, label, self.prob.new_full((1, 1, 1), -1).expand_as(label))
            if kept is not None:
                grad.masked_fill_(~kept, 0)
            bottom[0].set_diff(grad.mul_(top[0].diff_tensor() / self._divisor(kept)).reshape(bottom[0].shape))

    def _divisor(self, kept):
        count = self.outer * self.inner
        valid = count if kept is None else kept.sum()
        return self.normalizer(self.normalization(_Modes.VALID), count, self.outer, valid)


@register("EuclideanLoss")
class EuclideanLoss(Loss):
    """Σ (a − b)² / 2N; both bottoms take a gradient."""

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.same_count(bottom)

    def allow_force_backward(self, index):
        return True

    def compute(self, a, b):
        difference = a.reshape(-1) - b.reshape(-1)
        return (difference * difference).sum() / (2 * a.shape[0])


@register("HingeLoss")
class HingeLoss(Loss):
    """One-versus-all hinge loss: max(0, 1 − x) for the label, max(0, 1 + x) for others, L1 or L2, divided by N.

    Forward writes these margins to the bottom's diff, as in Caffe.
    """

    def forward(self, bottom, top, record):
        super().forward(bottom, top, record)
        bottom[0].show_diff(self.margin.reshape(bottom[0].shape))

    def compute(self, x, label):
        n = x.shape[0]
        x = x.reshape(n, -1)
        label = label.reshape(-1, 1)[:n].long()
        check_labels(self, label, x.shape[1])
        margin = 1 + x * torch.ones_like(x).scatter(1, label, -1)
        margin = torch.where(margin > 0, margin, 0)  # also for NaN, because max(0, NaN) is 0 in C++
        self.margin = margin.detach()
        if self.param.hinge_loss_param.norm == caffe_pb2.HingeLossParameter.L2:
            margin = margin.square()
        return margin.sum() / n


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(Loss):
    """Cross-entropy of independent sigmoids and targets in [0, 1]."""

    sigmoid: Any = None  # set by forward

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            self.fail("SIGMOID_CROSS_ENTROPY_LOSS layer inputs must have the same count")

    def forward(self, bottom, top, record):
        x, target = bottom[0].tensor(), bottom[1].tensor().reshape(bottom[0].shape)
        positive = (x >= 0).to(x.dtype)
        # Caffe's terms, which are NaN at infinity; their derivative is not
        loss = torch.log1p(torch.exp(x - 2 * x * positive)) - x * (target - positive)
        self.sigmoid, self.ignored, valid = torch.sigmoid(x), None, x.numel()
        if self.param.loss_param.HasField("ignore_label"):
            self.ignored = target.long() == self.param.loss_param.ignore_label
            valid = (~self.ignored).sum()
            loss = loss.masked_fill(self.ignored, 0)
        self.divisor = self.normalizer(self.normalization(_Modes.BATCH_SIZE), x.numel(), x.shape[0], valid)
        top[0].set_tensor(loss.sum() / self.divisor)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            self.fail(f"{self.type} Layer cannot backpropagate to label inputs")
        if propagate_down[0]:
            if self.sigmoid is None:
                self.forward(bottom, top, True)
            grad = self.sigmoid - bottom[1].tensor().reshape(bottom[0].shape)
            if self.ignored is not None:
                grad.masked_fill_(self.ignored, 0)
            bottom[0].set_diff(grad.mul_(top[0].diff_tensor() / self.divisor))
