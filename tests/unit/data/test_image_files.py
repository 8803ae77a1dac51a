"""Images from strangers: what is accepted, what is refused before it is decoded, and which way is up."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

import caffe
from sentiment.data import image_files
from sentiment.evaluation import inference
from sentiment.utils.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (6, 9, 3), np.uint8)


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def refused(data, name="the image"):
    with pytest.raises(UserError) as error:
        image_files.decode(data, name)
    return str(error.value)


def png_of_size(width, height):
    """A PNG that only claims a size: its pixels are a few bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_images_come_back_as_they_were(kind):
    np.testing.assert_array_equal(image_files.decode(encoded(PIXELS, kind, lossless=True)), PIXELS)


def test_an_image_of_a_data_set_may_be_of_any_format(tmp_path):
    for kind in "BMP", "TIFF", "PNG":
        (tmp_path / "a.jpg").write_bytes(encoded(PIXELS, kind))
        np.testing.assert_array_equal(image_files.load(tmp_path / "a.jpg"), PIXELS)
    for content in b"", b"no picture":
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.jpg is damaged or not an image"):
            image_files.load(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.jpg"):
        image_files.load(tmp_path / "nowhere.jpg")


def trained_on(path):
    """The image as an ImageData layer gives it to a training, (H, W, 3) RGB."""
    (path.parent / "list.txt").write_text(f"{path} 1\n")
    (path.parent / "net.prototxt").write_text(
        "layer { name: 'data' type: 'ImageData' top: 'data' top: 'label' "
        f"image_data_param {{ source: '{path.parent}/list.txt' batch_size: 1 }} }}"
    )
    net = caffe.Net(str(path.parent / "net.prototxt"), caffe.TRAIN)
    return net.forward()["data"][0].transpose(1, 2, 0)[:, :, ::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_command_sees_the_image_upright_as_training_does(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(RNG.integers(0, 255, (24, 40, 3), np.uint8), "JPEG", exif=exif))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert upright.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    np.testing.assert_array_equal(trained_on(path), upright)
    np.testing.assert_array_equal(image_files.load(path), upright)
    np.testing.assert_array_equal(image_files.read(path), upright)
    (tmp_path / "deploy.prototxt").write_text(
        "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }"
    )
    net = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    size = upright.shape[:2]
    (evaluated,) = inference.warped(net, [path], np.zeros(3), size=size)  # evaluation, features and maps
    (predicted,) = inference.warp(net, [inference.scaled(image_files.read(path))], np.zeros(3), size)
    for found in evaluated, predicted:
        np.testing.assert_allclose(found.transpose(1, 2, 0)[:, :, ::-1], upright, atol=1e-4)


@pytest.mark.parametrize("cut", [2, 1000])
def test_a_jpeg_that_is_cut_short_is_what_training_sees(cut, tmp_path, caplog):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(RNG.integers(0, 255, (40, 60, 3), np.uint8), "JPEG")[:-cut])
    expected = trained_on(path)
    for _ in range(2):
        np.testing.assert_array_equal(image_files.load(path), expected)
        np.testing.assert_array_equal(image_files.read(path), expected)
    assert len(caplog.records) == 1 and "cut.jpg" in caplog.text


def test_transparency_is_dropped_and_grey_becomes_three_channels():
    with_alpha = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(image_files.decode(encoded(with_alpha, "PNG")), PIXELS)
    grey = PIXELS[:, :, 0]
    np.testing.assert_array_equal(image_files.decode(encoded(grey, "PNG")), np.dstack([grey] * 3))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright_as_pillow_turns_it(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PIXELS, kind, lossless=True, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(image_files.decode(data), upright)


def test_a_bomb_is_refused_without_being_decoded():
    for width, height in ((10_000, 5_001), (30_000, 30_000)):
        data = png_of_size(width, height)
        tracemalloc.start()
        sentence = refused(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert "more than 50 million pixels" in sentence
        assert peak < 1_000_000


def test_more_bytes_than_allowed(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(bytes(image_files.MAX_BYTES + 1))
    with pytest.raises(UserError, match=r"large\.jpg has more than 20 MB"):
        image_files.read(path)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind):
    assert "not a JPEG, PNG or WebP" in refused(encoded(PIXELS, kind))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg/>", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", bytes(100)])
def test_what_is_not_an_image_is_refused(data):
    assert "my file is not a JPEG, PNG or WebP" in refused(data, "my file")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind):
    frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    assert "an animation" in refused(file.getvalue())


def test_a_phones_jpeg_with_a_second_image_behind_it_is_accepted():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])
    assert image_files.decode(file.getvalue()).shape == PIXELS.shape


def test_damaged_pixels():
    data = png_of_size(5, 5)[:60]
    assert "damaged" in refused(data) or "not a JPEG" in refused(data)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.jpg: No such file"):
        image_files.read(tmp_path / "nowhere.jpg")
