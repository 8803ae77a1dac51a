"""Every layer against a plain reference: tops, bottom diffs, parameter diffs, over its whole parameter space."""

import math
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import caffe
from caffe.errors import CaffeError
from helpers import reference
from helpers.layer_checks import FORCED, build, check, close, examples, input_layer, layer, layer_param, values

seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(["normal", "ties"])
sides = st.integers(1, 4)
phases = st.sampled_from([caffe.TRAIN, caffe.TEST])


def shapes(low=1, high=4):
    """Shapes of ``low`` to ``high`` axes."""
    return st.lists(sides, min_size=low, max_size=high).map(tuple)


def axes(ndim):
    """An axis of ``ndim``, counted from either end."""
    return st.integers(-ndim, ndim - 1)


def field(name, value):
    """One field in text format; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        value = str(value).lower()
    return f" {name}: {value}"


def fields(name, given):
    """A repeated field in text format."""
    return "".join(field(name, v) for v in given)


def maybe(strategy):
    """A value, or none."""
    return st.none() | strategy


def numbers(low, high):
    """Floats with few digits."""
    return st.integers(round(low * 8), round(high * 8)).map(lambda n: n / 8)


# one number at a time

NEURONS = {
    "Clip": st.builds(
        lambda low, size: f"clip_param {{ min: {low} max: {low + size} }}", numbers(-1, 1), numbers(-1, 2)
    ),
    "Swish": st.just("") | numbers(-2, 2).map(lambda b: f"swish_param {{ beta: {b} }}"),
    "Threshold": st.just("") | numbers(-1, 1).map(lambda t: f"threshold_param {{ threshold: {t} }}"),
    "ReLU": st.just("") | numbers(-1, 1).map(lambda s: f"relu_param {{ negative_slope: {s} }}"),
    "ELU": st.just("") | numbers(0, 2).map(lambda a: f"elu_param {{ alpha: {a} }}"),
    "Sigmoid": st.just(""),
    "TanH": st.just(""),
    "AbsVal": st.just(""),
    "BNLL": st.just(""),
    "Exp": st.builds(
        lambda base, scale, shift: f"exp_param {{ base: {base} scale: {scale} shift: {shift} }}",
        st.sampled_from([-1, 0.5, 2, 10]),
        numbers(-1, 1),
        numbers(-1, 1),
    ),
    "Log": st.builds(
        lambda base, scale, shift: f"log_param {{ base: {base} scale: {scale} shift: {shift} }}",
        st.sampled_from([-1, 0.5, 2, 10]),
        numbers(0.25, 2),
        numbers(0, 1),
    ),
    "Power": st.builds(
        lambda power, scale, shift: f"power_param {{ power: {power} scale: {scale} shift: {shift} }}",
        st.sampled_from([-1, -0.75, 0, 0.5, 1, 2, 3]),
        numbers(0, 2),
        numbers(0, 1),
    ),
}


@pytest.mark.parametrize("kind", NEURONS)
@examples(12)
@given(st.data())
def test_neurons(kind, data):
    shape = data.draw(shapes())
    positive = kind in ("Log", "Power")
    x = values(data.draw(seeds), shape, "positive" if positive else data.draw(kinds))
    if not positive and data.draw(st.booleans()):
        x.ravel()[1:] *= 30  # far into saturation
        assume(kind != "Exp")
    body = data.draw(NEURONS[kind])
    assume(not (kind == "Power" and "power: -" in body and "scale: 0.0 shift: 0.0" in body))
    check(f"type: '{kind}' {body}", [x])


IN_PLACE = ["ReLU", "ELU", "Sigmoid", "TanH", "BNLL", "Exp", "PReLU"]


@pytest.mark.parametrize("first", IN_PLACE)
@pytest.mark.parametrize("second", ["ReLU", "Dropout", "Exp"])
def test_backward_in_place_reads_the_blob_as_the_next_layer_left_it(first, second):
    net = build(
        FORCED
        + input_layer("x", (3, 4))
        + layer("a", "x", "y", f"type: '{first}'")
        + layer("b", "y", "y", f"type: '{second}'"),
        caffe.TRAIN,
    )
    x, dy = values(1, (3, 4)), values(2, (3, 4))
    net.blobs["x"].data[...] = x
    net.forward()
    net.blobs["y"].diff[...] = dy
    y = net.blobs["y"].data.astype(np.float64)
    net.backward(end="b")
    between = net.blobs["y"].diff.astype(np.float64)
    net.backward(start="a")
    if first == "PReLU":
        expected = between * np.where(x > 0, 1, 0.25)
    else:
        expected = reference.NEURONS[first](layer_param(f"type: '{first}'"), x.astype(np.float64))[1](x, y, between)
    close(net.blobs["x"].diff, expected)


@pytest.mark.parametrize("kind", ["ReLU", "ELU", "Sigmoid", "TanH", "BNLL", "Exp"])
def test_neurons_in_place_read_their_own_result(kind):
    net = build(FORCED + input_layer("x", (3, 4)) + layer("l", "x", "x", f"type: '{kind}'"))
    x, dy = values(1, (3, 4)), values(2, (3, 4))
    net.blobs["x"].data[...] = x
    net.forward()
    y, gradient = reference.NEURONS[kind](layer_param(f"type: '{kind}'"), x.astype(np.float64))
    close(net.blobs["x"].data, y)
    net.blobs["x"].diff[...] = dy
    net.backward()
    close(net.blobs["x"].diff, gradient(y, y, dy))


@pytest.mark.parametrize(
    ("body", "derivative"),
    [
        ("type: 'Power' power_param { scale: 3 shift: 1 }", lambda y: 3 + 0 * y),
        ("type: 'Power' power_param { power: 2 }", lambda y: 2 * y),
        ("type: 'Log'", lambda y: 1 / y),
    ],
)
def test_power_and_log_in_place_multiply_their_derivative_by_itself(body, derivative):
    # Caffe writes the derivative into the bottom's diff first, which in place is the top's
    net = build(FORCED + input_layer("x", (3, 4)) + layer("l", "x", "x", body))
    net.blobs["x"].data[...] = values(1, (3, 4), "positive") + 1
    net.forward()
    y = net.blobs["x"].data.astype(np.float64)
    net.blobs["x"].diff[...] = 5
    net.backward()
    close(net.blobs["x"].diff, derivative(y) ** 2)


def softmax_backward(x, y, dy):
    return y * (dy - (dy * y).sum(1, keepdims=True))


def lrn_backward(x, y, dy):
    """Across all three channels, with alpha / n = 1 and beta 0.5."""
    scale = 1 + (x**2).sum(1, keepdims=True)
    return dy / np.sqrt(scale) - x * (dy * y / scale).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("body", "backward"),
    [
        ("type: 'Softmax'", softmax_backward),
        ("type: 'LRN' lrn_param { local_size: 5 alpha: 5 beta: 0.5 }", lrn_backward),
    ],
)
def test_softmax_and_lrn_read_their_top_as_a_layer_in_place_left_it(body, backward):
    shape = (2, 3, 2, 2)
    halved = layer("half", "y", "y", "type: 'Power' power_param { scale: 0.5 }")
    net = build(FORCED + input_layer("x", shape) + layer("l", "x", "y", body) + halved)
    x, dy = values(1, shape), values(2, shape)
    net.blobs["x"].data[...] = x
    net.forward()
    net.blobs["y"].diff[...] = dy
    net.backward(start="l")
    close(net.blobs["x"].diff, backward(x.astype(np.float64), net.blobs["y"].data, dy))


@pytest.mark.parametrize("kind", ["LRN", "Eltwise"])
def test_what_loses_its_bottom_in_place_is_refused(kind):
    with pytest.raises(CaffeError, match=f"{kind} Layer .*does not allow in-place computation.*'l'"):
        inputs = input_layer("x", (1, 3, 2, 2)) + input_layer("z", (1, 3, 2, 2))
        build(inputs + layer("l", "x" if kind == "LRN" else "x z", "x", f"type: '{kind}'"))


@examples(20)
@given(seeds, shapes(2, 5), st.booleans(), st.booleans(), kinds)
def test_prelu(seed, shape, shared, in_place, kind):
    check(
        f"type: 'PReLU' prelu_param {{ channel_shared: {str(shared).lower()} }}",
        [values(seed, shape, kind)],
        in_place=in_place,
        seed=seed % 99,
    )


@examples(15)
@given(seeds, shapes(), st.sampled_from([0, 0.1, 0.5, 0.9]), st.booleans())
def test_dropout(seed, shape, ratio, in_place):
    top = "x" if in_place else "y"
    body = f"type: 'Dropout' dropout_param {{ dropout_ratio: {ratio} }}"
    net = build(FORCED + input_layer("x", shape) + layer("l", "x", top, body), caffe.TRAIN)
    x, dy = values(seed, shape, "positive"), values(seed + 1, shape)
    caffe.set_random_seed(seed % 1000)
    words = np.random.RandomState(seed % 1000).randint(0, 2**32, x.size, np.uint32)
    kept = (words <= (1 - float(np.float32(ratio))) * 4294967295.0).reshape(shape)
    net.blobs["x"].data[...] = x
    net.forward()
    close(net.blobs[top].data, x * kept / (1 - ratio))
    net.blobs[top].diff[...] = dy
    net.backward()
    close(net.blobs["x"].diff, dy * kept / (1 - ratio))


def test_dropout_passes_everything_at_test():
    net = build(FORCED + input_layer("x", (2, 3)) + layer("l", "x", "y", "type: 'Dropout'"))
    net.blobs["x"].data[...] = values(0, (2, 3))
    net.forward()
    np.testing.assert_array_equal(net.blobs["y"].data, values(0, (2, 3)))
    net.blobs["y"].diff[...] = 3
    net.backward()
    assert (net.blobs["x"].diff == 3).all()
    net.blobs["y"].diff[...] = 4
    assert (net.blobs["x"].diff == 3).all()


# windows


@st.composite
def convolutions(draw, deconvolution=False):
    """Body and bottoms of a Convolution or Deconvolution that fits."""
    n = draw(st.sampled_from([0, 1, 2, 2, 2, 3]))
    lead = draw(st.sampled_from([(2,), (1,), (3,), (2, 2), ()]))
    group = draw(st.sampled_from([1, 1, 2, 3]))
    channels, out = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 3))

    def repeated(low, high):
        count = draw(st.sampled_from([1, n]))
        return [draw(st.integers(low, high)) for _ in range(count)]

    text, sizes = "", {}
    ranges = {"kernel_size": (1, 3, None), "stride": (1, 3, 1), "pad": (0, 2, 0), "dilation": (1, 2, 1)}
    for name, (low, high, default) in ranges.items():
        stem = name.removesuffix("_size")
        how = draw(st.sampled_from(["repeated", "hw", "absent"]))
        if how == "hw" and n == 2 and name != "dilation":
            sizes[name] = [draw(st.integers(low, high)) for _ in range(2)]
            text += field(f"{stem}_h", sizes[name][0]) + field(f"{stem}_w", sizes[name][1])
        elif how == "absent" and default is not None:
            sizes[name] = [default] * n
        else:
            given = repeated(low, high)
            text += fields(name, given)
            sizes[name] = given * n if len(given) == 1 else given
    spatial = [draw(st.integers(1, 6)) for _ in range(n)]
    for size, k, s, p, d in zip(spatial, *sizes.values()):
        if deconvolution:
            assume(s * (size - 1) + d * (k - 1) + 1 - 2 * p > 0)
        else:
            assume(size + 2 * p - (d * (k - 1) + 1) > -s)
    axis = len(lead) if draw(st.booleans()) else -n - 1
    if len(lead) != 1 or axis != 1 or draw(st.booleans()):
        text += field("axis", axis)
    if group > 1:
        text += field("group", group)
    if draw(st.booleans()):
        text += field("bias_term", draw(st.booleans()))
    seed = draw(seeds)
    bottoms = [values(seed + i, (*lead, channels, *spatial)) for i in range(draw(st.sampled_from([1, 1, 2])))]
    kind = "Deconvolution" if deconvolution else "Convolution"
    return f"type: '{kind}' convolution_param {{ num_output: {out} {text} }}", bottoms


@examples(40)
@given(convolutions())
def test_convolution(case):
    body, bottoms = case
    check(body, bottoms, tops=len(bottoms))


def test_a_kernel_beyond_the_padded_input_by_less_than_a_stride_has_one_place():
    text = "num_output: 1 kernel_size: 5 stride: 3 bias_term: false weight_filler { type: 'constant' value: 1 }"
    net = build(
        input_layer("x", (1, 1, 3, 6)) + layer("c", "x", "y", f"type: 'Convolution' convolution_param {{ {text} }}")
    )
    net.blobs["x"].data[...] = np.arange(18).reshape(3, 6)
    net.forward()
    np.testing.assert_array_equal(
        net.blobs["y"].data, [[[[0 + 1 + 2 + 3 + 4 + 6 + 7 + 8 + 9 + 10 + 12 + 13 + 14 + 15 + 16]]]]
    )
    net.blobs["x"].reshape(1, 1, 2, 6)  # a whole stride less than the kernel
    with pytest.raises(CaffeError, match="The kernel does not fit"):
        net.forward()


@examples(30)
@given(convolutions())
def test_im2col(case):
    body, bottoms = case
    assume(bottoms[0].ndim > 1 and "axis: -1" not in body)
    body = re.sub("num_output: \\d+|group: \\d+|bias_term: \\w+", "", body).replace("Convolution", "Im2col")
    assume(layer_param(body).convolution_param.axis != bottoms[0].ndim - 1)
    check(body, bottoms[:1])


@examples(30)
@given(seeds, st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.sampled_from(["MAX", "AVE"]), kinds)
def test_spp(seed, height, width, levels, method, kind):
    bins = 2 ** (levels - 1)
    kernels = [-(-n // bins) for n in (height, width)]
    assume(all((k * bins - n + 1) // 2 < k for k, n in zip(kernels, (height, width))))
    check(
        f"type: 'SPP' spp_param {{ pyramid_height: {levels} pool: {method} }}",
        [values(seed, (2, 2, height, width), kind)],
    )


@examples(40)
@given(convolutions(deconvolution=True))
def test_deconvolution(case):
    body, bottoms = case
    check(body, bottoms, tops=len(bottoms))


@st.composite
def poolings(draw):
    """Body, bottom and number of tops of a Pooling whose windows all meet the image."""
    method = draw(st.sampled_from(["MAX", "AVE"]))
    text = field("pool", method)
    size = (draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    rounding = draw(maybe(st.sampled_from(["CEIL", "FLOOR"])))
    text += field("round_mode", rounding)
    if draw(st.integers(0, 5)) == 0:
        text += field("global_pooling", True)
    else:
        square = draw(st.booleans())
        kernel = [draw(st.integers(1, 4)) for _ in size]
        kernel = [kernel[0]] * 2 if square else kernel
        pads = [draw(st.integers(0, k - 1)) for k in kernel]
        strides = [draw(st.integers(1, 4)) for _ in size]

        def pair(stem, values):
            return field(f"{stem}_h", values[0]) + field(f"{stem}_w", values[1])

        text += field("kernel_size", kernel[0]) if square else pair("kernel", kernel)
        text += draw(st.sampled_from(["", field("stride", strides[0]), pair("stride", strides)]))
        text += draw(st.sampled_from(["", field("pad", min(pads)), pair("pad", pads)]))
    body = f"type: 'Pooling' pooling_param {{ {text} }}"
    kernel, stride, pad, out = reference.pooling_sizes(layer_param(body), size)
    # a window that starts behind the image is undefined in Caffe
    assume(all(m > 0 and (m - 1) * s - p < n for m, s, p, n in zip(out, stride, pad, size)))
    x = values(draw(seeds), (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size), draw(kinds))
    return body, x, draw(st.integers(1, 2)) if method == "MAX" else 1


@examples(80)
@given(poolings())
def test_pooling(case):
    body, x, tops = case
    check(body, [x], tops=tops)


@examples(30)
@given(seeds, st.tuples(*[st.integers(1, 6)] * 4), st.data())
def test_lrn(seed, shape, data):
    choices = {
        "local_size": [1, 3, 5, 7],
        "norm_region": ["ACROSS_CHANNELS", "WITHIN_CHANNEL"],
        "alpha": [1e-4, 0.1, 2],
        "beta": [0.5, 1, 1.5],
        "k": [0.5, 2],
    }
    text = "".join(field(name, data.draw(maybe(st.sampled_from(some)))) for name, some in choices.items())
    check(f"type: 'LRN' lrn_param {{ {text} }}", [3 * values(seed, shape)])


def test_lrn_within_channels_in_place_takes_its_derivative_from_its_result():
    # one place: scale = 1 + 9 x² / 9, y = x / scale, and x in the derivative is y
    body = "type: 'LRN' lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 9 beta: 1 }"
    net = build(FORCED + input_layer("x", (1, 1, 1, 1)) + layer("l", "x", "x", body))
    net.blobs["x"].data[...] = 2
    net.forward()
    close(net.blobs["x"].data, [[[[2 / 5]]]])
    net.blobs["x"].diff[...] = 1
    net.backward()
    close(net.blobs["x"].diff, [[[[1 / 5 - 2 * 0.4 * 0.4 / 5**2]]]])


# products and sums


@examples(30)
@given(seeds, shapes(1, 4), st.data())
def test_inner_product(seed, shape, data):
    text = field("num_output", data.draw(sides)) + field("axis", data.draw(axes(len(shape))))
    text += field("transpose", data.draw(maybe(st.booleans()))) + field("bias_term", data.draw(maybe(st.booleans())))
    check(f"type: 'InnerProduct' inner_product_param {{ {text} }}", [values(seed, shape)])


@st.composite
def affine(draw, kind):
    """Body and bottoms of a Scale or Bias."""
    shape = draw(shapes(1, 4))
    ndim, seed = len(shape), draw(seeds)
    axis = draw(axes(ndim))
    start = axis % ndim
    count = draw(st.integers(0, ndim - start))
    text = field("axis", axis)
    bottoms = [values(seed, shape)]
    if draw(st.booleans()):
        bottoms.append(np.asarray(values(seed + 1, shape[start : start + count])))
    else:
        text += field("num_axes", -1 if start + count == ndim and draw(st.booleans()) else count)
    if kind == "Scale":
        text += field("bias_term", draw(maybe(st.booleans())))
    return f"type: '{kind}' {kind.lower()}_param {{ {text} }}", bottoms


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@examples(40)
@given(st.data())
def test_scale_and_bias(kind, data):
    body, bottoms = data.draw(affine(kind))
    check(body, bottoms, in_place=data.draw(st.booleans()))


def test_scale_starts_at_one_and_its_bias_at_zero():
    net = build(input_layer("x", (2, 3)) + layer("s", "x", "y", "type: 'Scale' scale_param { bias_term: true }"))
    assert (net.params["s"][0].data == 1).all()
    assert (net.params["s"][1].data == 0).all()


@examples(30)
@given(seeds, shapes(2, 5), phases, st.booleans(), st.data())
def test_batch_norm(seed, shape, phase, in_place, data):
    shape = (shape[0] + 5, *shape[1:])  # the gradient of a few numbers is all rounding
    text = field("use_global_stats", data.draw(maybe(st.booleans())))
    text += field("moving_average_fraction", data.draw(maybe(st.sampled_from([0, 0.5, 0.9]))))
    text += field("eps", data.draw(maybe(st.sampled_from([1e-3, 0.1]))))
    channels = shape[1]
    blobs = [
        values(seed + 1, channels),
        values(seed + 2, channels, "positive"),
        np.float32([data.draw(st.sampled_from([0, 1, 2.5]))]),
    ]
    body = f"type: 'BatchNorm' batch_norm_param {{ {text} }}"
    if layer_param(body, phase).batch_norm_param.use_global_stats and not blobs[2][0]:
        blobs[1][...] = 0
    check(body, [values(seed, shape)], phase=phase, in_place=in_place, blobs=blobs)


# probabilities and losses


@examples(20)
@given(seeds, shapes(), st.booleans(), st.data())
def test_softmax(seed, shape, in_place, data):
    axis = data.draw(axes(len(shape)))
    check(f"type: 'Softmax' softmax_param {{ axis: {axis} }}", [3 * values(seed, shape)], in_place=in_place)


MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]


@st.composite
def loss_params(draw, ignored):
    """Text of a loss_param: ignored label, today's and the former normalisation."""
    text = field("ignore_label", draw(maybe(ignored)))
    text += field("normalization", draw(maybe(st.sampled_from(MODES)))) + field("normalize", draw(maybe(st.booleans())))
    return f"loss_param {{ {text} }}" if text else ""


