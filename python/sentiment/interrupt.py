"""Stopping a long step where it can go on from, instead of anywhere."""

import contextlib
import os
import signal
import threading


@contextlib.contextmanager
def postponed(sentence, stream):
    """Hold Ctrl-C and SIGTERM back while a block runs; a second one stops it at once, by KeyboardInterrupt.

    Parameters
    ----------
    sentence : str
        Told the user at the first one: that it was heard, and what happens now.
    stream : file with a descriptor

    Yields
    ------
    list
        Empty until a signal came; look at it where stopping is possible.
    """
    received = []

    def handle(number, frame):
        if received:
            raise KeyboardInterrupt("stopped at once; the same command goes on from the last snapshot")
        received.append(number)
        # Past the stream's buffer, since the signal may have come in the middle of a write to it.
        os.write(stream.fileno(), f"\n{sentence}\n".encode())

    if threading.current_thread() is not threading.main_thread():  # where Python delivers no signals
        yield received
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
