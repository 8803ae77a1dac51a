"""Linear classifiers fitted to inner products alone: the SVM, and L2 logistic regression (§4.2's "Softmax").

The weights of both are combinations of the training features, so n inner products an image say as much as the features,
however many these are. Both fits are exact: they minimise what scikit-learn's ``SVC(kernel="linear")`` and
``LogisticRegression`` minimise on the features as they are, unscaled.
"""

from typing import NamedTuple

import numpy as np

from sentiment import paper

C_GRID = tuple(2.0**exponent for exponent in paper.C_GRID_EXPONENTS)

INTERIOR_STEPS = 200
INTERIOR_TOLERANCE = 1e-12
NEWTON_STEPS = 200
NEWTON_TOLERANCE = 1e-7
NEWTON_STALLED, NEWTON_ROUNDING = 10, 1e-4  # steps without progress, and how close is close enough then


class Fit(NamedTuple):
    """A linear classifier in terms of its n training images: score = kernel row · ``coefficients`` + ``intercept``."""

    coefficients: np.ndarray
    intercept: float
    steps: int
    converged: bool


def svm_path(kernel, labels, penalties=C_GRID):
    """What ``SVC(kernel="linear")`` minimises on the training images, for rising C.

    Where no image's multiplier reaches C, the margin is hard and the solution is that of every larger C too, so it is
    computed once. The same holds where those that reach C cancel out, as one picture with both labels does.

    An interior point method instead of libsvm: where classes overlap in a few features, as in the last layers, libsvm
    needs billions of steps for the larger C.

    Parameters
    ----------
    kernel : (n, n) ndarray
        Inner products of the training features.
    labels : (n,) ndarray
        0 or 1.
    penalties : sequence of float
        C, rising.

    Returns
    -------
    list of Fit
        Scores above zero are class 1.
    """
    signs = _signs(labels)
    centred, means, scale = _centred(kernel)
    # The images as points in as many dimensions as it takes, and a column of ones for the intercept.
    values, vectors = np.linalg.eigh(centred)
    kept = values > 1e-12 * values[-1]
    points = np.column_stack([vectors[:, kept] * np.sqrt(values[kept]), np.ones(len(signs))])
    fits, hard = [], False
    for penalty in penalties:
        if not hard:
            multipliers, weights, step, converged = _svm(points, signs, penalty * scale)
            coefficients = signs * multipliers / scale
            fit = Fit(coefficients, weights[-1] - means @ coefficients, step, converged)
            bounded = signs * (multipliers >= penalty * scale)
            hard = converged and bounded.sum() == 0 and np.abs(centred @ bounded).max() < 1e-12
        fits.append(fit)
    return fits


def _svm(points, signs, penalty):
    """A linear SVM by Mehrotra's interior point method, in the form of Gertz and Griffin (2010).

    With α the images' multipliers, between 0 and C, and λ those of these two bounds, a step solves for the weights
    only, (I + XᵀDX) Δw = r with D = 1 / (λ₀/α + λ₁/(C-α)). It has converged where the duality gap is
    `INTERIOR_TOLERANCE` of the loss, which leaves margins off by 1e-4 at most, by 2e-3 where one picture has both
    labels; libsvm is content with 1e-3.

    Parameters
    ----------
    points : (n, d + 1) ndarray
        The last column is ones: its weight is the intercept, which is not penalised.
    signs : (n,) ndarray
        -1 or 1.
    penalty : float

    Returns
    -------
    multipliers : (n,) ndarray
    weights : (d + 1,) ndarray
    steps : int
    converged : bool
    """
    from scipy.linalg import cho_factor, cho_solve

    penalised = np.ones(points.shape[1])
    penalised[-1] = 0
    sides = np.array([[1], [-1]])  # rows of room and of its multipliers: from 0 and from C
    # To begin with, half of what the smaller class can have, the other class as much in sum.
    counts = np.where(signs > 0, np.sum(signs > 0), np.sum(signs < 0))
    alpha = penalty / 2 * counts.min() / counts
    room = np.stack([alpha, penalty - alpha])
    weights = penalised * ((signs * alpha) @ points)
    multipliers = np.maximum(sides * (signs * (points @ weights) - 1), 0) + 1
    for step in range(INTERIOR_STEPS + 1):
        scores = points @ weights
        residual = signs * scores - 1 - (sides * multipliers).sum(0)
        apart = points.T @ (signs * room[0]) - penalised * weights
        gap = (room * multipliers).sum()
        loss = (penalised * weights) @ weights / 2 + penalty * np.maximum(0, 1 - signs * scores).sum()
        converged = bool(gap <= INTERIOR_TOLERANCE * loss and np.abs(residual).max() < 1e-8)
        if converged or step == INTERIOR_STEPS:
            break
        steepness = 1 / (multipliers / room).sum(0)
        weighted = points * np.sqrt(steepness)[:, None]
        system = weighted.T @ weighted
        system.flat[:: len(system) + 1] += penalised
        unit = 1 / np.sqrt(system.diagonal())
        system *= unit
        system *= unit[:, None]
        # Near the solution, rounding of its large parts can outweigh its small ones.
        system.flat[:: len(system) + 1] += len(system) * np.finfo(float).eps
        factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        # Twice with one factor: straight for the solution, then, by how far that gets, along the path's bend.
        target = -room * multipliers
        for corrects in False, True:
            right = (sides * target / room).sum(0) - residual
            of_weights = unit * cho_solve(factor, unit * (points.T @ (steepness * signs * right) + apart))
            of_room = sides * steepness * (right - signs * (points @ of_weights))
            of_multipliers = (target - multipliers * of_room) / room
            length = min(_longest(room, of_room), _longest(multipliers, of_multipliers))
            if not corrects:
                ahead = ((room + length * of_room) * (multipliers + length * of_multipliers)).sum()
                target = gap / room.size * (ahead / gap) ** 3 - room * multipliers - of_room * of_multipliers
        weights = weights + 0.99 * length * of_weights
        room, multipliers = room + 0.99 * length * of_room, multipliers + 0.99 * length * of_multipliers
    at_zero, at_penalty = room < multipliers
    return np.where(at_zero, 0, np.where(at_penalty, penalty, room[0])), weights, step, converged


