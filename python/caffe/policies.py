"""Learning-rate policies (sgd_solver.cpp, GetLearningRate)."""

import numpy as np

from .errors import CaffeError
from .glog import log


@np.errstate(all="ignore")
def learning_rate(param, iteration, current_step):
    """The rate at ``iteration`` and the number of multistep boundaries passed.

    ``multistep`` advances at most one boundary per evaluation, as Caffe does. Raises CaffeError for an unknown policy.
    """
    # numpy's numbers overflow to infinity and take roots of negatives to NaN, as C++'s do
    base, gamma, policy = np.float64(param.base_lr), np.float64(param.gamma), param.lr_policy
    if policy == "fixed":
        rate = base
    elif policy == "step":
        if param.stepsize < 1:
            raise CaffeError("The policy 'step' needs a positive stepsize.")
        current_step = iteration // param.stepsize
        rate = base * gamma**current_step
    elif policy == "exp":
        rate = base * gamma**iteration
    elif policy == "inv":
        rate = base * (1 + gamma * iteration) ** -param.power
    elif policy == "multistep":
        if current_step < len(param.stepvalue) and iteration >= param.stepvalue[current_step]:
            current_step += 1
            log("sgd_solver.cpp:50", f"MultiStep Status: Iteration {iteration}, step = {current_step}")
        rate = base * gamma**current_step
    elif policy == "poly":
        if param.max_iter < 1:
            raise CaffeError("The policy 'poly' needs a positive max_iter.")
        rate = base * np.float64(1 - iteration / param.max_iter) ** param.power
    elif policy == "sigmoid":
        rate = base / (1 + np.exp(-gamma * (iteration - param.stepsize)))
    else:
        raise CaffeError(
            f"Unknown learning rate policy: {policy} (known: fixed, step, exp, inv, multistep, poly, sigmoid)"
        )
    return float(rate), current_step
