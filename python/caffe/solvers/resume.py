"""What resuming exactly needs besides a .solverstate: random streams and data positions, in a small file next to it.

BVLC Caffe stores neither: it seeds the streams and starts the lists again. With ``X_iter_N.streams`` next to the solver
state ``X_iter_N.solverstate`` (``.solverstate.h5``), a resumed training on a CPU with the same number of threads gives
the same weights, bit for bit, as one that was not interrupted. Variables of Python layers are not saved.
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
_MOST_BYTES = 2**26  # enough for the order of five million images


def streams_path(state_file):
    """The path of the streams of a solver state; it does not contain ``.solverstate``, by which tools find states."""
    return re.sub(r"\.solverstate(\.h5)?$", "", os.fspath(state_file)) + _SUFFIX


def _found(state_file):
    """The path of the streams of a solver state, which was another one in older versions."""
    path, older = streams_path(state_file), os.fspath(state_file) + _SUFFIX
    return older if os.path.exists(for_os(older)) and not os.path.exists(for_os(path)) else path


def capture(solver):
    """The streams and positions of a solver and its nets, for JSON."""
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
    """The layers that have a state, by name; an apostrophe is appended to a name that exists already."""
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
    """Restore a solver's streams and positions of a snapshot; a missing file is logged as a warning.

    Raises CaffeError if the file is damaged or of another run, with another iteration, other layers or another list.
    """
    path = _found(state_file)
    if not os.path.exists(for_os(path)):
        warn("resume.py:1", f"No {path}: as in BVLC Caffe, random streams and data positions start again")
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
            "rounding, and so the weights, may differ from those of an uninterrupted run",
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
