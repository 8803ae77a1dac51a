"""Softmax and the losses, whose gradients are scaled by the top's diff (softmax_layer.cpp, *_loss_layer.cpp)."""

import math
from typing import Any

import numpy as np
import torch

from ..errors import CaffeError
from ..formats import read_blob
from ..proto import caffe_pb2
from ..runtime.blob import from_array
from ..runtime.mode import to_device
from .base import Layer, log_creation, register
from .neuron import Neuron

_FLT_MIN = torch.finfo(torch.float32).tiny
_LOG_THRESHOLD = 1e-20  # Caffe's least probability, in all losses but SoftmaxWithLoss
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

    exact_bottom: int | None = 2
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


def refuse_labels(layer, propagate_down, noun="label", index=1):
    """Raise CaffeError if a gradient of the labels, or of another such bottom, is wanted."""
    if propagate_down[index]:
        layer.fail(f"{layer.type} Layer cannot backpropagate to {noun} inputs")


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
        refuse_labels(self, propagate_down)
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


@register("InfogainLoss")
class InfogainLoss(LabelledClasses, Loss):
    """−Σ H[label, class] · log softmax(x)[class] along ``axis``; a second top holds the probabilities.

    The matrix H is the third bottom, or in the file ``source``.
    """

    exact_bottom = exact_top = None
    min_bottom, max_bottom = 2, 3
    min_top, max_top = 1, 2
    prob: Any = None  # (outer, classes, inner) after forward

    def setup(self, bottom, top):
        log_creation(self.name)  # of the Softmax inside
        p = self.param.infogain_loss_param
        if self.param.loss_param.HasField("normalize"):
            self.fail('normalize is deprecated. use "normalization"')
        self.matrix = None
        if len(bottom) == 2:
            if not p.HasField("source"):
                self.fail("Infogain matrix source must be specified")
            try:
                self.matrix = from_array(np.asarray(read_blob(p.source), np.float32))
            except CaffeError as error:
                self.fail(str(error).rstrip("."))

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.set_class_axis(bottom, self.param.infogain_loss_param.axis, "infogain")
        count = bottom[2].count if self.matrix is None else self.matrix.numel()
        if count != self.classes**2:
            self.fail(f"H must be {self.classes}x{self.classes}, not {count} numbers")
        if len(top) == 2:
            top[1].reshape(*bottom[0].shape)

    def _weights(self, bottom):
        """The row of H for each label (outer, classes, inner), 0 where it is ignored, and the divisor of the loss."""
        matrix = bottom[2].tensor() if self.matrix is None else to_device(self.matrix)
        label, kept = self.class_labels(bottom[1].tensor(), self.param.loss_param)
        rows = matrix.reshape(self.classes, self.classes)[label[:, 0]].movedim(-1, 1)
        valid = self.outer * self.inner
        if kept is not None:
            rows, valid = rows * kept, kept.sum()
        return rows, self.normalizer(self.param.loss_param.normalization, self.outer * self.inner, self.outer, valid)

    def forward(self, bottom, top, record):
        prob = torch.softmax(bottom[0].tensor(), self.axis)
        self.prob = prob.reshape(self.outer, self.classes, self.inner)
        rows, divisor = self._weights(bottom)
        top[0].set_tensor(-(rows * self.prob.clamp(min=_LOG_THRESHOLD).log()).sum() / divisor)
        if len(top) == 2:
            top[1].set_tensor(prob.clone())

    def backward(self, top, propagate_down, bottom):
        refuse_labels(self, propagate_down)
        if len(bottom) > 2:
            refuse_labels(self, propagate_down, "infogain", 2)
        if propagate_down[0]:
            if self.prob is None:
                self.forward(bottom, top, True)
            rows, divisor = self._weights(bottom)
            grad = self.prob * rows.sum(1, keepdim=True) - rows
            bottom[0].set_diff(grad.mul_(top[0].diff_tensor() / divisor).reshape(bottom[0].shape))


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(Loss):
    """−Σ log p[label] / N of probabilities p, which are floored at 1e-20."""

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if self.image_shape(bottom[1])[1:] != (1, 1, 1):
            self.fail(f"There must be one label for each item: {bottom[1].shape_string()}")

    def _labelled(self, bottom):
        """The items' numbers (N, classes), labels (N, 1) and floored probabilities of these (N, 1)."""
        x = bottom[0].tensor().flatten(1) if len(bottom[0].shape) > 1 else bottom[0].tensor()[:, None]
        label = bottom[1].tensor().reshape(-1, 1).long()
        check_labels(self, label, x.shape[1])
        return x, label, x.gather(1, label).clamp(min=_LOG_THRESHOLD)

    def forward(self, bottom, top, record):
        top[0].set_tensor(-self._labelled(bottom)[2].log().sum() / bottom[0].shape[0])

    def backward(self, top, propagate_down, bottom):
        refuse_labels(self, propagate_down)
        if propagate_down[0]:
            x, label, prob = self._labelled(bottom)
            slope = -top[0].diff_tensor() / len(x) / prob
            bottom[0].set_diff(torch.zeros_like(x).scatter_(1, label, slope).reshape(bottom[0].shape))


