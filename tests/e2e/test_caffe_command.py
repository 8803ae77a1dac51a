"""The ``caffe`` command against the logs that BVLC Caffe's own command wrote on the same files."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FILES = Path(__file__).resolve().parent.parent / "conformance" / "files"
PREFIX = re.compile(r"^[IWEF]\d{8} \d\d:\d\d:\d\d\.\d{6} +\d+ (\S+?):\d+\] ")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def caffe(folder, *args, env=None):
    return subprocess.run(
        [sys.executable, "-m", "caffe.cli", *args], cwd=folder, capture_output=True, text=True, env=env, timeout=300
    )


def lines_from(log, start):
    """Messages from the first that contains ``start``, without prefix, speeds and waiting."""
    messages = [PREFIX.sub("", line) for line in log.splitlines() if PREFIX.match(line)]
    first = next(i for i, message in enumerate(messages) if start in message)
    kept = (m for m in messages[first:] if "Waiting for data" not in m)
    return [re.sub(r" \(\S+ iter/s, \S+s/\d+ iters\)", "", message) for message in kept]


def same_lines(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, reference in zip(ours, theirs):
        assert NUMBER.sub("#", mine) == NUMBER.sub("#", reference)
        np.testing.assert_allclose(
            [float(n) for n in NUMBER.findall(mine)],
            [float(n) for n in NUMBER.findall(reference)],
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.fixture
def folder(tmp_path):
    """A copy of the measured files without the snapshots training is to make."""
    shutil.copytree(FILES, tmp_path / "files")
    for path in (tmp_path / "files").glob("tiny_iter_6.*"):
        path.unlink()
    return tmp_path / "files"


def test_train_follows_the_measured_log(folder):
    done = caffe(folder, "train", "-solver", "solver.prototxt")
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = lines_from((FILES / "caffe_train.log").read_text(), "Starting Optimization")
    same_lines(lines_from(done.stderr, "Starting Optimization"), theirs)
    for name in (
        "tiny_iter_6.caffemodel",
        "tiny_iter_6.solverstate",
        "tiny_iter_12.caffemodel",
        "tiny_iter_12.solverstate",
    ):
        assert (folder / name).stat().st_size == pytest.approx((FILES / name).stat().st_size, rel=0.01)


def test_test_follows_the_measured_log(folder):
    done = caffe(
        folder, "test", "-model", "train_val.prototxt", "-weights", "tiny_iter_12.caffemodel", "-iterations", "2"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = lines_from((FILES / "caffe_test.log").read_text(), "Running for")
    same_lines(lines_from(done.stderr, "Running for"), theirs)


def test_time_prints_the_lines_of_the_measured_log(folder):
    done = caffe(folder, "time", "-model", "train_val.prototxt", "-iterations", "5")
    assert done.returncode == 0, done.stderr[-2000:]

    def shape(log):
        return [NUMBER.sub("#", line) for line in lines_from(log, "Benchmark begins")]

    assert shape(done.stderr) == shape((FILES / "caffe_time.log").read_text())


def test_resumes_from_the_measured_state(folder):
    for suffix in ("caffemodel", "solverstate"):
        shutil.copy(FILES / f"tiny_iter_6.{suffix}", folder)
    done = caffe(folder, "train", "-solver", "solver.prototxt", "-snapshot", "tiny_iter_6.solverstate")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "random streams and data positions start anew" in done.stderr
    assert "Iteration 6, loss" in "\n".join(lines_from(done.stderr, "Resuming from"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["train"], "solver"),
        (["train", "-solver", "absent.prototxt"], "absent.prototxt"),
        (["train", "-solver", "solver.prototxt", "-weights", "absent.caffemodel"], "absent.caffemodel"),
        (["train", "-solver", "solver.prototxt", "-weights", "a", "-snapshot", "b"], "not both"),
        (["test", "-model", "train_val.prototxt"], "weights"),
        (["test", "-model", "train.txt", "-weights", "tiny_iter_12.caffemodel"], "train.txt"),
        (["device_query"], "CUDA"),
    ],
)
def test_errors_are_one_sentence_and_status_2(folder, args, said):
    done = caffe(folder, *args)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert "error:" in last and said in last
    assert "Traceback" not in done.stderr
