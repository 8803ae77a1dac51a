import json
import os
import shutil

import cv2
import h5py
import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

import caffe.io
import caffe.layers.array_data
import caffe.layers.data
from caffe.data import images
from caffe.data.imageset import convert_imageset
from caffe.errors import CaffeError
from caffe.formats import hdf5
from caffe.layers.base import create_layer
from caffe.proto import caffe_pb2
from caffe.random.rng import CRand, Stream, c_rand, global_stream, set_random_seed, shuffled
from caffe.runtime.blob import Blob

f32 = np.float32
TRAIN, TEST = caffe_pb2.TRAIN, caffe_pb2.TEST


class Running:
    """A layer set up as a net does, on a freshly seeded global stream."""

    def __init__(self, text, phase=TRAIN, seed=1):
        self.param = text_format.Parse(text, caffe_pb2.LayerParameter()) if isinstance(text, str) else text
        self.param.phase = phase
        set_random_seed(seed)
        self.layer = create_layer(self.param)
        self.top = [Blob() for _ in self.param.top]
        self.layer.check_counts([], self.top)
        self.layer.setup([], self.top)
        self.layer.reshape([], self.top)

    def batch(self):
        """The next batch, one array a top."""
        self.layer.forward([], self.top, False)
        return [blob.data.copy() for blob in self.top]


def digest(array):
    flat = np.asarray(array, np.float64).ravel()
    ramp = np.cos(np.arange(flat.size) * 0.7310585786)
    return np.array([flat.size, flat.sum(), np.abs(flat).sum(), (flat * flat).sum(), (flat * ramp).sum()])


def words_drawn(seed):
    """How many words the global stream has given since it was seeded."""
    count, stream, word = 0, Stream(seed), global_stream().word()
    while stream.word() != word:
        count += 1
    return count


def assert_resumes(first, second):
    """After some batches the state of one layer makes another go on as the first does."""
    for _ in range(3):
        first.batch()
    state = json.loads(json.dumps(first.layer.state()))
    expected = [first.batch() for _ in range(5)]
    second.batch()
    second.layer.set_state(state)
    for arrays in expected:
        for ours, theirs in zip(second.batch(), arrays, strict=True):
            assert np.array_equal(ours, theirs)


# ImageData


@pytest.fixture
def pictures(tmp_path):
    """Seven PNGs of 12 x 10 and a list that labels picture i with i."""
    rng = np.random.default_rng(0)
    for i in range(7):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (12, 10, 3), np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(7)))
    return tmp_path


def image_data(folder, params="", transform="", source="list.txt", **kwargs):
    return Running(
        f"name: 'data' type: 'ImageData' top: 'data' top: 'label' transform_param {{ {transform} }} "
        f"image_data_param {{ source: '{folder}/{source}' root_folder: '{folder}/' {params} }}",
        **kwargs,
    )


@pytest.mark.parametrize("case", ["train_sequential", "train_shuffle_mirror", "train_no_dropout"])
def test_image_data_series_as_measured(root, monkeypatch, case):
    monkeypatch.chdir(root / "tests/conformance/cases" / case)
    with open("train_val.prototxt") as file:
        net = text_format.Parse(file.read(), caffe_pb2.NetParameter())
    reference = np.load(root / f"tests/conformance/reference/{case}.npz")
    running = Running(net.layer[0], seed=1371)
    for labels, pixels in zip(reference["series:label"], reference["series:data"], strict=True):
        data, label = running.batch()
        assert np.array_equal(label, labels)
        np.testing.assert_allclose(digest(data), pixels, rtol=1e-10)


def test_image_data_gives_bgr_planes_and_labels_from_the_list(pictures):
    running = image_data(pictures, "batch_size: 2")
    assert [blob.shape for blob in running.top] == [(2, 3, 12, 10), (2,)]
    data, label = running.batch()
    assert data.dtype == label.dtype == f32
    assert np.array_equal(data[1], cv2.imread(str(pictures / "1.png")).transpose(2, 0, 1))
    assert label.tolist() == [0, 1]


