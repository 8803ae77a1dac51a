"""The Caffe under the tools: this project's own or a BVLC build, whichever ``import caffe`` finds."""

import contextlib
import importlib.metadata
import os
import platform
import sys

from sentiment import verbose
from sentiment.console import UserError
from sentiment.progress import patience

PRECISIONS = ("float32", "tf32", "bf16")

IMAGES = ".images"
"""In a folder of runs, the pictures trainings have decoded, for all of them (of a BVLC Caffe: none)."""


def start(gpu=None, images=None):
    """Import caffe and choose where it computes.

    Parameters
    ----------
    gpu : int, optional
        A CUDA card's number; without it, the CPU.
    images : path, optional
        A folder of runs, whose trainings share what pictures they have decoded.

    Returns
    -------
    module

    Raises
    ------
    UserError
        There is no Caffe to import, no such card, or `precision` refuses.
    """
    precision()
    try:
        with patience("starting the engine"):
            import caffe
            from caffe import Net  # noqa: F401 - a package named caffe on PyPI has none
    except ImportError as error:
        raise UserError(
            f"`import caffe` gives no Caffe ({error}); run `make setup` and use its .venv, or set CAFFE"
        ) from error
    if images is not None:
        os.environ.setdefault("CAFFE_IMAGE_CACHE", os.path.join(os.path.abspath(images), IMAGES))
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        try:
            caffe.set_device(gpu)
            caffe.set_mode_gpu()
        except RuntimeError as error:
            reason = str(error).partition(";")[0].rstrip(".")
            raise UserError(f"GPU: card {gpu} cannot be used ({reason}); without GPU the CPU computes") from error
    verbose.log.info(
        "engine: %s %s in %s, on %s",
        *describe().values(),
        os.path.dirname(caffe.__file__),
        f"{cores()} CPU cores" if gpu is None else f"CUDA card {gpu}",
    )
    return caffe


def cores() -> int:
    """How many CPU cores this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, str]:
    """Name and version of the Caffe in use, as result.json records them."""
    import caffe

    compiled = "caffe._caffe" in sys.modules and getattr(sys.modules["caffe._caffe"], "__file__", "").endswith(".so")
    return {"name": "BVLC Caffe" if compiled else "pixels-to-sentiment", "version": str(caffe.__version__)}


def precision() -> str:
    """What products are computed in: float32, unless CAFFE_PRECISION names another to this project's own engine.

    Raises
    ------
    UserError
        It names none of `PRECISIONS`.
    """
    chosen = os.environ.get("CAFFE_PRECISION") or PRECISIONS[0]
    if chosen not in PRECISIONS:
        raise UserError(f"PRECISION: {chosen!r} is none of {', '.join(PRECISIONS)}")
    return chosen


def versions() -> dict[str, str]:
    """Versions of what else the numbers depend on, and the precision of products."""
    found = {"python": platform.python_version(), "system": platform.platform(), "products": precision()}
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
