"""What a net does around its layers: who runs backward, what adds up and what is replaced, memory, Python layers."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2
from helpers import reference
from helpers.layer_checks import FORCED, build, close, examples, input_layer, layer, layer_param, values

X, T = (4, 3), (4, 2)


def ip(name, bottom, top, more="", outputs=2):
    """An InnerProduct layer."""
    p = f"inner_product_param {{ num_output: {outputs} weight_filler {{ type: 'gaussian' }} }}"
    return layer(name, bottom, top, f"type: 'InnerProduct' {more} {p}")


def loss(bottom, more="", target="t", name="loss"):
    """A EuclideanLoss layer against an input."""
    return layer(name, f"{bottom} {target}", name, f"type: 'EuclideanLoss' {more}")


INPUTS = input_layer("x", X) + input_layer("t", T)


def filled(text, phase=caffe.TRAIN):
    """The net, its inputs and parameters random, after a forward pass."""
    net = build(text, phase)
    for i, name in enumerate(net.inputs):
        net.blobs[name].data[...] = values(i, net.blobs[name].data.shape)
    for i, blob in enumerate(b for blobs in net.params.values() for b in blobs):
        blob.data[...] = values(50 + i, blob.data.shape)
    net.forward()
    return net


def gradient(net):
    """The gradient of a single Euclidean loss with respect to y, of the definition's weight 1."""
    return (net.blobs["y"].data - net.blobs["t"].data) / len(net.blobs["y"].data)


# who runs backward


def test_backward_adds_to_parameters_and_replaces_bottoms():
    net = filled(INPUTS + ip("a", "x", "h", outputs=3) + ip("b", "h", "y") + loss("y"))
    net.backward()
    once = net.params["a"][0].diff.copy(), net.params["b"][1].diff.copy(), net.blobs["h"].diff.copy()
    net.backward()
    close(net.params["a"][0].diff, 2 * once[0])
    close(net.params["b"][1].diff, 2 * once[1])
    np.testing.assert_array_equal(net.blobs["h"].diff, once[2])
    net.clear_param_diffs()
    assert not net.params["a"][0].diff.any()


def test_inputs_get_no_diff_unless_forced():
    text = INPUTS + ip("a", "x", "y") + loss("y")
    net = filled(text)
    net.backward()
    assert not net.blobs["x"].diff.any()
    forced = filled(FORCED + text)
    forced.backward()
    close(forced.blobs["x"].diff, gradient(forced) @ forced.params["a"][0].data)
    close(forced.blobs["t"].diff, -gradient(forced))


def test_a_parameter_without_rate_gets_no_diff_unless_forced():
    text = INPUTS + ip("a", "x", "y", "param { lr_mult: 0 } param { lr_mult: 1 }") + loss("y")
    net = filled(text)
    net.backward()
    assert not net.params["a"][0].diff.any()
    assert net.params["a"][1].diff.any()
    forced = filled(FORCED + text)
    forced.backward()
    assert forced.params["a"][0].diff.any()


def test_frozen_layers_stop_the_gradient():
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    net = filled(INPUTS + ip("a", "x", "h", frozen, 3) + ip("b", "h", "y") + loss("y"))
    net.backward()
    assert not net.blobs["h"].diff.any()
    assert net.params["b"][0].diff.any()


@pytest.mark.parametrize(("given", "needs"), [(0, True), (1, True), (3, False)])
def test_batch_norm_needs_backward_for_statistics_the_definition_does_not_freeze(given, needs):
    # the layer's own lr_mult of 0 comes too late for Net::Init, and its backward writes the bottom's diff, asked or not
    norm = layer("bn", "x", "y", "type: 'BatchNorm' " + given * "param { lr_mult: 0 } ")
    net = filled(input_layer("x", X) + input_layer("t", X) + norm + loss("y"))
    assert net.params_lr == [0, 0, 0]
    net.backward()
    assert not any(blob.diff.any() for blob in net.params["bn"])
    x, dy = net.blobs["x"].data, net.blobs["y"].diff
    assert dy.any() == needs
    _, back = reference.run(layer_param("type: 'BatchNorm'", caffe.TRAIN), [x], [np.zeros(3), np.zeros(3), np.zeros(1)])
    close(net.blobs["x"].diff, back([dy.astype(np.float64)])[0][0])


