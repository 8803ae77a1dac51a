"""tools/demo.py: data and source model from nothing, and (slow) that they are a real task."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

import caffe
from sentiment import paper
from sentiment.demo import drawn, training
from sentiment.evaluation import results
from sentiment.utils.progress import Progress

SMALL = ["--pictures", 64, "--iterations", 2]


def test_it_makes_a_data_set_and_a_source_model_once(tool, tmp_path, capsys):
    demo = tmp_path / "demo"
    assert tool("demo", "--out", demo, *SMALL) == 0
    assert len(list((demo / "images").iterdir())) == 1269
    for subset, count in paper.LABELLED_IMAGES.items():
        lines = (demo / f"twitter_{subset}.txt").read_text().splitlines()
        assert len(lines) == count
        assert all((demo / "images" / line.split()[0]).is_file() for line in lines)
    assert yaml.safe_load((demo / "dataset.yaml").read_text())["demo"] is True
    weights = demo / "models" / "drawn_concepts.caffemodel"
    model = caffe.io.caffe_pb2.NetParameter.FromString(weights.read_bytes())
    last = model.layer[[layer.name for layer in model.layer].index("fc8")]
    assert last.blobs[0].shape.dim[0] == len(drawn.CONCEPTS)
    assert all(np.isfinite(blob.data).all() for layer in model.layer for blob in layer.blobs)

    def times():
        return {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.is_file()}

    before = times()
    capsys.readouterr()
    assert tool("demo", "--out", demo, *SMALL) == 0
    assert times() == before
    assert "about" not in capsys.readouterr().out

    assert tool("demo", "--out", demo, *SMALL, "--seed", 1) == 2
    assert "made with other options" in capsys.readouterr().err


def test_a_stopped_training_resumes_to_the_same_weights(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = Path("demo")
    options = ["--out", demo, "--pictures", 64, "--iterations", 4]
    weights = demo / "models" / training.SOURCE
    assert tool("demo", *options) == 0
    expected = weights.read_bytes()
    weights.unlink()
    advance = Progress.advance

    def advance_and_interrupt(self, count, note=""):
        advance(self, count, note)
        if note and self.done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "advance", advance_and_interrupt)
        assert tool("demo", *options) == 130
    assert (demo / "source" / "snapshot_iter_2.solverstate").is_file() and not weights.exists()
    assert tool("demo", *options) == 0
    assert weights.read_bytes() == expected
    assert not list((demo / "source").glob("snapshot*"))


@pytest.mark.slow
def test_it_is_a_real_task(tool, tmp_path):
    """Fine-tuning solves it, the same net from scratch does not, disagreement makes it harder, more crops easier."""
    demo, runs = tmp_path / "demo", tmp_path / "runs"
    where = ["--data", demo, "--splits", tmp_path / "splits"]
    assert tool("demo", "--out", demo) == 0
    assert tool("demo_sources", "--data", demo, "--init", "caffenet") == 0
    assert tool("split_folds", "--data", demo, "--subset", "all", "--out", tmp_path / "splits") == 0
    for init, subset in (("caffenet", "all"), ("scratch", "five_agrees")):
        which = [*where, "--runs", runs, "--subset", subset, "--fold", "all", "--init", init]
        assert tool("train", *which) == 0
        assert tool("evaluate", *which) == 0

    def mean(subset, init, way):
        found = [one for one in results.collect(runs) if (one.config.subset, one.config.init) == (subset, init)]
        assert len(found) == 5
        return np.mean([one.accuracy[way] for one in found])

    for way in results.WAYS:
        five, four, three = (mean(subset, "caffenet", way) for subset in paper.SUBSETS)
        assert 0.75 <= five <= 0.90
        assert five > four > three
        assert five >= mean("five_agrees", "scratch", way) + 0.05
    for subset in paper.SUBSETS:
        assert mean(subset, "caffenet", "oversampled") >= mean(subset, "caffenet", "center")
