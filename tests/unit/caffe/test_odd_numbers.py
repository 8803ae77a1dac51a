"""NaN, infinity, numbers whose squares overflow and such near zero: every layer gives what Caffe's arithmetic gives.

The references are Caffe's loops over float32 (on the CPU), with C++'s comparisons: all are false where one side is NaN.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from helpers.layer_checks import FORCED, build, examples, input_layer, layer

F = np.float32
NAN, INF, FLT_MAX, FLT_MIN = F(np.nan), F(np.inf), np.finfo(F).max, np.finfo(F).tiny
ODD = [NAN, INF, -INF, FLT_MAX, -FLT_MAX, 3e30, -3e30, 2e19, -2e19, 60, -60, 1, -1, 0.5, -0.0, 0, 1e-20, 1e-40, -1e-40]
DIFFS = [1, -2, 0, INF, NAN, 1e30]
X, DY = (a.ravel().astype(F) for a in np.meshgrid(ODD, DIFFS, indexing="ij"))


def c_max(a, b):
    """std::max of C++: the first unless it is less."""
    return np.where(a < b, b, a).astype(F)


def c_min(a, b):
    """std::min of C++: the first unless the second is less."""
    return np.where(b < a, b, a).astype(F)


def same(out, expected, atol=0.0):
    """NaN where NaN is expected, infinity where infinity, else numbers that are close."""
    out, expected = np.asarray(out), np.asarray(expected)
    assert out.shape == expected.shape
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(out, expected.astype(F), rtol=3e-5, atol=max(atol, 1e-43))


def run(body, bottoms, top_diff=None, tops=1, phase=caffe.TEST, params=()):
    """The tops after a forward pass and, from the first top's diff, the bottoms' and parameters' diffs."""
    names = [f"b{i}" for i in range(len(bottoms))]
    outs = [f"t{i}" for i in range(tops)]
    inputs = "".join(input_layer(n, np.shape(x)) for n, x in zip(names, bottoms))
    net = build(FORCED + inputs + layer("l", " ".join(names), " ".join(outs), body), phase)
    for name, x in zip(names, bottoms):
        net.blobs[name].data[...] = x
    blobs = list(net.params.get("l", []))
    for blob, value in zip(blobs, params):
        blob.data[...] = value
    net.forward()
    results = [net.blobs[name].data.copy() for name in outs]
    if top_diff is None:
        return results
    net.blobs[outs[0]].diff[...] = top_diff
    net.backward()
    return results, [net.blobs[name].diff.copy() for name in names], [blob.diff.copy() for blob in blobs]


# one number at a time


def relu(x, dy, slope=0.0):
    slope = F(slope)
    return c_max(x, F(0)) + slope * c_min(x, F(0)), dy * ((x > 0) + slope * (x <= 0))


def elu(x, dy, alpha=1.0):
    alpha = F(alpha)
    y = c_max(x, F(0)) + alpha * (np.exp(c_min(x, F(0))) - F(1))
    return y, dy * ((x > 0) + (alpha + y) * (x <= 0))


def sigmoid(x, dy):
    y = (0.5 * np.tanh(0.5 * x.astype(np.float64)) + 0.5).astype(F)
    return y, (dy * y) * (1.0 - y.astype(np.float64))


def tanh(x, dy):
    return np.tanh(x), dy * (1 - np.tanh(x) * np.tanh(x))


def absval(x, dy):
    return np.abs(x), dy * ((x > 0).astype(F) - (x < 0))


def bnll(x, dy):
    y = np.where(x > 0, x + np.log(1.0 + np.exp(-x.astype(F))), np.log(1.0 + np.exp(x)))
    power = np.exp(c_min(x, F(50)))
    return y, (dy * power) / (power + 1.0)


def exp(x, dy, inner=1.0, outer=1.0):
    y = np.exp(x * F(inner)) * F(outer)
    return y, (y * dy) * F(inner)


def log(x, dy, scale=1.0, shift=0.0):
    inside = x if scale == 1 else x * F(scale)
    inside = inside + F(shift) if shift else inside
    return np.log(inside), dy * ((F(1) / inside) * F(scale))


