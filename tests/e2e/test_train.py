"""tools/train.py as a user runs it: layers taken over, resume, interrupt, what a run's folder holds."""

import hashlib
import itertools
import json
import os
import platform
import re
import signal
import subprocess
import sys

import cv2
import google.protobuf
import numpy as np
import pytest
import torch

import caffe
from helpers.commands import losses, wait_for_iteration
from sentiment import __version__, engine, paper
from sentiment.data.means import binaryproto
from sentiment.demo import stand_ins
from sentiment.networks import architectures
from sentiment.training import solvers
from sentiment.utils.files import read_json
from sentiment.utils.progress import Progress


def weights(folder, iteration=6):
    net = caffe.Net(str(folder / "deploy.prototxt"), str(folder / f"snapshot_iter_{iteration}.caffemodel"), caffe.TEST)
    return {name: blobs[0].data.copy() for name, blobs in net.params.items()}


def test_one_fold(tool, tiny, capfd):
    assert tool("train", *tiny.options) == 0
    said = capfd.readouterr()
    assert said.out.splitlines()[0].startswith("to train: 1, in about ")
    assert "taken over: conv1 conv2 conv3 conv4 conv5 fc6 fc7\n" in said.out
    assert "new: fc8_twitter\n" in said.out
    assert "left behind: fc8" in said.out
    assert "6/6 it, loss " in said.err
    folder = tiny.folder()
    assert sorted(path.name for path in folder.iterdir()) == [
        "deploy.prototxt",
        "run.json",
        "snapshot_iter_6.caffemodel",
        "solver.prototxt",
        "train.log",
        "train_val.prototxt",
    ]
    assert [iteration for iteration, _ in losses(folder)] == list(range(6))
    assert "Testing net (#0)" in (folder / "train.log").read_text()
    before, after = (
        caffe.Net(str(tiny.source.parent / "deploy.prototxt"), str(tiny.source), caffe.TEST),
        weights(folder),
    )
    for name in "conv1", "fc7":
        moved = np.abs(before.params[name][0].data - after[name]).max()
        assert 0 < moved < 0.2

    assert tool("train", *tiny.options) == 0
    assert "already done" in capfd.readouterr().out


def test_the_folder_s_definitions_run_in_caffe_as_they_are(tool, tiny, monkeypatch):
    monkeypatch.setattr(solvers, "MOST_TESTING", 0.01)  # 5 passes to test, 3 · 4 in an iteration: every 42 iterations
    assert tool("train", *tiny.options, "--seed", 5, "--fold", 2) == 0
    folder = tiny.folder(2, init="source-seed5")
    trained = weights(folder)
    monkeypatch.chdir(folder)
    solver = caffe.get_solver("solver.prototxt")
    assert (solver.param.random_seed, solver.param.max_iter, solver.param.stepsize) == (100_000_005, 6, 4)
    assert solver.param.test_interval == 42
    solver.net.copy_from(str(tiny.source))
    solver.step(6)
    for name, values in trained.items():
        np.testing.assert_allclose(solver.net.params[name][0].data, values, atol=1e-6)


def test_many_folds_in_one_process(tool, tiny, capfd):
    assert tool("train", *tiny.options, "--fold", 1, 2) == 0
    assert tool("train", *tiny.options, "--fold", "all") == 0
    out = capfd.readouterr().out
    assert out.count("already done") == 2
    assert all((tiny.folder(fold) / "snapshot_iter_6.caffemodel").is_file() for fold in (1, 2, 3, 4, 5))
    assert losses(tiny.folder(1)) != losses(tiny.folder(2))


