"""RNN, LSTM and LSTMUnit for ``reference``: one stream and one step at a time, backward through all steps."""

import numpy as np


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _unit(cell, gates, marker):
    """One step of one stream, and a function from the diffs of its cell and output to those of cell and gates."""
    i, f, o = (_sigmoid(part) for part in np.split(gates, 4)[:3])
    g = np.tanh(np.split(gates, 4)[3])
    f = marker * f
    new = f * cell + i * g
    tanh = np.tanh(new)

    def backward(dcell, dout):
        dcell = dcell + dout * o * (1 - tanh**2)
        # the forget gate's derivative as if the marker were part of the sigmoid
        dgates = [
            dcell * g * i * (1 - i),
            dcell * cell * f * (1 - f),
            dout * tanh * o * (1 - o),
            dcell * i * (1 - g**2),
        ]
        return dcell * f, np.concatenate(dgates)

    return new, o * tanh, backward


def lstm_unit(p, bottoms, blobs, train, tops):
    cell, gates, marker = bottoms
    steps = [_unit(cell[0, n], gates[0, n], marker[0, n]) for n in range(cell.shape[1])]

    def backward(dys):
        diffs = [step[2](dys[0][0, n], dys[1][0, n]) for n, step in enumerate(steps)]
        return [np.array([[d[0] for d in diffs]]), np.array([[d[1] for d in diffs]]), None], []

    return [np.array([[step[0] for step in steps]]), np.array([[step[1] for step in steps]])], backward


def _split(p, bottoms, blobs, states):
    """Inputs by name, parameters by name, and the state before the first step (zero unless given)."""
    exposed = states if p.recurrent_param.expose_hidden else 0
    x, markers, *rest = bottoms
    static = rest.pop(0) if len(rest) > exposed else None
    n = p.recurrent_param.num_output
    before = [state[0] for state in rest] or [np.zeros((x.shape[1], n))] * states
    weight, bias, *others = blobs
    return x, markers, static, before, weight, bias, others.pop(0) if static is not None else None, others


def _inputs(x, static, weight, bias, static_weight):
    """What each step gets from x and the static input, and the diffs of these and of their weights."""
    flat = x.reshape(*x.shape[:2], -1)
    y = flat @ weight.T + bias
    if static is not None:
        y = y + static.reshape(len(static), -1) @ static_weight.T

    def backward(dy):
        rows = dy.reshape(-1, dy.shape[-1])
        diffs = [(dy @ weight).reshape(x.shape), None]
        grads = [rows.T @ flat.reshape(len(rows), -1), rows.sum(0)]
        if static is not None:
            each = dy.sum(0)
            diffs.append((each @ static_weight).reshape(static.shape))
            grads.append(each.T @ static.reshape(len(static), -1))
        return diffs, grads

    return y, backward


def lstm(p, bottoms, blobs, train, tops):
    x, markers, static, (h, c), weight, bias, static_weight, (recurrent,) = _split(p, bottoms, blobs, 2)
    inputs, below = _inputs(x, static, weight, bias, static_weight)
    outputs, steps = [], []
    for t in range(len(x)):
        conted = h * markers[t][:, None]
        gates = inputs[t] + conted @ recurrent.T
        units = [_unit(c[n], gates[n], markers[t, n]) for n in range(len(h))]
        c, h = (np.array([unit[i] for unit in units]) for i in (0, 1))
        steps.append((conted, units))
        outputs.append(h)

    def backward(dys):
        dh, dc = np.zeros_like(h), np.zeros_like(c)
        drecurrent, dgates = np.zeros_like(recurrent), []
        for t in reversed(range(len(x))):
            conted, units = steps[t]
            diffs = [unit[2](dc[n], dys[0][t, n] + dh[n]) for n, unit in enumerate(units)]
            dc, dgate = (np.array([d[i] for d in diffs]) for i in (0, 1))
            dgates.insert(0, dgate)
            drecurrent += dgate.T @ conted
            dh = dgate @ recurrent * markers[t][:, None]
        diffs, grads = below(np.array(dgates))
        return diffs + [None] * (len(bottoms) - len(diffs)), [*grads, drecurrent]

    return [np.array(outputs), h[None], c[None]][:tops], backward


def rnn(p, bottoms, blobs, train, tops):
    x, markers, static, (h,), weight, bias, static_weight, others = _split(p, bottoms, blobs, 1)
    recurrent, out_weight, out_bias = others
    inputs, below = _inputs(x, static, weight, bias, static_weight)
    hidden, conted = [], []
    for t in range(len(x)):
        conted.append(h * markers[t][:, None])
        h = np.tanh(inputs[t] + conted[t] @ recurrent.T)
        hidden.append(h)
    y = np.tanh(np.array(hidden) @ out_weight.T + out_bias)

    def backward(dys):
        dout = dys[0] * (1 - y**2)
        rows = dout.reshape(-1, dout.shape[-1])
        dh, drecurrent, dsteps = np.zeros_like(h), np.zeros_like(recurrent), []
        for t in reversed(range(len(x))):
            dstep = (dh + dout[t] @ out_weight) * (1 - hidden[t] ** 2)
            dsteps.insert(0, dstep)
            drecurrent += dstep.T @ conted[t]
            dh = dstep @ recurrent * markers[t][:, None]
        diffs, grads = below(np.array(dsteps))
        grads += [drecurrent, rows.T @ np.array(hidden).reshape(len(rows), -1), rows.sum(0)]
        return diffs + [None] * (len(bottoms) - len(diffs)), grads

    return [y, h[None]][:tops], backward
