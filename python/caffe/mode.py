"""Where the engine computes: one process-wide choice, as in Caffe (common.cpp)."""

import torch

from .errors import CaffeError

_CPU = torch.device("cpu")
_state = {"gpu": False, "device": 0}


def set_mode_cpu():
    """Compute on the CPU from now on; blobs move when they are next used."""
    _state["gpu"] = False


def set_mode_gpu():
    """Compute on the chosen CUDA device from now on, in float32 with TF32 off.

    Raises CaffeError where torch sees no CUDA device.
    """
    if not torch.cuda.is_available():
        raise CaffeError(
            "Cannot use GPU mode: torch sees no CUDA device here; use caffe.set_mode_cpu() or leave GPU unset."
        )
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    _state["gpu"] = True


def set_device(device_id):
    """Choose the CUDA device that GPU mode uses."""
    _state["device"] = int(device_id)


def device():
    """The ``torch.device`` of the current mode."""
    return torch.device("cuda", _state["device"]) if _state["gpu"] else _CPU


def is_gpu():
    """Whether GPU mode is on."""
    return _state["gpu"]
