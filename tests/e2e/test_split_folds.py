"""make splits: tools/split_folds.py as a user calls it."""

import os

import pytest

from sentiment import paper
from sentiment.data import dataset, folds, lists

DUPLICATES = {
    "five_agrees": [1, 1, 2, 3, 3],
    "four_agrees": [2, 4, 1, 4, 3],
    "three_agrees": [1, 5, 4, 3, 3],
}


@pytest.fixture
def photographs(tmp_path):
    """A DATA folder of 23 distinct images but for one pair, in two subsets."""
    folder = tmp_path / "photographs"
    (folder / "images").mkdir(parents=True)
    pairs = [(f"my photo {number}.jpg", number % 2) for number in range(23)]
    for number, (name, _) in enumerate(pairs):
        (folder / "images" / name).write_text(str(max(number, 1)))
    (folder / "twitter_five_agrees.txt").write_text(lists.text(pairs[:11]))
    (folder / "twitter_three_agrees.txt").write_text(lists.text(pairs))
    return folder


@pytest.mark.parametrize("subset", paper.SUBSETS)
def test_published_folds_on_the_real_images(tool, shared, tmp_path, capsys, subset):
    data, published = shared / "data" / "deepsent", shared / "data" / "ground_truth"
    assert tool("split_folds", "--data", data, "--published", published, "--out", tmp_path, "--subset", subset) == 0
    printed = capsys.readouterr().out.splitlines()
    assert (
        f"{paper.IMAGES[subset]} of {paper.LABELLED_IMAGES[subset]} images, the authors' published folds" in printed[0]
    )
    contrary = [line for line in printed if "contrary labels" in line]
    assert len(contrary) == (subset == "three_agrees")
    assert all(line.count("(fold 3)") == 2 for line in contrary)
    for fold, line, positives, duplicates in zip(
        paper.FOLDS, printed[1:6], paper.TEST_POSITIVES[subset], DUPLICATES[subset], strict=True
    ):
        assert f"fold {fold}:" in line
        assert f"({positives} positive), byte-identical in both {duplicates}" in line
        for part in folds.PARTS:
            ours = folds.list_path(tmp_path, "deepsent", subset, fold, part).read_bytes()
            assert ours == (published / folds.relative_path(subset, fold, part)).read_bytes()


@pytest.mark.parametrize("option", ["--no-duplicates", "--no-twins"])
def test_training_without_duplicates_of_test_images(tool, shared, tmp_path, capsys, option):
    data, published = shared / "data" / "deepsent", shared / "data" / "ground_truth"
    options = ["--data", data, "--published", published, "--out", tmp_path]
    assert tool("split_folds", *options) == 0
    capsys.readouterr()
    assert tool("split_folds", *options, option) == 0
    assert capsys.readouterr().out.count("byte-identical in both 0") == 15
    for subset, counts in DUPLICATES.items():
        for fold, duplicates in zip(paper.FOLDS, counts, strict=True):
            whole = folds.read(tmp_path, "deepsent", subset, fold)
            without = folds.read(tmp_path / "no-duplicates", "deepsent", subset, fold)
            assert without.test == whole.test
            assert set(without.train) < set(whole.train)
            assert 1 <= len(whole.train) - len(without.train) <= duplicates
    assert tool("split_folds", *options[:2], "--out", tmp_path) == 0  # the published lists are as they were
    assert capsys.readouterr().out.count("lists unchanged") == 3


def test_published_folds_in_place_need_no_source(tool, shared, tmp_path, capsys):
    data, published = shared / "data" / "deepsent", shared / "data" / "ground_truth"
    options = ["--data", data, "--out", tmp_path, "--subset", "five_agrees"]
    tool("split_folds", *options, "--published", published)
    capsys.readouterr()
    assert tool("split_folds", *options) == 0
    assert "lists unchanged" in capsys.readouterr().out


def test_a_wrong_published_folder_is_a_sentence(tool, shared, tmp_path, capsys):
    assert tool("split_folds", "--data", shared / "data" / "deepsent", "--published", tmp_path, "--out", tmp_path) == 2
    assert "error: PUBLISHED: " in capsys.readouterr().err
    wrong = tmp_path / "five_agrees" / "test1"
    wrong.mkdir(parents=True)
    (wrong / "train.txt").write_text("a.jpg 1\n")
    assert tool("split_folds", "--data", shared / "data" / "deepsent", "--published", tmp_path, "--out", tmp_path) == 2
    assert "train.txt is not the list the authors published" in capsys.readouterr().err


