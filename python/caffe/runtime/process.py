"""pycaffe's functions for logging, timing and parallel solvers (_caffe.cpp).

A training runs on one device here, so more than one solver is refused.
"""

import time

import torch

from ..errors import CaffeError
from . import glog, mode


def init_log(level=None, stderr=True):
    """Choose the lowest level that is logged: 0 everything, 1 warnings, 2 errors. Lines always go to standard error."""
    if level is not None:
        glog.set_level(level)


def log(message):
    """Write a message to the log, as an INFO line."""
    glog.log("_caffe.cpp:68", message)


class Timer:
    """The time between ``start()`` and ``stop()``; in GPU mode each waits until the GPU has finished its work."""

    def __init__(self):
        self._begin = self._end = 0.0

    @staticmethod
    def _now():
        if mode.is_gpu():
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self):
        """Start timing."""
        self._begin = self._now()

    def stop(self):
        """Stop timing."""
        self._end = self._now()

    @property
    def ms(self):
        """Milliseconds from the last start to the last stop."""
        return 1000 * (self._end - self._begin)


def has_nccl():
    """Whether NCCL is available: False."""
    return False


def solver_count():
    """How many solvers train together: 1."""
    return 1


def solver_rank():
    """The index of this process among the solvers that train together: 0."""
    return 0


def set_solver_count(count):
    """Do nothing for a count of 1; raise CaffeError for any other."""
    if count != 1:
        _refuse(f"{count} solvers")


def set_solver_rank(rank):
    """Do nothing for a rank of 0; raise CaffeError for any other."""
    if rank != 0:
        _refuse(f"solver {rank}")


def set_multiprocess(enabled):
    """Do nothing for False; raise CaffeError for True."""
    if enabled:
        _refuse("several processes")


def _refuse(what):
    raise CaffeError(
        f"A training runs in one process on one device here, so {what} cannot be used; "
        "start one process per device for several trainings."
    )
