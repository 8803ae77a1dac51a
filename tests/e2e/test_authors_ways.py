"""What the authors' published scripts do, done their way on what the tools made.

Their scripts cannot run as they are (Python 2; `-ov` is compared as text with a number; `output_folder` is undefined).
Here is what each of them does after that, through pycaffe's public interface alone: evaluation by Classifier, maps by
Transformer and a fully convolutional net, overlays, curves from logs. Their deploy nets are in the old form (`input`).
"""

import json
import re
from dataclasses import astuple

import cv2
import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2
from sentiment.evaluation import predictions

FOLDS = (1, 2)
ITERATIONS = 3
STAGES = [
    *("conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2", "conv3", "relu3", "conv4", "relu4"),
    *("conv5", "relu5", "pool5"),
]
CLASSIFIER = [*STAGES, "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8_twitter", "prob"]
FCN = [*STAGES, "fc6-conv", "relu6", "drop6", "fc7-conv", "relu7", "drop7", "fc8_twitter-conv", "prob"]


@pytest.fixture
def mean_npy(tool, tiny, tmp_path):
    """ilsvrc_2012_mean.npy, from a mean image as Caffe keeps it."""
    image = np.random.default_rng(0).uniform(90, 130, (1, 3, 256, 256))
    (tmp_path / "mean.binaryproto").write_bytes(caffe.io.array_to_blobproto(image).SerializeToString())
    assert tool("convert_mean", tmp_path / "mean.binaryproto", "--out", tmp_path / "ilsvrc_2012_mean.npy") == 0
    np.testing.assert_allclose(np.load(tmp_path / "ilsvrc_2012_mean.npy"), image[0], rtol=1e-6)
    return tmp_path / "ilsvrc_2012_mean.npy"


@pytest.fixture
def trained(tool, tiny, mean_npy):
    mean = mean_npy.with_name("mean.binaryproto")
    assert tool("train", *tiny.options, "--mean", mean, "--fold", *FOLDS, "--iterations", ITERATIONS) == 0
    assert tool("evaluate", *tiny.options, "--fold", *FOLDS) == 0
    return tiny


def old_form(path, shape):
    """A deploy definition with its input as of 2015: `input` and `input_dim` instead of a layer."""
    net = text_format.Parse(path.read_text(), caffe_pb2.NetParameter())
    del net.layer[0]
    dims = "".join(f"input_dim: {number}\n" for number in shape)
    old = path.with_name(f"old_{path.name}")
    old.write_text(f'name: "{net.name}"\ninput: "data"\n{dims}' + str(net).replace(f'name: "{net.name}"\n', "", 1))
    return str(old)


def instances(tiny, fold):
    """Path and label of each line of a fold's test list, split at the last blank as names here hold blanks."""
    lines = tiny.list("test", fold).read_text().splitlines()
    return [(str(tiny.data / "images" / name), int(label)) for name, label in (line.rsplit(" ", 1) for line in lines)]


def test_their_names(root):
    for definition, name, layers, shape in (
        ("finetune", "MVSOCaffeNet_Twitter", CLASSIFIER, [10, 3, 227, 227]),
        ("fcn", "Twitter_finetuned_conv", FCN, [1, 3, 451, 451]),
    ):
        net = text_format.Parse(
            (root / "prototxt" / definition / "deploy.prototxt").read_text(), caffe_pb2.NetParameter()
        )
        assert (net.name, [layer.name for layer in net.layer]) == (name, ["data", *layers])
        assert list(net.layer[0].input_param.shape[0].dim) == shape
        in_place = {layer for layer in layers if layer.startswith(("relu", "drop"))}
        for layer in net.layer:
            assert (layer.top[0] == layer.name) == (layer.name not in in_place)


def test_cross_validation_accuracy(trained, mean_npy):
    for fold in FOLDS:
        folder = trained.folder(fold)
        rows = [astuple(one) for one in predictions.read(folder / "predictions.csv")]
        found = json.loads((folder / "result.json").read_text())["accuracy"]
        weights = str(folder / f"snapshot_iter_{ITERATIONS}.caffemodel")
        net = caffe.Classifier(
            old_form(folder / "deploy.prototxt", (10, 3, 227, 227)), weights,
            mean=np.load(mean_npy).mean(1).mean(1), image_dims=(256, 256), channel_swap=(2, 1, 0), raw_scale=255,
        )  # fmt: skip
        for oversampling, column, way in (False, 2, "center"), (True, 3, "oversampled"):
            right = 0
            for (path, label), row in zip(instances(trained, fold), rows, strict=True):
                prediction = net.predict([caffe.io.load_image(path)], oversample=oversampling)
                assert prediction.shape == (1, 2)
                assert prediction[0, 1] == pytest.approx(row[column], abs=1e-6)
                right += prediction[0].argmax() == label
            assert right / len(rows) == pytest.approx(found[way])


