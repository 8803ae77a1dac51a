"""LSTM, RNN and LSTMUnit (recurrent_layer.cpp, lstm_layer.cpp, rnn_layer.cpp, lstm_unit_layer.cpp).

Caffe unrolls RNN and LSTM into a net of their own. Here they are loops over the time steps with the same parameters,
random numbers, results and gradients.
"""

import math

import torch
import torch.nn.functional as F

from ..random.fillers import fill
from ..random.rng import global_stream
from ..runtime.blob import Blob, from_array
from ..runtime.glog import log
from .base import Layer, register


class _Recurrent(Layer):
    """Steps over T×N×… inputs, whose markers (T×N) are 0 where a sequence begins and 1 where it continues.

    A third bottom is a static input (N×…). With ``expose_hidden`` the hidden state before the first step is further
    bottoms and that after the last step further tops, each 1×N×num_output; otherwise a pass begins with the state at
    the end of the one before. As in Caffe, no gradient passes through these bottoms and tops, bottoms with a gradient
    get it whether it is wanted or not, and the parameters' diffs too, even if ``lr_mult`` is 0.
    """

    states: tuple[str, ...]  # names of the hidden blobs

    def __init__(self, param):
        super().__init__(param)
        self.exposed = len(self.states) if param.recurrent_param.expose_hidden else 0
        self.min_bottom, self.max_bottom = 2 + self.exposed, 3 + self.exposed
        self.exact_top = 1 + self.exposed

    def setup(self, bottom, top):
        x = bottom[0]
        if len(x.shape) < 2:
            self.fail("bottom[0] must have at least 2 axes -- (#timesteps, #streams, ...)")
        self.steps, streams = x.shape[:2]
        log(
            "recurrent_layer.cpp:20",
            f"Initializing recurrent layer: assuming input batch contains {self.steps} timesteps of {streams} "
            "independent streams.",
        )
        self.num_output = self.param.recurrent_param.num_output
        if self.num_output < 1:
            self.fail("num_output must be positive")
        if not self.steps:
            self.fail("bottom[0] has no time steps")
        self.static = len(bottom) > 2 + self.exposed
        self._check(bottom)
        self.widths = self._widths(bottom)
        self.hidden = [Blob((1, streams, self.num_output)) for _ in self.states]
        self._fill()

    def _check(self, bottom):
        """Raise CaffeError unless the shapes of x, of the markers and of the static input agree."""
        x, markers = bottom[:2]
        if x.shape[:1] != (self.steps,):
            self.fail(f"input number of timesteps changed: {x.shape_string()}, not {self.steps}")
        if len(markers.shape) != 2:
            self.fail("bottom[1] must have exactly 2 axes -- (#timesteps, #streams)")
        if markers.shape != x.shape[:2]:
            self.fail(f"bottom[1] must have the timesteps and streams of bottom[0]: {markers.shape}, {x.shape[:2]}")
        if self.static and bottom[2].shape[:1] != x.shape[1:2]:
            self.fail(f"The static input must have the streams of bottom[0]: {bottom[2].shape_string()}")

    def _widths(self, bottom):
        """The number of values for each stream in a step of x, and in the static input."""
        inputs = [(bottom[0], 2), (bottom[2], 1)] if self.static else [(bottom[0], 2)]
        return [math.prod(blob.shape[self.axis_of(blob, axis) :]) for blob, axis in inputs]

    def parameters(self):
        """Names and shapes of the parameters before the first step, and of those of the steps."""
        raise NotImplementedError

    def _fill(self):
        """Make the parameters; those of the steps are filled once for each step, and the first values stay."""
        p = self.param.recurrent_param
        first, each = self.parameters()
        for name, shape in (*first, *each):
            log("recurrent_layer.cpp:150", f"Adding parameter {len(self.blobs)}: {name}")
            self.blobs.append(Blob(shape))
        for step in range(self.steps):
            for i, (_, shape) in enumerate((*first, *each)):
                if i >= len(first) or step == 0:
                    values = fill(p.weight_filler if len(shape) > 1 else p.bias_filler, shape, global_stream())
                    if step == 0:
                        self.blobs[i].set_tensor(from_array(values))

    def reshape(self, bottom, top):
        self._check(bottom)
        if self._widths(bottom) != self.widths:
            self.fail(f"Input size incompatible with the weights: {self._widths(bottom)}, not {self.widths}")
        shape = (1, bottom[0].shape[1], self.num_output)
        for i, blob in enumerate(bottom[2 + self.static :], 2 + self.static):
            if blob.shape != shape:
                self.fail(f"shape mismatch - the hidden state is {shape}, but bottom[{i}] is {blob.shape_string()}")
        for blob in (*self.hidden, *top[1:]):
            blob.reshape(*shape)
        top[0].reshape(self.steps, *shape[1:])

    def allow_force_backward(self, index):
        return index != 1

    def compute(self, x, markers, *rest):
        params = rest[len(rest) - len(self.blobs) :]
        weight, bias, *weights = params
        inputs = self.products(F.linear, x.reshape(self.steps, x.shape[1], -1), weight, bias)  # of all steps at once
        if self.static:
            inputs = inputs + self.products(F.linear, rest[0].reshape(x.shape[1], -1), weights.pop(0))
        before = rest[self.static : self.static + self.exposed] or [blob.tensor() for blob in self.hidden]
        y, after = self.run(inputs, markers[..., None], [state[0].detach() for state in before], *weights)
        after = [state.detach()[None] for state in after]
        for blob, state in zip(self.hidden, after):
            blob.set_tensor(state.clone())
        return [y, *after[: self.exposed]]

    def run(self, inputs, markers, hidden, *weights):
        """Outputs (T, N, num_output) and the hidden state (N, num_output) after the last step."""
        raise NotImplementedError

    def _record(self, bottom, top, inputs):
        self.param_propagate_down = [True] * len(self.blobs)
        return super()._record(bottom, top, inputs)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            self.fail("Cannot backpropagate to sequence indicators")
        super().backward(top, [True, False, *[True] * self.static, *[False] * self.exposed], bottom)

    def state(self):
        """The hidden state at the end of the last pass, for JSON."""
        return {"hidden": [blob.tensor().tolist() for blob in self.hidden]}

    def set_state(self, state):
        """Return to a ``state()``; ValueError if it is another layer's."""
        for blob, values in zip(self.hidden, state["hidden"], strict=True):
            tensor = torch.tensor(values, dtype=torch.float32, device="cpu")
            if tensor.shape != blob.shape:
                raise ValueError(f"a hidden state of shape {tuple(tensor.shape)}, not {blob.shape}")
            blob.set_tensor(tensor)


