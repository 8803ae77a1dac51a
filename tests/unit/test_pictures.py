"""Pictures from strangers: what is taken, what is refused before it costs anything, and which way is up."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from sentiment import maps, pictures
from sentiment.console import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (6, 9, 3), np.uint8)


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def refused(data, name="the picture"):
    with pytest.raises(UserError) as error:
        pictures.decode(data, name)
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
def test_lossless_pictures_come_back_as_they_were(kind):
    np.testing.assert_array_equal(pictures.decode(encoded(PIXELS, kind, lossless=True)), PIXELS)


def test_a_jpeg_is_what_the_rest_of_the_project_decodes(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(PIXELS, "JPEG"))
    np.testing.assert_array_equal(pictures.read(path), maps.picture(path))


def test_transparency_is_dropped_and_grey_becomes_three_channels():
    with_alpha = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(pictures.decode(encoded(with_alpha, "PNG")), PIXELS)
    grey = PIXELS[:, :, 0]
    np.testing.assert_array_equal(pictures.decode(encoded(grey, "PNG")), np.dstack([grey] * 3))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright_as_pillow_turns_it(kind, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PIXELS, kind, lossless=True, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(pictures.decode(data), upright)


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
    path.write_bytes(bytes(pictures.MAX_BYTES + 1))
    with pytest.raises(UserError, match=r"large\.jpg has more than 20 MB"):
        pictures.read(path)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind):
    assert "no JPEG, PNG or WebP" in refused(encoded(PIXELS, kind))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg/>", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", bytes(100)])
def test_what_is_no_picture_is_refused(data):
    assert "my file is no JPEG, PNG or WebP" in refused(data, "my file")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind):
    frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    assert "an animation" in refused(file.getvalue())


def test_a_phones_jpeg_with_a_second_picture_behind_it_is_a_picture():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])
    assert pictures.decode(file.getvalue()).shape == PIXELS.shape


def test_damaged_pixels():
    data = png_of_size(5, 5)[:60]
    assert "damaged" in refused(data) or "no JPEG" in refused(data)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.jpg: No such file"):
        pictures.read(tmp_path / "nowhere.jpg")
