"""tools/net_surgery.py and tools/sentiment_maps.py as a user runs them."""

import json
import shutil
from dataclasses import astuple

import cv2
import numpy as np
import pytest

import caffe
from helpers.commands import refused
from sentiment import paper
from sentiment.data import image_files
from sentiment.evaluation import maps, predictions
from sentiment.networks import architectures

MEANS = np.array(paper.IMAGENET_MEANS_BGR)


@pytest.fixture
def tested(tool, tiny):
    assert tool("train", *tiny.options, "--fold", 1, 2, "--iterations", 2) == 0
    assert tool("evaluate", *tiny.options, "--fold", 1, 2) == 0
    return tiny


def mapping(tiny, tmp_path, *more):
    """Options of sentiment_maps: those of the run, without --splits."""
    return ["--data", tiny.data, "--runs", tiny.runs, "--init", tiny.source, "--out", tmp_path / "results", *more]


def surgery(tiny, *more):
    return ["net_surgery", "--runs", tiny.runs, "--init", tiny.source, *more]


def crop(path, size):
    """An image warped to a size as the net's data."""
    image = caffe.io.resize_image(caffe.io.load_image(str(path)), (size, size))
    return (image[..., ::-1].transpose(2, 0, 1) * 255 - MEANS[:, None, None]).astype(np.float32)


def answer(net, data):
    net.blobs["data"].reshape(1, *data.shape)
    net.reshape()
    net.blobs["data"].data[0] = data
    return net.forward()["prob"][0].copy()


@pytest.mark.parametrize("arch", ["finetune", "fc7-2", "fc6-2", "fc9", "fc9-frozen"])
def test_any_fine_tuned_net_becomes_its_fully_convolutional_one(tool, tiny, capfd, arch):
    assert tool("train", *tiny.options, "--arch", arch, "--iterations", 1) == 0
    assert tool(*surgery(tiny, "--arch", arch)) == 0
    said = capfd.readouterr().out
    last = architectures.ARCHITECTURES[arch].new_layer
    assert f"| {last}-conv" in said and "map of 8×8" in said
    folder = tiny.folder(arch=arch)
    assert said.splitlines()[-2:] == [
        str(folder / name) for name in ("snapshot_iter_1_conv.caffemodel", "deploy_conv.prototxt")
    ]
    fcn = caffe.Net(str(folder / "deploy_conv.prototxt"), str(folder / "snapshot_iter_1_conv.caffemodel"), caffe.TEST)
    classifier = caffe.Net(str(folder / "deploy.prototxt"), str(folder / "snapshot_iter_1.caffemodel"), caffe.TEST)
    image = tiny.data / "images" / "picture 3.jpg"
    np.testing.assert_allclose(
        answer(fcn, crop(image, 227)).ravel(), answer(classifier, crop(image, 227)).ravel(), atol=1e-6
    )
    assert answer(fcn, crop(image, 451)).shape == (2, 8, 8)


def test_a_net_of_any_name_and_size(tool, capfd, tmp_path):
    model = tmp_path / "my.prototxt"
    model.write_text(str(architectures.deploy("squeezenet", 16)))
    net = caffe.Net(str(model), caffe.TEST)
    net.params["conv10_twitter"][1].data[...] = 1, 2
    net.save(str(tmp_path / "my.caffemodel"))
    out = tmp_path / "out"
    assert tool("net_surgery", "--model", model, "--weights", tmp_path / "my.caffemodel", "--input-size", 600,
                "--out", out) == 0  # fmt: skip
    said = capfd.readouterr().out
    assert "pool10 pools windows of 13×13" in said and "600×600" in said and "Table 1" not in said
    fcn = caffe.Net(str(out / "deploy_conv.prototxt"), str(out / "my_conv.caffemodel"), caffe.TEST)
    np.testing.assert_allclose(fcn.forward()["prob"][0, 1], 1 / (1 + np.exp(-1)), rtol=1e-5)
    assert tool("net_surgery", "--model", model) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"my.prototxt", "my.caffemodel", "out"}


