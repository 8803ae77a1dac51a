"""Batched testing gives the numbers of caffe.Classifier, one image at a time."""

import re
import weakref

import cv2
import numpy as np
import pytest

import caffe
from sentiment.data.means import channel_means
from sentiment.evaluation import inference
from sentiment.utils.errors import UserError

DEPLOY = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 10 dim: 3 dim: 227 dim: 227 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 11 stride: 8 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
MEANS = np.array([104.00698793, 116.66876762, 122.67891434])


@pytest.fixture
def images(tmp_path):
    """Five images of unlike sizes, gray and transparent ones among them."""
    rng = np.random.default_rng(7)
    shapes = [(300, 200, 3), (60, 90, 3), (256, 256, 3), (120, 80), (90, 70, 4)]
    paths = []
    for index, shape in enumerate(shapes):
        paths.append(tmp_path / f"image {index}.{'png' if len(shape) < 3 or shape[2] == 4 else 'jpg'}")
        small = rng.integers(0, 256, (shape[0] // 10, shape[1] // 10, *shape[2:]), np.uint8)
        cv2.imwrite(str(paths[-1]), cv2.resize(small, shape[1::-1], interpolation=cv2.INTER_CUBIC))
    return paths


@pytest.fixture
def net_files(tmp_path):
    model, weights = tmp_path / "deploy.prototxt", tmp_path / "tiny.caffemodel"
    model.write_text(DEPLOY)
    caffe.set_random_seed(3)
    caffe.Net(str(model), caffe.TEST).save(str(weights))
    return str(model), str(weights)


def test_numbers_of_the_classifier(images, net_files):
    classifier = caffe.Classifier(*net_files, image_dims=(256, 256), mean=MEANS, raw_scale=255, channel_swap=(2, 1, 0))
    loaded = [caffe.io.load_image(str(path)) for path in images]
    net = caffe.Net(*net_files, caffe.TEST)
    counts = []
    found = inference.probabilities(net, inference.warped(net, images, MEANS), batch=25, done=counts.append)
    assert found.shape == (5, 10, 2)
    assert counts == [2, 2, 1]
    center = np.concatenate([classifier.predict([image], oversample=False) for image in loaded])
    ten = np.concatenate([classifier.predict([image]) for image in loaded])
    assert np.ptp(center[:, 0]) > 0.01
    np.testing.assert_allclose(found[:, inference.CENTER], center, atol=1e-6)
    np.testing.assert_allclose(found.mean(1), ten, atol=1e-6)


def test_few_images_of_a_long_list_are_in_memory(images, net_files, monkeypatch):
    net, warp, made, most = caffe.Net(*net_files, caffe.TEST), inference.warp, [], []

    def remembered(*args):
        made.append(weakref.ref(image := warp(*args)))
        return image

    monkeypatch.setattr(inference, "warp", remembered)
    monkeypatch.setattr(inference, "AHEAD", 6)
    long = images * 20
    found = inference.probabilities(
        net,
        inference.warped(net, long, MEANS),
        batch=40,
        done=lambda count: most.append(sum(image() is not None for image in list(made))),
    )
    assert len(found) == len(made) == 100
    assert max(most) <= 4 + 6  # those of a forward pass, and those read at a time


def test_crops_are_those_of_oversample():
    image = np.random.default_rng(0).random((3, 20, 24), np.float32)
    out = np.empty((10, 3, 15, 15), np.float32)
    inference.ten_crops(image, out)
    expected = caffe.io.oversample([image.transpose(1, 2, 0)], (15, 15)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(out, expected)


def test_a_file_that_is_not_an_image_is_named_with_its_line(net_files, tmp_path):
    net = caffe.Net(*net_files, caffe.TEST)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for path in broken, tmp_path / "missing.jpg":
        with pytest.raises(UserError, match=rf"test\.txt, line 3: .*{re.escape(path.name)}"):
            list(inference.warped(net, [path], MEANS, where=lambda path: "test.txt, line 3"))


def test_means_of_channels(tmp_path):
    assert channel_means((1, 2, 3)).tolist() == [1, 2, 3]
    image = np.random.default_rng(0).random((3, 8, 8)) * 255
    for shape in (3, 8, 8), (1, 3, 8, 8):
        path = tmp_path / "mean.binaryproto"
        path.write_bytes(caffe.io.array_to_blobproto(image.reshape(shape)).SerializeToString())
        np.testing.assert_allclose(channel_means(path), image.mean((1, 2)), rtol=1e-6)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="mean"):
        channel_means(path)
    with pytest.raises(UserError, match="nowhere"):
        channel_means(tmp_path / "nowhere")


def test_the_error_about_a_numpy_mean_names_the_command_that_converts_it(tmp_path):
    path = tmp_path / "mean.npy"
    np.save(path, np.ones((3, 4, 4)))
    with pytest.raises(UserError, match=r"mean.npy is a numpy file; `python tools/convert_mean.py .*mean.npy`"):
        channel_means(path)


def test_published_imagenet_means(shared):
    means = channel_means(shared / "data" / "weights" / "ilsvrc_2012_mean.binaryproto")
    np.testing.assert_allclose(means, MEANS, atol=1e-5)
