"""Results: what a file must hold, how many become one."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.evaluation import results
from sentiment.utils.errors import UserError


def result(**changes):
    return {
        "dataset": "deepsent",
        "demo": False,
        "subset": "five_agrees",
        "arch": "finetune",
        "init": "caffenet",
        "fold": 1,
        "seed": 0,
        "accuracy": {"center": 0.8, "oversampled": 0.81},
        "test_images": 176,
        "iterations": 180,
        "fold_seed": 0,
        "training": [],
        "evaluation": {},
        "hashes": {},
        "choices": {},
    } | changes


def test_a_result_comes_back(tmp_path):
    results.write(tmp_path / "result.json", result())
    assert results.read(tmp_path / "result.json") == result()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fold": "1"}, "fold must be int, not '1'"),
        ({"fold": True}, "fold must be int, not True"),
        ({"seed": None}, "seed must be int, not None"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"accuracy": {"center": 0.8}}, "accuracy must have center and oversampled"),
        ({"accuracy": {"center": 80, "oversampled": 81}}, "between 0 and 1"),
    ],
)
def test_half_or_wrong_results_are_not_written(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        results.write(tmp_path / "result.json", result(**changes))
    assert not (tmp_path / "result.json").exists()


def test_collect_finds_sorts_and_filters(tmp_path):
    for subset in ("three_agrees", "five_agrees"):
        for fold in (2, 1):
            results.write(tmp_path / subset / f"fold{fold}" / "result.json", result(subset=subset, fold=fold))
    rows = results.collect(tmp_path)
    assert [(row["subset"], row["fold"]) for row in rows] == [
        ("five_agrees", 1),
        ("five_agrees", 2),
        ("three_agrees", 1),
        ("three_agrees", 2),
    ]
    assert rows[0]["path"] == tmp_path / "five_agrees" / "fold1" / "result.json"
    assert [row["fold"] for row in results.collect(tmp_path, subset="five_agrees")] == [1, 2]
    assert results.collect(tmp_path / "absent") == []


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_deviation_is_numpys(values):
    assert np.allclose(results.mean_std(values), (np.mean(values), np.std(values)), atol=1e-9)
    assert np.allclose(results.mean_std(values, sample=True), (np.mean(values), np.std(values, ddof=1)), atol=1e-9)


def test_one_fold_has_a_mean_and_no_sample_deviation():
    assert results.mean_std([0.8]) == (0.8, 0.0)
    assert results.mean_std([0.8], sample=True) == (0.8, None)


def test_scores_are_printed_as_in_the_paper():
    assert results.score(0.817, 0.038) == ".817±.038"
    assert results.score(0.783) == ".783"
    assert results.score(1.0, 0.0) == "1.000±.000"


@given(p=st.floats(0, 1, width=32))
def test_predictions_keep_every_float32(p, tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    rows = [("a, b.jpg", 1, p, 1 - p)]
    results.write_predictions(path, rows)
    ((image, label, center, crops),) = results.read_predictions(path)
    assert (image, label, np.float32(center)) == ("a, b.jpg", 1, np.float32(p))
    assert math.isclose(crops, 1 - p, rel_tol=1e-8, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,label\n", "line 1: expected the header image,label,positive_center,positive_10crop"),
        (
            "image,label,positive_center,positive_10crop\na,1,0.5,0.5\nb,1,0.5\n",
            "line 3: expected image,label,probability",
        ),
        ("image,label,positive_center,positive_10crop\na,x,0.5,0.5\n", "line 2: expected image,label,probability"),
    ],
)
def test_wrong_predictions_are_named_by_line(tmp_path, text, sentence):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        results.read_predictions(path)


def test_a_result_of_the_first_version_is_read(tmp_path):
    old = result(seed=7, engine={"name": "pixels-to-sentiment", "version": "1.0.0"})
    old["versions"] = {"torch": "2.13.0", "products": "bf16"}
    for key in ("fold_seed", "training", "evaluation"):
        del old[key]
    (tmp_path / "result.json").write_text(json.dumps(old))
    read = results.read(tmp_path / "result.json")
    assert (read["seed"], read["fold_seed"], read["training"]) == (7, 7, [])
    assert read["choices"] == {**old["choices"], "precision": "bf16"}
    assert read["evaluation"] == {
        "engine": "pixels-to-sentiment 1.0.0", "precision": "bf16", "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    for key in ("engine", "choices"):
        (tmp_path / "result.json").write_text(json.dumps({**old, key: "x"}))
        with pytest.raises(UserError, match=r"result\.json is not a whole result"):
            results.read(tmp_path / "result.json")
