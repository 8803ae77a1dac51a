"""Learning-rate policies (sgd_solver.cpp, GetLearningRate)."""

import numpy as np

from ..errors import CaffeError
from ..runtime.glog import log


@np.errstate(all="ignore")
def learning_rate(param, iteration, current_step):
    """The rate at ``iteration`` and the number of multistep boundaries passed.

    The rate is the float32 of Caffe's arithmetic, in which powers are in single precision if the exponent is a float
    and in double if it is an integer. ``multistep`` advances at most one boundary per evaluation, as in Caffe. Raises
    CaffeError for an unknown policy, and for a gamma or stepsize that Caffe refuses.
    """
    # numpy's scalars overflow to infinity and give NaN for roots of negative numbers, as in C++
    base, gamma, power = np.float32(param.base_lr), np.float32(param.gamma), np.float32(param.power)
    policy, stepsize = param.lr_policy, param.stepsize
    if policy not in ("fixed", "poly") and gamma < 0:
        raise CaffeError(f"The policy '{policy}' needs a gamma of at least 0, not {param.gamma:g}.")
    if policy in ("step", "sigmoid") and stepsize < 1:
        raise CaffeError(f"The policy '{policy}' needs a positive stepsize.")
    if policy == "fixed":
        rate = base
    elif policy == "step":
        current_step = iteration // stepsize
        rate = _whole_power(base, gamma, current_step)
    elif policy == "exp":
        rate = _whole_power(base, gamma, iteration)
    elif policy == "inv":
        rate = base * _power(1 + gamma * np.float32(iteration), -power)
    elif policy == "multistep":
        if current_step < len(param.stepvalue) and iteration >= param.stepvalue[current_step]:
            current_step += 1
            log("sgd_solver.cpp:50", f"MultiStep Status: Iteration {iteration}, step = {current_step}")
        rate = _whole_power(base, gamma, current_step)
    elif policy == "poly":
        if param.max_iter < 1:
            raise CaffeError("The policy 'poly' needs a positive max_iter.")
        rate = base * _power(1 - np.float32(iteration) / np.float32(param.max_iter), power)
    elif policy == "sigmoid":
        argument = -gamma * (np.float32(iteration) - np.float32(stepsize))
        rate = base * (1 / (1 + np.float32(np.exp(np.float64(argument)))))
    else:
        raise CaffeError(
            f"Unknown learning rate policy: {policy} (known: fixed, step, exp, inv, multistep, poly, sigmoid)"
        )
    return float(rate), current_step


def _power(base, exponent):
    """``base ** exponent`` as C++ computes it for two floats."""
    return np.float32(np.float64(base) ** np.float64(exponent))


def _whole_power(rate, base, exponent):
    """``rate * base ** exponent`` as C++ computes it for an integer exponent, in double precision."""
    return np.float32(np.float64(rate) * np.float64(base) ** exponent)
