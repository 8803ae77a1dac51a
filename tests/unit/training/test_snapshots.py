"""A training resumes from the newest complete snapshot, and keeps no others."""

import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from sentiment.training import snapshots
from sentiment.training.runs import Run


@pytest.fixture
def run(tmp_path):
    """A run with complete snapshots at 10 and 20."""
    run = Run(tmp_path, "five_agrees", "finetune", "caffenet", 1)
    run.folder.mkdir(parents=True)
    blob = caffe.io.array_to_blobproto(np.ones((2, 3)))
    for iteration in 10, 20:
        net = caffe_pb2.NetParameter(name="n", layer=[caffe_pb2.LayerParameter(name="fc", blobs=[blob])])
        run.weights(iteration).write_bytes(net.SerializeToString())
        solver = caffe_pb2.SolverState(iter=iteration, learned_net=run.weights(iteration).name, history=[blob])
        state(run, iteration).write_bytes(solver.SerializeToString())
    return run


def state(run, iteration):
    return run.weights(iteration).with_suffix(".solverstate")


def names(run):
    return sorted(path.name.removeprefix("snapshot_iter_") for path in run.folder.iterdir())


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def test_newest(run):
    assert snapshots.newest(run.folder) == 20


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: cut(state(run, 20)),
        lambda run: cut(run.weights(20)),
        lambda run: run.weights(20).unlink(),
        lambda run: state(run, 20).unlink(),
        lambda run: state(run, 20).write_bytes(b""),
        lambda run: run.weights(20).write_bytes(b""),
        lambda run: state(run, 20).write_bytes(state(run, 10).read_bytes()),
    ],
)
def test_an_incomplete_snapshot_does_not_count(run, damage):
    damage(run)
    assert snapshots.newest(run.folder) == 10


def test_no_folder_has_no_snapshot(tmp_path):
    assert snapshots.newest(tmp_path / "absent") is None


def test_keep_only(run):
    for name in "10.streams", "20.streams", "10.solverstate.streams", "20.solverstate.streams":
        (run.folder / f"snapshot_iter_{name}").touch()
    (run.folder / "train.log").touch()
    snapshots.keep_only(run.folder, 20)
    assert names(run) == ["20.caffemodel", "20.solverstate", "20.solverstate.streams", "20.streams", "train.log"]
    snapshots.keep_only(run.folder, 20, state=False)
    assert names(run) == ["20.caffemodel", "train.log"]
