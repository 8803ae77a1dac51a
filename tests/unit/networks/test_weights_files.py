"""Files of weights are identified by their content."""

import hashlib
import os
import shutil

import h5py
import numpy as np
import pytest

import caffe
from sentiment.networks import architectures, weights_files
from sentiment.sources import cards
from sentiment.utils.errors import UserError


@pytest.fixture
def files(root):
    """BVLC Caffe's own files."""
    return root / "tests" / "conformance" / "files"


def saved(path, arch, divisor=1, last=None, change=("", "")):
    definition = path.with_suffix(".prototxt")
    definition.write_text(str(architectures.deploy(arch, divisor, last)).replace(*change))
    net = caffe.Net(str(definition), caffe.TEST)
    (net.save_hdf5 if path.suffix == ".h5" else net.save)(str(path))
    return weights_files.read(path)


def fitting(model):
    return [arch for arch, problem in weights_files.fits(model).items() if not problem]


@pytest.mark.parametrize(
    ("name", "generation", "type_"),
    [
        ("legacy_v0.caffemodel", "V0", "innerproduct"),
        ("legacy_v1.caffemodel", "V1", "INNER_PRODUCT"),
        ("tiny_iter_12.caffemodel", "current", "InnerProduct"),
    ],
)
def test_every_generation(files, name, generation, type_):
    model = weights_files.read(files / name)
    assert (model.generation, model.name, len(model.layers)) == (generation, "TinyCaffeNet", 24)
    assert (model.last.name, model.last.outputs, model.last.type) == ("fc8_twitter", 2, type_)
    assert [layer.name for layer in model.learned][:2] == ["conv1", "conv2"]
    assert weights_files.shapes_text(model.learned[1].shapes) == "16×3×5×5 and 16"
    assert model.divisor == 16
    assert fitting(model) == ["fc6-2"]
    assert weights_files.fits(model)["finetune"] == "fc6 is 64×144 and 64, not 256×576 and 256"


def test_which_architectures_start_from_a_source(tmp_path):
    scores = ("fc8_twitter", "fc8"), ("num_output: 2\n", "num_output: 24\n")
    definition = str(architectures.deploy("finetune", 16)).replace(*scores[0]).replace(*scores[1])
    (tmp_path / "net.prototxt").write_text(definition)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.save(str(tmp_path / "source.caffemodel"))
    model = weights_files.read(tmp_path / "source.caffemodel")
    assert (model.last.name, model.last.outputs, model.divisor) == ("fc8", 24, 16)
    assert {"finetune", "fc7-2", "fc6-2", "fc9", "fc9-frozen"} <= {*fitting(model)}
    net.save_hdf5(str(tmp_path / "source.caffemodel.h5"))
    model = weights_files.read(tmp_path / "source.caffemodel.h5")
    assert (model.generation, model.last) == ("HDF5", None)
    assert {"finetune", "fc7-2", "fc6-2"} <= {*fitting(model)} and "fc9" not in fitting(model)


def test_squeezenet(tmp_path):
    model = saved(tmp_path / "squeezenet.caffemodel", "squeezenet", change=("conv10_twitter", "conv10"))
    assert fitting(model) == ["squeezenet", "squeezenet-probe"]


def test_a_card_is_known_by_content_not_by_name(files, tmp_path):
    path = files / "tiny_iter_12.caffemodel"
    digest = hashlib.sha1(path.read_bytes()).hexdigest()
    for name, sha1 in (("ours", digest), ("other", "0" * 40)):
        (tmp_path / f"{name}.yaml").write_text(
            f"title: T\nabout: A\nfile: tiny_iter_12.caffemodel\nsha1: {sha1}\nmean: [1, 2, 3]\n"
        )
    shutil.copy(path, tmp_path / "renamed.bin")
    assert cards.known_as(tmp_path / "renamed.bin", tmp_path) == ["ours"]
    assert cards.known_as(files / "tiny_iter_6.caffemodel", tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n <html>", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x1f\x8brest", "archive; unpack it"),
        (bytes(257) + b"ustar", "archive; unpack it"),
        (b"\x80\x02}q\x00.", "a Python pickle"),
        (b'layer { name: "a" }', "prototxt"),
        (bytes(range(256)), "damaged"),
    ],
)
def test_other_files_are_named(tmp_path, content, words):
    path = tmp_path / "my.caffemodel"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        weights_files.read(path)
    assert str(error.value).startswith(f"{path} is not a .caffemodel: it is ")
    assert words in str(error.value)


def one_layer(name=b"fc8", shape=(2, 3), numbers=6):
    """A file of one layer, with whatever name."""
    net = caffe.proto.caffe_pb2.NetParameter()
    blob = net.layer.add(name="?" * len(name), type="InnerProduct").blobs.add(data=[0.5] * numbers)
    blob.shape.dim.extend(shape)
    return net.SerializeToString().replace(b"?" * len(name), name)


@pytest.mark.parametrize("shape", [(96, 3, 11, 11), (2, 4), (-2, -3), (0, 6), (1 << 40, 1 << 40)])
def test_a_layer_with_fewer_numbers_than_its_shape_is_refused(tmp_path, shape):
    path = tmp_path / "hollow.caffemodel"
    path.write_bytes(one_layer(shape=shape))
    with pytest.raises(UserError, match="not a complete .caffemodel: layer fc8 has 6 "):
        weights_files.read(path)