def power(x, dy, power=1.0, scale=1.0, shift=0.0):
    power, scale, shift = F(power), F(scale), F(shift)
    slope = power * scale
    if slope == 0:
        return np.full_like(x, F(1) if power == 0 else shift**power), np.zeros_like(dy)
    inside = x if scale == 1 else x * scale
    inside = inside + shift if shift else inside
    # C's pow, of doubles: numpy's takes roots by itself as torch does
    y = np.array([_pow(float(v), float(power)) for v in inside], F)
    if power == 1:
        return inside, dy * slope
    if power == 2:
        derivative = (slope * scale) * x
        derivative = derivative + slope * shift if shift else derivative
    elif shift == 0:
        derivative = y / x * power
    else:
        derivative = y / inside * slope
    return y, dy * derivative


def _pow(base, exponent):
    try:
        value = math.pow(base, exponent)
    except OverflowError:
        return math.inf if base > 0 or exponent % 2 != 1 else -math.inf
    except ValueError:  # a root of a negative number, or 0 to a negative power
        return math.nan if base else math.copysign(math.inf, base) if exponent % 2 == 1 else math.inf
    return value


NEURONS = [
    ("ReLU", "", relu, {}),
    ("ReLU", "relu_param { negative_slope: 0.1 }", relu, {"slope": 0.1}),
    ("ReLU", "relu_param { negative_slope: -2 }", relu, {"slope": -2}),
    ("ELU", "", elu, {}),
    ("ELU", "elu_param { alpha: 0 }", elu, {"alpha": 0}),
    ("Sigmoid", "", sigmoid, {}),
    ("TanH", "", tanh, {}),
    ("AbsVal", "", absval, {}),
    ("BNLL", "", bnll, {}),
    ("Exp", "", exp, {}),
    ("Exp", "exp_param { scale: -0.5 shift: 1 }", exp, {"inner": -0.5, "outer": math.e}),
    ("Exp", "exp_param { shift: 1000 }", exp, {"outer": math.inf}),
    ("Log", "", log, {}),
    ("Log", "log_param { scale: 2 shift: 1 }", log, {"scale": 2, "shift": 1}),
    ("Log", "log_param { scale: 1e-30 }", log, {"scale": 1e-30}),
    *(
        ("Power", f"power_param {{ power: {p} scale: {a} shift: {b} }}", power, {"power": p, "scale": a, "shift": b})
        for p in (0.5, -0.5, 0.75, -0.75, 1, 2, 3, -1, -2, 0)
        for a, b in ((1, 0), (2, 0), (1, 0.5), (-1, 3), (0, 2), (1e-3, 1e10))
    ),
]


@pytest.mark.parametrize(("kind", "params", "reference", "options"), NEURONS)
def test_neurons(kind, params, reference, options):
    with np.errstate(all="ignore"):
        y, dx = reference(X, DY, **options)
    (out,), (diff,), _ = run(f"type: '{kind}' {params}", [X], DY)
    precise = kind in ("ELU", "BNLL", "Sigmoid")  # near zero they are the rounding of a number near 1
    same(out, y, 2e-7 if precise else 1e-38)
    same(diff, dx, 2e-7 if precise else 1e-38)


def test_relu_of_finite_numbers_has_no_negative_zeros():
    (out,) = run("type: 'ReLU'", [np.float32([-1, 0, 2, -FLT_MAX])])
    assert not np.signbit(out).any()


@pytest.mark.parametrize("slope", [0, 0.25])
@pytest.mark.parametrize("value", [None, *ODD])
def test_prelu(slope, value):
    x, dy = np.float32([[1, -2], [3, -4]]), np.float32([[5, 6], [7, 8]])
    if value is not None:
        x[1, 0] = value
    with np.errstate(all="ignore"):
        y, dx = relu(x, dy, slope)
        dslope = (dy * x * (x <= 0)).sum(0)
    (out,), (diff,), (param,) = run("type: 'PReLU'", [x], dy, params=[slope])
    same(out, y)
    same(diff, dx)
    same(param, dslope)


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_dropout(phase):
    x = np.full((200,), INF)
    (out,), (diff,), _ = run("type: 'Dropout'", [x], x, phase=phase)
    if phase == caffe.TEST:
        assert (out == INF).all() and (diff == INF).all()
    else:  # infinity times a mask of 0
        assert set(np.isnan(out).tolist()) == {True, False}
        np.testing.assert_array_equal(out[~np.isnan(out)], INF)
        np.testing.assert_array_equal(diff, out)


