"""Our files in other readers, others' files in ours: plain protobuf, OpenCV, h5py, lmdb, BVLC Caffe."""

import cv2
import h5py
import lmdb
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

import caffe
from caffe import formats
from caffe.proto import caffe_pb2
from helpers.layer_checks import build, close, input_layer, layer, values

# committed deploy net -> by what its layers' channels are divided
DIVISORS = {"finetune": 16, "fc7-2": 16, "fc6-2": 16, "fc9-caffenet": 16, "squeezenet": 4, "fcn": 16}


@pytest.fixture(scope="module")
def files(root):
    return root / "tests" / "conformance" / "files"


@pytest.fixture(scope="module")
def plain(root):
    """Message classes that know nothing of this engine: made from the text of caffe.proto by a parser of its own."""
    return message_factory.GetMessageClassesForFiles(
        ["plain.proto"], schema_pool(root / "python/caffe/proto/caffe.proto")
    )


def schema_pool(path):
    """A pool with the messages of a proto2 file, of which this reads what caffe.proto uses."""
    words = []
    for line in path.read_text().splitlines():
        line = line.split("//")[0]
        for mark in "{}=;[](),":
            line = line.replace(mark, f" {mark} ")
        words += line.split()
    file = descriptor_pb2.FileDescriptorProto(name="plain.proto", package="caffe", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {t: getattr(kinds, f"TYPE_{t.upper()}") for t in
               ("float", "double", "int32", "int64", "uint32", "bool", "string", "bytes")}  # fmt: skip
    labels = {"optional": 1, "required": 2, "repeated": 3}

    def enum(where, at):
        new = where.enum_type.add(name=words[at + 1])
        at += 3
        while words[at] != "}":
            new.value.add(name=words[at], number=int(words[at + 2]))
            at += 4
        return at + 1

    def message(where, at):
        new = where.add(name=words[at + 1])
        at += 3
        while words[at] != "}":
            if words[at] == "enum":
                at = enum(new, at)
            elif words[at] == "message":
                at = message(new.nested_type, at)
            elif words[at] == "reserved":
                at = words.index(";", at) + 1
            else:
                label, kind, name, _, number = words[at : at + 5]
                added = new.field.add(name=name, label=labels[label], number=int(number))
                if kind in scalars:
                    added.type = scalars[kind]
                else:
                    added.type_name = kind
                end = words.index(";", at)
                options = words[at + 5 : end]
                added.options.packed = options[1:4] == ["packed", "=", "true"]
                at = end + 1
        return at + 1

    at = 0
    while at < len(words):
        if words[at] == "message":
            at = message(file.message_type, at)
        elif words[at] == "enum":
            at = enum(file, at)
        else:
            at = words.index(";", at) + 1
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


# plain protobuf


@pytest.fixture
def trained(tmp_path):
    """A solver after two iterations, and its snapshot's files."""
    (tmp_path / "solver.prototxt").write_text(
        f"""base_lr: 0.1 lr_policy: 'multistep' stepvalue: 1 gamma: 0.5 momentum: 0.9 type: 'Adam' random_seed: 1
        snapshot_diff: true snapshot_prefix: '{tmp_path}/snap' net_param {{ name: 'small'
        layer {{ name: 'x' type: 'DummyData' top: 'x' top: 't' dummy_data_param {{
          shape {{ dim: 4 dim: 2 dim: 5 dim: 5 }} shape {{ dim: 4 dim: 3 }} data_filler {{ type: 'gaussian' }}
          data_filler {{ type: 'uniform' }} }} }}
        layer {{ name: 'c' type: 'Convolution' bottom: 'x' top: 'c' param {{ name: 'w' lr_mult: 2 }}
          convolution_param {{ num_output: 3 kernel_size: 3 weight_filler {{ type: 'xavier' }} }} }}
        layer {{ name: 'b' type: 'BatchNorm' bottom: 'c' top: 'b' }}
        layer {{ name: 'p' type: 'PReLU' bottom: 'b' top: 'b' prelu_param {{ channel_shared: true }} }}
        layer {{ name: 'y' type: 'InnerProduct' bottom: 'b' top: 'y' inner_product_param {{ num_output: 3 }} }}
        layer {{ name: 'loss' type: 'EuclideanLoss' bottom: 'y' bottom: 't' top: 'loss' }} }}"""
    )
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    solver.step(2)
    solver.snapshot()
    return solver, tmp_path


def test_weights_open_with_plain_protobuf(trained, plain):
    solver, folder = trained
    content = (folder / "snap_iter_2.caffemodel").read_bytes()
    net = plain["caffe.NetParameter"].FromString(content)
    assert net.IsInitialized()
    assert net.SerializeToString() == content
    assert [layer.name for layer in net.layer] == list(solver.net.layer_dict)
    for saved in net.layer:
        blobs = solver.net.params.get(saved.name, [])
        assert len(saved.blobs) == len(blobs)
        for ours, theirs in zip(blobs, saved.blobs):
            assert tuple(theirs.shape.dim) == ours.shape
            np.testing.assert_array_equal(np.float32(theirs.data).reshape(ours.shape), ours.data)
            np.testing.assert_array_equal(np.float32(theirs.diff).reshape(ours.shape), ours.diff)


def test_a_state_opens_with_plain_protobuf(trained, plain):
    solver, folder = trained
    state = plain["caffe.SolverState"].FromString((folder / "snap_iter_2.solverstate").read_bytes())
    assert (state.iter, state.current_step) == (2, 1)
    assert state.learned_net == f"{folder}/snap_iter_2.caffemodel"
    shapes = [blob.shape for blob in solver.net.learnable_params]
    assert [tuple(blob.shape.dim) for blob in state.history] == shapes * 2
    assert all(any(blob.data) for blob in state.history if tuple(blob.shape.dim) == (3, 2, 3, 3))


def test_a_mean_opens_with_plain_protobuf(tmp_path, plain):
    mean = values(0, (3, 4, 5))
    formats.write_blob(tmp_path / "mean.binaryproto", mean[None])
    blob = plain["caffe.BlobProto"].FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 4, 5)
    np.testing.assert_array_equal(np.float32(blob.data).reshape(3, 4, 5), mean)


