"""Caffe's files: BVLC's are read to their numbers, ours are what BVLC writes, and bad ones are errors."""

import os
import stat
import tracemalloc

import h5py
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffe import CaffeError, formats
from caffe.formats import blobs, weights
from caffe.formats.storage import replacing
from caffe.proto import caffe_pb2
from helpers.layer_checks import examples


@pytest.fixture(scope="module")
def files(root):
    return root / "tests/conformance" / "files"


@pytest.fixture(scope="module")
def params(files):
    return dict(np.load(files / "tiny_iter_12.params.npz"))


@pytest.fixture(scope="module")
def history(files):
    measured = np.load(files / "tiny_iter_12.history.npz")
    return [measured[f"h{i}"] for i in range(16)]


def small_net():
    return text_format.Parse(
        "name: 'small' layer { name: 'a' type: 'InnerProduct' bottom: 'x' top: 'y' phase: TRAIN"
        " inner_product_param { num_output: 2 } } layer { name: 'r' type: 'ReLU' }",
        caffe_pb2.NetParameter(),
    )


def small_arrays():
    return [[np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7, 8], np.float32)], []]


def write(path, message):
    path.write_bytes(message.SerializeToString())
    return path


def blobs_of(read):
    return {f"{layer.name}:{i}": blob for layer in read.layers for i, blob in enumerate(layer.blobs)}


# what BVLC Caffe wrote


@pytest.mark.parametrize("file", ["tiny_iter_12", "legacy_v1", "legacy_v0"])
def test_weights_of_all_generations_are_the_measured_numbers(files, params, file):
    read = formats.read_weights(files / f"{file}.caffemodel")
    blobs = blobs_of(read)
    assert read.name == "TinyCaffeNet"
    assert blobs.keys() == params.keys()
    for name, expected in params.items():
        assert blobs[name].fits(expected.shape)
        assert blobs[name].legacy == file.startswith("legacy")
        np.testing.assert_array_equal(blobs[name].data.reshape(expected.shape), expected)


def test_layer_types_are_current_in_all_generations(files):
    types = [
        [(layer.name, layer.type) for layer in formats.read_weights(files / f"{file}.caffemodel").layers]
        for file in ("tiny_iter_12", "legacy_v1", "legacy_v0")
    ]
    assert types[0] == types[1] == types[2]


def test_state_and_mean_are_the_measured_numbers(files, history):
    state = formats.read_state(files / "tiny_iter_12.solverstate")
    assert (state.iter, state.current_step, state.learned_net) == (12, 1, "tiny_iter_12.caffemodel")
    assert len(state.history) == len(history)
    for ours, theirs in zip(state.history, history):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(formats.read_blob(files / "mean.binaryproto"), np.load(files / "mean.npz")["mean"])


def test_written_files_are_byte_for_byte_caffes(files, params, history, tmp_path):
    net = caffe_pb2.NetParameter.FromString((files / "tiny_iter_12.caffemodel").read_bytes())
    arrays = [[params[f"{layer.name}:{i}"] for i in range(len(layer.blobs))] for layer in net.layer]
    formats.write_weights(tmp_path / "w", net, arrays)
    assert (tmp_path / "w").read_bytes() == (files / "tiny_iter_12.caffemodel").read_bytes()
    formats.write_state(tmp_path / "s", 12, "tiny_iter_12.caffemodel", 1, history)
    assert (tmp_path / "s").read_bytes() == (files / "tiny_iter_12.solverstate").read_bytes()
    formats.write_blob(tmp_path / "m", np.load(files / "mean.npz")["mean"])
    assert (tmp_path / "m").read_bytes() == (files / "mean.binaryproto").read_bytes()


# writing and reading back

shapes = st.lists(st.integers(0, 5), max_size=5).map(tuple)


