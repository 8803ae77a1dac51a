"""Confusion, accuracy by class and McNemar's test are counted over the same images."""

from dataclasses import replace

import pytest

from helpers import made_up
from sentiment.evaluation import predictions
from sentiment.report import comparisons, study


def test_mcnemar_is_the_exact_binomial_test():
    binomtest = pytest.importorskip("scipy.stats").binomtest
    for first, second in ((0, 0), (5, 5), (0, 1), (10, 25), (3, 300), (440, 441)):
        expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
        assert comparisons.mcnemar(first, second) == pytest.approx(expected)
        assert comparisons.mcnemar(second, first) == comparisons.mcnemar(first, second)


def test_holm_is_monotone_and_no_smaller_than_its_argument():
    values = [0.04, 0.001, 0.03, 0.5]
    assert comparisons.holm(values) == pytest.approx([0.09, 0.004, 0.09, 0.5])
    assert comparisons.holm([0.9, 0.8]) == [1.0, 1.0]
    assert comparisons.holm([]) == []


def test_counts_by_class_add_up_over_folds(tmp_path):
    made_up.run(tmp_path, 1, right=16)  # of 8 positive and 12 negative images, four negative ones wrong
    made_up.run(tmp_path, 2, right=5)  # three positive and all negative ones wrong
    [found] = study.read(tmp_path)
    row = comparisons.classes_table(found).rows[0]
    assert row[3:5] == [8, 16] and row[6:8] == [13, 3]
    assert [row[index].text() for index in (5, 8, 9)] == [".333", ".812", ".525"]


def mcnemar_rows(root):
    [found] = study.read(root)
    tables = comparisons.mcnemar_tables(found)
    return tables[0].rows if tables else []


def test_mcnemar_is_over_the_images_both_nets_were_tested_on(tmp_path):
    made_up.run(tmp_path, 1, right=18)
    made_up.run(tmp_path, 2, right=18)
    made_up.run(tmp_path, 1, right=10, init="mvso_en")
    row = mcnemar_rows(tmp_path)[0]
    assert row[:9] == ["CaffeNet", "MVSO [EN]", "five-agree", "centre crop", 20, 10, 8, 0, 2]
    assert row[9].value == pytest.approx(2 / 2**8)


def test_images_that_are_not_the_same_are_not_compared(tmp_path):
    made_up.run(tmp_path, 1)
    other = made_up.run(tmp_path, 1, init="mvso_en")
    first, *rest = predictions.read(other.predictions)
    predictions.write(other.predictions, [replace(one, image=f"other {one.image}") for one in (first, *rest)])
    assert mcnemar_rows(tmp_path) == []
    predictions.write(other.predictions, [replace(first, label=1 - first.label), *rest])
    assert mcnemar_rows(tmp_path)[0][4] == 19


def test_nets_of_different_subsets_are_not_compared(tmp_path):
    made_up.run(tmp_path, 1)
    made_up.run(tmp_path, 1, subset="four_agrees")
    assert mcnemar_rows(tmp_path) == []


def test_one_seed_stands_for_several(tmp_path):
    made_up.run(tmp_path / "a", 1, right=18, seed=7)
    made_up.run(tmp_path / "b", 1, right=4, seed=8)
    [found] = study.read(tmp_path)
    assert len(comparisons.pooled(found.nets[0])) == 20
    assert comparisons.classes_table(found).rows[0][-1].text() == ".900"
    made_up.run(tmp_path / "b", 2, right=4, seed=8)
    [found] = study.read(tmp_path)
    assert comparisons.classes_table(found).rows[0][-1].text() == ".200"
