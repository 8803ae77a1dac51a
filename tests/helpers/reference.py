"""Every layer with arithmetic, slow and plain, written from what Caffe does on the CPU and not from the engine.

``REFERENCE[type](param, bottoms, blobs, train, tops)`` takes the ``LayerParameter``, the bottoms and parameters as
arrays, whether the phase is TRAIN, and the number of tops. It returns the tops and a function from the tops' diffs to
(bottom diffs, parameter diffs); None stands for a diff that the layer leaves alone. All arithmetic is float64.
"""

import itertools
import math

import numpy as np

from caffe.proto import caffe_pb2
from helpers import loss_reference, recurrent_reference, structure_reference
from helpers.reference_tools import FLT_MAX, Replaced, canonical

# one number at a time: forward from x; backward from the blobs as they stand then, which matters in place


def relu(p, x):
    slope = p.relu_param.negative_slope
    return np.where(x > 0, x, slope * x), lambda x, y, dy: dy * ((x > 0) + slope * (x <= 0))


def elu(p, x):
    alpha = p.elu_param.alpha
    y = np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1))
    return y, lambda x, y, dy: dy * ((x > 0) + (alpha + y) * (x <= 0))


def sigmoid(p, x):
    return 1 / (1 + np.exp(-x)), lambda x, y, dy: dy * y * (1 - y)


def tanh(p, x):
    return np.tanh(x), lambda x, y, dy: dy * (1 - y * y)


def absval(p, x):
    return np.abs(x), lambda x, y, dy: dy * np.sign(x)


def bnll(p, x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), lambda x, y, dy: dy / (1 + np.exp(-x))


def exp(p, x):
    p = p.exp_param
    ln = 1 if p.base == -1 else math.log(p.base)
    return np.exp(ln * (p.shift + p.scale * x)), lambda x, y, dy: dy * y * ln * p.scale


def log(p, x):
    p = p.log_param
    ln = 1 if p.base == -1 else math.log(p.base)
    return np.log(p.shift + p.scale * x) / ln, lambda x, y, dy: dy * p.scale / (p.shift + p.scale * x) / ln


def power(p, x):
    p = p.power_param
    if p.power * p.scale == 0:
        return np.full_like(x, 1 if p.power == 0 else p.shift**p.power), lambda x, y, dy: 0 * dy

    def backward(x, y, dy):
        base = p.shift + p.scale * x
        if p.power == 1:
            return dy * p.scale
        if p.power == 2:
            return dy * 2 * p.scale * base
        return dy * p.power * p.scale * y / base

    return (p.shift + p.scale * x) ** p.power, backward


def clip(p, x):
    low, high = p.clip_param.min, p.clip_param.max
    return np.maximum(low, np.minimum(x, high)), lambda x, y, dy: dy * (low <= x) * (x <= high)


def swish(p, x):
    beta = p.swish_param.beta
    s = 1 / (1 + np.exp(-beta * x))
    return x * s, lambda x, y, dy: dy * (beta * y + s * (1 - beta * y))


def threshold(p, x):
    return np.where(x > p.threshold_param.threshold, 1.0, 0.0), None


NEURONS = {
    "Clip": clip,
    "Swish": swish,
    "Threshold": threshold,
    "ReLU": relu,
    "ELU": elu,
    "Sigmoid": sigmoid,
    "TanH": tanh,
    "AbsVal": absval,
    "BNLL": bnll,
    "Exp": exp,
    "Log": log,
    "Power": power,
}


