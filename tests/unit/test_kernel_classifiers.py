"""Fits from inner products are scikit-learn's fits on the features themselves."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from sentiment import kernel_classifiers
from sentiment.kernel_classifiers import C_GRID, logistic_path, svm_path


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


def test_the_same_picture_with_both_labels_leaves_the_rest_hard():
    features, labels, new = problem(*PROBLEMS["unscaled"])
    features, labels = np.vstack([features, features[:1]]), np.append(labels, 1 - labels[0])
    fits = svm_path(features @ features.T, labels)
    assert all(fit is fits[0] for fit in fits)
    for penalty in C_GRID[0], C_GRID[4]:
        plain = SVC(kernel="linear", C=penalty, tol=1e-8).fit(features, labels)
        np.testing.assert_allclose(scores(fits[:1], features, new)[0], plain.decision_function(new), atol=1e-4)


@pytest.mark.filterwarnings("ignore:(Line S|The line s)earch")  # scikit-learn at the end of its digits
def test_logistic_regression_is_scikit_learn_s(case):
    features, labels, new = case
    fits = logistic_path(features @ features.T, labels)
    assert all(fit.converged for fit in fits)
    for penalty, found in zip(C_GRID, scores(fits, features, new), strict=True):
        # Its objective is divided by C n, so its tolerance is told in that unit.
        tolerance = 1e-9 / (penalty * len(labels))
        plain = LogisticRegression(C=penalty, solver="newton-cg", tol=tolerance, max_iter=1000)
        plain.fit(features, labels)
        np.testing.assert_allclose(found, plain.decision_function(new), rtol=1e-4, atol=1e-4)


def test_logistic_regression_is_at_its_minimum(case):
    """On the features: w = C Σ (t - p) x, and Σ (t - p) = 0, as the intercept is free."""
    features, labels, _ = case
    for penalty, fit in zip(C_GRID, logistic_path(features @ features.T, labels), strict=True):
        weights = features.T @ fit.coefficients
        signs = 2 * labels - 1
        pull = signs / (1 + np.exp(signs * (features @ weights + fit.intercept)))
        # Where classes overlap, large terms cancel; what is left is held against them.
        terms = penalty * np.abs(features).T @ np.abs(pull)
        assert (np.abs(weights - penalty * features.T @ pull) < 1e-6 * terms).all()
        assert abs(pull.sum()) < 1e-6 * np.abs(pull).sum()


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