def test_names_are_fit_for_a_terminal(tmp_path):
    path = tmp_path / "odd.caffemodel"
    path.write_bytes(one_layer(b"\x1b[31mfc"))
    assert weights_files.read(path).last.name == "?[31mfc"


def test_what_is_not_a_regular_file_or_too_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "long.caffemodel", "wb") as file:
        file.truncate(60 << 30)
    cases = ("pipe", "not a regular file"), (".", "is a folder"), ("long.caffemodel", "64,424,509,440 bytes")
    for name, words in cases:
        with pytest.raises(UserError, match=words):
            weights_files.read(tmp_path / name)


def test_the_last_layer_has_a_matrix_of_weights(tmp_path):
    path = tmp_path / "normed.caffemodel"
    net = caffe.proto.caffe_pb2.NetParameter.FromString(one_layer())
    net.layer.add(name="prelu", type="PReLU").blobs.add(data=[0.5] * 2).shape.dim.append(2)
    path.write_bytes(net.SerializeToString())
    assert weights_files.read(path).last.name == "fc8"


def test_caffes_other_files_are_named(files, tmp_path):
    for name, words in (("mean.binaryproto", "a mean image, for MEAN="), ("tiny_iter_6.solverstate", "a solver state")):
        with pytest.raises(UserError, match=words):
            weights_files.read(files / name)
    whole = (files / "tiny_iter_6.caffemodel").read_bytes()
    (tmp_path / "half.caffemodel").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="incomplete"):
        weights_files.read(tmp_path / "half.caffemodel")
    (tmp_path / "empty.caffemodel").write_bytes(architectures.deploy("finetune", 16).SerializeToString())
    with pytest.raises(UserError, match="a net without weights"):
        weights_files.read(tmp_path / "empty.caffemodel")
    with pytest.raises(UserError, match="cannot read"):
        weights_files.read(tmp_path / "nowhere")


def test_other_hdf5_files_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["history/0"] = np.zeros(3)
    with pytest.raises(UserError, match="a solver state"):
        weights_files.read(path)
    with h5py.File(path, "w") as file:
        file["data/conv1/0"] = h5py.Empty("f4")
    with pytest.raises(UserError, match="not a complete HDF5 file of Caffe weights"):
        weights_files.read(path)
    with h5py.File(path, "w") as file:
        file["data/conv1/kernel"] = np.zeros(3)
    with pytest.raises(UserError, match="not a complete HDF5 file of Caffe weights"):
        weights_files.read(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match="not a complete HDF5 file"):
        weights_files.read(path)


def add_blobs(layer, outputs, inputs, legacy):
    """Weights and bias of a fully connected layer."""
    for values, shape in ([0.5] * outputs * inputs, (outputs, inputs)), ([0.0] * outputs, (outputs,)):
        blob = layer.blobs.add(data=values)
        if legacy:
            padded = (1,) * (4 - len(shape)) + shape
            blob.num, blob.channels, blob.height, blob.width = padded
        else:
            blob.shape.dim.extend(shape)


def current(net, name, outputs, legacy):
    add_blobs(net.layer.add(name=name, type="InnerProduct"), outputs, 3, legacy)
    net.layer.add(name="prob", type="Softmax")


def v1(net, name, outputs, legacy):
    add_blobs(net.layers.add(name=name, type=caffe.proto.caffe_pb2.V1LayerParameter.INNER_PRODUCT), outputs, 3, legacy)
    net.layers.add(name="prob", type=caffe.proto.caffe_pb2.V1LayerParameter.SOFTMAX)


def v0(net, name, outputs, legacy):
    layer = net.layers.add()
    layer.layer.name, layer.layer.type = name, "innerproduct"
    add_blobs(layer.layer, outputs, 3, legacy)


@pytest.mark.parametrize("generation", [current, v1, v0])
@pytest.mark.parametrize("legacy", [False, True])
def test_name_and_width_come_from_the_file(tmp_path, generation, legacy):
    net = caffe.proto.caffe_pb2.NetParameter()
    generation(net, "fc7", 4, legacy)
    generation(net, "fc8-t", 7, legacy)
    path = tmp_path / "any_name_without_suffix"
    path.write_bytes(net.SerializeToString())
    assert weights_files.last_layer(path) == architectures.LastLayer("fc8-t", 7)


def test_what_has_no_last_layer_is_a_sentence(tmp_path):
    path = tmp_path / "empty.caffemodel"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.caffemodel is not a \.caffemodel: it is empty"):
        weights_files.last_layer(path)
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(b"\x89HDF\r\n")
    with pytest.raises(UserError, match=r"cut\.caffemodel is not a \.caffemodel: it is incomplete"):
        weights_files.last_layer(path)
    net = caffe.proto.caffe_pb2.NetParameter()
    blob = net.layer.add(name="conv10").blobs.add(data=[1.0, 2.0])
    blob.shape.dim.extend((1, 2, 1, 1))
    path = tmp_path / "bare.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match="its last layer conv10 is not fully connected with a bias;"):
        weights_files.last_layer(path)
