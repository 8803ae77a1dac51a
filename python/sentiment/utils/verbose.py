"""What a command says with -v only: lines of Python's logging, and Caffe's log as it is written, on standard error.

Any module says its part with ``verbose.log.info(…)``; nothing of it is shown without -v.
"""

import contextlib
import logging
import os
import sys
import threading

log = logging.getLogger("sentiment")

_SECONDS_BETWEEN_LOOKS = 0.2
_LINE = logging.Formatter("{relativeCreated:8.0f} ms  {message}", style="{")  # since the command began


def enable():
    """Say more from now on."""
    disable()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LINE)
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def disable():
    """Say no more than usual, as a command does that begins without -v."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
    log.setLevel(logging.WARNING)


def enabled() -> bool:
    """Whether -v was given."""
    return log.isEnabledFor(logging.INFO)


@contextlib.contextmanager
def following(path, terminal):
    """With -v, show what a block appends to a log file, and the lines of `log`, on another stream.

    The file is followed, not written to in between: what is in it does not depend on -v.

    Parameters
    ----------
    path : str or Path
    terminal : text stream
    """
    if not enabled() or not os.path.isfile(path):
        yield
        return
    ended = threading.Event()
    handlers = [handler for handler in log.handlers if isinstance(handler, logging.StreamHandler)]
    with open(path, encoding="utf-8", errors="replace") as file:
        file.seek(0, os.SEEK_END)
        reader = threading.Thread(target=_copy, args=(file, terminal, ended), daemon=True)
        before = [handler.setStream(terminal) for handler in handlers]
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()
            for handler, stream in zip(handlers, before, strict=True):
                if stream is not None:
                    handler.setStream(stream)


def _copy(file, terminal, ended):
    """Copy what is appended to a file until the end is told, and what came until then."""
    last = False
    while not last:
        last = ended.wait(_SECONDS_BETWEEN_LOOKS)
        with contextlib.suppress(OSError, ValueError):  # a terminal that was closed
            terminal.write(file.read())
            terminal.flush()
