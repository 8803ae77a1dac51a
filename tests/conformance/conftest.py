"""Runs the measured cases once and says in one line how many hold."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SAID = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory, request):
    """Case name -> its line of compare.py."""
    out = tmp_path_factory.mktemp("conformance")
    run = [sys.executable, HERE / "run.py", HERE / "cases", out]
    subprocess.run(run, check=True, timeout=900)
    compare = [sys.executable, HERE / "compare.py", HERE / "reference", out, "--cases", HERE / "cases"]
    lines = subprocess.run(compare, capture_output=True, text=True, timeout=900).stdout.splitlines()
    request.config.stash[SAID] = lines[-1]
    return {line.split()[1]: line for line in lines if line.startswith(("ok", "FAIL"))}


def pytest_terminal_summary(terminalreporter, config):
    if SAID in config.stash:
        terminalreporter.write_line(config.stash[SAID])
