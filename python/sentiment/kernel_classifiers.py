"""Linear classifiers fitted to inner products alone: the SVM, and L2 logistic regression (§4.2's "Softmax").

The weights of both are combinations of the training features, so n inner products an image say as much as the features,
however many these are. Both fits are exact: they minimise what scikit-learn's ``SVC(kernel="linear")`` and
``LogisticRegression`` minimise on the features as they are, unscaled.
"""

from typing import NamedTuple

import numpy as np

from sentiment import paper

C_GRID = tuple(2.0**exponent for exponent in paper.C_GRID_EXPONENTS)

SVM_STEPS = 20_000_000  # of libsvm; where two scores overlap it needs millions, about 10 s
NEWTON_STEPS = 200
NEWTON_TOLERANCE = 1e-7


class Fit(NamedTuple):
    """A linear classifier in terms of its n training images: score = kernel row · ``coefficients`` + ``intercept``."""

    coefficients: np.ndarray
    intercept: float
    steps: int
    converged: bool


def svm_path(kernel, labels, penalties=C_GRID):
    """``SVC(kernel="linear")`` on the training images, for rising C.

    Where no image's multiplier reaches C, the margin is hard and the solution is that of every larger C too, so it is
    computed once.

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
    from sklearn.svm import SVC

    fits, hard = [], False
    for penalty in penalties:
        if hard:
            fits.append(fits[-1])
            continue
        model = SVC(C=penalty, kernel="precomputed", max_iter=SVM_STEPS)
        model.fit(kernel, labels)
        coefficients = np.zeros(len(labels))
        coefficients[model.support_] = model.dual_coef_[0]
        fits.append(Fit(coefficients, float(model.intercept_[0]), int(model.n_iter_[0]), model.fit_status_ == 0))
        hard = fits[-1].converged and np.abs(coefficients).max() < penalty
    return fits


def logistic_path(kernel, labels, penalties=C_GRID):
    """L2-regularised logistic regression with a free intercept, for rising C, each from the one before.

    Minimises ½‖w‖² + C Σ log(1 + exp(-y f)), f = w·x + b, as scikit-learn's LogisticRegression does. At the minimum
    w = Σ βᵢ xᵢ with βᵢ = C yᵢ σ(-yᵢ fᵢ), so Newton's method runs on the n numbers β and on b: with weights
    W = C σ(f) σ(-f) a step solves (K + W⁻¹) β + b 1 = f + (gradient) / W and 1·β = 0, through the well-conditioned
    I + √W K √W. A fit has converged where β and C y σ(-y f) agree to `NEWTON_TOLERANCE`.

    Parameters, returns
    -------------------
    As `svm_path`.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.special import expit

    signs = np.where(np.asarray(labels) == 1, 1.0, -1.0)
    # The intercept is free, so features may be centred, which keeps digits; and K/s with C·s is the same problem.
    means = kernel.mean(0)
    centred = kernel - means - means[:, None] + means.mean()
    scale = np.trace(centred) / len(centred) or 1.0
    centred /= scale

    def objective(beta, scores_of_beta, scores, penalty):
        return beta @ scores_of_beta / 2 + penalty * np.logaddexp(0, -signs * scores).sum()

    fits = []
    beta, intercept = np.zeros(len(signs)), 0.0
    product = np.zeros(len(signs))  # K β
    for penalty in (float(penalty) * scale for penalty in penalties):
        for step in range(NEWTON_STEPS + 1):
            scores = product + intercept
            wrong = expit(-signs * scores)
            pull = penalty * signs * wrong
            converged = np.abs(beta - pull).max() <= NEWTON_TOLERANCE * np.abs(pull).max()
            if converged or step == NEWTON_STEPS:
                break
            root = np.sqrt(penalty * wrong * (1 - wrong))
            system = centred * root
            system *= root[:, None]
            system.flat[:: len(system) + 1] += 1
            # √(σ(-yf) / σ(yf)) = exp(-yf/2), which stays exact where both the gradient and W vanish.
            ratio = np.sqrt(penalty) * signs * np.exp(np.minimum(-signs * scores / 2, 300))
            right = np.stack([root * scores + ratio, root], axis=1)
            factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
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
        fits.append(Fit(coefficients, intercept - means @ coefficients, step, bool(converged)))
    return fits
