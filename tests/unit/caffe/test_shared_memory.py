"""Memory that blobs share, release and reuse is not seen: every blob has its own values, before and after passes."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe
from helpers.layer_checks import build, input_layer, layer, values

X = (2, 3, 7, 7)


def conv(name, bottom, top, outputs=4, more=""):
    """A 3×3 Convolution that keeps the size."""
    p = f"num_output: {outputs} kernel_size: 3 pad: 1 {more} weight_filler {{ type: 'gaussian' std: 0.3 }}"
    return layer(name, bottom, top, f"type: 'Convolution' convolution_param {{ {p} }}")


def fire(rectified=True):
    """A Concat of two convolutions, each rectified in place, before a pooling and a loss."""
    pool = "type: 'Pooling' pooling_param { pool: MAX kernel_size: 3 stride: 2 }"
    norm = "type: 'LRN' lrn_param { local_size: 3 alpha: 0.1 }"
    branches = [conv("a", "x", "a"), conv("b", "x", "b", 5)]
    if rectified:
        branches += [layer("ra", "a", "a", "type: 'ReLU'"), layer("rb", "b", "b", "type: 'ReLU'")]
    return (
        input_layer("x", X)
        + "".join(branches)
        + layer("c", "a b", "c", "type: 'Concat'")
        + layer("p", "c", "p", pool)
        + layer("n", "p", "n", norm)
        + layer("ip", "n", "y", "type: 'InnerProduct' inner_product_param { num_output: 3 }")
        + layer("s", "y", "s", "type: 'Reduction' loss_weight: 1 reduction_param { operation: SUMSQ }")
    )


def filled(text):
    """The net with random inputs and parameters."""
    net = build(text, caffe.TRAIN)
    net.blobs["x"].data[...] = values(0, net.blobs["x"].data.shape)
    for i, blob in enumerate(b for blobs in net.params.values() for b in blobs):
        blob.data[...] = values(50 + i, blob.data.shape)
    return net


def everything(net):
    """Copies of all values and gradients."""
    blobs = {**net.blobs, **{f"{name} {i}": b for name, of in net.params.items() for i, b in enumerate(of)}}
    return {name: (blob.data.copy(), blob.diff.copy()) for name, blob in blobs.items()}


def same(one, other):
    """Whether two results of `everything` are the same bits."""
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n], equal_nan=True) for n in one)


def passes(net, times=1):
    """``everything`` after both passes."""
    for _ in range(times):
        net.clear_param_diffs()
        net.forward()
        net.backward()
    return everything(net)


@pytest.mark.parametrize("rectified", [True, False])
def test_passes_give_the_same_again_and_with_views_of_all_blobs(rectified):
    once = passes(filled(fire(rectified)))
    assert same(passes(filled(fire(rectified)), 3), once)
    net = filled(fire(rectified))
    views = [(blob.data, blob.diff) for blob in net.blobs.values()]
    assert same(passes(net, 2), once)
    assert np.array_equal(views[list(net.blobs).index("c")][0], once["c"][0])


def test_writing_to_one_of_a_concats_blobs_leaves_the_others():
    for written in "abc":
        net = filled(fire())
        before = passes(net)
        net.blobs[written].data[...] = 7
        net.blobs[written].diff[...] = 8
        after = everything(net)
        assert (after[written][0] == 7).all()
        assert (after[written][1] == 8).all()
        del before[written], after[written]
        assert same(after, before)


@pytest.mark.parametrize("kind", ["Split", "Flatten", "Reshape"])
def test_a_pass_that_begins_at_a_layer_that_shares_memory_has_its_bottom(kind):
    of = {"Flatten": "", "Reshape": "reshape_param { shape { dim: 0 dim: -1 } }", "Split": "top: 'w'"}[kind]
    square = layer("q", "v", "q", "type: 'Power' power_param { power: 2 }")
    net = filled(input_layer("x", X) + conv("a", "x", "a") + layer("v", "a", "v", f"type: '{kind}' {of}") + square)
    before = net.forward()["q"].copy()
    assert before.any()
    np.testing.assert_array_equal(net.forward(start="v")["q"], before)
    np.testing.assert_array_equal(net.forward()["q"], before)


def test_backward_reads_what_was_written_to_a_concats_bottom():
    net = filled(fire())
    net.forward()
    net.blobs["a"].data[...] = 0  # so that the rectifier passes nothing on
    net.backward()
    assert not net.blobs["a"].diff.any()
    assert net.blobs["b"].diff.any()


def solver_of(tmp_path, text):
    """A solver that changes nothing, because its rate is 0."""
    net = filled(text)
    (tmp_path / "net.prototxt").write_text(text)
    (tmp_path / "solver.prototxt").write_text(
        f"net: '{tmp_path}/net.prototxt' base_lr: 0 lr_policy: 'fixed' snapshot_after_train: false"
    )
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    solver.net.share_with(net)
    solver.net.blobs["x"].data[...] = net.blobs["x"].data
    return solver


def test_after_a_step_all_blobs_hold_what_single_passes_leave(tmp_path):
    once = passes(filled(fire()))
    solver = solver_of(tmp_path, fire())
    solver.step(3)
    blobs = {name: (blob.data.copy(), blob.diff.copy()) for name, blob in solver.net.blobs.items()}
    assert same(blobs, {name: once[name] for name in blobs})
    solver.net.clear_param_diffs()
    solver.net.backward()  # again, although the step has released what layers kept for it
    assert same(everything(solver.net), once)


@pytest.mark.parametrize("strange", [0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", ["kernel_size: 3 stride: 2", "kernel_size: 3 pad: 1", "global_pooling: true"])
def test_a_pooling_gives_the_same_in_passes_with_and_without_backward(window, strange):
    pool = layer("p", "x", "p", f"type: 'Pooling' pooling_param {{ pool: MAX {window} }}")
    text = input_layer("x", (2, 20, 41, 42)) + pool  # large enough for the faster pooling without backward
    without, recorded = build(text), build("force_backward: true " + text)
    x = values(3, (2, 20, 41, 42))
    x[1, 2, 5:8, 6:9] = strange
    for net in (without, recorded):
        net.blobs["x"].data[...] = x
        net.forward()
    assert without.layers[1].by_onednn == np.isfinite(strange)
    assert not recorded.layers[1].by_onednn
    np.testing.assert_array_equal(without.blobs["p"].data, recorded.blobs["p"].data)


def test_backward_of_a_pooling_after_a_pass_that_kept_nothing_for_it():
    pool = layer("p", "x", "p", "type: 'Pooling' pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    text = "force_backward: true " + input_layer("x", (2, 20, 41, 42)) + pool
    recorded, without = build(text), build(text)
    for net in (recorded, without):
        net.blobs["x"].data[...] = values(3, (2, 20, 41, 42), "ties")
        net.blobs["p"].diff[...] = values(4, net.blobs["p"].data.shape)
    recorded.forward()
    with without.without_backward():
        without.forward()
    assert without.layers[1].by_onednn
    for net in (recorded, without):
        net.backward()
    np.testing.assert_array_equal(without.blobs["x"].diff, recorded.blobs["x"].diff)


def test_a_convolution_that_also_rectifies_gives_the_bits_of_both_layers():
    one = layer("r", "a", "a", "type: 'ReLU'") + layer("q", "a", "q", "type: 'Power' power_param { scale: 2 }")
    net = filled(input_layer("x", (4, 3, 160, 160)) + conv("a", "x", "a", 8) + one)  # large enough for a limit to it
    rectified = net.forward()["q"].copy()
    assert net.layers[1].rectify
    raw = net.forward(end="a")["a"].copy()
    assert (raw < 0).any()
    assert not net.layers[1].rectify
    np.testing.assert_array_equal(net.forward(start="r")["q"], rectified)
    net.forward(end="a")
    np.testing.assert_array_equal(net.forward(start="r", end="r")["a"], np.maximum(raw, 0))
    seen = []
    net.after_forward(lambda i: seen.append(float(net.blobs["a"].data.min())))
    np.testing.assert_array_equal(net.forward()["q"], rectified)
    assert seen[1] < 0
    assert seen[2] == 0


def test_hooks_see_the_values_of_the_pass_before():
    net = filled(fire())
    before = passes(net)
    seen = {}

    def look(i):
        if not i:
            seen.update({name: (blob.data.copy(), blob.diff.copy()) for name, blob in net.blobs.items()})

    net.before_forward(look)
    net.forward()
    assert same(seen, {name: before[name] for name in seen})


def test_a_blob_whose_shape_was_changed_is_set_right_by_the_next_pass():
    net = filled(fire())
    net.forward()
    shape, result = net.blobs["p"].data.shape, net.blobs["y"].data.copy()
    net.blobs["p"].reshape(1, 2, 3, 4)
    net.forward()
    assert net.blobs["p"].data.shape == shape
    np.testing.assert_array_equal(net.blobs["y"].data, result)


@pytest.mark.parametrize("side", [8, 800])  # the larger top has so many values that a limit to them is computed
def test_minus_infinity_from_a_convolution_becomes_nan_in_a_rectifier(side):
    one = "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }"
    text = input_layer("x", (1, 1, side, side)) + layer("a", "x", "a", one)
    text += layer("r", "a", "a", "type: 'ReLU'") + layer(
        "b", "a", "b", one.replace("kernel", "bias_term: false kernel")
    )
    net = build(text + layer("q", "b", "b", "type: 'ReLU'"), caffe.TEST)
    net.params["a"][0].data[...] = np.array([3e38, -3e38], np.float32).reshape(2, 1, 1, 1)
    net.params["b"][0].data[...] = 1
    net.blobs["x"].data[...] = 1
    net.blobs["x"].data[..., 0] = 2
    with np.errstate(over="ignore"):
        net.forward()
    a, b = net.blobs["a"].data, net.blobs["b"].data
    assert np.isposinf(a[0, 0, :, 0]).all()
    assert np.isnan(a[0, 1, :, 0]).all()
    assert np.isnan(b[0, :, :, 0]).all()
    assert (a[0, 1, :, 1:] == 0).all()
    np.testing.assert_array_equal(b[0, 0, :, 1:], np.float32(3e38))


def test_nan_of_a_normalisation_that_overflows_is_no_maximum():
    one = "type: 'Convolution' convolution_param { num_output: 8 kernel_size: 1 bias_term: false }"
    pool = "type: 'Pooling' pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
    text = input_layer("x", (1, 1, 600, 600)) + layer("a", "x", "a", one)
    net = build(text + layer("n", "a", "n", "type: 'LRN'") + layer("p", "n", "p", pool), caffe.TEST)
    net.params["a"][0].data[...] = np.array([1, 1e25, *[1] * 6], np.float32).reshape(8, 1, 1, 1)
    net.blobs["x"].data[...] = 1
    net.blobs["x"].data[..., 0] = 0
    with np.errstate(over="ignore"):
        net.forward()
    assert np.isnan(net.blobs["n"].data[0, 4:, :, 1:]).all()  # inf was taken from a running sum that was infinite
    np.testing.assert_array_equal(net.blobs["p"].data[0, 4:, :, 1:], -np.finfo(np.float32).max)
    np.testing.assert_array_equal(net.blobs["p"].data[0, :, :, 0], 0)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is told to keep memory where it is glibc's")
def test_memory_stays_in_the_process_after_a_nets_first_pass():
    program = """if True:
        from helpers.layer_checks import build, input_layer, layer

        net = build(input_layer("x", (1, 1, 5000, 5000)) + layer("y", "x", "y", "type: 'AbsVal'"))
        for _ in range(3):
            net.forward()
            place = net.blobs["y"].tensor().data_ptr()
            parts = [line.split()[0] for line in open("/proc/self/maps") if "[heap]" in line]
            ends = [[int(end, 16) for end in part.split("-")] for part in parts]
            print(any(first <= place < last for first, last in ends))
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command, tests = [sys.executable, "-c", program], Path(__file__).parents[2]
    ran = subprocess.run(command, check=True, cwd=tests, env=environment, capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "True", "True"]


def test_convolutions_of_long_sums_give_the_same_in_passes_with_and_without_backward():
    text = input_layer("x", (2, 128, 9, 9)) + conv("a", "x", "a", 128) + layer("ra", "a", "a", "type: 'ReLU'")
    text += conv("b", "a", "b", 128) + layer("rb", "b", "b", "type: 'ReLU'") + conv("c", "b", "c", 8)
    without, trained = filled(text), filled(text + layer("s", "c", "s", "type: 'Reduction' loss_weight: 1"))
    for net in (without, trained):
        net.forward()
    for name in "ab":
        assert [net.blobs[name].tensor().is_contiguous() for net in (without, trained)] == [True, False]
    for name in "abc":
        np.testing.assert_array_equal(without.blobs[name].data, trained.blobs[name].data)
