"""Training stopped anywhere and resumed ends with the very weights of a training that was never stopped."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import caffe
from caffe import cli
from caffe.errors import CaffeError
from caffe.formats import read_weights
from caffe.solvers import resume
from helpers.small_training import KINDS, LAST, experiment


def trained(folder, iteration=LAST):
    """The parameters of a snapshot."""
    (path,) = (p for p in folder.glob(f"snap_iter_{iteration}.caffemodel*"))
    layers = read_weights(path).layers
    return {f"{layer.name} {i}": blob.data for layer in layers for i, blob in enumerate(layer.blobs)}


def assert_same(ours, theirs):
    assert set(ours) == set(theirs) and len(ours) == 9
    for name, values in theirs.items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(ours[name], values, err_msg=name)


def train(folder, monkeypatch, *args, at=""):
    """``caffe train`` in this process and that folder; a signal comes where ``at`` says."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("TEST_SIGNAL", at)
    sys.modules.pop("signalling", None)
    return cli.main(["train", "-solver", "solver.prototxt", *args])


def state(folder, iteration):
    (path,) = folder.glob(f"snap_iter_{iteration}.solverstate*")
    return path.name


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors are fastest so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# one solver in one process, stopped after any iterations


@pytest.mark.parametrize("kind", KINDS)
def test_solvers_of_every_type_resume_bit_for_bit(kind, tmp_path, monkeypatch):
    experiment(tmp_path, kind)
    monkeypatch.chdir(tmp_path)
    whole = caffe.get_solver("solver.prototxt")
    whole.solve()
    expected = trained(tmp_path)
    for stops in ([1], [LAST - 1], sorted(random.Random(kind).sample(range(2, LAST - 1), 3))):
        solver = caffe.get_solver("solver.prototxt")
        for stop in stops:
            solver.step(stop - solver.iter)
            solver.snapshot()
            solver = caffe.get_solver("solver.prototxt")
            caffe.set_random_seed(99)  # what is drawn comes from the snapshot
            solver.restore(state(tmp_path, stop))
            assert solver.iter == stop
        solver.solve()
        assert_same(trained(tmp_path), expected)


# caffe train, stopped by signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_caffe_train_with_a_snapshot_to_go_on_from(name, tmp_path, monkeypatch, capfd):
    experiment(tmp_path, "SGD", signals=True)
    assert train(tmp_path, monkeypatch) == 0
    expected = trained(tmp_path)
    before = signal.getsignal(signal.Signals[name])
    at = random.Random(name).randrange(1, LAST - 1)
    capfd.readouterr()
    assert train(tmp_path, monkeypatch, at=f"{name} {at}") == 0
    said = capfd.readouterr().err
    assert "Optimization stopped early." in said and f"Iteration {at + 1}, loss" not in said
    assert re.search(r"Computing with \d+ CPU threads, torch \S+, products in float32\n", said)
    assert signal.getsignal(signal.Signals[name]) is before
    assert train(tmp_path, monkeypatch, "-snapshot", state(tmp_path, at + 1)) == 0
    assert "Random streams and data positions restored" in capfd.readouterr().err
    assert_same(trained(tmp_path), expected)


def test_hangup_takes_a_snapshot_and_goes_on(tmp_path, monkeypatch, capfd):
    experiment(tmp_path, "Adam", signals=True)
    assert train(tmp_path, monkeypatch, at="SIGHUP 4") == 0
    expected = trained(tmp_path)
    assert "stopped early" not in capfd.readouterr().err
    assert train(tmp_path, monkeypatch, "-snapshot", state(tmp_path, 5)) == 0
    assert_same(trained(tmp_path), expected)


@pytest.mark.parametrize(
    ("flags", "at", "snapshots", "stopped"),
    [
        (["-sigint_effect", "none"], "SIGINT 4", [LAST], False),
        (["-sigint_effect", "snapshot"], "SIGTERM 4", [5, LAST], False),
        (["-sighup_effect", "stop"], "SIGHUP 4", [5], True),
        (["-sighup_effect", "none"], "SIGHUP 4", [LAST], False),
    ],
)
def test_what_a_signal_does_can_be_chosen(flags, at, snapshots, stopped, tmp_path, monkeypatch, capfd):
    experiment(tmp_path, "SGD", signals=True)
    assert train(tmp_path, monkeypatch, *flags, at=at) == 0
    assert ("stopped early" in capfd.readouterr().err) == stopped
    assert sorted(int(p.stem.split("_")[-1]) for p in tmp_path.glob("*.caffemodel")) == snapshots