@examples(20)
@given(shape=shapes, with_diff=st.booleans(), legacy=st.booleans(), seed=st.integers(0, 99))
def test_a_blob_is_read_as_written(tmp_path_factory, shape, with_diff, legacy, seed):
    legacy = legacy and len(shape) <= 4
    rng = np.random.default_rng(seed)
    data, diff = rng.standard_normal((2, *shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("blob") / "b"
    parts = blobs.blob_parts(data, diff if with_diff else None, legacy)
    path.write_bytes(b"".join(bytes(part) for part in parts) or b"\x3a\x00")
    proto = caffe_pb2.BlobProto.FromString(path.read_bytes())
    np.testing.assert_array_equal(np.float32(proto.data), data.ravel())
    np.testing.assert_array_equal(np.float32(proto.diff), diff.ravel() if with_diff else [])
    array = blobs.read_blob(blobs.parse("BlobProto", path.read_bytes()))
    np.testing.assert_array_equal(array.data, data.ravel())
    assert array.fits(shape)
    assert array.shape == ((1,) * (4 - len(shape)) + shape if legacy else shape)
    assert array.data.dtype == np.float32
    if with_diff and data.size:
        np.testing.assert_array_equal(array.diff, diff.ravel())
    else:
        assert array.diff is None


@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_weights_and_diffs_round_trip(tmp_path, suffix):
    path, net, arrays = tmp_path / f"w.caffemodel{suffix}", small_net(), small_arrays()
    diffs = [[-array for array in arrays[0]], []]
    (formats.write_weights_hdf5 if suffix else formats.write_weights)(path, net, arrays, diffs)
    layers = formats.read_weights(path).layers
    assert [(layer.name, len(layer.blobs)) for layer in layers] == [("a", 2), ("r", 0)]
    for blob, array in zip(layers[0].blobs, arrays[0]):
        assert blob.shape == array.shape
        np.testing.assert_array_equal(blob.data, array.ravel())
        np.testing.assert_array_equal(blob.diff, -array.ravel())


@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_state_round_trips(tmp_path, suffix):
    path = tmp_path / f"s.solverstate{suffix}"
    history = [np.arange(6, dtype=np.float32).reshape(1, 2, 3), np.float32([4])]
    formats.write_state(path, 7, "ünï_iter_7.caffemodel", 2, history)
    state = formats.read_state(path)
    assert (state.iter, state.learned_net, state.current_step) == (7, "ünï_iter_7.caffemodel", 2)
    for ours, expected in zip(state.history, history, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_hdf5_has_caffes_layout(tmp_path):
    net, arrays = small_net(), small_arrays()
    arrays[0][1] = None  # owned by another layer
    formats.write_weights_hdf5(tmp_path / "w.h5", net, arrays)
    formats.write_state(tmp_path / "s.h5", 3, "w.h5", 1, [arrays[0][0]])
    with h5py.File(tmp_path / "w.h5") as file:
        assert list(file) == ["data"]
        assert {name: list(group) for name, group in file["data"].items()} == {"a": ["0"], "r": []}
        assert file["data/a/0"].dtype == np.float32
    with h5py.File(tmp_path / "s.h5") as file:
        assert set(file) == {"iter", "learned_net", "current_step", "history"}
        assert file["iter"].shape == (1,)
        assert file["iter"].dtype == np.int32
        string = file["learned_net"].id.get_type()
        # Caffe reads a C string of the stored size: without room for the zero it runs past the end
        assert string.get_size() == len("w.h5") + 1
        assert string.get_strpad() == h5py.h5t.STR_NULLTERM
    blobs = formats.read_weights(tmp_path / "w.h5").layers[0].blobs
    assert len(blobs) == 1


def test_hdf5_hole_of_a_shared_blob_is_none(tmp_path):
    net, arrays = small_net(), small_arrays()
    arrays[0][0] = None
    formats.write_weights_hdf5(tmp_path / "w.h5", net, arrays)
    first, second = formats.read_weights(tmp_path / "w.h5").layers[0].blobs
    assert first is None
    assert second.shape == (2,)


def test_hdf5_refuses_a_slash_in_a_layer_name(tmp_path):
    net = caffe_pb2.NetParameter(layer=[caffe_pb2.LayerParameter(name="inception/1x1")])
    with pytest.raises(CaffeError, match=r"inception/1x1.*BINARYPROTO"):
        formats.write_weights_hdf5(tmp_path / "w.h5", net, [[]])
    assert os.listdir(tmp_path) == []


def test_numbers_are_held_in_memory_once(tmp_path):
    path, arrays = tmp_path / "w", [[np.zeros((1000, 5000), np.float32)], []]
    tracemalloc.start()
    try:
        formats.write_weights(path, small_net(), arrays)
        assert tracemalloc.get_traced_memory()[1] < 0.1 * path.stat().st_size
        tracemalloc.reset_peak()
        read = formats.read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * path.stat().st_size  # protobuf's own memory is another copy
    finally:
        tracemalloc.stop()
    assert read.layers[0].blobs[0].fits((1000, 5000))


# what other writers put in their files


def test_unpacked_numbers_doubles_and_splits_are_read(tmp_path):
    message, numbers = blobs.field_parts, np.arange(6, dtype="<f4")
    joined = lambda parts: b"".join(bytes(part) for part in parts)  # noqa: E731
    shape = joined(message(7, b"\x08\x02", b"\x08\x03"))  # dims unpacked too
    unpacked = b"".join(b"\x2d" + n.tobytes() for n in numbers)
    encodings = [
        shape + unpacked,
        unpacked[:10] + shape + joined(message(5, numbers[2:].tobytes())),
        joined(message(5, numbers[:4].tobytes())) + joined(message(5, numbers[4:].tobytes())) + shape,
        shape + joined(message(8, numbers.astype("<f8").tobytes())),
        shape + b"".join(b"\x41" + n.tobytes() for n in numbers.astype("<f8")),
        shape + joined(message(5, b"")) + joined(message(99, b"from a fork")) + b"\xdb\x06\x08\x01\xdc\x06" + unpacked,
    ]
    for encoded in encodings:
        path = tmp_path / "b"
        path.write_bytes(encoded)
        np.testing.assert_array_equal(formats.read_blob(path), numbers.reshape(2, 3))
        proto = caffe_pb2.BlobProto.FromString(encoded)
        assert list(proto.data or proto.double_data) == list(numbers)


def test_long_runs_of_unpacked_numbers_are_read(tmp_path):
    numbers = np.random.default_rng(0).standard_normal(5000).astype("<f4")
    path = tmp_path / "b"
    shape = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[5000])).SerializeToString()
    path.write_bytes(b"".join(b"\x2d" + n.tobytes() for n in numbers) + shape)
    np.testing.assert_array_equal(formats.read_blob(path), numbers)


@pytest.mark.parametrize(
    ("legacy", "shape", "fits"),
    [
        ((1, 1, 2, 3), (2, 3), True),
        ((1, 1, 2, 3), (1, 2, 3), True),
        ((1, 1, 2, 3), (1, 1, 2, 3), True),
        ((1, 1, 2, 3), (3, 2), False),
        ((1, 1, 2, 3), (1, 1, 1, 2, 3), False),
        ((2, 3, 1, 1), (2, 3), False),
        ((1, 1, 1, 1), (), True),
    ],
)
def test_legacy_extents_fit_what_equals_them_when_padded_on_the_left(legacy, shape, fits):
    array = blobs.Array(np.zeros(6, np.float32), None, legacy, legacy=True)
    assert array.fits(shape) is fits
    assert blobs.Array(array.data, None, legacy).fits(shape) is (legacy == shape)


@pytest.mark.parametrize("shape", [(2**62, 0, 0, 0), (0, 2**30, 2**30, 2**30), (-1, 1, 1, 1)])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_size_beyond_an_int32_is_an_error_even_of_nothing(tmp_path, shape, legacy):
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=shape))
    if legacy:
        shape = [min(n, 2**31 - 1) for n in shape]
        shape[-1] = shape[-1] or 2
        blob = caffe_pb2.BlobProto(num=shape[0], channels=shape[1], height=shape[2], width=shape[3])
    with pytest.raises(CaffeError, match=f"m is not .*{shape[0]}.* int32"):
        formats.read_blob(write(tmp_path / "m", blob))