# windows

odd_arrays = st.lists(st.sampled_from([NAN, INF, -INF, FLT_MAX, -FLT_MAX, -2, 0, 1, 3, 7]), min_size=30, max_size=30)


@examples(40)
@given(odd_arrays, st.sampled_from([(2, 2, 0), (3, 2, 1), (3, 1, 1), (1, 1, 0), (2, 1, 0)]))
def test_max_pooling_skips_nan_and_starts_from_the_lowest_number(numbers, sizes):
    kernel, stride, pad = sizes
    x = np.float32(numbers).reshape(1, 1, 5, 6)
    body = f"type: 'Pooling' pooling_param {{ pool: MAX kernel_size: {kernel} stride: {stride} pad: {pad} }}"
    (out, mask), (diff,), _ = run(body, [x], 2, tops=2)
    expected, places, dx = np.full(out.shape, -FLT_MAX), np.full(out.shape, -1.0), np.zeros_like(x)
    for i, j in np.ndindex(out.shape[2:]):
        for h in range(max(i * stride - pad, 0), min(i * stride - pad + kernel, 5)):
            for w in range(max(j * stride - pad, 0), min(j * stride - pad + kernel, 6)):
                if x[0, 0, h, w] > expected[0, 0, i, j]:
                    expected[0, 0, i, j], places[0, 0, i, j] = x[0, 0, h, w], h * 6 + w
        if places[0, 0, i, j] >= 0:
            dx.ravel()[int(places[0, 0, i, j])] += 2
    same(out, expected)
    np.testing.assert_array_equal(mask, places)
    same(diff, dx)


@examples(20)
@given(odd_arrays)
def test_average_pooling(numbers):
    x = np.float32(numbers).reshape(1, 1, 5, 6)
    x[np.abs(x) == FLT_MAX] = 5
    (out,) = run("type: 'Pooling' pooling_param { pool: AVE kernel_size: 2 stride: 1 }", [x])
    with np.errstate(all="ignore"):
        expected = (x[:, :, :-1, :-1] + x[:, :, :-1, 1:] + x[:, :, 1:, :-1] + x[:, :, 1:, 1:]) / 4
    same(out, expected)


def running(values, size, start):
    """Caffe's sums over ``size`` neighbouring channels, one added and one taken away at each step."""
    half, (channels, *rest) = size // 2, values.shape
    padded = np.zeros((channels + size - 1, *rest), F)
    padded[half : half + channels] = values
    sums = np.zeros_like(values)
    sums[0] = start
    for c in range(size):
        sums[0] = sums[0] + padded[c]
    for c in range(1, channels):
        sums[c] = sums[c - 1] + padded[c + size - 1]
        sums[c] = sums[c] - padded[c - 1]
    return sums


@pytest.mark.parametrize("value", [None, *ODD])
@pytest.mark.parametrize("channel", [0, 3, 7])
@pytest.mark.parametrize("size", [3, 5])
def test_lrn_across_channels(value, channel, size):
    rng = np.random.default_rng(channel)
    x, dy = rng.standard_normal((2, 1, 8, 2, 2)).astype(F)
    if value is not None:
        x[0, channel, 1, 0] = value
    alpha, beta, k = F(0.3), F(0.75), F(2)
    with np.errstate(all="ignore"):
        scale = running(x[0] * x[0] * (alpha / F(size)), size, k)
        factor = scale**-beta
        y = factor * x[0]
        dx = dy[0] * factor - F(2 * alpha * beta / size) * (x[0] * running(dy[0] * y / scale, size, 0))
    finite = scale.max() < 1e6 and np.isfinite(scale).all()
    body = f"type: 'LRN' lrn_param {{ local_size: {size} alpha: 0.3 beta: 0.75 k: 2 }}"
    (out,), (diff,), _ = run(body, [x], dy)
    if finite or not np.isfinite(scale).all():  # between them Caffe's own sums are rounding and nothing else
        same(out[0], y, 1e-5)
        rounding = np.isfinite(dx) & np.isfinite(x[0]) & (np.abs(x[0]) > 1e10)  # what cancelling sums leave, times x
        assert np.isfinite(diff[0][rounding]).all()
        same(np.where(rounding, 0, diff[0]), np.where(rounding, 0, dx), 1e-5)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 2e19, 1e-40])
