"""The Caffe under the tools: this project's own or a BVLC build, whichever ``import caffe`` finds."""

import contextlib
import importlib.metadata
import os
import platform
import sys

from sentiment import verbose
from sentiment.console import UserError
from sentiment.progress import patience


def start(gpu=None):
    """Import caffe and choose where it computes.

    Parameters
    ----------
    gpu : int, optional
        A CUDA card's number; without it, the CPU.

    Returns
    -------
    module

    Raises
    ------
    UserError
        There is no Caffe to import.
    """
    try:
        with patience("starting the engine"):
            import caffe
            from caffe import Net  # noqa: F401 - a package named caffe on PyPI has none
    except ImportError as error:
        raise UserError(
            f"`import caffe` gives no Caffe ({error}); run `make setup` and use its .venv, or set CAFFE"
        ) from error
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()
    verbose.log.info(
        "engine: %s %s in %s, on %s",
        *describe().values(),
        os.path.dirname(caffe.__file__),
        f"{len(os.sched_getaffinity(0))} CPU cores" if gpu is None else f"CUDA card {gpu}",
    )
    return caffe


def describe() -> dict[str, str]:
    """Name and version of the Caffe in use, as result.json records them."""
    import caffe

    compiled = "caffe._caffe" in sys.modules and getattr(sys.modules["caffe._caffe"], "__file__", "").endswith(".so")
    return {"name": "BVLC Caffe" if compiled else "pixels-to-sentiment", "version": str(caffe.__version__)}


def versions() -> dict[str, str]:
    """Versions of what else the numbers depend on."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name, distributions in {
        "numpy": ["numpy"],
        "torch": ["torch"],
        "opencv": ["opencv-python-headless", "opencv-python"],
        "protobuf": ["protobuf"],
    }.items():
        for distribution in distributions:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found.setdefault(name, importlib.metadata.version(distribution))
    return found


@contextlib.contextmanager
def working_in(folder):
    """Run a block in a folder: Caffe takes the paths in definitions and states relative to where it runs."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
