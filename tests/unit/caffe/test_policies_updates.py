"""Learning-rate policies and the six update rules against plain numpy formulas, over several iterations."""

import math
import re

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

import caffe
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2
from caffe.solvers.policies import learning_rate
from helpers.layer_checks import FLOOR, close, examples, values


def message(text):
    """A ``SolverParameter`` from text format."""
    return text_format.Parse(text, caffe_pb2.SolverParameter())


# policies


POLICIES = {
    "fixed": lambda p, i: 1,
    "step": lambda p, i: p.gamma ** (i // p.stepsize),
    "exp": lambda p, i: p.gamma**i,
    "inv": lambda p, i: (1 + p.gamma * i) ** -p.power,
    "poly": lambda p, i: (1 - np.float32(i) / np.float32(p.max_iter)) ** p.power,
    "sigmoid": lambda p, i: 1 / (1 + math.exp(-p.gamma * (i - p.stepsize))),
    "multistep": lambda p, i: p.gamma ** sum(i >= s for s in p.stepvalue),
}


@pytest.mark.parametrize("policy", POLICIES)
@examples(25)
@given(
    st.sampled_from([0.1, 0.001]),
    st.sampled_from([0.1, 0.5, 0.96]),
    st.sampled_from([0.5, 0.75, 1, 2]),
    st.integers(1, 7),
    st.integers(20, 30),
    st.lists(st.integers(0, 25), min_size=1, max_size=4, unique=True),
)
def test_policies(policy, base, gamma, power, stepsize, max_iter, stepvalues):
    text = f"lr_policy: '{policy}' base_lr: {base} gamma: {gamma} power: {power} stepsize: {stepsize}"
    param = message(f"{text} max_iter: {max_iter}" + "".join(f" stepvalue: {s}" for s in sorted(stepvalues)))
    step = 0
    for i in range(max_iter):
        rate, step = learning_rate(param, i, step)
        assert rate == pytest.approx(param.base_lr * POLICIES[policy](param, i), rel=1e-6)
    if policy == "step":
        assert step == (max_iter - 1) // stepsize


# what a C++ program with Caffe's expressions on floats printed, with nine digits
MEASURED = {
    "step": [0.0130000003, 0.0048100003, 4.56622365e-06, 4.1234193e-31],
    "exp": [0.0048100003, 1.23411455e-05, 6.9504439e-20, 0],
    "inv": [0.0102660395, 0.00498451013, 0.00164040294, 0.000349402457],
    "multistep": [0.0130000003, 0.0048100003, 0.00177970005, 0.00177970005],
    "poly": [0.0129902493, 0.0129316906, 0.0126080168, 0.00959484],
    "sigmoid": [0.00241055642, 0.00880094618, 0.0129999695, 0.0130000003],
}


@pytest.mark.parametrize("policy", MEASURED)
def test_rates_are_caffes_floats(policy):
    more = "gamma: 0.37 power: 0.75 stepsize: 5 max_iter: 1000 stepvalue: 3 stepvalue: 30"
    param, step, rates = message(f"lr_policy: '{policy}' base_lr: 0.013 {more}"), 0, []
    for i in (1, 7, 40, 333):
        rate, step = learning_rate(param, i, step)
        assert rate == np.float32(rate)
        rates.append(float(f"{rate:.9g}"))
    assert rates == MEASURED[policy]


def test_a_rate_is_logged_as_caffe_logs_its_float():
    rate, _ = learning_rate(message("lr_policy: 'inv' base_lr: 0.01 gamma: 0.0001 power: 0.75"), 40, 0)
    assert f"{rate:.6g}" == "0.00997011"


@pytest.mark.parametrize("policy", ["step", "exp", "inv", "multistep", "sigmoid"])
def test_a_negative_gamma_is_refused(policy):
    with pytest.raises(CaffeError, match="gamma"):
        learning_rate(message(f"lr_policy: '{policy}' base_lr: 1 stepsize: 2 gamma: -0.5"), 3, 0)


def test_multistep_passes_one_boundary_an_evaluation():
    param = message("lr_policy: 'multistep' base_lr: 1 gamma: 0.1 stepvalue: 2 stepvalue: 3 stepvalue: 3")
    step, rates = 0, []
    for _ in range(4):
        rate, step = learning_rate(param, 10, step)
        rates.append(rate)
    assert rates == pytest.approx([0.1, 0.01, 0.001, 0.001])


@pytest.mark.parametrize(("policy", "field"), [("poly", "max_iter"), ("step", "stepsize"), ("sigmoid", "stepsize")])
def test_what_a_policy_divides_by_must_be_given(policy, field):
    with pytest.raises(CaffeError, match=f"'{policy}' needs a positive {field}"):
        learning_rate(message(f"lr_policy: '{policy}' base_lr: 1"), 3, 0)


def test_an_unknown_policy_is_named():
    with pytest.raises(CaffeError, match=r"Unknown learning rate policy: cosine \(known: fixed,"):
        learning_rate(message("lr_policy: 'cosine' base_lr: 1"), 0, 0)


# update rules; each returns what is subtracted and keeps its histories in ``state``


def sgd(p, g, state, rate, i):
    state["h"] = p.momentum * state.get("h", 0) + rate * g
    return state["h"]


def nesterov(p, g, state, rate, i):
    before = state.get("h", 0)
    state["h"] = p.momentum * before + rate * g
    return (1 + p.momentum) * state["h"] - p.momentum * before


def adagrad(p, g, state, rate, i):
    state["h"] = state.get("h", 0) + g * g
    return rate * g / (np.sqrt(state["h"]) + p.delta)


def rmsprop(p, g, state, rate, i):
    state["h"] = p.rms_decay * state.get("h", 0) + (1 - p.rms_decay) * g * g
    return rate * g / (np.sqrt(state["h"]) + p.delta)


def adadelta(p, g, state, rate, i):
    state["h"] = p.momentum * state.get("h", 0) + (1 - p.momentum) * g * g
    step = g * np.sqrt((state.get("u", 0) + p.delta) / (state["h"] + p.delta))
    state["u"] = p.momentum * state.get("u", 0) + (1 - p.momentum) * step * step
    return rate * step


def adam(p, g, state, rate, i):
    b1, b2, t = p.momentum, p.momentum2, i + 1
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
    return rate * math.sqrt(1 - b2**t) / (1 - b1**t) * state["m"] / (np.sqrt(state["v"]) + p.delta)


RULES = {"SGD": sgd, "Nesterov": nesterov, "AdaGrad": adagrad, "RMSProp": rmsprop, "AdaDelta": adadelta, "Adam": adam}

NET = """
net_param {{
  layer {{ name: 'data' type: 'MemoryData' top: 'x' top: 't'
           memory_data_param {{ batch_size: 4 channels: 3 height: 1 width: 1 }} }}
  layer {{ name: 'a' type: 'InnerProduct' bottom: 'x' top: 'h' {0} {1}
           inner_product_param {{ num_output: 5 weight_filler {{ type: 'xavier' }} }} }}
  layer {{ name: 'b' type: 'InnerProduct' bottom: 'h' top: 'y' {2} {3}
           inner_product_param {{ num_output: 1 weight_filler {{ type: 'xavier' }} }} }}
  layer {{ name: 'loss' type: 'EuclideanLoss' bottom: 'y' bottom: 't' top: 'loss' }}
}}
snapshot_after_train: false
"""


class Plain:
    """The same two layers and their training in numpy."""

    def __init__(self, param, weights, multipliers, x, t):
        self.p, self.multipliers, self.x, self.t = param, multipliers, x.reshape(len(x), -1), t.reshape(len(t), -1)
        self.weights = [w.astype(np.float64) for w in weights]
        self.states = [{} for _ in weights]
        self.position = self.step = 0
        self.losses = []

    def gradients(self):
        """Loss and gradients on the next batch of four."""
        batch = slice(self.position, self.position + 4)
        self.position = batch.stop % len(self.x)
        x, t = self.x[batch], self.t[batch]
        w1, b1, w2, b2 = self.weights
        h = x @ w1.T + b1
        y = h @ w2.T + b2
        dy = (y - t) / len(x)
        dh = dy @ w2
        return ((y - t) ** 2).sum() / 2 / len(x), [dh.T @ x, dh.sum(0), dy.T @ h, dy.sum(0)]

    def iterate(self, i):
        """One iteration; the updated weights are in ``weights``."""
        p = self.p
        passes = [self.gradients() for _ in range(p.iter_size)]
        self.losses.append(sum(loss for loss, _ in passes) / p.iter_size)
        grads = [sum(g) for g in zip(*(g for _, g in passes))]
        # a parameter without rate gets no gradient, and so does not count in the norm
        grads = [g if lr else 0 * g for g, (lr, _) in zip(grads, self.multipliers)]
        norm = math.sqrt(sum((g * g).sum() for g in grads))
        if 0 <= p.clip_gradients < norm:
            grads = [g * p.clip_gradients / norm for g in grads]
        rate = p.base_lr * POLICIES[p.lr_policy](p, i)
        for w, g, state, (lr, decay) in zip(self.weights, grads, self.states, self.multipliers):
            g = g / p.iter_size
            g = g + p.weight_decay * decay * (np.sign(w) if p.regularization_type == "L1" else w)
            w -= RULES[p.type](p, g, state, rate * lr, i)


def pair(text, multipliers=((1, 1),) * 4, seed=0):
    """A solver and its plain twin, with the same weights and data."""
    specs = [f"param {{ lr_mult: {lr} decay_mult: {decay} }}" for lr, decay in multipliers]
    solver = caffe.Solver(message(NET.format(*specs) + text))
    x, t = values(seed, (12, 3, 1, 1)), values(seed + 1, (12, 1, 1, 1))
    solver.net.set_input_arrays(x, t)
    blobs = [blob for blobs in solver.net.params.values() for blob in blobs]
    for i, blob in enumerate(blobs):
        blob.data[...] = values(seed + 2 + i, blob.data.shape)
    return solver, Plain(solver.param, [b.data.copy() for b in blobs], multipliers, x, t)


def compare(text, multipliers=((1, 1),) * 4, iterations=6, seed=0):
    """Train both ways on the same batches; hold weights and updates after every iteration."""
    solver, plain = pair(text, multipliers, seed)
    blobs = [blob for blobs in solver.net.params.values() for blob in blobs]
    for i in range(iterations):
        before = [w.copy() for w in plain.weights]
        plain.iterate(i)
        solver.step(1)
        for blob, was, now in zip(blobs, before, plain.weights):
            close(blob.data, now, 1e-4, f"{text} iteration {i}", FLOOR)
            close(blob.diff, was - now, 1e-3, f"{text} update {i}", floor=1e-3)
    assert solver.iter == iterations
    return solver


DEFAULTS = {
    "SGD": "momentum: 0.9",
    "Nesterov": "momentum: 0.9",
    "AdaGrad": "",
    "RMSProp": "rms_decay: 0.9",
    "AdaDelta": "momentum: 0.95 delta: 1e-5",
    "Adam": "momentum: 0.9 momentum2: 0.99",
}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_rule_under_every_policy(kind, policy):
    compare(
        f"type: '{kind}' {DEFAULTS[kind]} base_lr: 0.05 lr_policy: '{policy}' gamma: 0.5 power: 0.75 stepsize: 2"
        " stepvalue: 2 stepvalue: 3 max_iter: 20 weight_decay: 0.01"
    )


@pytest.mark.parametrize("kind", RULES)
@examples(15)
@given(st.data())
def test_update_rules(kind, data):
    def pick(*choices):
        return data.draw(st.sampled_from(choices))

    text = f"type: '{kind}' lr_policy: 'fixed' base_lr: {pick(0.03, 0.005)} weight_decay: {pick(0, 0.1)}"
    text += f" regularization_type: '{pick('L1', 'L2')}' iter_size: {pick(1, 2, 3)}"
    text += f" clip_gradients: {pick(-1, 0.5, 5)}"
    if kind == "RMSProp":
        text += f" rms_decay: {pick(0.5, 0.98)}"
    elif kind != "AdaGrad":
        text += f" momentum: {pick(0, 0.5, 0.9)}"
    if kind == "Adam":
        text += f" momentum2: {pick(0.9, 0.999)}"
    if kind in ("AdaGrad", "RMSProp", "AdaDelta", "Adam"):
        text += f" delta: {pick(1e-3, 0.1)}"
    multipliers = [(pick(0, 1, 2), pick(0, 1, 0.5)) for _ in range(4)]
    if not any(lr for lr, _ in multipliers):
        multipliers[0] = (1, 1)
    compare(text, multipliers, seed=data.draw(st.integers(0, 999)))


@pytest.mark.parametrize("kind", ["AdaGrad", "RMSProp"])
def test_rules_without_momentum_refuse_it(kind):
    with pytest.raises(CaffeError, match=f"Momentum cannot be used with {kind}"):
        pair(f"type: '{kind}' momentum: 0.9 lr_policy: 'fixed' base_lr: 1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("type: 'LBFGS' lr_policy: 'fixed'", "Unknown solver type: LBFGS"),
        ("regularization_type: 'L3' weight_decay: 1 lr_policy: 'fixed'", "Unknown regularization type: L3"),
        ("average_loss: 0 lr_policy: 'fixed'", "average_loss"),
        ("lr_policy: 'cosine'", "Unknown learning rate policy: cosine"),
    ],
)
def test_wrong_solvers_are_named(text, said):
    with pytest.raises(CaffeError, match=said):
        pair(text + " base_lr: 0.1")[0].step(1)