def test_what_plain_protobuf_writes_is_read(tmp_path, plain):
    net = plain["caffe.NetParameter"](name="theirs")
    made = net.layer.add(name="ip", type="InnerProduct", bottom=["x"], top=["y"])
    made.inner_product_param.num_output = 2
    for array in (values(1, (2, 3)), values(2, (2,))):
        blob = made.blobs.add()
        blob.shape.dim.extend(array.shape)
        blob.data.extend(array.ravel())
    (tmp_path / "w.caffemodel").write_bytes(net.SerializeToString())
    made.ClearField("blobs")
    (tmp_path / "n.prototxt").write_text(input_layer("x", (1, 3)) + text_format.MessageToString(net))
    ours = caffe.Net(str(tmp_path / "n.prototxt"), caffe.TEST, weights=str(tmp_path / "w.caffemodel"))
    np.testing.assert_array_equal(ours.params["ip"][0].data, values(1, (2, 3)))
    np.testing.assert_array_equal(ours.params["ip"][1].data, values(2, (2,)))


# OpenCV's Caffe importer


def in_opencv(folder, text, inputs, wanted):
    """The blobs that OpenCV computes from a definition and weights of ours, and those that we do."""
    (folder / "deploy.prototxt").write_text(text)
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    rng = np.random.default_rng(0)
    for n, (name, blobs) in enumerate(net.params.items()):
        if net.layer_dict[name].type == "BatchNorm":
            scale = [rng.normal(size=blobs[0].shape), rng.uniform(1, 3, blobs[1].shape), [2]]
        else:
            fan = max(1, blobs[0].data[0].size)
            scale = [rng.normal(0, np.sqrt(2 / fan), blobs[0].shape) * (1 if n else 0.1)]
            scale += [rng.normal(0, 0.1, blob.shape) for blob in blobs[1:]]
        for blob, drawn in zip(blobs, scale):
            blob.data[...] = drawn
    net.save(str(folder / "weights.caffemodel"))
    other = cv2.dnn.readNetFromCaffe(str(folder / "deploy.prototxt"), str(folder / "weights.caffemodel"))
    for name, array in inputs.items():
        net.blobs[name].data[...] = array
        other.setInput(array, name)
    net.forward()
    theirs = other.forward(wanted)
    return [(name, net.blobs[name].data, output) for name, output in zip(wanted, theirs)]


