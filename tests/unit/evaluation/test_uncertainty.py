"""Intervals and tests agree with numbers worked out by hand and with scipy's."""

import statistics

import pytest
from scipy.stats import binomtest, ttest_1samp

from sentiment.evaluation import uncertainty


def test_the_interval_is_that_of_nadeau_and_bengio():
    low, high = uncertainty.corrected_interval([0.80, 0.82, 0.84, 0.78, 0.86], 1 / 4)
    # s² = .001; (1/5 + 1/4) s² = .00045, whose root is .0212132; t of 4 degrees of freedom is 2.7764451
    assert (low, high) == pytest.approx((0.82 - 0.0588973, 0.82 + 0.0588973), abs=1e-7)
    low, high = uncertainty.corrected_interval([0.5, 0.7], 1)
    # s² = .02; (1/2 + 1) s² = .03, whose root is .1732051; t of 1 degree of freedom is 12.7062047
    assert (low, high) == pytest.approx((0.6 - 2.2007792, 0.6 + 2.2007792), abs=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_without_shared_images_it_is_student_s_and_with_five_folds_half_as_wide_again(level):
    accuracies = [0.71, 0.83, 0.78, 0.8, 0.755]
    expected = ttest_1samp(accuracies, 0).confidence_interval(level)
    plain = uncertainty.corrected_interval(accuracies, 0, level)
    assert plain == pytest.approx((expected.low, expected.high))
    low, high = uncertainty.corrected_interval(accuracies, 1 / 4, level)
    assert high - low == pytest.approx(1.5 * (plain[1] - plain[0]))
    assert (low + high) / 2 == pytest.approx(statistics.fmean(accuracies))


def test_one_fold_has_no_interval_and_equal_folds_one_of_no_width():
    assert uncertainty.corrected_interval([], 1 / 4) is uncertainty.corrected_interval([0.8], 1 / 4) is None
    assert uncertainty.corrected_interval([0.75] * 5, 1 / 4) == (0.75, 0.75)


def test_mcnemar_is_the_exact_binomial_test():
    for first, second in ((0, 0), (5, 5), (0, 1), (10, 25), (3, 300), (440, 441)):
        expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
        assert uncertainty.mcnemar(first, second) == pytest.approx(expected)
        assert uncertainty.mcnemar(second, first) == uncertainty.mcnemar(first, second)


def test_holm_is_monotone_and_no_smaller_than_its_argument():
    values = [0.04, 0.001, 0.03, 0.5]
    assert uncertainty.holm(values) == pytest.approx([0.09, 0.004, 0.09, 0.5])
    assert uncertainty.holm([0.9, 0.8]) == [1.0, 1.0]
    assert uncertainty.holm([]) == []