def test_image_data_wraps_in_mid_batch(pictures):
    running = image_data(pictures, "batch_size: 5")
    assert [running.batch()[1].tolist() for _ in range(3)] == [[0, 1, 2, 3, 4], [5, 6, 0, 1, 2], [3, 4, 5, 6, 0]]


def test_image_data_shuffles_again_from_the_current_order(pictures):
    running = image_data(pictures, "batch_size: 7 shuffle: true", seed=8)
    stream = Stream(Stream(8).word())
    order = np.arange(7)
    for _ in range(4):
        order = order[shuffled(7, stream)]
        assert running.batch()[1].tolist() == order.tolist()


@pytest.mark.parametrize(
    ("params", "transform", "phase", "words"),
    [
        ("", "", TRAIN, 1),
        ("", "mirror: true", TEST, 3),
        ("shuffle: true", "crop_size: 4", TRAIN, 4),
        ("shuffle: true rand_skip: 3", "crop_size: 4", TEST, 3),
    ],
)
def test_image_data_takes_caffes_words_at_setup_and_none_later(pictures, params, transform, phase, words):
    running = image_data(pictures, params, transform, phase=phase)
    running.batch()
    assert words_drawn(1) == words


def test_image_data_skips_at_random(pictures):
    running = image_data(pictures, "rand_skip: 5", seed=3)
    assert running.batch()[1] == [Stream(3).word() % 5]


def test_image_data_resizes_as_opencv(pictures):
    data = image_data(pictures, "new_height: 6 new_width: 9").batch()[0]
    assert np.array_equal(data[0], cv2.resize(cv2.imread(str(pictures / "0.png")), (9, 6)).transpose(2, 0, 1))


def test_image_data_in_grey(pictures):
    data = image_data(pictures, "is_color: false").batch()[0]
    assert np.array_equal(data[0, 0], cv2.imread(str(pictures / "0.png"), cv2.IMREAD_GRAYSCALE))


def test_image_data_batches_take_their_shape_from_their_first_image(pictures):
    cv2.imwrite(str(pictures / "1.png"), np.zeros((5, 4, 3), np.uint8))
    running = image_data(pictures, "batch_size: 1")
    assert [running.batch()[0].shape for _ in range(3)] == [(1, 3, 12, 10), (1, 3, 5, 4), (1, 3, 12, 10)]


def test_image_data_resumes_exactly(pictures):
    params, transform = "batch_size: 3 shuffle: true", "mirror: true crop_size: 6"
    assert_resumes(image_data(pictures, params, transform), image_data(pictures, params, transform, seed=77))


def test_image_data_refuses_the_state_of_another_list(pictures):
    running = image_data(pictures)
    state = running.layer.state()
    (pictures / "list.txt").write_text("0.png 0\n")
    with pytest.raises(CaffeError, match="not the list of the interrupted run"):
        image_data(pictures).layer.set_state(state)


def test_image_data_decodes_a_file_once_until_it_changes(pictures, monkeypatch):
    count = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda *args: count.append(1) or decode(*args))
    for _ in range(3):
        image_data(pictures, "batch_size: 7").batch()
    assert len(count) == 7
    cv2.imwrite(str(pictures / "3.png"), np.full((12, 10, 3), 9, np.uint8))
    os.utime(pictures / "3.png", (1, 1))
    assert (image_data(pictures, "batch_size: 7").batch()[0][3] == 9).all()


def test_decoded_pictures_stay_within_the_budget(pictures, monkeypatch):
    monkeypatch.setattr(images, "CACHE_BYTES", 3 * 360)
    image_data(pictures, "batch_size: 7").batch()
    image_data(pictures, "batch_size: 7").batch()
    assert sum(planes.nbytes for planes in images._kept.values()) <= 3 * 360


