"""pycaffe on PyTorch: the interface, files, logs and numbers of BVLC Caffe 1.0."""

import gc

import torch  # noqa: F401

# torch's objects stay until the end, so the garbage collector need not search them, at each of its full collections and
# at exit: a program takes 0.4 s less
gc.freeze()

from . import coord_map, io, layers, net_spec, proto, pycaffe  # noqa: F401
from ._caffe import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    Layer,
    NesterovSolver,
    Net,
    RMSPropSolver,
    SGDSolver,
    Solver,
    Timer,
    get_solver,
    has_nccl,
    init_log,
    layer_type_list,
    log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from .classifier import Classifier
from .detector import Detector
from .errors import CaffeError
from .extension import Fork, forks, from_environment
from .net_spec import NetSpec, params, to_proto
from .proto.caffe_pb2 import TEST, TRAIN
from .runtime.forks import keep_children_working
from .runtime.heap import keep_freed_memory

keep_freed_memory()
keep_children_working()
from_environment()

#: The version of BVLC Caffe that this engine behaves like.
__version__ = "1.0.0"

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "CaffeError",
    "Classifier",
    "Detector",
    "Fork",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "Timer",
    "coord_map",
    "forks",
    "get_solver",
    "has_nccl",
    "init_log",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "net_spec",
    "params",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]


def __getattr__(name):
    if name == "NCCL":
        raise AttributeError(
            "caffe.NCCL is absent: a training runs on one device here; start one process per device for several."
        )
    raise AttributeError(f"module 'caffe' has no attribute '{name}'")