def test_other_images_are_shuffled_with_the_seed(tool, photographs, tmp_path, capsys):
    out = tmp_path / "splits"
    assert tool("split_folds", "--data", photographs, "--out", out, "--seed", 3) == 0
    printed = capsys.readouterr().out
    assert "photographs five_agrees: 10 of 11 images, shuffled with seed 3; 10 of 10 lists written" in printed
    assert "photographs three_agrees: 20 of 23 images" in printed
    labels = dataset.load(photographs).subset("three_agrees")
    assert [folds.read(out, "photographs", "three_agrees", fold) for fold in paper.FOLDS] == folds.make(labels, 3)


def test_lists_are_rewritten_only_when_they_change(tool, photographs, tmp_path):
    out = tmp_path / "splits"

    def stamps():
        return {path: path.stat().st_mtime_ns for path in out.rglob("*.txt")}

    tool("split_folds", "--data", photographs, "--out", out)
    before = stamps()
    assert len(before) == 20
    tool("split_folds", "--data", photographs, "--out", out)
    assert stamps() == before
    tool("split_folds", "--data", photographs, "--out", out, "--seed", 1)
    assert stamps() != before


def test_without_a_seed_the_lists_there_stay_while_they_fit(tool, photographs, tmp_path, capsys):
    out = tmp_path / "splits"
    tool("split_folds", "--data", photographs, "--out", out, "--seed", 3)
    before = folds.read(out, "photographs", "five_agrees", 1)
    assert tool("split_folds", "--data", photographs, "--out", out) == 0
    assert "as they were shuffled; lists unchanged" in capsys.readouterr().out
    assert folds.read(out, "photographs", "five_agrees", 1) == before
    labels = photographs / "twitter_five_agrees.txt"
    labels.write_text(labels.read_text().replace(" 0\n", " 1\n"))
    assert tool("split_folds", "--data", photographs, "--out", out) == 0
    assert "shuffled with seed 0; " in capsys.readouterr().out


def test_lists_that_replace_others_and_labels_of_one_class_are_reported(tool, photographs, tmp_path, capsys):
    options = ["--data", photographs, "--subset", "five_agrees", "--out", tmp_path / "splits"]
    assert tool("split_folds", *options) == 0
    assert "replace other lists" not in capsys.readouterr().out
    assert tool("split_folds", *options, "--seed", 7) == 0
    assert "replace other lists" in capsys.readouterr().out
    labels = photographs / "twitter_five_agrees.txt"
    labels.write_text(labels.read_text().replace(" 0\n", " 1\n"))
    assert tool("split_folds", *options) == 0
    assert "labels are the same" in capsys.readouterr().out


def test_a_missing_image_is_named_and_nothing_written(tool, photographs, tmp_path, capsys):
    for number in range(10):
        (photographs / "images" / f"my photo {number}.jpg").unlink()
    assert tool("split_folds", "--data", photographs, "--out", tmp_path / "splits", "--subset", "three_agrees") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "of 20 images of three_agrees are not in" in error
    assert "my photo" in error
    assert not (tmp_path / "splits").exists()


def test_a_bad_label_line_is_named(tool, photographs, tmp_path, capsys):
    with open(photographs / "twitter_five_agrees.txt", "a") as file:
        file.write("another.jpg\n")
    assert tool("split_folds", "--data", photographs, "--out", tmp_path / "splits") == 2
    assert "twitter_five_agrees.txt, line 12: no label after the image name 'another.jpg'" in capsys.readouterr().err


def test_output_under_a_file_is_a_sentence(tool, photographs, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert tool("split_folds", "--data", photographs, "--out", tmp_path / "file") == 2
    assert "error: cannot write" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_output_is_a_sentence(tool, photographs, tmp_path, capsys):
    out = tmp_path / "splits"
    out.mkdir(mode=0o500)
    assert tool("split_folds", "--data", photographs, "--out", out) == 2
    assert "error: cannot write" in capsys.readouterr().err