def test_propagate_down_false_stops_the_gradient():
    net = filled(INPUTS + ip("a", "x", "h", outputs=3) + ip("b", "h", "y", "propagate_down: false") + loss("y"))
    net.backward()
    assert not net.params["a"][0].diff.any()
    assert net.params["b"][0].diff.any()


def test_propagate_down_true_asks_for_an_inputs_diff():
    net = filled(INPUTS + ip("a", "x", "y", "propagate_down: true") + loss("y"))
    net.backward()
    close(net.blobs["x"].diff, gradient(net) @ net.params["a"][0].data)


def test_what_leads_to_no_loss_gets_no_diff():
    net = filled(INPUTS + ip("a", "x", "y") + ip("side", "x", "z") + loss("y"))
    net.blobs["z"].diff[...] = 1
    net.backward()
    assert not net.params["side"][0].diff.any()


def test_backward_may_be_run_where_nothing_needs_it():
    net = filled(INPUTS + ip("a", "x", "y") + layer("drop", "y", "z", "type: 'Dropout'"), caffe.TEST)
    net.blobs["y"].diff[...] = 1
    net.backward()
    assert not net.params["a"][0].diff.any()
    net.needless_backward = True
    for _ in range(2):
        net.forward()
        net.backward()
    close(net.params["a"][0].diff, np.tile(2 * net.blobs["x"].data.sum(0), (2, 1)))
    assert not net.blobs["x"].diff.any()


def test_a_label_that_needs_a_gradient_is_refused():
    net = filled(
        input_layer("x", (2, 3))
        + input_layer("l", (2, 3))
        + ip("a", "x", "y", outputs=3)
        + layer("culprit", "y l", "", "type: 'SigmoidCrossEntropyLoss' propagate_down: true propagate_down: true")
    )
    with pytest.raises(CaffeError, match="cannot backpropagate to label inputs.*culprit"):
        net.backward()


def test_scratch_that_caffe_leaves_in_diffs_nobody_asked_for():
    shape, labels = (2, 3), (2,)
    hinge = layer("l", "x label", "loss", "type: 'HingeLoss' propagate_down: false propagate_down: false")
    net = build(input_layer("x", shape) + input_layer("label", labels) + hinge)
    net.blobs["x"].data[...] = [[0.5, -2, 0], [3, 0.25, -0.5]]
    net.blobs["label"].data[...] = [0, 1]
    net.forward()
    np.testing.assert_array_equal(net.blobs["x"].diff, [[0.5, 0, 1], [4, 0.75, 0.5]])

    net = filled(INPUTS + layer("s", "x", "y", "type: 'Scale'") + ip("a", "y", "z") + loss("z"))
    net.backward()
    close(net.blobs["x"].diff, net.blobs["y"].diff * net.blobs["x"].data)


# what backward reads


def test_backward_reads_data_diffs_and_weights_as_they_are_now():
    net = filled(FORCED + input_layer("x", X) + ip("a", "x", "y"))
    weight, x, dy = values(1, (2, 3)), values(2, X), values(3, T)
    net.params["a"][0].data[...] = weight
    net.blobs["x"].data[...] = x
    net.blobs["y"].diff[...] = dy
    net.backward()
    close(net.blobs["x"].diff, dy @ weight)
    close(net.params["a"][0].diff, dy.T @ x)


def test_a_loss_weight_overwritten_scales_the_gradient():
    net = filled(INPUTS + ip("a", "x", "y") + loss("y", "loss_weight: 3"))
    assert net.blobs["loss"].diff == 3
    net.backward()
    close(net.blobs["y"].diff, 3 * gradient(net))
    net.blobs["loss"].diff[...] = -0.5
    net.forward()
    net.backward()
    close(net.blobs["y"].diff, -0.5 * gradient(net))


