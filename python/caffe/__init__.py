"""pycaffe on PyTorch: the interface, files, logs and numbers of BVLC Caffe 1.0."""

from . import coord_map, io, layers, net_spec, proto  # noqa: F401
from .classifier import Classifier
from .errors import CaffeError
from .layers import PythonLayer as Layer
from .layers import layer_type_list
from .mode import set_device, set_mode_cpu, set_mode_gpu
from .net import Net
from .net_spec import NetSpec, params, to_proto
from .proto.caffe_pb2 import TEST, TRAIN
from .rng import set_random_seed
from .solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)

#: The Caffe whose behaviour this is.
__version__ = "1.0.0"

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "CaffeError",
    "Classifier",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "coord_map",
    "get_solver",
    "io",
    "layer_type_list",
    "layers",
    "net_spec",
    "params",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
    "to_proto",
]