def labels_like(seed, count, classes, shape=None):
    """Labels as float32, in any shape that holds them all."""
    return np.random.default_rng(seed).integers(0, classes, count).astype(np.float32).reshape(shape or (count,))


@examples(50)
@given(seeds, shapes(2, 4), st.data())
def test_softmax_loss(seed, shape, data):
    axis = data.draw(st.integers(1 - len(shape), len(shape) - 1).filter(bool))
    canonical = axis % len(shape)
    rest = shape[:canonical] + shape[canonical + 1 :]
    form = data.draw(st.sampled_from([rest, (*shape[:canonical], 1, *shape[canonical + 1 :])]))
    labels = labels_like(seed, math.prod(rest), shape[canonical], form)
    text = data.draw(loss_params(st.integers(-1, shape[canonical])))
    if "ignore_label: -1" in text:
        labels.ravel()[::2] = -1
    spread = data.draw(st.sampled_from([1, 5, 300]))  # 300: probabilities below the smallest float
    body = f"type: 'SoftmaxWithLoss' softmax_param {{ axis: {axis} }} {text}"
    check(body, [spread * values(seed, shape), labels], tops=data.draw(st.integers(1, 2)))


@pytest.mark.parametrize("margin", [0, 5, 12, 15])
def test_a_small_softmax_loss_is_the_logarithm_of_the_rounded_probability(margin):
    net = build(
        input_layer("x", (1, 2))
        + input_layer("label", (1,))
        + layer("l", "x label", "loss prob", "type: 'SoftmaxWithLoss'")
    )
    net.blobs["x"].data[...] = [[margin + 0.3, 0]]
    net.forward()
    close(net.blobs["loss"].data, -np.log(net.blobs["prob"].data[0, 0], dtype=np.float64), 1e-6, floor=1e-12)


