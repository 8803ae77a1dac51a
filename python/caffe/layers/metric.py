"""Accuracy and ArgMax, which have no gradient (accuracy_layer.cpp, argmax_layer.cpp)."""

import math

import torch

from .base import Layer, below, register
from .loss import LabelledClasses


@register("Accuracy")
class Accuracy(LabelledClasses):
    """The fraction of predictions with fewer than ``top_k`` other classes that score at least as high as the true one.

    So a tie counts as an error for top-1. A second top holds the accuracy of each class, 0 if it does not occur.
    """

    exact_bottom = 2
    min_top, max_top = 1, 2
    differentiable = False

    def reshape(self, bottom, top):
        p = self.param.accuracy_param
        self.set_class_axis(bottom, p.axis, "label")
        if p.top_k > self.classes:
            self.fail("top_k must be less than or equal to the number of classes")
        top[0].reshape()
        if len(top) > 1:
            top[1].reshape(self.classes)

    def compute(self, x, label):
        p = self.param.accuracy_param
        x = x.reshape(self.outer, self.classes, self.inner)
        label, kept = self.class_labels(label, p)
        if kept is None:
            kept = torch.ones_like(label, dtype=torch.bool)
        others = (x >= x.gather(1, label)).sum(1, keepdim=True) - 1
        right = ((others < p.top_k) & kept).to(x.dtype).reshape(-1)
        kept = kept.to(x.dtype).reshape(-1)
        sums = x.new_zeros(2, self.classes).index_add_(1, label.reshape(-1), torch.stack([right, kept]))
        return [right.sum() / kept.sum().clamp(min=1), sums[0] / sums[1].clamp(min=1)]


@register("ArgMax")
class ArgMax(Layer):
    """Indices, values or both of the ``top_k`` largest; among equal values the highest index comes first."""

    exact_bottom = exact_top = 1
    differentiable = False

    def reshape(self, bottom, top):
        p = self.param.argmax_param
        shape = list(bottom[0].shape)
        self.axis = self.axis_of(bottom[0], p.axis) if p.HasField("axis") else None
        size = math.prod(shape[1:]) if self.axis is None else shape[self.axis]
        if p.top_k < 1:
            self.fail("top k must not be less than 1")
        if p.top_k > size:
            self.fail("top_k must be less than or equal to the number of classes")
        if self.axis is None:
            out = [shape[0]] + [1] * (max(len(shape), 3) - 1)
            out[2] = p.top_k
            out[1] = 2 if p.out_max_val else 1
        else:
            out = shape
            out[self.axis] = p.top_k
        self.out = out
        top[0].reshape(*out)

    def compute(self, x):
        p = self.param.argmax_param
        axis = 1 if self.axis is None else self.axis
        if self.axis is None:
            x = x.reshape(x.shape[0], -1)
        flipped = x.flip(axis)
        order = torch.sort(flipped, dim=axis, descending=True, stable=True).indices
        order = x.shape[axis] - 1 - order.narrow(axis, 0, p.top_k)
        if below(x, -math.inf):
            order = _with_nan(x, order, axis, p.top_k)
        values, index = x.gather(axis, order), order.to(x.dtype)
        if self.axis is not None:
            return values if p.out_max_val else index
        return (torch.stack([index, values], 1) if p.out_max_val else index).reshape(self.out)


def _with_nan(x, order, axis, k):
    """``order`` with the rows that contain NaN sorted by C++'s ``partial_sort``.

    NaN is neither less nor greater than a number, so the result depends on every step of the algorithm.
    """
    rows, found = x.movedim(axis, -1), order.movedim(axis, -1).clone()
    for place in rows.isnan().any(-1).nonzero().tolist():
        row = rows[tuple(place)].tolist()
        pairs = [(value, index) for index, value in enumerate(row)]
        _partial_sort(pairs, k)
        found[tuple(place)] = torch.tensor([index for _, index in pairs[:k]])
    return found.movedim(-1, axis)


def _greater(a, b):
    return b[0] < a[0] or (not a[0] < b[0] and b[1] < a[1])


def _partial_sort(pairs, k):
    """Move the greatest ``k`` pairs to the front, greatest first, with the heap of the GNU C++ library."""
    for start in reversed(range(k // 2)):
        _sift(pairs, start, k, pairs[start])
    for i in range(k, len(pairs)):
        if _greater(pairs[i], pairs[0]):
            new, pairs[i] = pairs[i], pairs[0]
            _sift(pairs, 0, k, new)
    for end in reversed(range(1, k)):
        last, pairs[end] = pairs[end], pairs[0]
        _sift(pairs, 0, end, last)


def _sift(heap, hole, size, pair):
    """Fill a hole of a heap whose first pair is the least: move it down to a leaf, then up to the place of ``pair``."""
    top = hole
    while (child := 2 * hole + 2) <= size:
        if child == size or _greater(heap[child], heap[child - 1]):
            child -= 1
        heap[hole] = heap[child]
        hole = child
    while hole > top and _greater(heap[(hole - 1) // 2], pair):
        heap[hole] = heap[(hole - 1) // 2]
        hole = (hole - 1) // 2
    heap[hole] = pair
