"""LMDBs and means written as by BVLC Caffe's convert_imageset and compute_image_mean, held against those it wrote."""

import re
import shutil
import struct

import cv2
import lmdb
import numpy as np
import pytest

import caffe
from caffe import cli, formats
from caffe.data.imageset import compute_image_mean, convert_cifar, convert_imageset, convert_mnist
from caffe.errors import CaffeError
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
    assert "error: db " in said[1] and "both -resize_height and -resize_width" in said[-1]


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


@pytest.fixture
def kinds(tmp_path, monkeypatch):
    """A folder with a picture of each kind of extension, and their list."""
    noise = np.random.default_rng(1).integers(0, 256, (9, 12, 3), np.uint8)
    for name in ("a.jpg", "b.jpeg", "C.JPG", "d.png", "e.bmp"):
        cv2.imwrite(str(tmp_path / name), noise)
    (tmp_path / "list.txt").write_text("a.jpg 0\nb.jpeg 1\nabsent.jpg 7\nC.JPG 2\nd.png 3\ne.bmp 4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def converted(*flags):
    assert cli.main(["convert_imageset", *flags, "./", "list.txt", "db"]) == 0
    found = {key.decode(): caffe_pb2.Datum.FromString(value) for key, value in records("db")}
    shutil.rmtree("db")
    return {key[9:]: datum for key, datum in found.items()}


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (["-encoded"], "abCde"),
        (["--encoded=true", "-gray"], "abCde"),
        (["-encoded", "-resize_height=0", "-resize_width=0"], "abCde"),
        (["-encode_type", "jpg"], "abC"),
        (["-encode_type=JPEG", "-encoded"], "b"),
        (["-encode_type=png"], "d"),
        (["-encoded", "-resize_height=4", "-resize_width=5"], ""),
        (["-encoded", "-encode_type=png", "-gray", "-resize_height=4", "-resize_width=5"], ""),
    ],
)
def test_encoded_files_are_kept_byte_for_byte_where_nothing_is_to_change(kinds, flags, kept):
    found = converted(*flags)
    assert list(found) == ["a.jpg", "b.jpeg", "C.JPG", "d.png", "e.bmp"]
    assert [datum.label for datum in found.values()] == [0, 1, 2, 3, 4]
    resized, shape = "-resize_height=4" in flags, (4, 5) if "-resize_height=4" in flags else (9, 12)
    for name, datum in found.items():
        assert datum.encoded and not datum.HasField("height")
        assert (datum.data == (kinds / name).read_bytes()) == (name[0] in kept)
        image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == (shape if "-gray" in flags and resized else (*shape, 3))
    signatures = {name: datum.data[:2] for name, datum in found.items()}
    if not any("encode_type" in flag for flag in flags):  # each stays of its kind
        assert signatures == {name: (kinds / name).read_bytes()[:2] for name in found}
    else:
        wanted = b"\x89P" if any("png" in flag for flag in flags) else b"\xff\xd8"
        assert set(signatures.values()) == {wanted}


def test_a_name_without_an_extension_is_guessed_as_caffe_does(kinds, capfd):
    shutil.copy("a.jpg", "bare")
    (kinds / "list.txt").write_text("bare 5")
    assert cli.main(["convert_imageset", "-encoded", "", "list.txt", "db"]) == 0
    assert "Failed to guess the encoding of 'bare'" in capfd.readouterr().err
    ((_, value),) = records("db")
    assert caffe_pb2.Datum.FromString(value).data == (kinds / "bare").read_bytes()
    assert cli.main(["convert_imageset", "-encoded", "./", "list.txt", "db2"]) == 2
    assert "bare" in capfd.readouterr().err.splitlines()[-1]


def said_of(capfd):
    """What was logged: places without lines, and messages."""
    return re.findall(r"(?m)^([IWE])\S+ \S+ +\d+ ([\w.]+):\d+\] (.*)$", capfd.readouterr().err)


def test_the_logs_of_both_tools(kinds, capfd):
    capfd.readouterr()
    assert cli.main(["convert_imageset", "-shuffle", "-encode_type", "jpg", "./", "list.txt", "db"]) == 0
    tool = "convert_imageset.cpp"
    assert said_of(capfd) == [
        ("I", tool, "Shuffling data"),
        ("I", tool, "A total of 6 images."),
        ("I", tool, "encode_type specified, assuming encoded=true."),
        ("I", "db_lmdb.cpp", "Opened lmdb db"),
        ("E", "io.cpp", "Could not open or find file ./absent.jpg"),
        ("I", tool, "Processed 5 files."),
    ]
    assert cli.main(["compute_image_mean", "db", "mean.binaryproto", "-backend", "lmdb"]) == 0
    sums = np.add.accumulate(formats.read_blob("mean.binaryproto").reshape(3, -1), axis=1, dtype=np.float32)[:, -1]
    tool = "compute_image_mean.cpp"
    assert said_of(capfd) == [
        ("I", "db_lmdb.cpp", "Opened lmdb db"),
        ("I", tool, "Decoding Datum"),
        ("I", tool, "Starting iteration"),
        ("I", tool, "Processed 5 files."),
        ("I", tool, "Write to mean.binaryproto"),
        ("I", tool, "Number of channels: 3"),
        *(("I", tool, f"mean_value channel [{c}]: {sums[c] / np.float32(108):.6g}") for c in range(3)),
    ]