@pytest.fixture
def on_card(monkeypatch):
    """GPU mode as data layers see it, its card being the CPU."""
    monkeypatch.setattr(caffe.layers.data.mode, "is_gpu", lambda: True)
    monkeypatch.setattr(images, "_on_device", images._LastUsed())
    return images._on_device


@pytest.mark.parametrize(
    "transform",
    [
        "",
        "mirror: true crop_size: 6",
        "mirror: true crop_size: 7 scale: 0.3 mean_value: 104 mean_value: 117 mean_value: 123",
        "scale: 0.1 mean_value: 9",
        "mirror: true crop_size: 5 mean_file: '{mean}'",
        "mean_file: '{mean}'",
    ],
)
@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_batches_made_on_the_card_are_those_made_in_memory(pictures, tmp_path, transform, phase, on_card, monkeypatch):
    mean = np.random.default_rng(5).uniform(0, 255, (3, 12, 10)).astype(f32)
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(caffe.io.array_to_blobproto(mean[None]).SerializeToString())
    transform = transform.format(mean=path)
    card = image_data(pictures, "batch_size: 5 shuffle: true", transform, phase=phase)
    found = [card.batch() for _ in range(4)]
    assert len(on_card) == 7
    monkeypatch.undo()
    memory = image_data(pictures, "batch_size: 5 shuffle: true", transform, phase=phase)
    for ours, theirs in zip(found, [memory.batch() for _ in range(4)], strict=True):
        for values, wanted in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(values, wanted)
    assert_resumes(card, memory)


def test_pictures_on_the_card_stay_within_the_budget(pictures, on_card, monkeypatch):
    monkeypatch.setattr(images, "CACHE_BYTES", 3 * 360)
    running = image_data(pictures, "batch_size: 7")
    running.batch()
    running.layer._ahead.result()
    assert [tensor.nbytes for _, tensor in on_card.values()] == [360] * 3
    assert on_card.bytes == 3 * 360