def test_lrn_within_channels(value):
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(F)
    x[0, 1, 1, 2] = value
    (out,) = run("type: 'LRN' lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.5 beta: 0.75 }", [x])
    with np.errstate(all="ignore"):
        squares, means = np.pad(x * x, [(0, 0), (0, 0), (1, 1), (1, 1)]), np.zeros_like(x)
        for h, w in np.ndindex(4, 4):
            means[:, :, h, w] = squares[:, :, h : h + 3, w : w + 3].sum((2, 3)) / F(9)
        same(out, x * (means * F(0.5) + 1) ** F(-0.75))


# losses and metrics


def test_softmax():
    rows = np.float32(
        [[1, NAN, 2], [NAN, 1, 2], [INF, 0, 1], [-INF, 0, 0], [-INF, -INF, -INF], [FLT_MAX, -FLT_MAX, 0], [INF, INF, 0]]
    )
    (out,), (diff,), _ = run("type: 'Softmax'", [rows], np.float32([1, 2, 3]))
    nan = [NAN] * 3
    same(out, [nan, nan, nan, [0, 0.5, 0.5], nan, [1, 0, 0], nan])
    same(diff, [nan, nan, nan, [0, -0.25, 0.25], nan, [0, 0, 0], nan], 1e-6)


@pytest.mark.parametrize(
    ("row", "label", "loss", "diff"),
    [
        ([0, -INF], 1, -math.log(FLT_MIN), [1, -1]),
        ([0, -INF], 0, 0, [0, 0]),
        ([-FLT_MAX, FLT_MAX], 0, -math.log(FLT_MIN), [-1, 1]),
        ([0, NAN], 0, NAN, [NAN, NAN]),
        ([0, INF], 1, NAN, [NAN, NAN]),
    ],
)
def test_softmax_loss(row, label, loss, diff):
    (out,), diffs, _ = run(
        "type: 'SoftmaxWithLoss' propagate_down: true propagate_down: false",
        [np.float32([row]), np.float32([label])],
        1,
    )
    same(out, loss)
    same(diffs[0], [diff])


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_hinge_loss_takes_nan_for_no_margin(norm):
    x = np.float32([[NAN, 0.5, -3], [2, NAN, -0.5], [0.25, -1, 2]])
    label = np.float32([0, 0, 2])
    with np.errstate(all="ignore"):
        v = x.copy()
        for i, n in enumerate(label.astype(int)):
            v[i, n] *= -1
        v = c_max(np.zeros_like(v), 1 + v)
        sign = np.ones_like(v)
        for i, n in enumerate(label.astype(int)):
            sign[i, n] = -1
    expected = v.sum() / 3 if norm == "L1" else (v * v).sum() / 3
    slope = np.sign(v * sign) / 3 if norm == "L1" else v * sign * 2 / 3
    body = f"type: 'HingeLoss' hinge_loss_param {{ norm: {norm} }} propagate_down: true propagate_down: false"
    (out,), diffs, _ = run(body, [x, label], 1)
    same(out, expected)
    same(diffs[0], slope)
    for row, loss in (([0.5, INF], INF), ([0.5, -INF], 0.5 if norm == "L1" else 0.25), ([-INF, 0], INF)):
        (out,) = run(body, [np.float32([row]), np.float32([0])])
        same(out, loss if np.isinf(loss) else F(loss))