def test_files_are_counted_by_the_thousand(kinds, capfd, monkeypatch):
    monkeypatch.setattr("caffe.data.imageset._EACH", 2)
    converted()
    assert [m for _, _, m in said_of(capfd) if "Proc" in m] == [f"Processed {n} files." for n in (2, 4, 5)]


def test_sizes_are_checked_on_request(kinds, capfd):
    cv2.imwrite("C.JPG", np.zeros((5, 5, 3), np.uint8))
    assert len(converted("-encoded")) == len(converted("-check_size=false")) == 5
    assert len(converted("-check_size", "-resize_height=3", "-resize_width=3")) == 5
    for more in ([], ["-encoded"]):
        assert cli.main(["convert_imageset", "-check_size", *more, "./", "list.txt", "db"]) == 2
        assert "C.JPG" in capfd.readouterr().err.splitlines()[-1] and not (kinds / "db").exists()


def test_sizes_of_nothing_are_none(kinds):
    plain = converted("--resize_height=0", "--resize_width=0", "--gray=false", "--shuffle=false")
    assert {(d.channels, d.height, d.width) for d in plain.values()} == {(3, 9, 12)}
    assert {(d.channels, d.height, d.width) for d in converted("--gray=1").values()} == {(1, 9, 12)}


def test_a_database_that_outgrows_its_first_size(folder, monkeypatch):
    monkeypatch.setattr("caffe.data.databases._FIRST_BYTES", 2**16)
    assert convert_imageset("", "train.txt", "db", 64, 64) == 24
    assert len(records("db")) == 24


def test_what_goes_wrong_leaves_nothing(folder):
    (folder / "bad.txt").write_text("images/none.jpg 1\nimages/absent.jpg 0\n")
    before = sorted(path.name for path in folder.iterdir())
    for list_, options, said in (
        ("bad.txt", {}, "bad.txt"),
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


def test_mnist_and_cifar_become_their_databases(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    made = np.random.default_rng(2)
    digits, labels = made.integers(0, 256, (1001, 5, 4), np.uint8), made.integers(0, 10, 1001, np.uint8)
    (tmp_path / "images").write_bytes(struct.pack(">4I", 2051, 1001, 5, 4) + digits.tobytes())
    (tmp_path / "labels").write_bytes(struct.pack(">2I", 2049, 1001) + labels.tobytes())
    assert cli.convert_mnist_data(["images", "labels", "mnist", "--backend=lmdb"]) == 0
    tool = "convert_mnist_data.cpp"
    assert said_of(capfd) == [
        ("I", "db_lmdb.cpp", "Opened lmdb mnist"),
        ("I", tool, "A total of 1001 items."),
        ("I", tool, "Rows: 5 Cols: 4"),
        ("I", tool, "Processed 1001 files."),
    ]
    found = [(key.decode(), caffe_pb2.Datum.FromString(value)) for key, value in records("mnist")]
    assert [key for key, _ in found] == [f"{i:08}" for i in range(1001)]
    for (_, datum), image, label in zip(found, digits, labels):
        assert (datum.channels, datum.height, datum.width, datum.label) == (1, 5, 4, label)
        assert datum.data == image.tobytes() and not datum.HasField("encoded")

    batches = made.integers(0, 10, (6, 2, 3073), np.uint8)
    for name, batch in zip(["test_batch", *(f"data_batch_{i}" for i in range(1, 6))], batches):
        (tmp_path / f"{name}.bin").write_bytes(batch.tobytes())
    assert cli.convert_cifar_data([".", ".", "lmdb"]) == 0
    for name, wanted in (("test", batches[:1]), ("train", batches[1:])):
        found = {key.decode(): caffe_pb2.Datum.FromString(value) for key, value in records(f"cifar10_{name}_lmdb")}
        assert list(found) == [f"{10000 * batch + i:05}" for batch in range(len(wanted)) for i in range(2)]
        for datum, row in zip(found.values(), wanted.reshape(-1, 3073)):
            assert (datum.channels, datum.height, datum.width, datum.label) == (3, 32, 32, row[0])
            assert datum.data == row[1:].tobytes()
    assert cli.main(["compute_image_mean", "-backend=lmdb", "cifar10_train_lmdb", "mean.binaryproto"]) == 0
    np.testing.assert_allclose(
        formats.read_blob("mean.binaryproto").ravel(), batches[1:, :, 1:].reshape(-1, 3072).mean(0), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (b"", b"", "images"),
        (b"\x1f\x8b" + bytes(99), b"", "images.*MNIST"),
        (struct.pack(">4I", 2051, 2, 2, 2) + bytes(7), b"", "images.*cut short"),
        (struct.pack(">4I", 2051, 2, 2, 2) + bytes(8), struct.pack(">2I", 2049, 3) + bytes(3), "2 images.*3 labels"),
    ],
)
def test_files_that_are_not_mnists_are_named(images, labels, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").write_bytes(images)
    (tmp_path / "labels").write_bytes(labels)
    with pytest.raises(CaffeError, match=said):
        convert_mnist("images", "labels", "db")
    with pytest.raises(CaffeError, match="data_batch_1"):
        convert_cifar(".", ".")
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3072))
    with pytest.raises(CaffeError, match="data_batch_1"):
        convert_cifar(".", ".")
    assert {path.name for path in tmp_path.iterdir()} == {"images", "labels", "data_batch_1.bin"}
