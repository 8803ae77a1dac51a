"""Results: what a file must hold, how many become one."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import made_up
from sentiment.engine import Environment
from sentiment.evaluation import results
from sentiment.names import score
from sentiment.utils.errors import UserError


def result(**changes):
    return made_up.result(1, 0.8) | changes


def test_a_result_comes_back(tmp_path):
    found = results.Result.from_json(result(), "made up")
    results.write(tmp_path / "result.json", found)
    assert results.read(tmp_path / "result.json") == found
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["choices"].items() >= result()["choices"].items()
    assert {**written, "choices": {}}.items() >= {**result(), "choices": {}}.items()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fold": "1"}, "fold must be int, not '1'"),
        ({"fold": True}, "fold must be int, not True"),
        ({"seed": None}, "seed must be int, not None"),
        ({"accuracy": {"center": 0.8}}, "accuracy must have center and oversampled"),
        ({"accuracy": {"center": 80, "oversampled": 81}}, "between 0 and 1"),
    ],
)
def test_wrong_results_are_refused(tmp_path, changes, sentence):
    (tmp_path / "result.json").write_text(json.dumps(result(**changes)))
    with pytest.raises(UserError, match=sentence) as refused:
        results.read(tmp_path / "result.json")
    assert str(tmp_path / "result.json") in str(refused.value)


def test_collect_finds_and_sorts(tmp_path):
    for subset in ("three_agrees", "five_agrees"):
        for fold in (2, 1):
            made_up.run(tmp_path, fold, subset=subset)
    found = results.collect(tmp_path)
    assert [(one.config.subset, one.config.fold) for one in found] == [
        ("five_agrees", 1),
        ("five_agrees", 2),
        ("three_agrees", 1),
        ("three_agrees", 2),
    ]
    assert found[0].folder == tmp_path / "five_agrees" / "finetune-caffenet" / "fold1"
    assert results.collect(tmp_path / "absent") == []


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_deviation_is_numpys(values):
    assert np.allclose(results.mean_std(values), (np.mean(values), np.std(values)), atol=1e-9)
    assert np.allclose(results.mean_std(values, sample=True), (np.mean(values), np.std(values, ddof=1)), atol=1e-9)


def test_one_fold_has_a_mean_and_no_sample_deviation():
    assert results.mean_std([0.8]) == (0.8, 0.0)
    assert results.mean_std([0.8], sample=True) == (0.8, None)


def test_scores_are_printed_as_in_the_paper():
    assert score(0.817, 0.038) == ".817±.038"
    assert score(0.783) == ".783"
    assert score(1.0, 0.0) == "1.000±.000"


def test_a_result_of_the_first_version_is_read(tmp_path):
    old = result(seed=7, engine={"name": "pixels-to-sentiment", "version": "1.0.0"})
    old["versions"] = {"torch": "2.13.0", "products": "bf16"}
    for key in ("fold_seed", "training", "evaluation"):
        del old[key]
    del old["choices"]["precision"]
    (tmp_path / "result.json").write_text(json.dumps(old))
    read = results.read(tmp_path / "result.json")
    assert (read.config.seed, read.config.fold_seed, read.training) == (7, 7, ())
    assert read.config.precision == "bf16"
    environment = Environment("pixels-to-sentiment 1.0.0", precision="bf16", versions={"torch": "2.13.0"})
    assert read.evaluation == environment
    for key in ("engine", "choices"):
        (tmp_path / "result.json").write_text(json.dumps({**old, key: "x"}))
        with pytest.raises(UserError, match=r"result\.json"):
            results.read(tmp_path / "result.json")
