"""GPU mode: the CPU's random numbers, its weights to rounding, and a training that resumes where it stopped."""

import cv2
import numpy as np
import pytest

import caffe
from sentiment.networks import architectures

pytestmark = pytest.mark.gpu

NET = """
layer {{ name: "data" type: "ImageData" top: "data" top: "label"
  transform_param {{ mirror: true crop_size: 27 mean_value: 100 }}
  image_data_param {{ source: "{list}" batch_size: 8 shuffle: true new_height: 32 new_width: 32 }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {{ num_output: 8 kernel_size: 5 stride: 2 weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param {{ pool: MAX kernel_size: 3 stride: 2 }} }}
layer {{ name: "norm1" type: "LRN" bottom: "pool1" top: "norm1"
  lrn_param {{ local_size: 5 alpha: 0.0001 beta: 0.75 }} }}
layer {{ name: "fc6" type: "InnerProduct" bottom: "norm1" top: "fc6"
  inner_product_param {{ num_output: 32 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }}
layer {{ name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }}
layer {{ name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7"
  inner_product_param {{ num_output: 2 weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc7" bottom: "label" top: "loss" }}
"""
SOLVER = """
net: "{folder}/net.prototxt" base_lr: 0.001 lr_policy: "step" gamma: 0.1 stepsize: 4 momentum: 0.9 weight_decay: 0.0005
max_iter: 8 random_seed: 5 snapshot_prefix: "{folder}/snapshot" snapshot_after_train: false
"""


def pictures(folder):
    """Write twenty pictures, red ones and blue ones, and a list of them."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(20):
        pixels = rng.integers(0, 120, (40, 50, 3), np.uint8)
        pixels[..., 2 * (number % 2)] += 120
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        lines.append(f"{folder}/{number}.png {number % 2}\n")
    (folder / "list.txt").write_text("".join(lines))
    return folder / "list.txt"


@pytest.fixture
def folder(tmp_path):
    """A net with all that is drawn while training, and its solver."""
    (tmp_path / "net.prototxt").write_text(NET.format(list=pictures(tmp_path)))
    (tmp_path / "solver.prototxt").write_text(SOLVER.format(folder=tmp_path))
    return tmp_path


def trained(folder, steps=8, start=None):
    solver = caffe.SGDSolver(str(folder / "solver.prototxt"))
    if start is not None:
        solver.restore(str(folder / f"snapshot_iter_{start}.solverstate"))
    masks, losses = [], []
    while solver.iter < steps:
        solver.step(1)
        masks.append(solver.net.layer_dict["drop6"].mask.cpu().numpy().copy())
        losses.append(float(solver.net.blobs["loss"].data))
    weights = [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]
    return solver, masks, losses, weights


def distance(found, expected):
    """The largest difference of any array over its largest number."""
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, expected, strict=True))


def test_a_training_draws_what_it_draws_on_the_cpu(folder, on_gpu):
    _, masks, losses, weights = trained(folder)
    on_gpu()
    trained(folder, 3)  # whatever a process trained before
    _, masks_there, losses_there, weights_there = trained(folder)
    np.testing.assert_array_equal(masks_there, masks)
    assert 0.3 < np.mean(masks) < 0.7
    np.testing.assert_allclose(losses_there, losses, rtol=1e-4)
    assert distance(weights_there, weights) < 1e-4


def test_a_training_that_was_stopped_resumes(folder, on_gpu):
    on_gpu()
    solver, masks, losses, weights = trained(folder, 3)
    solver.snapshot()
    _, masks, losses, weights = trained(folder)
    _, masks_there, losses_there, weights_there = trained(folder, start=3)
    np.testing.assert_array_equal(masks_there, masks[3:])
    np.testing.assert_allclose(losses_there, losses[3:], rtol=1e-5)
    assert distance(weights_there, weights) < 1e-5


def test_snapshots_go_both_ways(folder, on_gpu):
    """What a card saved resumes on the CPU, and the other way round."""
    *_, weights = trained(folder)
    solver, *_ = trained(folder, 4)
    solver.snapshot()
    on_gpu()
    *_, from_cpu = trained(folder, start=4)
    solver, *_ = trained(folder, 6)
    solver.snapshot()
    caffe.set_mode_cpu()
    *_, from_card = trained(folder, start=6)
    assert distance(from_cpu, weights) < 1e-4
    assert distance(from_card, weights) < 1e-4


def test_caffenet_takes_the_steps_of_the_cpu(tmp_path, on_gpu):
    """The paper's net at full size, three iterations of four images: the updates of each layer as wholes.

    Single numbers of a gradient differ more: rounding decides which of two nearly equal values a pooling passes on.
    """
    listed, mean = pictures(tmp_path), (104.0, 117.0, 123.0)
    lists = architectures.ImageLists(str(listed), str(listed), "", mean, 4, 4)
    net = architectures.train_val("finetune", lists, scratch=True)
    (tmp_path / "net.prototxt").write_text(str(net))
    solver = SOLVER.format(folder=tmp_path).replace("base_lr: 0.001", "base_lr: 0.000001")
    (tmp_path / "solver.prototxt").write_text(solver)

    def steps():
        solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
        rng = np.random.default_rng(1)
        for values, *_ in solver.net.params.values():
            std = np.sqrt(2 / np.prod(values.shape[1:]), dtype=np.float32)
            values.data[...] = rng.standard_normal(values.shape, np.float32) * std
        for name in (
            "conv1",
            "fc8_twitter",
        ):  # pixels reach 255; what comes after is about 1, and the loss that of guessing
            solver.net.params[name][0].data[...] /= 100
        weights = [[blob.data.copy() for blob in blobs] for blobs in solver.net.params.values()]
        losses = []
        for _ in range(3):
            solver.step(1)
            losses.append(float(solver.net.blobs["loss"].data))
        new = [[blob.data for blob in blobs] for blobs in solver.net.params.values()]
        return losses, [np.concatenate([(a - b).ravel() for a, b in zip(*pair)]) for pair in zip(new, weights)]

    losses, updates = steps()
    on_gpu()
    losses_there, updates_there = steps()
    np.testing.assert_allclose(losses_there[0], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses_there, losses, rtol=1e-3)  # 1.3e-4 on an H100
    for found, expected in zip(updates_there, updates, strict=True):
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)
