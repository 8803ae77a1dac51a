"""CAFFE_IMAGE_CACHE: decoded pictures that processes share, never wrong ones."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffe.data import images
from caffe.errors import CaffeError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "shared" / "images"
    monkeypatch.setenv("CAFFE_IMAGE_CACHE", str(folder))
    return folder


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a b.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    return str(path)


@pytest.fixture
def read(monkeypatch):
    """`read_image` as another process calls it, with how often it decoded."""

    def call(*args):
        monkeypatch.setattr(images, "_kept", images._LastUsed())
        return images.read_image(*args)

    decode = images.decode
    call.decoded = 0

    def counted(*args):
        call.decoded += 1
        return decode(*args)

    monkeypatch.setattr(images, "decode", counted)
    return call


def test_a_picture_is_decoded_once(folder, picture, read, monkeypatch):
    monkeypatch.delenv("CAFFE_IMAGE_CACHE")
    plain = read(picture, 16, 24)
    monkeypatch.setenv("CAFFE_IMAGE_CACHE", str(folder))
    first, second = read(picture, 16, 24), read(picture, 16, 24)
    assert read.decoded == 2
    assert [path.stat().st_size for path in folder.iterdir()] == [3 * 16 * 24 + 16]
    for found in first, second:
        np.testing.assert_array_equal(found, plain)
        assert found.dtype == np.uint8 and not found.flags.writeable


def test_size_colour_and_content_tell_pictures_apart(folder, picture, read):
    shapes = [read(picture, *options).shape for options in ((16, 24), (24, 16), (16, 24, False))]
    assert shapes == [(3, 16, 24), (3, 24, 16), (1, 16, 24)]
    cv2.imwrite(picture, np.zeros((20, 30, 3), np.uint8))
    assert read(picture, 16, 24).max() == 0
    assert read.decoded == len(list(folder.iterdir())) == 4


def test_the_same_content_under_another_name_is_the_same_picture(folder, picture, read, tmp_path):
    read(picture, 16, 24)
    other = tmp_path / "copy.jpg"
    shutil.copy(picture, other)
    read(str(other), 16, 24)
    assert read.decoded == 1


@pytest.mark.parametrize("damage", [lambda whole: whole[:100], lambda whole: b"", lambda whole: b"\0" + whole[1:]])
def test_a_damaged_file_is_made_again(folder, picture, read, damage):
    whole = read(picture, 16, 24)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    file.write_bytes(damage(content) if damage(content) != content else b"\1" + content[1:])
    np.testing.assert_array_equal(read(picture, 16, 24), whole)
    assert file.read_bytes() == content and read.decoded == 2


def test_a_folder_that_cannot_be_costs_nothing_but_time(tmp_path, picture, read, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CAFFE_IMAGE_CACHE", str(tmp_path / "file" / "images"))
    assert read(picture, 16, 24).shape == (3, 16, 24)


def test_no_picture_leaves_nothing(folder, picture, read):
    Path(picture).write_bytes(b"text")
    with pytest.raises(CaffeError, match=r"a b\.png: it is not an image"):
        read(picture, 16, 24)
    assert not folder.exists()