@examples(15)
@given(seeds, shapes(1, 4))
def test_euclidean_loss(seed, shape):
    other = (shape[0], math.prod(shape[1:]))
    check("type: 'EuclideanLoss'", [values(seed, shape), values(seed + 1, shape)])
    check("type: 'EuclideanLoss'", [values(seed, shape), values(seed + 1, other)])


@examples(20)
@given(seeds, shapes(2, 4), maybe(st.sampled_from(["L1", "L2"])), kinds, st.booleans())
def test_hinge_loss(seed, shape, norm, kind, flat):
    classes = math.prod(shape[1:])
    labels = labels_like(seed, shape[0], classes, None if flat else (shape[0], 1, 1, 1))
    check(f"type: 'HingeLoss' hinge_loss_param {{ {field('norm', norm)} }}", [values(seed, shape, kind), labels])


@examples(30)
@given(seeds, shapes(1, 4), st.data())
def test_sigmoid_loss(seed, shape, data):
    # −0.5 … 1; what is ignored is compared after cutting towards zero
    target = np.random.default_rng(seed).integers(-1, 3, shape) / 2
    text = data.draw(loss_params(st.integers(0, 2)))
    x = data.draw(st.sampled_from([1, 50])) * values(seed, shape)
    check(f"type: 'SigmoidCrossEntropyLoss' {text}", [x, target.astype(np.float32)])


