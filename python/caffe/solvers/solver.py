"""Solvers: rates, updates, tests, display, snapshots (solver.cpp, sgd_solver.cpp)."""

import os
import time

import numpy as np
import torch

from ..errors import CaffeError
from ..formats import read_state, write_state, write_whole
from ..proto import caffe_pb2
from ..random.rng import set_random_seed
from ..runtime import mode
from ..runtime.blob import Blob, from_array
from ..runtime.glog import OLD_STYLE, definition, log, number
from . import resume
from .definition import check_snapshot_prefix, solver_definition, test_nets, train_net
from .policies import learning_rate
from .updates import RULES

#: Requests to a running solver between iterations.
NONE, STOP, SNAPSHOT = range(3)


class Solver:
    """Optimises the net of a solver definition by the update rule of its ``type``, or of a subclass's ``kind``.

    Parameters
    ----------
    solver_file : str or SolverParameter
        Definition (prototxt).

    Attributes
    ----------
    net : Net
        The net being trained.
    test_nets : list of Net
        Nets tested every ``test_interval`` iterations, with the train net's parameters.
    iter : int
        How many times the parameters have been updated.
    param : SolverParameter
        The definition.
    """

    kind: str | None = None

    def __init__(self, solver_file):
        p = self.param = solver_definition(solver_file)
        log("solver.cpp:45", f"Initializing solver from parameters: \n{definition(p)}")
        if p.average_loss < 1:
            raise CaffeError("average_loss should be non-negative.")
        if p.iter_size < 1:
            raise CaffeError(f"iter_size should be at least 1, not {p.iter_size}: gradients are divided by it.")
        if p.snapshot:
            check_snapshot_prefix(p)
        kind = self.kind or p.type
        if kind not in RULES:
            raise CaffeError(f"Unknown solver type: {kind} (known types: {', '.join(RULES)})")
        self._rule = RULES[kind](p)
        if p.random_seed >= 0:
            set_random_seed(p.random_seed)
        self.iter = 0
        self._current_step = 0
        self._callbacks = []
        #: called between iterations; returns a request: NONE, STOP or SNAPSHOT
        self.action = lambda: NONE
        self._stopping = False
        self._displayed = None  # time and iteration of the last display, for the speed in the log
        self._losses = []  # the last ones, average_loss of them
        self._smoothed: float | torch.Tensor = 0.0
        self.net = train_net(p)
        self.test_nets = test_nets(p)
        self._histories = [Blob(b.shape) for _ in range(self._rule.sets) for b in self.net.learnable_params]
        # runs give the same weights bit for bit only if they agree in these
        versions = f"{torch.get_num_threads()} CPU threads, torch {torch.__version__}"
        log("solver.py:1", f"Computing with {versions}, products in {mode.precision()}")
        log("solver.cpp:57", "Solver scaffolding done.")

    # running

    @property
    def lr(self):
        """The current learning rate. Reading it may advance ``multistep`` by one boundary, as in Caffe."""
        rate, self._current_step = learning_rate(self.param, self.iter, self._current_step)
        return rate

    def add_callback(self, on_start, on_gradients_ready):
        """Call ``on_start`` before the forward pass of each iteration and ``on_gradients_ready`` before its update."""
        self._callbacks.append((on_start, on_gradients_ready))

    def step(self, iterations):
        """Run iterations: each tests if due, runs forward and backward, updates, and writes a snapshot if due."""
        p = self.param
        stop = self.iter + iterations
        self._first, self._losses, self._smoothed = self.iter, [], 0.0
        if self._displayed is None:
            self._displayed = time.time(), self.iter
        while self.iter < stop:
            self.net.clear_param_diffs()
            if p.test_interval and self.iter % p.test_interval == 0 and (self.iter or p.test_initialization):
                self._test_all()
                if self._stopping:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            display = bool(p.display) and self.iter % p.display == 0
            self.net.debug_info = display and p.debug_info
            loss = 0.0
            for _ in range(p.iter_size):
                loss = loss + self.net.forward_backward()
            self._smooth(loss / p.iter_size)
            if display:
                now, (before, shown) = time.time(), self._displayed
                self._display(now - before, self.iter - shown)
                self._displayed = now, self.iter
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            request = self.action()
            if (p.snapshot and self.iter % p.snapshot == 0) or request == SNAPSHOT:
                self.snapshot()
            if request == STOP:
                self._stopping = True
                break

    def solve(self, resume_file=None):
        """Run to ``max_iter``, from a solver state if one is given; write a snapshot and test at the end."""
        p = self.param
        log("solver.cpp:289", f"Solving {self.net.name}")
        log("solver.cpp:290", f"Learning Rate Policy: {p.lr_policy}")
        self._stopping = False
        if p.snapshot_after_train:
            check_snapshot_prefix(p)  # before the training rather than after it
        if resume_file:
            log("solver.cpp:296", f"Restoring previous solver status from {resume_file}")
            self.restore(resume_file)
        self.step(p.max_iter - self.iter)
        if p.snapshot_after_train and (not p.snapshot or self.iter % p.snapshot):
            self.snapshot()
        if self._stopping:
            log("solver.cpp:311", "Optimization stopped early.")
            return
        if p.display and self.iter % p.display == 0:
            with self.net.without_backward():
                self._smooth(self.net.run_forward())
            log("solver.cpp:327", f"Iteration {self.iter}, loss = {number(self._smoothed)}")
        if p.test_interval and self.iter % p.test_interval == 0:
            self._test_all()
        log("solver.cpp:332", "Optimization Done.")

    @property
    def stopped_early(self):
        """Whether the last run ended because ``action`` asked for it."""
        return self._stopping

    def _smooth(self, loss):
        """Update the mean of the last losses in Caffe's float32 steps, in which NaN remains."""
        loss, most = torch.as_tensor(loss, dtype=torch.float32), self.param.average_loss
        if len(self._losses) < most:
            self._losses.append(loss)
            size = len(self._losses)
            self._smoothed = (self._smoothed * (size - 1) + loss) / size
        else:
            index = (self.iter - self._first) % most
            self._smoothed = self._smoothed + (loss - self._losses[index]) / most
            self._losses[index] = loss

    def _display(self, seconds, iterations):
        smoothed = number(self._smoothed)
        speed = f" ({number(iterations / (seconds or 1))} iter/s, {number(seconds)}s/{self.param.display} iters)"
        log("solver.cpp:239", f"Iteration {self.iter}{'' if OLD_STYLE else speed}, loss = {smoothed}")
        outputs = {name: self.net.blobs[name].tensor().reshape(-1) for name in self.net.outputs}
        _log_outputs("solver.cpp:258", "Train", self.net, outputs)

    def _test_all(self):
        for index in range(len(self.test_nets)):
            if self._stopping:
                break
            self._test(index)

    def _test(self, index):
        log("solver.cpp:347", f"Iteration {self.iter}, Testing net (#{index})")
        net = self.test_nets[index]
        net.share_with(self.net)
        batches = self.param.test_iter[index]
        scores: dict[str, torch.Tensor] = {}
        loss = torch.zeros((), dtype=torch.float32, device="cpu")
        with net.without_backward():
            for _ in range(batches):
                request = self.action()
                while request == SNAPSHOT:
                    self.snapshot()
                    request = self.action()
                if request == STOP:
                    self._stopping = True
                    log("solver.cpp:396", "Test interrupted.")
                    return
                loss = loss + net.run_forward()
                for name in net.outputs:
                    values = net.blobs[name].tensor().reshape(-1)
                    scores[name] = scores[name] + values if name in scores else values.clone()
        if self.param.test_compute_loss:
            log("solver.cpp:401", f"Test loss: {number(loss / batches)}")
        _log_outputs("solver.cpp:414", "Test", net, {name: total / batches for name, total in scores.items()})

    def share_weights(self, net):
        """Share the parameters of the training net with ``net``."""
        net.share_with(self.net)

    # updating

    @torch.inference_mode(False)
    @torch.no_grad()
    def apply_update(self):
        """Update the parameters by their gradients, and increment ``iter``.

        Gradients are clipped by their global norm and divided by ``iter_size``, weight decay is added, and the update
        rule applied. Afterwards the diffs hold what was subtracted from the parameters.
        """
        p = self.param
        rate = self.lr
        if p.display and self.iter % p.display == 0:
            log("sgd_solver.cpp:112", f"Iteration {self.iter}, lr = {number(rate)}")
        self._clip()
        params = self.net.learnable_params
        for i, blob in enumerate(params):
            grad, weights = blob.own_diff_tensor(), blob.own_tensor()
            if p.iter_size != 1:
                grad.mul_(1 / p.iter_size)
            second = self._histories[len(params) + i].tensor() if self._rule.sets > 1 else None
            own_rate = _product(rate, self.net.params_lr[i])
            decay = _product(p.weight_decay, self.net.params_weight_decay[i])
            update = self._rule.apply(weights, grad, self._histories[i].tensor(), second, own_rate, decay, self.iter)
            blob.set_diff(update, shared=True)
        self.iter += 1

    def _clip(self):
        limit = self.param.clip_gradients
        if limit < 0:
            return
        squares = [b.diff_tensor().double().square().sum().float() for b in self.net.learnable_params]
        norm = float(sum(squares).sqrt())
        if norm > limit:
            scale = limit / norm
            log(
                "sgd_solver.cpp:99",
                f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > {number(limit)}) "
                f"by scale factor {number(scale)}",
            )
            for blob in self.net.learnable_params:
                blob.own_diff_tensor().mul_(scale)

    # snapshots

    def _snapshot_name(self, suffix):
        h5 = ".h5" if self.param.snapshot_format == caffe_pb2.SolverParameter.HDF5 else ""
        return f"{self.param.snapshot_prefix}_iter_{self.iter}{suffix}{h5}"

    def snapshot(self):
        """Write ``<prefix>_iter_<N>.caffemodel`` and ``.solverstate``; each appears completely or not at all."""
        hdf5 = self.param.snapshot_format == caffe_pb2.SolverParameter.HDF5
        model, state = self._snapshot_name(".caffemodel"), self._snapshot_name(".solverstate")
        kind = "HDF5" if hdf5 else "binary proto"
        log(f"solver.cpp:{474 if hdf5 else 464}", f"Snapshotting to {kind} file {model}")
        if hdf5:
            self.net.save_hdf5(model, self.param.snapshot_diff)
        else:
            self.net.save(model, self.param.snapshot_diff)
        # the state is written last: if it exists, the other files exist too
        write_whole(resume.streams_path(state), resume.to_json(resume.capture(self)).encode())
        log(f"sgd_solver.cpp:{296 if hdf5 else 284}", f"Snapshotting solver state to {kind} file {state}")
        histories = [blob.tensor().cpu().numpy() for blob in self._histories]
        write_state(state, self.iter, model, self._current_step, histories)

    def restore(self, state_file):
        """Resume from a solver state: parameters, histories, iteration, and random streams if their file exists."""
        state_file = os.fsdecode(state_file)
        state = read_state(state_file)
        if state.learned_net:
            self.net.copy_from(state.learned_net)
        if len(state.history) != len(self._histories):
            raise CaffeError(
                f"Incorrect length of history blobs: {state_file} has {len(state.history)}, "
                f"this solver keeps {len(self._histories)}."
            )
        if not state_file.endswith(".h5"):
            log("sgd_solver.cpp:336", "SGDSolver: restoring history")
        for i, (blob, values) in enumerate(zip(self._histories, state.history)):
            if values.size != blob.count:
                raise CaffeError(f"History {i} in {state_file} has {values.size} numbers, the parameter {blob.count}.")
            blob.set_tensor(from_array(values.reshape(blob.shape)))
        self.iter = state.iter
        self._current_step, self._displayed = state.current_step, None
        resume.restore(self, state_file)