def test_losses_add_up_over_a_split():
    net = filled(INPUTS + ip("a", "x", "y") + loss("y") + loss("y", "loss_weight: 0.25", name="more"))
    assert [n for n in net.layer_dict if "split" in n] == ["t_t_0_split", "y_a_0_split"]
    net.backward()
    close(net.blobs["y"].diff, 1.25 * gradient(net))


def test_a_loss_weight_on_a_used_blob_moves_to_its_split():
    net = filled(INPUTS + ip("a", "x", "y", "loss_weight: 0.5") + loss("y"))
    assert net.blob_loss_weights["y_a_0_split_0"] == 0.5
    assert net.blob_loss_weights["y"] == 0
    net.backward()
    close(net.blobs["y"].diff, 0.5 + gradient(net))


def test_a_loss_weight_in_place_counts_for_the_layer_that_has_it():
    double, triple = (f"type: 'Power' power_param {{ scale: {scale} }}" for scale in (2, 3))
    text = input_layer("x", X) + layer("a", "x", "y", double) + layer("b", "y", "y", triple + " loss_weight: 1")
    net = build(text)
    net.blobs["x"].data[...] = values(0, X, "positive")
    close(net._forward(0, 2), 6 * net.blobs["x"].data.sum(dtype=np.float64))
    assert net.blob_loss_weights["y"] == 1


def test_a_loss_without_a_top_still_teaches():
    net = filled(INPUTS + ip("a", "x", "y") + layer("l", "y t", "", "type: 'EuclideanLoss'"))
    assert net.outputs == []
    net.backward()
    close(net.blobs["y"].diff, gradient(net))


def test_a_reduction_with_a_weight_is_a_loss():
    sumsq = layer("r", "y", "r", "type: 'Reduction' loss_weight: 2 reduction_param { operation: SUMSQ }")
    net = filled(input_layer("x", X) + ip("a", "x", "y") + sumsq)
    net.backward()
    close(net.blobs["y"].diff, 4 * net.blobs["y"].data)


# shared parameters


def shared(first="", second="", outputs=3):
    """A definition with two layers that share their weight under one name."""
    return (
        INPUTS
        + ip("a", "x", "h", f"param {{ name: 'w' {first} }}", outputs=3)
        + ip("b", "h", "y3", f"param {{ name: 'w' {second} }}", outputs=outputs)
        + ip("c", "y3", "y")
        + loss("y")
    )


def test_shared_parameters_are_one_memory_and_add_their_diffs():
    net = filled(shared())
    a, b = net.params["a"][0], net.params["b"][0]
    a.data[...] = values(1, (3, 3))
    np.testing.assert_array_equal(b.data, a.data)
    net.forward()
    net.backward()
    x, h = net.blobs["x"].data, net.blobs["h"].data
    close(a.diff, net.blobs["h"].diff.T @ x + net.blobs["y3"].diff.T @ h)
    np.testing.assert_array_equal(a.diff, b.diff)
    assert len(net.learnable_params) == 5


@pytest.mark.parametrize(("first", "second"), [("lr_mult: 3", ""), ("", "lr_mult: 3"), ("lr_mult: 3", "lr_mult: 3")])
def test_an_explicit_multiplier_of_a_shared_parameter_wins(first, second):
    assert build(shared(first, second)).params_lr[0] == 3


def test_two_multipliers_of_a_shared_parameter_are_refused():
    with pytest.raises(CaffeError, match="Shared param 'w' has mismatched lr_mult"):
        build(shared("lr_mult: 3", "lr_mult: 2"))


def test_sharing_needs_equal_shapes_or_permission():
    with pytest.raises(CaffeError, match="Cannot share param 'w' owned by layer 'a' with layer 'b'; shape mismatch"):
        build(shared(outputs=2))
    text = input_layer("x", (2, 6)) + ip("a", "x", "y", "param { name: 'w' }", 2)
    text += input_layer("z", (2, 3)) + ip("b", "z", "u", "param { name: 'w' share_mode: PERMISSIVE }", 4)
    net = build(text)
    net.params["a"][0].data[...] = values(0, (2, 6))
    np.testing.assert_array_equal(net.params["b"][0].data, values(0, (2, 6)).reshape(4, 3))


