"""What an exact resume needs beyond a .solverstate: random streams and data positions, in a small file beside it.

BVLC Caffe keeps neither: it reseeds and starts the lists anew. With ``<state>.streams`` beside the solver state a
resumed training gives, on a CPU with as many threads, the same weights bit for bit as one that was never stopped.
"""

import base64
import json
import os

import torch

from . import mode
from .errors import CaffeError
from .glog import log, warn
from .rng import global_stream

SUFFIX = ".streams"


def streams_path(state_file):
    """Where the streams of a solver state stand."""
    return os.fspath(state_file) + SUFFIX


def capture(solver):
    """Streams and positions of a solver and its nets, as JSON can hold them."""
    return {
        "format": 1,
        "iter": solver.iter,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "global": global_stream().state(),
        "cuda": base64.b64encode(bytes(torch.cuda.get_rng_state(mode.device()).tolist())).decode()
        if mode.is_gpu()
        else None,
        "nets": [_layer_states(net) for net in (solver.net, *solver.test_nets)],
    }


def _layer_states(net):
    return {layer.name: layer.state() for layer in net.layers if hasattr(layer, "state")}


def to_json(captured):
    """The text of the streams file."""
    return json.dumps(captured, separators=(",", ":"))


def restore(solver, state_file):
    """Put a solver's streams and positions where they stood at a snapshot; says so where the file is missing."""
    path = streams_path(state_file)
    if not os.path.exists(path):
        warn("solver.cpp:295", f"No {path}: as in BVLC Caffe, random streams and data positions start anew")
        return
    try:
        with open(path, encoding="utf-8") as file:
            saved = json.load(file)
        if saved["iter"] != solver.iter:
            raise CaffeError(
                f"{path} is of iteration {saved['iter']}, {state_file} of {solver.iter}; remove it to resume without."
            )
        nets = (solver.net, *solver.test_nets)
        for net, states in zip(nets, saved["nets"], strict=True):
            for layer in net.layers:
                if layer.name in states and hasattr(layer, "set_state"):
                    layer.set_state(states[layer.name])
        global_stream().set_state(saved["global"])
        if saved["cuda"] and mode.is_gpu():
            raw = torch.tensor(list(base64.b64decode(saved["cuda"])), dtype=torch.uint8)
            torch.cuda.set_rng_state(raw, mode.device())
    except (ValueError, KeyError, TypeError) as error:
        raise CaffeError(f"{path} is damaged ({error}); remove it to resume without exact streams.") from None
    log("solver.cpp:295", f"Random streams and data positions restored from {path}")
    if saved["threads"] != torch.get_num_threads():
        warn(
            "solver.cpp:295",
            f"The snapshot was made with {saved['threads']} threads, this run has {torch.get_num_threads()}: "
            "rounding, and so the weights, may differ from the uninterrupted run",
        )
