"""Maps as files and images: colours, borders, reading back, differences and time."""

import cv2
import numpy as np
import pytest

import caffe
from sentiment.data import image_files
from sentiment.evaluation import inference, maps

NET = """
name: "places"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 40 dim: 60 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 2 kernel_size: 10 stride: 10 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "prob" type: "Softmax" bottom: "conv" top: "prob" }
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.set_random_seed(1)
    return caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)


@pytest.fixture
def images():
    return list(np.random.default_rng(0).normal(0, 50, (7, 3, 40, 60)).astype(np.float32))


@pytest.fixture
def answer():
    """Two rows of three places; P(positive) falls from the upper left to the lower right."""
    positive = np.linspace(1, 0, 6, dtype=np.float32).reshape(2, 3)
    return np.stack([1 - positive, positive])


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_maps_do_not_depend_on_the_batch(net, images, batch):
    found = list(maps.forward(net, images, batch))
    assert [answer.shape for answer in found] == [(2, 4, 6)] * 7
    for image, answer in zip(images, found, strict=True):
        (alone,) = maps.forward(net, [image])
        np.testing.assert_allclose(answer, alone, atol=1e-6)
        np.testing.assert_allclose(answer.sum(0), 1, atol=1e-6)


def test_inputs_are_warped_to_the_net_s_size_without_a_crop(net, tmp_path):
    image = np.zeros((200, 90, 3), np.uint8)
    image[:, :, 0], image[100:, :, 2] = 50, 250  # BGR: blue, and red in the lower half
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (found,) = inference.warped(net, [tmp_path / "a.png"], np.array([10.0, 20.0, 30.0]), size=(40, 60))
    assert found.shape == (3, 40, 60)
    np.testing.assert_allclose(found[0], 40, atol=1e-3)
    np.testing.assert_allclose(found[1], -20, atol=1e-3)
    np.testing.assert_allclose(found[2, [0, -1]], [[-30] * 60, [220] * 60], atol=1e-3)


def test_files(tmp_path, answer):
    path = tmp_path / "a b.jpg.npy"
    assert maps.read(path, (2, 3)) is None
    maps.save(path, answer)
    np.testing.assert_array_equal(maps.read(path, (2, 3)), answer)
    np.testing.assert_array_equal(np.load(path), answer)
    assert maps.read(path, (8, 8)) is None  # of another input's size
    path.write_bytes(path.read_bytes()[:-3])
    assert maps.read(path, (2, 3)) is None


def test_an_overlay_is_half_image_half_colours(answer):
    image = np.random.default_rng(0).integers(0, 256, (40, 90, 3)).astype(np.uint8)
    shown = maps.overlay(image, answer)
    for row in range(2):
        for column in range(3):
            place = np.s_[row * 20 : row * 20 + 20, column * 30 : column * 30 + 30]
            colour = 255 * np.array([*answer[:, row, column], 0])  # red, green, blue
            np.testing.assert_allclose(shown[place], (image[place] + colour) / 2, atol=0.51)


@pytest.mark.parametrize("size", [(5, 7), (2, 3), (451, 333), (8, 2000)])
def test_any_image_size(answer, size):
    shown = maps.overlay(np.zeros((*size, 3), np.uint8), answer)
    assert shown.shape == (*size, 3) and shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[0, 0], [0, 128, 0])
    np.testing.assert_array_equal(shown[-1, -1], [128, 0, 0])


@pytest.mark.parametrize(("positive", "colour"), [(0.51, maps.GREEN), (0.5, maps.RED), (0.1, maps.RED)])
def test_a_border_says_the_global_prediction_and_covers_nothing(positive, colour):
    image = np.full((100, 60, 3), 9, np.uint8)
    shown = maps.bordered(image, positive)
    width = (shown.shape[0] - 100) // 2
    assert shown.shape == (100 + 2 * width, 60 + 2 * width, 3) and width >= 2
    np.testing.assert_array_equal(shown[width:-width, width:-width], image)
    edge = np.ones(shown.shape[:2], bool)
    edge[width:-width, width:-width] = False
    assert (shown[edge] == colour).all()


def test_images_are_written_and_read_as_rgb(tmp_path):
    image = np.zeros((4, 5, 3), np.uint8)
    image[..., 0] = 200
    maps.save_image(tmp_path / "folder" / "red.png", image)
    np.testing.assert_array_equal(image_files.load(tmp_path / "folder" / "red.png"), image)
    cv2.imwrite(str(tmp_path / "grey.jpg"), np.full((4, 5), 77, np.uint8))
    assert (image_files.load(tmp_path / "grey.jpg") == 77).all()


def test_differences_are_summarised():
    mapped = np.array([[[0.4, 0.6]], [[0.9, 0.1]]], np.float32)
    patched = np.array([[[0.4, 0.4]], [[0.8, 0.1]]], np.float32)
    found = maps.difference_summary(mapped, patched)
    assert (found["maps"], found["places"], found["same"]) == (2, 2, 0.75)
    assert found["50"] == pytest.approx(0.05) and found["100"] == pytest.approx(0.2)


def test_time_is_of_one_image_at_the_net_s_size(net, images):
    list(maps.forward(net, images))
    assert maps.seconds(net, repeats=2) > 0
    assert net.blobs["data"].data.shape == (1, 3, 40, 60)
