"""Fits from inner products are scikit-learn's fits on the features themselves."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from sentiment.analysis import kernel_classifiers
from sentiment.analysis.kernel_classifiers import C_GRID, logistic_path, svm_path


def problem(width, scale, overlap, count=60):
    """Training features and labels, and new features: non-negative and far from centred, as after ReLU."""
    rng = np.random.default_rng(width)
    labels = np.arange(count) % 3 > 0
    features = np.maximum(rng.normal(0.3, 1, (count + 20, width)), 0)
    features[:count, 0] += labels * overlap
    return features[:count] * scale, labels.astype(int), features[count:] * scale


# Fewer features than images, overlapping (soft margins); more than images, unscaled (hard margins).
PROBLEMS = {"few": (3, 1.0, 1.0), "overlapping": (5, 4.0, 0.0), "many": (300, 1.0, 0.5), "unscaled": (300, 80.0, 0.5)}


@pytest.fixture(params=PROBLEMS.values(), ids=PROBLEMS)
def case(request):
    return problem(*request.param)


def scores(fits, features, new):
    return [(new @ features.T) @ fit.coefficients + fit.intercept for fit in fits]


def test_svm_is_svc_on_the_features(case):
    features, labels, new = case
    penalties = C_GRID[:5]  # with larger ones libsvm takes millions of steps where classes overlap
    fits = svm_path(features @ features.T, labels, penalties)
    assert all(fit.converged for fit in fits)
    for penalty, found in zip(penalties, scores(fits, features, new), strict=True):
        plain = SVC(kernel="linear", C=penalty, tol=1e-8).fit(features, labels)
        np.testing.assert_allclose(found, plain.decision_function(new), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found > 0, plain.predict(new) == 1)


def test_svm_is_at_its_minimum(case):
    """Images off their margin by more than rounding have the multiplier 0 or C; libsvm's own tolerance is 1e-3."""
    features, labels, _ = case
    signs = 2 * labels - 1
    for penalty, fit in zip(C_GRID, svm_path(features @ features.T, labels), strict=True):
        multipliers = signs * fit.coefficients
        margins = signs * (features @ (features.T @ fit.coefficients) + fit.intercept) - 1
        assert abs(fit.coefficients.sum()) < 1e-6 * multipliers.sum()
        assert multipliers.min() >= 0 and multipliers.max() <= penalty * (1 + 1e-12)
        assert margins[multipliers == 0].min(initial=0) > -1e-4
        assert margins[multipliers >= penalty * (1 - 1e-12)].max(initial=0) < 1e-4
        assert np.abs(margins[(multipliers > 0) & (multipliers < penalty * (1 - 1e-12))]).max(initial=0) < 1e-4


def test_overlapping_classes_in_two_features_take_few_steps():
    """As the scores of a fine-tuned net: libsvm needs billions of steps for the larger C."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    score = 10 * (2 * labels - 1 + rng.normal(0, 2, 300))
    features = np.column_stack([score, rng.normal(0, 0.5, 300) - score])
    fits = svm_path(features @ features.T, labels)
    assert all(fit.converged and fit.steps < 60 for fit in fits)
    right = [((value > 0) == labels).mean() for value in scores(fits, features, features)]
    assert min(right) > 0.65


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("width", [1, 2, 30, 60, 99, 400])
def test_svms_of_any_width_and_scale_converge(width, scale):
    rng = np.random.default_rng(width)
    features = rng.normal(0, 1, (100, width)) * rng.uniform(0, 1, width) ** 4 + 5
    labels = (features[:, 0] + rng.normal(0, 0.05, 100) > 5).astype(int)
    fits = svm_path((scale * features) @ (scale * features).T, labels)
    assert all(fit.converged for fit in fits)


def test_a_hard_margin_is_fitted_once_and_holds_for_every_larger_c():
    features, labels, _ = problem(*PROBLEMS["unscaled"])
    fits = svm_path(features @ features.T, labels)
    assert all(fit is fits[0] for fit in fits)
    soft = svm_path(features @ features.T, labels, [1e-9, 1e-8])
    assert soft[0] is not soft[1]


def test_the_same_image_with_both_labels_leaves_the_rest_hard():
    features, labels, new = problem(*PROBLEMS["unscaled"])
    features, labels = np.vstack([features, features[:1]]), np.append(labels, 1 - labels[0])
    fits = svm_path(features @ features.T, labels)
    assert all(fit is fits[0] for fit in fits)
    for penalty in C_GRID[0], C_GRID[4]:
        plain = SVC(kernel="linear", C=penalty, tol=1e-8).fit(features, labels)
        np.testing.assert_allclose(scores(fits[:1], features, new)[0], plain.decision_function(new), atol=1e-4)


def liblinear(features, labels, penalty):
    """scikit-learn's own fit to its last digits, and weights and intercept as one vector."""
    plain = LogisticRegression(C=penalty, solver="liblinear", intercept_scaling=1, tol=1e-12, max_iter=10000)
    plain.fit(features, labels)
    return plain, np.append(plain.coef_, plain.intercept_)


