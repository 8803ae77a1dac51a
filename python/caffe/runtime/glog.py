"""Log lines in glog's format, which log tools for Caffe expect, on standard error and optionally in files.

glog's settings come from the environment (``GLOG_minloglevel`` …) and, in commands, from flags. Numbers are printed
with six significant digits, as C++ streams print floats. With ``CAFFE_LOG=2015`` the lines of a training do not include
the speed, as in Caffe's 2015 versions.
"""

import contextlib
import os
import re
import socket
import sys
import threading
import time

import numpy as np
from google.protobuf import text_format

from ..names import for_os, printable, raw_of
from . import gflags

_SEVERITIES = ("INFO", "WARNING", "ERROR", "FATAL")
OLD_STYLE = os.environ.get("CAFFE_LOG") == "2015"

_flags = gflags.glog_defaults()
_minimum = _flags["minloglevel"]
_stderr_from = 0  # the lowest level on standard error, which commands may raise
_files = None


def number(value):
    """A float as a C++ stream prints it: six significant digits."""
    return f"{float(value):.6g}"


def definition(message):
    """A protobuf message as text, as Caffe writes it to its log: with floats as C++ prints them."""
    text = text_format.MessageToString(raw_of(message)).rstrip()
    return re.sub(r"(?m)(?<=: )-?\d+(?:\.\d+(?:e[+-]\d+)?|e[+-]\d+)$", lambda match: _shortest(float(match[0])), text)


def _shortest(value):
    """A float32 with six digits or, if that would be another float32, nine."""
    six = f"{value:.6g}"
    return six if np.float32(six) == np.float32(value) else f"{np.float32(value):.9g}"


def enabled(level=0):
    """Whether lines of this level are printed."""
    return level >= _minimum


def log(where, message, level=0):
    """Write a line with glog's prefix; ``where`` is the place in Caffe's source (``solver.cpp:239``).

    Lines that Caffe does not have are given a place in this engine, a ``.py`` file.
    """
    if level < _minimum:
        return
    now = time.time()
    line = f"{message}\n"
    if _flags["log_prefix"]:
        year = "%Y" if _flags["log_year_in_prefix"] else ""
        date = time.strftime(f"{year}%m%d %H:%M:%S", time.localtime(now))
        thread = threading.get_native_id()
        line = f"{_SEVERITIES[level][0]}{date}.{int(now % 1 * 1e6):06d} {thread:5d} {where}] {line}"
    if level >= _stderr_from:
        with contextlib.suppress(OSError):  # as in glog, a log that cannot be written does not stop a training
            sys.stderr.write(printable(line))
            sys.stderr.flush()
    if _files is not None:
        _files.write(level, line)


def warn(where, message):
    """Write a warning."""
    log(where, message, 1)


def set_level(level):
    """Write only lines of this level and above from now on."""
    global _minimum
    _minimum = level


@contextlib.contextmanager
def command(program, flags):
    """Log as the command ``program``, by the glog flags that are attributes of ``flags``, in this context."""
    global _flags, _minimum, _stderr_from, _files
    before = _flags, _minimum, _stderr_from, _files
    _flags, _minimum = vars(flags), flags.minloglevel
    _stderr_from = 0 if flags.logtostderr or flags.alsologtostderr else flags.stderrthreshold
    files = _files = _Files(flags.log_dir, program) if flags.log_dir and not flags.logtostderr else None
    try:
        yield
    finally:
        _flags, _minimum, _stderr_from, _files = before
        if files is not None:
            files.close()


def to_files(where, message):
    """Write the error that ends a command to its log files only; it is printed to standard error separately."""
    global _stderr_from
    before, _stderr_from = _stderr_from, len(_SEVERITIES)
    try:
        log(where, message, 3)
    finally:
        _stderr_from = before


class _Files:
    """glog's log files, one per severity, made with its first line; each line is also in those of lower severities."""

    def __init__(self, folder, program):
        self._folder, self._program = folder, program
        self._open: dict = {}  # severity -> file, or None if it could not be created
        self._lock = threading.Lock()

    def write(self, level, line):
        with self._lock:
            for severity in _SEVERITIES[level::-1]:
                if severity not in self._open:
                    self._open[severity] = self._create(severity)
                with contextlib.suppress(OSError):
                    if self._open[severity] is not None:
                        self._open[severity].write(for_os(line))
                        self._open[severity].flush()

    def _create(self, severity):
        user, host = os.environ.get("USER") or "invalid-user", socket.gethostname() or "(unknown)"
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}.{os.getpid()}"
        name = f"{self._program}.{host}.{user}.log.{severity}.{stamp}"
        link = os.path.join(self._folder, f"{self._program}.{severity}")
        try:
            file = open(os.path.join(self._folder, name), "a", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        except OSError as error:
            with contextlib.suppress(OSError):
                folder = printable(self._folder)
                print(f"Could not create the log file {name} in {folder}: {error.strerror}.", file=sys.stderr)
            return None
        date = "yyyymmdd" if _flags["log_year_in_prefix"] else "mmdd"
        file.write(
            f"Log file created at: {time.strftime('%Y/%m/%d %H:%M:%S')}\nRunning on machine: {host}\n"
            f"Log line format: [IWEF]{date} hh:mm:ss.uuuuuu threadid file:line] msg\n"
        )
        with contextlib.suppress(OSError):
            if os.path.islink(link):
                os.unlink(link)
            os.symlink(name, link)
        return file

    def close(self):
        for file in self._open.values():
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
