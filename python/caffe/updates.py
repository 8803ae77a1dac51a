"""The six update rules (solvers/*_solver.cpp): a gradient becomes what is subtracted from the weights.

``histories`` is Caffe's list: one tensor per parameter, and for AdaDelta and Adam a second full set behind the first.
Every rule changes the histories in place and returns the update, which may be a history itself.
"""

import math

from .errors import CaffeError


class Rule:
    """One update rule; ``sets`` is how many full sets of histories it keeps."""

    sets = 1

    def __init__(self, param):
        self.param = param

    def update(self, grad, history, second, rate, iteration):
        """The tensor to subtract from the weights, from gradient, histories, local rate and iteration."""
        raise NotImplementedError

    def _refuse_momentum(self, name):
        if self.param.momentum != 0:
            raise CaffeError(f"Momentum cannot be used with {name}.")


class SGD(Rule):
    """h = momentum · h + rate · g: the rate is inside the history, so a lower rate does not rescale old momentum."""

    def update(self, grad, history, second, rate, iteration):
        return history.mul_(self.param.momentum).add_(grad, alpha=rate)


class Nesterov(Rule):
    """(1 + momentum) · h − momentum · (the h before)."""

    def update(self, grad, history, second, rate, iteration):
        momentum = self.param.momentum
        before = history.clone()
        history.mul_(momentum).add_(grad, alpha=rate)
        return before.mul_(-momentum).add_(history, alpha=1 + momentum)


class AdaGrad(Rule):
    """rate · g / (√Σg² + delta)."""

    def __init__(self, param):
        super().__init__(param)
        self._refuse_momentum("AdaGrad")

    def update(self, grad, history, second, rate, iteration):
        history.addcmul_(grad, grad)
        return (grad / history.sqrt().add_(self.param.delta)).mul_(rate)


class RMSProp(Rule):
    """rate · g / (√(decaying mean of g²) + delta)."""

    def __init__(self, param):
        super().__init__(param)
        self._refuse_momentum("RMSProp")
        if not 0 <= param.rms_decay < 1:
            raise CaffeError(f"rms_decay should lie between 0 and 1, not {param.rms_decay:g}.")

    def update(self, grad, history, second, rate, iteration):
        history.mul_(self.param.rms_decay).addcmul_(grad, grad, value=1 - self.param.rms_decay)
        return (grad / history.sqrt().add_(self.param.delta)).mul_(rate)


class AdaDelta(Rule):
    """g scaled by the ratio of the running sizes of past updates and past gradients."""

    sets = 2

    def update(self, grad, history, second, rate, iteration):
        momentum, delta = self.param.momentum, self.param.delta
        history.mul_(momentum).addcmul_(grad, grad, value=1 - momentum)
        step = grad * ((second + delta) / (history + delta)).sqrt_()
        second.mul_(momentum).addcmul_(step, step, value=1 - momentum)
        return step.mul_(rate)


class Adam(Rule):
    """rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + delta), t = iteration + 1."""

    sets = 2

    def update(self, grad, history, second, rate, iteration):
        beta1, beta2 = self.param.momentum, self.param.momentum2
        history.mul_(beta1).add_(grad, alpha=1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        t = iteration + 1
        correction = math.sqrt(1 - beta2**t) / (1 - beta1**t)
        return (history / second.sqrt().add_(self.param.delta)).mul_(rate * correction)


RULES = {"SGD": SGD, "Nesterov": Nesterov, "AdaGrad": AdaGrad, "RMSProp": RMSProp, "AdaDelta": AdaDelta, "Adam": Adam}
