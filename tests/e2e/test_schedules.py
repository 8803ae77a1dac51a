"""benchmarks/schedules.py: every candidate on inner splits of the training lists, the best one named, nothing twice."""

import importlib.util
import re

import pytest

from sentiment import paper
from sentiment.data import folds


@pytest.fixture
def search(root, tiny, tmp_path, capfd):
    """Call the script on the tiny data; returns what it printed."""
    spec = importlib.util.spec_from_file_location("schedules", root / "benchmarks" / "schedules.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def call(*more):
        where = tmp_path / "search", "--data", tiny.data, "--splits", tiny.splits, "--arch", "finetune"
        script.main([str(word) for word in (*where, "--init", tiny.source, "--batch-size", 4, *more)])
        return capfd.readouterr().out

    return call


def test_candidates_are_tried_on_inner_splits_and_sorted(search, tiny, tmp_path):
    said = search("--grid", "base_lr=1e-6,1e-5", "new_lr_mult=3", "iterations=3", "--jobs", 2)
    rows = [line.split("|")[1:-1] for line in said.splitlines() if re.match(r"\| 1e-", line)]
    assert [row[0].strip() for row in rows] in (["1e-6", "1e-5"], ["1e-5", "1e-6"])
    assert float(rows[0][-2]) <= float(rows[1][-2])  # the log loss
    best = rows[0][0].strip()
    assert f"best: base_lr={best} new_lr_mult=3 iterations=3 stepsize=2 new_bias_lr_mult=6" in said
    for fold in paper.FOLDS:
        outer = folds.read(tiny.splits, "tiny", "five_agrees", fold)
        inner = folds.read(tmp_path / "search" / "splits", "tiny", "five_agrees", fold)
        assert {*inner.train, *inner.test} <= {*outer.train}
        assert not {*inner.train} & {*inner.test} and not {*inner.test} & {*outer.test}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.caffemodel")}
    assert len(before) == 2 * len(paper.FOLDS)
    assert search("--grid", "base_lr=1e-6,1e-5", "new_lr_mult=3", "iterations=3").count("done: ") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
