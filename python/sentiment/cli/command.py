"""What commands print, and how they end: a user's mistake is one sentence and exit status 2, never a traceback."""

import logging
import os
import signal
import sys
from pathlib import Path

from sentiment.utils import caffe_log, signals
from sentiment.utils.errors import UserError, say, sentence_of

log = logging.getLogger("sentiment")


def set_verbose(verbose: bool):
    """Show what the modules log on stderr, as with -v, or nothing below a warning."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    if verbose:
        handler = logging.StreamHandler(caffe_log.Stream(os.dup(2)))  # Caffe's log may take descriptor 2 itself
        handler.setFormatter(logging.Formatter("{relativeCreated:8.0f} ms  {message}", style="{"))
        log.addHandler(handler)


def run(main, argv: list[str] | None = None) -> int:
    """Call a command's ``main(argv)``, where None stands for ``sys.argv``; returns the exit status.

    It is what ``main`` returned (None is 0); 2 after a `UserError`, the engine's ``CaffeError`` or a path or disk that
    refuses, printed on stderr as ``tool: error: sentence``; 128 and the signal's number after Ctrl-C (130), SIGTERM
    (143) or SIGHUP (129); 141 if the reader of the output (head, less) has gone.
    """
    set_verbose(False)
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # for paths of any bytes, and terminals of few characters
    try:
        with signals.raised():
            status = main(argv) or 0
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
    except KeyboardInterrupt as stop:
        number = getattr(stop, "number", signal.SIGINT)
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        say(f"{_tool()}: {str(stop) or f'interrupted{by}; finished work is kept, the same command does the rest'}")
        return 128 + number
    except BrokenPipeError:
        sys.stdout = None
        return 141
    except Exception as error:
        if not _explain(error):
            raise
        return 2
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except (OSError, ValueError):
            sys.stdout = None  # Python would flush it again when it exits, and complain a second time


def say_skipped(title: str, path):
    """Print that there is nothing to do, since a file is there."""
    print(f"{title}: already done, skipped ({path})", flush=True)


def say_written(path, changed: bool):
    """Print the path of a file that is only written if its content changes."""
    print(f"{path}{'' if changed else ' (unchanged)'}", flush=True)


class OneByOne:
    """A context manager for each of several things: an error of one is printed, and the next one follows."""

    def __init__(self):
        self.status = 0  # the exit status: 2 after an error

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        expected = isinstance(error, (UserError, OSError, RuntimeError)) and not isinstance(error, BrokenPipeError)
        if not expected or not _explain(error):
            return False
        self.status = 2
        return True


def _explain(error) -> bool:
    """Print the sentence of an error, and with -v its traceback. Returns False for a fault of ours, which has none."""
    sentence = sentence_of(error)
    if sentence is not None:
        log.info("this error:", exc_info=error)
        say(f"{_tool()}: error: {sentence}")
    return sentence is not None


def _tool():
    """The name of the command."""
    return Path(sys.argv[0]).stem or "python"