def test_both_places_of_a_shared_parameter_must_ask_for_the_diff_to_add():
    net = filled(shared("", "lr_mult: 1"))
    net.backward()
    both = net.params["a"][0].diff.copy()
    net = filled(shared("lr_mult: 0", ""))
    net.backward()
    assert not net.blobs["x"].diff.any()
    assert np.abs(both - net.params["a"][0].diff).max() > 1e-3


# memory


def test_views_follow_their_blobs_through_passes_and_outlive_the_net():
    net = filled(FORCED + INPUTS + ip("a", "x", "y") + loss("y"))
    net.backward()
    views = [net.blobs["y"].data, net.blobs["y"].diff, net.params["a"][0].data, net.params["a"][0].diff]
    net.blobs["x"].data[...] *= 2
    net.forward()
    net.backward()
    x, target = net.blobs["x"].data.copy(), net.blobs["t"].data.copy()
    y = x @ views[2].T + net.params["a"][1].data
    close(views[0], y)
    close(views[1], (y - target) / 4)
    kept = [view.copy() for view in views]
    del net
    gc.collect()
    for view, copy in zip(views, kept):
        np.testing.assert_array_equal(view, copy)
        view[...] = 0


@pytest.mark.parametrize(
    ("bottoms", "body"),
    [
        ("x u", "type: 'Concat' concat_param { axis: 0 }"),
        ("x u", "type: 'Eltwise'"),
        ("x", "type: 'Bias' bias_param { axis: 0 num_axes: -1 }"),
        ("x", "type: 'Reduction' reduction_param { axis: 0 }"),
        ("x", "type: 'Split'"),
    ],
)
def test_diffs_of_different_blobs_are_different_memories(bottoms, body):
    inputs = "".join(input_layer(n, (4,)) for n in bottoms.split())
    net = build(FORCED + inputs + layer("l", bottoms, "y", body))
    names = [*bottoms.split(), "y"]
    net.forward()
    net.backward()
    diffs = [net.blobs[n].diff for n in names] + [b.diff for b in net.params.get("l", [])]
    for i, diff in enumerate(diffs):
        for j, other in enumerate(diffs):
            other[...] = j
        diff.ravel()[:1] = 100
        for j, other in enumerate(diffs):
            assert other.ravel()[0] == (100 if j == i else j)
            assert (other.ravel()[1:] == j).all()


def test_another_batch_size_resizes_everything_and_growing_starts_from_zero():
    net = filled(FORCED + INPUTS + ip("a", "x", "y") + loss("y"))
    net.backward()
    for n in (2, 7, 3):
        old = net.blobs["x"].data
        net.blobs["x"].reshape(n, 3)
        net.blobs["t"].reshape(n, 2)
        if n == 7:
            assert not net.blobs["x"].data.any()
            old[...] = 9
            assert not net.blobs["x"].data.any()
        else:
            np.testing.assert_array_equal(net.blobs["x"].data, old.ravel()[: 3 * n].reshape(n, 3))
        net.blobs["x"].data[...] = values(n, (n, 3))
        net.forward()
        assert net.blobs["y"].data.shape == (n, 2)
        net.backward()
        close(net.blobs["y"].diff, gradient(net))
        close(net.blobs["x"].diff, gradient(net) @ net.params["a"][0].data)


@pytest.mark.parametrize("size", [(8, 5), (3, 3), (5, 9)])
def test_another_image_size_gives_what_a_net_of_that_size_gives(size):
    def convolutional(size):
        convolution = "type: 'Convolution' convolution_param { num_output: 3 kernel_size: 3 pad: 1 }"
        text = FORCED + input_layer("x", (2, 2, *size)) + layer("c", "x", "c", convolution)
        text += layer("n", "c", "n", "type: 'LRN'")
        text += layer("p", "n", "p", "type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 }")
        return text + layer("g", "p", "g", "type: 'Pooling' pooling_param { pool: AVE global_pooling: true }")

    resized, fresh = filled(convolutional((6, 6))), build(convolutional(size))
    resized.backward()
    resized.blobs["x"].reshape(2, 2, *size)
    resized.reshape()
    assert resized.blobs["c"].data.shape == (2, 3, *size)
    for net in (resized, fresh):
        net.params["c"][0].data[...] = values(1, (3, 2, 3, 3))
        net.params["c"][1].data[...] = 0.1
        net.blobs["x"].data[...] = values(2, (2, 2, *size))
        net.clear_param_diffs()
        net.forward()
        net.blobs["g"].diff[...] = values(3, (2, 3, 1, 1))
        net.backward()
    np.testing.assert_array_equal(resized.blobs["g"].data, fresh.blobs["g"].data)
    np.testing.assert_array_equal(resized.blobs["x"].diff, fresh.blobs["x"].diff)
    np.testing.assert_array_equal(resized.params["c"][0].diff, fresh.params["c"][0].diff)