def test_a_picture_of_another_size_is_named_on_the_card_too(pictures, on_card):
    cv2.imwrite(str(pictures / "2.png"), np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(CaffeError, match=r"3 x 5 x 4 in a batch of 3 x 12 x 10.*line 3 of .*list.txt"):
        image_data(pictures, "batch_size: 7").batch()


def test_image_data_tries_a_failed_batch_again(pictures):
    good = (pictures / "5.png").read_bytes()
    (pictures / "5.png").write_bytes(b"no picture")
    running = image_data(pictures, "batch_size: 4", "mirror: true")
    running.batch()
    for _ in range(2):
        with pytest.raises(CaffeError, match=r"Could not load .*5.png.*line 6 of .*list.txt"):
            running.batch()
    (pictures / "5.png").write_bytes(good)
    whole = image_data(pictures, "batch_size: 4", "mirror: true")
    whole.batch()
    assert np.array_equal(running.batch()[0], whole.batch()[0])


@pytest.mark.parametrize(
    ("lines", "params", "message"),
    [
        (None, "", r"Could not open the image list .*list.txt: No such file"),
        ("\n", "", "File is empty: .*list.txt"),
        ("0.png 0\n1.png\n", "", "Line 2 of .*list.txt has no label"),
        ("0.png 0\n\n1.png 1\n", "", "Line 2 of .*list.txt has no label"),
        ("0.png zero\n", "", "Line 1 of .*list.txt: the label 'zero' is not an integer"),
        ("0.png 0.5\n", "", "the label '0.5' is not an integer"),
        ("none.png 0\n", "", r"Could not load .*none.png: No such file or directory \(line 1 of .*list.txt\)"),
        ("list.txt 0\n", "", r"Could not load .*list.txt: it is not an image .*\(line 1 of .*list.txt\)"),
        ("0.png 0\n", "new_height: 5", "new_height and new_width to be set at the same time"),
        ("0.png 0\n", "rand_skip: 100", "Not enough points to skip"),
        ("0.png 0\n", "batch_size: 0", "Positive batch size required"),
    ],
)
def test_image_data_says_what_is_wrong_with_a_list(pictures, lines, params, message):
    (pictures / "list.txt").unlink()
    if lines is not None:
        (pictures / "list.txt").write_text(lines)
    with pytest.raises(CaffeError, match=message):
        image_data(pictures, params)


def test_image_data_names_the_image_smaller_than_the_crop(pictures):
    with pytest.raises(CaffeError, match=r"12 x 10 is smaller than crop_size 11 \(line 1 of .*list.txt\)"):
        image_data(pictures, "", "crop_size: 11")


def test_image_data_paths_may_hold_spaces_and_lines_may_end_as_in_windows(pictures):
    (pictures / "0.png").rename(pictures / "a b.png")
    (pictures / "list.txt").write_bytes(b"a b.png 4\r\n1.png -1\r\n\r\n")
    assert image_data(pictures, "batch_size: 2").batch()[1].tolist() == [4, -1]


# Data


def write_lmdb(path, records):
    """An LMDB of {key: Datum}."""
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, datum in records.items():
            transaction.put(key.encode(), datum.SerializeToString() if hasattr(datum, "label") else datum)
    return path


def datum_of(i, **fields):
    pixels = np.random.default_rng(i).integers(0, 256, (3, 5, 4), np.uint8)
    if not fields:
        fields = {"channels": 3, "height": 5, "width": 4, "data": pixels.tobytes()}
    return caffe_pb2.Datum(label=i, **fields)


def data(path, params="batch_size: 2", transform="", tops="top: 'data' top: 'label'", **kwargs):
    return Running(
        f"name: 'data' type: 'Data' {tops} transform_param {{ {transform} }} "
        f"data_param {{ source: '{path}' backend: LMDB {params} }}",
        **kwargs,
    )


def test_data_reads_caffes_own_lmdb_as_image_data_reads_the_files(root, monkeypatch):
    monkeypatch.chdir(root / "tests/conformance/files")
    transform = "crop_size: 115 mirror: true mean_file: 'mean.binaryproto'"
    stored = data("train_lmdb", "batch_size: 10", transform)
    listed = Running(
        f"name: 'data' type: 'ImageData' top: 'data' top: 'label' transform_param {{ {transform} }} "
        "image_data_param { source: 'train.txt' batch_size: 10 new_height: 128 new_width: 128 }"
    )
    for _ in range(3):
        for ours, theirs in zip(stored.batch(), listed.batch(), strict=True):
            assert np.array_equal(ours, theirs)


def test_data_goes_by_key_and_wraps_in_mid_batch(tmp_path):
    path = write_lmdb(tmp_path / "db", {key: datum_of(i) for i, key in enumerate(["c", "a", "b"])})
    running = data(path)
    assert running.top[0].shape == (2, 3, 5, 4)
    assert [running.batch()[1].tolist() for _ in range(3)] == [[1, 2], [0, 1], [2, 0]]


def test_data_may_leave_out_the_labels(tmp_path):
    (pixels,) = data(write_lmdb(tmp_path / "db", {"a": datum_of(1)}), tops="top: 'data'").batch()
    assert np.array_equal(pixels[0], np.random.default_rng(1).integers(0, 256, (3, 5, 4), np.uint8))


def test_data_reads_floats(tmp_path):
    values = np.linspace(-1, 1, 12, dtype=f32)
    datum = datum_of(0, channels=1, height=3, width=4, float_data=values.tolist())
    assert np.array_equal(data(write_lmdb(tmp_path / "db", {"a": datum})).batch()[0][0].ravel(), values)


@pytest.mark.parametrize(
    ("stored", "transform", "channels"),
    [("grey", "", 1), ("colour", "", 3), ("grey", "force_color: true", 3), ("colour", "force_gray: true", 1)],
)
def test_data_decodes_as_stored_unless_forced(tmp_path, stored, transform, channels):
    colour = np.random.default_rng(2).integers(0, 256, (5, 4, 3), np.uint8)
    image = colour if stored == "colour" else colour[..., 0]
    encoded = cv2.imencode(".png", image)[1]
    path = write_lmdb(tmp_path / "db", {"a": datum_of(0, encoded=True, data=encoded.tobytes())})
    pixels = data(path, transform=transform).batch()[0]
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(pixels[0], expected.reshape(5, 4, channels).transpose(2, 0, 1))


def test_data_layers_share_a_database_and_take_caffes_words(tmp_path):
    path = write_lmdb(tmp_path / "db", {"a": datum_of(0), "b": datum_of(1)})
    one, two = data(path), data(path, "batch_size: 1", "mirror: true", seed=4)
    two.batch()
    assert words_drawn(4) == 3
    assert one.batch()[1].tolist() == [0, 1]


def test_data_resumes_exactly(tmp_path):
    path = write_lmdb(tmp_path / "db", {f"{i:03}": datum_of(i) for i in range(5)})
    transform = "mirror: true crop_size: 3"
    assert_resumes(data(path, transform=transform), data(path, transform=transform, seed=9))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\xff\xff\xff", "Could not parse a Datum"),
        (datum_of(0, channels=3, height=5, width=4, data=b"few"), "3 values cannot have the shape"),
        (datum_of(0, encoded=True, data=b"no picture"), "Could not decode datum"),
    ],
)
def test_data_names_the_record_it_cannot_read(tmp_path, record, message):
    with pytest.raises(CaffeError, match=message + r".*record 'k' of .*db"):
        data(write_lmdb(tmp_path / "db", {"k": record}))


