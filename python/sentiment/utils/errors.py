"""Errors a user can cause, each one sentence: what is wrong, where, what to do."""

import contextlib
import errno
import os
import re
import sys
import traceback
from pathlib import Path


class UserError(Exception):
    """One sentence: what is wrong, where (file, line), what to do."""


# What the machine or the user's paths did wrong. Any other OSError is a fault of ours and keeps its traceback.
_OUTSIDE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EROFS}
_OUTSIDE |= {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.EIO, errno.EMFILE}

FULL = {  # what a full disk says, in a user's words
    errno.ENOSPC: "the disk is full: make room, then the same command goes on",
    errno.EDQUOT: "your share of the disk is used up: make room, then the same command goes on",
    errno.EFBIG: "no file may be so large here (see `ulimit -f`): raise that, then the same command goes on",
}


_NO_MEMORY = re.compile("can't allocate memory|CUDA out of memory")  # as torch says it, on a CPU and on a card


def python() -> str:
    """The Python in use, as a user calls it: ``.venv/bin/python`` within the project's folder."""
    path = os.path.relpath(sys.executable)
    return "python" if path.startswith(os.pardir) else path


def say(sentence):
    """Print on stderr, which may be a terminal that was closed or on the very disk that is full."""
    with contextlib.suppress(OSError, ValueError):
        print(sentence, file=sys.stderr, flush=True)


def caffe_problem(error) -> str | None:
    """The sentence on an exception that ``import caffe`` raised, wherever that was; None for any other.

    A BVLC build raises what its compiled module, numpy and protobuf make of a Python that it was not built for.
    """
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] == "caffe":
        return (
            f"`import caffe` gives no Caffe ({error}); run `make setup` and use its .venv, or set CAFFE to the python "
            "folder of one that is built"
        )
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    package = next((Path(code.co_filename).parent for code in frames if _imports_caffe(code)), None)
    if package is None:
        return None
    if isinstance(error, ModuleNotFoundError):
        problem = f"this Python has no {error.name}"
    else:
        problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')}"
    return (
        f"`import caffe` fails in {package} ({problem}); {sys.executable} has to have the numpy, protobuf and "
        "scikit-image that this Caffe was built for: name another by PY=, see docs/howto/real-caffe.md"
    )


def _imports_caffe(code):
    path = Path(code.co_filename)
    return code.co_name == "<module>" and (path.parent.name, path.name) == ("caffe", "__init__.py")


def sentence_of(error) -> str | None:
    """The sentence a user should read of an exception, or None for a fault that is ours."""
    # Where the engine is a real Caffe build there is no caffe.errors, so ask only what is loaded already.
    engine = getattr(sys.modules.get("caffe.errors"), "CaffeError", UserError)
    cause = error if isinstance(error, OSError) else error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        sentence = "there is not enough memory for this; try a smaller BATCH, or --batch-size"
    elif isinstance(error, (UserError, engine)):
        sentence = str(error)
    elif error is cause and number in _OUTSIDE:
        sentence = f"{error.filename or 'writing the output'}: {error.strerror}"
    else:
        return caffe_problem(error)
    return f"{sentence.rstrip('.')}; {FULL[number]}" if number in FULL else sentence