def test_every_fold_has_a_seed_of_its_own_alone_and_among_all(tool, tiny):
    assert tool("train", *tiny.options, "--fold", "all", "--iterations", 2) == 0
    among_all = tiny.runs.rename(tiny.runs.with_name("all"))
    new = []
    for fold, seed in zip(paper.FOLDS, (1701, 100_001_701, 200_001_701, 300_001_701, 400_001_701), strict=True):
        folder = among_all / tiny.folder(fold).relative_to(tiny.runs)
        assert f"random_seed: {seed}\n" in (folder / "solver.prototxt").read_text()
        recorded = json.loads((folder / "run.json").read_text())
        assert (recorded["seed"], recorded["fold_seed"]) == (1701, seed)
        new.append(weights(folder, 2)["fc8_twitter"])
    for one, other in itertools.combinations(new, 2):
        assert np.abs(one - other).max() > 0.005  # other draws of N(0, 0.01), whatever two small steps did to them
    assert tool("train", *tiny.options, "--fold", 4, "--iterations", 2) == 0
    for name, values in weights(tiny.folder(4), 2).items():
        other = weights(among_all / tiny.folder(4).relative_to(tiny.runs), 2)[name]
        np.testing.assert_array_equal(values, other)


def test_a_run_records_what_it_was_trained_with_and_a_result_both(tool, tiny, monkeypatch):
    mean = tiny.data / "mean.binaryproto"
    mean.write_bytes(binaryproto(stand_ins.even_image((104.0, 117.0, 123.0))))
    assert tool("train", *tiny.options, "--iterations", 1, "--mean", mean) == 0
    recorded = json.loads((tiny.folder() / "run.json").read_text())
    assert recorded["mean_file"] == hashlib.sha256(mean.read_bytes()).hexdigest()
    [trained] = recorded["training"]
    assert (trained["engine"], trained["project"]) == (f"pixels-to-sentiment {__version__}", __version__)
    assert (trained["threads"], trained["precision"], trained["cuda"]) == (torch.get_num_threads(), "float32", "")
    assert {name: trained["versions"][name] for name in ("torch", "numpy", "opencv", "protobuf", "python")} == {
        "torch": torch.__version__, "numpy": np.__version__, "opencv": cv2.__version__,
        "protobuf": google.protobuf.__version__, "python": platform.python_version(),
    }  # fmt: skip
    assert trained["device"] and re.fullmatch(r"([0-9a-f]{40}(-dirty)?)?", trained["commit"])

    monkeypatch.setattr(engine, "_cpu", lambda: "another CPU")
    assert tool("evaluate", *tiny.options) == 0
    result = read_json(tiny.folder() / "result.json")
    assert result["training"] == recorded["training"]
    assert result["evaluation"]["device"].startswith("another CPU")
    assert result["hashes"]["mean_file"] == recorded["mean_file"] and result["choices"]["precision"] == "float32"
    assert result["train_images"] == 20


def test_a_training_may_resume_elsewhere_which_is_recorded(tool, tiny, monkeypatch, capfd):
    advance = Progress.advance

    def interrupt_at(iteration):
        def advance_and_interrupt(self, count, note=""):
            advance(self, count, note)
            if self.done == iteration:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Progress, "advance", advance_and_interrupt)

    for stop, cpu in ((2, "first"), (3, "first"), (4, "second"), (None, "third")):
        interrupt_at(stop)
        monkeypatch.setattr(engine, "_cpu", lambda cpu=cpu: cpu)
        monkeypatch.setattr(engine, "versions", lambda cpu=cpu: {"torch": f"torch of {cpu}"})
        assert tool("train", *tiny.options) == (130 if stop else 0)
    assert tool("evaluate", *tiny.options) == 0
    trained = read_json(tiny.folder() / "result.json")["training"]
    assert [one["from_iteration"] for one in trained] == [0, 3, 4]
    for one, cpu in zip(trained, ("first", "second", "third"), strict=True):
        assert one["device"].startswith(cpu)
    assert tool("train", *tiny.options) == 0  # done, wherever it is asked for


