"""Training steps on a device whose numbers cannot be read, torch's `meta`, which stands in for a GPU.

Reading a number there raises an error, as do operations on tensors of this device and the CPU. So a step that ends
neither waited for the GPU nor left a tensor in the wrong place.
"""

import contextlib

import cv2
import numpy as np
import pytest
import torch

import caffe
from caffe.layers import conv
from caffe.runtime import mode
from sentiment.networks import architectures


@pytest.fixture
def unreadable(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    monkeypatch.setattr(mode, "_copying", lambda _: None)
    monkeypatch.setattr(mode, "device", lambda: torch.device("meta" if mode.is_gpu() else "cpu"))
    caffe.set_mode_gpu()
    yield
    caffe.set_mode_cpu()


@pytest.fixture
def listed(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (20, 20, 3), np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{number}.png {number % 2}\n" for number in range(4)))
    return tmp_path / "list.txt"


@pytest.mark.parametrize("precision", mode.PRECISIONS)
@pytest.mark.parametrize("arch", ["finetune", "squeezenet", "googlenet"])
def test_a_training_step_never_waits_for_the_gpu(arch, precision, listed, tmp_path, monkeypatch, unreadable):
    monkeypatch.setenv(mode.PRECISION, precision)
    monkeypatch.setattr(conv, "_LARGE", 1)  # for these small nets to take the ways of large ones
    lists = architectures.ImageLists(str(listed), str(listed), "", (104.0, 117.0, 123.0), 2, 2)
    (tmp_path / "net.prototxt").write_text(str(architectures.train_val(arch, lists, divisor=16, scratch=True)))
    # without momentum, for torch's fused update has no version for this device
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.001 lr_policy: "fixed" weight_decay: 0.0005 '
        "iter_size: 2 snapshot_after_train: false"
    )
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    solver.step(2)
    assert solver.iter == 2
    for blobs in solver.net.params.values():
        for blob in blobs:
            assert {blob.tensor().device.type, blob.diff_tensor().device.type} == {"meta"}
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(solver.net.blobs["loss"].tensor())