def test_missing_legacy_extents_count_as_zero(tmp_path):
    path = write(tmp_path / "b", caffe_pb2.BlobProto(num=1, channels=2, height=3))
    assert formats.read_blob(path).shape == (1, 2, 3, 0)


def test_double_numbers_too_large_for_float32_are_infinite(tmp_path):
    path = write(tmp_path / "b", caffe_pb2.BlobProto(double_data=[1e300], shape=caffe_pb2.BlobShape(dim=[1])))
    assert formats.read_blob(path) == np.inf


# bad files


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        ("shape { dim: [2, 3] } data: [1, 2]", r"shape \(2, 3\), 6 numbers, with 2 in its data"),
        ("shape { dim: [2] }", "with 0 in its data"),
        ("shape { dim: [1] } data: 1 diff: [1, 2]", "with 2 in its diff"),
        ("shape { dim: [-1, -1] } data: 1", "shape"),
        ("num: 1 channels: 2 height: 1 width: 1 data: [1, 2, 3]", r"\(1, 2, 1, 1\)"),
        ("shape { dim: [100000, 100000, 100000] } data: 1", "int32"),
        (f"shape {{ dim: {[1] * 33} }} data: 1", "32 axes"),
    ],
)
def test_blob_whose_shape_and_numbers_disagree_names_its_layer(tmp_path, blob, says):
    net = text_format.Parse(f"layer {{ name: 'fc9' blobs {{ {blob} }} }}", caffe_pb2.NetParameter())
    path = write(tmp_path / "x.caffemodel", net)
    with pytest.raises(CaffeError, match=says) as error:
        formats.read_weights(path)
    assert "'fc9'" in str(error.value)
    assert str(path) in str(error.value)


