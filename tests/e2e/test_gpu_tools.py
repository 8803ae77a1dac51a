"""Training, testing and sentiment maps on a card, by the tools."""

import csv
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.gpu


def predictions(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return [[float(row["positive_center"]), float(row["positive_10crop"])] for row in csv.DictReader(file)]


def test_a_card_tells_of_a_net_what_the_cpu_tells(tool, tiny, tmp_path, on_gpu):
    assert tool("train", *tiny.options) == 0
    answers, maps = [], []
    for name, gpu in (("cpu", []), ("card", ["--gpu", 0])):
        if gpu:
            on_gpu()  # the tools choose the card by themselves; this lets a rehearsal's stand-in be found
        runs = shutil.copytree(tiny.runs, tmp_path / name)
        assert tool("evaluate", *tiny.options, "--runs", runs, *gpu) == 0
        which = ["--data", tiny.data, "--runs", runs, "--init", tiny.source, "--out", tmp_path / f"{name} results"]
        assert tool("sentiment_maps", *which, "--fold", 1, *gpu) == 0
        answers.append(predictions(runs / tiny.folder().relative_to(tiny.runs)))
        maps.append({path.name: np.load(path) for path in runs.rglob("*.npy")})
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    assert maps[0] and maps[0].keys() == maps[1].keys()
    for image, expected in maps[0].items():
        np.testing.assert_allclose(maps[1][image], expected, atol=1e-5)


def test_a_training_on_a_card_is_repeated_bit_for_bit(tool, tiny, tmp_path, on_gpu):
    on_gpu()
    weights = []
    for name in ("first", "second"):
        assert tool("train", *tiny.options, "--runs", tmp_path / name, "--gpu", 0) == 0
        weights.append(
            (tmp_path / name / tiny.folder().relative_to(tiny.runs) / "snapshot_iter_6.caffemodel").read_bytes()
        )
    assert weights[0] == weights[1]