def _product(a, b):
    """The float32 product of two numbers, as a float."""
    with np.errstate(all="ignore"):
        return float(np.float32(a) * np.float32(b))


def _log_outputs(place, kind, net, outputs):
    """Log the values of a net's outputs, by name, and their shares in the loss, in float32 as in Caffe."""
    index = 0
    for name, values in outputs.items():
        weight = net.blob_loss_weights[name]
        for value in values.tolist():
            share = f" (* {number(weight)} = {number(_product(weight, value))} loss)" if weight else ""
            log(place, f"    {kind} net output #{index}: {name} = {number(value)}{share}")
            index += 1


class SGDSolver(Solver):
    """Gradient descent with momentum; the base class of the other solvers, as in pycaffe."""

    kind = "SGD"


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient."""

    kind = "Nesterov"


class AdaGradSolver(SGDSolver):
    """AdaGrad."""

    kind = "AdaGrad"


class RMSPropSolver(SGDSolver):
    """RMSProp."""

    kind = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    """AdaDelta."""

    kind = "AdaDelta"


class AdamSolver(SGDSolver):
    """Adam."""

    kind = "Adam"


_OF_KIND = {
    cls.kind: cls for cls in (SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver)
}


def get_solver(solver_file):
    """The solver of the type in its definition, for example an `AdamSolver` (solver_factory.hpp)."""
    param = solver_definition(solver_file)
    return _OF_KIND.get(param.type, Solver)(param)
