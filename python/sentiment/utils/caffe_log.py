"""Caffe's log, which is what the engine writes to standard error: in pycaffe, glog writes nowhere else."""

import contextlib
import io
import logging
import os
import sys
import threading

from sentiment.utils.errors import UserError

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.2


@contextlib.contextmanager
def stderr_to(path):
    """Append what this process writes to file descriptor 2 to a file instead; with -v also show it as it grows.

    The descriptor is redirected because a BVLC Caffe writes from C++; ``sys.stderr`` follows in case it is another
    stream. Yields the previous standard error, a text stream for messages to the user. A `UserError` says that the file
    cannot be written, now or, when the disk fills up, while the block runs.
    """
    verbose = log.isEnabledFor(logging.INFO)
    if verbose and path == os.devnull:
        yield sys.stderr
        return
    path = os.path.abspath(path)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # a full disk or a kill cut the last line short
            os.write(file, b"\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    sys.stderr.flush()
    terminal, ended = Stream(os.dup(2)), threading.Event()
    os.dup2(file, 2)
    os.close(file)
    reader = threading.Thread(target=_follow, args=(path, size, terminal, ended), daemon=True)
    try:
        if verbose:
            reader.start()
        with contextlib.redirect_stderr(Stream(2, path)):
            yield terminal
    finally:
        os.dup2(terminal.fileno(), 2)
        ended.set()
        if verbose:
            reader.join()
        terminal.close()


def _follow(path, start, terminal, ended):
    """Copy what is appended to a log, from byte ``start`` on, to the terminal until ``ended`` is set.

    Reading the file, not writing to both, keeps the log independent of -v.
    """
    with open(path, encoding="utf-8", errors="replace") as lines:
        lines.seek(start)
        last = False
        while not last:
            last = ended.wait(SECONDS_BETWEEN_LOOKS)
            terminal.write(lines.read())


class Stream(io.TextIOWrapper):
    """Unbuffered text for a file descriptor, so that what a full disk or a closed terminal refuses is not tried again.

    A refusal is a `UserError` if there is a path to name, and ignored otherwise: nobody is there to read.
    """

    def __init__(self, descriptor: int, path=None):
        raw = open(descriptor, "wb", buffering=0, closefd=descriptor != 2)  # noqa: SIM115 - closed with this stream
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        self.path = path

    def write(self, text):
        try:
            return super().write(text)
        except OSError as error:
            if self.path:
                raise UserError(f"cannot write {self.path}: {error.strerror}") from error
            return len(text)


def ignored_layers(path, start: int = 0) -> list[str]:
    """Layers of a source model that Caffe reported as having no place in the net, in a log from byte ``start`` on."""
    marker = "Ignoring source layer "
    with open(path, encoding="utf-8", errors="replace") as lines:
        lines.seek(start)
        return [line.split(marker, 1)[1].strip() for line in lines if marker in line]
