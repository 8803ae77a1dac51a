"""Every reader of a user's file as a function from bytes, with seeds to damage: for hypothesis and for atheris.

``TARGETS[kind](content, folder)`` reads ``content`` as that kind of file; it returns whether the reader took it, or
raises what the reader should not have raised. A refusal must be one CaffeError that says where.
"""

import functools
import json
import os
import tempfile
from pathlib import Path

import h5py
import lmdb
import numpy as np
from google.protobuf import text_format

import caffe
from caffe import formats
from caffe.data.lists import read_list
from caffe.errors import CaffeError
from caffe.formats import hdf5
from caffe.layers import create_layer
from caffe.proto import caffe_pb2
from caffe.runtime.blob import Blob
from caffe.solvers import resume

FILES = Path(__file__).resolve().parent.parent / "conformance" / "files"


def refused(read, where):
    """Whether ``read()`` refuses, with an error that names ``where``."""
    try:
        read()
    except CaffeError as error:
        said = str(error)
    else:
        return False
    assert str(where) in said, f"an error that does not say where: {said}"
    assert "\n" not in said.strip(), f"more than one line: {said}"
    return True


def _file(read, suffix, content, folder):
    path = Path(folder) / f"target{suffix}"
    path.write_bytes(content)
    return not refused(lambda: read(path), path)


def _layer(text):
    param = text_format.Parse(f"name: 'it' phase: TEST {text}", caffe_pb2.LayerParameter())
    layer = create_layer(param)
    tops = [Blob() for _ in param.top]
    layer.setup([], tops)
    for _ in range(3):
        layer.forward([], tops, False)


def _image_list(content, folder):
    path = Path(folder) / "list.txt"
    path.write_bytes(content)
    (Path(folder) / "a b.png").write_bytes(_picture())
    if refused(lambda: read_list(str(path)), path):
        return False
    text = f"type: 'ImageData' top: 'x' top: 'y' image_data_param {{ source: '{path}' root_folder: '{folder}/' }}"
    return not refused(lambda: _layer(text), path)


def _windows(content, folder):
    path = Path(folder) / "windows.txt"
    path.write_bytes(content)
    (Path(folder) / "a.png").write_bytes(_picture())
    param = f"source: '{path}' root_folder: '{folder}/' batch_size: 2 context_pad: 1"
    text = f"type: 'WindowData' top: 'x' top: 'y' window_data_param {{ {param} }} transform_param {{ crop_size: 4 }}"
    return not refused(lambda: _layer(text), path)


def _picture():
    import cv2

    return cv2.imencode(".png", np.zeros((2, 3, 3), np.uint8))[1].tobytes()


def _datum(content, folder):
    with tempfile.TemporaryDirectory(dir=folder) as database:
        with lmdb.open(database, map_size=2**22) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"0", content)
        text = f"type: 'Data' top: 'x' top: 'y' data_param {{ source: '{database}' batch_size: 1 backend: LMDB }}"
        return not refused(lambda: _layer(text), f"record '0' of {database}")


def _table(content, folder):
    path = Path(folder) / "table.h5"
    path.write_bytes(content)
    (Path(folder) / "tables.txt").write_text(str(path))
    text = f"type: 'HDF5Data' top: 'x' hdf5_data_param {{ source: '{folder}/tables.txt' batch_size: 2 }}"
    return not refused(lambda: _layer(text), path)


@functools.cache
def _solver():
    """A solver with a shuffled list, and the content of its streams file."""
    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "net.prototxt"), "w") as file:
        file.write(
            f"layer {{ name: 'd' type: 'ImageData' top: 'x' top: 'y' transform_param {{ crop_size: 2 mirror: true }} "
            f"image_data_param {{ source: '{FILES}/train.txt' root_folder: '{FILES}/' shuffle: true batch_size: 2 }} }}"
        )
    param = caffe_pb2.SolverParameter(net=file.name, lr_policy="fixed", snapshot_after_train=False, random_seed=1)
    solver = caffe.Solver(param)
    return solver, resume.to_json(resume.capture(solver)).encode()


def _streams(content, folder):
    state = Path(folder) / "s.solverstate"
    path = Path(resume.streams_path(state))
    path.write_bytes(content)
    solver = _solver()[0]
    taken = not refused(lambda: resume.restore(solver, str(state)), path)
    if taken:
        solver.net.run_forward()
    return taken


TARGETS = {
    "net": functools.partial(_file, formats.read_net, ".prototxt"),
    "solver": functools.partial(_file, formats.read_solver, ".prototxt"),
    "weights": functools.partial(_file, formats.read_weights, ".caffemodel"),
    "state": functools.partial(_file, formats.read_state, ".solverstate"),
    "mean": functools.partial(_file, formats.read_blob, ".binaryproto"),
    "weights.h5": functools.partial(_file, hdf5.read_weights, ".caffemodel.h5"),
    "state.h5": functools.partial(_file, hdf5.read_state, ".solverstate.h5"),
    "list": _image_list,
    "windows": _windows,
    "datum": _datum,
    "table": _table,
    "streams": _streams,
}


def seeds(kind):
    """Whole files of a kind: BVLC Caffe's where it wrote some, else ours."""
    return _seeds()[kind]


@functools.cache
def _seeds():
    def of(*names):
        return [(FILES / name).read_bytes() for name in names]

    with tempfile.TemporaryDirectory() as folder:
        definition = caffe_pb2.NetParameter(layer=[caffe_pb2.LayerParameter(name="a", type="InnerProduct")])
        arrays = [[np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(2, np.float32)]]
        hdf5.write_weights(f"{folder}/w.h5", definition, arrays, arrays)
        hdf5.write_state(f"{folder}/s.h5", 3, "w.caffemodel.h5", 1, arrays[0])
        with h5py.File(f"{folder}/t.h5", "w") as file:
            file["x"] = np.arange(6, dtype=np.float32).reshape(3, 2)
        ours = {name: Path(folder, f"{name}.h5").read_bytes() for name in "wst"}
    picture = caffe_pb2.Datum(channels=3, height=2, width=2, data=bytes(12), label=1)
    return {
        "net": of("train_val.prototxt", "legacy_v0_train.prototxt", "legacy_v1_train.prototxt", "deploy.prototxt"),
        "solver": of("solver.prototxt"),
        "weights": of("tiny_iter_6.caffemodel", "legacy_v0.caffemodel", "legacy_v1.caffemodel"),
        "state": of("tiny_iter_6.solverstate"),
        "mean": of("mean.binaryproto"),
        "weights.h5": [ours["w"]],
        "state.h5": [ours["s"]],
        "list": [b"a b.png 3\na b.png -1\n", b"a b.png 3\r\na b.png +1"],
        "windows": [b"# 0\na.png\n3 2 3\n3\n1 0.9 0 0 1 1\n0 0.2 1 0 2 1\n2 0.5 0 0 2 1\n"],
        "datum": [
            picture.SerializeToString(),
            caffe_pb2.Datum(channels=1, height=1, width=2, float_data=[1, 2]).SerializeToString(),
            caffe_pb2.Datum(encoded=True, data=_picture()).SerializeToString(),
        ],
        "table": [ours["t"]],
        "streams": [_solver()[1], json.dumps(json.loads(_solver()[1]), indent=1).encode()],
    }
