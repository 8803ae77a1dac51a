"""What can go wrong while a command runs: each ends in a sentence, and called again the command does the rest."""

import errno
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from caffe import cli
from helpers import made_up
from helpers.commands import largest_file, losses, refused, wait_for_iteration
from helpers.small_training import experiment
from sentiment import engine, paper
from sentiment.evaluation import inference, network
from sentiment.utils import errors
from sentiment.utils.files import half_written, read_json
from sentiment.utils.progress import Progress

FULL = errors.FULL[errno.ENOSPC]
STEPS = ("train", "evaluate", "extract_features", "analyze_layers", "sentiment_maps", "make_tables")


def step(tool, tiny, name, runs=None, out=None):
    """Call one of the steps of fold 1."""
    runs, out = runs or tiny.runs, out or (runs or tiny.runs) / "results"
    of_run = ["--runs", runs, "--init", "source", "--fold", 1]
    options = {
        "analyze_layers": [*of_run, "--selection", "paper"],
        "sentiment_maps": ["--data", tiny.data, *of_run, "--images", 2, "--input-size", 259, "--out", out],
        "make_tables": ["--runs", runs, "--out", out, "--report"],
    }
    return tool(name, *options.get(name, [*tiny.options, "--fold", 1, "--runs", runs]))


def seen(folder):
    """Content of the files in a folder but for logs and the cache of decoded pictures."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {path: path.read_bytes() for path in files if engine.IMAGES not in path.parts}


def half_files(folder):
    return [path for inner in (folder, *folder.rglob("*/")) for path in half_written(inner)]


# a disk that is full


@pytest.fixture
def disk(tmp_path):
    """A disk of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]).returncode:
        pytest.skip("only the system's administrator may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk, room):
    """Fill a disk but for so many bytes; returns the file that does."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - room))
    return filler


@pytest.mark.parametrize("room", [0, 8192, 65536])
@pytest.mark.parametrize("name", STEPS)
def test_a_full_disk(name, room, tool, tiny, disk, capfd):
    """However little room there is, nothing is half there, and with room again the command does its work."""
    runs = disk / "runs"
    for earlier in STEPS[: STEPS.index(name)]:
        assert step(tool, tiny, earlier, runs) == 0
    before = seen(disk)
    filler = fill(disk, room)
    capfd.readouterr()
    status = step(tool, tiny, name, runs)
    said = capfd.readouterr().err
    assert status == 2 or room > 0
    assert "Traceback" not in said
    if status:
        sentence = said.splitlines()[-1]
        if "the activations of" in sentence:  # told before, as it would take gigabytes
            assert f"error: {tiny.folder().relative_to(tiny.runs)}" in sentence.replace(f"{runs}/", "")
        else:
            assert re.search(rf"error: (cannot|Could not) write (activations to )?{disk}", sentence)
            assert sentence.endswith(f"No space left on device; {FULL}")
    now = seen(disk)
    assert {path: now[path] for path in before} == before
    assert half_files(disk) == []
    filler.unlink()
    assert step(tool, tiny, name, runs) == 0


@pytest.mark.parametrize("step_name", ["train", "extract_features"])
def test_a_limit_of_a_file_s_size(step_name, tool, tiny, capfd):
    for earlier in STEPS[: STEPS.index(step_name)]:
        assert step(tool, tiny, earlier) == 0
    before = seen(tiny.runs) if tiny.runs.is_dir() else {}
    with largest_file(50_000):
        sentence = refused(lambda *_: step(tool, tiny, step_name), capfd)
    assert str(tiny.folder()) in sentence
    assert "File too large; " in sentence
    assert {path: seen(tiny.runs)[path] for path in before} == before
    assert half_files(tiny.runs) == []
    assert step(tool, tiny, step_name) == 0


def test_a_disk_that_fills_up_leaves_the_last_snapshot(tool, tiny, monkeypatch, capfd):
    advance = Progress.advance

    def advance_and_fill(self, count, note=""):
        advance(self, count, note)
        if self.done == 31:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    monkeypatch.setattr(Progress, "advance", advance_and_fill)
    with largest_file(resource.RLIM_INFINITY):
        sentence = refused(tool, capfd, "train", *tiny.options, "--iterations", 70)
    assert re.search(r"cannot write .*train\.log|Could not write .*snapshot_iter_60", sentence)
    monkeypatch.undo()
    assert tool("train", *tiny.options, "--iterations", 70) == 0
    assert "resumes from iteration 30" in capfd.readouterr().out
    assert [iteration for iteration, _ in losses(tiny.folder())[-40:]] == list(range(30, 70))


def test_caffe_train_on_a_full_disk(tmp_path, monkeypatch, capfd):
    experiment(tmp_path, "SGD", "snapshot: 4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOG_minloglevel", "2")  # the log goes to a file here
    with largest_file(10_000):
        assert cli.main(["train", "-solver", "solver.prototxt"]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"caffe train: error: Could not write {tmp_path}/snap_iter_4.caffemodel: File too large."
    assert not list(tmp_path.glob("snap_*")) + half_files(tmp_path)
    assert cli.main(["train", "-solver", "solver.prototxt"]) == 0


def test_a_log_nothing_can_be_written_to(tool, tiny, capfd):
    tiny.folder().mkdir(parents=True)
    (tiny.folder() / "train.log").symlink_to("/dev/full")
    sentence = refused(tool, capfd, "train", *tiny.options)
    assert sentence == f"cannot write {tiny.folder()}/train.log: No space left on device; {FULL}"


# places that are none


@pytest.mark.parametrize("name", [*STEPS, "demo", "split_folds", "net_surgery", "plot_loss", "fetch"])
def test_output_under_a_file(name, tool, tiny, tmp_path, capfd):
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "x"
    if name in ("sentiment_maps", "make_tables", "plot_loss", "net_surgery"):
        for init in paper.INITIALISATIONS:
            made_up.five(tmp_path / "made up", init=init)
        if name in ("sentiment_maps", "net_surgery"):
            assert step(tool, tiny, "train") == 0
            assert step(tool, tiny, "evaluate") == 0
    arguments = {
        "demo": ["--out", place, "--pictures", 64],
        "split_folds": ["--data", tiny.data, "--subset", "five_agrees", "--out", place],
        "net_surgery": ["--runs", tiny.runs, "--init", "source", "--out", place],
        "plot_loss": ["--runs", tmp_path / "made up", "--out", place],
        "make_tables": ["--runs", tmp_path / "made up", "--out", place],
        "fetch": ["data", "--out", place / "deepsent", "--archive", tmp_path / "file"],
    }
    if name in arguments:
        sentence = refused(tool, capfd, name, *arguments[name])
    elif name == "sentiment_maps":
        sentence = refused(lambda *_: step(tool, tiny, name, out=place), capfd)
    else:
        sentence = refused(lambda *_: step(tool, tiny, name, runs=place), capfd)
    assert str(place) in sentence
    assert (tmp_path / "file").read_text() == "in the way"


# an image that goes while a command runs


@contextmanager
def deleted_after(monkeypatch, image, passes=1):
    """Delete an image once a command's progress has been told so often; it is back afterwards."""
    advance, content, told = Progress.advance, image.read_bytes(), []

    def advance_and_delete(self, count, note=""):
        advance(self, count, note)
        told.append(count)
        if len(told) == passes:
            image.unlink()

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "advance", advance_and_delete)
        yield
    image.write_bytes(content)