@examples(40)
@given(seeds, shapes(2, 4), st.data())
def test_accuracy(seed, shape, data):
    axis = data.draw(axes(len(shape)))
    canonical = axis % len(shape)
    rest = shape[:canonical] + shape[canonical + 1 :]
    ignored = data.draw(maybe(st.integers(0, shape[canonical])))
    labels = labels_like(seed, math.prod(rest), shape[canonical] + (ignored == shape[canonical]), rest)
    text = field("axis", axis) + field("ignore_label", ignored)
    text += field("top_k", data.draw(st.integers(1, shape[canonical])))
    tops = data.draw(st.integers(1, 2))
    check(f"type: 'Accuracy' accuracy_param {{ {text} }}", [values(seed, shape, data.draw(kinds)), labels], tops=tops)


@examples(40)
@given(seeds, shapes(1, 5), st.data())
def test_argmax(seed, shape, data):
    axis = data.draw(maybe(axes(len(shape))))
    size = math.prod(shape[1:]) if axis is None else shape[axis]
    text = field("axis", axis) + field("top_k", data.draw(maybe(st.integers(1, size))))
    text += field("out_max_val", data.draw(maybe(st.booleans())))
    check(f"type: 'ArgMax' argmax_param {{ {text} }}", [values(seed, shape, data.draw(kinds))])