# chains and graphs


def test_an_in_place_chain_has_the_gradient_of_the_chain():
    layers = [
        "type: 'Convolution' convolution_param { num_output: 3 kernel_size: 2 bias_term: false }",
        "type: 'BatchNorm'",
        "type: 'Scale' scale_param { bias_term: true }",
        "type: 'PReLU'",
        "type: 'Dropout'",
        "type: 'ReLU' relu_param { negative_slope: 0.2 }",
    ]
    net = build(
        FORCED
        + input_layer("x", (2, 2, 4, 4))
        + "".join(layer(f"l{i}", "y" if i else "x", "y", body) for i, body in enumerate(layers)),
        caffe.TRAIN,
    )
    held = net.blobs["y"].data  # results must reach a view that exists already
    x, dy = values(1, (2, 2, 4, 4)), values(2, held.shape)
    net.blobs["x"].data[...] = x
    caffe.set_random_seed(3)
    mask = np.random.RandomState(3).randint(0, 2**32, held.size, np.uint32).reshape(held.shape) <= 0.5 * 4294967295
    backs, y = [], x.astype(np.float64)
    for i, body in enumerate(layers):
        if "Dropout" in body:
            y, back = 2 * y * mask, lambda dys: ([2 * dys[0] * mask], [])
        else:
            blobs = [b.data.astype(np.float64) for b in net.params.get(f"l{i}", [])]
            (y,), back = reference.run(layer_param(body, caffe.TRAIN), [y], blobs)
        backs.append(back)
    net.forward()
    close(held, y)
    net.blobs["y"].diff[...] = dy
    net.backward()
    grad = dy.astype(np.float64)
    for i in reversed(range(len(layers))):
        (grad,), param_diffs = backs[i]([grad])
        for blob, expected in zip(net.params.get(f"l{i}", []), param_diffs):
            if expected is not None:
                close(blob.diff, expected, 1e-4, layers[i])
    close(net.blobs["x"].diff, grad, 1e-4)


BODIES = [
    ("type: 'TanH'", 1),
    ("type: 'Sigmoid'", 1),
    ("type: 'InnerProduct' inner_product_param { num_output: 3 }", 1),
    ("type: 'Softmax'", 1),
    ("type: 'Scale' scale_param { bias_term: true }", 1),
    ("type: 'Eltwise'", 2),
    ("type: 'Eltwise' eltwise_param { operation: PROD }", 2),
    ("type: 'Eltwise' eltwise_param { operation: MAX }", 3),
    ("type: 'EuclideanLoss' loss_weight: 0.5", 2),
    ("type: 'Reduction' reduction_param { axis: 1 operation: SUMSQ } loss_weight: 1", 1),
]


