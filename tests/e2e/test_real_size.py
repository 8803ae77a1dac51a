"""The tools at the published models' size: a 240 MB CaffeNet file of the first generation, within 3 GB of memory."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from sentiment import paper
from sentiment.analysis import features
from sentiment.data import folds, lists

GIB = 1 << 30
SHAPES = {  # num, channels, height, width, as files of 2012 to 2014 have them
    "conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3), "fc6": (1, 1, 4096, 9216), "fc7": (1, 1, 4096, 4096), "fc8": (1, 1, 1000, 4096),
}  # fmt: skip


def legacy_blob(values, shape):
    """A BlobProto with num, channels, height and width, its values put in as one block of bytes."""
    num, channels, height, width = shape
    blob = caffe_pb2.BlobProto(num=num, channels=channels, height=height, width=width)
    length, varint = values.nbytes, b""
    while length > 127:
        varint, length = varint + bytes([length & 127 | 128]), length >> 7
    blob.MergeFromString(b"\x2a" + varint + bytes([length]) + values.tobytes())
    return blob


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A V1 file shaped as bvlc_reference_caffenet.caffemodel."""
    rng = np.random.default_rng(0)
    net = caffe_pb2.NetParameter(name="CaffeNet")
    for name, shape in SHAPES.items():
        kind = (
            caffe_pb2.V1LayerParameter.INNER_PRODUCT
            if name.startswith("fc")
            else caffe_pb2.V1LayerParameter.CONVOLUTION
        )
        layer = net.layers.add(name=name, type=kind, blobs_lr=[1, 2], weight_decay=[1, 0])
        outputs = shape[2] if name.startswith("fc") else shape[0]
        weights = rng.standard_normal(np.prod(shape), np.float32)
        weights *= np.float32(np.sqrt(2 * outputs / weights.size) / (100 if name == "conv1" else 1))
        layer.blobs.append(legacy_blob(weights, shape))
        layer.blobs.append(legacy_blob(np.zeros(outputs, np.float32), (1, 1, 1, outputs)))
    path = tmp_path_factory.mktemp("published") / "bvlc_reference_caffenet.caffemodel"
    path.write_bytes(net.SerializeToString())
    return path


# Runs a script and writes its own peak memory in kB; rusage would count that of the process it was forked from.
PEAK = """
import atexit, pathlib, re, runpy, sys
_, peak, *sys.argv = sys.argv
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: pathlib.Path(peak).write_text(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def run(root, tmp_path, published):
    """Call a tool as a user does, in a process of its own that stays below 3 GB: ``run("train", "--fold", "1")``."""
    runs, data, out = ["--runs", "runs"], ["--runs", "runs", "--data", "data"], ["--out", "results"]
    of_runs = dict.fromkeys(("analyze_layers", "net_surgery", "predict", "export"), runs)
    of_lists = {tool: [*data, "--splits", "splits"] for tool in ("train", "evaluate", "extract_features")}
    options = {**of_runs, **of_lists, "sentiment_maps": [*data, *out], "make_tables": [*runs, *out]}

    def call(tool, *arguments):
        peak = tmp_path / "peak"
        script = root / "tools" / f"{tool}.py"
        command = [sys.executable, "-c", PEAK, peak, script, *options.get(tool, []), *arguments]
        if tool not in ("make_tables", "plot_loss", "inspect_model"):
            command += ["--init", published]
        environment = {**os.environ, "PYTHONPATH": str(root / "python")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stdout
        assert 0 < int(peak.read_text()) * 1024 < 3 * GIB
        return done.stdout

    return call


@pytest.mark.slow
def test_the_whole_way(run, tmp_path, published):
    assert published.stat().st_size > 240e6
    (tmp_path / "data" / "images").mkdir(parents=True)
    rng = np.random.default_rng(1)
    pairs = [(f"{index}.jpg", index % 2) for index in range(10)]
    for name, _ in pairs:
        cv2.imwrite(str(tmp_path / "data" / "images" / name), rng.integers(0, 255, (300, 400, 3), np.uint8))
    (tmp_path / "data" / "twitter_five_agrees.txt").write_text(lists.text(pairs))
    folds.write(tmp_path / "splits", "data", "five_agrees", folds.make(pairs, 1))  # 8 to train on, 2 to test

    run("train", "--batch-size", "8", "--iterations", "2")
    run("evaluate")
    folder = tmp_path / "runs" / "five_agrees" / "finetune-bvlc_reference_caffenet" / "fold1"
    assert json.loads((folder / "result.json").read_text())["test_images"] == 2
    assert len((folder / "predictions.csv").read_text().splitlines()) == 3
    weights = folder / "snapshot_iter_2.caffemodel"
    assert 220e6 < weights.stat().st_size < 230e6

    run("extract_features", "--fold", "1")
    grams = features.read(folder / "grams.npz")
    assert len(grams.layers) == 13 and len(grams.images) == 10
    assert "| conv1 " in run("analyze_layers", "--fold", "1", "--selection", "paper")

    said = run("net_surgery")
    for layer, (number, (width, height, depth)) in paper.TABLE1.items():
        assert f"{height} × {width} × {depth}" in next(line for line in said.splitlines() if f"| {layer} " in line)
        assert f"{number:,}" in said
    assert abs((folder / "snapshot_iter_2_conv.caffemodel").stat().st_size - weights.stat().st_size) < 10_000

    assert "multiply-adds" in run("sentiment_maps", "--images", "all", "--compare-patches", "1", "--cost")
    shown = json.loads((tmp_path / "results" / "data" / "figure7.json").read_text())
    assert shown["cost"]["multiply_adds"]["map"] / shown["cost"]["multiply_adds"]["prediction"] > 8.6
    for entry in shown["about"]["shown"]:
        assert np.load(folder / "maps" / f"{entry['image']}.npy").shape == (2, 8, 8)
    run("make_tables")
    assert "bvlc_reference_caffenet" in (tmp_path / "results" / "data" / "runs.md").read_text()

    run("plot_loss", folder / "train.log", "--out", tmp_path / "losses.png")
    assert cv2.imread(str(tmp_path / "losses.png")) is not None
    assert "fc8" in run("inspect_model", published)
    assert "0.jpg" in run("predict", tmp_path / "data" / "images" / "0.jpg", "--map", "--out", tmp_path / "told")
    run("export", "--out", tmp_path / "exported")
    assert min(path.stat().st_size for path in (tmp_path / "exported").rglob("*.safetensors")) > 220e6

    net = caffe.Net(str(folder / "deploy.prototxt"), str(weights), caffe.TEST)
    before = caffe_pb2.NetParameter.FromString(published.read_bytes())
    for layer in before.layers[:-1]:
        moved = np.abs(net.params[layer.name][0].data.ravel() - np.array(layer.blobs[0].data, np.float32))
        assert 0 < moved.max() < 0.1