def test_a_run_of_the_first_version_says_what_it_lacks(tool, tiny, capfd):
    assert tool("train", *tiny.options, "--iterations", 1) == 0
    identity = tiny.folder() / "run.json"
    recorded = json.loads(identity.read_text())
    for key in ("fold_seed", "training", "mean_file", "train_images"):
        del recorded[key]
    identity.write_text(json.dumps(recorded))
    for command in (("train", *tiny.options, "--iterations", 1), ("evaluate", *tiny.options)):
        capfd.readouterr()
        assert tool(*command) == 2
        said = capfd.readouterr().err
        assert f"{identity} " in said and "fold_seed" in said


def test_from_scratch_everything_is_filled(tool, tiny, capfd):
    assert tool("train", *tiny.options[:-2], "--init", "scratch", "--iterations", 1) == 0
    assert all(values.std() > 0 for values in weights(tiny.folder(init="scratch"), 1).values())
    assert "taken over" not in capfd.readouterr().out


@pytest.mark.parametrize("arch", ["fc7-2", "fc6-2"])
def test_ablations(tool, tiny, arch, capfd):
    assert tool("train", *tiny.options, "--arch", arch, "--iterations", 1) == 0
    new = {"fc7-2": "fc7_twitter", "fc6-2": "fc6_twitter"}[arch]
    kept = ["conv1", "conv2", "conv3", "conv4", "conv5", *(["fc6"] if arch == "fc7-2" else [])]
    assert f"new: {new}\n" in capfd.readouterr().out
    assert set(weights(tiny.folder(arch=arch), 1)) == {*kept, new}


def kept_layers(source):
    """The source's layers with weights, its own last one included."""
    net = caffe.Net(str(source.parent / "deploy.prototxt"), str(source), caffe.TEST)
    return {name: blobs[0].data.copy() for name, blobs in net.params.items()}


