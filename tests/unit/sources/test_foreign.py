"""Weights of other programs: files as these write them become just those weights, and the nets compute alike."""

import os
import pickle
import random
import shutil
import struct
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import caffe
from caffe.proto import caffe_pb2
from sentiment.networks import architectures, transfer, weights_files
from sentiment.sources import cards, foreign, foreign_coreml
from sentiment.utils.errors import UserError

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
POOLED, NORMED = (0, 1, 4), (0, 1)  # CaffeNet's convolutions that a pooling follows, and a normalisation


@pytest.fixture(autouse=True)
def converted(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "CONVERTED", tmp_path / "converted")


def filled(definition, folder):
    """A net with random weights and biases, of a size that lets every one of them count."""
    (folder / "deploy.prototxt").write_text(str(definition))
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    rng = np.random.default_rng(0)
    for weights, bias in net.params.values():
        weights.data[...] = rng.normal(0, np.sqrt(2 / weights.data[0].size), weights.data.shape)
        bias.data[...] = rng.normal(0, 0.1, bias.data.shape)
    net.path = folder / "deploy.prototxt"
    return net


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """CaffeNet with a sixteenth of the channels and five classes."""
    definition = str(architectures.deploy("finetune", 16)).replace("fc8_twitter", "fc8")
    return filled(definition.replace("num_output: 2\n", "num_output: 5\n"), tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(-120, 150, (2, 3, 227, 227)).astype(np.float32)


def params(net):
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def blobs(path):
    """What a .caffemodel holds."""
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return {
        layer.name: [np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim)) for blob in layer.blobs]
        for layer in net.layer
    }


def holds(path, expected, last=None):
    """Check that a file is converted to just the expected weights, in this order; returns the .caffemodel."""
    of = foreign.caffemodel(path)
    found = blobs(of)
    names = [*list(expected)[:-1], last or list(expected)[-1]]
    assert list(found) == names
    for name, arrays in zip(names, expected.values()):
        for array, wanted in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(array, wanted, err_msg=name)
    return of


def computes(path, net, images, expected):
    """Check that a net with the converted weights computes the expected probabilities, which are far from even."""
    converted = blobs(foreign.caffemodel(path))
    other = caffe.Net(str(net.path), caffe.TEST)
    for of_layer, arrays in zip(other.params.values(), converted.values(), strict=True):
        for blob, array in zip(of_layer, arrays, strict=True):
            blob.data[...] = array
    other.blobs["data"].reshape(*images.shape)
    found = other.forward(data=images)["prob"]
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# ONNX