def test_sentiment_maps(tool, trained, mean_npy, tmp_path):
    options = ["--runs", trained.runs, "--init", "source", "--fold", *FOLDS]
    assert tool("net_surgery", *options) == 0
    assert tool("sentiment_maps", *options, "--data", trained.data, "--images", "all", "--out", tmp_path / "out") == 0
    for fold in FOLDS:
        folder = trained.folder(fold)
        weights = str(folder / f"snapshot_iter_{ITERATIONS}_conv.caffemodel")
        net = caffe.Net(old_form(folder / "deploy_conv.prototxt", (1, 3, 451, 451)), weights, caffe.TEST)
        transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
        transformer.set_mean("data", np.load(mean_npy).mean(1).mean(1))
        transformer.set_transpose("data", (2, 0, 1))
        transformer.set_channel_swap("data", (2, 1, 0))
        transformer.set_raw_scale("data", 255.0)
        for path, _ in instances(trained, fold):
            image = caffe.io.load_image(path)
            out = net.forward_all(data=np.asarray([transformer.preprocess("data", image)]))
            name = path.split("/")[-1]
            np.save(tmp_path / name.split(".", 2)[0], out["prob"][0])
            prediction = np.load(tmp_path / f"{name.split('.', 2)[0]}.npy")
            assert prediction.shape == (2, 8, 8)
            np.testing.assert_allclose(prediction, np.load(folder / "maps" / f"{name}.npy"), atol=1e-5)

            overlay = composed(path, prediction)
            kept = cv2.imread(str(folder / "maps" / f"{name}.png"))
            border = (kept.shape[0] - overlay.shape[0]) // 2
            inside = kept[border:-border, border:-border].astype(float)
            assert inside.shape == overlay.shape and np.abs(inside - overlay).max() <= 0.5 + 255e-5


def composed(path, prediction):
    """The overlay before it is rounded: image and colours half and half, BGR."""
    image = cv2.imread(path)
    heatmap = np.zeros((*prediction.shape[1:], 3))
    heatmap[:, :, 1] = 255 * prediction[1]
    heatmap[:, :, 2] = 255 * prediction[0]
    return 0.5 * image + 0.5 * cv2.resize(heatmap, tuple(image.shape[1::-1]), interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("year", [2015, 2017])
def test_curves_from_log_lines(trained, year):
    """Their rules were written for 2015, when no speed stood after the iteration; that of later scripts takes both."""
    lines = (trained.folder() / "train.log").read_text().splitlines()
    number = r"ion \b\d+\b," if year == 2015 else r"ion \b\d+\b"
    if year == 2015:
        lines = [re.sub(r"(Iteration \d+) \([^)]*\)", r"\1", line) for line in lines]
    found = {"iterations": [], "losses": [], "tests": [], "test losses": [], "accuracies": []}
    for line in lines:
        if "] Iteration " in line and "loss = " in line:
            found["iterations"].append(int(re.findall(number, line)[0].strip(",")[4:]))
        if "] Iteration " in line and "Testing net" in line:
            found["tests"].append(int(re.findall(number, line)[0].strip(",")[4:]))
        if "Test net output" in line and "loss" in line:
            found["test losses"].append(float(line.strip().split(" ")[-2]))
        if "Test net output" in line and "accuracy" in line:
            found["accuracies"].append(float(line.strip().split(" ")[-1]))
        if "Train net output" in line and "loss" in line:
            found["losses"].append(float(line.strip().split(" ")[-2]))
    assert found["iterations"] == list(range(ITERATIONS))
    assert len(found["losses"]) == ITERATIONS and all(loss > 0 for loss in found["losses"])
    assert found["tests"][0] == 0
    assert len(found["tests"]) == len(found["accuracies"]) == len(found["test losses"])
    assert all(0 <= accuracy <= 1 for accuracy in found["accuracies"])


def test_a_mean_that_is_none(tool, tmp_path, capfd):
    (tmp_path / "mean.binaryproto").write_bytes(b"no mean")
    assert tool("convert_mean", tmp_path / "mean.binaryproto") == 2
    assert "mean.binaryproto is not a mean image" in capfd.readouterr().err
    assert not (tmp_path / "mean.npy").exists()
