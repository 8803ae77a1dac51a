"""LevelDB, Caffe's default backend: written and read as LMDB is; without its library, one sentence."""

import gc
import os
import sys
import time

import cv2
import numpy as np
import pytest

import caffe
from caffe import cli
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2

NET = "layer {{ name: 'd' type: 'Data' top: 'x' top: 'y' data_param {{ source: '{}' batch_size: 2 {} }} }}"


@pytest.fixture
def plyvel():
    """The library, or whichever of its two names is installed."""
    for name in "plyvel", "plyvel_next":
        try:
            return __import__(name)
        except ImportError:
            continue
    return pytest.skip("plyvel, the extra for LevelDB, is not installed")


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A list of five drawn images in the working directory."""
    monkeypatch.chdir(tmp_path)
    for i in range(5):
        cv2.imwrite(f"{i}.png", np.random.default_rng(i).integers(0, 255, (6, 7, 3), np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(5)))
    return tmp_path


def batches(source, backend, count=4):
    (definition := source.parent / "net.prototxt").write_text(NET.format(source, backend))
    net = caffe.Net(str(definition), caffe.TRAIN)
    return [{name: blob.copy() for name, blob in net.forward().items()} for _ in range(count)]


def test_a_list_becomes_a_leveldb_that_reads_as_the_lmdb(plyvel, listed, capfd):
    for kind in "leveldb", "lmdb":
        assert cli.main(["convert_imageset", "-backend", kind, "./", "list.txt", kind]) == 0
        assert cli.main(["compute_image_mean", "-backend", kind, kind, f"{kind}.binaryproto"]) == 0
    assert "db_leveldb.cpp:18] Opened leveldb leveldb\n" in capfd.readouterr().err
    assert (listed / "leveldb.binaryproto").read_bytes() == (listed / "lmdb.binaryproto").read_bytes()
    ours, theirs = batches(listed / "leveldb", ""), batches(listed / "lmdb", "backend: LMDB")
    assert [batch["y"].tolist() for batch in ours] == [[0, 1], [2, 3], [4, 0], [1, 2]]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])


def test_a_folder_may_have_a_name_in_any_encoding(plyvel, listed):
    assert cli.main(["convert_imageset", "-backend=leveldb", "./", "list.txt", name := os.fsdecode(b"\xd6")]) == 0
    assert cli.main(["compute_image_mean", "-backend=leveldb", name]) == 0


def test_what_another_program_wrote_is_read_in_the_order_of_keys(plyvel, tmp_path):
    with plyvel.DB(str(tmp_path / "db"), create_if_missing=True) as database:
        for i in (3, 0, 2, 1):
            datum = caffe_pb2.Datum(channels=1, height=1, width=2, data=bytes([i, 9]), label=i)
            database.put(f"{i:08}".encode(), datum.SerializeToString())
    assert [batch["y"].tolist() for batch in batches(tmp_path / "db", "", 3)] == [[0, 1], [2, 3], [0, 1]]


def test_two_nets_share_a_leveldb_which_is_closed_after_them(plyvel, listed):
    assert cli.main(["convert_imageset", "-backend=leveldb", "./", "list.txt", "db"]) == 0
    (listed / "net.prototxt").write_text(NET.format("db", ""))
    first, second = (caffe.Net("net.prototxt", caffe.TRAIN) for _ in range(2))
    np.testing.assert_array_equal(first.forward()["x"], second.forward()["x"])
    with pytest.raises(plyvel.Error):
        plyvel.DB(str(listed / "db"))
    del first, second
    deadline = time.monotonic() + 30
    while True:  # until the threads that prepare the next batches have ended
        gc.collect()
        try:
            plyvel.DB(str(listed / "db")).close()
            break
        except plyvel.Error:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_mnist_pairs_are_labelled_by_whether_their_digits_are_the_same(plyvel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = np.repeat(np.arange(4, dtype=np.uint8), 5)
    (tmp_path / "images").write_bytes(np.array([2051, 20, 2, 3], ">u4").tobytes() + np.repeat(digits, 6).tobytes())
    (tmp_path / "labels").write_bytes(np.array([2049, 20], ">u4").tobytes() + digits.tobytes())
    caffe.set_random_seed(3)
    assert cli.main(["convert_mnist_siamese_data", "images", "labels", "pairs"]) == 0
    found = []
    with plyvel.DB("pairs") as database:
        for i, (key, value) in enumerate(database):
            datum = caffe_pb2.Datum.FromString(value)
            pair = np.frombuffer(datum.data, np.uint8).reshape(2, 6)
            assert key == f"{i:08}".encode() and (datum.channels, datum.height, datum.width) == (2, 2, 3)
            assert (pair == pair[:, :1]).all() and datum.label == (pair[0, 0] == pair[1, 0])
            found.append(datum.label)
    assert len(found) == 20 and 0 < sum(found) < 20


def test_a_database_of_the_other_kind_is_named(plyvel, listed, capfd):
    for kind, other in (("leveldb", "lmdb"), ("lmdb", "leveldb")):
        assert cli.main(["convert_imageset", "-backend", kind, "./", "list.txt", kind]) == 0
        capfd.readouterr()
        assert cli.main(["compute_image_mean", "-backend", other, kind]) == 2
        assert f"choose the backend {kind}" in capfd.readouterr().err
    assert cli.main(["convert_imageset", "-backend=leveldb", "./", "list.txt", "leveldb"]) == 2
    assert "leveldb exists already" in capfd.readouterr().err


def test_a_data_layer_without_a_backend_says_that_its_source_is_an_lmdb(listed, monkeypatch):
    for name in "plyvel", "plyvel_next":
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["convert_imageset", "./", "list.txt", "db"]) == 0
    with pytest.raises(CaffeError, match="backend: LMDB"):
        batches(listed / "db", "")


def test_a_damaged_leveldb_is_an_error(plyvel, listed):
    assert cli.main(["convert_imageset", "-backend=leveldb", "./", "list.txt", "db"]) == 0
    plyvel.DB("db").close()  # moves the records from the log to a table
    (table,) = [name for name in os.listdir("db") if name.endswith((".ldb", ".sst"))]
    content = bytearray((listed / "db" / table).read_bytes())
    content[40:60] = bytes(20)
    (listed / "db" / table).write_bytes(content)
    with pytest.raises(CaffeError, match="damaged"):
        batches(listed / "db", "")
    (listed / "db" / "CURRENT").write_text("nothing")
    with pytest.raises(CaffeError, match="Could not open the LevelDB"):
        batches(listed / "db", "")
    with pytest.raises(CaffeError, match="Could not open the LevelDB"):
        batches(listed / "absent", "")


def test_without_its_library_a_leveldb_is_one_sentence(listed, monkeypatch, capfd):
    for name in "plyvel", "plyvel_next":
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["convert_imageset", "-backend=leveldb", "./", "list.txt", "db"]) == 2
    said = capfd.readouterr().err.splitlines()
    assert "requires plyvel" in said[-1] and "Traceback" not in "".join(said) and not (listed / "db").exists()
    with pytest.raises(CaffeError, match="requires plyvel"):
        batches(listed / "db", "")