def test_a_system_that_does_not_show_its_cores_trains_too(tool, tiny, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity")  # as on macOS
    assert tool("train", *tiny.options, "--iterations", 1) == 0


@pytest.mark.parametrize("arch", architectures.ON_LAST_LAYER)
def test_fc9_keeps_the_source_s_last_layer(tool, tiny, arch, capfd):
    assert tool("train", *tiny.options, "--arch", arch, "--base-lr", 0.001, "--iterations", 2) == 0
    out = capfd.readouterr().out
    assert "taken over: conv1 conv2 conv3 conv4 conv5 fc6 fc7 fc8\n" in out
    assert "new: fc9_twitter\n" in out
    assert "left behind: fc8" not in out
    after = weights(tiny.folder(arch=arch), 2)
    assert after.pop("fc9_twitter").shape == (2, 5)
    moved = {name: bool((values != after[name]).any()) for name, values in kept_layers(tiny.source).items()}
    assert len(moved) == 8
    assert set(moved.values()) == {arch == "fc9"}
    assert tool("evaluate", *tiny.options, "--arch", arch) == 0


def test_fc9_without_a_last_layer_to_keep_is_a_sentence(tool, tiny, capfd):
    assert tool("train", *tiny.options[:-2], "--init", "scratch", "--arch", "fc9") == 2
    assert "ARCH=fc9 keeps the source's last layer, and there is no source" in capfd.readouterr().err
    assert not list(tiny.runs.rglob("*.prototxt"))


def test_a_variant_lies_beside_the_default_run_and_records_its_choices(tool, tiny, capfd):
    more = ["--iterations", 1, "--variant", "plain", "--set", "mirror=0", "weight_decay=0", "bias_lr_mult=1"]
    assert tool("train", *tiny.options, "--iterations", 1) == 0
    assert tool("train", *tiny.options, *more) == 0
    assert tool("evaluate", *tiny.options, "--variant", "plain") == 0
    folder = tiny.folder(init="source-plain")
    assert "mirror: false" in (folder / "train_val.prototxt").read_text()
    assert "weight_decay: 0\n" in (folder / "solver.prototxt").read_text()
    result = read_json(folder / "result.json")
    assert result["init"] == "source"
    chosen = {"variant": "plain", "mirror": False, "shuffle": True, "weight_decay": 0, "bias_lr_mult": 1}
    assert {key: result["choices"][key] for key in chosen} == chosen
    for wrong in "mirrors=0", "mirror=maybe", "mirror=2", "gamma":
        capfd.readouterr()
        assert tool("train", *tiny.options, "--set", wrong) == 2
        assert f"SET: {'unknown ' if wrong == 'mirrors=0' else ''}{wrong!r}" in capfd.readouterr().err


def test_a_run_of_other_inputs_is_not_resumed(tool, tiny, capfd):
    assert tool("train", *tiny.options) == 0
    assert tool("train", *tiny.options, "--base-lr", 0.5) == 2
    assert "base_lr" in capfd.readouterr().err


def start(root, tiny, *options):
    environment = {**os.environ, "PYTHONPATH": str(root / "python"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, root / "tools" / "train.py", *tiny.options, *options]
    return subprocess.Popen(
        [str(part) for part in command], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(tool, tiny, monkeypatch, capfd):
    assert tool("train", *tiny.options) == 0
    expected = weights(tiny.folder())
    runs = tiny.runs.rename(tiny.runs.with_name("uninterrupted"))
    advance = Progress.advance

    def advance_and_interrupt(self, count, note=""):
        advance(self, count, note)
        if self.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "advance", advance_and_interrupt)
    assert tool("train", *tiny.options) == 130
    said = capfd.readouterr().err
    assert "stopping: finishing this iteration, then a snapshot\n" in said
    assert "stopped at iteration 3 of 6; the same command resumes" in said
    assert {path.suffix for path in tiny.folder().glob("snapshot_iter_3.*")} >= {".caffemodel", ".solverstate"}

    monkeypatch.undo()
    assert tool("train", *tiny.options) == 0
    assert "resumes from iteration 3" in capfd.readouterr().out
    assert [path.name for path in tiny.folder().glob("snapshot*")] == ["snapshot_iter_6.caffemodel"]
    assert losses(tiny.folder()) == losses(runs / tiny.folder().relative_to(tiny.runs))
    for name, values in weights(tiny.folder()).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_with_a_snapshot_and_the_next_call_resumes(root, tool, tiny, number, capfd):
    process = start(root, tiny, "--iterations", 10000)
    wait_for_iteration(tiny.folder(), 3, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    stopped = int(re.search(r"stopped at iteration (\d+) of 10000; the same command resumes", err)[1])
    assert "Traceback" not in err
    names = {path.name for path in tiny.folder().glob("snapshot*")}
    assert names >= {f"snapshot_iter_{stopped}.caffemodel", f"snapshot_iter_{stopped}.solverstate"}
    assert all(name.startswith(f"snapshot_iter_{stopped}.") for name in names)

    process = start(root, tiny, "--iterations", 10000)
    wait_for_iteration(tiny.folder(), stopped + 1, process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=300)
    assert f"resumes from iteration {stopped}" in out
    shown = [iteration for iteration, _ in losses(tiny.folder())]
    assert shown[: stopped + 2] == list(range(stopped + 2))


@pytest.mark.slow
def test_a_killed_training_resumes_from_its_newest_complete_snapshot(root, tool, tiny, capfd):
    process = start(root, tiny, "--iterations", 10000)
    wait_for_iteration(tiny.folder(), 61, process)
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    newest = max(tiny.folder().glob("*.solverstate"), key=lambda path: int(path.stem.split("_")[-1]))
    iteration = int(newest.stem.split("_")[-1])
    assert iteration % 30 == 0
    # As if it had been killed in the middle of a later snapshot.
    (tiny.folder() / f"snapshot_iter_{iteration + 30}.caffemodel").write_bytes(newest.read_bytes()[:100])
    (tiny.folder() / f"snapshot_iter_{iteration + 30}.solverstate").write_bytes(newest.read_bytes()[:100])
    (tiny.folder() / "train.log").unlink()  # which may show that iteration already
    process = start(root, tiny, "--iterations", 10000)
    wait_for_iteration(tiny.folder(), iteration + 2, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    assert f"resumes from iteration {iteration}" in out