READERS = [formats.read_weights, formats.read_state, formats.read_blob, formats.read_net, formats.read_solver]


@pytest.mark.parametrize("read", READERS)
def test_missing_file_and_folder_are_errors(read, tmp_path):
    with pytest.raises(CaffeError, match="Could not open file .*nothing"):
        read(tmp_path / "nothing")
    with pytest.raises(CaffeError, match="Could not open file"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".h5"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", bytes(50), b"\x89HDF\r\n"])
def test_what_is_no_weights_file_is_one_error(tmp_path, suffix, content):
    path = tmp_path / f"x.caffemodel{suffix}"
    path.write_bytes(content)
    for read in (formats.read_weights, formats.read_state):
        with pytest.raises(CaffeError) as error:
            read(path)
        assert str(error.value).startswith(str(path))


def test_one_kind_of_file_is_not_taken_for_another(tmp_path):
    formats.write_weights(tmp_path / "w", small_net(), small_arrays())
    formats.write_state(tmp_path / "s", 3, "w", 0, small_arrays()[0])
    formats.write_blob(tmp_path / "m", np.zeros((1, 3, 2, 2)))
    kinds = {"w": formats.read_weights, "s": formats.read_state, "m": formats.read_blob}
    for name in kinds:
        for other, read in kinds.items():
            if name != other:
                with pytest.raises(CaffeError, match="not a complete Caffe"):
                    read(tmp_path / name)


def test_both_generations_in_one_file_are_refused(tmp_path):
    net = text_format.Parse("layer { name: 'a' } layers { name: 'b' }", caffe_pb2.NetParameter())
    with pytest.raises(CaffeError, match="'layers'"):
        formats.read_weights(write(tmp_path / "x", net))


@pytest.mark.parametrize("unit", [b"\xa2\x06\x00", b"\xa2\x06\x02\x0a\x00", b"\x0b", b"\x0b\x0c"], ids=bytes.hex)
def test_a_flood_of_fields_ends_in_an_error(tmp_path, unit):
    path = tmp_path / "x"
    path.write_bytes(unit * 100_001)
    with pytest.raises(CaffeError, match="x is not a complete Caffe weights file"):
        formats.read_weights(path)


def test_file_beyond_protobufs_limit_is_refused_both_ways(tmp_path, monkeypatch):
    with open(tmp_path / "big", "wb") as file:
        file.truncate(2**31)  # sparse: takes no room
    for read in (formats.read_weights, formats.read_state, formats.read_blob):
        with pytest.raises(CaffeError, match="2 GB"):
            read(tmp_path / "big")
    monkeypatch.setattr(weights, "MAX_BINARY_BYTES", 100)
    with pytest.raises(CaffeError, match=r"2 GB.*HDF5"):
        formats.write_weights(tmp_path / "w", small_net(), small_arrays())
    with pytest.raises(CaffeError, match=r"2 GB.*HDF5"):
        formats.write_state(tmp_path / "s", 1, "w", 0, [np.zeros(100)])
    assert os.listdir(tmp_path) == ["big"]


def test_hdf5_that_claims_more_than_it_holds_is_an_error(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("data/a/0", shape=(2**40,), dtype="f4", chunks=(1024,))
    with pytest.raises(CaffeError, match="claims"):
        formats.read_weights(tmp_path / "w.h5")


def damaged(draw, content):
    """The content cut somewhere, or with some bytes changed."""
    if draw(st.booleans()):
        return content[: draw(st.integers(0, len(content) - 1))]
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


def survives(read, path):
    """Whether a reader takes a file or raises a CaffeError that names it; anything else it raises is passed on."""
    try:
        read(path)
    except CaffeError as error:
        return str(path) in str(error)
    return True


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """One small file of each kind, with the function that reads it."""
    folder = tmp_path_factory.mktemp("samples")
    arrays, net = small_arrays(), small_net()
    formats.write_weights(folder / "w.caffemodel", net, arrays, arrays)
    formats.write_weights_hdf5(folder / "w.caffemodel.h5", net, arrays)
    formats.write_state(folder / "s.solverstate", 3, "w", 1, arrays[0])
    formats.write_state(folder / "s.solverstate.h5", 3, "w", 1, arrays[0])
    formats.write_blob(folder / "m.binaryproto", np.zeros((1, 3, 2, 2)))
    v1 = "layers { bottom: 'x' name: 'a' type: RELU blobs { num: 1 channels: 1 height: 1 width: 2 data: [1, 2] } }"
    write(folder / "v1.caffemodel", text_format.Parse(v1, caffe_pb2.NetParameter()))
    v0 = "layers { layer { name: 'a' type: 'conv' blobs { num: 1 channels: 1 height: 1 width: 2 data: [1, 2] } } }"
    write(folder / "v0.caffemodel", text_format.Parse(v0, caffe_pb2.NetParameter()))
    (folder / "n.prototxt").write_text(str(small_net()) + v1)
    (folder / "o.prototxt").write_text("input: 'x' input_dim: [1, 1, 2, 2] " + v0)
    (folder / "r.prototxt").write_text("net: 'n.prototxt' base_lr: 0.1 # rate\nsolver_type: ADAM test_iter: [1, 2]")
    names = ("weights", "state", "blob", "weights", "net", "net", "solver")
    readers = {letter: getattr(formats, f"read_{name}") for letter, name in zip("wsmvnor", names)}
    return [(path, readers[path.name[0]]) for path in sorted(folder.iterdir())]


@examples(200)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(samples, data):
    path, read = data.draw(st.sampled_from(samples))
    bad = path.parent.parent / f"damaged{''.join(path.suffixes)}"
    bad.write_bytes(damaged(data.draw, path.read_bytes()))
    assert survives(read, bad)


@examples(60)
@given(data=st.data())
def test_measured_files_damaged_are_read_or_refused(files, tmp_path_factory, data):
    name, read = data.draw(st.sampled_from([
        ("legacy_v0.caffemodel", formats.read_weights),
        ("legacy_v1.caffemodel", formats.read_weights),
        ("tiny_iter_12.caffemodel", formats.read_weights),
        ("tiny_iter_12.solverstate", formats.read_state),
        ("legacy_v0_train.prototxt", formats.read_net),
        ("train_val.prototxt", formats.read_net),
    ]))  # fmt: skip
    bad = tmp_path_factory.getbasetemp() / "damaged"
    bad.write_bytes(damaged(data.draw, (files / name).read_bytes()))
    assert survives(read, bad)


def test_every_cut_of_a_weights_file_inside_a_layer_is_an_error(tmp_path):
    formats.write_weights(tmp_path / "w", small_net(), small_arrays())
    content = (tmp_path / "w").read_bytes()
    whole = caffe_pb2.NetParameter.FromString(content)
    whole_layers = {0}
    for i in range(len(whole.layer) + 1):
        part = caffe_pb2.NetParameter(name=whole.name, layer=whole.layer[:i])
        whole_layers.add(len(part.SerializeToString()))
    for n in set(range(len(content))) - whole_layers:
        (tmp_path / "cut").write_bytes(content[:n])
        with pytest.raises(CaffeError):
            formats.read_weights(tmp_path / "cut")


# definitions


def test_definitions_are_read_and_upgraded(tmp_path):
    (tmp_path / "n").write_text("# a comment, ünïcode\r\nname: 'ü'\r\nlayers { name: 'r' type: RELU }", newline="")
    net = formats.read_net(tmp_path / "n")
    assert (net.name, net.layer[0].type, len(net.layers)) == ("ü", "ReLU", 0)
    (tmp_path / "s").write_text("solver_type: ADAM")
    assert formats.read_solver(tmp_path / "s").type == "Adam"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("name: 'a'\nlayer { nam: 'x' }", ":2:9:", 'no field named "nam"; did you mean name?'),
        ("base_lr: 1", ":1:1:", "caffe.SolverParameter"),
        ("layer {\n name: 'x'\nlayer {", ":3:1:", "closing brace"),
        ("layer { name: 'x'", ":1:", 'Expected "}"'),
        ("name: 'x' name: 'y'", ":1:17:", "keep one"),
        ("layer { include { phase: TRAIM } }", ":1:26:", "TRAIN, TEST"),
        ("layer { name: x }", ":1:15:", "Expected string"),
        ("\n\nlayer { inner_product_param { num_output: -3 } }", ":3:43:", "out of range: -3"),
        ("name: '\\ud800'", ":1:7:", "ud800"),
        ("layer { clip_param { min: 1 } }", ":", "layer[0].clip_param.max"),
        (b"name: 'a'\n\xffname: 'b'", ":2:1:", "identifier"),
        (b"name: 'a\x00'", ":1:9:", "byte 0x00"),
    ],
)
def test_errors_in_a_definition_name_file_line_and_column(tmp_path, text, place, says):
    path = tmp_path / "net.prototxt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CaffeError) as error:
        formats.read_net(path)
    assert str(error.value).startswith(f"{path}{place}")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


# whole or not at all


@pytest.mark.parametrize("write_it", [formats.write_weights, formats.write_weights_hdf5])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, write_it):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CaffeError, match=r"Could not write .*w\.caffemodel: No space left on device"):
        write_it(path, small_net(), small_arrays())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["w.caffemodel"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        with replacing(tmp_path / "x") as temporary:
            with open(temporary, "wb") as file:
                file.write(b"half")
            assert len(os.listdir(tmp_path)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_writing_keeps_links_and_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    formats.write_whole(tmp_path / "link", b"new", memoryview(b"er"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"newer"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("target", ["missing/w", "folder", "pipe"])
def test_a_place_that_cannot_be_written_is_an_error(tmp_path, target):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaffeError, match=f"Could not write .*{target}"):
        formats.write_weights(tmp_path / target, small_net(), small_arrays())
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


@pytest.mark.parametrize("write_it", [formats.write_weights, formats.write_weights_hdf5])
def test_arrays_of_another_number_of_layers_are_a_mistake_of_the_caller(tmp_path, write_it):
    with pytest.raises(ValueError, match="argument"):
        write_it(tmp_path / "w", small_net(), [*small_arrays(), []])