# joining, cutting, moving


@examples(20)
@given(seeds, shapes(1, 4), st.integers(1, 4), st.data())
def test_concat(seed, shape, count, data):
    axis = data.draw(axes(len(shape)))
    text = f"axis: {axis}"
    if axis >= 0 and data.draw(st.booleans()):
        text = f"concat_dim: {axis}"
    canonical = axis % len(shape)
    bottoms = [values(seed + i, (*shape[:canonical], data.draw(sides), *shape[canonical + 1 :])) for i in range(count)]
    check(f"type: 'Concat' concat_param {{ {text} }}", bottoms)


@examples(20)
@given(seeds, shapes(1, 4), st.integers(1, 4), st.data())
def test_slice(seed, shape, tops, data):
    axis = data.draw(axes(len(shape)))
    canonical = axis % len(shape)
    text = f"slice_dim: {axis}" if axis >= 0 and data.draw(st.booleans()) else f"axis: {axis}"
    if data.draw(st.booleans()) and tops > 1:
        size = tops + data.draw(st.integers(0, 3))
        points = data.draw(st.lists(st.integers(1, size), min_size=tops - 1, max_size=tops - 1, unique=True))
        text += fields("slice_point", sorted(points))
    else:
        size = tops * data.draw(st.integers(1, 2))
    x = values(seed, (*shape[:canonical], size, *shape[canonical + 1 :]))
    check(f"type: 'Slice' slice_param {{ {text} }}", [x], tops=tops)


@examples(10)
@given(seeds, shapes(), st.integers(1, 4))
def test_split_and_silence(seed, shape, count):
    check("type: 'Split'", [values(seed, shape)], tops=count)
    check("type: 'Silence'", [values(seed + i, shape) for i in range(count)], tops=0)


