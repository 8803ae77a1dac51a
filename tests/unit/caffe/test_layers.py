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
from helpers.layer_strategies import (
    axes,
    field,
    fields,
    kinds,
    maybe,
    numbers,
    phases,
    seeds,
    shapes,
    sides,
)

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


def test_a_large_swish_has_a_slope_of_one():
    net = build(FORCED + input_layer("x", (3,)) + layer("l", "x", "y", "type: 'Swish'"))
    net.blobs["x"].data[...] = [30, 1e9, -1e9]
    net.forward()
    net.blobs["y"].diff[...] = 2
    net.backward()
    close(net.blobs["x"].diff, [2, 2, 0])


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
