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


def pytest_addoption(parser):
    parser.addoption(
        "--rehearse-gpu",
        action="store_true",
        help="run the tests marked gpu with the CPU standing in for the card: all of the code, none of its rounding",
    )


@pytest.fixture
def on_gpu(request, monkeypatch):
    """Call it to compute on the first CUDA card until the test ends; without one the test is skipped."""
    import torch

    import caffe
    from caffe.runtime import mode

    if request.config.getoption("--rehearse-gpu"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "the CPU, standing in")
        monkeypatch.setattr(mode, "device", lambda: torch.device("cpu"))
    elif not torch.cuda.is_available():
        pytest.skip("needs a CUDA card (--rehearse-gpu tries the code without one)")

    def choose():
        caffe.set_device(0)
        caffe.set_mode_gpu()

    yield choose
    caffe.set_mode_cpu()


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