@pytest.mark.parametrize("x", ODD)
@pytest.mark.parametrize("target", [0, 1, 0.25, NAN])
def test_sigmoid_cross_entropy_loss(x, target):
    with np.errstate(all="ignore"):
        one, t = F(x), F(target)
        positive = F(one >= 0)
        loss = -(one * (t - positive) - np.log(F(1) + np.exp(one - F(2) * one * positive)))
        slope = F(1 / (1 + np.exp(-np.float64(one)))) - t
    body = "type: 'SigmoidCrossEntropyLoss' propagate_down: true propagate_down: false"
    (out,), diffs, _ = run(body, [np.full((1, 1), one), np.full((1, 1), t)], 1)
    same(out, loss, 1e-7)
    same(diffs[0], [[slope]], 1e-7)


@pytest.mark.parametrize(
    ("a", "b"), [(NAN, 1), (INF, 1), (INF, INF), (INF, -INF), (2e19, 0), (FLT_MAX, -FLT_MAX), (3e38, 0)]
)
def test_euclidean_loss(a, b):
    with np.errstate(all="ignore"):
        d = F(a) - F(b)
        loss = d * d / F(2)
    (out,), diffs, _ = run("type: 'EuclideanLoss'", [np.full((1, 1), F(a)), np.full((1, 1), F(b))], 1)
    same(out, loss)
    same(diffs[0], [[d]])
    same(diffs[1], [[-d]])


def test_accuracy_counts_what_is_at_least_as_great():
    rows = np.float32([[NAN, 1], [1, NAN], [NAN, NAN], [INF, INF], [-INF, 0], [0, INF]])
    right = [1, 1, 1, 0, 0, 0]  # of class 0: a NaN is never "better", not even than itself
    for row, wanted in zip(rows, right):
        (out,) = run("type: 'Accuracy'", [row[None], np.float32([0])])
        assert out == wanted, row


# what a C++ program with std::partial_sort and std::greater of pairs of number and index printed
ARGMAX_ROWS = [
    ([0, 0, 1, 1, -INF, 2, 2, 0, NAN], [8]),
    ([0, 2, NAN, INF, INF], [4, 3, 2, 1, 0]),
    ([NAN, INF, NAN, INF, 1], [3, 2, 1]),
    ([INF, NAN, INF, 0, 2, INF, 1, INF, 1, NAN, NAN], [10]),
    ([1, 2, NAN, INF], [3, 2]),
    ([NAN, -INF, 1, -INF, 1, 2, 2], [6, 5]),
    ([NAN, 0, NAN, NAN, -INF, INF, INF, 0, INF], [8, 6, 5]),
    ([1, 0, 0, NAN], [3, 0, 2]),
    ([NAN, 1, 0, NAN, 0, INF, NAN, NAN, 1], [8, 7, 6, 5, 4]),
    ([2, 0, NAN, INF, 2], [3]),
    ([NAN, 1, 1, NAN], [3]),
    ([NAN, INF, INF, INF, NAN, INF, 1], [5, 4, 3, 2, 1]),
    ([NAN, 1, 1, 1, 0, 1, 1], [6, 5, 3]),
    ([1, INF, -INF, INF, NAN, 2, 0], [5]),
    ([2, 0, 0, -INF, 0, NAN, NAN, 0, 0], [8, 7]),
    ([INF, INF, 2, NAN, 0], [3, 1]),
    ([INF, NAN, 1, 2, NAN, 0, NAN, 2, NAN, 0, 1], [8, 7]),
    ([INF, -INF, -INF, NAN, 2, 0, -INF, 2, 1, INF, 1], [9, 4, 3, 0, 7]),
    ([0, NAN, NAN, -INF, INF, NAN, 0, NAN, 2, -INF, INF], [10, 7, 5]),
]


def test_argmax_of_nan_is_what_the_sort_of_the_c_library_makes_of_it():
    for row, found in ARGMAX_ROWS:
        for axis in "", "axis: 1":
            (out,) = run(f"type: 'ArgMax' argmax_param {{ top_k: {len(found)} {axis} }}", [np.float32([row])])
            np.testing.assert_array_equal(out.ravel(), found)
    body = "type: 'ArgMax' argmax_param { out_max_val: true }"
    (out,) = run(body, [np.float32([[1, 2, 3, NAN], [0, INF, -INF, 2]])])
    same(out.reshape(2, 2), [[3, NAN], [1, INF]])