@pytest.mark.parametrize("arch", DIVISORS)
def test_committed_deploy_nets_give_the_same_in_opencv(arch, tmp_path, root):
    net = text_format.Parse((root / "prototxt" / arch / "deploy.prototxt").read_text(), caffe_pb2.NetParameter())
    net.layer[0].input_param.shape[0].dim[0] = 1
    for made in net.layer:
        for field in ("convolution_param", "inner_product_param"):
            if made.HasField(field) and getattr(made, field).num_output >= 2 * DIVISORS[arch]:
                getattr(made, field).num_output //= DIVISORS[arch]
    image = 60 * values(3, net.layer[0].input_param.shape[0].dim)
    pooled = next(made.top[0] for made in net.layer if made.type == "Pooling")
    blobs = in_opencv(tmp_path, str(net), {net.layer[0].top[0]: image}, [pooled, net.layer[-1].top[0]])
    for name, mine, theirs in blobs:
        assert np.ptp(mine) > 1e-3
        close(theirs.reshape(mine.shape), mine, 1e-4, name)


LAYERS = {
    "x": [
        "type: 'Convolution' convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 stride: 2 pad: 1 group: 2 }",
        "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 dilation: 2 bias_term: false }",
        "type: 'Deconvolution' convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 }",
        "type: 'Pooling' pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
        "type: 'Pooling' pooling_param { pool: MAX kernel_size: 2 stride: 2 pad: 1 }",
        "type: 'Pooling' pooling_param { pool: AVE kernel_size: 3 stride: 1 }",
        "type: 'Pooling' pooling_param { pool: AVE global_pooling: true }",
        "type: 'LRN' lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }",
        "type: 'InnerProduct' inner_product_param { num_output: 7 }",
        "type: 'ReLU' relu_param { negative_slope: 0.1 }",
        "type: 'PReLU'",
        "type: 'ELU'",
        "type: 'Sigmoid'",
        "type: 'TanH'",
        "type: 'AbsVal'",
        "type: 'BNLL'",
        "type: 'Power' power_param { power: 2 scale: 0.5 shift: 1 }",
        "type: 'Exp' exp_param { base: 2 scale: 0.5 shift: 1 }",
        "type: 'Softmax'",
        "type: 'Flatten'",
        "type: 'Reshape' reshape_param { shape { dim: 0 dim: 2 dim: -1 } }",
        "type: 'BatchNorm' batch_norm_param { eps: 0.01 }",
        "type: 'Scale' scale_param { bias_term: true }",
        "type: 'Dropout'",
    ],
    "x z": [
        "type: 'Concat' concat_param { axis: 2 }",
        "type: 'Eltwise' eltwise_param { operation: SUM coeff: 0.5 coeff: -2 }",
        "type: 'Eltwise' eltwise_param { operation: PROD }",
        "type: 'Eltwise' eltwise_param { operation: MAX }",
        "type: 'Crop' crop_param { axis: 2 offset: 0 }",
    ],
}


