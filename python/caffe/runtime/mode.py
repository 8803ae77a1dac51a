"""The device and precision of all computations in this process (common.cpp)."""

import contextlib
import functools
import os

import torch

from ..errors import CaffeError

PRECISION = "CAFFE_PRECISION"
"""The environment variable for the precision of products, one of `PRECISIONS`; Caffe's is float32."""

PRECISIONS = ("float32", "tf32", "bf16")

_CPU = torch.device("cpu")
_state = {"gpu": False, "device": 0}


def set_mode_cpu():
    """Compute on the CPU from now on; blobs move when they are next used."""
    _state["gpu"] = False


def set_mode_gpu():
    """Compute on the chosen CUDA device from now on, in float32, with TF32 where CAFFE_PRECISION says so.

    Raises CaffeError where torch does not find any CUDA device, or not the chosen one.
    """
    if not torch.cuda.is_available():
        raise CaffeError(
            "Cannot use GPU mode: torch sees no CUDA device here; use caffe.set_mode_cpu() or leave GPU unset."
        )
    count = torch.cuda.device_count()
    if not 0 <= _state["device"] < count:
        raise CaffeError(f"Cannot use GPU {_state['device']}: torch sees {count} here, counted from 0.")
    tf32 = precision() == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True  # so that a training gives the same weights again, and when resumed
    _state["gpu"] = True


def set_device(device_id):
    """Choose the CUDA device that GPU mode uses."""
    _state["device"] = int(device_id)


def device():
    """The ``torch.device`` of the current mode."""
    return torch.device("cuda", _state["device"]) if _state["gpu"] else _CPU


def to_device(tensor):
    """Copy a CPU tensor to the current device; a GPU continues to compute during the copy."""
    target = device()
    if target.type == "cpu":
        return tensor
    with torch.cuda.stream(_copying(target)):
        copy = tensor.to(target)
    copy.record_stream(torch.cuda.current_stream(target))
    return copy


@functools.cache
def _copying(target):
    """A CUDA stream for copies, which does not wait for computations."""
    return torch.cuda.Stream(target)


def is_gpu():
    """Whether GPU mode is on."""
    return _state["gpu"]


def precision():
    """The precision of the products in Convolution, Deconvolution and InnerProduct, one of `PRECISIONS`.

    tf32 rounds their operands to 10 bits of mantissa, on GPUs that support it only; bf16 to 7 bits, on every device.
    Weights, updates and all other layers are float32.
    """
    chosen = os.environ.get(PRECISION) or PRECISIONS[0]
    if chosen not in PRECISIONS:
        raise CaffeError(f"{PRECISION} is '{chosen:.40}'; set it to one of {', '.join(PRECISIONS)}.")
    return chosen


@contextlib.contextmanager
def exact_products():
    """Compute products of tensors in this context in float32, whatever the mode's precision."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