def neuron(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    y, gradient = NEURONS[p.type](p, x)
    return [y], gradient and (lambda dys: ([gradient(x, y, dys[0])], []))


def prelu(p, bottoms, blobs, train, tops):
    (x,), (slope,) = bottoms, blobs
    assert slope.shape == (() if p.prelu_param.channel_shared else x.shape[1:2])
    a = slope.reshape(slope.shape + (1,) * (x.ndim - 2)) if slope.ndim else slope

    def backward(dys):
        (dy,) = dys
        dslope = dy * x * (x <= 0)
        axes = tuple(i for i in range(x.ndim) if i != 1 or not slope.ndim)
        return [dy * ((x > 0) + a * (x <= 0))], [dslope.sum(axes)]

    return [np.maximum(x, 0) + a * np.minimum(x, 0)], backward


# windows


def _windows(out, stride, kernel, dilation):
    """Output index and the slices of the padded input under its window, for every window."""
    for index in itertools.product(*map(range, out)):
        yield (
            index,
            tuple(slice(i * s, i * s + d * (k - 1) + 1, d) for i, s, k, d in zip(index, stride, kernel, dilation)),
        )


def _convolution_sizes(p, axes):
    p = p.convolution_param

    def sizes(name, default):
        given, short = list(getattr(p, name)), name.removesuffix("_size")
        h, w = f"{short}_h", f"{short}_w"
        if name != "dilation" and (p.HasField(h) or p.HasField(w)):
            return [getattr(p, h), getattr(p, w)]
        given = given or [default]
        return given * axes if len(given) == 1 else given

    return sizes("kernel_size", None), sizes("stride", 1), sizes("pad", 0), sizes("dilation", 1)


def _pad(x, pad, value=0.0):
    return np.pad(x, [(0, 0), (0, 0)] + [(n, n) for n in pad], constant_values=value)


def _unpad(x, pad):
    return x[(slice(None),) * 2 + tuple(slice(n, size - n) for n, size in zip(pad, x.shape[2:]))]


def _each_bottom(p, bottoms, blobs, one):
    """A layer that does the same to each bottom, its parameters' diffs adding up."""
    results = [one(x) for x in bottoms]

    def backward(dys):
        parts = [back(dy) for (_, back), dy in zip(results, dys)]
        return [dx for dx, _ in parts], [sum(grads) for grads in zip(*(grads for _, grads in parts))]

    return [y for y, _ in results], backward


def convolution(p, bottoms, blobs, train, tops):
    weight, bias = blobs[0], blobs[1] if len(blobs) > 1 else None
    c = p.convolution_param
    assert len(blobs) == 1 + c.bias_term

    def one(bottom):
        axis = canonical(c.axis, bottom.ndim)
        x = bottom.reshape(-1, *bottom.shape[axis:])
        kernel, stride, pad, dilation = _convolution_sizes(p, x.ndim - 2)
        ins, outs = x.shape[1] // c.group, c.num_output // c.group
        assert weight.shape == (c.num_output, ins, *kernel)
        room = [n + 2 * q - (d * (k - 1) + 1) for n, k, q, d in zip(x.shape[2:], kernel, pad, dilation)]
        size = [math.trunc(r / s) + 1 for r, s in zip(room, stride)]
        xp = np.pad(x, [(0, 0), (0, 0)] + [(q, q + max(-r, 0)) for q, r in zip(pad, room)])
        y = np.zeros((len(x), c.num_output, *size))
        places = [
            (slice(g * ins, (g + 1) * ins), slice(g * outs, (g + 1) * outs), index, window)
            for g in range(c.group)
            for index, window in _windows(size, stride, kernel, dilation)
        ]
        for i, o, index, window in places:
            patch = xp[(slice(None), i, *window)].reshape(len(x), -1)
            y[(slice(None), o, *index)] = patch @ weight[o].reshape(outs, -1).T
        if bias is not None:
            y += bias.reshape(-1, *[1] * len(size))

        def backward(dy):
            dy = dy.reshape(y.shape)
            dxp, dweight = np.zeros_like(xp), np.zeros_like(weight)
            for i, o, index, window in places:
                at = dy[(slice(None), o, *index)]
                patch = xp[(slice(None), i, *window)]
                dweight[o] += np.tensordot(at, patch, (0, 0))
                dxp[(slice(None), i, *window)] += np.tensordot(at, weight[o], (1, 0))
            grads = [dweight] if bias is None else [dweight, dy.sum((0, *range(2, dy.ndim)))]
            inside = tuple(slice(q, q + n) for q, n in zip(pad, x.shape[2:]))
            return dxp[(slice(None), slice(None), *inside)].reshape(bottom.shape), grads

        return y.reshape(*bottom.shape[:axis], *y.shape[1:]), backward

    return _each_bottom(p, bottoms, blobs, one)


def deconvolution(p, bottoms, blobs, train, tops):
    weight, bias = blobs[0], blobs[1] if len(blobs) > 1 else None
    c = p.convolution_param

    def one(bottom):
        axis = canonical(c.axis, bottom.ndim)
        x = bottom.reshape(-1, *bottom.shape[axis:])
        kernel, stride, pad, dilation = _convolution_sizes(p, x.ndim - 2)
        ins, outs = x.shape[1] // c.group, c.num_output // c.group
        assert weight.shape == (x.shape[1], outs, *kernel)
        padded = [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation)]
        yp = np.zeros((len(x), c.num_output, *padded))
        places = [
            (slice(g * ins, (g + 1) * ins), slice(g * outs, (g + 1) * outs), index, window)
            for g in range(c.group)
            for index, window in _windows(x.shape[2:], stride, kernel, dilation)
        ]
        for i, o, index, window in places:
            yp[(slice(None), o, *window)] += np.tensordot(x[(slice(None), i, *index)], weight[i], (1, 0))
        y = _unpad(yp, pad)
        if bias is not None:
            y = y + bias.reshape(-1, *[1] * len(padded))

        def backward(dy):
            dy = dy.reshape(y.shape)
            dyp, dx, dweight = _pad(dy, pad), np.zeros_like(x), np.zeros_like(weight)
            for i, o, index, window in places:
                patch = dyp[(slice(None), o, *window)]
                dx[(slice(None), i, *index)] = patch.reshape(len(x), -1) @ weight[i].reshape(ins, -1).T
                dweight[i] += np.tensordot(x[(slice(None), i, *index)], patch, (0, 0))
            grads = [dweight] if bias is None else [dweight, dy.sum((0, *range(2, dy.ndim)))]
            return dx.reshape(bottom.shape), grads

        return y.reshape(*bottom.shape[:axis], *y.shape[1:]), backward

    return _each_bottom(p, bottoms, blobs, one)


