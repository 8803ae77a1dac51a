"""Signals that end a command: at once, or where a long step can go on from."""

import contextlib
import multiprocessing
import os
import signal
import threading

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal ends this command.

    Attributes
    ----------
    number : int
        Which; a shell shows 128 more as the exit status.
    """

    def __init__(self, number, sentence=""):
        super().__init__(sentence)
        self.number = number


@contextlib.contextmanager
def raised():
    """Let SIGTERM and SIGHUP raise `Interrupted` while a block runs, as Ctrl-C raises KeyboardInterrupt."""

    def handle(number, frame):
        raise Interrupted(number)

    with _handled(ENDING[1:], handle):
        yield


@contextlib.contextmanager
def postponed(sentence, stream):
    """Hold Ctrl-C, SIGTERM and SIGHUP back while a block runs; a second one stops it at once, by `Interrupted`.

    Only a second SIGHUP does not: a terminal that closes sends one from the system and one from the shell.

    Parameters
    ----------
    sentence : str
        Told the user at the first one: that it was heard, and what happens now.
    stream : file with a descriptor

    Yields
    ------
    list of int
        Empty until a signal came; look at it where stopping is possible.
    """
    received = []

    def handle(number, frame):
        if received and number != signal.SIGHUP:
            raise Interrupted(number, "stopped at once; the same command goes on from the last snapshot")
        received.append(number)
        # Past the stream's buffer, since the signal may have come in the middle of a write to it. The terminal may be
        # what has gone.
        with contextlib.suppress(OSError):
            os.write(stream.fileno(), f"\n{sentence}\n".encode())

    with _handled(ENDING, handle):
        yield received


@contextlib.contextmanager
def kept_from_children():
    """Let processes started in a block know nothing of the signals that end a command: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent():
    """For a process that was started to work for another: end when that one is killed, instead of waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _handled(numbers, handle):
    """Handle signals while a block runs, but for those that are ignored, as nohup has SIGHUP."""
    if threading.current_thread() is not threading.main_thread():  # where Python delivers no signals
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
