"""Layers that join, cut, move, select and repeat, for ``reference``."""

import math

import numpy as np

from helpers.reference_tools import Replaced, canonical


def concat(p, bottoms, blobs, train, tops):
    q = p.concat_param
    axis = q.concat_dim if q.HasField("concat_dim") else canonical(q.axis, bottoms[0].ndim)
    cuts = np.cumsum([b.shape[axis] for b in bottoms])[:-1]
    return [np.concatenate(bottoms, axis)], lambda dys: (np.split(dys[0], cuts, axis), [])


def slice_layer(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    q = p.slice_param
    axis = q.slice_dim if q.HasField("slice_dim") else canonical(q.axis, x.ndim)
    pieces = np.split(x, list(q.slice_point) or tops, axis)
    return pieces, lambda dys: ([np.concatenate(dys, axis)], [])


def tile(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    n, axis = p.tile_param.tiles, canonical(p.tile_param.axis, x.ndim)
    return [np.concatenate([x] * n, axis)], lambda dys: ([sum(np.split(dys[0], n, axis))], [])


def batch_reindex(p, bottoms, blobs, train, tops):
    x, index = bottoms[0], bottoms[1].astype(int)

    def backward(dys):
        dx = np.zeros_like(x)
        for i, dy in zip(index, dys[0]):
            dx[i] += dy
        return [dx, None], []

    return [np.array([x[i] for i in index]).reshape(len(index), *x.shape[1:])], backward


def filter_layer(p, bottoms, blobs, train, tops):
    *given, selector = bottoms
    chosen = [i for i, value in enumerate(selector.ravel()) if value]

    def backward(dys):
        diffs = [np.zeros_like(x) for x in given]
        for dx, dy in zip(diffs, dys):
            dx[chosen] = dy
        return [*diffs, None], []

    return [x[chosen] for x in given], backward


def split(p, bottoms, blobs, train, tops):
    return [bottoms[0]] * tops, lambda dys: ([sum(dys)], [])


def silence(p, bottoms, blobs, train, tops):
    return [], lambda dys: ([0 * x for x in bottoms], [])


def eltwise(p, bottoms, blobs, train, tops):
    q = p.eltwise_param
    if q.operation == q.SUM:
        coefficients = list(q.coeff) or [1] * len(bottoms)
        return [sum(c * x for c, x in zip(coefficients, bottoms))], lambda dys: ([c * dys[0] for c in coefficients], [])
    if q.operation == q.PROD:

        def backward(dys):
            return [dys[0] * math.prod(x for j, x in enumerate(bottoms) if j != i) for i in range(len(bottoms))], []

        return [math.prod(bottoms)], backward
    winner = np.zeros(bottoms[0].shape, int)
    for at in np.ndindex(winner.shape):
        winner[at] = 0 if bottoms[0][at] > bottoms[1][at] else 1
        for i in range(2, len(bottoms)):
            if bottoms[i][at] > bottoms[winner[at]][at]:
                winner[at] = i
    return [np.choose(winner, bottoms)], lambda dys: ([dys[0] * (winner == i) for i in range(len(bottoms))], [])


def flatten(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    q = p.flatten_param
    first, last = canonical(q.axis, x.ndim), canonical(q.end_axis, x.ndim)
    y = x.reshape(*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])
    return [y], lambda dys: ([dys[0].reshape(x.shape)], [])


def reshape(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    q = p.reshape_param
    first = q.axis if q.axis >= 0 else x.ndim + q.axis + 1
    last = x.ndim if q.num_axes == -1 else first + q.num_axes
    dims = [x.shape[first + i] if d == 0 else d for i, d in enumerate(q.shape.dim)]
    shape = [*x.shape[:first], *dims, *x.shape[last:]]
    return [x.reshape(shape)], lambda dys: ([dys[0].reshape(x.shape)], [])


def crop(p, bottoms, blobs, train, tops):
    x, like = bottoms
    q = p.crop_param
    axis = canonical(q.axis, x.ndim)
    window = [slice(None)] * x.ndim
    for i in range(axis, x.ndim):
        offset = (list(q.offset) or [0])[i - axis if len(q.offset) > 1 else 0]
        window[i] = slice(offset, offset + like.shape[i])

    def backward(dys):
        dx = np.zeros_like(x)
        dx[tuple(window)] = dys[0]
        return [dx, None], []

    return [x[tuple(window)]], backward


def reduction(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    q = p.reduction_param
    axis = canonical(q.axis, x.ndim)
    flat = x.reshape(*x.shape[:axis], -1)
    each, slope = {
        q.SUM: (flat, np.ones_like(flat)),
        q.MEAN: (flat / flat.shape[-1], np.full_like(flat, 1 / flat.shape[-1])),
        q.ASUM: (np.abs(flat), np.sign(flat)),
        q.SUMSQ: (flat**2, 2 * flat),
    }[q.operation]
    return [each.sum(-1) * q.coeff], lambda dys: ([(dys[0][..., None] * slope * q.coeff).reshape(x.shape)], [])


def parameter(p, bottoms, blobs, train, tops):
    return [blobs[0]], lambda dys: ([], [Replaced.of(dys[0])])
