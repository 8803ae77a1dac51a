"""Fixtures every test may use."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# The same examples at every run and however slow the machine is; HYPOTHESIS_PROFILE=thorough draws twenty times as
# many, and others each time.
SAME = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", SAME)
settings.register_profile("thorough", SAME, derandomize=False, max_examples=20 * SAME.max_examples)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_configure():
    """Let processes that tests start hear the signals that a job in the background (`nohup make test &`) ignores."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True)
def without_a_proxy(monkeypatch):
    """Servers of tests are on this machine, whatever stands between it and others."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def root():
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared():
    """The folder of measured BVLC results and real data beside the repository; without it the test is skipped."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the measured files in {SHARED}, which are not part of a clone")
    return SHARED
