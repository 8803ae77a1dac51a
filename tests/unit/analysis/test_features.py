"""Layers, centre crops and Gram matrices are what a plain forward pass, image by image, gives."""

import ast
import collections
import concurrent.futures
import gc
import sys

import cv2
import numpy as np
import pytest

import caffe
from sentiment import paper
from sentiment.analysis import extraction, features
from sentiment.data.folds import Fold
from sentiment.networks import architectures
from sentiment.utils.errors import UserError

DEPLOY = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 10 dim: 3 dim: 227 dim: 227 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 11 stride: 8 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc"
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
MEANS = (104.0, 117.0, 123.0)
ABOUT = features.About(
    dataset="drawn", demo=True, subset="five_agrees", arch="finetune", init="caffenet", mean_way="image", hashes={}
)


def built(folder, definition):
    path = folder / "deploy.prototxt"
    path.write_text(str(definition))
    return caffe.Net(str(path), caffe.TEST)


@pytest.fixture
def net(tmp_path):
    caffe.set_random_seed(3)
    return built(tmp_path, DEPLOY)


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(7)
    paths = [tmp_path / f"image {index}.png" for index in range(7)]
    for path in paths:
        small = rng.integers(0, 256, (12, 10, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(small, (90, 120), interpolation=cv2.INTER_CUBIC))
    return paths


@pytest.fixture
def mean_file(tmp_path):
    image = np.linspace(80, 160, 3 * 256 * 256).reshape(3, 256, 256)
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(caffe.io.array_to_blobproto(image[None]).SerializeToString())
    return path


def classifier_crop(path, mean):
    """An image's centre crop as caffe.Classifier takes it, minus a mean."""
    image = caffe.io.resize_image(caffe.io.load_image(str(path)), (256, 256))[14:241, 14:241]
    return image[..., ::-1].transpose(2, 0, 1) * 255 - mean


def test_layers_are_the_paper_s(tmp_path):
    layers = features.layers_of(built(tmp_path, architectures.deploy("finetune", 16)))
    assert list(layers) == [layer.replace("fc8", "fc8_twitter") for layer in paper.TABLE3]


def test_layers_of_other_nets(tmp_path):
    layers = features.layers_of(built(tmp_path, architectures.deploy("fc6-2", 16)))
    assert list(layers)[:3] == ["fc6_twitter", "pool5", "conv5"]
    layers = features.layers_of(built(tmp_path, architectures.deploy("squeezenet", 8)))
    fires = [f"fire{number}/concat" for number in range(9, 1, -1)]
    expected = ["pool10", "conv10_twitter", fires[0], "pool8", *fires[1:5], "pool4", *fires[5:], "pool1", "conv1"]
    assert list(layers) == expected
    layers = features.layers_of(built(tmp_path, architectures.deploy("googlenet", 8)))
    inceptions = [f"inception_{name}/output" for name in ("5b", "5a", "4e", "4d", "4c", "4b", "4a", "3b", "3a")]
    pools = [f"pool{number}/3x3_s2" for number in (4, 3, 2, 1)]
    middle = [*inceptions[:2], pools[0], *inceptions[2:7], pools[1], *inceptions[7:], pools[2]]
    last = ["conv2/norm2", "conv2/3x3", "conv2/3x3_reduce", "pool1/norm1", pools[3], "conv1/7x7_s2"]
    assert list(layers) == ["loss3/classifier_twitter", "pool5/7x7_s1", *middle, *last]
    layers = features.layers_of(built(tmp_path, architectures.deploy("finetune", 16)), end="relu4")
    assert list(layers) == ["conv4", "conv3", "norm2", "pool2", "conv2", "norm1", "pool1", "conv1"]


def test_sizes_at_full_width(tmp_path):
    widths = features.layers_of(built(tmp_path, architectures.deploy("finetune")))
    assert (widths["conv1"], widths["pool5"], widths["fc6"], widths["fc8_twitter"]) == (290400, 9216, 4096, 2)


def test_centre_crops(net, images, mean_file):
    by_channel = features.mean_to_subtract(MEANS, (227, 227))
    for path, crop in zip(images, features.centre_crops(net, images, by_channel), strict=True):
        np.testing.assert_allclose(crop, classifier_crop(path, np.array(MEANS)[:, None, None]), atol=1e-3)
    by_image = features.mean_to_subtract(mean_file, (227, 227))
    assert by_image.shape == (3, 227, 227)
    for path, crop in zip(images, features.centre_crops(net, images, by_image), strict=True):
        np.testing.assert_allclose(crop, classifier_crop(path, by_image), atol=1e-3)


def test_the_mean_image_is_resized_to_the_crop_and_not_cropped(mean_file):
    image = features.mean_to_subtract(mean_file, (227, 227))
    whole = caffe.io.blobproto_to_array(caffe.proto.caffe_pb2.BlobProto.FromString(mean_file.read_bytes()))[0]
    np.testing.assert_allclose(image[:, 2:-2, 2:-2].mean((1, 2)), whole.mean((1, 2)), atol=0.01)
    assert abs(image[0, 2, 2] - whole[0, 2, 2]) < 0.2  # corners are of corners


def test_the_mean_image_has_to_be_one(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        features.mean_to_subtract(tmp_path / "nowhere", (227, 227))


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_inner_products_of_a_plain_forward_pass(net, images, tmp_path, batch):
    mean = features.mean_to_subtract(MEANS, (227, 227))
    crops = list(features.centre_crops(net, images, mean))
    widths = features.layers_of(net)
    assert widths == {"fc": 2, "pool1": 4 * 14 * 14, "conv1": 4 * 28 * 28}
    plain = collections.defaultdict(list)
    for crop in crops:
        net.blobs["data"].reshape(1, 3, 227, 227)
        net.blobs["data"].data[0] = crop
        net.forward()
        for layer in widths:
            plain[layer].append(net.blobs[layer].data.ravel().astype(float))

    before = set(tmp_path.iterdir())
    found = features.matrices(net, crops, len(crops), widths, tmp_path, batch)
    assert set(tmp_path.iterdir()) == before
    for layer, matrix in found.items():
        expected = np.stack(plain[layer]) @ np.stack(plain[layer]).T
        np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_inner_products_are_exact_over_blocks_of_columns():
    rows = np.random.default_rng(0).normal(1000, 1, (4, 40_000)).astype(np.float32)
    np.testing.assert_allclose(features.gram(rows), rows.astype(float) @ rows.T.astype(float), rtol=1e-13)


def test_too_little_memory_is_said_before_extraction_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(features.os, "sysconf", {"SC_PHYS_PAGES": 2000, "SC_PAGE_SIZE": 4000}.get)
    with pytest.raises(UserError, match="Gram matrices of 1000 images"):
        features.matrices(None, None, 1000, {"fc7": 10, "fc6": 10}, tmp_path)


def test_too_little_room_is_said_before_anything_runs(net, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: usage(9e9, 8e9, 1e9))
    with pytest.raises(UserError, match=r"1\.0 GB .* 3\.2 GB .*--scratch"):
        features.matrices(net, [], 1000, {"conv1": 800_000}, tmp_path)


def test_files_give_back_what_was_written(tmp_path):
    folds = {1: Fold([("a b.jpg", 1), ("c.jpg", 0)], [("d.jpg", 1)]), 2: Fold([("d.jpg", 1)], [("c.jpg", 0)])}
    labels, where = extraction.listed(folds, ["1/train", "1/test", "2/train", "2/test"])
    assert labels == {"a b.jpg": 1, "c.jpg": 0, "d.jpg": 1}
    assert where == {"a b.jpg": "1/train, line 1", "c.jpg": "1/train, line 2", "d.jpg": "1/test, line 1"}
    matrices = {"fire2/concat": np.arange(9.0).reshape(3, 3), "conv1": np.eye(3)}
    path = tmp_path / features.FILE
    features.write(path, ABOUT, labels, folds, {"fire2/concat": 7, "conv1": 5}, matrices)
    grams = features.read(path)
    assert grams.about == ABOUT
    assert list(grams.layers.items()) == [("fire2/concat", 7), ("conv1", 5)]
    assert grams.images == list(labels)
    assert grams.labels.tolist() == [1, 0, 1]
    assert [[part.tolist() for part in fold] for fold in grams.folds.values()] == [[[0, 1], [2]], [[2], [1]]]
    for layer, matrix in matrices.items():
        np.testing.assert_array_equal(grams.gram(layer), matrix)


class Garbage:
    """A cycle whose finaliser lets another thread run while the collector works."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        sum(range(50))


def test_many_threads_read_one_file(tmp_path, monkeypatch):
    """NumPy parses headers as Python, which fails in two threads at once on Python 3.11 (CPython issue 106905)."""
    path = tmp_path / features.FILE
    matrices = {f"conv{number}": np.full((2, 2), float(number)) for number in range(8)}
    features.write(path, ABOUT, {"a": 1}, {}, dict.fromkeys(matrices, 1), matrices)
    grams = features.read(path)

    def parse(header, parse=ast.literal_eval):
        for _ in range(50):
            Garbage()
            answer = parse(header)
        return answer

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    monkeypatch.setattr(ast, "literal_eval", parse)
    sys.setswitchinterval(1e-6)
    gc.set_threshold(2)
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            values = [matrix[0, 0] for matrix in pool.map(grams.gram, list(matrices) * 50)]
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
    assert values == [float(number) for number in range(8)] * 50


def test_a_file_that_is_none(tmp_path):
    path = tmp_path / features.FILE
    with pytest.raises(UserError, match=r"grams\.npz; run tools/extract_features\.py"):
        features.read(path)
    features.write(path, ABOUT, {"a": 1}, {}, {"conv1": 1}, {"conv1": np.ones((1, 1))})
    whole = path.read_bytes()
    for content in whole[:-100], b"", b"no archive", whole[:100]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"grams\.npz is not a complete file"):
            features.read(path)
    np.savez(path, other=1)
    with pytest.raises(UserError, match=r"grams\.npz is not a complete file"):
        features.read(path)


def test_an_image_with_both_labels():
    with pytest.raises(UserError, match=r"a\.jpg both labels"):
        extraction.listed({1: Fold([("a.jpg", 1)], [("a.jpg", 0)])}, ["train", "test"])