def im2col(p, bottoms, blobs, train, tops):
    (bottom,) = bottoms
    axis = canonical(p.convolution_param.axis, bottom.ndim)
    x = bottom.reshape(-1, *bottom.shape[axis:])
    kernel, stride, pad, dilation = _convolution_sizes(p, x.ndim - 2)
    room = [n + 2 * q - (d * (k - 1) + 1) for n, k, q, d in zip(x.shape[2:], kernel, pad, dilation)]
    size = [math.trunc(r / s) + 1 for r, s in zip(room, stride)]
    xp = np.pad(x, [(0, 0), (0, 0)] + [(q, q + max(-r, 0)) for q, r in zip(pad, room)])
    y = np.zeros((len(x), x.shape[1] * math.prod(kernel), *size))
    windows = list(_windows(size, stride, kernel, dilation))
    for index, window in windows:
        y[(..., *index)] = xp[(..., *window)].reshape(len(x), -1)

    def backward(dys):
        dy, dxp = dys[0].reshape(y.shape), np.zeros_like(xp)
        for index, window in windows:
            dxp[(..., *window)] += dy[(..., *index)].reshape(dxp[(..., *window)].shape)
        inside = (..., *(slice(q, q + n) for q, n in zip(pad, x.shape[2:])))
        return [dxp[inside].reshape(bottom.shape)], []

    return [y.reshape(*bottom.shape[:axis], *y.shape[1:])], backward