@examples(30)
@given(seeds, shapes(), st.integers(2, 4), maybe(st.sampled_from(["PROD", "SUM", "MAX"])), st.data())
def test_eltwise(seed, shape, count, operation, data):
    text = field("operation", operation)
    if operation in (None, "SUM") and data.draw(st.booleans()):
        text += fields("coeff", [data.draw(numbers(-2, 2)) for _ in range(count)])
    bottoms = [values(seed + i, shape, data.draw(kinds)) for i in range(count)]
    check(f"type: 'Eltwise' eltwise_param {{ {text} }}", bottoms)


@examples(20)
@given(seeds, shapes(1, 5), st.data())
def test_flatten(seed, shape, data):
    first = data.draw(axes(len(shape)))
    last = data.draw(st.integers(max(first % len(shape) - 1, 0), len(shape) - 1))
    last -= data.draw(st.sampled_from([0, len(shape)]))
    check(f"type: 'Flatten' flatten_param {{ axis: {first} end_axis: {last} }}", [values(seed, shape)])


@examples(30)
@given(seeds, shapes(1, 4), st.data())
def test_reshape(seed, shape, data):
    ndim = len(shape)
    first = data.draw(st.integers(0, ndim))
    last = data.draw(st.integers(first, ndim))
    middle = shape[first:last]
    dims = list(middle)
    if data.draw(st.booleans()) and middle:
        dims = [math.prod(middle)]
    elif data.draw(st.booleans()):
        dims = [1, *dims]
    else:
        dims = [0 if data.draw(st.booleans()) else d for d in dims]
    if dims and data.draw(st.booleans()):
        dims[data.draw(st.integers(0, len(dims) - 1))] = -1
    text = "shape {" + fields("dim", dims) + " }"
    text += field("axis", first - data.draw(st.sampled_from([0, ndim + 1])))
    text += field("num_axes", -1 if last == ndim and data.draw(st.booleans()) else last - first)
    x = values(seed, shape)
    param = layer_param(f"type: 'Reshape' reshape_param {{ {text} }}")
    known = math.prod(d or shape[first + i] for i, d in enumerate(dims) if d != -1)
    if -1 in dims:  # numpy infers from all axes, Caffe from the replaced ones: the same number
        assert math.prod(middle) % known == 0
    assert reference.run(param, [x])[0][0].size == x.size
    check(f"type: 'Reshape' reshape_param {{ {text} }}", [x])


def test_a_zero_of_reshape_copies_an_axis_that_is_not_replaced_too():
    # one axis of three replaced by two, of which the second is copied from where it comes to stand
    check("type: 'Reshape' reshape_param { axis: 0 num_axes: 1 shape { dim: [2, 0] } }", [values(0, (6, 3, 2))])


@examples(20)
@given(seeds, shapes(1, 4), st.data())
def test_crop(seed, shape, data):
    ndim = len(shape)
    axis = data.draw(axes(ndim))
    start = axis % ndim
    like, offsets = list(shape), []
    one = data.draw(st.booleans())
    for i in range(start, ndim):
        like[i] = data.draw(st.integers(1, shape[i]))
        offsets.append(data.draw(st.integers(0, shape[i] - like[i])))
    text = f"axis: {axis}"
    if not one:
        text += fields("offset", offsets)
    elif data.draw(st.booleans()):
        text += fields("offset", [min(shape[i] - like[i] for i in range(start, ndim))])
    for i in range(start):
        like[i] = data.draw(sides)  # axes in front do not matter
    check(f"type: 'Crop' crop_param {{ {text} }}", [values(seed, shape), values(seed + 1, like)])