@examples(25)
@given(
    st.integers(0, 9999),
    st.lists(st.tuples(st.sampled_from(BODIES), st.tuples(*[st.integers(0, 99)] * 3)), min_size=2, max_size=8),
)
def test_any_graph_has_the_gradient_of_its_parts(seed, drawn):
    shape, blobs, layers = (4, 3), ["x"], []
    for i, ((body, count), picks) in enumerate(drawn):
        bottoms = [blobs[p % len(blobs)] for p in picks[:count]]
        layers.append((body, bottoms, f"y{i}"))
        if "loss_weight" not in body:
            blobs.append(f"y{i}")
    layers.append(("type: 'EuclideanLoss'", [blobs[-1], "x"], "last"))
    text = FORCED + input_layer("x", shape)
    for body, bottoms, top in layers:
        text += layer(top, " ".join(bottoms), top, body)
    net = build(text, caffe.TRAIN)
    data = {"x": values(seed, shape).astype(np.float64)}
    net.blobs["x"].data[...] = data["x"]
    backs = []
    for i, (body, bottoms, top) in enumerate(layers):
        params = net.params.get(top, [])
        for j, blob in enumerate(params):
            blob.data[...] = values(seed + 10 * i + j + 1, blob.data.shape)
        (data[top],), back = reference.run(
            layer_param(body, caffe.TRAIN), [data[n] for n in bottoms], [b.data.astype(np.float64) for b in params]
        )
        backs.append(back)
    net.forward()
    net.backward()
    diffs = {name: np.zeros_like(value) for name, value in data.items()}
    for (body, bottoms, top), back in zip(reversed(layers), reversed(backs)):
        weights = layer_param(body).loss_weight or [1.0] * ("Loss" in body)
        dy = np.full_like(data[top], weights[0]) if weights else diffs[top]
        bottom_diffs, param_diffs = back([dy])
        for name, diff in zip(bottoms, bottom_diffs):
            diffs[name] += diff
        for blob, diff in zip(net.params.get(top, []), param_diffs):
            close(blob.diff, diff, 1e-4, top)
    for name in blobs:
        close(net.blobs[name].data, data[name], 1e-4, name)
        # against the largest diff of the graph: what cancels leaves rounding behind
        scale = max(np.abs(d).max() for d in diffs.values())
        assert np.abs(net.blobs[name].diff - diffs[name]).max() <= 2e-5 * max(scale, 1e-3), name


# Python layers


class TwoTops(caffe.Layer):
    """Tops: a·x and b·x, of parameters a (learned) and b (given as param_str)."""

    def setup(self, bottom, top):
        self.factor = float(self.param_str)
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 2
        self.shapes = []

    def reshape(self, bottom, top):
        self.shapes.append(bottom[0].data.shape)
        for blob in top:
            blob.reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data * bottom[0].data
        top[1].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        self.asked = list(propagate_down)
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum()
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data * top[0].diff + self.factor * top[1].diff


class Half(caffe.Layer):
    """Half the sum of squares; as a loss only where its loss_weight says so."""

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = (bottom[0].data ** 2).sum() / 2

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff[0] * bottom[0].data


class Phase(caffe.Layer):
    """Its phase, as a number."""

    def setup(self, bottom, top):
        assert isinstance(self.phase, int)

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = self.phase


class Broken(caffe.Layer):
    def forward(self, bottom, top):
        raise ZeroDivisionError("mine")

    def reshape(self, bottom, top):
        top[0].reshape(1)


def python(name, bottoms, tops, kind, more="", param_str=""):
    """A Python layer of this module."""
    p = f"python_param {{ module: '{__name__}' layer: '{kind}' param_str: '{param_str}' }}"
    return layer(name, bottoms, tops, f"type: 'Python' {more} {p}")


def test_a_python_layer_with_two_tops_and_a_parameter():
    text = input_layer("x", X) + ip("a", "x", "h") + python("p", "h", "y z", "TwoTops", param_str="-3")
    text += python("l", "y", "ly", "Half", "loss_weight: 1") + python("m", "z", "lz", "Half", "loss_weight: 0.5")
    net = filled(text)
    net.params["p"][0].data[...] = 2
    net.forward()
    h = net.blobs["h"].data
    close(net.blobs["y"].data, 2 * h)
    close(net.blobs["lz"].data, [(9 * h**2).sum() / 2])
    net.clear_param_diffs()
    net.backward()
    close(net.blobs["h"].diff, 4 * h + 0.5 * 9 * h)
    close(net.params["p"][0].diff, [(2 * h * h).sum()])
    close(net.params["a"][0].diff, (8.5 * h).T @ net.blobs["x"].data)
    net.blobs["x"].reshape(1, 3)
    net.forward()
    assert net.blobs["z"].data.shape == (1, 2)