@register("RNN")
class RNN(_Recurrent):
    """h = tanh(W_hh · h + W_xh · x + b_h), output tanh(W_ho · h + b_o)."""

    states = ("h",)

    def parameters(self):
        n = self.num_output
        static = [("W_xh_static", (n, self.widths[-1]))] * self.static
        return (
            [("W_xh", (n, self.widths[0])), ("b_h", (n,)), *static],
            [("W_hh", (n, n)), ("W_ho", (n, n)), ("b_o", (n,))],
        )

    def run(self, inputs, markers, hidden, *weights):
        recurrent, weight, bias = weights
        (h,), steps = hidden, []
        for step, marker in zip(inputs, markers):
            h = torch.tanh(self.products(F.linear, h * marker, recurrent) + step)
            steps.append(h)
        return torch.tanh(self.products(F.linear, torch.stack(steps), weight, bias)), [h]


@register("LSTM")
class LSTM(_Recurrent):
    """A long short-term memory without peepholes; the gates i, f, o, g are W_hc · h + W_xc · x + b_c."""

    states = ("h", "c")

    def parameters(self):
        n = self.num_output
        static = [("W_xc_static", (4 * n, self.widths[-1]))] * self.static
        return [("W_xc", (4 * n, self.widths[0])), ("b_c", (4 * n,)), *static], [("W_hc", (4 * n, n))]

    def run(self, inputs, markers, hidden, *weights):
        (h, c), steps = hidden, []
        for step, marker in zip(inputs, markers):
            c, h = _Unit.apply(c, self.products(F.linear, h * marker, *weights) + step, marker)
            steps.append(h)
        return torch.stack(steps), [h, c]


def _unit(c, gates, marker):
    """The cell after a step (…, D), and tanh of it, gates i, f, o and g; ``marker`` broadcasts over D."""
    i, f, o, g = gates.chunk(4, -1)
    i, f, o, g = torch.sigmoid(i), torch.where(marker == 0, 0, marker * torch.sigmoid(f)), torch.sigmoid(o), g.tanh()
    c = f * c + i * g
    return c, c.tanh(), i, f, o, g


def _unit_gradient(c, gates, marker, out, dc, dh):
    """Caffe's gradient of the cell before a step and of the gates, from the cell after it and the tops' diffs."""
    _, _, i, f, o, g = _unit(c, gates, marker)
    tanh = out.tanh()
    dc = dc + dh * o * (1 - tanh * tanh)
    grads = [dc * g * i * (1 - i), dc * c * f * (1 - f), dh * tanh * o * (1 - o), dc * i * (1 - g * g)]
    return dc * f, torch.cat(grads, -1)


class _Unit(torch.autograd.Function):
    """A step of a long short-term memory: cell and output, with Caffe's gradient."""

    @staticmethod
    def forward(ctx, c, gates, marker):
        out, tanh, _, _, o, _ = _unit(c, gates, marker)
        ctx.save_for_backward(c, gates, marker, out)
        return out, o * tanh

    @staticmethod
    def backward(ctx, dc, dh):
        c, gates, marker, out = ctx.saved_tensors
        return (*_unit_gradient(c, gates, marker, out, dc, dh), None)


@register("LSTMUnit")
class LSTMUnit(Layer):
    """A step of an LSTM: from cell (1×N×D), gates i, f, o, g (1×N×4D) and markers (1×N) the cell and the output.

    Backward always gives both diffs, and reads the cell as later layers left it.
    """

    exact_bottom = 3
    exact_top = 2

    def reshape(self, bottom, top):
        cell, gates, markers = bottom
        if len(cell.shape) != 3 or len(gates.shape) != 3 or len(markers.shape) != 2:
            self.fail("LSTMUnit Layer takes a cell and gates of 3 axes and markers of 2")
        if any(blob.shape[:2] != (1, cell.shape[1]) for blob in bottom):
            self.fail("The bottoms must have one time step of as many streams")
        if gates.shape[2] != 4 * cell.shape[2]:
            self.fail(f"There must be 4 gates for each of {cell.shape[2]} cells, not {gates.shape[2]} in all")
        for blob in top:
            blob.reshape(*cell.shape)

    def allow_force_backward(self, index):
        return index != 2

    def forward(self, bottom, top, record):
        cell, gates, markers = (blob.tensor() for blob in bottom)
        out, tanh, _, _, o, _ = _unit(cell, gates, markers[..., None])
        top[0].set_tensor(out)
        top[1].set_tensor(o * tanh)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[2]:
            self.fail("Cannot backpropagate to sequence indicators")
        if any(propagate_down):
            cell, gates, markers = (blob.tensor() for blob in bottom)
            diffs = [blob.diff_tensor() for blob in top]
            grads = _unit_gradient(cell, gates, markers[..., None], top[0].tensor(), *diffs)
            for blob, grad in zip(bottom, grads):
                blob.set_diff(grad)
