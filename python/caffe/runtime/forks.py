"""Keep forked processes computing (multiprocessing, ProcessPoolExecutor)."""

import contextlib
import ctypes
import os
from pathlib import Path

import torch

_OMP_PAUSE_SOFT = 1  # of omp.h: end the threads, keep the settings


def _openmp():
    """OpenMP's function that ends the calling thread's pool, from the library torch uses; None if there is none."""
    for library in (None, str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")):
        with contextlib.suppress(OSError, AttributeError):
            return ctypes.CDLL(library).omp_pause_resource_all
    return None


_pause = _openmp()
_paused = False


def _before():
    """End OpenMP's threads, for which the child would wait forever. Both processes start new ones when they compute.

    GNU's library has this function since OpenMP 5; other libraries restart their threads by themselves.
    """
    global _paused
    _paused = _pause is not None and _pause(_OMP_PAUSE_SOFT) == 0


def _in_child():
    # The call matters even where it changes nothing: at the first one torch replaces another thread pool that it
    # inherited, and that fails if two threads of the child do it at once.
    torch.set_num_threads(torch.get_num_threads() if _paused else 1)


def keep_children_working():
    """Prepare all later forks of this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_child=_in_child)