class Tenfold(caffe.Layer):
    """Ten times its input."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 10 * top[0].diff


class Counted(Tenfold):
    """A parameter that every backward pass sets the diff of to 1."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 0

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[0] = 1


class Failing(Tenfold):
    def setup(self, bottom, top):
        raise RuntimeError("not today")


OLD_INPUT = "force_backward: true input: 'data' input_shape { dim: 10 dim: 9 dim: 8 }\n"


def test_python_layers_in_a_chain_run_both_ways_and_reshape():
    chain = [("data", "one"), ("one", "two"), ("two", "three")]
    net = build(OLD_INPUT + "".join(python(top, bottom, top, "Tenfold") for bottom, top in chain))
    net.blobs["data"].data[...] = 8
    net.forward()
    assert (net.blobs["three"].data == 8000).all()
    net.blobs["three"].diff[...] = 7
    net.backward()
    assert (net.blobs["data"].diff == 7000).all()
    net.blobs["data"].reshape(4, 4, 4, 4)
    net.forward()
    assert {blob.data.shape for blob in net.blobs.values()} == {(4, 4, 4, 4)}


def test_a_python_layers_parameter_is_saved_loaded_and_shared(tmp_path):
    net = build(OLD_INPUT + python("layer", "data", "top", "Counted"), caffe.TRAIN)
    net.forward()
    net.backward()
    blob = net.layers[list(net._layer_names).index("layer")].blobs[0]
    assert (blob.data[0], blob.diff[0]) == (0, 1)
    blob.data[0] += blob.diff[0]
    net.save(str(tmp_path / "w"))
    blob.data[0] = -1
    net.copy_from(str(tmp_path / "w"))
    assert blob.data[0] == 1
    other = build(OLD_INPUT + python("layer", "data", "top", "Counted"), caffe.TRAIN)
    other.share_with(net)
    assert other.layer_dict["layer"].blobs[0].data[0] == 1
    blob.data[0] = 5
    assert other.layer_dict["layer"].blobs[0].data[0] == 5


class Roidb(Tenfold):
    """As Fast R-CNN's data layer: what it gives is handed to the object itself."""

    def __init__(self, param):
        super().__init__(param)
        self.made = True

    def set_roidb(self, roidb):
        self.roidb = roidb

    def forward(self, bottom, top):
        top[0].data[...] = self.roidb


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_layers_of_python_are_the_users_own_objects(phase):
    net = build(OLD_INPUT + python("p", "data", "y", "Roidb") + ip("a", "y", "z"), phase)
    index = list(net._layer_names).index("p")
    mine = net.layers[index]
    assert type(mine).__name__ == "Roidb" and isinstance(mine, caffe.Layer) and mine.made
    assert mine is net.layer_dict["p"]
    mine.set_roidb(5)
    net.forward()
    assert (net.blobs["y"].data == 5).all()
    assert [layer.type for layer in net.layers] == ["Input", "Python", "InnerProduct"]
    assert [len(layer.blobs) for layer in net.layers] == [0, 0, 2]
    assert net.layers[index + 1] is net.layer_dict["a"]
    assert net.layer_dict["a"].blobs[0].data is not None and len(net.layers) == len(net._layer_names)


def test_a_solvers_net_shows_the_users_own_objects_too(tmp_path):
    (tmp_path / "net.prototxt").write_text(OLD_INPUT + python("p", "data", "y", "Roidb"))
    solver = caffe.get_solver(caffe_pb2.SolverParameter(train_net=str(tmp_path / "net.prototxt")))
    solver.net.layers[1].set_roidb(7)
    solver.net.forward()
    assert (solver.net.blobs["y"].data == 7).all()


def test_an_exception_in_setup_comes_through():
    with pytest.raises(RuntimeError, match="not today"):
        build(OLD_INPUT + python("layer", "data", "top", "Failing"))


def test_a_python_layer_is_no_loss_by_itself():
    net = filled(input_layer("x", X) + ip("a", "x", "h") + python("l", "h", "loss", "Half"))
    net.backward()
    assert not net.params["a"][0].diff.any()


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_a_python_layer_knows_its_phase(phase):
    net = build(python("p", "", "y", "Phase"), phase)
    assert net.forward()["y"] == phase


