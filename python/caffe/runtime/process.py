"""What pycaffe tells and asks of its process: log lines, a timer, and parallel solvers, of which there is one here.

The names are those of pycaffe (_caffe.cpp). One training runs on one device: what would make it several is refused.
"""

import time

import torch

from ..errors import CaffeError
from . import glog, mode


def init_log(level=None, stderr=True):
    """Choose what is logged: all from 0 on, warnings from 1, errors from 2. Lines always go to standard error."""
    if level is not None:
        glog.set_level(level)


def log(message):
    """Print a line of one's own behind the prefix of the log."""
    glog.log("_caffe.cpp:68", message)


class Timer:
    """Milliseconds between ``start()`` and ``stop()``, as ``ms``; on a GPU its work is waited for."""

    def __init__(self):
        self._begin = self._end = 0.0

    @staticmethod
    def _now():
        if mode.is_gpu():
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self):
        """Begin."""
        self._begin = self._now()

    def stop(self):
        """End."""
        self._end = self._now()

    @property
    def ms(self):
        """Milliseconds from the last start to the last stop."""
        return 1000 * (self._end - self._begin)


def has_nccl():
    """Whether NCCL is there; it never is."""
    return False


def solver_count():
    """How many solvers train together: 1."""
    return 1


def solver_rank():
    """Which of them this process is: 0."""
    return 0


def set_solver_count(count):
    """Accepted for 1; CaffeError for more."""
    _single(count == 1, f"{count} solvers")


def set_solver_rank(rank):
    """Accepted for 0; CaffeError for others."""
    _single(rank == 0, f"solver {rank}")


def set_multiprocess(enabled):
    """Accepted for False; CaffeError for True."""
    _single(not enabled, "several processes")


def _single(accepted, what):
    if not accepted:
        raise CaffeError(
            f"One training runs in one process on one device here, so there are no {what}; "
            "start a process per device for several trainings."
        )
