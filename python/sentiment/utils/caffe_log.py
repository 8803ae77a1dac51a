"""Caffe's log, which is whatever the engine writes to standard error: glog knows no other way in pycaffe."""

import contextlib
import io
import os
import sys

from sentiment.utils import verbose
from sentiment.utils.errors import UserError


def _end_line(file):
    """End the last line of a file (a descriptor) that was cut off in it, by a full disk or a kill."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.write(file, b"\n")


@contextlib.contextmanager
def stderr_to(path):
    """Append what this process writes to file descriptor 2 to a file, and nothing of it to the terminal.

    On the descriptor, because a real Caffe writes from C++; ``sys.stderr`` follows where it was another stream.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    text stream
        The standard error from before, for what the user should see.

    Raises
    ------
    UserError
        The file cannot be written, now or, where the disk fills up, while the block runs.
    """
    if verbose.enabled() and path == os.devnull:
        yield sys.stderr
        return
    try:
        log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        _end_line(log)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(log, 2)
    os.close(log)
    terminal = _Unbuffered(before)
    try:
        with (
            contextlib.redirect_stderr(_Unbuffered(2, os.path.abspath(path))),
            verbose.following(path, terminal),
        ):
            yield terminal
    finally:
        os.dup2(before, 2)
        os.close(before)


class _Unbuffered(io.TextIOBase):
    """Text for a file descriptor at once, so that what a full disk or a closed terminal refuses is not tried again.

    That is a `UserError` where there is a path to name; without one nobody is there to read.
    """

    encoding = "utf-8"

    def __init__(self, descriptor, path=None):
        self.descriptor, self.path = descriptor, path

    def writable(self):
        return True

    def fileno(self):
        return self.descriptor

    def isatty(self):
        return os.isatty(self.descriptor)

    def write(self, text):
        data = text.encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError as error:
            if self.path:
                raise UserError(f"cannot write {self.path}: {error.strerror}") from error
        return len(text)


def ignored_layers(path, start=0):
    """Layers of a source model that Caffe reported it has no place for, in a log from byte ``start`` on."""
    marker = "Ignoring source layer "
    with open(path, encoding="utf-8", errors="replace") as log:
        log.seek(start)
        return [line.split(marker, 1)[1].strip() for line in log if marker in line]
