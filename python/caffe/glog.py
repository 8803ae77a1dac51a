"""Log lines in glog's format on stderr, as log tools for Caffe expect them.

``GLOG_minloglevel`` (0 all, 1 warnings, 2 errors) is read at import, as glog does. Numbers are printed with six
significant digits, as C++ streams print floats. ``CAFFE_LOG=2015`` writes the lines of Caffe's 2015 versions.
"""

import contextlib
import os
import re
import sys
import threading
import time

from google.protobuf import text_format

from .names import raw_of

_LEVELS = "IWEF"
_minimum = int(os.environ.get("GLOG_minloglevel") or 0)  # noqa: SIM112 (glog spells it so)
OLD_STYLE = os.environ.get("CAFFE_LOG") == "2015"


def number(value):
    """A float as a C++ stream prints it: six significant digits."""
    return f"{float(value):.6g}"


def definition(message):
    """A protobuf message as Caffe dumps it into its log: whole floats without a point."""
    return re.sub(r"(?m)(: -?\d+)\.0$", r"\1", text_format.MessageToString(raw_of(message)).rstrip())


def enabled(level=0):
    """Whether lines of this level are printed."""
    return level >= _minimum


def log(where, message, level=0):
    """Print ``message`` behind glog's prefix; ``where`` is the place in Caffe's source (``solver.cpp:239``)."""
    if level < _minimum:
        return
    now = time.time()
    date = time.strftime("%m%d %H:%M:%S" if OLD_STYLE else "%Y%m%d %H:%M:%S", time.localtime(now))
    micro = int(now % 1 * 1e6)
    with contextlib.suppress(OSError):  # a log nothing can be written to ends no training in glog either
        sys.stderr.write(f"{_LEVELS[level]}{date}.{micro:06d} {threading.get_native_id():5d} {where}] {message}\n")
        sys.stderr.flush()


def warn(where, message):
    """Print a warning line."""
    log(where, message, 1)


def set_level(level):
    """Print lines of this level and above from now on."""
    global _minimum
    _minimum = level