def test_an_exception_in_a_python_layer_comes_through():
    net = build(python("p", "", "y", "Broken"))
    with pytest.raises(ZeroDivisionError, match="mine"):
        net.forward()


def test_a_python_layer_that_does_not_exist_is_named():
    with pytest.raises(CaffeError, match="culprit.*NoSuchLayer"):
        build(python("culprit", "", "y", "NoSuchLayer"))


def test_phase_constants_are_caffes():
    assert (caffe.TRAIN, caffe.TEST) == (caffe_pb2.TRAIN, caffe_pb2.TEST) == (0, 1)


# several layers of one name

NAMESAKES = input_layer("x", X) + ip("n", "x", "h", outputs=3) + ip("n", "h", "y", outputs=3)


def parameters(net):
    return [blob.data.copy() for layer in net.layers for blob in layer.blobs]


def test_layers_of_one_name_are_saved_each_with_its_own_parameters(tmp_path):
    net = filled(NAMESAKES)
    net.save(str(tmp_path / "w"))
    saved = caffe_pb2.NetParameter.FromString((tmp_path / "w").read_bytes())
    written = [np.reshape(blob.data, blob.shape.dim) for layer in saved.layer for blob in layer.blobs]
    assert len(written) == 4
    for array, ours in zip(written, parameters(net)):
        np.testing.assert_array_equal(np.float32(array), ours)
    assert not np.array_equal(written[0], written[2])


def test_of_layers_of_one_name_the_last_is_shown(tmp_path):
    net = filled(NAMESAKES)
    assert list(net.params) == ["n"] and list(net.layer_dict) == ["x", "n"]
    assert net.params["n"][0] is net.layers[2].blobs[0]
    assert net.layer_dict["n"] is net.layers[2]
    assert net.top_names["n"] == ["y"]
    alone = filled(input_layer("x", X) + ip("n", "x", "h", outputs=3) + layer("n", "h", "h", "type: 'ReLU'"))
    assert alone.params["n"][0] is alone.layers[1].blobs[0]  # the last that has parameters


def test_of_layers_of_one_name_the_first_is_loaded_and_shared_with(tmp_path):
    net, other, third = filled(NAMESAKES), filled(NAMESAKES), filled(NAMESAKES)
    for i, blob in enumerate(blob for one in net.layers for blob in one.blobs):
        blob.data[...] = i + 1
    net.save(str(tmp_path / "w"))
    kept = parameters(other)[2:]
    other.copy_from(str(tmp_path / "w"))
    third.share_with(net)
    for taken in (other, third):
        assert [float(array.flat[0]) for array in parameters(taken)[:2]] == [3, 4]  # the file's last of that name
        for array, before in zip(parameters(taken)[2:], kept):
            np.testing.assert_array_equal(array, before)


def test_hdf5_has_no_place_for_two_layers_of_one_name(tmp_path):
    net = filled(NAMESAKES)
    with pytest.raises(CaffeError, match="'n'"):
        net.save_hdf5(str(tmp_path / "w.h5"))
    assert not list(tmp_path.iterdir())
    single = filled(input_layer("x", X) + ip("n", "x", "h", outputs=3))
    single.save_hdf5(str(tmp_path / "w.h5"))
    first = parameters(net)[:2]
    net.load_hdf5(str(tmp_path / "w.h5"))  # Caffe looks these up in its index of names, where the last stands
    for array, before in zip(parameters(net), first):
        np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(parameters(net)[2], parameters(single)[0])


def test_a_layer_without_parameters_of_the_same_name_stands_in_the_way_of_loading(tmp_path):
    net = filled(input_layer("x", X) + ip("n", "x", "h", outputs=3) + layer("n", "h", "h", "type: 'ReLU'"))
    net.save(str(tmp_path / "w"))
    saved = caffe_pb2.NetParameter.FromString((tmp_path / "w").read_bytes())
    assert [len(layer.blobs) for layer in saved.layer] == [0, 2, 0]
    with pytest.raises(CaffeError, match="Incompatible number of blobs for layer n"):
        net.copy_from(str(tmp_path / "w"))
