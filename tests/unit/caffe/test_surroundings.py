"""What the program around has set in PyTorch or numpy changes no number here."""

import contextlib

import numpy as np
import pytest
import torch

import caffe
from helpers.layer_checks import build, input_layer, layer


@contextlib.contextmanager
def default(set_it, value, usual):
    set_it(value)
    try:
        yield
    finally:
        set_it(usual)


def other_seed():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the programs around use it
    return contextlib.nullcontext()


SURROUNDINGS = {
    "float64 by default": lambda: default(torch.set_default_dtype, torch.float64, torch.float32),
    "another device by default": lambda: default(torch.set_default_device, "meta", "cpu"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "errors of floating point": lambda: np.errstate(all="raise"),
    "another seed": other_seed,
}

FILLED = "weight_filler { type: 'xavier' } bias_filler { type: 'constant' value: 0.1 }"
NET = (
    "layer { name: 'd' type: 'DummyData' top: 'x' top: 't' dummy_data_param { shape { dim: 3 dim: 4 dim: 9 dim: 9 } "
    "shape { dim: 3 } data_filler { type: 'gaussian' } data_filler { type: 'constant' value: 1 } } } "
    + layer("c", "x", "c", f"type: 'Convolution' convolution_param {{ num_output: 8 kernel_size: 3 {FILLED} }}")
    + layer("n", "c", "n", "type: 'LRN'")
    + layer("p", "n", "p", "type: 'Pooling' pooling_param { pool: AVE kernel_size: 3 stride: 2 }")
    + layer("b", "p", "b", "type: 'BatchNorm'")
    + layer("w", "b", "w", "type: 'Power' power_param { power: 2 scale: 0.5 shift: 1 }")
    + layer("i", "w", "i", f"type: 'InnerProduct' inner_product_param {{ num_output: 5 {FILLED} }}")
    + layer("o", "i", "i", "type: 'Dropout'")
    + layer("a", "i t", "a", "type: 'Accuracy' accuracy_param { top_k: 2 }")
    + layer("l", "i t", "l", "type: 'SoftmaxWithLoss' loss_weight: 0.5")
)


def trained(folder):
    """Weights, gradients and blobs after some iterations."""
    (folder / "net.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(
        f"net: '{folder}/net.prototxt' base_lr: 0.1 lr_policy: 'fixed' momentum: 0.9 random_seed: 1 clip_gradients: 1 "
        "max_iter: 9 snapshot_after_train: false"
    )
    solver = caffe.get_solver(str(folder / "solver.prototxt"))
    solver.step(3)
    return solver, numbers(solver)


def numbers(solver):
    blobs = [blob for blobs in solver.net.params.values() for blob in blobs] + list(solver.net.blobs.values())
    return [array.copy() for blob in blobs for array in (blob.data, blob.diff)]


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_training_gives_the_same_bits(name, tmp_path):
    usual, expected = trained(tmp_path)
    with SURROUNDINGS[name]():
        solver, found = trained(tmp_path)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for one in (usual, solver):
        caffe.set_random_seed(7)
        one.net.params["c"][0].data[...] += 1
        one.step(2)
    for ours, theirs in zip(numbers(solver), numbers(usual), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_net_made_elsewhere_is_run_in_inference_mode():
    text = input_layer("x", (2, 3)) + layer("i", "x", "y", "type: 'InnerProduct' inner_product_param { num_output: 2 }")
    net = build("force_backward: true " + text)
    net.params["i"][0].data[...] = [[1, 2, 3], [4, 5, 6]]
    with torch.inference_mode():
        np.testing.assert_array_equal(net.forward(x=np.ones((2, 3), np.float32))["y"], [[6, 15]] * 2)
        net.blobs["y"].diff[...] = 1
        net.backward()
    np.testing.assert_array_equal(net.blobs["x"].diff, [[5, 7, 9]] * 2)
    net.forward(x=np.zeros((2, 3), np.float32))
    net.backward()
    assert not net.blobs["y"].data.any()
