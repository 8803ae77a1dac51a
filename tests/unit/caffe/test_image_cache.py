"""CAFFE_IMAGE_CACHE: decoded pictures that processes share, never wrong ones."""

import gc
import os
import re
import shutil
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import caffe
from caffe.data import image_folder, images
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


EACH = 3 * 16 * 24 + 16  # bytes of a file


@pytest.fixture
def limit(monkeypatch):
    """Sets how many images the folder may hold, for this process as it has just begun."""

    def call(count):
        monkeypatch.setenv("CAFFE_IMAGE_CACHE_BYTES", str(count * EACH))
        image_folder._at.cache_clear()

    return call


@pytest.fixture
def pictures(tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(5)]
    for number, path in enumerate(paths):
        cv2.imwrite(path, np.full((20, 30, 3), number, np.uint8))
    return paths


def test_a_full_folder_stays_as_it_is(folder, pictures, read, limit, capfd):
    limit(3)
    for _ in range(3):  # epochs
        assert [read(path, 16, 24).max() for path in pictures] == [0, 1, 2, 3, 4]
    assert read.decoded == 5 + 2 * 2  # the two that had no room, once in each epoch
    assert sum(path.stat().st_size for path in folder.iterdir()) == 3 * EACH
    assert capfd.readouterr().err.count("is full") == 1


def test_a_folder_that_was_filled_before_is_not_exceeded(folder, pictures, read, limit):
    limit(5)
    for path in pictures[:4]:
        read(path, 16, 24)
    limit(4)  # another process, with a smaller limit
    read(pictures[4], 16, 24)
    assert len(list(folder.iterdir())) == 4
    limit(0)
    assert read(pictures[0], 16, 24).max() == 0 and read.decoded == 5  # what is there is used


def test_images_that_nobody_read_for_a_day_make_room(folder, pictures, read, limit):
    limit(3)
    for path in pictures[:3]:
        read(path, 16, 24)
    foreign = folder / "notes.txt"
    foreign.write_text("not of the cache")
    two_days_ago = time.time() - 2 * 86400
    for path in folder.iterdir():
        os.utime(path, (two_days_ago, two_days_ago))
    limit(3)
    read(pictures[1], 16, 24)  # is in use
    read(pictures[3], 16, 24)
    read(pictures[4], 16, 24)
    assert read.decoded == 5 and len(list(folder.iterdir())) == 4 and foreign.is_file()
    for path in pictures[1], pictures[3], pictures[4]:
        read(path, 16, 24)
    assert read.decoded == 5


def test_the_folder_is_not_listed_for_each_image(folder, pictures, read, limit, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    for count in 100, 2:  # with room, and without
        limit(count)
        listed.clear()
        for size in range(16, 26):
            read(pictures[0], size, 24)
        assert len(listed) <= 3


def test_a_limit_that_is_not_a_number_is_named(folder, picture, read, monkeypatch):
    monkeypatch.setenv("CAFFE_IMAGE_CACHE_BYTES", "4G")
    with pytest.raises(CaffeError, match="CAFFE_IMAGE_CACHE_BYTES"):
        read(picture, 16, 24)


def test_a_device_s_copies_keep_no_array_on_the_host(monkeypatch):
    monkeypatch.setattr(images, "_on_device", images._LastUsed())
    device = torch.device("cpu")
    array = np.zeros((3, 4, 4), np.uint8)
    copy, still = images.on_device(array, device, True), weakref.ref(array)
    assert images.on_device(array, device, True) is copy
    images._on_device.keep((id(array), device), (lambda: None, copy), copy.nbytes)  # of an array that is gone
    array[:] = 7
    assert images.on_device(array, device, True).max() == 7
    assert images._on_device.bytes == array.nbytes and len(images._on_device) == 1
    del array
    assert still() is None


def test_epochs_take_no_more_memory_than_the_cache_may_have(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_kept", images._LastUsed())
    monkeypatch.setattr(images, "CACHE_BYTES", 2 * 3 * 16 * 24)
    (tmp_path / "list.txt").write_text("".join(f"{path} 0\n" for path in pictures))
    (tmp_path / "net.prototxt").write_text(
        f"layer {{ name: 'data' type: 'ImageData' top: 'data' top: 'label' image_data_param {{ shuffle: true "
        f"source: '{tmp_path}/list.txt' batch_size: 5 new_height: 16 new_width: 24 }} }}"
    )
    net, made = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN), []
    read_image = images.read_image

    def counted(*args):
        made.append(weakref.ref(image := read_image(*args)))
        return image

    monkeypatch.setattr("caffe.layers.data.read_image", counted)
    for _ in range(4):
        assert sorted(net.forward()["data"].max((1, 2, 3))) == [0, 1, 2, 3, 4]
    net.layers[0]._ahead.join()
    gc.collect()
    assert len(made) >= 20 and len({id(image()) for image in made if image() is not None}) <= 2


def test_threads_that_read_in_turn_take_the_cache_s_memory_once(picture, monkeypatch):
    def resident():
        return int(re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

    if not Path("/proc/self/status").is_file():
        pytest.skip("only Linux tells a process's memory there")
    monkeypatch.setattr(images, "_kept", images._LastUsed())
    monkeypatch.setattr(images, "CACHE_BYTES", 32 << 20)
    before = resident()
    threads = [ThreadPoolExecutor(1) for _ in range(8)]  # all are there at once, so that each has a heap
    for pool in threads:
        pool.submit(time.sleep, 0.01)
    for number, pool in enumerate(threads):
        for width in range(600, 632):
            pool.submit(images.read_image, picture, 600 + number, width).result()
    assert resident() - before < 3 * images.CACHE_BYTES
    for pool in threads:
        pool.shutdown()
