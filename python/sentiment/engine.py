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
from types import ModuleType

from sentiment import __version__
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT
from sentiment.utils.progress import patience

log = logging.getLogger(__name__)

NAME = "pixels-to-sentiment"
PRECISIONS = ("float32", "tf32", "bf16")
IMAGES = ".images"  # folder, in a folder of runs, of the decoded images that trainings share (a BVLC Caffe keeps none)
IMAGES_BYTES = 4 << 30  # it may hold, unless CAFFE_IMAGE_CACHE_BYTES says otherwise; 196 kB for an image of 256 x 256

_PACKAGES = {  # name -> its module, and the distribution that brings it
    "torch": ("torch", "torch"),
    "numpy": ("numpy", "numpy"),
    "opencv": ("cv2", "opencv-python-headless"),
    "protobuf": ("google.protobuf", "protobuf"),
}


def start(gpu: int | None = None, images: str | Path | None = None) -> ModuleType:
    """Import caffe and choose where it computes, on a GPU or (None) the CPU; returns the module.

    ``images`` is a folder of runs, whose trainings share decoded images; what these take is printed. A `UserError` says
    that there is no such GPU, that `precision` cannot be used, or that CAFFE_IMAGE_CACHE_BYTES is not a number. Where
    there is no Caffe to import, an ImportError is raised, or whatever else importing a BVLC build raises;
    `errors.sentence_of` explains it.
    """
    chosen = precision()
    with patience("starting the engine"):
        import caffe
        from caffe import Net  # noqa: F401 - a package named caffe on PyPI has none
    if images is not None and not _is_bvlc():
        _share_images(os.path.join(images, IMAGES))
    if _is_bvlc() and chosen != PRECISIONS[0]:
        raise UserError(f"PRECISION: {chosen} needs this project's own engine; a BVLC Caffe computes in float32")
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        try:
            caffe.set_device(gpu)
            caffe.set_mode_gpu()
        except RuntimeError as error:
            reason = str(error).partition(";")[0].rstrip(".")
            raise UserError(f"GPU {gpu} cannot be used ({reason}); without GPU= or --gpu the CPU is used") from error
    where = f"{cores()} CPU cores" if gpu is None else f"GPU {gpu}"
    log.info("engine: %s in %s, on %s", describe(), os.path.dirname(caffe.__file__), where)
    return caffe


def _share_images(folder):
    """Set the folder of decoded images and its limit, as far as the user has not, and print what it holds."""
    folder = os.environ.setdefault("CAFFE_IMAGE_CACHE", os.path.abspath(folder))
    limit = os.environ.setdefault("CAFFE_IMAGE_CACHE_BYTES", str(IMAGES_BYTES))
    if not limit.isdecimal():
        raise UserError(f"CAFFE_IMAGE_CACHE_BYTES is {limit!r}; it should be a number of bytes, as {IMAGES_BYTES}")
    held = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process may just have removed it
                held += entry.stat().st_size
    print(f"decoded images: {held / 1e9:.1f} GB of at most {int(limit) / 1e9:.1f} GB in {folder}", flush=True)


def cores() -> int:
    """How many CPU cores this process may use, or, if the system does not say, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Environment:
    """What a training or an evaluation was computed with, as run.json and result.json record it.

    None of it is part of a run's identity: a training may resume in another environment, which is then recorded too.
    """

    engine: str = ""  # name and version: ``pixels-to-sentiment 0.1.0`` (the project's version), or ``BVLC Caffe 1.0.0``
    project: str = ""  # version of this project, whose tools these are
    # Of the checkout with these tools, with ``-dirty`` if files are changed; empty outside of a checkout.
    commit: str = ""
    device: str = ""  # model of the CPU and its vector instructions, or the name of the GPU
    cuda: str = ""  # version of CUDA; empty on a CPU, or if unknown
    threads: int | None = None  # of the CPU
    precision: str = PRECISIONS[0]  # one of `PRECISIONS`
    # Of Python, the system, torch (of this project's engine), numpy, OpenCV and protobuf.
    versions: dict = field(default_factory=dict)


def environment(gpu: int | None = None) -> Environment:
    """What the Caffe in use computes with, after `start` with the same number of a GPU."""
    torch = None if _is_bvlc() else sys.modules["torch"]
    told = os.environ.get("OMP_NUM_THREADS", "")  # to the BLAS of a BVLC Caffe
    of_blas = int(told) if told.isdecimal() and int(told) else cores()
    return Environment(
        engine=describe(),
        project=__version__,
        commit=commit(),
        device=_cpu() if gpu is None else _gpu(gpu),
        cuda=torch.version.cuda or "" if torch and gpu is not None else "",
        threads=torch.get_num_threads() if torch else of_blas,
        precision=precision(),
        versions={name: version for name, version in versions().items() if name != "torch" or torch},
    )


def describe() -> str:
    """Name and version of the Caffe in use, after `start`."""
    if _is_bvlc():
        return f"BVLC Caffe {getattr(sys.modules['caffe'], '__version__', 'of unknown version')}"
    return f"{NAME} {__version__}"


def _is_bvlc():
    """Whether the Caffe in use is not this project's own, whose ``CaffeError`` no build has."""
    return not hasattr(sys.modules["caffe"], "CaffeError")


@functools.cache
def commit(folder=PROJECT) -> str:
    """The commit of a checkout, 40 hexadecimal digits, then ``-dirty`` if its files differ; empty outside of one."""
    if not (folder / ".git").exists():
        return ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    git = ["git", "--no-optional-locks", "-C", str(folder)]
    return _output([*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], environment)


def _output(command, environment=None):
    """What a command prints; empty if it fails."""
    try:
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _cpu():
    """Model of the CPU, and the vector instructions that torch uses."""
    model = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
        model = found[1].strip() if found else ""
    model = model or platform.processor() or platform.machine()
    return model if _is_bvlc() else f"{model}, {sys.modules['torch'].backends.cpu.get_cpu_capability()}"


def _gpu(number):
    """Name of a GPU."""
    if not _is_bvlc():
        return sys.modules["torch"].cuda.get_device_name(number)
    query = ["nvidia-smi", f"--id={number}", "--query-gpu=name", "--format=csv,noheader"]
    return _output(query) or f"GPU {number}"


def precision() -> str:
    """What products are computed in: float32, unless CAFFE_PRECISION names another of `PRECISIONS`."""
    chosen = os.environ.get("CAFFE_PRECISION") or PRECISIONS[0]
    if chosen not in PRECISIONS:
        raise UserError(f"PRECISION: {chosen!r} is none of {', '.join(PRECISIONS)}")
    return chosen


def check_precision(gpu: int | None = None):
    """Refuse tf32 without a GPU: it would be recorded, but not computed in."""
    if gpu is None and precision() == "tf32":
        raise UserError("PRECISION: tf32 needs a GPU; give GPU= or --gpu too, or choose float32 or bf16")


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that numbers depend on, of those that are there."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name, (module, distribution) in _PACKAGES.items():
        # What is loaded need not be a distribution: a system's OpenCV is none.
        version = getattr(sys.modules.get(module), "__version__", None)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = str(version or importlib.metadata.version(distribution))
    return found


@contextlib.contextmanager
def working_in(folder):
    """Run a block in a folder: Caffe takes paths in definitions and states relative to the current one."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