@examples(30)
@given(seeds, shapes(1, 4), maybe(st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"])), kinds, st.data())
def test_reduction(seed, shape, operation, kind, data):
    text = field("operation", operation) + field("axis", data.draw(maybe(axes(len(shape)))))
    text += field("coeff", data.draw(maybe(numbers(-2, 2))))
    check(f"type: 'Reduction' reduction_param {{ {text} }}", [values(seed, shape, kind)])


@examples(8)
@given(seeds, shapes(0, 4))
def test_parameter(seed, shape):
    check(f"type: 'Parameter' parameter_param {{ shape {{ {fields('dim', shape)} }} }}", [], seed=seed % 99)


# selecting and repeating


@examples(15)
@given(seeds, shapes(1, 4), st.integers(1, 3), st.data())
def test_tile(seed, shape, tiles, data):
    check(f"type: 'Tile' tile_param {{ axis: {data.draw(axes(len(shape)))} tiles: {tiles} }}", [values(seed, shape)])


@examples(15)
@given(seeds, shapes(1, 4), st.data())
def test_batch_reindex(seed, shape, data):
    index = data.draw(st.lists(st.integers(0, shape[0] - 1), max_size=6))
    check("type: 'BatchReindex'", [values(seed, shape), np.float32(index)], fixed=[1])


@examples(20)
@given(seeds, sides, st.lists(shapes(0, 3), min_size=1, max_size=3), st.data())
def test_filter(seed, items, rests, data):
    selector = np.float32(data.draw(st.lists(st.sampled_from([0, 0, 1, -2, 0.5]), min_size=items, max_size=items)))
    selector = selector.reshape(data.draw(st.sampled_from([(items,), (items, 1), (items, 1, 1)])))
    bottoms = [values(seed + i, (items, *rest)) for i, rest in enumerate(rests)]
    check("type: 'Filter'", [*bottoms, selector], tops=len(rests), fixed=[len(rests)])


def test_a_filters_tops_are_as_long_as_its_bottoms_until_the_selector_is_known():
    net = build(input_layer("x", (3, 2)) + input_layer("s", (3,)) + layer("f", "x s", "y", "type: 'Filter'"))
    assert net.blobs["y"].data.shape == (3, 2)
    net.reshape()
    assert net.blobs["y"].data.shape == (0, 2)
    net.blobs["s"].data[...] = [0, 5, 0]
    net.forward()
    assert net.blobs["y"].data.shape == (1, 2)


@examples(15)
@given(seeds, shapes(0, 3), st.integers(1, 5), sides, maybe(st.booleans()))
def test_embed(seed, shape, inputs, outputs, bias):
    index = np.random.default_rng(seed).integers(0, inputs, shape).astype(np.float32)
    text = f"input_dim: {inputs} num_output: {outputs}" + field("bias_term", bias)
    check(f"type: 'Embed' embed_param {{ {text} }}", [index], fixed=[0])


@examples(25)
@given(seeds, shapes(1, 4), maybe(st.booleans()), maybe(st.booleans()), maybe(st.sampled_from([0.5, 0.01])))
def test_mvn(seed, shape, normalize, across, eps):
    rest = math.prod(shape[1:] if across else shape[2:])
    assume(rest > 2 or normalize is False)  # of two numbers the derivative is 0 but for rounding
    text = field("normalize_variance", normalize) + field("across_channels", across) + field("eps", eps)
    check(f"type: 'MVN' mvn_param {{ {text} }}", [values(seed, shape)], rtol=5e-5)


def test_mvn_in_place_reads_its_own_sums():
    net = build(FORCED + input_layer("x", (1, 1, 2, 3)) + layer("m", "x", "x", "type: 'MVN'"))
    x, dy = values(1, (1, 1, 2, 3)), values(2, (1, 1, 2, 3))
    net.blobs["x"].data[...] = x
    net.forward()
    y = net.blobs["x"].data.astype(np.float64)
    net.blobs["x"].diff[...] = dy
    net.backward()
    along = y * (y * dy).sum()
    close(net.blobs["x"].diff, (along + along.sum()) * (-2 / 6) / (x.std() + 1e-9), 1e-4)


# losses of more than two bottoms


@examples(30)
@given(seeds, shapes(2, 4), st.data())
def test_infogain_loss(seed, shape, data):
    axis = data.draw(st.integers(1 - len(shape), len(shape) - 1).filter(bool))
    canonical = axis % len(shape)
    rest = shape[:canonical] + shape[canonical + 1 :]
    ignored, mode = data.draw(maybe(st.integers(0, shape[canonical] - 1))), data.draw(maybe(st.sampled_from(MODES)))
    text = f"infogain_loss_param {{ axis: {axis} }}"
    text += f" loss_param {{ {field('ignore_label', ignored)} {field('normalization', mode)} }}"
    spread = data.draw(st.sampled_from([1, 5, 100]))  # 100: probabilities below 1e-20
    x, labels = spread * values(seed, shape), labels_like(seed, math.prod(rest), shape[canonical])
    matrix = values(seed + 1, (shape[canonical],) * 2, "positive")
    labels = labels.reshape(shape[0], -1)
    tops = data.draw(st.integers(1, 2))
    body = f"type: 'InfogainLoss' {text}"
    check(body, [x, labels, matrix], tops=tops, fixed=[1, 2])


def test_the_infogain_matrix_may_be_in_a_file(tmp_path):
    matrix = values(3, (3, 3), "positive")
    (tmp_path / "H").write_bytes(caffe.io.array_to_blobproto(matrix[None, None]).SerializeToString())
    source = f"type: 'InfogainLoss' infogain_loss_param {{ source: '{tmp_path / 'H'}' }}"
    inputs = input_layer("x", (4, 3)) + input_layer("label", (4,)) + input_layer("H", (3, 3))
    net = build(inputs + layer("a", "x label", "a", source) + layer("b", "x label H", "b", "type: 'InfogainLoss'"))
    net.blobs["x"].data[...], net.blobs["label"].data[...] = values(1, (4, 3)), [0, 2, 1, 1]
    net.blobs["H"].data[...] = matrix
    net.forward()
    assert net.blobs["a"].data == net.blobs["b"].data != 0


@examples(15)
@given(seeds, shapes(1, 4), st.booleans())
def test_multinomial_loss(seed, shape, flat):
    prob = np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
    prob.ravel()[::3] = 0  # below the threshold
    labels = labels_like(seed, shape[0], prob.size // shape[0], None if flat else (shape[0], 1, 1, 1))
    check("type: 'MultinomialLogisticLoss'", [prob, labels])


@examples(25)
@given(seeds, sides, sides, maybe(st.sampled_from([0.5, 2, 4])), maybe(st.booleans()), st.booleans())
def test_contrastive_loss(seed, n, channels, margin, legacy, same):
    a, b = values(seed, (n, channels)), values(seed + 1, (n, channels, 1, 1))
    if same:
        b[0] = a[0].reshape(-1, 1, 1)  # a distance of 0
    similar = labels_like(seed, n, 2)
    text = field("margin", margin) + field("legacy_version", legacy)
    check(f"type: 'ContrastiveLoss' contrastive_loss_param {{ {text} }}", [a, b, similar])


# what users get wrong


def wrong(body, *shapes, tops=1):
    """The definition of one layer over inputs of these shapes."""
    names = [f"b{i}" for i in range(len(shapes))]
    text = "".join(input_layer(n, s) for n, s in zip(names, shapes))
    return text + layer("culprit", " ".join(names), " ".join(f"t{i}" for i in range(tops)), body)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (wrong("type: 'Convolusion'", (1, 1, 3, 3)), "Unknown layer type: Convolusion"),
        (wrong("type: 'ReLU'", (1, 2), (1, 2)), "ReLU Layer takes 1 bottom blob(s) as input"),
        (wrong("type: 'Eltwise'", (1, 2)), "Eltwise Layer takes at least 2 bottom blob(s) as input"),
        (wrong("type: 'Softmax'", (1, 2), tops=2), "Softmax Layer produces 1 top blob(s) as output"),
        (wrong("type: 'Accuracy'", (1, 2), (1,), tops=3), "Accuracy Layer produces at most 2 top blob(s) as output"),
        (
            wrong("type: 'Convolution' convolution_param { num_output: 1 kernel_size: 1 }", (1, 1, 2, 2), tops=2),
            "one top blob as output for each bottom blob input",
        ),
        (wrong("type: 'Convolution' convolution_param { num_output: 1 kernel_size: 5 }", (1, 1, 3, 3)), "kernel"),
        (
            wrong("type: 'Convolution' convolution_param { num_output: 3 kernel_size: 1 group: 2 }", (1, 4, 3, 3)),
            "multiples",
        ),
        (wrong("type: 'Convolution' convolution_param { num_output: 1 }", (1, 1, 3, 3)), "kernel_size"),
        (wrong("type: 'Convolution' convolution_param { kernel_size: 1 }", (1, 1, 3, 3)), "num_output"),
        (wrong("type: 'Pooling' pooling_param { kernel_size: 2 pad: 2 }", (1, 1, 3, 3)), "Padding"),
        (wrong("type: 'Pooling' pooling_param { kernel_size: 5 }", (1, 1, 3, 3)), "window"),
        (wrong("type: 'Pooling' pooling_param { }", (1, 1, 3, 3)), "kernel_size OR kernel_h and kernel_w"),
        (wrong("type: 'Pooling' pooling_param { kernel_size: 1 }", (1, 3)), "4 axes"),
        (wrong("type: 'LRN' lrn_param { local_size: 4 }", (1, 1, 3, 3)), "odd"),
        (wrong("type: 'InnerProduct' inner_product_param { num_output: 1 axis: 3 }", (1, 3)), "out of range"),
        (wrong("type: 'Eltwise'", (1, 2), (2, 1)), "shape"),
        (wrong("type: 'Eltwise' eltwise_param { coeff: 1 }", (1, 2), (1, 2)), "one coefficient per bottom"),
        (wrong("type: 'Concat'", (1, 2, 3), (1, 2, 4)), "same shape, except at concat_axis"),
        (wrong("type: 'Slice'", (1, 3), tops=2), "evenly divide"),
        (wrong("type: 'Slice' slice_param { slice_point: 4 }", (1, 3), tops=2), "Slice points"),
        (wrong("type: 'Slice' slice_param { slice_point: 1 }", (2, 1), tops=2), "Slice points"),
        (wrong("type: 'Reshape' reshape_param { shape { dim: 4 dim: -1 } }", (1, 6)), "divisible"),
        (wrong("type: 'Reshape' reshape_param { shape { dim: 5 } }", (1, 6)), "count"),
        (wrong("type: 'Crop' crop_param { axis: 1 }", (1, 2), (1, 3)), "out-of-bounds"),
        (wrong("type: 'Scale'", (2, 3), (2,)), "dimension mismatch"),
        (wrong("type: 'BatchNorm' param { lr_mult: 1 }", (2, 3)), "batch normalization statistics"),
        (wrong("type: 'Accuracy' accuracy_param { top_k: 4 }", (2, 3), (2,)), "top_k"),
        (wrong("type: 'ArgMax' argmax_param { top_k: 4 }", (2, 3)), "top_k"),
        (wrong("type: 'SoftmaxWithLoss'", (2, 3), (3,)), "same first dimension"),
        (wrong("type: 'SoftmaxWithLoss'", (2, 3, 2), (2, 3)), "Number of labels must match number of predictions"),
        (wrong("type: 'SoftmaxWithLoss' loss_weight: 1 loss_weight: 1", (2, 3), (2,)), "loss_weight"),
        (wrong("type: 'EuclideanLoss'", (2, 3), (2, 4)), "same dimension"),
        (wrong("type: 'ReLU' param { lr_mult: 1 }", (2, 3)), "Too many params"),
        (wrong("type: 'ReLU' propagate_down: true propagate_down: true", (2, 3)), "propagate_down"),
        (wrong("type: 'AbsVal'", (2, 3)).replace("t0", "b0"), "in-place"),
        (wrong("type: 'Python' python_param { module: 'no_such_module' layer: 'X' }", (2, 3)), "no_such_module"),
    ],
)
def test_a_definitions_error_names_the_layer(text, said):
    with pytest.raises(CaffeError) as error:
        build(text)
    assert said in str(error.value)
    assert "culprit" in str(error.value)


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "HingeLoss", "Accuracy"])
@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range_is_named(kind, label):
    net = build(wrong(f"type: '{kind}'", (2, 3), (2,)))
    net.blobs["b1"].data[1] = label
    with pytest.raises(CaffeError, match=f"{label}.*culprit"):
        net.forward()


def test_a_changed_input_that_no_longer_fits_is_named():
    net = build(wrong("type: 'InnerProduct' inner_product_param { num_output: 2 }", (2, 3)))
    net.blobs["b0"].reshape(2, 4)
    with pytest.raises(CaffeError, match="culprit"):
        net.forward()
