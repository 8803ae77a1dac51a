"""The Caffe under the tools: this project's own or a BVLC build, whichever ``import caffe`` finds."""

import contextlib
import functools
import importlib.metadata
import logging
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sentiment import __version__
from sentiment.utils.errors import UserError, caffe_problem
from sentiment.utils.files import PROJECT
from sentiment.utils.progress import patience

log = logging.getLogger(__name__)

NAME = "pixels-to-sentiment"

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
    except Exception as error:
        if sentence := caffe_problem(error):
            raise UserError(sentence) from error
        raise
    if images is not None:
        os.environ.setdefault("CAFFE_IMAGE_CACHE", os.path.join(os.path.abspath(images), IMAGES))
    if _is_bvlc() and precision() != PRECISIONS[0]:
        raise UserError(f"PRECISION: {precision()} is of this project's own engine; a BVLC Caffe computes in float32")
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        try:
            caffe.set_device(gpu)
            caffe.set_mode_gpu()
        except RuntimeError as error:
            reason = str(error).partition(";")[0].rstrip(".")
            raise UserError(f"GPU: card {gpu} cannot be used ({reason}); without GPU the CPU computes") from error
    log.info(
        "engine: %s in %s, on %s",
        describe(),
        os.path.dirname(caffe.__file__),
        f"{cores()} CPU cores" if gpu is None else f"CUDA card {gpu}",
    )
    return caffe


def cores() -> int:
    """How many CPU cores this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Environment:
    """What a training or an evaluation was computed with, as run.json and result.json record it.

    None of it is part of a run's identity: a training may resume in another environment, which is then recorded too.

    Attributes
    ----------
    engine : str
        Name and version: ``pixels-to-sentiment 0.1.0`` (the project's version), or ``BVLC Caffe 1.0.0``.
    project : str
        Version of this project, whose tools these are.
    commit : str
        Of the checkout the tools lie in, with ``-dirty`` where files are changed; empty outside of one.
    device : str
        Model of the CPU and its vector instructions, or the name of the GPU.
    cuda : str
        Version of CUDA; empty on a CPU, or where it is not known.
    threads : int
        Of the CPU.
    precision : str
        One of `PRECISIONS`.
    versions : dict of str to str
        Of Python, the system, torch (of this project's engine), numpy, OpenCV and protobuf.
    """

    engine: str = ""
    project: str = ""
    commit: str = ""
    device: str = ""
    cuda: str = ""
    threads: int | None = None
    precision: str = PRECISIONS[0]
    versions: dict = field(default_factory=dict)


def environment(gpu=None) -> Environment:
    """What the Caffe in use computes with, after `start`.

    Parameters
    ----------
    gpu : int, optional
        The CUDA card's number, as given to `start`.
    """
    device, cuda = (_cpu(), "") if gpu is None else _gpu(gpu)
    return Environment(
        engine=describe(),
        project=__version__,
        commit=commit(),
        device=device,
        cuda=cuda,
        threads=_threads(),
        precision=precision(),
        versions={name: version for name, version in versions().items() if name != "torch" or not _is_bvlc()},
    )


def describe() -> str:
    """Name and version of the Caffe in use. Call it after `start`."""
    import caffe

    if _is_bvlc():
        return f"BVLC Caffe {getattr(caffe, '__version__', 'of unknown version')}"
    return f"{NAME} {__version__}"


def _is_bvlc():
    """Whether the Caffe in use is another than this project's own, whose ``CaffeError`` no build has."""
    return not hasattr(sys.modules["caffe"], "CaffeError")


@functools.cache
def commit(folder=PROJECT) -> str:
    """The commit of a checkout, 40 hexadecimal digits, then ``-dirty`` where its files differ; empty outside of one."""
    if not (folder / ".git").exists():
        return ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"  # only looks
    describe = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(describe, env=environment, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _cpu():
    """Model of the CPU, and the vector instructions that torch takes of it."""
    model = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
        model = found[1].strip() if found else ""
    model = model or platform.processor() or platform.machine()
    torch = sys.modules.get("torch")
    return model if torch is None or _is_bvlc() else f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def _gpu(number):
    """Name of a CUDA card, and the version of CUDA where the engine tells it."""
    torch = sys.modules.get("torch")
    if torch is not None and not _is_bvlc():
        return torch.cuda.get_device_name(number), torch.version.cuda or ""
    query = ["nvidia-smi", f"--id={number}", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=30)
        return (found.stdout.strip() if found.returncode == 0 else "") or f"CUDA card {number}", ""
    except (OSError, subprocess.TimeoutExpired):
        return f"CUDA card {number}", ""


def _threads():
    """How many threads compute on the CPU: torch's, or those that a BVLC Caffe's BLAS is told or takes."""
    torch = sys.modules.get("torch")
    if torch is not None and not _is_bvlc():
        return torch.get_num_threads()
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else cores()


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


def check_precision(gpu=None):
    """Refuse a `precision` that would be recorded and not computed in.

    Raises
    ------
    UserError
        tf32, which is a GPU's, without a card's number.
    """
    if gpu is None and precision() == "tf32":
        raise UserError("PRECISION: tf32 is a GPU's; give GPU too, or float32 or bf16")


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that numbers depend on, as far as they are there."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name, (module, *distributions) in _PACKAGES.items():
        with contextlib.suppress(AttributeError):  # what is loaded may be of no distribution, as a system's OpenCV is
            found[name] = str(getattr(sys.modules.get(module), "__version__"))  # noqa: B009 - None has none
        for distribution in distributions:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found.setdefault(name, importlib.metadata.version(distribution))
    return found


_PACKAGES = {  # name -> its module, and the distributions that bring it
    "torch": ("torch", "torch"),
    "numpy": ("numpy", "numpy"),
    "opencv": ("cv2", "opencv-python-headless", "opencv-python"),
    "protobuf": ("google.protobuf", "protobuf"),
}


@contextlib.contextmanager
def working_in(folder):
    """Run a block in a folder: Caffe takes the paths in definitions and states relative to where it runs."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