def _longest(values, changes):
    """The longest step, at most one, that keeps values above zero."""
    return min(1.0, (values[changes < 0] / -changes[changes < 0]).min(initial=1.0))


def logistic_path(kernel, labels, penalties=C_GRID):
    """L2-regularised logistic regression with a free intercept, for rising C, each from the one before.

    Minimises ½‖w‖² + C Σ log(1 + exp(-y f)), f = w·x + b, as scikit-learn's LogisticRegression does. At the minimum
    w = Σ βᵢ xᵢ with βᵢ = C yᵢ σ(-yᵢ fᵢ), so Newton's method runs on the n numbers β and on b: with weights
    W = C σ(f) σ(-f) a step solves (K + W⁻¹) β + b 1 = f + (gradient) / W and 1·β = 0, through the well-conditioned
    I + √W K √W. A fit has converged where β and C y σ(-y f) agree to `NEWTON_TOLERANCE`, or as closely as rounding
    lets them, if that is `NEWTON_ROUNDING`: one picture with both labels has two large β that cancel.

    Parameters, returns
    -------------------
    As `svm_path`.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.special import expit

    signs = _signs(labels)
    centred, means, scale = _centred(kernel)

    def objective(beta, scores_of_beta, scores, penalty):
        return beta @ scores_of_beta / 2 + penalty * np.logaddexp(0, -signs * scores).sum()

    fits = []
    beta, intercept = np.zeros(len(signs)), 0.0
    product = np.zeros(len(signs))  # K β
    for penalty in (float(penalty) * scale for penalty in penalties):
        best, best_step = np.inf, 0
        for step in range(NEWTON_STEPS + 1):
            scores = product + intercept
            wrong = expit(-signs * scores)
            pull = penalty * signs * wrong
            error = np.abs(beta - pull).max() / np.abs(pull).max()
            if error < best / 2:
                best, best_step = error, step
            stalled = step == NEWTON_STEPS or (error < NEWTON_ROUNDING and step - best_step >= NEWTON_STALLED)
            if error <= NEWTON_TOLERANCE or stalled:
                break
            root = np.sqrt(penalty * wrong * (1 - wrong))
            # √(σ(-yf) / σ(yf)) = exp(-yf/2), which stays exact where both the gradient and W vanish.
            ratio = np.sqrt(penalty) * signs * np.exp(np.minimum(-signs * scores / 2, 300))
            system = centred * root
            system *= root[:, None]
            system.flat[:: len(system) + 1] += 1
            factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
            right = np.stack([root * scores + ratio, root], axis=1)
            solved = root[:, None] * cho_solve(factor, right, check_finite=False)
            new_intercept = solved[:, 0].sum() / solved[:, 1].sum()
            change = solved[:, 0] - new_intercept * solved[:, 1] - beta
            moved = centred @ change
            shift = moved + new_intercept - intercept
            before, slope = objective(beta, product, scores, penalty), change @ product - pull @ shift
            for length in 0.5 ** np.arange(30):
                after = objective(beta + length * change, product + length * moved, scores + length * shift, penalty)
                if after <= before + 1e-4 * length * slope + 1e-13 * abs(before):
                    break
            beta, intercept = beta + length * change, intercept + length * (new_intercept - intercept)
            product = centred @ beta  # anew, so that rounding does not add up
        coefficients = beta / scale
        fits.append(Fit(coefficients, intercept - means @ coefficients, step, bool(error < NEWTON_ROUNDING)))
    return fits


def _signs(labels):
    return np.where(np.asarray(labels) == 1, 1.0, -1.0)


def _centred(kernel):
    """The kernel of centred features with a mean diagonal of one, the kernel's column means, what it was divided by.

    The intercept is free, so features may be centred, which keeps digits; and K/s with C·s is the same problem.
    """
    means = kernel.mean(0)
    centred = kernel - means - means[:, None] + means.mean()
    scale = np.trace(centred) / len(centred) or 1.0
    return centred / scale, means, scale
