"""How certain an accuracy is, and a difference between two nets: interval, McNemar's test, Holm's adjustment."""

import math
import statistics
from collections.abc import Sequence


def corrected_interval(
    accuracies: Sequence[float], test_to_train: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Confidence interval of the mean accuracy of folds that share training images; None for fewer than two folds.

    The corrected resampled t interval of Nadeau and Bengio, "Inference for the generalization error" (2003): the
    mean ± t · √((1/k + n_test/n_train) · s²), with s² the sample variance over k folds and t Student's quantile for
    k − 1 degrees of freedom. Without n_test/n_train it would be that of k independent trainings. It was derived for
    random divisions and is an approximation for folds. It may reach beyond 0 and 1.

    Parameters
    ----------
    accuracies
        One for each fold.
    test_to_train
        n_test/n_train: test images for each training image; 1/4 with five folds.
    level
        Probability that such an interval contains the expected accuracy.

    >>> low, high = corrected_interval([0.80, 0.82, 0.84, 0.78, 0.86], 1 / 4)
    >>> f"{low:.4f}, {high:.4f}"  # 0.82 ± 2.7764 · √(0.45 · 0.001)
    '0.7611, 0.8789'
    """
    from scipy.special import stdtrit  # scipy is slow to import

    if len(accuracies) < 2:
        return None
    mean, variance = statistics.fmean(accuracies), statistics.variance(accuracies)
    t = float(stdtrit(len(accuracies) - 1, (1 + level) / 2))
    half = t * math.sqrt((1 / len(accuracies) + test_to_train) * variance)
    return mean - half, mean + half


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test: twice the tail of a binomial distribution with probability ½.

    The arguments are the numbers of images that only the first and only the second net classifies correctly. The
    probability of the observed split counts whole, not half as in the mid-p form of the test.

    >>> mcnemar(1, 7)  # 2 · (1 + 8) / 2⁸
    0.0703125
    """
    n, k = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for the number of tests (Holm's step-down method), in the same order.

    >>> holm([0.5, 0.125, 0.25])
    [0.5, 0.375, 0.5]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
