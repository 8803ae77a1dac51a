"""Run a command of tools/ that kills itself in the middle of its writing, or counts its moments of writing.

    python dying.py FOLDER MOMENT DELAY COUNT tools/train.py --fold 1

A moment is a file opened for writing, renamed, removed or a folder made, below FOLDER. At the MOMENT-th (from 1; 0: at
none), or DELAY seconds after it, the process gets SIGKILL. One that lives to its end writes how many there were to the
file COUNT.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def main(folder, moment, delay, count, tool, *arguments):
    seen = 0

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, given):
        nonlocal seen
        changes = event in CHANGES or (event == "open" and (given[2] or 0) & WRITING)
        if changes and not isinstance(given[0], int) and os.path.abspath(os.fsdecode(given[0])).startswith(folder):
            seen += 1
            if seen == int(moment):
                if float(delay):
                    threading.Timer(float(delay), die).start()
                else:
                    die()

    sys.addaudithook(watch)
    sys.argv = [tool, *arguments]
    sys.path.insert(0, os.path.dirname(tool))
    try:
        runpy.run_path(tool, run_name="__main__")
    finally:
        Path(count).write_text(str(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