def test_data_says_where_no_database_is(tmp_path):
    with pytest.raises(CaffeError, match="Could not open the LMDB .*none"):
        data(tmp_path / "none")
    with pytest.raises(CaffeError, match=r"The LMDB .*db is empty"):
        data(write_lmdb(tmp_path / "db", {}))


# MemoryData


def memory_data(**kwargs):
    shape = "batch_size: 2 channels: 3 height: 4 width: 5"
    return Running(f"name: 'm' type: 'MemoryData' top: 'data' top: 'label' memory_data_param {{ {shape} }}", **kwargs)


def test_memory_data_cycles_through_arrays_it_does_not_copy():
    running = memory_data()
    assert [blob.shape for blob in running.top] == [(2, 3, 4, 5), (2,)]
    pixels = np.arange(4 * 60, dtype=f32).reshape(4, 3, 4, 5)
    labels = np.arange(4, dtype=f32)
    running.layer.set_input_arrays(pixels, labels)
    for first in (0, 2, 0):
        ours, label = running.batch()
        assert np.array_equal(ours, pixels[first : first + 2])
        assert label.shape == (2, 1, 1, 1)
        assert label.ravel().tolist() == [first, first + 1]
    pixels[2] = -1
    assert (running.batch()[0][0] == -1).all()


def test_memory_data_leaves_the_arrays_alone():
    running = memory_data()
    pixels = np.ones((4, 3, 4, 5), f32)
    running.layer.set_input_arrays(pixels, np.zeros(4, f32))
    running.batch()
    running.top[0].data[...] = 7
    running.batch()
    assert (pixels == 1).all()


def test_memory_data_needs_arrays():
    with pytest.raises(CaffeError, match="needs to be initialized by calling Reset"):
        memory_data().batch()


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((5, 4, 3, 2), f32).T, np.zeros(2, f32), "data array must be C contiguous"),
        (np.zeros((2, 60), f32), np.zeros(2, f32), "data array must be 4-d"),
        (np.zeros((2, 3, 4, 5)), np.zeros(2, f32), "data array must be float32"),
        (np.zeros((2, 1, 4, 5), f32), np.zeros(2, f32), "data array has wrong number of channels"),
        (np.zeros((2, 3, 1, 5), f32), np.zeros(2, f32), "data array has wrong height"),
        (np.zeros((2, 3, 4, 1), f32), np.zeros(2, f32), "data array has wrong width"),
        (np.zeros((2, 3, 4, 5), f32), np.zeros((2, 1), f32), "labels array must be 4-d"),
        (np.zeros((2, 3, 4, 5), f32), np.zeros(2), "labels array must be float32"),
        (np.zeros((2, 3, 4, 5), f32), np.zeros(4, f32), "same first dimension"),
        (np.zeros((3, 3, 4, 5), f32), np.zeros(3, f32), "must be a multiple of batch size"),
    ],
)
def test_memory_data_refuses_arrays_in_pycaffes_words(pixels, labels, message):
    with pytest.raises(RuntimeError, match=message):
        memory_data().layer.set_input_arrays(pixels, labels)


