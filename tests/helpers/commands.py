"""Commands of tools/: their one sentence when refused, their logs, limits they run into."""

import re
import resource
import time
from contextlib import contextmanager


def refused(tool, capfd, *command):
    """Run a command that has to fail; its one sentence."""
    capfd.readouterr()
    assert tool(*command) == 2
    said = capfd.readouterr()
    assert "Traceback" not in said.err + said.out
    errors = [line for line in said.err.splitlines() if ": error: " in line]
    assert len(errors) == 1
    assert errors[0] == said.err.splitlines()[-1]
    return errors[0].split(": error: ", 1)[1]


def losses(folder):
    """Iteration and loss of each displayed line."""
    return [
        (int(i), float(v))
        for i, v in re.findall(r"\] Iteration (\d+) \(.*loss = (\S+)", (folder / "train.log").read_text())
    ]


def wait_for_iteration(folder, number, process):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        log = folder / "train.log"
        if log.is_file() and f"] Iteration {number} (" in log.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"iteration {number} was never displayed")


@contextmanager
def largest_file(size):
    """No file may grow beyond that many bytes in a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
