"""The six update rules (solvers/*_solver.cpp), from a gradient to what is subtracted from the weights.

Histories are those of Caffe: one tensor per parameter, two for AdaDelta and Adam; rules change them in place.
"""

import math

from torch.optim.sgd import sgd

from ..errors import CaffeError


class Rule:
    """An update rule; ``sets`` is the number of history tensors per parameter."""

    sets = 1

    def __init__(self, param):
        self.param = param

    def apply(self, weights, grad, history, second, rate, decay, iteration):
        """Regularize one parameter's gradient and update its weights and histories in place.

        Parameters
        ----------
        weights, grad, history, second : torch.Tensor
            Of one shape; ``second`` is None for a rule with one history.
        rate, decay : float
            The parameter's own learning rate and weight decay.
        iteration : int

        Returns
        -------
        torch.Tensor
            What was subtracted from the weights; it may be the history itself.
        """
        if decay:
            self._regularize(grad, weights, decay)
        update = self.update(grad, history, second, rate, iteration)
        weights.sub_(update)
        return update

    def _regularize(self, grad, weights, decay):
        kind = self.param.regularization_type
        if kind == "L2":
            grad.add_(weights, alpha=decay)
        elif kind == "L1":
            grad.add_(weights.sign(), alpha=decay)
        else:
            raise CaffeError(f"Unknown regularization type: {kind} (known: L1, L2)")

    def update(self, grad, history, second, rate, iteration):
        """The tensor to subtract from the weights, from gradient, histories, local rate and iteration."""
        raise NotImplementedError

    def _refuse_momentum(self, name):
        if self.param.momentum != 0:
            raise CaffeError(f"Momentum cannot be used with {name}.")


def _momentum(history, momentum, grad, rate):
    """Update the history by a step; at rate 0 nothing is added, not even NaN, as in Caffe's BLAS libraries."""
    history.mul_(momentum)
    return history.add_(grad, alpha=rate) if rate else history


class SGD(Rule):
    """h = momentum · h + rate · g; the rate is part of the history, so a lower rate does not rescale old momentum."""

    def apply(self, weights, grad, history, second, rate, decay, iteration):
        """As for any rule, but with momentum in torch's single pass over memory, which takes a third of the time.

        torch's buffer is momentum · h + (1 − dampening) · g, without the rate; so our rate is passed as dampening.
        """
        momentum = self.param.momentum
        if not momentum or not rate or (decay and self.param.regularization_type != "L2"):
            return super().apply(weights, grad, history, second, rate, decay, iteration)
        constants = dict(momentum=momentum, weight_decay=decay, dampening=1 - rate, lr=1.0)
        sgd([weights], [grad], [history], fused=True, nesterov=False, maximize=False, **constants)
        return history

    def update(self, grad, history, second, rate, iteration):
        return _momentum(history, self.param.momentum, grad, rate)


class Nesterov(Rule):
    """(1 + momentum) · h − momentum · (h before the update)."""

    def update(self, grad, history, second, rate, iteration):
        momentum = self.param.momentum
        before = history.clone()
        _momentum(history, momentum, grad, rate)
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

    def __init__(self, param):
        super().__init__(param)
        for name in ("momentum", "momentum2"):
            value = getattr(param, name)
            if not 0 <= value < 1:
                raise CaffeError(
                    f"Adam's {name} should be at least 0 and less than 1, not {value:g}, to correct its bias."
                )

    def update(self, grad, history, second, rate, iteration):
        beta1, beta2 = self.param.momentum, self.param.momentum2
        history.mul_(beta1).add_(grad, alpha=1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        t = iteration + 1
        correction = math.sqrt(1 - beta2**t) / (1 - beta1**t)
        return (history / second.sqrt().add_(self.param.delta)).mul_(rate * correction)


RULES = {"SGD": SGD, "Nesterov": Nesterov, "AdaGrad": AdaGrad, "RMSProp": RMSProp, "AdaDelta": AdaDelta, "Adam": Adam}