# joining and summing


@examples(20)
@given(odd_arrays)
def test_eltwise_max(numbers):
    a, b, c = np.float32(numbers).reshape(3, 10)
    (out,), diffs, _ = run("type: 'Eltwise' eltwise_param { operation: MAX }", [a, b, c], 3)
    winner = np.where(a > b, 0, 1)
    y = np.where(a > b, a, b)
    winner, y = np.where(c > y, 2, winner), np.where(c > y, c, y)
    same(out, y)
    for i, diff in enumerate(diffs):
        same(diff, 3 * (winner == i))


def test_eltwise_sum_leaves_out_what_has_no_weight():
    x, y = np.float32([NAN, INF, 1]), np.float32([1, 2, 3])
    (out,), diffs, _ = run("type: 'Eltwise' eltwise_param { coeff: 0 coeff: 2 }", [x, y], 1)
    same(out, 2 * y)
    same(diffs[0], np.zeros(3))
    same(diffs[1], np.full(3, 2))
    (out,) = run("type: 'Eltwise'", [x, np.float32([1, -INF, 3])])
    same(out, [NAN, NAN, 4])


@pytest.mark.parametrize("stable", [True, False])
def test_eltwise_product_divides_where_it_need_not_be_stable(stable):
    factors = np.float32([[0, 0, 2, INF, 3], [5, 0, 4, 2, NAN], [7, 3, -1, 1, 2]])
    body = f"type: 'Eltwise' eltwise_param {{ operation: PROD stable_prod_grad: {str(stable).lower()} }}"
    (out,), diffs, _ = run(body, list(factors), 3)
    y = factors.prod(0)
    same(out, y)
    for i, diff in enumerate(diffs):
        with np.errstate(all="ignore"):
            same(diff, 3 * np.delete(factors, i, 0).prod(0) if stable else 3 * (y / factors[i]))


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
@pytest.mark.parametrize("value", [NAN, INF, -INF, 2e19, 1e-40])
def test_reduction(operation, value):
    x = np.float32([[1, -2, value]])
    with np.errstate(all="ignore"):
        y, dx = {
            "SUM": (x.sum(1), np.ones_like(x)),
            "MEAN": (x.sum(1) / F(3), np.full_like(x, 1 / 3)),
            "ASUM": (np.abs(x).sum(1), (x > 0).astype(F) - (x < 0)),
            "SUMSQ": ((x * x).sum(1), 2 * x),
        }[operation]
    (out,), (diff,), _ = run(f"type: 'Reduction' reduction_param {{ axis: 1 operation: {operation} }}", [x], 1)
    same(out, y)
    same(diff, dx)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_batch_norm_spoils_a_channel_and_no_other(value):
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(F)
    x[1, 2, 0] = value
    for phase, spoiled in ((caffe.TRAIN, np.ones((2, 4), bool)), (caffe.TEST, np.zeros((2, 4), bool))):
        (out,), _, _ = run("type: 'BatchNorm'", [x], 1, phase=phase, params=[0, 1, 1])
        assert np.isfinite(out[:, :2]).all()
        if phase == caffe.TRAIN:
            np.testing.assert_array_equal(np.isnan(out[:, 2]), spoiled)
        else:
            same(out[1, 2, 0], value)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_products_spoil_what_they_touch_and_no_more(value):
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 6)).astype(F)
    x[1, 0, 0, 0] = value
    weights = "num_output: 3 kernel_size: 3 weight_filler { type: 'gaussian' }"
    (out,) = run(f"type: 'Convolution' convolution_param {{ {weights} }}", [x])
    bad = ~np.isfinite(out)
    assert bad[1, :, 0, 0].all() and bad.sum() == 3
    (out,) = run("type: 'InnerProduct' inner_product_param { num_output: 3 weight_filler { type: 'gaussian' } }", [x])
    np.testing.assert_array_equal(np.isfinite(out), [[True] * 3, [False] * 3])
    (out,) = run("type: 'Scale' scale_param { bias_term: true }", [x])
    same(out, x)