@pytest.mark.parametrize("name", ["train", "evaluate", "extract_features"])
def test_an_image_deleted_meanwhile(name, tool, tiny, monkeypatch, capfd):
    options = [*tiny.options, "--fold", 1]
    for earlier in STEPS[: STEPS.index(name)]:
        assert tool(earlier, *options) == 0
    options += {"train": ["--iterations", 40], "evaluate": [], "extract_features": ["--batch-size", 2]}[name]
    before = seen(tiny.runs) if tiny.runs.is_dir() else {}
    assert tool(name, *options) == 0
    whole = seen(tiny.runs)
    for path in whole.keys() - before.keys():
        path.unlink()
    listed = tiny.list("train" if name == "train" else "test")
    image = tiny.data / "images" / listed.read_text().splitlines()[-1].rsplit(" ", 1)[0]
    monkeypatch.setattr(inference, "AHEAD", 2)  # so that the last image is read after the first pass
    with deleted_after(monkeypatch, image, passes=32 if name == "train" else 1):
        sentence = refused(tool, capfd, name, *options)
    assert str(image) in sentence
    assert re.search(rf"line \d+ of {re.escape(str(listed))}|{re.escape(str(listed))}, line \d+", sentence)
    finished = {"train": "snapshot_iter_40.caffemodel", "evaluate": "predictions.csv", "extract_features": "grams.npz"}
    assert not (tiny.folder() / finished[name]).exists()
    assert half_files(tiny.runs) == []
    assert tool(name, *options) == 0
    if name == "train":
        assert "resumes from iteration 30" in capfd.readouterr().out
    assert seen(tiny.runs) == whole


