"""tools/train_weak.py and --weak as a user runs them: the steps, what they leave, and folds that start from them."""

import json
import os
import signal

import pytest

from helpers import toy
from helpers.commands import refused
from sentiment.data import lists
from sentiment.evaluation import predictions
from sentiment.training import weak
from sentiment.utils.files import sha256
from sentiment.utils.progress import Progress


@pytest.fixture
def flickr(tiny):
    """A folder of weakly labelled pictures beside the tiny experiment, and the folder of its trainings."""
    toy.weak_set(tiny.data.parent / "flickr")
    tiny.weak, tiny.out = tiny.data.parent / "flickr", tiny.runs / "weak" / "flickr"
    tiny.train_weak = ["train_weak", "--weak", tiny.weak, "--runs", tiny.runs]
    tiny.of_fold = ["--data", tiny.data, "--splits", tiny.splits, "--runs", tiny.runs, "--arch", "pcnn"]
    return tiny


def test_the_steps_and_the_folds_that_start_from_them(tool, flickr, capfd):
    assert tool(*flickr.train_weak) == 0
    said = capfd.readouterr().out
    scores = [one.center for one in predictions.read(flickr.out / "predictions.csv")]
    listed = lists.read(flickr.weak / "list.txt")
    kept = [listed[index] for index in weak.kept(scores, seed=1701)]
    assert 2 <= len(kept) < len(listed) == 25 and f"{len(kept)} of 25 pictures kept" in said
    assert lists.read(flickr.out / "plain" / "train.txt") == listed
    assert lists.read(flickr.out / "progressive" / "train.txt") == kept
    assert "taken over: conv1 conv2 fc3 fc4 fc5 fc6_twitter\n" in said
    assert tool(*flickr.train_weak) == 0
    assert "already done" in capfd.readouterr().out

    plain = flickr.out / "flickr-plain.caffemodel"
    for start, init, count in (
        (["--weak", flickr.weak], "flickr-progressive", len(kept)), (["--init", plain], "flickr-plain", None),
    ):  # fmt: skip
        assert tool("train", *flickr.of_fold, *start) == 0
        assert tool("evaluate", *flickr.of_fold, *start) == 0
        folder = flickr.folder(arch="pcnn", init=init)
        for name in "run.json", "result.json":
            found = json.loads((folder / name).read_text())
            listed_as = sha256(flickr.weak / "list.txt")
            assert found["weak"] == {"name": "flickr", "pictures": 25, "kept": count, "list": listed_as}
        assert tool("evaluate", *flickr.of_fold, "--init", init) == 0  # by its name, when the folder is gone
        assert "already done" in capfd.readouterr().out


def test_without_weak_labels_pcnn_starts_from_scratch(tool, flickr, capfd):
    assert tool("train", *flickr.of_fold, "--iterations", 2) == 0
    assert tool("evaluate", *flickr.of_fold) == 0
    recorded = json.loads((flickr.folder(arch="pcnn", init="scratch") / "result.json").read_text())
    assert (recorded["init"], recorded["hashes"]["source"]) == ("scratch", None) and "weak" not in recorded


@pytest.mark.parametrize("at", ["plain step", "testing", "progressive step"])
def test_a_step_that_was_stopped_is_resumed(tool, flickr, capfd, monkeypatch, at):
    assert tool(*flickr.train_weak) == 0
    uninterrupted = {path.name: path.read_bytes() for path in flickr.out.iterdir() if path.is_file()}
    flickr.out.rename(flickr.out.with_name("before"))
    advance = Progress.advance

    def advance_and_stop(self, count, note=""):
        advance(self, count, note)
        if at in self.what and self.done in (7, self.total) and not stopped:
            stopped.append(self.done)
            os.kill(os.getpid(), signal.SIGINT)

    stopped: list[int] = []
    monkeypatch.setattr(Progress, "advance", advance_and_stop)
    assert tool(*flickr.train_weak) == 128 + signal.SIGINT and stopped
    assert not (flickr.out / "flickr-progressive.caffemodel").exists()
    capfd.readouterr()
    assert tool(*flickr.train_weak) == 0
    assert ("resumes from iteration 7" in capfd.readouterr().out) == ("step" in at)
    for name in "flickr-plain.caffemodel", "flickr-progressive.caffemodel", "predictions.csv":
        assert (flickr.out / name).read_bytes() == uninterrupted[name]


def test_what_cannot_be_trained_is_refused(tool, flickr, capfd):
    assert "ARCH=pcnn" in refused(tool, capfd, "train", *flickr.options[:-2], "--weak", flickr.weak)
    both = ["train", *flickr.of_fold, "--weak", flickr.weak, "--init", flickr.source]
    assert "WEAK" in refused(tool, capfd, *both) and "INIT" in refused(tool, capfd, *both)
    early = refused(tool, capfd, "train", *flickr.of_fold, "--weak", flickr.weak)
    assert "train_weak" in early
    assert "list.txt" in refused(tool, capfd, "train_weak", "--weak", flickr.data, "--runs", flickr.runs)
    (flickr.weak / "dataset.yaml").write_text("channels_divisor: 16\nbase_lr: 1.0e-9\niterations: 1\nname: flickr\n")
    assert "more iterations" in refused(tool, capfd, *flickr.train_weak)
