"""Where and how exactly the engine computes: process-wide choices, the first as in Caffe (common.cpp)."""

import contextlib
import functools
import os

import torch

from ..errors import CaffeError

PRECISION = "CAFFE_PRECISION"
"""The environment variable that names the precision of products; Caffe's is float32."""

PRECISIONS = ("float32", "tf32", "bf16")

_CPU = torch.device("cpu")
_state = {"gpu": False, "device": 0}


def set_mode_cpu():
    """Compute on the CPU from now on; blobs move when they are next used."""
    _state["gpu"] = False


def set_mode_gpu():
    """Compute on the chosen CUDA device from now on, in float32, with TF32 where CAFFE_PRECISION says so.

    Raises CaffeError where torch sees no CUDA device, or not the chosen one.
    """
    if not torch.cuda.is_available():
        raise CaffeError(
            "Cannot use GPU mode: torch sees no CUDA device here; use caffe.set_mode_cpu() or leave GPU unset."
        )
    cards = torch.cuda.device_count()
    if not 0 <= _state["device"] < cards:
        raise CaffeError(f"Cannot use GPU {_state['device']}: torch sees {cards} here, counted from 0.")
    tf32 = precision() == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True  # the same training, and one resumed, gives the same weights
    _state["gpu"] = True


def set_device(device_id):
    """Choose the CUDA device that GPU mode uses."""
    _state["device"] = int(device_id)


def device():
    """The ``torch.device`` of the current mode."""
    return torch.device("cuda", _state["device"]) if _state["gpu"] else _CPU


def to_device(tensor):
    """A tensor of the CPU on the current device. A GPU goes on with what it computes meanwhile."""
    target = device()
    if target.type == "cpu":
        return tensor
    with torch.cuda.stream(_copying(target)):
        copy = tensor.to(target)
    copy.record_stream(torch.cuda.current_stream(target))
    return copy


@functools.cache
def _copying(target):
    """A stream that waits for no computation."""
    return torch.cuda.Stream(target)


def is_gpu():
    """Whether GPU mode is on."""
    return _state["gpu"]


def precision():
    """In what the products of Convolution, Deconvolution and InnerProduct are computed, of `PRECISIONS`.

    tf32 rounds their operands to 10 bits behind the point, on a GPU that has it and nowhere else; bf16 to 7 bits,
    everywhere. Weights, updates and all other layers are in float32 throughout.
    """
    chosen = os.environ.get(PRECISION) or PRECISIONS[0]
    if chosen not in PRECISIONS:
        raise CaffeError(f"{PRECISION} is '{chosen:.40}': it should be one of {', '.join(PRECISIONS)}.")
    return chosen


@contextlib.contextmanager
def exact_products():
    """Products of tensors in this context are in float32 whatever the mode's precision."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def products(function, *operands):
    """``function`` of tensors (None for one that is absent), computed in the mode's precision; gives float32."""
    if precision() != "bf16":
        return function(*operands)
    return function(*(operand if operand is None else operand.bfloat16() for operand in operands)).float()
