"""tools/evaluate.py and tools/make_tables.py as a user runs them."""

import csv
import json
import shutil

import numpy as np
import pytest

import caffe
from sentiment.evaluation import results
from sentiment.names import score
from sentiment.utils.files import read_json, write_json


@pytest.fixture
def trained(tool, tiny):
    assert tool("train", *tiny.options, "--fold", 1, 2) == 0
    return tiny


def predictions(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_and_result(tool, trained, capfd):
    assert tool("evaluate", *trained.options) == 0
    folder = trained.folder()
    rows, result = predictions(folder), json.loads((folder / "result.json").read_text())
    listed = [line.rsplit(" ", 1) for line in trained.list("test").read_text().splitlines()]
    assert [[row["image"], row["label"]] for row in rows] == listed

    classifier = caffe.Classifier(
        str(folder / "deploy.prototxt"), str(folder / "snapshot_iter_6.caffemodel"), image_dims=(256, 256),
        mean=np.array([104.00698793, 116.66876762, 122.67891434]), raw_scale=255, channel_swap=(2, 1, 0),
    )  # fmt: skip
    images = [caffe.io.load_image(str(trained.data / "images" / name)) for name, _ in listed]
    for column, oversample in ("positive_center", False), ("positive_10crop", True):
        expected = classifier.predict(images, oversample)[:, 1]
        np.testing.assert_allclose([float(row[column]) for row in rows], expected, atol=1e-6)
        right = np.mean((expected > 0.5) == [label == "1" for _, label in listed])
        assert result["accuracy"]["oversampled" if oversample else "center"] == pytest.approx(right)
    assert (result["fold"], result["arch"], result["init"], result["iterations"]) == (1, "finetune", "source", 6)
    assert set(result["hashes"]) == {"weights", "source", "mean_file", "train_list", "test_list"}
    assert result["choices"]["weight_decay"] == 0.0005
    assert read_json(folder / "result.json") == result


def test_a_result_is_kept_until_the_weights_change(tool, trained, capfd):
    assert tool("evaluate", *trained.options, "--fold", 1) == 0
    written = (trained.folder() / "result.json").stat().st_mtime_ns
    assert tool("evaluate", *trained.options, "--fold", 1, 2) == 0
    assert "already done" in capfd.readouterr().out
    assert (trained.folder() / "result.json").stat().st_mtime_ns == written
    shutil.copy(trained.folder(2) / "snapshot_iter_6.caffemodel", trained.folder(1))
    assert tool("evaluate", *trained.options, "--fold", 1) == 0
    assert (trained.folder() / "result.json").stat().st_mtime_ns > written
    (trained.folder() / "snapshot_iter_6.caffemodel").unlink()
    capfd.readouterr()
    assert tool("evaluate", *trained.options, "--fold", 1) == 0
    assert "already done" in capfd.readouterr().out


def test_a_repeated_training_is_tested_again_though_the_weights_are_the_same(tool, trained, capfd):
    assert tool("evaluate", *trained.options, "--fold", 1) == 0
    run = trained.folder() / "run.json"
    identity = read_json(run)
    identity["training"][0]["commit"] = "another"
    write_json(run, identity)
    assert tool("evaluate", *trained.options, "--fold", 1) == 0
    assert "already done" not in capfd.readouterr().out
    assert read_json(trained.folder() / "result.json")["training"] == identity["training"]
    # A run of the first version does not record its training, and neither does its result.
    del identity["training"]
    write_json(run, identity)
    assert tool("evaluate", *trained.options, "--fold", 1) == 0
    assert "already done" in capfd.readouterr().out


def test_a_run_s_name_does_where_its_source_is_gone(tool, trained):
    assert tool("evaluate", *trained.options[:-2], "--init", "source") == 0


def test_a_run_is_found_under_its_init_when_that_file_is_gone(tool, trained, tmp_path):
    gone = tmp_path / "elsewhere" / "source.caffemodel"
    assert tool("evaluate", *trained.options[:-2], "--init", gone) == 0
    tables = ["--runs", trained.runs, "--out", tmp_path / "out", "--table", "runs"]
    assert tool("make_tables", *tables, "--init", gone) == 0


def test_a_seeds_run_is_named_by_its_seed_alone(tool, tiny, capfd, tmp_path):
    assert tool("train", *tiny.options, "--seed", 7, "--iterations", 1) == 0
    assert tool("evaluate", *tiny.options[:-2], "--init", "source-seed7") == 2
    assert "--init source --seed 7" in capfd.readouterr().err
    seeds = ["--runs", tiny.runs, "--init", tiny.source, "--seed", 7]
    assert tool("evaluate", *tiny.options, "--seed", 7) == 0
    assert tool("extract_features", *tiny.options, "--seed", 7, "--fold", 1) == 0
    assert tool("net_surgery", *seeds, "--input-size", 300) == 0
    assert tool("sentiment_maps", "--data", tiny.data, *seeds, "--images", 1, "--out", tmp_path / "out") == 0
    folder = tiny.folder(init="source-seed7")
    assert all((folder / name).is_file() for name in ("grams.npz", "deploy_conv.prototxt", "maps/maps.json"))
    assert [path.name for path in (tiny.runs / "five_agrees").iterdir()] == ["finetune-source-seed7"]


def test_a_file_named_like_a_card_is_not_taken_for_it(tool, tiny, capfd, tmp_path):
    named, other = tmp_path / "x" / "places.caffemodel", tmp_path / "y" / "places.caffemodel"
    for path in named, other:
        path.parent.mkdir()
        shutil.copy(tiny.source, path)
    with open(other, "ab") as file:  # a field that no reader knows
        file.write(b"\xfa\x06\x01x")
    init = [*tiny.options[:-2], "--init", named]
    for name in "train", "evaluate":
        assert tool(name, *init, *(["--iterations", 1] if name == "train" else [])) == 0
    result = read_json(tiny.folder(init="places-file") / "result.json")
    assert (result["init"], result["card"]) == ("places-file", "")
    assert tool("make_tables", "--runs", tiny.runs, "--out", tmp_path / "results", "--table", "5") == 0
    rows = (tmp_path / "results" / "tiny" / "table5.md").read_text().splitlines()
    of_card, of_file = (
        next(row for row in rows if row.startswith(f"| {name}")) for name in ("PlacesCNN", "places-file")
    )
    assert ".823" in of_card and ".823" not in of_file
    assert of_card.split("|")[2].strip() == "–" != of_file.split("|")[2].strip()
    capfd.readouterr()
    assert tool("train", *tiny.options[:-2], "--init", other, "--iterations", 1) == 2  # another file of that name
    assert "another source" in capfd.readouterr().err


def test_the_data_sets_note_goes_with_its_results(tool, tiny):
    (tiny.data / "dataset.yaml").write_text((tiny.data / "dataset.yaml").read_text() + "note: Shot in 2026\n")
    assert tool("train", *tiny.options, "--iterations", 1) == 0
    assert tool("evaluate", *tiny.options) == 0
    assert read_json(tiny.folder() / "result.json")["note"] == "Shot in 2026"


def test_any_net(tool, trained, capfd, tmp_path):
    folder = trained.folder()
    model = ["--model", folder / "deploy.prototxt", "--weights", folder / "snapshot_iter_6.caffemodel"]
    where = ["--list", trained.list("test"), "--images", trained.data / "images", "--out", tmp_path / "out"]
    assert tool("evaluate", *model, *where) == 0
    assert tool("evaluate", *trained.options) == 0
    assert (tmp_path / "out" / "predictions.csv").read_text() == (folder / "predictions.csv").read_text()
    other = [*model, *where[:-1], tmp_path / "other", "--mean", "0,0,0"]
    assert tool("evaluate", *other) == 0
    assert (tmp_path / "other" / "predictions.csv").read_text() != (folder / "predictions.csv").read_text()


def test_tables(tool, trained, capfd, tmp_path):
    assert tool("evaluate", *trained.options, "--fold", 1, 2) == 0
    capfd.readouterr()
    assert tool("make_tables", "--runs", trained.runs, "--out", tmp_path / "results") == 0
    text = (tmp_path / "results" / "tiny" / "table2.md").read_text()
    assert text in capfd.readouterr().out
    accuracies = [
        json.loads((trained.folder(fold) / "result.json").read_text())["accuracy"]["center"] for fold in (1, 2)
    ]
    assert f"{score(*results.mean_std(accuracies))} (folds 1 2 only)" in text
    assert "| PCNN (from the paper, not run)" in text
    assert "finetune from source" in (tmp_path / "results" / "tiny" / "runs.md").read_text()
    assert tool("make_tables", "--runs", tmp_path / "nothing") == 2


def test_labels_the_other_way_round_are_suspected(tool, trained, capfd, tmp_path):
    folder = trained.folder()
    assert tool("evaluate", *trained.options) == 0
    said = {row["image"]: float(row["positive_10crop"]) > 0.5 for row in predictions(folder)}
    command = ["evaluate", "--model", folder / "deploy.prototxt", "--weights", folder / "snapshot_iter_6.caffemodel"]
    command += ["--images", trained.data / "images", "--out", tmp_path / "out"]
    for wrong in (True, False):
        labels = "".join(f"{name} {int(positive != wrong)}\n" for name, positive in said.items())
        (tmp_path / "list.txt").write_text(labels * 3)
        capfd.readouterr()
        assert tool(*command, "--list", tmp_path / "list.txt") == 0
        assert ("worse than guessing" in capfd.readouterr().out) is wrong


@pytest.mark.slow
@pytest.mark.parametrize("net", ["squeezenet", "caffenet_conv-fc6-2"])
@pytest.mark.parametrize("fold", [1, 2])
def test_probabilities_of_bvlc_caffe_on_the_real_images(tool, shared, tmp_path, net, fold):
    data = shared / "data"
    reference = data / "reference" / net / f"fold{fold}"
    assert tool(
        "evaluate", "--model", reference / "deploy.prototxt", "--weights", reference / "trained_iter_120.caffemodel",
        "--list", data / "ground_truth" / "five_agrees" / f"test{fold}" / "test.txt",
        "--images", data / "deepsent" / "images", "--out", tmp_path,
    ) == 0  # fmt: skip
    ours, theirs = predictions(tmp_path), predictions(reference)
    assert [(row["image"], row["label"]) for row in ours] == [(row["image"], row["label"]) for row in theirs]
    for column in "positive_center", "positive_10crop":
        values = [[float(row[column]) for row in rows] for rows in (ours, theirs)]
        np.testing.assert_allclose(*values, atol=1e-4)