# two at a time


def start(root, name, *arguments, **more):
    environment = {**os.environ, "PYTHONPATH": str(root / "python"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, root / "tools" / f"{name}.py", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([str(part) for part in command], env=environment, text=True, **streams)


def test_two_trainings_of_one_run_at_a_time(root, tiny, tmp_path):
    first = start(root, "train", *tiny.options, "--iterations", 30)
    wait_for_iteration(tiny.folder(), 1, first)
    first.send_signal(signal.SIGSTOP)  # it is not done before the second one comes
    second = start(root, "train", *tiny.options, "--iterations", 30)
    err = ""
    while "waiting" not in err and (line := second.stderr.readline()):
        err += line
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=300)
    out, _ = second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (0, 0)
    waiting = f"{tiny.folder()} is in use (process {first.pid} on "
    assert waiting in err
    assert "training); waiting for it to end" in err
    assert "already done" in out
    assert [iteration for iteration, _ in losses(tiny.folder())] == list(range(30))


# losses that are NaN

RATE = 100000


def test_a_loss_that_is_nan_stops_the_training(tool, tiny, capfd):
    sentence = refused(tool, capfd, "train", *tiny.options, "--base-lr", RATE)
    assert re.fullmatch(
        r"five_agrees fold 1, finetune from source: .* nan at iteration \d, with a base_lr of 100000 "
        r"\(.* no snapshot yet\); .*SET='base_lr=10000' VARIANT=lr10000.*mean.*",
        sentence,
    )
    assert not list(tiny.folder().glob("snapshot*"))
    assert tool("evaluate", *tiny.options) == 2
    assert tool("train", *tiny.options, "--set", "base_lr=0.00001", "--variant", "slower") == 0


def test_the_last_good_snapshot_stays(tool, tiny, monkeypatch, capfd):
    advance = Progress.advance

    def advance_and_spoil(self, count, note=""):
        advance(self, count, note)
        if self.done == 59:  # so that the snapshot at 60 is of spoilt weights
            sys._getframe(1).f_locals["solver"].net.params["fc7"][0].data[0, 0] = float("nan")

    monkeypatch.setattr(Progress, "advance", advance_and_spoil)
    sentence = refused(tool, capfd, "train", *tiny.options, "--iterations", 70)
    assert "at iteration 59, " in sentence
    assert "snapshot of iteration 30" in sentence
    assert {path.name.split(".")[0] for path in tiny.folder().glob("snapshot*")} == {"snapshot_iter_30"}
    monkeypatch.undo()
    assert tool("train", *tiny.options, "--iterations", 70) == 0
    assert "resumes from iteration 30" in capfd.readouterr().out


def test_a_diverged_training_that_is_kept_is_a_result(tool, tiny, tmp_path, capfd):
    assert tool("train", *tiny.options, "--base-lr", RATE, "--keep-diverged") == 0
    assert "diverged, the loss is nan; kept as a result" in capfd.readouterr().err
    assert tool("evaluate", *tiny.options) == 0
    negative = [label for line in tiny.list("test").read_text().splitlines() if (label := line[-1]) == "0"]
    assert read_json(tiny.folder() / "result.json")["accuracy"]["center"] == len(negative) / 5
    assert tool("make_tables", "--runs", tiny.runs, "--out", tmp_path / "out", "--report") == 0
    assert "fold 1 diverged" in (tmp_path / "out" / "tiny" / "runs.md").read_text()


# signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", ["evaluate", "extract_features", "analyze_layers", "sentiment_maps"])
def test_a_signal_ends_a_command_and_called_again_it_does_the_rest(name, number, tool, tiny, monkeypatch, capfd):
    for earlier in STEPS[: STEPS.index(name)]:
        assert step(tool, tiny, earlier) == 0
    advance = Progress.advance

    def advance_and_signal(self, count, note=""):
        advance(self, count, note)
        os.kill(os.getpid(), number)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "advance", advance_and_signal)
        capfd.readouterr()
        assert step(tool, tiny, name) == 128 + number
    said = capfd.readouterr().err
    by = "" if number == signal.SIGINT else f" by {number.name}"
    assert f": interrupted{by}; " in said.splitlines()[-1]
    assert "Traceback" not in said
    assert half_files(tiny.runs) == []
    assert step(tool, tiny, name) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_of_the_demo(number, root, tmp_path):
    """As a terminal sends Ctrl-C: to the command and to those it has draw."""
    demo = tmp_path / "demo"
    process = start(root, "demo", "--out", demo, start_new_session=True)
    while process.poll() is None and not list(demo.glob(".images.*.part/*.jpg")):
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert half_files(demo) == []
    assert not (demo / "images").exists()


