"""Readers under damaged and hostile files: taken or refused in one sentence, quickly, in little memory."""

import io
import tracemalloc

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from caffe.data.images import decode
from caffe.data.lists import read_list
from caffe.errors import CaffeError
from caffe.formats.hdf5 import read_tables
from helpers.layer_checks import examples
from helpers.reader_targets import TARGETS, refused, seeds

SLACK = 4 * 2**20  # what a reader may take for the smallest file
MULTIPLE = 24  # of the file's size: text becomes objects
SPICE = [b"\xff" * 10, b"{", b"}", b"[" * 3000, b"\0", b"9" * 5000, b"-1", b"1e999", b'"', b"# ", b"\r\n", b"null"]


@st.composite
def damaged(draw, wholes):
    """One of the whole files cut, with bytes changed, or with a piece left out, doubled or put elsewhere."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        size = draw(st.sampled_from([1, 2, 7, 60, 3000]))
        piece = content[at : at + size]
        kind = draw(st.sampled_from(["cut", "change", "leave out", "double", "move", "insert"]))
        if kind == "cut":
            del content[at:]
        elif kind == "change":
            content[at : at + len(piece)] = draw(st.binary(min_size=len(piece), max_size=len(piece)))
        elif kind == "leave out":
            del content[at : at + size]
        elif kind == "double":
            content[at:at] = piece * draw(st.sampled_from([1, 2, 500]))
        elif kind == "move":
            del content[at : at + size]
            there = draw(st.integers(0, len(content)))
            content[there:there] = piece
        else:
            content[at:at] = draw(st.sampled_from(SPICE))
    return bytes(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("targets")


@pytest.mark.parametrize("kind", TARGETS)
def test_whole_files_are_taken(kind, folder):
    for content in seeds(kind):
        assert TARGETS[kind](content, folder)


@pytest.mark.parametrize("kind", TARGETS)
@examples(40)
@given(data=st.data())
def test_damaged_files_are_taken_or_refused(kind, folder, data):
    content = data.draw(damaged(seeds(kind)))
    tracemalloc.start()
    try:
        TARGETS[kind](content, folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= SLACK + MULTIPLE * len(content)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("content", [b"", b"\0", b"\n", b"\xff\xfe", b"{" * 10_000, b"[" * 100_000, b"\x0f" * 100_000])
def test_nonsense_is_refused(kind, content, folder):
    if kind in ("net", "solver") and not content.strip():
        assert TARGETS[kind](content, folder)  # an empty definition is one
    else:
        assert not TARGETS[kind](content, folder)


@pytest.mark.parametrize("label", ["2147483648", "-99999999999", "9" * 5000])
def test_a_label_is_an_int32(label, folder):
    (folder / "labels.txt").write_text(f"a.png 1\nb.png {label}\n")
    assert refused(lambda: read_list(str(folder / "labels.txt")), "Line 2")


def test_a_png_that_announces_more_than_it_holds_is_no_picture():
    picture = cv2.imencode(".png", np.arange(36, dtype=np.uint8).reshape(3, 4, 3))[1].tobytes()
    assert decode(picture).shape == (3, 4, 3)
    assert decode(picture + b"what some programs append").shape == (3, 4, 3)
    at = picture.index(b"IDAT") - 4
    assert decode(picture[:at] + b"\xff\xff\xfb\x0f" + picture[at + 4 :]) is None  # 4 GB to OpenCV
    assert decode(picture[:16] + b"\x00\x00\x7f\xff" * 2 + picture[24:]) is None
    assert decode(picture[:-6]) is None


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_that_announces_more_than_it_can_hold_is_no_picture(progressive):
    flat = np.full((900, 1300, 3), 200, np.uint8)  # as well compressed as can be
    options = [cv2.IMWRITE_JPEG_QUALITY, 1, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    picture = cv2.imencode(".jpg", flat, options)[1].tobytes()
    assert decode(picture).shape == (900, 1300, 3)
    size = (900).to_bytes(2, "big") + (1300).to_bytes(2, "big")
    assert picture.count(size) == 1
    assert decode(picture.replace(size, b"\x80\x00\x7f\xff")) is None
    assert decode(picture[:20]) is None


def test_a_table_may_be_compressed_but_no_bomb(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_dataset("zeros", data=np.zeros((3000, 100), np.float32), compression="gzip", chunks=(3000, 100))
        file.create_dataset("vast", shape=(10**9, 4), dtype="f4", chunks=(100, 4), fillvalue=7)
    assert read_tables(tmp_path / "t.h5", ["zeros"])[0].shape == (3000, 100)
    with pytest.raises(CaffeError, match=r"t.h5.*'/vast' claims more numbers than the file can hold"):
        read_tables(tmp_path / "t.h5", ["vast"])


def pictures_cut_short():
    """JPEGs without their ends: plain and progressive, of four channels, to the last bytes and down to the head."""
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8), (80, 60))
    plain, progressive, cmyk = (io.BytesIO() for _ in range(3))
    Image.fromarray(pixels).save(plain, "JPEG", quality=90)
    Image.fromarray(pixels).save(progressive, "JPEG", progressive=True)
    Image.fromarray(pixels).convert("CMYK").save(cmyk, "JPEG")
    for kind, file in ("plain", plain), ("progressive", progressive), ("cmyk", cmyk):
        whole = file.getvalue()
        for part in 1, 2, len(whole) // 3, len(whole) // 2:
            yield pytest.param(whole[:-part], id=f"{kind}-{part}")
    whole = plain.getvalue()
    yield pytest.param(whole[: whole.index(b"\xff\xda") + 14], id="no pixels")
    yield pytest.param(progressive.getvalue()[:700], id="in the middle of a table")
    yield pytest.param(whole[:-2] + bytes(50), id="garbage for the end")
    yield pytest.param(whole + b"garbage" * 9, id="garbage behind the end")


@pytest.mark.parametrize("color", [True, False, None])
@pytest.mark.parametrize("content", list(pictures_cut_short()))
def test_a_jpeg_that_is_cut_short_is_what_opencv_reads_from_its_file(content, color, tmp_path):
    path = tmp_path / "cut.png"  # whatever it is called
    path.write_bytes(content)
    flag = {True: cv2.IMREAD_COLOR, False: cv2.IMREAD_GRAYSCALE, None: cv2.IMREAD_UNCHANGED}[color]
    expected = cv2.imread(str(path), flag)
    np.testing.assert_array_equal(decode(content, color), expected.reshape(*expected.shape[:2], -1))


def pictures_of_all_kinds():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (12, 16, 3), np.uint8)
    for kind in "png", "jpg", "bmp", "webp", "tiff", "gif":
        yield pytest.param(cv2.imencode(f".{kind}", pixels)[1].tobytes(), id=kind)
    for name, values in (
        ("grey", pixels[:, :, 0]),
        ("alpha", rng.integers(0, 255, (12, 16, 4), np.uint8)),
        ("16 bits", rng.integers(0, 65535, (12, 16, 3), np.uint16)),
        ("16 bits grey", rng.integers(0, 65535, (12, 16), np.uint16)),
    ):
        yield pytest.param(cv2.imencode(".png", values)[1].tobytes(), id=name)
        yield pytest.param(cv2.imencode(".tiff", values)[1].tobytes(), id=f"{name} tiff")
    for mode in "1", "P", "LA":
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, "PNG")
        yield pytest.param(file.getvalue(), id=mode)
    file = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(file, "JPEG")
    yield pytest.param(file.getvalue(), id="CMYK")


@pytest.mark.parametrize("cut", [0, 30], ids=["whole", "cut"])
@pytest.mark.parametrize("color", [True, False, None])
@pytest.mark.parametrize("content", list(pictures_of_all_kinds()))
def test_pictures_of_all_kinds_are_what_opencv_reads_from_their_files(content, color, cut, tmp_path):
    content = content[: len(content) - cut]
    path = tmp_path / "a.jpg"  # whatever it is called
    path.write_bytes(content)
    flag = {True: cv2.IMREAD_COLOR, False: cv2.IMREAD_GRAYSCALE, None: cv2.IMREAD_UNCHANGED}[color]
    expected = cv2.imread(str(path), flag)
    found = decode(content, color)
    if expected is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, expected.reshape(*expected.shape[:2], -1))


def test_a_photograph_of_which_little_is_left():
    flat = cv2.imencode(".jpg", np.full((3000, 4000, 3), 128, np.uint8))[1].tobytes()
    assert decode(flat[:2000]).shape == (3000, 4000, 3)
    assert decode(flat[:100]) is None
