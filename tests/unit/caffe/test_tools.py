"""The tools beside ``caffe``: features in databases, and files of old generations brought up to date."""

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe import cli
from caffe.formats import read_net, read_solver, read_weights
from caffe.proto import caffe_pb2

FEATURES = """
layer { name: 'd' type: 'DummyData' top: 'x' dummy_data_param {
  shape { dim: 3 dim: 2 dim: 1 dim: 4 } data_filler { type: 'gaussian' std: 1 } } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'ip' inner_product_param {
  num_output: 5 weight_filler { type: 'gaussian' std: 1 } } }
"""
V0 = """
name: 'old'
input: 'x' input_dim: 1 input_dim: 2 input_dim: 5 input_dim: 5
layers { layer { name: 'pad' type: 'padding' pad: 2 } bottom: 'x' top: 'padded' }
layers { layer { name: 'c' type: 'conv' num_output: 2 kernelsize: 3 weight_filler { std: 0.1 } MORE }
  bottom: 'padded' top: 'c' }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(path):
    with lmdb.open(path, readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(key.decode(), caffe_pb2.Datum.FromString(value)) for key, value in transaction.cursor()]


def test_features_are_written_item_by_item(folder, monkeypatch, capfd):
    (folder / "net.prototxt").write_text(FEATURES)
    caffe.set_random_seed(1)
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.save("w.caffemodel")
    monkeypatch.setattr("caffe.tools._EACH", 4)
    assert cli.main(["extract_features", "w.caffemodel", "net.prototxt", "ip,x", "ips,xs", "3", "lmdb"]) == 0
    said = capfd.readouterr().err
    assert "] Extracted features of 8 query images for feature blob x\n" in said
    assert said.endswith("] Successfully extracted the features!\n") and "] Opening dataset ips\n" in said
    ips, xs = records("ips"), records("xs")
    assert [key for key, _ in ips] == [key for key, _ in xs] == [f"{i:010}" for i in range(9)]
    assert {(d.channels, d.height, d.width) for _, d in xs} == {(2, 1, 4)}
    assert {(d.channels, d.height, d.width) for _, d in ips} == {(5, 1, 1)}
    weights = net.params["ip"][0].data
    for (_, ip), (_, x) in zip(ips, xs):
        np.testing.assert_allclose(ip.float_data, weights @ np.array(x.float_data, np.float32), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ip,nosuch", "a,b", "1", "lmdb"], "Unknown feature blob name nosuch"),
        (["ip", "a,b", "1", "lmdb"], "must be equal"),
        (["ip", "a", "many", "lmdb"], "whole numbers"),
        (["ip", "a", "1", "sqlite"], "sqlite"),
        (["ip,x", "a,taken", "1", "lmdb"], "taken exists already"),
        (["ip"], "takes"),
    ],
)
def test_what_cannot_be_extracted_is_said_and_nothing_is_left(folder, arguments, message, capfd):
    (folder / "net.prototxt").write_text(FEATURES)
    caffe.Net("net.prototxt", caffe.TEST).save("w.caffemodel")
    (folder / "taken").mkdir()
    before = sorted(path.name for path in folder.iterdir())
    assert cli.main(["extract_features", "w.caffemodel", "net.prototxt", *arguments]) == 2
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_old_definition_is_written_in_the_current_form(folder, capfd):
    (folder / "old.prototxt").write_text(V0.replace("MORE", ""))
    assert cli.upgrade_net_proto_text(["old.prototxt", "new.prototxt"]) == 0
    said = capfd.readouterr().err
    assert "Successfully upgraded" in said and said.endswith(
        "] Wrote upgraded NetParameter text proto to new.prototxt\n"
    )
    assert "std: 0.1\n" in (folder / "new.prototxt").read_text()  # a float as C++ prints it
    new = text_format.Parse((folder / "new.prototxt").read_text(), caffe_pb2.NetParameter())
    assert [(layer.name, layer.type) for layer in new.layer] == [("input", "Input"), ("c", "Convolution")]
    assert new.layer[1].convolution_param.pad[:] == [2] and new == read_net("old.prototxt")
    assert cli.main(["upgrade_net_proto_text", "new.prototxt", "same.prototxt"]) == 0
    assert "File already in latest proto format: new.prototxt" in capfd.readouterr().err
    assert (folder / "same.prototxt").read_bytes() == (folder / "new.prototxt").read_bytes()


def test_what_an_upgrade_leaves_out_is_its_exit_status(folder, capfd):
    (folder / "old.prototxt").write_text(V0.replace("MORE", "batchsize: 4"))
    assert cli.main(["upgrade_net_proto_text", "old.prototxt", "new.prototxt"]) == 1
    assert "Unknown parameter batchsize" in capfd.readouterr().err and (folder / "new.prototxt").exists()
    assert cli.main(["upgrade_net_proto_text", "absent.prototxt", "other.prototxt"]) == 2


def test_an_old_caffemodel_keeps_its_numbers(folder, capfd):
    old = text_format.Parse(V0.replace("MORE", ""), caffe_pb2.NetParameter())
    numbers = np.random.default_rng(1).normal(size=36).astype(np.float32)
    old.layers[1].layer.blobs.add(num=2, channels=2, height=3, width=3, data=numbers)
    old.layers[1].layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    (folder / "old.caffemodel").write_bytes(old.SerializeToString())
    assert cli.main(["upgrade_net_proto_binary", "old.caffemodel", "new.caffemodel"]) == 0
    assert capfd.readouterr().err.endswith("] Wrote upgraded NetParameter binary proto to new.caffemodel\n")
    new = caffe_pb2.NetParameter.FromString((folder / "new.caffemodel").read_bytes())
    assert not new.layers and new.layer[1].type == "Convolution" and len(new.layer[1].blobs) == 2
    before, after = (read_weights(f"{name}.caffemodel").layers[-1] for name in ("old", "new"))
    assert after.name == "c" and after.blobs[0].shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(after.blobs[0].data, numbers)
    for one, other in zip(before.blobs, after.blobs, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
    (folder / "text.caffemodel").write_text("name: 'n'")
    assert cli.main(["upgrade_net_proto_binary", "text.caffemodel", "other.caffemodel"]) == 2
    assert "Failed to parse" in capfd.readouterr().err and not (folder / "other.caffemodel").exists()


def test_an_old_solver_gets_its_type(folder, capfd):
    (folder / "s.prototxt").write_text("net: 'n.prototxt' solver_type: ADAGRAD base_lr: 0.01")
    assert cli.main(["upgrade_solver_proto_text", "s.prototxt", "new.prototxt"]) == 0
    assert "Successfully upgraded" in capfd.readouterr().err
    solver = read_solver("new.prototxt")
    assert (solver.type, solver.net, solver.HasField("solver_type")) == ("AdaGrad", "n.prototxt", False)
    assert cli.main(["upgrade_solver_proto_text", "new.prototxt", "same.prototxt"]) == 0
    assert "File already in latest proto format" in capfd.readouterr().err
