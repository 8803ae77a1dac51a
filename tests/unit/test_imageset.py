"""LMDBs and means written as by BVLC Caffe's convert_imageset and compute_image_mean, held against those it wrote."""

import shutil

import cv2
import lmdb
import numpy as np
import pytest

import caffe
from caffe import cli, formats
from caffe.errors import CaffeError
from caffe.imageset import compute_image_mean, convert_imageset
from caffe.proto import caffe_pb2


@pytest.fixture
def folder(root, tmp_path, monkeypatch):
    shutil.copytree(root / "tests" / "conformance" / "files", tmp_path / "files")
    monkeypatch.chdir(tmp_path / "files")
    return tmp_path / "files"


def records(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


def test_the_database_holds_caffes_records_byte_for_byte(folder):
    assert convert_imageset("", "train.txt", "db", 128, 128) == 24
    assert records("db") == records("train_lmdb")


def test_the_mean_is_caffes(folder):
    mean = compute_image_mean("train_lmdb", "ours.binaryproto")
    np.testing.assert_array_equal(mean, np.load("mean.npz")["mean"])
    assert (folder / "ours.binaryproto").read_bytes() == (folder / "mean.binaryproto").read_bytes()


def test_the_commands(folder, capfd):
    sizes = ["-resize_height", "128", "--resize_width=128"]
    assert cli.main(["convert_imageset", *sizes, "./", "train.txt", "db"]) == 0
    assert cli.main(["compute_image_mean", "db", "ours.binaryproto"]) == 0
    said = capfd.readouterr().err
    assert "] Processed 24 files.\n" in said and "mean_value channel [2]: " in said
    np.testing.assert_array_equal(formats.read_blob("ours.binaryproto"), formats.read_blob("mean.binaryproto"))
    assert cli.main(["convert_imageset", "./", "train.txt", "db"]) == 2
    assert cli.main(["convert_imageset", "-resize_width", "9", "./", "train.txt", "other"]) == 2
    said = capfd.readouterr().err.splitlines()
    assert "there already" in said[0] and "both -resize_height and -resize_width" in said[-1]


def test_grey_encoded_and_mixed(folder):
    caffe.set_random_seed(3)
    convert_imageset("./", "train.txt", "grey", color=False, shuffle=True)
    grey = [caffe_pb2.Datum.FromString(value) for _, value in records("grey")]
    assert [datum.channels for datum in grey] == [1] * 24
    lines = [line.split() for line in (folder / "train.txt").read_text().splitlines()]
    names = [key.decode().split("_", 1)[1] for key, _ in records("grey")]
    assert sorted(names) == sorted(name for name, _ in lines) and names != [name for name, _ in lines]
    assert [str(datum.label) for datum in grey] == [dict(lines)[name] for name in names]
    convert_imageset("./", "train.txt", "same", encode_type="jpg")
    for (_, value), (name, _) in zip(records("same"), lines):
        datum = caffe_pb2.Datum.FromString(value)
        assert datum.encoded and datum.data == (folder / name).read_bytes()
    convert_imageset("./", "train.txt", "png", 20, 30, encode_type="png")
    image = cv2.imdecode(np.frombuffer(caffe_pb2.Datum.FromString(records("png")[0][1]).data, np.uint8), -1)
    np.testing.assert_array_equal(image, cv2.resize(cv2.imread(lines[0][0]), (30, 20)))
    assert compute_image_mean("png").shape == (1, 3, 20, 30)


def test_a_database_that_outgrows_its_first_size(folder, monkeypatch):
    monkeypatch.setattr("caffe.imageset._FIRST_BYTES", 2**16)
    assert convert_imageset("", "train.txt", "db", 64, 64) == 24
    assert len(records("db")) == 24


def test_what_goes_wrong_leaves_nothing(folder):
    (folder / "bad.txt").write_text("images/im_00.jpg 1\nimages/absent.jpg 0\n")
    before = sorted(path.name for path in folder.iterdir())
    for list_, options, said in (
        ("bad.txt", {}, "absent.jpg"),
        ("train.txt", {"encode_type": "nonsense"}, "nonsense"),
        ("absent.txt", {}, "absent.txt"),
    ):
        with pytest.raises(CaffeError, match=said):
            convert_imageset("./", list_, "db", **options)
    with pytest.raises(CaffeError, match="nowhere"):
        convert_imageset("./", "train.txt", "nowhere/db")
    assert sorted(path.name for path in folder.iterdir()) == before
    convert_imageset("./", "train.txt", "db")
    (folder / "images" / "im_00.jpg").unlink()
    cv2.imwrite("images/im_00.jpg", np.zeros((9, 9, 3), np.uint8))
    convert_imageset("./", "train.txt", "mixed")
    with pytest.raises(CaffeError, match=r"An image of .*not \(3, 9, 9\).*record '00000001_images/im_01.jpg' of mixed"):
        compute_image_mean("mixed")
    with pytest.raises(CaffeError, match="Could not open the LMDB absent"):
        compute_image_mean("absent")
