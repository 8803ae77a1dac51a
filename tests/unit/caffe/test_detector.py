"""caffe.Detector: windows of images through a net that returns its input, so that each step can be seen."""

import cv2
import numpy as np
import pytest

import caffe
from caffe.errors import CaffeError

SIZE = 8
DEPLOY = f"""
layer {{ name: 'in' type: 'Input' top: 'x' input_param {{ shape {{ dim: 2 dim: 3 dim: {SIZE} dim: {SIZE} }} }} }}
layer {{ name: 'p' type: 'Power' bottom: 'x' top: 'p' }}
"""
WINDOWS = np.array([[0, 0, 6, 6], [8, 7, 10, 9], [15, 10, 20, 18]])


@pytest.fixture
def detector(tmp_path):
    """Makes a detector; its net's weights are none."""
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST).save(str(tmp_path / "none.caffemodel"))
    return lambda **options: caffe.Detector(
        str(tmp_path / "deploy.prototxt"), str(tmp_path / "none.caffemodel"), **options
    )


@pytest.fixture
def image(tmp_path):
    """The path of a drawn image of 20 x 18 pixels."""
    path = str(tmp_path / "drawn.png")
    cv2.imwrite(path, np.random.default_rng(1).integers(0, 256, (20, 18, 3), np.uint8))
    return path


def test_windows_are_cropped_and_warped_to_the_input(detector, image):
    found = detector(raw_scale=255, channel_swap=(2, 1, 0)).detect_windows(iter([(image, WINDOWS), (image, [])]))
    assert [one["filename"] for one in found] == [image] * 3
    bgr = cv2.imread(image).astype(np.float32)
    for one, window in zip(found, WINDOWS, strict=True):
        np.testing.assert_array_equal(one["window"], window)
        top, left, bottom, right = window
        wanted = caffe.io.resize_image(bgr[top:bottom, left:right], (SIZE, SIZE)).transpose(2, 0, 1)
        np.testing.assert_allclose(one["prediction"], wanted, rtol=1e-4, atol=1e-3)


def test_context_surrounds_the_window_and_is_the_mean_beyond_the_image(detector, image):
    mean = np.array([100.0, 110, 120])
    found = detector(raw_scale=255, channel_swap=(2, 1, 0), mean=mean, context_pad=2).detect_windows([(image, WINDOWS)])
    # the first window, of 7 x 7 pixels as R-CNN counts, becomes 14 x 14 with its context: rows and columns -4 to 10
    first = found[0]["prediction"]
    beyond = round(4 * SIZE / 15)
    np.testing.assert_allclose(first[:, :beyond], 0, atol=1e-4)
    np.testing.assert_allclose(first[:, :, :beyond], 0, atol=1e-4)
    inside = caffe.io.resize_image(cv2.imread(image)[:10, :10].astype(np.float32), (SIZE - beyond,) * 2)
    np.testing.assert_allclose(first[:, beyond:, beyond:], inside.transpose(2, 0, 1) - mean[:, None, None], atol=2e-2)
    # the second, of 3 x 3 pixels about (9.5, 8.5), becomes rows and columns 6 to 12, which all lie in the image
    inside = caffe.io.resize_image(cv2.imread(image)[6:12, 6:12].astype(np.float32), (SIZE, SIZE))
    np.testing.assert_allclose(found[1]["prediction"], inside.transpose(2, 0, 1) - mean[:, None, None], atol=2e-2)


def test_a_mean_image_is_what_context_beyond_the_image_shows(detector, image):
    mean = np.random.default_rng(2).uniform(90, 130, (3, SIZE, SIZE))
    found = detector(raw_scale=255, channel_swap=(2, 1, 0), mean=mean, context_pad=2).detect_windows([(image, WINDOWS)])
    np.testing.assert_allclose(found[0]["prediction"][:, :2], 0, atol=1e-4)


@pytest.mark.parametrize("context", [None, 2])
def test_a_window_without_pixels_is_named(detector, image, context):
    with pytest.raises(CaffeError, match=r"drawn.png: the window \[40, 40, 44, 44\]"):
        detector(context_pad=context).detect_windows([(image, [[0, 0, 5, 5], [40, 40, 44, 44]])])


def test_selective_search_says_what_it_needs(detector, image):
    with pytest.raises(CaffeError, match="detect_windows"):
        detector().detect_selective_search([image])