def test_a_lower_rate_does_not_rescale_old_momentum():
    solver = compare("lr_policy: 'step' stepsize: 1 gamma: 0 momentum: 0.5 base_lr: 0.1", iterations=1)
    update = solver.net.params["a"][0].diff.copy()
    assert update.any()
    solver.step(1)  # at rate 0: only the momentum is left
    close(solver.net.params["a"][0].diff, update / 2)


def test_what_users_add_to_a_gradient_is_used():
    solver = caffe.Solver(message(NET.format("", "", "", "") + "lr_policy: 'fixed' base_lr: 0.5"))
    solver.net.set_input_arrays(values(0, (4, 3, 1, 1)), values(1, (4, 1, 1, 1)))
    solver.net.forward()
    solver.net.clear_param_diffs()
    weights = solver.net.params["a"][0]
    before = weights.data.copy()
    weights.diff[...] = 3
    solver.apply_update()
    close(weights.data, before - 1.5)
    assert solver.iter == 1


@pytest.mark.parametrize("average", [1, 3])
def test_the_displayed_loss_is_the_mean_of_the_last(average, monkeypatch, capsys):
    monkeypatch.setattr("caffe.runtime.glog._minimum", 0)
    solver, plain = pair(f"lr_policy: 'fixed' base_lr: 0.01 average_loss: {average} iter_size: 2 display: 1")
    capsys.readouterr()
    solver.step(5)
    shown = [float(n) for n in re.findall(r"Iteration \d+.*, loss = (\S+)", capsys.readouterr().err)]
    for i in range(5):
        plain.iterate(i)
    expected = [np.mean(plain.losses[max(0, i + 1 - average) : i + 1]) for i in range(5)]
    assert shown == pytest.approx(expected, rel=1e-4)