def graph(net, name="{}_{}_0", fc="transB", fc6=None, conv_add=False, last_axis=False, lrn=True, before=()):
    """CaffeNet as an ONNX model, written operator by operator."""
    from onnx import TensorProto, helper, numpy_helper

    stored, nodes, top = [], list(before), "image" if before else "data_0"

    def constant(name, values):
        stored.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(op, *inputs, **attributes):
        nodes.append(helper.make_node(op, inputs, [f"out{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    for index, (layer, (weights, bias)) in enumerate(params(net).items()):
        names = name.format(layer, "w"), name.format(layer, "b")
        if layer.startswith("conv"):
            stride, pad = (4, 0) if index == 0 else (1, weights.shape[-1] // 2)
            group = 2 if index in (1, 3, 4) else 1
            window = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
            if conv_add:
                top = node("Conv", top, constant(names[0], weights), **window)
                top = node("Add", constant(names[1], bias[:, None, None]), top)
            else:
                top = node("Conv", top, *map(constant, names, (weights, bias)), **window)
            top = node("Relu", top)
            if index in POOLED:
                top = node("MaxPool", top, kernel_shape=[3, 3], strides=[2, 2])
            if index in NORMED and lrn:
                top = node("LRN", top, size=5, alpha=1e-4, beta=0.75, bias=1.0)
            elif index in NORMED:
                side, numbers = (27, 13)[index], [np.float32(number) for number in (1e-4, 1, 0.75)]
                shapes = [2, 1, len(bias), side * side], [2, len(bias), side, side]
                lines = node("Reshape", node("Mul", top, top), constant(f"lines{index}", np.array(shapes[0])))
                mean = node("AveragePool", lines, kernel_shape=[5, 1], pads=[2, 0, 2, 0], count_include_pad=1)
                power = node("Reshape", mean, constant(f"maps{index}", np.array(shapes[1])))
                for op, number in zip(("Mul", "Add", "Pow"), numbers):
                    power = node(op, power, constant(f"{op}{index}", number))
                top = node("Div", top, power)
            continue
        if layer == "fc6":
            weights = weights if fc6 is None else fc6
            if last_axis:
                top = node("Transpose", top, perm=[0, 2, 3, 1])
            top = node("Reshape", top, constant("OC2_DUMMY_1", np.array([-1, weights.shape[1]])))
        if fc == "transB":
            top = node("Gemm", top, *map(constant, names, (weights, bias)), transB=1)
        elif fc == "scaled":
            top = node("Gemm", top, *map(constant, names, (weights.T * 4, bias[None] / 2)), alpha=0.25, beta=2.0)
        else:
            turned = node("Transpose", constant(names[0], weights), perm=[1, 0])
            top = node("Add", node("MatMul", top, turned), constant(names[1], bias))
        if layer != "fc8":
            top = node("Dropout", node("Relu", top))
    nodes.append(helper.make_node("Softmax", [top], ["prob_1"]))
    ends = [("data_0", [2, 3, 227, 227])], [("prob_1", [2, 5])]
    inputs, outputs = (
        [helper.make_tensor_value_info(of, TensorProto.FLOAT, shape) for of, shape in end] for end in ends
    )
    made = helper.make_graph(nodes, "caffenet", inputs, outputs, stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)


@pytest.fixture
def save_onnx(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx, of the optional extra `export`")

    def save(model):
        onnx.save(model, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    return save


def by_onnxruntime(path, images):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the optional extra `export`")
    return onnxruntime.InferenceSession(path).run(None, {"data_0": images})[0]


def test_the_onnx_zoos_caffenet(net, images, save_onnx, capsys):
    path = save_onnx(graph(net))
    of = holds(path, params(net))
    assert f"converted {path} to {of}: conv1 … fc8" in capsys.readouterr().out
    computes(path, net, images, by_onnxruntime(path, images))


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ({"fc": "scaled", "name": "features.{}.{}"}, "features.fc8.w"),
        ({"fc": "matmul", "name": "onnx::{1}_{0}"}, "onnx::w_fc8"),
        ({"conv_add": True, "name": "{}/{}"}, "fc8/w"),
        ({"name": "net.{}.{}eight", "lrn": False}, "net.fc8.weight"),
    ],
)
def test_the_same_graph_in_other_forms(net, images, save_onnx, form, last):
    path = save_onnx(graph(net, **form))
    holds(path, params(net), last.removesuffix(".weight"))
    computes(path, net, images, by_onnxruntime(path, images))


def test_a_graph_that_flattens_channels_last(net, images, save_onnx):
    fc6 = params(net)["fc6"][0].reshape(256, 16, 6, 6).transpose(0, 2, 3, 1).reshape(256, -1)
    path = save_onnx(graph(net, fc6=fc6, last_axis=True))
    holds(path, params(net))
    computes(path, net, images, by_onnxruntime(path, images))


@pytest.mark.parametrize("arch", ["finetune", "fc7-2", "fc6-2", "fc9", "squeezenet", "googlenet"])
def test_an_export_of_this_project_comes_back(tmp_path, save_onnx, arch):
    onnx_export = pytest.importorskip("sentiment.networks.onnx_export", reason="needs the optional extra `export`")
    last = architectures.LastLayer("fc8", 7) if arch == "fc9" else None
    of_caffenet = architectures.ARCHITECTURES[arch].of_caffenet
    net = filled(architectures.deploy(arch, 16 if of_caffenet else 1, last), tmp_path)
    model, _ = onnx_export.export(net, arch)
    of = holds(save_onnx(model), params(net))
    again = transfer.load(caffe, tmp_path / "deploy.prototxt", of)
    assert weights_files.fits(weights_files.read(of))["fc6-2" if of_caffenet else arch] == ""
    for name, arrays in params(again).items():
        np.testing.assert_array_equal(arrays[0], net.params[name][0].data)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "words"),
    [
        ("DequantizeLinear", ["data_0", "scale", "zero"], {}, "DequantizeLinear .* is of a quantised model"),
        ("Mul", ["data_0", "fc8_b_0"], {}, r"Mul \(scaled\) is not part of any"),
        ("Sub", ["data_0", "scale"], {}, r"Sub \(scaled\) is not part of any"),
        ("Transpose", ["data_0"], {"perm": [0, 1, 3, 2]}, "puts the axes in the order"),
        ("Gather", ["data_0", "order"], {"axis": 1}, r"Gather \(scaled\) is not part of any"),
    ],
)
def test_what_a_caffenet_does_not_compute_is_refused(net, save_onnx, op, inputs, attributes, words):
    from onnx import helper

    first = helper.make_node(op, inputs, ["image"], name="scaled", **attributes)
    with pytest.raises(UserError, match=words):
        foreign.caffemodel(save_onnx(graph(net, before=[first])))


# PyTorch


def modules(net):
    """CaffeNet in PyTorch's own layers."""
    layers = []
    for index, (weights, bias) in enumerate(params(net).values()):
        if weights.ndim == 4:
            groups = 2 if index in (1, 3, 4) else 1
            stride, pad = (4, 0) if index == 0 else (1, weights.shape[-1] // 2)
            layers.append(
                nn.Conv2d(groups * weights.shape[1], len(weights), weights.shape[-1], stride, pad, groups=groups)
            )
        else:
            layers += [nn.Flatten()] * (index == 5) + [nn.Linear(weights.shape[1], len(weights))]
        layers[-1].weight.data, layers[-1].bias.data = torch.tensor(weights), torch.tensor(bias)
        layers += [nn.ReLU()] * (index < 7) + [nn.MaxPool2d(3, 2, ceil_mode=True)] * (index in POOLED)
        layers += [nn.LocalResponseNorm(5, 1e-4, 0.75, 1)] * (index in NORMED)
    return nn.Sequential(*layers)


def named(net, prefix=""):
    """A state dict with the names of JigenDG's alexnet_caffe.pth.tar."""
    return {
        f"{prefix}{'features' if 'conv' in name else 'classifier'}.{name}.{kind}": torch.tensor(array)
        for name, arrays in params(net).items()
        for kind, array in zip(("weight", "bias"), arrays)
    }


def test_a_pytorch_net_computes_the_same(tmp_path, net, images, capsys):
    module = modules(net).eval()
    torch.save(module.state_dict(), tmp_path / "net.pth")
    with torch.no_grad():
        expected = functional.softmax(module(torch.tensor(images)), 1).numpy()
    computes(tmp_path / "net.pth", net, images, expected)
    assert "note: net.pth: a PyTorch file records neither" in capsys.readouterr().out
    holds(tmp_path / "net.pth", params(net), "20")


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.pth.tar"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_state_dicts_and_checkpoints(tmp_path, net, name, zipped, checkpoint):
    state = named(net, "module." if checkpoint else "")
    content = {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}} if checkpoint else state
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    of = holds(tmp_path / name, params(net))
    assert of.name.startswith("net-")


def test_float16_is_accepted_with_a_note(tmp_path, net, capsys):
    torch.save({name: tensor.half() for name, tensor in named(net).items()}, tmp_path / "half.pt")
    holds(tmp_path / "half.pt", {name: [array.astype(np.float16) for array in of] for name, of in params(net).items()})
    assert "its weights are float16" in capsys.readouterr().out


def test_a_squeezenet_by_the_order_of_its_layers(tmp_path):
    net = filled(architectures.deploy("squeezenet"), tmp_path)
    numbers = {"conv1": "features.0", "conv10_twitter": "classifier.1"}
    numbers |= {f"fire{fire}": f"features.{place}" for fire, place in zip(range(2, 10), (3, 4, 5, 7, 8, 9, 10, 12))}
    state = {}
    for name, arrays in params(net).items():
        block, _, layer = name.partition("/")
        of = ".".join(filter(None, (numbers[block], layer.replace("squeeze1x1", "squeeze"))))
        state |= {f"{of}.{kind}": torch.tensor(array) for kind, array in zip(("weight", "bias"), arrays)}
    torch.save(state, tmp_path / "squeezenet.pth")
    holds(tmp_path / "squeezenet.pth", params(net), "classifier.1")


# caffe-tensorflow


def tensorflow_layers(net):
    """Layers as caffe-tensorflow stores them: height, width, inputs, outputs; fc6 reads height, width, channels."""
    fc6 = params(net)["fc6"][0].reshape(256, 16, 6, 6).transpose(2, 3, 1, 0).reshape(-1, 256)
    found = {}
    for name, (weights, bias) in params(net).items():
        turned = fc6 if name == "fc6" else weights.transpose((2, 3, 1, 0) if weights.ndim == 4 else (1, 0))
        found[name] = {"weights": np.ascontiguousarray(turned), "biases": bias}
    return found


def by_tensorflows_layout(layers, images):
    """The probabilities of a CaffeNet whose maps and weights have the channels last."""
    tops = images.transpose(0, 2, 3, 1)
    for index, arrays in enumerate(layers.values()):
        weights, bias = torch.tensor(arrays["weights"]), torch.tensor(arrays["biases"])
        if weights.ndim == 4:
            groups, (stride, pad) = 2 if index in (1, 3, 4) else 1, (4, 0) if index == 0 else (1, len(weights) // 2)
            top = torch.tensor(tops).permute(0, 3, 1, 2)
            top = functional.relu(functional.conv2d(top, weights.permute(3, 2, 0, 1), bias, stride, pad, 1, groups))
            top = functional.max_pool2d(top, 3, 2) if index in POOLED else top
            top = functional.local_response_norm(top, 5, 1e-4, 0.75, 1) if index in NORMED else top
            tops = top.permute(0, 2, 3, 1).numpy()
        else:
            tops = tops.reshape(len(tops), -1) @ weights.numpy() + bias.numpy()
            tops = np.maximum(tops, 0) if index < 7 else tops
    return functional.softmax(torch.tensor(tops), 1).numpy()


def test_a_caffe_tensorflow_file(tmp_path, net, images):
    layers = tensorflow_layers(net)
    path = tmp_path / "net.npy"
    np.save(path, dict(reversed(layers.items())))  # a dictionary of Python 2 has no order
    holds(path, params(net))
    computes(path, net, images, by_tensorflows_layout(layers, images))
    np.save(path, {name: list(arrays.values()) for name, arrays in layers.items()})
    holds(path, params(net))


def test_a_file_that_python_2_wrote(tmp_path, net):
    """Its texts and the bytes of its arrays are of the type str."""

    class Python2(pickle._Pickler):
        def save_str(self, value):
            value = value if isinstance(value, bytes) else value.encode()
            self.write(b"T" + struct.pack("<i", len(value)) + value)
            self.memoize(value)

        dispatch = {**pickle._Pickler.dispatch, str: save_str, bytes: save_str}

    path = tmp_path / "net.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        content = np.empty((), object)
        content[()] = tensorflow_layers(net)
        Python2(file, 2).dump(content)
    data = path.read_bytes()
    assert b"cnumpy._core.multiarray\n_reconstruct\n" in data
    path.write_bytes(data.replace(b"cnumpy._core.", b"cnumpy.core."))
    holds(path, params(net))


# Core ML


def core_ml(net, message, network="neuralNetworkClassifier", weights="floatValue", flatten=0):
    """CaffeNet as a Core ML model; ``message`` is the class of a model."""
    model = message()
    image = model.description.input.add(name="image")
    image.type.imageType.colorSpace = 30
    into = getattr(model, network)
    scaler = into.preprocessing.add().scaler
    scaler.channelScale, scaler.blueBias, scaler.greenBias, scaler.redBias = 1, -104, -117, -123.5
    for name, arrays in params(net).items():
        if name == "fc6":
            into.layers.add(name="flatten").flatten.mode = flatten
        layer = into.layers.add(name=name)
        if "conv" in name:
            of = layer.convolution
            of.outputChannels, of.kernelChannels, *kernel = arrays[0].shape
            of.kernelSize.extend(kernel)
        else:
            of = layer.innerProduct
            of.outputChannels, of.inputChannels = arrays[0].shape
        of.hasBias = True
        for field, array in zip((of.weights, of.bias), arrays):
            if weights == "floatValue":
                field.floatValue.extend(array.ravel().tolist())
            elif weights == "float16Value":
                field.float16Value = array.astype(np.float16).tobytes()
        into.layers.add(name=f"relu {name}").activation.SetInParent()
    return model


@pytest.mark.parametrize("network", ["neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"])
def test_a_core_ml_model(tmp_path, net, network, capsys):
    path = tmp_path / "net.mlmodel"
    path.write_bytes(core_ml(net, foreign_coreml.message(), network).SerializeToString())
    holds(path, params(net))
    said = capsys.readouterr().out
    assert "image in BGR" in said and "MEAN=104,117,123.5" in said
    path.write_bytes(core_ml(net, foreign_coreml.message(), network, "float16Value").SerializeToString())
    holds(path, {name: [array.astype(np.float16) for array in of] for name, of in params(net).items()})
    assert "float16" in capsys.readouterr().out


def test_a_core_ml_model_that_flattens_channels_last(tmp_path, net):
    model = core_ml(net, foreign_coreml.message(), flatten=1)
    (fc6,) = (layer for layer in model.neuralNetworkClassifier.layers if layer.name == "fc6")
    turned = params(net)["fc6"][0].reshape(256, 16, 6, 6).transpose(0, 2, 3, 1)
    fc6.innerProduct.weights.floatValue[:] = turned.ravel().tolist()
    (tmp_path / "net.mlmodel").write_bytes(model.SerializeToString())
    holds(tmp_path / "net.mlmodel", params(net))


def test_a_file_that_coremltools_wrote(root):
    """Its NeuralNetworkBuilder's own file: a convolution, one in two groups, a flattening, a fully connected layer."""
    content = foreign_coreml.read(root / "tests" / "unit" / "sources" / "coremltools_9.mlmodel")
    conv, grouped, fc = content.layers
    assert (conv.name, grouped.name, fc.name, content.format) == ("conv1", "conv2", "fc8", "Core ML")
    np.testing.assert_array_equal(conv.weights, np.arange(4 * 3 * 2 * 5).reshape(4, 3, 2, 5) / 8)
    np.testing.assert_array_equal(conv.bias, [1, 2, 3, 4])
    np.testing.assert_array_equal(grouped.weights, np.arange(8).reshape(4, 2, 1, 1) - 3)
    assert grouped.bias is None
    np.testing.assert_array_equal(fc.weights, np.arange(2 * 16).reshape(2, 16) / 4)
    np.testing.assert_array_equal(fc.bias, [-1, -2])
    assert fc.channels_last
    assert any("MEAN=104,117,123" in note for note in content.notes)


# Files that are refused


class Code:
    """An object whose pickle runs a program."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_with_programs_are_refused(tmp_path):
    ran = tmp_path / "ran"
    np.save(tmp_path / "net.npy", {"conv1": Code(ran)})
    torch.save({"conv1.weight": Code(ran)}, tmp_path / "net.pth")
    torch.save({"conv1.weight": Code(ran)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in "net.npy", "net.pth", "old.pth":
        with pytest.raises(UserError, match=f"{name} .*more than .*which could run any program"):
            foreign.caffemodel(tmp_path / name)
    assert not ran.exists() and not foreign.CONVERTED.exists()


def test_incomplete_files_are_refused(tmp_path, net):
    torch.save(named(net), tmp_path / "net.pth")
    torch.save(named(net), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    np.save(tmp_path / "net.npy", tensorflow_layers(net))
    (tmp_path / "net.mlmodel").write_bytes(core_ml(net, foreign_coreml.message()).SerializeToString())
    names = ["net.pth", "old.pt", "net.npy", "net.mlmodel"]
    if find_spec("onnx"):
        (tmp_path / "net.onnx").write_bytes(graph(net).SerializeToString())
        names.append("net.onnx")
    for name in names:
        whole = (tmp_path / name).read_bytes()
        for length in (0, 5, len(whole) // 3, len(whole) - 40):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(UserError, match=name):
                foreign.caffemodel(tmp_path / name)
    with pytest.raises(UserError, match="no file"):
        foreign.caffemodel(tmp_path / "absent.npy")


def small_file(suffix, folder, root):
    """A file with a convolution and a fully connected layer, small enough for each byte to count."""
    path = folder / f"small{suffix}"
    conv, fc = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.ones((3, 2), np.float32)
    if suffix == ".mlmodel":
        shutil.copy(root / "tests" / "unit" / "sources" / "coremltools_9.mlmodel", path)
    elif suffix == ".npy":
        np.save(path, {"conv1": {"weights": conv, "biases": conv[0, 0, 0]}, "fc": [fc, fc[:, 0]]})
    elif suffix == ".onnx":
        helper, numpy_helper = pytest.importorskip("onnx.helper"), pytest.importorskip("onnx.numpy_helper")
        nodes = [
            helper.make_node("Conv", ["x", "conv.weight"], ["a"], strides=[1, 1]),
            helper.make_node("Transpose", ["fc.weight"], ["b"], perm=[1, 0]),
            helper.make_node("Gemm", ["a", "b"], ["c"], alpha=2.0),
        ]
        stored = [numpy_helper.from_array(conv, "conv.weight"), numpy_helper.from_array(fc, "fc.weight")]
        path.write_bytes(helper.make_model(helper.make_graph(nodes, "g", [], [], stored)).SerializeToString())
    else:
        state = {"conv.weight": torch.tensor(conv), "fc.weight": torch.tensor(fc)}
        torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pth")
    return path


@pytest.mark.parametrize("suffix", foreign.SUFFIXES)
@pytest.mark.filterwarnings("ignore")  # of PyTorch, about what a damaged file says
def test_damaged_files_are_read_or_refused_in_a_sentence(tmp_path, root, suffix):
    path, rng = small_file(suffix, tmp_path, root), random.Random(0)
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        damaged, place = bytearray(whole), rng.randrange(len(whole))
        damaged[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        path.write_bytes(damaged)
        with pytest.raises(UserError) as error:  # what can be read still is of no architecture
            foreign.caffemodel(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
        refused += "fits none of the architectures" not in str(error.value)
    assert refused > 30


def test_another_networks_file_is_refused_by_its_first_layer_that_does_not_fit(tmp_path, net):
    path, state = tmp_path / "net.pth", named(net)
    state["classifier.fc7.weight"] = state["classifier.fc7.weight"][:, :-1].clone()
    torch.save(state, path)
    with pytest.raises(UserError, match=r"net.pth fits none .*fc7 is 256×255 and 256, not 256×256 and 256"):
        foreign.caffemodel(path)
    alexnet = modules(net)
    alexnet[0] = nn.Conv2d(3, 64, 11)
    torch.save(alexnet.state_dict(), path)
    with pytest.raises(UserError, match="conv1 is 64×3×11×11 and 64, not 96×3×11×11 and 96"):
        foreign.caffemodel(path)
    torch.save({**named(net), "features.norm1.running_mean": torch.zeros(6)}, path)
    with pytest.raises(UserError, match=r"features.norm1.running_mean \(6\)"):
        foreign.caffemodel(path)
    torch.save({**named(net), "features.conv1.weight": torch.zeros(6, 3, 11, 11, dtype=torch.int8)}, path)
    with pytest.raises(UserError, match="layer conv1 has numbers of type int8"):
        foreign.caffemodel(path)
    for content in ([1, 2], {"state_dict": 3}, {}):
        torch.save(content, path)
        with pytest.raises(UserError, match="is not a state dict"):
            foreign.caffemodel(path)
    np.save(tmp_path / "mean.npy", np.zeros((3, 4, 4)))
    with pytest.raises(UserError, match="is not a dictionary of layers"):
        foreign.caffemodel(tmp_path / "mean.npy")
    (tmp_path / "net.mlmodel").write_bytes(core_ml(net, foreign_coreml.message(), weights="").SerializeToString())
    with pytest.raises(UserError, match="layer conv1 has no float weights; a quantised"):
        foreign.caffemodel(tmp_path / "net.mlmodel")


@pytest.mark.parametrize(("name", "package"), [("net.onnx", "onnx"), ("net.pth", "torch")])
def test_a_missing_package_is_a_sentence(tmp_path, monkeypatch, name, package):
    (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{name} needs .*`pip install {package}`"):
        foreign.caffemodel(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, net, monkeypatch):
    torch.save(named(net), tmp_path / "net.pth")
    (tmp_path / "taken").touch()
    monkeypatch.setattr(foreign, "CONVERTED", tmp_path / "taken")
    with pytest.raises(UserError, match="cannot write .*/taken/net-"):
        foreign.caffemodel(tmp_path / "net.pth")


# An INIT


def test_an_init_is_converted_once_per_content(tmp_path, net, capsys):
    path = tmp_path / "my net.pth.tar"
    torch.save(named(net), path)
    sources = [cards.resolve(str(path), "1,2,3") for _ in range(2)]
    assert capsys.readouterr().out.count("converted /") == 1
    assert sources[0] == sources[1] and sources[0].path.parent == foreign.CONVERTED
    assert (sources[0].name, sources[0].mean) == (cards.run_name(path), (1, 2, 3))
    state = {name: tensor + 1 for name, tensor in named(net).items()}
    torch.save(state, path)
    assert cards.resolve(str(path), "1,2,3").path != sources[0].path
    assert len(list(foreign.CONVERTED.iterdir())) == 2


@pytest.mark.parametrize("suffix", foreign.SUFFIXES)
def test_a_file_in_another_format_is_a_path_without_a_folder(suffix):
    assert cards.is_path(f"net{suffix}") and cards.is_path(f"net{suffix.upper()}")
    assert not cards.is_path(suffix.removeprefix("."))
