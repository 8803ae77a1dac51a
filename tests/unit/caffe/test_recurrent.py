"""RNN, LSTM and LSTMUnit: against plain references, their hidden state, their random numbers, resuming."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from caffe.errors import CaffeError
from helpers.layer_checks import FORCED, build, check, close, examples, input_layer, layer, values

sizes = st.integers(1, 4)
TYPES = {"RNN": ["h"], "LSTM": ["h", "c"]}
FILLERS = "weight_filler { type: 'gaussian' std: 0.3 } bias_filler { type: 'uniform' min: -1 max: 1 }"


def body(kind, outputs, text=""):
    return f"type: '{kind}' recurrent_param {{ num_output: {outputs} {text} }}"


def sequence(kind, steps=3, streams=2, outputs=4, text=FILLERS, tops="y", bottoms="x cont"):
    """A net of one recurrent layer ``r`` over x with five values, all of whose sequences continue."""
    inputs = input_layer("x", (steps, streams, 5)) + input_layer("cont", (steps, streams))
    net = build(FORCED + inputs + layer("r", bottoms, tops, body(kind, outputs, text)))
    net.blobs["x"].data[...] = values(1, (steps, streams, 5))
    net.blobs["cont"].data[...] = 1
    return net


@pytest.mark.parametrize("kind", TYPES)
@examples(20)
@given(st.integers(0, 1000), sizes, sizes, sizes, st.sampled_from([(2,), (2, 3), (2, 1, 2)]), st.data())
def test_recurrent_layers(kind, seed, steps, streams, outputs, rest, data):
    markers = np.random.default_rng(seed).choice([0, 1, 1, 0.5], (steps, streams)).astype(np.float32)
    bottoms, tops = [values(seed, (steps, streams, *rest)), markers], 1
    if data.draw(st.booleans()):
        bottoms.append(values(seed + 1, (streams, *data.draw(st.sampled_from([(3,), (2, 2)])))))
    exposed = data.draw(st.booleans())
    if exposed:
        tops += len(TYPES[kind])
        bottoms += [values(seed + 2 + i, (1, streams, outputs)) for i in range(len(TYPES[kind]))]
    check(body(kind, outputs, "expose_hidden: true" if exposed else ""), bottoms, tops=tops, seed=seed, rtol=5e-5)


@examples(20)
@given(st.integers(0, 1000), sizes, sizes)
def test_lstm_unit(seed, streams, outputs):
    markers = np.random.default_rng(seed).choice([0, 1, 0.5], (1, streams)).astype(np.float32)
    bottoms = [values(seed, (1, streams, outputs)), values(seed + 1, (1, streams, 4 * outputs)), markers]
    check("type: 'LSTMUnit'", bottoms, tops=2)


@pytest.mark.parametrize("kind", TYPES)
def test_a_pass_begins_where_the_last_one_ended(kind):
    caffe.set_random_seed(4)
    once = sequence(kind, steps=6)
    caffe.set_random_seed(4)
    twice = sequence(kind, steps=3)
    for i, (a, b) in enumerate(zip(once.params["r"], twice.params["r"])):
        b.data[...] = a.data[...] = values(i, a.data.shape)
    expected = once.forward()["y"]
    for part in (slice(0, 3), slice(3, 6)):
        twice.blobs["x"].data[...] = once.blobs["x"].data[part]
        close(twice.forward()["y"], expected[part])
    twice.blobs["cont"].data[0] = 0  # a new sequence
    twice.blobs["x"].data[...] = once.blobs["x"].data[:3]
    close(twice.forward()["y"], expected[:3])


@pytest.mark.parametrize("kind", TYPES)
def test_parameters_are_drawn_for_each_step_and_the_first_ones_stay(kind):
    caffe.set_random_seed(5)
    params = sequence(kind, steps=3).params["r"]
    after = build(input_layer("x", (1, 3)) + layer("a", "x", "y", ip(2))).params["a"][0].data.copy()

    caffe.set_random_seed(5)
    first = {"RNN": [4], "LSTM": [16]}[kind]
    each = {"RNN": [(4, 4, 0), (4, 4, 1)], "LSTM": [(16, 4, 0)]}[kind]
    drawn = [filled(5, n, 1) for n in first]
    steps = [[filled(inputs, n, bias) for n, inputs, bias in each] for _ in range(3)]
    expected = [blob for layer_ in drawn + steps[0] for blob in layer_]
    assert [blob.data.shape for blob in params] == [blob.shape for blob in expected]
    for blob, value in zip(params, expected):
        np.testing.assert_array_equal(blob.data, value)
    next_ = build(input_layer("x", (1, 3)) + layer("a", "x", "y", ip(2)))
    np.testing.assert_array_equal(next_.params["a"][0].data, after)


def ip(outputs, bias=1):
    text = f"num_output: {outputs} {FILLERS}" + ("" if bias else " bias_term: false")
    return f"type: 'InnerProduct' inner_product_param {{ {text} }}"


def filled(inputs, outputs, bias):
    """The parameters of an InnerProduct that is made now."""
    net = build(input_layer("x", (1, inputs)) + layer("a", "x", "y", ip(outputs, bias)))
    return [blob.data.copy() for blob in net.params["a"]]


def test_frozen_parameters_have_a_diff_too():
    loss = layer("s", "y", "s", "type: 'Reduction' loss_weight: 1")
    inputs = input_layer("x", (2, 1, 3)) + input_layer("cont", (2, 1))
    frozen = " param { lr_mult: 0 } param { lr_mult: 1 } param { lr_mult: 0 }"
    net = build(inputs + layer("r", "x cont", "y", body("LSTM", 2, FILLERS) + frozen) + loss)
    net.blobs["x"].data[...] = values(1, (2, 1, 3))
    net.forward()
    net.backward()
    assert all(np.abs(blob.diff).max() > 0 for blob in net.params["r"][:2])
    assert np.abs(net.blobs["x"].diff).max() > 0  # although nothing asks for it


def test_blobs_in_the_definition_are_ignored():
    caffe.set_random_seed(6)
    plain = sequence("RNN")
    caffe.set_random_seed(6)
    given = sequence("RNN", text=FILLERS + " } blobs { shape { dim: 4 dim: 5 }")
    for a, b in zip(plain.params["r"], given.params["r"]):
        np.testing.assert_array_equal(a.data, b.data)


def test_a_training_resumes_with_its_hidden_state(tmp_path):
    data = "dummy_data_param { shape { dim: 2 dim: 1 dim: 3 } shape { dim: 2 dim: 1 }"
    data += " data_filler { type: 'gaussian' std: 1 } data_filler { type: 'constant' value: 1 } }"
    net = f"layer {{ name: 'd' type: 'DummyData' top: 'x' top: 'cont' {data} }}"
    net += layer("r", "x cont", "y", body("LSTM", 2, FILLERS)) + layer(
        "s", "y", "s", "type: 'Reduction' loss_weight: 1"
    )
    (tmp_path / "solver.prototxt").write_text(
        f"net_param {{ {net} }} base_lr: 0.1 lr_policy: 'fixed' random_seed: 3 snapshot_prefix: '{tmp_path}/s'"
    )
    whole, resumed = (caffe.get_solver(str(tmp_path / "solver.prototxt")) for _ in range(2))
    caffe.set_random_seed(1)
    whole.step(2)
    whole.snapshot()
    whole.step(2)
    resumed.restore(str(tmp_path / "s_iter_2.solverstate"))
    resumed.step(2)
    for a, b in zip(whole.net.params["r"], resumed.net.params["r"]):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize(
    ("shapes", "text", "said"),
    [
        ([(2,), (2, 1)], "num_output: 1", "at least 2 axes"),
        ([(2, 1), (2, 1)], "num_output: 1", "axis 2 out of range"),
        ([(2, 1, 3), (2,)], "num_output: 1", "exactly 2 axes"),
        ([(2, 1, 3), (3, 1)], "num_output: 1", "timesteps and streams"),
        ([(2, 1, 3), (2, 1)], "", "num_output must be positive"),
        ([(2, 1, 3), (2, 1), (2, 4)], "num_output: 1", "static input must have the streams"),
        ([(2, 1, 3), (2, 1), (1,)], "num_output: 1", "axis 1 out of range"),
        ([(2, 1, 3), (2, 1), (1, 1, 2), (1, 1, 1)], "num_output: 1 expose_hidden: true", "shape mismatch"),
        ([(2, 1, 3), (2, 1)], "num_output: 1 expose_hidden: true", "takes at least 4 bottom"),
        ([(2, 1, 3), (2, 1), (1, 3), (1, 1, 1)], "num_output: 1", "takes at most 3 bottom"),
    ],
)
def test_wrong_shapes_are_refused(shapes, text, said):
    names = [f"b{i}" for i in range(len(shapes))]
    inputs = "".join(map(input_layer, names, shapes))
    tops = "a b c" if "hidden" in text else "a"
    with pytest.raises(CaffeError, match=f"{said}.*'culprit'"):
        build(inputs + layer("culprit", " ".join(names), tops, f"type: 'LSTM' recurrent_param {{ {text} }}"))


def test_the_number_of_steps_cannot_change_but_that_of_streams_can():
    net = sequence("LSTM")
    net.forward()
    net.blobs["x"].reshape(3, 4, 5)
    net.blobs["cont"].reshape(3, 4)
    assert net.forward()["y"].shape == (3, 4, 4)
    net.blobs["x"].reshape(2, 4, 5)
    with pytest.raises(CaffeError, match="input number of timesteps changed"):
        net.forward()


@pytest.mark.parametrize(("cell", "gates", "marker"), [((1, 2, 3), (1, 2, 9), (1, 2)), ((2, 2, 3), (2, 2, 12), (2, 2))])
def test_a_unit_takes_one_step_and_four_gates(cell, gates, marker):
    inputs = input_layer("c", cell) + input_layer("g", gates) + input_layer("m", marker)
    with pytest.raises(CaffeError, match="'culprit'"):
        build(inputs + layer("culprit", "c g m", "a b", "type: 'LSTMUnit'"))
