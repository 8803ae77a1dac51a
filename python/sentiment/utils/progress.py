"""Progress of long steps: a bar on a terminal, elsewhere a line now and then."""

import contextlib
import logging
import os
import sys
import threading
import time

from tqdm import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30
SECONDS_UNTOLD = 2  # a shorter step is not announced


class Progress:
    """A context manager that counts, on standard error or another text stream.

    ``what`` begins the bar or line, ``total`` is the number of units, if known, ``done`` how many were done before.
    """

    def __init__(self, what: str, total: int | None, done=0, unit="it", stream=None):
        self.what, self.total, self.done, self.before, self.unit = what, total, done, done, unit
        self.stream = stream or sys.stderr
        self.started = self.said = time.monotonic()
        self.bar = None
        if self.stream.isatty() and not log.isEnabledFor(logging.INFO):  # lines in between would tear a bar apart
            columns = os.get_terminal_size(self.stream.fileno()).columns or 80  # a terminal may not know its width
            self.bar = tqdm(total=total, initial=done, desc=what, unit=unit, file=self.stream, ncols=columns)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()

    def advance(self, count: int, note=""):
        """Count further; ``note`` says how it goes (``loss 0.693``)."""
        self.done += count
        now = time.monotonic()
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif now - self.said >= SECONDS_BETWEEN_LINES or self.done == self.total:
            self.said = now
            left = (now - self.started) / (self.done - self.before) * ((self.total or self.done) - self.done)
            of = f"/{self.total}" if self.total else ""
            parts = f"{self.what}: {self.done}{of} {self.unit}", note, left and f"{duration(left)} left"
            print(", ".join(filter(None, parts)), file=self.stream, flush=True)


@contextlib.contextmanager
def patience(what: str, stream=None):
    """Print what a block does (``reading weights.caffemodel``) if it takes a while, where nothing can be counted."""
    stream = stream or sys.stderr
    waiting = threading.Timer(SECONDS_UNTOLD, lambda: print(f"{what} …\n", end="", file=stream, flush=True))
    waiting.daemon = True
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()
        waiting.join()


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(40), duration(1500), duration(7500)
    ('40 s', '25 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
