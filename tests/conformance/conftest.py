"""Runs the measured cases that were selected, once, and says in one line how many hold."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SAID = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory, request):
    """Case name -> its line of compare.py, for the cases of the tests that run."""
    cases = [item.callspec.params["case"] for item in request.session.items if "verdicts" in item.fixturenames]
    out, reference = tmp_path_factory.mktemp("conformance"), tmp_path_factory.mktemp("reference")
    for case in cases:
        (reference / f"{case}.npz").symlink_to(HERE / "reference" / f"{case}.npz")
    run = [sys.executable, HERE / "run.py", HERE / "cases", out, *cases]
    subprocess.run(run, check=True, timeout=1800)
    compare = [sys.executable, HERE / "compare.py", reference, out, "--cases", HERE / "cases"]
    lines = subprocess.run(compare, capture_output=True, text=True, timeout=1800).stdout.splitlines()
    request.config.stash[SAID] = lines[-1]
    return {line.split()[1]: line for line in lines if line.startswith(("ok", "FAIL"))}


def pytest_terminal_summary(terminalreporter, config):
    if SAID in config.stash:
        terminalreporter.write_line(config.stash[SAID])
