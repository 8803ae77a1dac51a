"""BVLC Caffe's probabilities and features of the real GoogLeNet on real photographs."""

import cv2
import numpy as np
import pytest

import caffe
from sentiment import paper
from sentiment.evaluation import inference

TOLERANCE = 1e-5  # of probabilities, and of a feature relative to the largest


@pytest.fixture(scope="module")
def net(shared):
    weights = shared / "data" / "weights"
    return caffe.Net(
        str(weights / "bvlc_googlenet_deploy.prototxt"), str(weights / "bvlc_googlenet.caffemodel"), caffe.TEST
    )


@pytest.fixture(scope="module")
def measured(shared):
    """What BVLC gave, and the photographs it was given."""
    with np.load(shared / "data" / "reference" / "googlenet" / "googlenet.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return found, [shared / "data" / "deepsent" / "images" / name for name in found["names"]]


def test_ten_crops_are_the_classifier_s(net, measured):
    found, paths = measured
    crops = inference.probabilities(net, inference.warped(net, paths, np.array(paper.IMAGENET_MEANS_BGR)))
    np.testing.assert_allclose(crops[:, inference.CENTER], found["center"], atol=TOLERANCE)
    np.testing.assert_allclose(crops.mean(1), found["oversampled"], atol=TOLERANCE)


def test_features_of_the_last_pooling(net, measured):
    found, paths = measured
    warped = np.stack([cv2.resize(cv2.imread(str(path)), (256, 256)) for path in paths])
    crops = warped[:, 16:240, 16:240].transpose(0, 3, 1, 2) - np.float32([104, 117, 123]).reshape(3, 1, 1)
    net.blobs["data"].reshape(*crops.shape)
    net.blobs["data"].data[...] = crops
    probabilities = net.forward()["prob"]
    pooled = net.blobs["pool5/7x7_s1"].data.reshape(found["pool5"].shape)
    np.testing.assert_allclose(pooled, found["pool5"], atol=TOLERANCE * found["pool5"].max())
    np.testing.assert_allclose(probabilities, found["prob"], atol=TOLERANCE)