# HDF5Data


@pytest.fixture
def tables(tmp_path):
    """Three files of 4, 3 and 5 rows, numbered through."""
    row = 0
    for i, rows in enumerate((4, 3, 5)):
        with h5py.File(tmp_path / f"{i}.h5", "w") as file:
            numbers = np.arange(row, row + rows)
            file["label"] = numbers
            file["data"] = np.repeat(numbers, 6).reshape(rows, 2, 3).astype(np.float64)
        row += rows
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{i}.h5\n" for i in range(3)))
    return tmp_path


def hdf5_data(folder, params="batch_size: 5", extra="", tops="top: 'data' top: 'label'"):
    source = f"source: '{folder}/list.txt'"
    return Running(f"name: 'h' type: 'HDF5Data' {tops} {extra} hdf5_data_param {{ {source} {params} }}")


def test_hdf5_data_runs_across_files_and_starts_again(tables):
    running = hdf5_data(tables)
    assert [blob.shape for blob in running.top] == [(5, 2, 3), (5,)]
    seen = []
    for _ in range(5):
        values, labels = running.batch()
        assert (values == labels[:, None, None]).all()
        seen += labels.tolist()
    assert seen == [i % 12 for i in range(25)]


def test_hdf5_data_shuffles_with_the_c_librarys_numbers(tables):
    c_rand.set_state(CRand().state())
    running = hdf5_data(tables, "batch_size: 1 shuffle: true")
    numbers = CRand()
    starts, sizes = (0, 4, 7), (4, 3, 5)
    files = numbers.shuffled(3)
    expected = []
    rows = numbers.shuffled(sizes[files[0]])
    for _ in range(3):
        for i in range(3):
            expected += (starts[files[i]] + rows).tolist()
            if i == 2:
                files = files[numbers.shuffled(3)]
            size = sizes[files[(i + 1) % 3]]
            # as Caffe: once on reading the file, once on starting it
            rows = numbers.shuffled(size)
            rows = rows[numbers.shuffled(size)]
    assert [running.batch()[1][0] for _ in expected] == expected


def test_hdf5_data_resumes_exactly(tables):
    params = "batch_size: 5 shuffle: true"
    assert_resumes(hdf5_data(tables, params), hdf5_data(tables, params))


def test_hdf5_data_draws_no_words(tables):
    hdf5_data(tables, "batch_size: 5 shuffle: true").batch()
    assert words_drawn(1) == 0


def test_hdf5_data_says_what_is_wrong(tables):
    with pytest.raises(CaffeError, match="does not transform data"):
        hdf5_data(tables, extra="transform_param { scale: 1 }")
    with pytest.raises(CaffeError, match="Failed to find HDF5 dataset other in .*0.h5"):
        hdf5_data(tables, tops="top: 'other'")
    (tables / "1.h5").write_bytes(b"no table")
    running = hdf5_data(tables, "batch_size: 4")
    with pytest.raises(CaffeError, match="Failed opening HDF5 file: .*1.h5"):
        running.batch()
    (tables / "list.txt").write_text("\n")
    with pytest.raises(CaffeError, match="at least 1 HDF5 filename"):
        hdf5_data(tables)
    (tables / "list.txt").unlink()
    with pytest.raises(CaffeError, match="Failed to open source file"):
        hdf5_data(tables)


# DummyData


