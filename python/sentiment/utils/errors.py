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


# Caused by the machine or the user's paths. Any other OSError is a fault of ours and keeps its traceback.
_OUTSIDE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EROFS}
_OUTSIDE |= {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.EIO, errno.EMFILE}

FULL = {
    errno.ENOSPC: "the disk is full: free some space, then the same command resumes",
    errno.EDQUOT: "your disk quota is used up: free some space, then the same command resumes",
    errno.EFBIG: "the file is larger than allowed (see `ulimit -f`): raise the limit, then the same command resumes",
}
"""What to do about a full disk, by the error's number."""

_NO_MEMORY = re.compile("can't allocate memory|CUDA out of memory")  # torch's words, on a CPU and on a GPU


def python() -> str:
    """The Python in use, as a user calls it: ``.venv/bin/python`` within the project's folder."""
    path = os.path.relpath(sys.executable)
    return "python" if path.startswith(os.pardir) else path


def say(sentence: str):
    """Print on stderr, unless it is a closed terminal or on the very disk that is full."""
    with contextlib.suppress(OSError, ValueError):
        print(sentence, file=sys.stderr, flush=True)


def caffe_problem(error: BaseException) -> str | None:
    """The sentence for an exception raised by ``import caffe``, wherever that was; None for any other.

    A BVLC build raises whatever its compiled module, numpy and protobuf do in a Python that it was not built for.
    """
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] == "caffe":
        return (
            f"`import caffe` finds no Caffe ({error}); run `make setup` and use its .venv, or set CAFFE to the python "
            "folder of a Caffe build"
        )
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if frame.f_code.co_name == "<module>" and path.parts[-2:] == ("caffe", "__init__.py"):
            break
    else:
        return None
    if isinstance(error, ModuleNotFoundError):
        problem = f"this Python has no {error.name}"
    else:
        problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')}"
    return (
        f"`import caffe` fails in {path.parent} ({problem}); {sys.executable} must have the numpy, protobuf and "
        "scikit-image that this Caffe was built for: name another Python by PY=, see docs/howto/real-caffe.md"
    )


def sentence_of(error: BaseException) -> str | None:
    """The sentence for a user about an exception, or None for a fault of ours."""
    # With a BVLC Caffe there is no caffe.errors, so only ask what is loaded already.
    engine = getattr(sys.modules.get("caffe.errors"), "CaffeError", UserError)
    cause = error if isinstance(error, OSError) else error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        sentence = "there is not enough memory for this; try a smaller BATCH, or --batch-size"
    elif isinstance(error, (UserError, engine)):
        sentence = str(error)
    elif isinstance(error, OSError) and number in _OUTSIDE:
        sentence = f"{error.filename or 'writing the output'}: {error.strerror}"
    else:
        return caffe_problem(error)
    return f"{sentence.rstrip('.')}; {FULL[number]}" if number in FULL else sentence
