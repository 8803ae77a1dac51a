"""tools/predict.py as a user runs it."""

import re
from dataclasses import astuple

import cv2
import numpy as np
import pytest

from helpers.commands import refused
from sentiment.data import image_files
from sentiment.evaluation import predictions


@pytest.fixture
def tested(tool, tiny):
    assert tool("train", *tiny.options, "--iterations", 2) == 0
    assert tool("evaluate", *tiny.options) == 0
    return tiny


def predict(tested, *more):
    return ["predict", "--runs", tested.runs, "--init", tested.source, *more]


def test_it_says_what_evaluate_found_and_draws_the_map_of_sentiment_maps(tool, tested, capfd, tmp_path):
    rows = [astuple(one) for one in predictions.read(tested.folder() / "predictions.csv")]
    images = [tested.data / "images" / row[0] for row in rows]
    out = tmp_path / "out"
    capfd.readouterr()
    assert tool(*predict(tested, *images, "--map", "--out", out)) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2 * len(rows)
    for image, row, line, path in zip(images, rows, lines[::2], lines[1::2]):
        found = re.fullmatch(
            r"(.*): (\w+), P\(positive\) (\S+) \((\d+) of 10 crops agree, (\S+) to (\S+); centre crop (\S+)\)", line
        )
        assert found[1] == str(image)
        assert found[2] == ("positive" if row[3] > 0.5 else "negative")
        assert (found[7], found[3]) == (f"{row[2]:.3f}", f"{row[3]:.3f}")
        assert float(found[5]) <= row[3] <= float(found[6])
        assert path.strip() == str(out / f"{image.name}_map.png")
    assert tool("sentiment_maps", "--data", tested.data, "--runs", tested.runs, "--init", tested.source,
                "--images", rows[0][0], "--out", tmp_path / "results") == 0  # fmt: skip
    np.testing.assert_array_equal(
        image_files.load(out / f"{rows[0][0]}_map.png"),
        image_files.load(tested.folder() / "maps" / f"{rows[0][0]}.png"),
    )


def test_any_net_and_weights(tool, tested, capfd):
    image = tested.data / "images" / "picture 3.jpg"
    of_run = tool(*predict(tested, image)), capfd.readouterr().out
    files = [
        "--model",
        tested.folder() / "deploy.prototxt",
        "--weights",
        tested.folder() / "snapshot_iter_2.caffemodel",
    ]
    assert (tool("predict", image, *files), capfd.readouterr().out.splitlines()) == (0, of_run[1].splitlines()[-1:])
    assert tool("predict", image, *files, "--mean", "0,0,0") == 0
    assert capfd.readouterr().out != of_run[1]


def test_one_bad_image_does_not_end_the_others(tool, tested, capfd, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"none")
    good = [tested.data / "images" / f"picture {number}.jpg" for number in (1, 2)]
    named = ["--runs", tested.runs, "--init", "source"]
    capfd.readouterr()
    assert tool("predict", good[0], tmp_path / "bad.jpg", good[1], *named) == 2
    said = capfd.readouterr()
    assert [line.split(": ")[0] for line in said.out.splitlines()] == [str(path) for path in good]
    assert said.err.count("error: ") == 1 and f"{tmp_path}/bad.jpg" in said.err


def test_what_cannot_be_predicted_is_a_sentence(tool, tested, capfd, tmp_path):
    image = tested.data / "images" / "picture 3.jpg"
    assert "fold2 holds no finished training" in refused(tool, capfd, *predict(tested, image, "--fold", 2))
    (tmp_path / "a.txt").write_text("a text")
    assert "a.txt is not a JPEG, PNG or WebP" in refused(tool, capfd, *predict(tested, tmp_path / "a.txt"))
    assert "nowhere.jpg" in refused(tool, capfd, *predict(tested, tmp_path / "nowhere.jpg"))
    cv2.imwrite(str(tmp_path / image.name), np.zeros((9, 9, 3), np.uint8))
    assert "another --out" in refused(tool, capfd, *predict(tested, image, tmp_path / image.name, "--map"))
    model = tmp_path / "deploy.prototxt"
    model.write_text((tested.folder() / "deploy.prototxt").read_text().replace("fc8_twitter", "fc8").replace(
        "num_output: 2\n", "num_output: 5\n"))  # fmt: skip
    assert "5 outputs" in refused(tool, capfd, "predict", image, "--model", model, "--weights", tested.source)
