"""tools/export.py as a user runs it."""

import numpy as np
import pytest

import caffe
from helpers.commands import refused
from sentiment.data import image_files
from sentiment.evaluation import inference

onnxruntime = pytest.importorskip("onnxruntime", reason="exporting needs onnxruntime, of the optional extra `export`")
safetensors = pytest.importorskip("safetensors.numpy", reason="exporting needs safetensors, of the extra `export`")
pytest.importorskip("onnx", reason="exporting needs onnx, of the optional extra `export`")


def test_a_run_and_its_fully_convolutional_net(tool, tiny, capfd, tmp_path):
    assert tool("train", *tiny.options, "--iterations", 1) == 0
    of_run = ["--runs", tiny.runs, "--init", tiny.source]
    capfd.readouterr()
    assert tool("export", *of_run) == 0
    said = capfd.readouterr().out
    assert "every blob" in said and "16 arrays" in said
    folder = tiny.folder()
    session = onnxruntime.InferenceSession(folder / "snapshot_iter_1.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert about["classes"] == "negative,positive" and "BGR, 0 to 255, minus the means 104.0" in about["input"]
    net = caffe.Net(str(folder / "deploy.prototxt"), str(folder / "snapshot_iter_1.caffemodel"), caffe.TEST)
    pixels = image_files.read(tiny.data / "images" / "picture 3.jpg")
    means = np.array([104.00698793, 116.66876762, 122.67891434])
    crop = inference.warp(net, pixels, means, (227, 227))
    [expected] = inference.probabilities(net, [crop])[:, inference.CENTER]
    np.testing.assert_allclose(session.run(["prob"], {"data": crop[None]})[0], [expected], atol=1e-6)
    weights = safetensors.load_file(folder / "snapshot_iter_1.safetensors")
    assert set(weights) == {f"{name}.{kind}" for name in net.params for kind in ("weight", "bias")}
    np.testing.assert_array_equal(weights["fc6.weight"], net.params["fc6"][0].data)

    assert tool("net_surgery", *of_run) == 0
    files = folder / "deploy_conv.prototxt", folder / "snapshot_iter_1_conv.caffemodel"
    assert tool("export", "--model", files[0], "--weights", files[1], "--out", tmp_path / "out") == 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / "snapshot_iter_1_conv.onnx")
    assert session.get_outputs()[0].shape == ["N", 2, 8, 8]


def test_what_cannot_be_exported_leaves_nothing(tool, source, capfd, tmp_path):
    model = tmp_path / "deploy.prototxt"
    model.write_text((source.parent / "deploy.prototxt").read_text() + 'layer { name: "square" type: "Power" '
                     'bottom: "prob" top: "square" power_param { power: 2 } }')  # fmt: skip
    options = ["--model", model, "--weights", source, "--out", tmp_path / "out"]
    sentence = refused(tool, capfd, "export", *options)
    assert "deploy.prototxt: layer square (Power) is of a type" in sentence
    assert not (tmp_path / "out").exists()
    assert "no file" in refused(tool, capfd, "export", "--model", model, "--weights", tmp_path / "x", *options[4:])