def test_dummy_data_fills_constants_once_and_draws_the_others_at_every_forward():
    running = Running(
        "name: 'd' type: 'DummyData' top: 'a' top: 'b' dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 4 } "
        "data_filler { type: 'constant' value: 3 } data_filler { type: 'gaussian' std: 1 } }"
    )
    assert (running.top[0].data == 3).all()
    assert (running.top[1].data == 0).all()
    running.top[0].data[0, 0] = 5
    first = running.batch()
    second = running.batch()
    assert second[0][0, 0] == 5
    assert not np.array_equal(first[1], second[1])


def test_dummy_data_draws_nothing_at_setup():
    Running(
        "name: 'd' type: 'DummyData' top: 'a' dummy_data_param { shape { dim: 2 } data_filler { type: 'uniform' } }"
    )
    assert words_drawn(1) == 0


def test_dummy_data_zeroes_without_filler_and_knows_the_old_sizes():
    running = Running(
        "name: 'd' type: 'DummyData' top: 'a' top: 'b' "
        "dummy_data_param { num: 2 num: 3 channels: 4 height: 5 width: 6 }"
    )
    assert [blob.shape for blob in running.top] == [(2, 4, 5, 6), (3, 4, 5, 6)]
    assert not any(array.any() for array in running.batch())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("shape { dim: 2 } data_filler { } data_filler { } data_filler { }", "Number of data fillers must be 0, 1 or"),
        ("shape { dim: 2 } num: 2", "Both shape and legacy fields were specified"),
        ("", "Must specify 'shape' once"),
        ("num: 2 channels: 3 height: 4", "Must specify 'width' once"),
    ],
)
def test_dummy_data_refuses(params, message):
    with pytest.raises(CaffeError, match=message):
        Running(f"name: 'd' type: 'DummyData' top: 'a' top: 'b' dummy_data_param {{ {params} }}")


# what HDF5 files hold


