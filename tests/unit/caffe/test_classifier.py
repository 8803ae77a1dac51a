"""Predictions for images of any size."""

import json

import numpy as np
import pytest

import caffe
from caffe import layers as L
from caffe import params as P

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def averaging(tmp_path_factory):
    """Definition and weights of a net whose outputs are the means of a 4x5 input's channels, two images a batch."""
    folder = tmp_path_factory.mktemp("averaging")
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[2, 3, 4, 5]))
    n.mean = L.Pooling(n.data, pool=P.Pooling.AVE, global_pooling=True)
    (folder / "deploy.prototxt").write_text(str(n.to_proto()))
    files = str(folder / "deploy.prototxt"), str(folder / "weights.caffemodel")
    caffe.Net(files[0], caffe.TEST).save(files[1])
    return files


def test_agrees_with_bvlc(root, monkeypatch):
    folder = root / "tests/conformance/cases/classifier_10crop"
    reference = np.load(root / "tests/conformance/reference/classifier_10crop.npz")
    monkeypatch.chdir(folder)
    case = json.loads((folder / "case.json").read_text())
    net = caffe.Classifier(
        case["model"],
        case["weights"],
        mean=np.array(case["mean"]),
        image_dims=tuple(case["image_dims"]),
        channel_swap=(2, 1, 0),
        raw_scale=255,
    )
    images = [caffe.io.load_image(path) for path in case["images"]]
    np.testing.assert_allclose(net.predict(images), reference["oversampled"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(net.predict(images, oversample=False), reference["center"], rtol=0, atol=2e-5)


def test_centre_crop_of_the_warped_image(averaging):
    net = caffe.Classifier(*averaging, image_dims=(8, 8))
    images = [RNG.random((8, 8, 3)) for _ in range(3)]
    means = net.predict(images, oversample=False)
    np.testing.assert_allclose(means[..., 0, 0], [image[2:6, 1:6].mean((0, 1)) for image in images], rtol=1e-5)


def test_ten_crops_are_averaged(averaging):
    net = caffe.Classifier(*averaging, image_dims=(8, 8))
    images = [RNG.random((8, 8, 3)) for _ in range(3)]
    crops = np.stack([caffe.io.oversample([image], (4, 5)) for image in images])
    np.testing.assert_allclose(net.predict(images), crops.mean((1, 2, 3)), rtol=1e-5)


def test_images_of_any_size_are_warped_to_the_input_by_default(averaging):
    net = caffe.Classifier(*averaging)
    images = [RNG.random((20, 11, 3)), RNG.random((3, 3, 3))]
    warped = [caffe.io.resize_image(image, (4, 5)).mean((0, 1)) for image in images]
    np.testing.assert_allclose(net.predict(images, oversample=False)[..., 0, 0], warped, rtol=1e-5)


def test_preprocessing_is_the_transformers(averaging):
    settings = dict(mean=np.array([10.0, 20, 30]), raw_scale=255, input_scale=2, channel_swap=(2, 1, 0))
    image = RNG.random((4, 5, 3))
    expected = 2 * (255 * image.mean((0, 1))[::-1] - [10, 20, 30])
    predicted = caffe.Classifier(*averaging, **settings).predict([image], oversample=False)
    np.testing.assert_allclose(predicted.ravel(), expected, rtol=1e-4)


def test_a_mean_image_is_one_of_the_crop(averaging):
    net = caffe.Classifier(*averaging, image_dims=(16, 20), mean=RNG.random((3, 8, 10)))
    assert net.transformer.mean["data"].shape == (3, 4, 5)