def test_logistic_regression_is_liblinear_s_on_the_features(case):
    features, labels, new = case
    fits = logistic_path(features @ features.T, labels)
    assert all(fit.converged for fit in fits)
    for penalty, fit, found in zip(C_GRID, fits, scores(fits, features, new), strict=True):
        plain, expected = liblinear(features, labels, penalty)
        weights = np.append(features.T @ fit.coefficients, fit.intercept)
        np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        expected = plain.decision_function(new)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_badly_scaled_features_are_fitted_no_worse_than_by_liblinear(case, scale):
    """liblinear comes to a standstill before the minimum there, up to 13 % of the weights away from it."""
    features, labels = scale * case[0], case[1]
    rows = np.column_stack([features, np.ones(len(features))]).astype(np.longdouble)

    def objective(weights, penalty):
        return weights @ weights / 2 + penalty * np.logaddexp(0, (1 - 2 * labels) * (rows @ weights)).sum()

    fits = logistic_path(features @ features.T, labels)
    assert all(fit.converged for fit in fits)
    for penalty, fit in zip(C_GRID, fits, strict=True):
        _, expected = liblinear(features, labels, penalty)
        weights = np.append(features.T @ fit.coefficients, fit.intercept)
        ours, theirs = objective(weights, penalty), objective(expected, penalty)
        assert ours <= theirs * (1 + 1e-10)
        if ours > theirs * (1 - 1e-12):  # then it did not
            np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("path", [svm_path, logistic_path])
def test_no_digits_are_lost_to_a_image_with_both_labels(path):
    """Of features as large as a first layer's: noise of C times their inner products would be larger than scores."""
    features, labels, new = problem(300, 2e4, 0.5)
    features, labels = np.vstack([features, features[:2]]), np.append(labels, 1 - labels[:2])
    kernel = features @ features.T
    for penalty in C_GRID:
        (fit,) = path(kernel, labels, [penalty])
        assert fit.converged
        (found,) = scores([fit], features, new)
        precise = (new.astype(np.longdouble) @ features.T) @ fit.coefficients + fit.intercept
        np.testing.assert_allclose(found, precise.astype(float), atol=1e-6 * np.abs(found).max())
        if path is svm_path:
            (first,) = path(kernel, labels, C_GRID[:1])  # margins are hard, so it is that of every C
            np.testing.assert_allclose(found, *scores([first], features, new), atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 80.0, 1e4])
def test_the_same_image_with_both_labels_has_a_logistic_fit(scale):
    """Its two pulls cancel, and are large at a large C; more than rounding of them must be left."""
    features, labels, _ = problem(300, scale, 0.5)
    features, labels = np.vstack([features, features[:2]]), np.append(labels, 1 - labels[:2])
    fits = logistic_path(features @ features.T, labels)
    assert all(fit.converged for fit in fits)
    for penalty, fit in zip(C_GRID, fits, strict=True):
        found = features @ (features.T @ fit.coefficients) + fit.intercept
        assert np.abs(found[[0, 1, -2, -1]]).max() < 0.4  # even odds, but for the pull of the others
        assert ((found > 0) == labels)[2:-2].all()
        if penalty * scale**2 < 1e4:
            _, expected = liblinear(features, labels, penalty)
            weights = np.append(features.T @ fit.coefficients, fit.intercept)
            np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_logistic_intercept_is_penalised():
    """One feature that says nothing: b = C Σ (t - p), where a free one would be the log odds, ln 2."""
    labels = np.array([0, 1, 1] * 5)
    (small, large) = logistic_path(np.zeros((15, 15)), labels, [0.01, 100.0])
    # b = 0.01 (10 σ(-b) - 5 σ(b)), which b = 0.02409 solves.
    assert small.intercept == pytest.approx(0.01 * (15 / (1 + np.exp(small.intercept)) - 5), rel=1e-6)
    assert small.intercept == pytest.approx(0.0241, abs=1e-4)
    assert large.intercept == pytest.approx(np.log(2), abs=0.01)


def test_logistic_regression_is_at_its_minimum(case):
    """On the features: w = C Σ (t - p) x, and b = C Σ (t - p), for it is the weight of a feature that is 1."""
    features, labels, _ = case
    signs = 2 * labels - 1
    for penalty, fit in zip(C_GRID, logistic_path(features @ features.T, labels), strict=True):
        weights = features.T @ fit.coefficients
        pull = signs / (1 + np.exp(signs * (features @ weights + fit.intercept)))
        # Where classes overlap, large terms cancel; what is left is checked against them.
        terms = penalty * np.abs(features).T @ np.abs(pull)
        assert (np.abs(weights - penalty * features.T @ pull) < 1e-6 * terms).all()
        assert abs(fit.intercept - penalty * pull.sum()) < 1e-6 * penalty * np.abs(pull).sum()


def test_a_warm_start_gives_what_a_cold_one_gives(case):
    features, labels, new = case
    kernel = features @ features.T
    for penalty, warm in zip(C_GRID, scores(logistic_path(kernel, labels), features, new), strict=True):
        (cold,) = scores(logistic_path(kernel, labels, [penalty]), features, new)
        np.testing.assert_allclose(warm, cold, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", [svm_path, logistic_path])
def test_a_layer_that_says_nothing_answers_with_the_larger_class(path):
    labels = np.array([0, 1, 1] * 5)
    for fit in path(np.zeros((15, 15)), labels):
        assert (np.zeros(15) @ fit.coefficients + fit.intercept > 0) == 1
    for fit in path(np.full((15, 15), 7.0), labels):
        assert np.full(15, 7.0) @ fit.coefficients + fit.intercept > 0


def test_a_solver_stopped_early_says_so(monkeypatch):
    features, labels, _ = problem(*PROBLEMS["overlapping"])
    monkeypatch.setattr(kernel_classifiers, "INTERIOR_STEPS", 2)
    monkeypatch.setattr(kernel_classifiers, "NEWTON_STEPS", 1)
    for path in svm_path, logistic_path:
        fits = path(features @ features.T, labels, [100.0, 1000.0])
        assert not any(fit.converged for fit in fits)
        assert fits[0] is not fits[1]