def pooling_sizes(p, size):
    """Kernel, stride, pad and output size of a pooling layer on an input of ``size``."""
    p = p.pooling_param

    def pair(name, stem):
        if p.HasField(f"{stem}_h"):
            return [getattr(p, f"{stem}_h"), getattr(p, f"{stem}_w")]
        return [getattr(p, name)] * 2

    kernel = list(size) if p.global_pooling else pair("kernel_size", "kernel")
    stride, pad = pair("stride", "stride"), pair("pad", "pad")
    up = math.floor if p.round_mode == p.FLOOR else math.ceil
    out = [up((n + 2 * q - k) / s) + 1 for n, k, s, q in zip(size, kernel, stride, pad)]
    if any(pad):
        out = [m - ((m - 1) * s >= n + q) for m, n, s, q in zip(out, size, stride, pad)]
    return kernel, stride, pad, out


def pooling(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    height, width = x.shape[2:]
    kernel, stride, pad, out = pooling_sizes(p, (height, width))
    y, mask, dx = np.zeros((*x.shape[:2], *out)), np.full((*x.shape[:2], *out), -1.0), np.zeros_like(x)
    shares = []  # (output index, rows, columns, divisor) of every averaging window
    for i, j in itertools.product(*map(range, out)):
        top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
        rows = range(max(top, 0), min(top + kernel[0], height))
        columns = range(max(left, 0), min(left + kernel[1], width))
        if p.pooling_param.pool == p.pooling_param.AVE:
            area = (min(top + kernel[0], height + pad[0]) - top) * (min(left + kernel[1], width + pad[1]) - left)
            window = (slice(None), slice(None), slice(rows.start, rows.stop), slice(columns.start, columns.stop))
            y[:, :, i, j] = x[window].sum((2, 3)) / area
            shares.append(((i, j), window, area))
            continue
        for n, c in np.ndindex(x.shape[:2]):
            best = -FLT_MAX
            for h, w in itertools.product(rows, columns):
                if x[n, c, h, w] > best:
                    best, mask[n, c, i, j] = x[n, c, h, w], h * width + w
            y[n, c, i, j] = best

    def backward(dys):
        dy = dys[0]
        dx[...] = 0
        for (i, j), window, area in shares:
            dx[window] += dy[:, :, i, j, None, None] / area
        if not shares:
            for n, c, i, j in np.ndindex(dy.shape):
                dx[(n, c, *divmod(int(mask[n, c, i, j]), width))] += dy[n, c, i, j]
        return [dx], []

    return [y, mask][:tops], backward


def spp(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    levels = []
    for level in range(p.spp_param.pyramid_height):
        pool = caffe_pb2.PoolingParameter(pool=p.spp_param.pool)
        for side, n in zip("hw", x.shape[2:]):
            kernel = -(-n // 2**level)
            setattr(pool, f"kernel_{side}", kernel)
            setattr(pool, f"stride_{side}", kernel)
            setattr(pool, f"pad_{side}", (kernel * 2**level - n + 1) // 2)
        levels.append(pooling(caffe_pb2.LayerParameter(pooling_param=pool), bottoms, [], train, 1))
    if len(levels) == 1:
        return levels[0]
    flat = [y.reshape(len(x), -1) for (y,), _ in levels]
    cuts = np.cumsum([y.shape[1] for y in flat])[:-1]

    def backward(dys):
        parts = np.split(dys[0], cuts, 1)
        # pooling reuses its diff
        return [sum(back([dy.reshape(y.shape)])[0][0].copy() for ((y,), back), dy in zip(levels, parts))], []

    return [np.concatenate(flat, 1)], backward


def lrn(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    p = p.lrn_param
    half = (p.local_size - 1) // 2
    channels, height, width = x.shape[1:]
    if p.norm_region == p.WITHIN_CHANNEL:
        near = {
            (h, w): (
                slice(None),
                slice(None),
                slice(max(h - half, 0), h + half + 1),
                slice(max(w - half, 0), w + half + 1),
            )
            for h, w in np.ndindex(height, width)
        }
        spots = {at: (slice(None), slice(None), *at) for at in near}
        k, alpha, axes = 1.0, p.alpha / p.local_size**2, (2, 3)
    else:
        near = {c: (slice(None), slice(max(c - half, 0), c + half + 1)) for c in range(channels)}
        spots = {c: (slice(None), c) for c in near}
        k, alpha, axes = p.k, p.alpha / p.local_size, 1
    scale = np.zeros_like(x)
    for at, window in near.items():
        scale[spots[at]] = k + alpha * (x[window] ** 2).sum(axes)

    def backward(dys):
        (dy,) = dys
        dx = dy * scale**-p.beta
        back = dy * x * scale ** (-p.beta - 1)
        for at, window in near.items():  # being a neighbour is mutual
            dx[spots[at]] -= 2 * alpha * p.beta * x[spots[at]] * back[window].sum(axes)
        return [dx], []

    return [x * scale**-p.beta], backward


# products and sums


def inner_product(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    q = p.inner_product_param
    axis = canonical(q.axis, x.ndim)
    flat = x.reshape(math.prod(x.shape[:axis]), -1)
    assert blobs[0].shape == ((flat.shape[1], q.num_output) if q.transpose else (q.num_output, flat.shape[1]))
    weight = blobs[0] if q.transpose else blobs[0].T
    y = flat @ weight
    if q.bias_term:
        y = y + blobs[1]

    def backward(dys):
        dy = dys[0].reshape(len(flat), -1)
        dweight = flat.T @ dy
        grads = [dweight if q.transpose else dweight.T] + [dy.sum(0)] * q.bias_term
        return [(dy @ weight.T).reshape(x.shape)], grads

    return [y.reshape(*x.shape[:axis], q.num_output)], backward


def embed(p, bottoms, blobs, train, tops):
    index = bottoms[0].astype(int)
    assert blobs[0].shape == (p.embed_param.input_dim, p.embed_param.num_output)
    y = np.array([blobs[0][i] for i in index.ravel()]).reshape(*index.shape, -1)
    if p.embed_param.bias_term:
        y = y + blobs[1]

    def backward(dys):
        dweight = np.zeros_like(blobs[0])
        for i, dy in zip(index.ravel(), dys[0].reshape(index.size, -1)):
            dweight[i] += dy
        return [None], [dweight, dys[0].reshape(index.size, -1).sum(0)][: len(blobs)]

    return [y], backward


def _spread(operand, axis, ndim):
    """``operand`` laid along a blob's axes from ``axis`` on; the axes over which its diff adds up."""
    start = canonical(axis, ndim) if operand.ndim else 0
    shape = [1] * start + list(operand.shape) + [1] * (ndim - start - operand.ndim)
    over = [i for i in range(ndim) if not start <= i < start + operand.ndim]
    return operand.reshape(shape), tuple(over), start


def scale(p, bottoms, blobs, train, tops):
    q, x = p.scale_param, bottoms[0]
    learned = len(bottoms) == 1
    factor = blobs[0] if learned else bottoms[1]
    s, over, start = _spread(factor, q.axis, x.ndim)
    y = x * s
    if q.bias_term:
        y = y + _spread(blobs[-1], q.axis, x.ndim)[0]

    def backward(dys):
        (dy,) = dys
        dfactor = (dy * x).sum(over)
        outer, inner = math.prod(x.shape[:start]), math.prod(x.shape[start + factor.ndim :])
        # with nothing before the factor's axes, Caffe writes its diff where others add; all but a lone factor
        if learned and outer == 1 and not (factor.size == 1 and inner > 1):
            dfactor = Replaced.of(dfactor)
        grads = ([dfactor] if learned else []) + [dy.sum(over)] * q.bias_term
        return [dy * s] if learned else [dy * s, dfactor], grads

    return [y], backward


def bias(p, bottoms, blobs, train, tops):
    x = bottoms[0]
    learned = len(bottoms) == 1
    b, over, _ = _spread(blobs[0] if learned else bottoms[1], p.bias_param.axis, x.ndim)

    def backward(dys):
        (dy,) = dys
        return ([dy], [dy.sum(over)]) if learned else ([dy, dy.sum(over)], [])

    return [x + b], backward


def batch_norm(p, bottoms, blobs, train, tops):
    """The running sums after the forward pass are left in ``blobs``."""
    (x,) = bottoms
    q = p.batch_norm_param
    axes = (0, *range(2, x.ndim))
    shape = [1, x.shape[1], *[1] * (x.ndim - 2)]
    stored = q.use_global_stats if q.HasField("use_global_stats") else not train
    if stored:
        factor = 0 if blobs[2][0] == 0 else 1 / blobs[2][0]
        mean, variance = blobs[0] * factor, blobs[1] * factor
    else:
        mean, variance = x.mean(axes), x.var(axes)
        m = x.size // x.shape[1]
        for blob, value in zip(blobs, (mean, variance * (m / (m - 1) if m > 1 else 1), 1)):
            blob[...] = blob * q.moving_average_fraction + value
    deviation = np.sqrt(variance + q.eps).reshape(shape)
    y = (x - mean.reshape(shape)) / deviation

    def backward(dys):
        (dy,) = dys
        if not stored:
            dy = dy - dy.mean(axes, keepdims=True) - (dy * y).mean(axes, keepdims=True) * y
        return [dy / deviation], [None] * 3

    return [y], backward


def mvn(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    q = p.mvn_param
    shape = (*x.shape, 1, 1, 1)[:4]
    axes = (1, 2, 3) if q.across_channels else (2, 3)
    x4 = x.reshape(shape)
    y = x4 - x4.mean(axes, keepdims=True)
    deviation = np.sqrt((y**2).mean(axes, keepdims=True)) + q.eps if q.normalize_variance else 1.0
    y = y / deviation

    def backward(dys):
        (dy,) = dys
        dx = dy - dy.mean(axes, keepdims=True)
        if q.normalize_variance:
            dx = (dx - y * (y * dy).mean(axes, keepdims=True)) / deviation
        return [dx.reshape(x.shape)], []

    return [y], backward


REFERENCE = {
    **dict.fromkeys(NEURONS, neuron),
    "RNN": recurrent_reference.rnn,
    "LSTM": recurrent_reference.lstm,
    "LSTMUnit": recurrent_reference.lstm_unit,
    "Im2col": im2col,
    "SPP": spp,
    "Embed": embed,
    "MVN": mvn,
    "InfogainLoss": loss_reference.infogain_loss,
    "MultinomialLogisticLoss": loss_reference.multinomial_loss,
    "ContrastiveLoss": loss_reference.contrastive_loss,
    "Tile": structure_reference.tile,
    "BatchReindex": structure_reference.batch_reindex,
    "Filter": structure_reference.filter_layer,
    "PReLU": prelu,
    "Convolution": convolution,
    "Deconvolution": deconvolution,
    "Pooling": pooling,
    "LRN": lrn,
    "InnerProduct": inner_product,
    "Scale": scale,
    "Bias": bias,
    "BatchNorm": batch_norm,
    "Softmax": loss_reference.softmax,
    "SoftmaxWithLoss": loss_reference.softmax_loss,
    "EuclideanLoss": loss_reference.euclidean_loss,
    "HingeLoss": loss_reference.hinge_loss,
    "SigmoidCrossEntropyLoss": loss_reference.sigmoid_loss,
    "Accuracy": loss_reference.accuracy,
    "ArgMax": loss_reference.argmax,
    "Concat": structure_reference.concat,
    "Slice": structure_reference.slice_layer,
    "Split": structure_reference.split,
    "Silence": structure_reference.silence,
    "Eltwise": structure_reference.eltwise,
    "Flatten": structure_reference.flatten,
    "Reshape": structure_reference.reshape,
    "Crop": structure_reference.crop,
    "Reduction": structure_reference.reduction,
    "Parameter": structure_reference.parameter,
}


def run(param, bottoms, blobs=(), tops=1):
    """``REFERENCE`` of the layer on float64 copies; ``blobs`` are changed in place where the layer does so."""
    bottoms = [np.asarray(x, np.float64) for x in bottoms]
    return REFERENCE[param.type](param, bottoms, blobs, param.phase == caffe_pb2.TRAIN, tops)