def command(folder, *args, at=""):
    """``caffe train`` in a process of its own."""
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": paths, "TEST_SIGNAL": at, "OMP_NUM_THREADS": threads}
    with open(folder / "log", "w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "caffe.cli", "train", "-solver", "solver.prototxt", *args],
            cwd=folder,
            env=environment,
            stderr=log,
        )


def newest(folder):
    """The newest solver state, or None."""
    states = folder.glob("snap_*.solverstate*")
    return max(states, key=lambda path: int(re.search(r"_iter_(\d+)", path.name)[1]), default=None)


def test_a_killed_training_goes_on_from_its_last_snapshot(tmp_path, monkeypatch, capfd):
    experiment(tmp_path, "Nesterov", "snapshot: 4", signals=True)
    killed = command(tmp_path, at="SIGKILL 17")  # two passes an iteration: in the ninth
    assert killed.wait(timeout=300) == -signal.SIGKILL
    assert newest(tmp_path).name == state(tmp_path, 8) == "snap_iter_8.solverstate"
    assert train(tmp_path, monkeypatch, "-snapshot", state(tmp_path, 8)) == 0
    resumed = trained(tmp_path)
    assert train(tmp_path, monkeypatch) == 0
    assert_same(resumed, trained(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed"), [("SGD", 1), ("Adam", 2), ("AdaDelta", 3), ("RMSProp", 4)])
def test_killed_again_and_again_at_any_moment(kind, seed, tmp_path):
    whole = experiment(tmp_path / "whole", kind, signals=True)
    assert command(whole).wait(timeout=300) == 0
    folder = experiment(tmp_path / "killed", kind, "snapshot: 1", signals=True)
    chance = random.Random(seed)
    deaths = [command(folder, at="SIGKILL 4").wait(timeout=300)]  # the others at moments that depend on the machine
    while (resume := newest(folder)) is None or resume.name != state(whole, LAST):
        process = command(folder, *(["-snapshot", resume.name] if resume else []))
        while process.poll() is None and newest(folder) == resume:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(chance.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
        deaths.append(process.wait(timeout=300))
        log = (folder / "log").read_text()
        over = log.endswith("Optimization Done.\n")  # a signal that comes after all work is done ends what is left
        assert deaths[-1] in (0, -signal.SIGKILL) or over, log[-2000:]
    assert len(deaths) > 1
    assert_same(trained(folder), trained(whole))


# tools/train.py, stopped by signals

# sends the tool's process a signal after one iteration: tool, signal, iteration, the tool's own options
STOPPING = """
import os
import runpy
import signal
import sys
from sentiment.utils.progress import Progress

_, tool, name, at, *options = sys.argv
advance = Progress.advance

def advance_and_stop(self, count, note=""):
    advance(self, count, note)
    if self.done == int(at):
        os.kill(os.getpid(), signal.Signals[name])

Progress.advance = advance_and_stop
sys.argv = [tool, *options]
runpy.run_path(tool, run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_stopped_experiment_ends_with_the_weights_of_a_whole_one(name, root, tool, tiny):
    options = [*map(str, tiny.options), "--iterations", "45"]
    assert tool("train", *options) == 0
    whole = tiny.runs.rename(tiny.runs.with_name("whole"))
    folder = tiny.folder()
    at = random.Random(name).randrange(31 if name == "SIGKILL" else 1, 44)  # a snapshot comes at 30
    ended = subprocess.run(
        [sys.executable, "-c", STOPPING, str(root / "tools" / "train.py"), name, str(at), *options],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -signal.SIGKILL}[name]
    assert tool("train", *options) == 0
    log = (folder / "train.log").read_text()
    assert "Random streams and data positions restored" in log and "may differ" not in log
    paths = (folder, whole / folder.relative_to(tiny.runs))
    ours, theirs = (read_weights(path / "snapshot_iter_45.caffemodel").layers for path in paths)
    assert [layer.name for layer in ours] == [layer.name for layer in theirs]
    for layer, other in zip(ours, theirs):
        for blob, reference in zip(layer.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(blob.data, reference.data, err_msg=layer.name)


# what cannot be exact says so


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A folder with a snapshot of iteration 2, current."""
    experiment(tmp_path, "SGD")
    monkeypatch.chdir(tmp_path)
    solver = caffe.get_solver("solver.prototxt")
    solver.step(2)
    solver.snapshot()
    return tmp_path


def resumed():
    solver = caffe.get_solver("solver.prototxt")
    solver.restore("snap_iter_2.solverstate")
    return solver


def test_a_state_of_bvlc_caffe_resumes_and_says_what_it_lacks(stopped, capfd):
    (stopped / "snap_iter_2.streams").unlink()
    assert resumed().iter == 2
    assert "as in BVLC Caffe, random streams and data positions start again" in capfd.readouterr().err


def test_only_states_are_called_states(stopped):
    beside = {path.name for path in stopped.glob("snap_iter_2.*")}
    assert beside == {"snap_iter_2.caffemodel", "snap_iter_2.solverstate", "snap_iter_2.streams"}
    assert resume.streams_path("a.solverstate/x_iter_3.solverstate.h5") == "a.solverstate/x_iter_3.streams"


def test_streams_under_their_older_name_are_found(stopped, capfd):
    (stopped / "snap_iter_2.streams").rename(stopped / "snap_iter_2.solverstate.streams")
    resumed()
    said = capfd.readouterr().err
    assert "positions restored from snap_iter_2.solverstate.streams" in said and "start again" not in said


def test_another_number_of_threads_is_said(stopped, capfd):
    path = stopped / "snap_iter_2.streams"
    saved = json.loads(path.read_text())
    assert saved["threads"] == torch.get_num_threads() and saved["torch"] == torch.__version__
    resumed()
    assert "may differ" not in capfd.readouterr().err
    path.write_text(json.dumps({**saved, "threads": 77}))
    resumed()
    said = capfd.readouterr().err
    assert f"made with threads 77, this run has {torch.get_num_threads()}" in said and said.count("may differ") == 1


def test_another_precision_is_said(stopped, capfd):
    path = stopped / "snap_iter_2.streams"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "precision": "bf16"}))
    resumed()
    assert "made with precision bf16, this run has float32" in capfd.readouterr().err
    del saved["precision"]  # of a version that had no other
    path.write_text(json.dumps(saved))
    resumed()
    assert "may differ" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.update(iter=3), "of iteration 3, the solver state of 2"),
        (lambda s: s["nets"].pop(), "with 0 test nets, not 1"),
        (lambda s: s["nets"][0].clear(), r"data layers \[\], not \['data'\]"),
        (lambda s: s["nets"][0]["data"]["source"].update(list="x"), "train.txt is not the list of the interrupted run"),
        (lambda s: s["nets"][0]["data"]["source"].update(shuffle=None), "shuffle is not what it was"),
        (lambda s: s["nets"][0]["data"].update(transformer=None), "other transform_param"),
        (lambda s: s["nets"][0]["data"]["source"].update(line=99), "damaged.*99 is not an integer"),
        (lambda s: s["nets"][0]["data"]["source"]["order"].append(0), "damaged.*permutation"),
        (lambda s: s["global"].update(pos=10**9), "damaged"),
        (lambda s: s["global"]["key"].pop(), "damaged.*624 words"),
        (lambda s: s.update(format=2), "damaged.*format 2"),
        (lambda s: s.pop("threads"), "damaged.*threads"),
    ],
)
def test_streams_that_do_not_fit_are_one_error(stopped, change, said):
    path = stopped / "snap_iter_2.streams"
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))
    with pytest.raises(CaffeError, match=f"(?s){said}.*(?i:remove).*snap_iter_2.streams|streams.*{said}"):
        resumed()