@pytest.mark.parametrize(("bottoms", "body"), [(bottoms, body) for bottoms, some in LAYERS.items() for body in some])
def test_layers_give_the_same_in_opencv(bottoms, body, tmp_path):
    inputs = {name: values(i, (1, 4, 9, 8)) for i, name in enumerate(bottoms.split())}
    text = "".join(input_layer(name, x.shape) for name, x in inputs.items()) + layer("y", bottoms, "y", body)
    ((_, mine, theirs),) = in_opencv(tmp_path, text, inputs, ["y"])
    close(theirs.reshape(mine.shape), mine, 1e-5)


# HDF5


def test_hdf5_both_ways(trained, tmp_path):
    solver, _ = trained
    solver.net.save_hdf5(str(tmp_path / "ours.h5"), True)
    with h5py.File(tmp_path / "ours.h5", "r") as file:
        for name, blobs in solver.net.params.items():
            for i, blob in enumerate(blobs):
                np.testing.assert_array_equal(file[f"data/{name}/{i}"][()], blob.data)
                np.testing.assert_array_equal(file[f"diff/{name}/{i}"][()], blob.diff)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["data/c/0"] = np.full((3, 2, 3, 3), 7, np.float64)
        file["data/c/1"] = np.arange(3)
        file["data/elsewhere/0"] = np.zeros(2)
    solver.net.load_hdf5(str(tmp_path / "theirs.h5"))
    assert (solver.net.params["c"][0].data == 7).all()
    np.testing.assert_array_equal(solver.net.params["c"][1].data, [0, 1, 2])


# LMDB


def test_an_lmdb_of_datums_made_with_caffe_io_is_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 4), np.uint8)
    with lmdb.open(str(tmp_path / "db"), map_size=2**20) as env, env.begin(write=True) as transaction:
        for i, image in enumerate(images):
            transaction.put(f"{i:08}".encode(), caffe.io.array_to_datum(image, i).SerializeToString())
    net = build(
        "layer { name: 'd' type: 'Data' top: 'x' top: 'y' "
        f"data_param {{ source: '{tmp_path}/db' batch_size: 3 backend: LMDB }} }}"
    )
    seen, labels = [], []
    for _ in range(2):
        net.forward()
        seen += list(net.blobs["x"].data.copy())
        labels += net.blobs["y"].data.tolist()
    np.testing.assert_array_equal(seen, images[[0, 1, 2, 3, 4, 0]])
    assert labels == [0, 1, 2, 3, 4, 0]


# BVLC Caffe's files


def test_everything_bvlc_caffe_wrote_is_read(files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    numbers = np.load("tiny_iter_12.params.npz")
    for definition, weights in (
        ("train_val.prototxt", "tiny_iter_12.caffemodel"),
        ("train_val.prototxt", "legacy_v1.caffemodel"),
        ("legacy_v1_train.prototxt", "legacy_v1.caffemodel"),
        ("legacy_v0_train.prototxt", "legacy_v0.caffemodel"),
        ("deploy.prototxt", "legacy_v0.caffemodel"),
    ):
        net = caffe.Net(definition, caffe.TEST, weights=weights)
        params = {f"{name}:{i}": blob.data for name, blobs in net.params.items() for i, blob in enumerate(blobs)}
        assert len(params) >= 16, definition
        found = {key.replace("/", ":"): numbers[key] for key in numbers.files}
        for key, array in params.items():
            theirs = next(v for k, v in found.items() if k.endswith(key))
            np.testing.assert_array_equal(array.reshape(theirs.shape), theirs, err_msg=f"{weights} {key}")
    for state in ("tiny_iter_6.solverstate", "tiny_iter_12.solverstate"):
        solver = caffe.get_solver("solver.prototxt")
        solver.restore(state)
        assert solver.iter == formats.read_state(state).iter > 0
    mean = np.load("mean.npz")
    np.testing.assert_array_equal(formats.read_blob("mean.binaryproto").ravel(), mean[mean.files[0]].ravel())