def test_hdf5_rows_of_as_many_numbers_may_differ_in_shape(tmp_path):
    for name, shape in ("a", (3,)), ("b", (3, 1)), ("c", (3, 1, 1)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["label"] = np.arange(3, dtype=f32).reshape(shape) + 10 * "abc".index(name)
            file["data"] = np.arange(12, dtype=f32).reshape((3, 2, 2) if name == "a" else (3, 4))
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{name}.h5\n" for name in "abc"))
    running = hdf5_data(tmp_path, "batch_size: 9")
    data, label = running.batch()
    assert data.shape == (9, 2, 2) and np.array_equal(data[3:6], data[:3])
    assert label.tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["label"], file["data"] = np.zeros((3, 1)), np.zeros((3, 5))
    with pytest.raises(CaffeError, match=r"dataset data in .*b\.h5 has rows of \(5,\)"):
        hdf5_data(tmp_path, "batch_size: 9").batch()


def hdf5_of(tmp_path, values, **options):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("label", data=values, **options)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x.h5\n")
    return hdf5_data(tmp_path, "batch_size: 2", tops="top: 'label'")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i1", "i2", ">i4", "i8", "u1", "u2", "u4", "u8"])
def test_hdf5_integers_and_floats_of_any_width_are_read(dtype, tmp_path):
    (label,) = hdf5_of(tmp_path, np.array([3, 100], dtype)).batch()
    assert label.tolist() == [3, 100]


def test_hdf5_numbers_beyond_float32_become_infinite(tmp_path):
    assert hdf5_of(tmp_path, np.array([1e300, -1e300])).batch()[0].tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize(
    ("kind", "values", "dtype"),
    [
        ("ENUM", np.array([True, False]), None),
        ("ENUM", np.array([0, 1]), h5py.enum_dtype({"no": 0, "yes": 1})),
        ("STRING", np.array([b"1", b"22"]), None),
        ("STRING", ["1", "22"], h5py.string_dtype()),
        ("COMPOUND", np.array([1j, 2]), None),
        ("COMPOUND", np.zeros(2, [("a", "f4"), ("b", "i4")]), None),
        ("VLEN", [np.zeros(2), np.zeros(3)], h5py.vlen_dtype("f4")),
        ("OPAQUE", np.zeros(2, "V8"), None),
    ],
)
def test_hdf5_of_what_are_no_numbers_is_refused_by_its_class(kind, values, dtype, tmp_path):
    if kind == "VLEN":
        values, vectors = np.empty(2, object), values
        values[:] = vectors
    with pytest.raises(CaffeError, match=rf"H5T_{kind} in data set '/label' of .*x\.h5") as error:
        hdf5_of(tmp_path, values, dtype=dtype)
    assert "copy or download" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("empty", [True, False])
def test_hdf5_without_numbers_of_a_name_is_no_broken_file(empty, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("label", data=h5py.Empty("f")) if empty else file.create_group("label")
    with pytest.raises(CaffeError, match=r"'/label' in .*x\.h5") as error:
        hdf5.read_tables(tmp_path / "x.h5", ["label"])
    assert "copy or download" not in str(error.value)


def test_a_database_made_anew_is_read_anew_while_a_net_reads_the_old_one(tmp_path):
    nets = []
    for label in 1, 2:
        (tmp_path / "x.png").write_bytes(cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes())
        (tmp_path / "list.txt").write_text(f"x.png {label}\n")
        shutil.rmtree(tmp_path / "db", ignore_errors=True)
        convert_imageset(f"{tmp_path}/", str(tmp_path / "list.txt"), str(tmp_path / "db"))
        data = f"data_param {{ source: '{tmp_path}/db' backend: LMDB batch_size: 1 }}"
        text = f"layer {{ type: 'Data' top: 'x' top: 'y' {data} }}"
        nets.append(caffe.Net.from_param(text_format.Parse(text, caffe_pb2.NetParameter())))
    assert [net.forward()["y"].tolist() for net in nets] == [[1], [2]]


def test_a_size_that_no_picture_can_have_is_one_sentence(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes())
    with pytest.raises(CaffeError, match=r"^[^\n]*x\.png[^\n]*4294967295[^\n]*$"):
        images.read_image(str(path), 2**32 - 1, 2)


# pictures that are cut short


def test_a_jpeg_that_is_cut_short_is_read_everywhere_and_warned_of_once(tmp_path, capfd):
    picture = cv2.resize(np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8), (80, 60))
    whole = cv2.imencode(".jpg", picture)[1].tobytes()
    for cut in 2, len(whole) // 3:
        path = tmp_path / f"cut{cut}.jpg"
        path.write_bytes(whole[:-cut])
        expected = cv2.imread(str(path)).transpose(2, 0, 1)
        (tmp_path / f"{cut}.txt").write_text(f"{path.name} 1\n{path.name} 2\n")
        running = image_data(tmp_path, "batch_size: 1", source=f"{cut}.txt")
        for _ in range(3):
            np.testing.assert_array_equal(running.batch()[0][0], expected)
        for name, encoded in ("plain", False), ("encoded", True):
            database = str(tmp_path / f"{name}{cut}")
            convert_imageset(
                f"{tmp_path}/", f"{tmp_path}/{cut}.txt", database, encoded=encoded, encode_type="jpg" * encoded
            )
            running = Running(
                "name: 'data' type: 'Data' top: 'data' top: 'label' "
                f"data_param {{ source: '{database}' batch_size: 1 backend: LMDB }}"
            )
            for _ in range(3):
                np.testing.assert_array_equal(running.batch()[0][0], expected)
        loaded = caffe.io.load_image(path)
        np.testing.assert_allclose(loaded[:, :, ::-1].transpose(2, 0, 1) * 255, expected, atol=1e-4)
        said = [line for line in capfd.readouterr().err.splitlines() if "Premature end of JPEG file:" in line]
        files = [f"{path};", f"'00000000_{path.name}'", f"'00000001_{path.name}'"]
        assert len(said) == 3 and all(name in "".join(said) for name in files)