@register("ContrastiveLoss")
class ContrastiveLoss(Loss):
    """Σ d² / 2N over similar pairs plus Σ max(margin − d, 0)² / 2N over the others, with d the pair's distance.

    ``legacy_version`` has max(margin − d², 0) for the others. The third bottom is not zero for similar pairs.
    """

    exact_bottom = 3
    pairs: Any = None  # differences (N, C) and squared distances (N, 1) of the last forward

    def setup(self, bottom, top):
        a, b, similar = map(self.image_shape, bottom)
        if a[1] != b[1]:
            self.fail(f"Pairs must have the same channels: {a[1]} and {b[1]}")
        if {a[2:], b[2:], similar[2:]} != {(1, 1)} or similar[1] != 1:
            self.fail("Pairs must be vectors (N×C), with one number for each that says whether it is similar")

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count or bottom[2].count != self.image_shape(bottom[0])[0]:
            self.fail(f"The third bottom must have a number for each pair: {bottom[2].shape_string()}")

    def allow_force_backward(self, index):
        return index != 2

    @staticmethod
    def _similar(bottom):
        return bottom[2].tensor().reshape(-1, 1).trunc() != 0

    def forward(self, bottom, top, record):
        p = self.param.contrastive_loss_param
        n = bottom[0].shape[0]
        difference = bottom[0].tensor().reshape(n, -1) - bottom[1].tensor().reshape(n, -1)
        square = difference.square().sum(1, keepdim=True)
        self.pairs = difference, square
        lacking = p.margin - (square if p.legacy_version else square.sqrt())
        lacking = torch.where(lacking > 0, lacking, 0)
        loss = torch.where(self._similar(bottom), square, lacking if p.legacy_version else lacking.square())
        top[0].set_tensor(loss.sum() / n / 2)

    def backward(self, top, propagate_down, bottom):
        p = self.param.contrastive_loss_param
        if self.pairs is None:
            self.forward(bottom, top, True)
        difference, square = self.pairs
        distance = square.sqrt()
        lacking = p.margin - (square if p.legacy_version else distance)
        other = torch.ones_like(lacking) if p.legacy_version else lacking / (distance + 1e-4)
        slope = torch.where(self._similar(bottom), 1, torch.where(lacking > 0, -other, 0))
        grad = difference * (slope * top[0].diff_tensor() / len(slope))
        for blob, down, sign in zip(bottom[:2], propagate_down, (1, -1)):
            if down:
                blob.set_diff((sign * grad).reshape(blob.shape))


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
        bottom[0].set_diff(self.margin.reshape(bottom[0].shape), shared=True)

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
        refuse_labels(self, propagate_down)
        if propagate_down[0]:
            if self.sigmoid is None:
                self.forward(bottom, top, True)
            grad = self.sigmoid - bottom[1].tensor().reshape(bottom[0].shape)
            if self.ignored is not None:
                grad.masked_fill_(self.ignored, 0)
            bottom[0].set_diff(grad.mul_(top[0].diff_tensor() / self.divisor))
