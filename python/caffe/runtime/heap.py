"""Keep freed memory in the process, which Caffe achieves by allocating every blob once."""

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of malloc.h
_KEPT = 2**31 - 1  # bytes, the most glibc takes
_GROWTH = 2**26  # bytes


def keep_freed_memory():
    """Let glibc's malloc keep freed memory, large blocks included, for later allocations.

    By default it gets every large block from the system and returns it when freed, and the system zeroes each page
    again, which takes a seventh of CaffeNet's training step on a CPU. Nothing is changed where the environment has
    settings for malloc, or with another C library.
    """
    if platform.libc_ver()[0] != "glibc" or any(
        name.startswith("MALLOC_") or (name == "GLIBC_TUNABLES" and "malloc" in value)
        for name, value in os.environ.items()
    ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
    mallopt(_M_TOP_PAD, _GROWTH)
