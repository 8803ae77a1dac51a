"""Signals that end a command: at once, or where a long step can resume."""

import contextlib
import multiprocessing
import os
import signal
import threading

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal ends this command; ``number`` is the signal's, and the exit status 128 more."""

    def __init__(self, number, sentence=""):
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
def postponed(sentence, stream):
    """Only note Ctrl-C, SIGTERM and SIGHUP while a block runs; a second one raises `Interrupted`.

    A second SIGHUP does not: when a terminal closes, the system sends one and the shell another.

    Parameters
    ----------
    sentence : str
        Shown at the first signal: that it was received, and what happens now.
    stream : file with a descriptor
        Where to show it.

    Yields
    ------
    list of int
        Signals received; look at it wherever stopping is possible.
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

    with _handled(ENDING, handle):
        yield received


@contextlib.contextmanager
def kept_from_children():
    """Block the signals that end a command in processes started by a block: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent():
    """End this process when the one that started it is killed, instead of waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


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
