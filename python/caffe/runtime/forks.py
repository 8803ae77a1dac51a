"""What makes a forked child compute as its parent does (multiprocessing, ProcessPoolExecutor)."""

import contextlib
import ctypes
import os
from pathlib import Path

import torch

_OMP_PAUSE_SOFT = 1  # of omp.h: end the threads, keep the settings


def _openmp():
    """OpenMP's function that ends the pool of the calling thread, from the library torch computes with, or None."""
    for library in (None, Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"):
        with contextlib.suppress(OSError, AttributeError):
            return ctypes.CDLL(None if library is None else os.fspath(library)).omp_pause_resource_all
    return None


_pause = _openmp()
_paused = False


def _before():
    """End OpenMP's threads: the child would wait for them for ever. Both processes start their own when they compute.

    GNU's library has had the function since OpenMP 5; the others restart their threads by themselves.
    """
    global _paused
    _paused = _pause is not None and _pause(_OMP_PAUSE_SOFT) == 0


def _in_child():
    # set even to what it is: torch replaces another pool of its parent's at the first call, which two threads of the
    # child at once would make it fail
    torch.set_num_threads(torch.get_num_threads() if _paused else 1)


def keep_children_working():
    """Prepare for every later fork of this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_child=_in_child)
