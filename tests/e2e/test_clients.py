"""Ways in which published programs use pycaffe: their loops, nets and surgery, on inputs small enough to check."""

import re
from itertools import pairwise

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2

CLASSES = 3
MODULE = "layers_of_clients"

# pictures and their labels one at a time, of which each has the net reshaped to its size
DATA_LAYERS = """
import caffe
import numpy as np


class Pairs(caffe.Layer):
    def setup(self, bottom, top):
        params = eval(self.param_str)
        self.sizes, self.random = params["sizes"], params.get("seed") is not None
        self.chance, self.place, self.seen = np.random.RandomState(params.get("seed")), 0, []

    def reshape(self, bottom, top):
        height, width = self.sizes[self.place]
        rows = np.arange(height)[:, np.newaxis] * np.ones(width)
        self.label = (rows * 3 // height)[np.newaxis].astype(np.uint8)
        self.label[0, 0, 0] = 255
        self.data = np.stack([rows / height, np.ones((height, width))]).astype(np.float32)
        top[0].reshape(1, *self.data.shape)
        top[1].reshape(1, *self.label.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.data
        top[1].data[...] = self.label
        self.seen.append(self.sizes[self.place])
        last = len(self.sizes)
        self.place = self.chance.randint(last) if self.random else (self.place + 1) % last

    def backward(self, top, propagate_down, bottom):
        pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the layers above in a module, as beside a published solve.py."""
    (tmp_path / f"{MODULE}.py").write_text(DATA_LAYERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def solver_file(path="solver.prototxt", **more):
    """A solver definition written by a SolverParameter, as notebooks do."""
    settings = {"base_lr": 0.1, "lr_policy": "fixed", "momentum": 0.9, "max_iter": 100, "random_seed": 1, **more}
    test_nets = settings.pop("test_net", [])
    param = caffe_pb2.SolverParameter(**settings)
    for net in test_nets:
        param.test_net.append(net)
        param.test_iter.append(1)
    if test_nets:
        param.test_interval = 999999999
        param.test_initialization = False
    with open(path, "w") as file:
        file.write(str(param))
    return path


def bilinear(size):
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    rows, columns = np.ogrid[:size, :size]
    return (1 - abs(rows - center) / factor) * (1 - abs(columns - center) / factor)


def segmentation_net(**params):
    net = caffe.NetSpec()
    net.data, net.label = L.Python(module=MODULE, layer="Pairs", ntop=2, param_str=str(params))
    net.conv = L.Convolution(net.data, num_output=8, kernel_size=4, stride=2, pad=9, weight_filler={"type": "xavier"})
    net.relu = L.ReLU(net.conv, in_place=True)
    net.score_fr = L.Convolution(
        net.relu, num_output=CLASSES, kernel_size=1, param=[{"lr_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
    )
    net.upscore = L.Deconvolution(
        net.score_fr,
        convolution_param={"num_output": CLASSES, "kernel_size": 4, "stride": 2, "bias_term": False},
        param=[{"lr_mult": 0}],
    )
    net.score = caffe.coord_map.crop(net.upscore, net.data)
    net.loss = L.SoftmaxWithLoss(net.score, net.label, loss_param={"normalize": True, "ignore_label": 255})
    return str(net.to_proto())


def test_a_segmentation_net_is_trained_picture_by_picture_and_scored_by_a_sharing_test_net(folder):
    sizes, held_out = [(12, 16), (20, 9), (15, 15)], [(18, 14), (13, 21)]
    (folder / "train.prototxt").write_text(segmentation_net(sizes=sizes, seed=1337))
    (folder / "val.prototxt").write_text(segmentation_net(sizes=held_out))
    solver = caffe.SGDSolver(solver_file(train_net="train.prototxt", test_net=["val.prototxt"], iter_size=2))
    up = [name for name in solver.net.params if "up" in name]
    for name in up:
        m, k, height, width = solver.net.params[name][0].data.shape
        assert m == k and height == width
        solver.net.params[name][0].data[range(m), range(k), :, :] = bilinear(height)

    def histogram():
        net = solver.test_nets[0]
        net.share_with(solver.net)
        counts, loss = np.zeros((CLASSES, CLASSES)), 0
        for size in held_out:
            net.forward()
            truth, found = net.blobs["label"].data[0, 0].flatten(), net.blobs["score"].data[0].argmax(0).flatten()
            assert net.blobs["score"].data.shape == (1, CLASSES, *size) and net.blobs["score"].channels == CLASSES
            known = (truth >= 0) & (truth < CLASSES)
            places = CLASSES * truth[known].astype(int) + found[known]
            counts += np.bincount(places, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
            loss += net.blobs["loss"].data.flat[0]
        assert counts.sum() == sum(height * width - 1 for height, width in held_out)
        return counts, loss

    before, first_loss = histogram()
    solver.step(60)
    after, last_loss = histogram()
    assert last_loss < first_loss / 2
    assert np.diag(after).sum() / after.sum() > max(0.8, np.diag(before).sum() / before.sum())
    found = solver.net.params["upscore"][0].data
    np.testing.assert_array_equal(found[range(CLASSES), range(CLASSES)], np.float32([bilinear(4)] * CLASSES))
    assert not found[0, 1].any()


@pytest.fixture
def digits(folder):
    """The folder with an HDF5 list of twelve pictures of four classes, and a net on it."""
    import h5py

    labels = np.arange(12) % 4
    pixels = np.random.RandomState(0).normal(0, 0.2, (12, 1, 6, 6)) + np.eye(36)[labels * 7].reshape(12, 1, 6, 6)
    with h5py.File(folder / "digits.h5", "w") as file:
        file.create_dataset("data", data=pixels, compression="gzip")
        file["label"] = labels.astype(np.float32)
    (folder / "digits.txt").write_text(f"{folder}/digits.h5\n")
    net = caffe.NetSpec()
    net.data, net.label = L.HDF5Data(source="digits.txt", batch_size=8, ntop=2)
    net.conv1 = L.Convolution(net.data, kernel_size=3, num_output=6, weight_filler={"type": "xavier"})
    net.pool1 = L.Pooling(net.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    net.fc1 = L.InnerProduct(net.pool1, num_output=10, weight_filler={"type": "xavier"})
    net.relu1 = L.ReLU(net.fc1, in_place=True)
    net.score = L.InnerProduct(net.relu1, num_output=4, weight_filler={"type": "xavier"})
    net.accuracy = L.Accuracy(net.score, net.label)
    net.loss = L.SoftmaxWithLoss(net.score, net.label)
    (folder / "net.prototxt").write_text(str(net.to_proto()))
    return folder


def convolution(name, bottom, channels, size):
    """Definition of a convolution."""
    param = f"convolution_param {{ num_output: {channels} kernel_size: {size} }}"
    return f"layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}' {param} }} "


def relu(blob):
    """Definition of a ReLU in place."""
    return f"layer {{ name: 'relu-{blob}' type: 'ReLU' bottom: '{blob}' top: '{blob}' }} "


def parameters(net):
    return np.concatenate([blob.data.ravel() for blobs in net.params.values() for blob in blobs])


def test_a_test_net_is_run_again_without_its_data_layer_while_the_solver_steps(digits):
    solver = caffe.SGDSolver(solver_file(train_net="net.prototxt", test_net=["net.prototxt"]))
    test_net = solver.test_nets[0]
    test_net.share_with(solver.net)
    test_net.forward()
    shown = test_net.blobs["data"].data.copy()
    scores, losses = [], np.zeros(20)
    for it in range(len(losses)):
        solver.step(1)
        losses[it] = solver.net.blobs["loss"].data
        test_net.forward(start="conv1")
        scores.append(test_net.blobs["score"].data[:2].copy())
        np.testing.assert_array_equal(test_net.blobs["data"].data, shown)
    assert losses[-1] < losses[0]
    assert all((first != second).any() for first, second in pairwise(scores))
    accuracy = 0
    for _ in range(3):
        accuracy += test_net.forward()["accuracy"]
    assert accuracy / 3 == 1


def test_solvers_that_take_turns_learn_what_each_learns_alone(digits):
    files = [
        solver_file(f"{name}.prototxt", train_net="net.prototxt", type=name, random_seed=seed, momentum=momentum)
        for name, seed, momentum in (("SGD", 1, 0.9), ("Adam", 2, 0.9), ("AdaGrad", 3, 0))
    ]
    alone = []
    for file in files:
        solver = caffe.get_solver(file)
        solver.step(5)
        alone.append(parameters(solver.net))
    solvers = [caffe.get_solver(file) for file in files]
    for _ in range(5):
        for solver in solvers:
            solver.step(1)
    for solver, expected in zip(solvers, alone):
        np.testing.assert_array_equal(parameters(solver.net), expected)


def test_a_classifiers_weights_move_into_another_net_flat_and_by_views_taken_before(folder):
    dims = "input: 'data' input_dim: 1 input_dim: 2 input_dim: 5 input_dim: 5 "
    conv = convolution("conv", "data", 3, 2)
    fc = "layer { name: 'fc' type: 'InnerProduct' bottom: 'conv' top: 'fc' inner_product_param { num_output: 4 } }"
    full = convolution("fc-conv", "conv", 4, 4)
    for name, text in (("net", dims + conv + fc), ("full", dims + conv + full)):
        (folder / f"{name}.prototxt").write_text(text)
    net = caffe.Net("net.prototxt", caffe.TEST)
    chance = np.random.RandomState(4)
    views = {name: (blobs[0].data, blobs[1].data) for name, blobs in net.params.items()}
    for weights, bias in views.values():
        weights.flat = chance.normal(size=weights.size)
        bias[...] = chance.normal(size=bias.shape)
    net.save("net.caffemodel")
    transplanted = caffe.Net("full.prototxt", "net.caffemodel", caffe.TEST)
    for index in range(2):
        transplanted.params["fc-conv"][index].data.flat = views["fc"][index].flat
    picture = chance.normal(size=(1, 2, 5, 5))
    first = net.forward_all(data=picture)["fc"]
    np.testing.assert_allclose(transplanted.forward_all(data=picture)["fc-conv"][..., 0, 0], first, rtol=1e-5)
    wide = np.concatenate([picture, picture[..., ::-1]], axis=3)
    transplanted.blobs["data"].reshape(*wide.shape)
    transplanted.blobs["data"].data[...] = wide
    score = transplanted.forward()["fc-conv"]
    assert score.shape == (1, 4, 1, 6)
    np.testing.assert_allclose(score[0, :, 0, 0], first[0], rtol=1e-5)
    seen = net.blobs["conv"].data[0, 0]
    mean = seen.mean()
    net.params["conv"][1].data[0] += 1
    net.forward()
    assert seen.mean() == pytest.approx(mean + 1, rel=1e-5)


def test_gradients_put_in_at_several_layers_on_the_way_down_add_up(folder):
    """Pictures are drawn so: diffs are written at a layer, carried to the next one, and added to there."""
    text = "input: 'data' input_dim: 1 input_dim: 2 input_dim: 7 input_dim: 7 force_backward: true "
    text += convolution("conv1", "data", 3, 3) + relu("conv1")
    text += convolution("conv2", "conv1", 4, 2) + relu("conv2")
    (folder / "net.prototxt").write_text(text)
    net = caffe.Net("net.prototxt", caffe.TEST)
    chance = np.random.RandomState(5)
    for blobs in net.params.values():
        blobs[0].data[...] = chance.normal(size=blobs[0].data.shape)
    goals, layers = {}, ["conv1", "conv2"]
    net.forward_all(data=chance.normal(size=(1, 2, 7, 7)))
    for layer in layers:
        goals[layer] = net.blobs[layer].data[0].copy()

    def loss_and_gradient(flat):
        net.blobs["data"].data[0] = flat.reshape(net.blobs["data"].shape[1:])
        net.forward()
        loss = 0
        net.blobs[layers[-1]].diff[:] = 0
        for layer, below in ("conv2", "conv1"), ("conv1", None):
            gradient = net.blobs[layer].diff[0]
            difference = net.blobs[layer].data[0] - goals[layer]
            loss += (difference.astype(np.float64) ** 2).sum() / 2
            gradient += difference * (net.blobs[layer].data[0] > 0)
            net.backward(start=layer, end=below)
        return loss, net.blobs["data"].diff[0].flatten().astype(np.float64)

    place = chance.normal(size=98)
    _, gradient = loss_and_gradient(place)
    way = gradient / np.linalg.norm(gradient)
    slope = (loss_and_gradient(place + 1e-3 * way)[0] - loss_and_gradient(place - 1e-3 * way)[0]) / 2e-3
    assert slope == pytest.approx(gradient @ way, rel=1e-2)


def test_an_end_in_the_middle_makes_a_picture_that_pleases_it_more(folder):
    text = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } } "
    text += convolution("conv", "data", 4, 3) + relu("conv")
    text += (
        "layer { name: 'pool' type: 'Pooling' bottom: 'conv' top: 'pool' pooling_param { kernel_size: 2 stride: 2 } } "
    )
    text += "layer { name: 'fc' type: 'InnerProduct' bottom: 'pool' top: 'fc' inner_product_param { num_output: 2 } }"
    model = caffe.io.caffe_pb2.NetParameter()
    text_format.Merge(text, model)
    model.force_backward = True
    (folder / "net.prototxt").write_text(str(model))
    made, chance = caffe.Net("net.prototxt", caffe.TEST), np.random.RandomState(6)
    made.params["conv"][0].data[...] = chance.normal(size=made.params["conv"][0].data.shape)
    made.save("net.caffemodel")
    means = np.float32([104, 116, 122])
    net = caffe.Classifier("net.prototxt", "net.caffemodel", mean=means, channel_swap=(2, 1, 0))
    mean = net.transformer.mean["data"]
    assert mean.shape == (3, 1, 1)
    src, dst = net.blobs["data"], net.blobs["pool"]
    src.reshape(1, 3, 12, 10)  # larger than the classifier's layers above the end could take
    src.data[0] = np.float32(np.rollaxis(chance.uniform(0, 255, (12, 10, 3)), 2)[::-1]) - mean
    pleased = []
    for _ in range(5):
        net.forward(end="pool")
        pleased.append((dst.data**2).sum())
        dst.diff[:] = dst.data
        net.backward(start="pool")
        gradient = src.diff[0]
        src.data[:] += 1.5 / np.abs(gradient).mean() * gradient
        src.data[:] = np.clip(src.data, -mean, 255 - mean)
    assert pleased == sorted(pleased) and pleased[-1] > 1.2 * pleased[0]


def test_lines_of_a_training_are_read_by_what_stands_behind_the_bracket(digits, capfd):
    """Programs that watch a training split each line at the bracket after the file and its line."""
    solver_file(
        train_net="net.prototxt", test_net=["net.prototxt"], display=2, max_iter=4, snapshot=2, snapshot_prefix="snap"
    )
    param = text_format.Parse((digits / "solver.prototxt").read_text(), caffe_pb2.SolverParameter())
    param.test_interval, param.test_initialization = 2, True
    (digits / "solver.prototxt").write_text(str(param))
    caffe.get_solver("solver.prototxt").solve()
    number = r"(NaN|[-+]?[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?)"
    seen = {"Train": [], "Test": [], "rates": [], "saved": 0}
    saving = False
    for line in capfd.readouterr().err.splitlines():
        parts = re.match(r"([IWEF]).*\.(?:cpp|hpp):\d+\]\s+(\S.*)$", line)
        if not parts:
            continue
        level, message = parts.groups()
        assert level == "I"
        if output := re.match(rf"(Train|Test) net output #(\d+): (\S*) = {number}", message):
            seen[output[1].capitalize()].append((output[3], float(output[4])))
        elif rate := re.match(rf"Iteration (\d+), lr = {number}", message):
            seen["rates"].append((int(rate[1]), float(rate[2])))
        elif saving:
            assert message.startswith("Snapshotting solver state")
            saving, seen["saved"] = False, seen["saved"] + 1
        elif message.startswith("Snapshotting to "):
            saving = True
    assert seen["saved"] == 2
    assert seen["rates"] == [(0, 0.1), (2, 0.1)]
    assert [name for name, _ in seen["Train"]] == ["accuracy", "loss"] * 2
    assert [name for name, _ in seen["Test"]] == ["accuracy", "loss"] * 3
    newest = max(
        (path.name for path in digits.glob("snap*.caffemodel")), key=lambda name: int(re.search(r"_(\d+)\.", name)[1])
    )
    assert newest == "snap_iter_4.caffemodel"
