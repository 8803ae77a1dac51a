"""Softmax, losses and scores for ``reference``; the loss's own diff is its weight."""

import math

import numpy as np

from helpers.reference_tools import FLT_MIN, canonical


def _softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def softmax(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    axis = canonical(p.softmax_param.axis, x.ndim)
    y = _softmax(x, axis)
    return [y], lambda dys: ([y * (dys[0] - (dys[0] * y).sum(axis, keepdims=True))], [])


def _normalizer(p, default, outer, inner, valid):
    q = p.loss_param
    mode = default
    if q.HasField("normalization"):
        mode = q.normalization
    elif q.HasField("normalize"):
        mode = q.VALID if q.normalize else q.BATCH_SIZE
    return max(1.0, {q.FULL: outer * inner, q.VALID: valid, q.BATCH_SIZE: outer, q.NONE: 1}[mode])


def softmax_loss(p, bottoms, blobs, train, tops):
    x, labels = bottoms
    axis = canonical(p.softmax_param.axis, x.ndim)
    prob = _softmax(x, axis)
    outer, classes, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    flat = prob.reshape(outer, classes, inner)
    dx = flat.copy()
    loss = valid = 0
    for (i, j), label in np.ndenumerate(labels.reshape(outer, inner).astype(int)):
        if p.loss_param.HasField("ignore_label") and label == p.loss_param.ignore_label:
            dx[i, :, j] = 0
            continue
        loss -= math.log(max(flat[i, label, j], FLT_MIN))
        dx[i, label, j] -= 1
        valid += 1
    divisor = _normalizer(p, p.loss_param.VALID, outer, inner, valid)
    return [np.array(loss / divisor), prob][:tops], lambda dys: (
        [dx.reshape(x.shape) * dys[0] / divisor, None],
        [],
    )


def infogain_loss(p, bottoms, blobs, train, tops):
    x, labels, matrix = bottoms
    axis = canonical(p.infogain_loss_param.axis, x.ndim)
    prob = _softmax(x, axis)
    outer, classes, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    flat, matrix = prob.reshape(outer, classes, inner), matrix.reshape(classes, classes)
    dx = np.zeros_like(flat)
    loss = valid = 0
    for (i, j), label in np.ndenumerate(labels.reshape(outer, inner).astype(int)):
        if p.loss_param.HasField("ignore_label") and label == p.loss_param.ignore_label:
            continue
        valid += 1
        for c in range(classes):
            loss -= matrix[label, c] * math.log(max(flat[i, c, j], 1e-20))
            dx[i, c, j] = flat[i, c, j] * matrix[label].sum() - matrix[label, c]
    divisor = _normalizer(p, p.loss_param.VALID, outer, inner, valid)
    return [np.array(loss / divisor), prob][:tops], lambda dys: (
        [dx.reshape(x.shape) * dys[0] / divisor, None, None],
        [],
    )


def multinomial_loss(p, bottoms, blobs, train, tops):
    x, labels = bottoms
    n = len(x)
    at = (range(n), labels.ravel().astype(int))
    prob = np.maximum(x.reshape(n, -1)[at], 1e-20)

    def backward(dys):
        dx = np.zeros((n, x.size // n))
        dx[at] = -dys[0] / n / prob
        return [dx.reshape(x.shape), None], []

    return [np.array(-np.log(prob).sum() / n)], backward


def contrastive_loss(p, bottoms, blobs, train, tops):
    a, b, similar = bottoms
    q = p.contrastive_loss_param
    loss, da = 0, np.zeros((len(a), a.size // len(a)))
    for i, (difference, same) in enumerate(
        zip(a.reshape(len(a), -1) - b.reshape(len(a), -1), similar.ravel().astype(int))
    ):
        distance = math.sqrt((difference**2).sum())
        if same:
            loss += distance**2
            da[i] = difference
        elif q.legacy_version:
            loss += max(q.margin - distance**2, 0)
            da[i] = -difference * (q.margin > distance**2)
        else:
            loss += max(q.margin - distance, 0) ** 2
            da[i] = -difference * max(q.margin - distance, 0) / (distance + 1e-4)
    da = da.reshape(a.shape) / len(a)
    return [np.array(loss / len(a) / 2)], lambda dys: ([da * dys[0], -da.reshape(b.shape) * dys[0], None], [])


def euclidean_loss(p, bottoms, blobs, train, tops):
    a, b = bottoms
    difference = a.ravel() - b.ravel()
    n = len(a)

    def backward(dys):
        grad = dys[0] * difference / n
        return [grad.reshape(a.shape), -grad.reshape(b.shape)], []

    return [np.array((difference**2).sum() / n / 2)], backward


def hinge_loss(p, bottoms, blobs, train, tops):
    x, labels = bottoms
    n = len(x)
    sign = np.ones((n, x.size // n))
    sign[range(n), labels.ravel()[:n].astype(int)] = -1
    margin = np.maximum(0, 1 + sign * x.reshape(n, -1))
    squared = p.hinge_loss_param.norm == p.hinge_loss_param.L2

    def backward(dys):
        grad = 2 * margin if squared else np.sign(margin)
        return [(grad * sign * dys[0] / n).reshape(x.shape), None], []

    return [np.array((margin**2 if squared else margin).sum() / n)], backward


def sigmoid_loss(p, bottoms, blobs, train, tops):
    x, target = bottoms
    target = target.reshape(x.shape)
    each = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))
    grad = 1 / (1 + np.exp(-x)) - target
    kept = np.ones(x.shape, bool)
    if p.loss_param.HasField("ignore_label"):
        kept = np.trunc(target) != p.loss_param.ignore_label
    divisor = _normalizer(p, p.loss_param.BATCH_SIZE, len(x), x.size // len(x), kept.sum())
    return [np.array(each[kept].sum() / divisor)], lambda dys: ([grad * kept * dys[0] / divisor, None], [])


def accuracy(p, bottoms, blobs, train, tops):
    x, labels = bottoms
    q = p.accuracy_param
    axis = canonical(q.axis, x.ndim)
    outer, classes, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    x = x.reshape(outer, classes, inner)
    right, seen = np.zeros(classes), np.zeros(classes)
    for (i, j), label in np.ndenumerate(labels.reshape(outer, inner).astype(int)):
        if q.HasField("ignore_label") and label == q.ignore_label:
            continue
        others = sum(x[i, c, j] >= x[i, label, j] for c in range(classes) if c != label)
        seen[label] += 1
        right[label] += others < q.top_k
    per_class = [r / s if s else 0 for r, s in zip(right, seen)]
    return [np.array(right.sum() / seen.sum() if seen.sum() else 0.0), np.array(per_class)][:tops], None


def argmax(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    q = p.argmax_param

    def best(values):
        return sorted(range(len(values)), key=lambda i: (-values[i], -i))[: q.top_k]

    if not q.HasField("axis"):
        y = np.zeros((len(x), 1 + q.out_max_val, q.top_k))
        for row, values in zip(y, x.reshape(len(x), -1)):
            row[0] = best(values)
            if q.out_max_val:
                row[1] = values[best(values)]
        return [y.reshape(*y.shape, *[1] * (x.ndim - 3))], None
    axis = canonical(q.axis, x.ndim)
    return [np.apply_along_axis(lambda v: v[best(v)] if q.out_max_val else np.array(best(v), float), axis, x)], None
