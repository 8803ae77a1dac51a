"""What an exact resume needs beyond a .solverstate: random streams and data positions, in a small file beside it.

BVLC Caffe keeps neither: it reseeds and starts the lists anew. With ``X_iter_N.streams`` beside the solver state
``X_iter_N.solverstate`` (``.solverstate.h5``) a resumed training gives, on a CPU with as many threads, the same weights
bit for bit as one that was never stopped. A Python layer's own variables are its author's to keep.
"""

import json
import os
import re

import torch

from ..errors import CaffeError
from ..formats.storage import read_text
from ..names import for_os
from ..random.rng import global_stream
from ..runtime import mode
from ..runtime.glog import log, warn

_SUFFIX = ".streams"
_FORMAT = 1
_MOST_BYTES = 2**26  # the order of five million pictures


def streams_path(state_file):
    """Where the streams of a solver state stand: a name without ``.solverstate``, by which tools tell states."""
    return re.sub(r"\.solverstate(\.h5)?$", "", os.fspath(state_file)) + _SUFFIX


def _found(state_file):
    """The streams beside a solver state, under their name of today or, from older snapshots, behind the state's."""
    path, older = streams_path(state_file), os.fspath(state_file) + _SUFFIX
    return older if os.path.exists(for_os(older)) and not os.path.exists(for_os(path)) else path


def capture(solver):
    """Streams and positions of a solver and its nets, as JSON can hold them."""
    return {
        "format": _FORMAT,
        "iter": solver.iter,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": mode.precision(),
        "global": global_stream().state(),
        "nets": [_layer_states(net) for net in (solver.net, *solver.test_nets)],
    }


def _layer_states(net):
    return {key: layer.state() for key, layer in _stateful(net).items()}


def _stateful(net):
    """The layers that keep a state, by name; a later one of the same name has a stroke behind it."""
    layers = {}
    for layer in net._layers:
        if hasattr(layer, "state"):
            key = layer.name
            while key in layers:
                key += "'"
            layers[key] = layer
    return layers


def to_json(captured):
    """The text of the streams file."""
    return json.dumps(captured, separators=(",", ":"))


def restore(solver, state_file):
    """Put a solver's streams and positions where they stood at a snapshot; says so where the file is missing.

    Raises CaffeError where the file is damaged or of another run: another iteration, other layers, another list.
    """
    path = _found(state_file)
    if not os.path.exists(for_os(path)):
        warn("resume.py:1", f"No {path}: as in BVLC Caffe, random streams and data positions start anew")
        return
    text = read_text(path, _MOST_BYTES)
    try:
        saved = {"precision": "float32", **json.loads(text)}
        _restore(solver, saved)
        differences = [
            (name, saved[name], now)
            for name, now in (
                ("threads", torch.get_num_threads()),
                ("torch", torch.__version__),
                ("precision", mode.precision()),
            )
            if saved[name] != now
        ]
    except CaffeError as error:
        raise CaffeError(f"{error} Remove {path} to resume without exact streams.") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise CaffeError(f"{path} is damaged ({reason}); remove it to resume without exact streams.") from None
    log("resume.py:1", f"Random streams and data positions restored from {path}")
    for name, then, now in differences:
        warn(
            "resume.py:1",
            f"The snapshot was made with {name} {then}, this run has {now}: "
            "rounding, and so the weights, may differ from the uninterrupted run",
        )


def _restore(solver, saved):
    if saved["format"] != _FORMAT:
        raise ValueError(f"format {saved['format']}, not {_FORMAT}")
    if saved["iter"] != solver.iter:
        raise CaffeError(f"The streams are of iteration {saved['iter']}, the solver state of {solver.iter}.")
    nets = (solver.net, *solver.test_nets)
    if len(saved["nets"]) != len(nets):
        raise CaffeError(f"The streams are of a run with {len(saved['nets']) - 1} test nets, not {len(nets) - 1}.")
    for net, states in zip(nets, saved["nets"]):
        layers = _stateful(net)
        if set(layers) != set(states):
            raise CaffeError(f"The streams are of data layers {sorted(states)}, not {sorted(layers)}.")
        for name, layer in layers.items():
            layer.set_state(states[name])
    global_stream().set_state(saved["global"])
