"""A training, an extraction and an inspection that start from a PyTorch file, as a user runs them."""

import json

import numpy as np
import pytest
import torch

import caffe
from helpers.commands import refused
from sentiment.sources import foreign
from sentiment.utils.files import sha256


@pytest.fixture
def pytorch_file(source, tmp_path, monkeypatch):
    """The source's weights as a PyTorch state dict."""
    monkeypatch.setattr(foreign, "CONVERTED", tmp_path / "converted")
    net = caffe.Net(str(source.parent / "deploy.prototxt"), str(source), caffe.TEST)
    state = {
        f"module.{name}.{kind}": torch.tensor(blob.data)
        for name, blobs in net.params.items()
        for kind, blob in zip(("weight", "bias"), blobs)
    }
    torch.save({"state_dict": state}, tmp_path / "other.pth.tar")
    return tmp_path / "other.pth.tar"


def test_a_training_from_a_pytorch_file_equals_that_from_the_caffemodel(tool, tiny, pytorch_file, capfd):
    options = [*tiny.options, "--iterations", 1]
    assert tool("train", *options) == 0
    capfd.readouterr()
    options[options.index(tiny.source)] = pytorch_file
    assert tool("train", *options) == 0
    (converted,) = foreign.CONVERTED.iterdir()
    assert f"converted {pytorch_file} to {converted}: conv1 … fc8" in capfd.readouterr().out
    folders = tiny.folder(), tiny.folder(init="other.pth")
    assert len({sha256(folder / "snapshot_iter_1.caffemodel") for folder in folders}) == 1
    assert sha256(converted) in (folders[1] / "run.json").read_text()
    assert json.loads((folders[1] / "run.json").read_text())["init"] == "other.pth"
    assert tool("train", *options) == 0
    assert tool("evaluate", *[option for option in options if option not in ("--iterations", 1)]) == 0
    assert "converted /" not in capfd.readouterr().out

    assert tool("extract_features", *tiny.options[:-1], pytorch_file, "--source") == 0
    assert tool("extract_features", *tiny.options, "--source") == 0
    files = [tiny.runs / "five_agrees" / f"source-{name}" / "grams.npz" for name in ("other.pth", "source")]
    with np.load(files[0]) as of_pytorch, np.load(files[1]) as of_caffe:
        np.testing.assert_array_equal(of_pytorch["fold1/train"], of_caffe["fold1/train"])


def test_its_content_is_described(tool, pytorch_file, capfd, tmp_path):
    assert tool("inspect_model", pytorch_file) == 0
    said = capfd.readouterr().out
    for words in (
        f"converted {pytorch_file} to ",
        f"net         converted from PyTorch, SHA-256 {sha256(pytorch_file)}",
        "conv1  6×3×11×11 and 6  Convolution",
        "last layer  fc8, 5 outputs",
        "fits        ARCH=finetune fc7-2 fc6-2 fc9 fc9-frozen probe, with channels_divisor: 16 in ",
    ):
        assert words in said
    (tmp_path / "cut.pth").write_bytes(pytorch_file.read_bytes()[:1000])
    assert "cut.pth cannot be read" in refused(tool, capfd, "inspect_model", tmp_path / "cut.pth")


def test_a_definition_that_keeps_its_last_layer(tool, pytorch_file, tmp_path):
    out = tmp_path / "prototxt"
    assert tool("make_prototxt", "--arch", "fc9", "--divisor", 16, "--init", pytorch_file, "--out", out) == 0
    assert 'name: "fc8"' in next(out.rglob("deploy.prototxt")).read_text()
