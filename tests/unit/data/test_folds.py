"""Folds: what is cut, what is published, what is on disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import paper
from sentiment.data import folds, lists
from sentiment.utils.errors import UserError

labelled = st.integers(5, 60).map(lambda count: [(f"{number}.jpg", number % 2) for number in range(count)])


@given(labels=labelled, seed=st.integers())
def test_blocks_are_equal_disjoint_and_drop_the_remainder(labels, seed):
    made = folds.make(labels, seed)
    tests = [pair for fold in made for pair in fold.test]
    assert [len(fold.test) for fold in made] == [len(labels) // 5] * 5
    assert len(set(tests)) == len(tests)
    assert set(tests) <= set(labels)
    for number, fold in enumerate(made):
        assert fold.train == [pair for other in made[:number] + made[number + 1 :] for pair in other.test]


@given(labels=labelled, seed=st.integers())
def test_folds_follow_from_the_seed(labels, seed):
    assert folds.make(labels, seed) == folds.make(labels, seed)


def test_another_seed_gives_other_folds():
    labels = [(f"{number}.jpg", 0) for number in range(100)]
    assert folds.make(labels, 0) != folds.make(labels, 1)


def test_the_shuffle_is_this_one_on_every_machine():
    """A change here would silently change everybody's folds. The order is that of Random(0).random()'s known values."""
    labels = [(f"{number}", 0) for number in range(12)]
    blocks = [[name for name, _ in fold.test] for fold in folds.make(labels, 0)]
    assert blocks == [["3", "7"], ["5", "2"], ["8", "11"], ["4", "9"], ["1", "6"]]


def test_papers_sizes():
    for subset in paper.SUBSETS:
        labels = [(f"{number}.jpg", 0) for number in range(paper.LABELLED_IMAGES[subset])]
        made = folds.make(labels, 7)
        assert sum(len(fold.test) for fold in made) == paper.IMAGES[subset]


def test_too_few_images_is_a_sentence():
    with pytest.raises(UserError, match="4 images are too few for 5 folds"):
        folds.make([("a", 0)] * 4, 0)


def test_written_lists_are_read_back_and_not_rewritten(tmp_path):
    made = folds.make([(f"my {number}.jpg", number % 2) for number in range(10)], 0)
    assert folds.write(tmp_path, "mine", "five_agrees", made) == 10
    assert folds.write(tmp_path, "mine", "five_agrees", made) == 0
    assert folds.read(tmp_path, "mine", "five_agrees", 3) == made[2]
    assert (tmp_path / "mine/five_agrees/test3/train.txt").read_text() == lists.text(made[2].train)
    (tmp_path / "mine/five_agrees/test3/train.txt").unlink()
    with pytest.raises(UserError, match=r"no fold list .*five_agrees/test3/train\.txt; run `make splits`"):
        folds.read(tmp_path, "mine", "five_agrees", 3)


def test_facts_of_the_published_lists_agree_with_the_paper():
    facts = folds.published_facts()
    assert len(facts) == 30
    for subset in paper.SUBSETS:
        tests = [facts[folds.relative_path(subset, fold, "test")] for fold in paper.FOLDS]
        trains = [facts[folds.relative_path(subset, fold, "train")] for fold in paper.FOLDS]
        assert tuple(test["positives"] for test in tests) == paper.TEST_POSITIVES[subset]
        for test, train in zip(tests, trains, strict=True):
            assert test["lines"] + train["lines"] == paper.IMAGES[subset]
            assert test["positives"] + train["positives"] == sum(paper.TEST_POSITIVES[subset])


def test_published_trains_are_the_other_blocks_in_order(shared):
    for subset in paper.SUBSETS:
        made = [folds.read(shared / "data", "ground_truth", subset, fold) for fold in paper.FOLDS]
        for number, fold in enumerate(made):
            assert fold.train == [pair for other in made[:number] + made[number + 1 :] for pair in other.test]


def test_duplicates_counts_test_images_with_an_equal_one_in_train():
    fold = folds.Fold(train=[("a", 0), ("b", 1)], test=[("c", 0), ("d", 1), ("e", 1)])
    assert folds.duplicates(fold, {"a": "x", "b": "y", "c": "x", "d": "z", "e": "z"}) == 1


def test_without_duplicates_only_training_loses_images():
    fold = folds.Fold(train=[("a", 0), ("b", 1), ("e", 1)], test=[("c", 0), ("d", 1)])
    digests = {"a": "x", "b": "y", "c": "x", "d": "z", "e": "z"}
    assert folds.without_duplicates(fold, digests) == folds.Fold(train=[("b", 1)], test=fold.test)
    assert folds.duplicates(folds.without_duplicates(fold, digests), digests) == 0


def test_contrary_duplicates_are_found():
    pairs = [("a", 1), ("b", 0), ("c", 0), ("d", 1), ("e", 1)]
    assert folds.contrary(pairs, dict(zip("abcde", "xxyzz", strict=True))) == [("b", "a")]