def test_surgery_of_what_is_not_there(tool, tiny, capfd, tmp_path):
    assert "fold1 holds no finished training" in refused(tool, capfd, *surgery(tiny))
    assert "nowhere" in refused(tool, capfd, "net_surgery", "--model", tmp_path / "nowhere.prototxt")
    model = tmp_path / "deploy_conv.prototxt"
    model.write_text(str(architectures.deploy("finetune", 16)))
    assert "another --out" in refused(
        tool, capfd, "net_surgery", "--model", model, "--weights", tiny.source, "--out", tmp_path
    )
    other = tmp_path / "my.prototxt"
    other.write_text(model.read_text())
    assert "no layer named fc8_twitter" in refused(
        tool, capfd, "net_surgery", "--model", other, "--weights", tiny.source, "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()
    small = ("--input-size", 100)
    assert "100×100 pixels is smaller" in refused(tool, capfd, "net_surgery", "--model", other, *small)


def test_maps_overlays_and_sheet(tool, tested, capfd, tmp_path):
    options = mapping(tested, tmp_path, "--fold", 1, 2)
    assert tool("sentiment_maps", *options) == 0
    sheet = tmp_path / "results" / "tiny" / "figure7.png"
    assert str(sheet) in capfd.readouterr().out
    record = json.loads(sheet.with_suffix(".json").read_text())
    about, shown = record["about"], record["about"]["shown"]
    assert (about["map"], about["patch"], about["step"], about["init"]) == ([8, 8], [227, 227], [32, 32], "source")
    assert len(shown) == 6
    assert [image["positive"] for image in shown] == sorted(image["positive"] for image in shown)
    for entry in shown:
        fold = tested.folder(entry["fold"])
        rows = {row[0]: row for row in [astuple(one) for one in predictions.read(fold / "predictions.csv")]}
        assert (entry["label"], entry["positive"]) == rows[entry["image"]][1::2]
        found = np.load(fold / "maps" / f"{entry['image']}.npy")
        assert found.shape == (2, 8, 8)

        # By hand: the fold's own net, made fully convolutional, over the complete image.
        assert tool(*surgery(tested, "--fold", entry["fold"])) == 0
        fcn = caffe.Net(str(fold / "deploy_conv.prototxt"), str(fold / "snapshot_iter_2_conv.caffemodel"), caffe.TEST)
        image = tested.data / "images" / entry["image"]
        np.testing.assert_allclose(found, answer(fcn, crop(image, 451)), atol=1e-5)
        overlay = maps.bordered(maps.overlay(image_files.load(image), found), entry["positive"])
        np.testing.assert_array_equal(image_files.load(fold / "maps" / f"{entry['image']}.png"), overlay)
    height, width = cv2.imread(str(sheet)).shape[:2]
    assert width > height > 600


def test_maps_are_made_once_and_again_for_other_weights(tool, tested, capfd, tmp_path):
    options = mapping(tested, tmp_path, "--images", "all", "--compare-patches", 2, "--cost")
    assert tool("sentiment_maps", *options) == 0
    said = capfd.readouterr().out
    assert "2 maps" in said and "64 patches" in said and "multiply-adds" in said and "already done" not in said
    files = [*(tested.folder() / "maps").iterdir(), *(tmp_path / "results" / "tiny").iterdir()]
    assert len(files) == 5 + 5 + 1 + 2
    before = {path: path.stat().st_mtime_ns for path in files}
    assert tool("sentiment_maps", *options) == 0
    again = capfd.readouterr()
    assert again.out.splitlines()[:2] == said.splitlines()[-3:-1]
    assert "already done" in again.out and "mapping" not in again.err
    assert {path: path.stat().st_mtime_ns for path in files} == before

    lost = next(path for path in files if path.suffix == ".npy")
    lost.write_bytes(lost.read_bytes()[:40])
    assert tool("sentiment_maps", *options) == 0
    assert maps.read(lost, (8, 8)) is not None
    assert sum(path.stat().st_mtime_ns != before[path] for path in files) == 2  # map and overlay

    shutil.copy(tested.folder(2) / "snapshot_iter_2.caffemodel", tested.folder(1))
    assert "run tools/evaluate.py again" in refused(tool, capfd, "sentiment_maps", *options, "--input-size", 259)
    assert tool("evaluate", *tested.options) == 0
    assert tool("sentiment_maps", *options) == 0
    assert all(path.stat().st_mtime_ns > before[path] for path in files)


def test_images_by_name_and_another_size(tool, tested, tmp_path):
    image = tested.list("test").read_text().splitlines()[0].rsplit(" ", 1)[0]
    assert tool("sentiment_maps", *mapping(tested, tmp_path, "--images", image, "--input-size", 323)) == 0
    record = json.loads((tmp_path / "results" / "tiny" / "figure7.json").read_text())
    assert [entry["image"] for entry in record["about"]["shown"]] == [image]
    assert record["about"]["map"] == [4, 4] and record["cost"] is None
    assert np.load(tested.folder() / "maps" / f"{image}.npy").shape == (2, 4, 4)


def test_what_is_wrong_is_said_in_a_sentence(tool, tested, capfd, tmp_path):
    command = ["sentiment_maps", *mapping(tested, tmp_path)]
    trained_on = tested.list("train").read_text().splitlines()[0].rsplit(" ", 1)[0]
    sentence = refused(tool, capfd, *command, "--images", trained_on)
    assert f"{trained_on} is not a test image of fold 1" in sentence
    assert "finetune-source/fold3 " in refused(tool, capfd, *command, "--fold", 3)
    name = tested.list("test").read_text().splitlines()[0].rsplit(" ", 1)[0]
    (tested.data / "images" / name).write_text("no image")
    assert name in refused(tool, capfd, *command, "--images", name)
    (tested.folder() / "snapshot_iter_2.caffemodel").unlink()
    assert "snapshot_iter_2.caffemodel" in refused(tool, capfd, *command)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["net_surgery", "sentiment_maps"])
def test_help(tool, name, capfd):
    with pytest.raises(SystemExit) as stop:
        tool(name, "--help")
    assert stop.value.code == 0
    assert "usage:" in capfd.readouterr().out
