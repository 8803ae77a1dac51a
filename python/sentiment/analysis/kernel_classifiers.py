"""Linear classifiers fitted to inner products alone: the SVM, and L2 logistic regression (§4.2's "Softmax").

The weights of both are combinations of the n training images' features, so an image's inner products with these are all
that is needed, however many features there are. Both fits are exact minima of what scikit-learn's
``SVC(kernel="linear")`` and ``LogisticRegression(solver="liblinear")`` minimise on the unscaled features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sentiment import paper

C_GRID = tuple(2.0**exponent for exponent in paper.C_GRID_EXPONENTS)

INTERIOR_STEPS = 200
INTERIOR_TOLERANCE = 1e-12
NEWTON_STEPS = 200
NEWTON_TOLERANCE = 1e-5  # of a step; the error left after it is about its square


class Fit(NamedTuple):
    """A linear classifier in terms of its n training images: score = kernel row · ``coefficients`` + ``intercept``."""

    coefficients: np.ndarray
    intercept: float
    steps: int
    converged: bool


def svm_path(kernel: np.ndarray, labels: np.ndarray, penalties: Sequence[float] = C_GRID) -> list[Fit]:
    """Linear SVMs that minimise what ``SVC(kernel="linear")`` does on the training images, for rising C.

    ``kernel``, (n, n), has the inner products of their features; ``labels``, (n,), are 0 or 1, and 1 scores above zero.

    If no image's multiplier reaches C, the margin is hard and the solution is also that of every larger C, so it is
    computed once. An image with both labels would prevent that: its two losses, (1 - f)₊ + (1 + f)₊, cannot both be 0.
    They equal 2 + (f - 1)₊ + (-f - 1)₊, so it gets the two terms in f instead, which are the losses of the opposite
    labels with a margin of -1. The constant changes no solution; times a large C, its size would cost digits.

    An interior point method is used instead of libsvm, which needs billions of steps for the larger C where classes
    overlap in a few features, as in the last layers.
    """
    signs, margins = np.where(labels == 1, 1.0, -1.0), np.ones(len(labels))
    first = _first(kernel)
    for image in np.intersect1d(first[labels == 0], first[labels == 1]):
        of_each = [np.flatnonzero((first == image) & (labels == label)) for label in (0, 1)]
        for rows in of_each:
            opposite = rows[: min(map(len, of_each))]  # the same number of each label
            signs[opposite] *= -1
            margins[opposite] = -1
    # Centring the features changes only the intercept, and keeps digits. K/s with C·s is the same problem.
    means = kernel.mean(0)
    centred = kernel - means - means[:, None] + means.mean()
    scale = np.trace(centred) / len(centred) or 1.0
    points = signs[:, None] * np.column_stack([_points(centred / scale)[0], np.ones(len(signs))])
    fits, hard = [], False
    for penalty in penalties:
        if not hard:
            multipliers, weights, step, converged = _svm(points, margins, penalty * scale)
            coefficients = signs * multipliers / scale
            fit = Fit(coefficients, weights[-1] - means @ coefficients, step, converged)
            hard = converged and bool((multipliers < penalty * scale).all())
        fits.append(fit)
    return fits


def _svm(points, margins, penalty):
    """A linear SVM by Mehrotra's interior point method, in the form of Gertz and Griffin (2010).

    Let α be the images' multipliers, between 0 and C, and λ those of these two bounds. A step solves for the weights
    only: (I + XᵀDX) Δw = r with D = 1 / (λ₀/α + λ₁/(C-α)). It has converged when the duality gap is at most
    `INTERIOR_TOLERANCE` of the loss; margins are then off by at most 1e-4, where libsvm's default tolerance is 1e-3.

    ``points``, (n, d + 1), are multiplied by the images' signs: an image whose score reaches its margin has no loss.
    The weight of their last column, ones before that, is the intercept, which is not penalised. Returns multipliers
    (n,), weights (d + 1,), the number of steps and whether it converged.
    """
    penalised = np.ones(points.shape[1])
    penalised[-1] = 0
    sides = np.array([[1], [-1]])  # signs of the rows of ``room``: distances from the bounds 0 and C
    # The start is C/2 for each image of the smaller class, and the same sum for the other class.
    positive = points[:, -1] > 0
    counts = np.where(positive, positive.sum(), (~positive).sum())
    alpha = penalty / 2 * counts.min() / counts
    weights = penalised * (alpha @ points)
    state = np.stack([[alpha, penalty - alpha], np.maximum(sides * (points @ weights - margins), 0) + 1])
    for step in range(INTERIOR_STEPS + 1):
        room, multipliers = state
        scores = points @ weights
        residual = scores - margins - (sides * multipliers).sum(0)
        apart = points.T @ room[0] - penalised * weights
        gap = (room * multipliers).sum()
        loss = (penalised * weights) @ weights / 2 + penalty * np.maximum(0, margins - scores).sum()
        # The lower limit is for images that are all the same, whose loss is 0.
        converged = bool(gap <= INTERIOR_TOLERANCE * max(loss, min(1, penalty)) and np.abs(residual).max() < 1e-8)
        if converged or step == INTERIOR_STEPS:
            break
        steepness = 1 / (multipliers / room).sum(0)
        solved = _normal_equations(points * np.sqrt(steepness)[:, None], penalised)
        # Two solutions with one factorisation: the predictor, and the corrector that depends on its length.
        target = -room * multipliers
        for corrects in False, True:
            right = (sides * target / room).sum(0) - residual
            of_weights = solved(points.T @ (steepness * right) + apart)
            of_room = sides * steepness * (right - points @ of_weights)
            of_multipliers = (target - multipliers * of_room) / room
            change = np.stack([of_room, of_multipliers])
            shrinks = change < 0
            length = (state[shrinks] / -change[shrinks]).min(initial=1.0)  # the longest step that keeps all above 0
            if not corrects:
                ahead = np.prod(state + length * change, axis=0).sum()
                target = gap / room.size * (ahead / gap) ** 3 - room * multipliers - of_room * of_multipliers
        weights = weights + 0.99 * length * of_weights
        state = state + 0.99 * length * change
    at_zero, at_penalty = room < multipliers
    return np.where(at_zero, 0, np.where(at_penalty, penalty, room[0])), weights, step, converged


def logistic_path(kernel: np.ndarray, labels: np.ndarray, penalties: Sequence[float] = C_GRID) -> list[Fit]:
    """L2-regularised logistic regression whose intercept is penalised too, for rising C, each from the one before.

    Arguments are those of `svm_path`. The authors' "Softmax" is scikit-learn's
    ``LogisticRegression(C=C, solver="liblinear")``, which minimises ½‖w‖² + ½b² + C Σ log(1 + exp(-y f)), f = w·x + b:
    the intercept is the weight of one more feature that is 1 everywhere. The coefficients are the shortest that give w.

    Newton's method is implemented here because liblinear's tolerance, 1e-4 of the first gradient, stops it before the
    minimum, and scikit-learn's newton-cholesky fails if an image has both labels and C is large.
    """
    # Each image once: the gradients of its two labels cancel exactly only if they are computed from one score.
    rows, which = np.unique(_first(kernel), return_inverse=True)
    negative, positive = (np.bincount(which[labels == label], minlength=len(rows)) for label in (0, 1))
    kernel = kernel[np.ix_(rows, rows)]
    scale = np.trace(kernel) / len(kernel) + 1  # K/s with C·s is the same problem
    points, back = _points((kernel + 1) / scale)
    fits, weights = [], np.zeros(points.shape[1])
    for penalty in penalties:
        weights, steps, converged = _logistic(points, negative, positive, penalty * scale, weights)
        coefficients = np.zeros(len(labels))
        coefficients[rows] = back @ weights / scale
        fits.append(Fit(coefficients, coefficients.sum(), steps, converged))
    return fits


def _logistic(points, negative, positive, penalty, weights):
    """Logistic regression by Newton's method, starting from ``weights``, (d,).

    ``negative`` and ``positive``, (n,), count how often each of the ``points``, (n, d), has label 0 and label 1. It has
    converged when a step moves no score by more than `NEWTON_TOLERANCE` times the largest score, or 1 if that is
    larger. Returns the weights, the number of steps and whether it converged.
    """
    from scipy.special import expit

    def objective(weights, scores):
        losses = positive * np.logaddexp(0, -scores) + negative * np.logaddexp(0, scores)
        return weights @ weights / 2 + penalty * losses.sum()

    scores = points @ weights
    for step in range(1, NEWTON_STEPS + 1):
        odds = expit(scores), expit(-scores)
        gradient = weights - points.T @ (penalty * (positive * odds[1] - negative * odds[0]))
        steepness = penalty * (positive + negative) * odds[0] * odds[1]
        change = -_normal_equations(points * np.sqrt(steepness)[:, None], 1)(gradient)
        moved = points @ change
        before, slope = objective(weights, scores), gradient @ change
        for length in 0.5 ** np.arange(30):
            after = objective(weights + length * change, scores + length * moved)
            if after <= before + 1e-4 * length * slope + 1e-13 * abs(before):
                break
        weights = weights + length * change
        scores = points @ weights  # computed again, so that rounding does not add up
        if np.abs(moved).max() <= NEWTON_TOLERANCE * max(1, np.abs(scores).max()):
            return weights, step, True
    return weights, NEWTON_STEPS, False


def _first(kernel):
    """For each image, the index of the first image equal to it up to rounding, (n,)."""
    norms = kernel.diagonal()
    return (norms[:, None] + norms - 2 * kernel <= 1e-12 * norms.mean()).argmax(1)


def _normal_equations(weighted, penalised):
    """A function that solves (diag(penalised) + weightedᵀ weighted) x = right, (d,) for (d,)."""
    from scipy.linalg import cho_factor, cho_solve

    system = weighted.T @ weighted
    system.flat[:: len(system) + 1] += penalised
    unit = 1 / np.sqrt(system.diagonal())
    system *= unit
    system *= unit[:, None]
    # Near a solution, the rounding errors of the large eigenvalues can exceed the small ones.
    system.flat[:: len(system) + 1] += len(system) * np.finfo(float).eps
    factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
    return lambda right: unit * cho_solve(factor, unit * right, check_finite=False)


def _points(kernel):
    """Points (n, d) with these inner products, and the matrix (n, d) that turns weights for them into coefficients."""
    values, vectors = np.linalg.eigh(kernel)
    kept = values > 1e-12 * values[-1]
    lengths = np.sqrt(values[kept])
    return vectors[:, kept] * lengths, vectors[:, kept] / lengths
