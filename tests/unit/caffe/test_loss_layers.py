"""Softmax, losses and scores against a plain reference, over their whole parameter space."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from helpers.layer_checks import build, check, close, examples, input_layer, layer, values
from helpers.layer_strategies import (
    MODES,
    axes,
    field,
    kinds,
    labels_like,
    loss_params,
    maybe,
    seeds,
    shapes,
    sides,
)


@examples(20)
@given(seeds, shapes(), st.booleans(), st.data())
def test_softmax(seed, shape, in_place, data):
    axis = data.draw(axes(len(shape)))
    check(f"type: 'Softmax' softmax_param {{ axis: {axis} }}", [3 * values(seed, shape)], in_place=in_place)


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