@pytest.mark.slow
def test_a_closed_terminal(root, tiny):
    """The training ends with a snapshot though there is nobody to tell."""
    ours, theirs = pty.openpty()
    attach = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    training = [sys.executable, root / "tools" / "train.py", *tiny.options, "--iterations", 10000]
    process = subprocess.Popen(
        [sys.executable, "-c", attach, *map(str, training)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(theirs)
    wait_for_iteration(tiny.folder(), 3, process)
    os.close(ours)
    assert process.wait(timeout=300) == 128 + signal.SIGHUP
    assert [path.suffix for path in tiny.folder().glob("snapshot_iter_*.solverstate")] == [".solverstate"]


# runs of an earlier version, data that is missing


@pytest.mark.parametrize("name", ["evaluate", "extract_features"])
def test_a_run_of_an_older_form(name, tool, tiny, capfd):
    assert step(tool, tiny, "train") == 0
    path = tiny.folder() / "run.json"
    lacking = "variant" if name == "evaluate" else "mean_image"
    path.write_text(json.dumps({key: value for key, value in read_json(path).items() if key != lacking}))
    sentence = refused(tool, capfd, name, *tiny.options, "--fold", 1)
    assert str(path) in sentence and lacking in sentence and "tools/train.py" in sentence


def test_a_run_of_an_older_form_hides_no_other_from_the_web_page(tool, tiny):
    assert tool("train", *tiny.options, "--fold", 1, 2) == 0
    path = tiny.folder(2) / "run.json"
    path.write_text(json.dumps({key: value for key, value in read_json(path).items() if key != "demo"}))
    assert [net.run.fold for net in network.find(tiny.runs)] == [1]


def test_the_web_page_tells_equal_nets_of_two_folders_of_runs_apart(tool, tiny):
    assert tool("train", *tiny.options, "--iterations", 1) == 0
    [alone] = network.find(tiny.runs)
    assert alone.group == "tiny, five-agree"
    shutil.copytree(tiny.runs, tiny.runs / "quick")
    both = network.find(tiny.runs)
    assert {net.title for net in both} == {alone.title}
    assert {net.group for net in both} == {
        f"tiny, five-agree, in {tiny.runs}",
        f"tiny, five-agree, in {tiny.runs}/quick",
    }


def test_a_web_page_without_its_pictures_says_so(tool, tmp_path, capfd):
    assert tool("serve", "--runs", tmp_path, "--data", tmp_path / "nowhere") == 2
    assert f"DATA: no folder {tmp_path / 'nowhere'}, so no gallery of its images\n" in capfd.readouterr().err


def test_the_page_of_troubles_has_the_sentences(root):
    """The table quotes messages in part; "…" stands for what differs."""
    page = (root / "docs" / "howto" / "troubleshooting.md").read_text()
    code = "".join(path.read_text() for folder in ("tools", "python") for path in sorted((root / folder).rglob("*.py")))
    code = re.sub(r'"\n\s*f?"', "", code)
    rows = re.findall(r"^\| “(.*?)”", page, re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        of_system = [os.strerror(number) for number in (errno.ENOSPC, errno.EFBIG, errno.ENOTDIR)]
        for part in re.split("…|: (?=[A-Z])|; ", row):
            assert part.strip(" :()") in code or part in of_system, part
