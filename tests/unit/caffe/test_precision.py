"""CAFFE_PRECISION: what rounds more where it is asked for, and nothing else."""

import numpy as np
import pytest
import torch

import caffe
from caffe import layers as L
from caffe.runtime import mode
from sentiment import engine

rng = np.random.default_rng(3)
IMAGES = rng.standard_normal((2, 8, 9, 9), np.float32)
KINDS = {
    "convolution": lambda x: L.Convolution(x, num_output=6, kernel_size=3, pad=1, weight_filler={"type": "xavier"}),
    "long sums": lambda x: L.Convolution(
        x, num_output=6, kernel_size=9, pad=4, group=1, weight_filler={"type": "xavier"}
    ),
    "groups": lambda x: L.Convolution(x, num_output=6, kernel_size=3, group=2, weight_filler={"type": "xavier"}),
    "deconvolution": lambda x: L.Deconvolution(
        x, convolution_param={"num_output": 6, "kernel_size": 3, "weight_filler": {"type": "xavier"}}
    ),
    "inner product": lambda x: L.InnerProduct(x, num_output=6, weight_filler={"type": "xavier"}),
}


def computed(tmp_path, kind):
    """Output, and gradients with respect to input, weight and bias for a diff of ones."""
    spec = caffe.NetSpec()
    spec.x = L.Input(shape={"dim": list(IMAGES.shape)})
    spec.y = KINDS[kind](spec.x)
    path = tmp_path / "net.prototxt"
    path.write_text(f"force_backward: true\n{spec.to_proto()}")
    caffe.set_random_seed(1)
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["x"].data[...] = IMAGES
    net.forward()
    net.blobs["y"].diff[...] = 1
    net.backward()
    blobs = [net.blobs["y"].data, net.blobs["x"].diff, *(blob.diff for blob in net.params["y"])]
    return [blob.copy() for blob in blobs]


def error(found, exact):
    return np.abs(found - exact).max() / np.abs(exact).max()


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_rounds_products_to_eight_bits(kind, tmp_path, monkeypatch):
    exact = computed(tmp_path, kind)
    monkeypatch.setenv("CAFFE_PRECISION", "bf16")
    found = computed(tmp_path, kind)
    assert all(array.dtype == np.float32 for array in found)
    errors = [error(*pair) for pair in zip(found, exact, strict=True)]
    assert all(value < 2**-6 for value in errors), errors
    assert errors[0] > 2**-14, errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["", "float32", "tf32"])
def test_on_a_cpu_the_others_are_float32(kind, precision, tmp_path, monkeypatch):
    exact = computed(tmp_path, kind)
    monkeypatch.setenv("CAFFE_PRECISION", precision)
    for found, wanted in zip(computed(tmp_path, kind), exact, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_another_word_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_PRECISION", "half")
    with pytest.raises(caffe.CaffeError, match=r"CAFFE_PRECISION is 'half'.*float32, tf32, bf16"):
        computed(tmp_path, "convolution")


def test_tf32_is_off_unless_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for word, allowed in (("", False), ("tf32", True), ("bf16", False), ("float32", False)):
            monkeypatch.setenv("CAFFE_PRECISION", word)
            caffe.set_mode_gpu()
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)
    finally:
        caffe.set_mode_cpu()
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_a_card_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    try:
        caffe.set_device(2)
        with pytest.raises(caffe.CaffeError, match="Cannot use GPU 2: torch sees 2 here, counted from 0"):
            caffe.set_mode_gpu()
        assert not mode.is_gpu()
    finally:
        caffe.set_device(0)
        caffe.set_mode_cpu()


def test_tools_know_the_same_words():
    assert engine.PRECISIONS == mode.PRECISIONS
