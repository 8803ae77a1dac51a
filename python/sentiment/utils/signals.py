"""Signals that end a command: at once, or where a long step can resume."""

import contextlib
import os
import signal
import threading


class Interrupted(KeyboardInterrupt):
    """A signal ends this command; ``number`` is the signal's, and the exit status 128 more."""

    def __init__(self, number: int, sentence=""):
        super().__init__(sentence)
        self.number = number


@contextlib.contextmanager
def raised():
    """Let SIGTERM and SIGHUP raise `Interrupted` while a block runs, as Ctrl-C raises KeyboardInterrupt."""

    def handle(number, frame):
        raise Interrupted(number)

    with _handled((signal.SIGTERM, signal.SIGHUP), handle):
        yield


@contextlib.contextmanager
def postponed(sentence: str, stream):
    """Only note Ctrl-C, SIGTERM and SIGHUP while a block runs; a second one raises `Interrupted`.

    A second SIGHUP does not: when a terminal closes, the system sends one and the shell another. Yields the list of
    signals received, to look at wherever stopping is possible. The sentence, what happens now, is shown at the first
    one, on a stream with a file descriptor.
    """
    received = []

    def handle(number, frame):
        if received and number != signal.SIGHUP:
            raise Interrupted(number, "stopped at once; the same command resumes from the last snapshot")
        received.append(number)
        # Not through the stream's buffer: the signal may have come in the middle of a write to it. The terminal may be
        # closed.
        with contextlib.suppress(OSError):
            os.write(stream.fileno(), f"\n{sentence}\n".encode())

    with _handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handle):
        yield received


@contextlib.contextmanager
def _handled(numbers, handle):
    """Handle signals while a block runs, except those that are ignored, as SIGHUP under nohup."""
    before = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is not threading.main_thread():  # Python delivers signals to the main thread only
        before = {}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
