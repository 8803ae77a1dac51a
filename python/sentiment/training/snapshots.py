"""The snapshots in a training's folder: which one a training can resume from, and which can be deleted.

A snapshot is a pair of files, ``snapshot_iter_<N>.caffemodel`` and ``.solverstate``; this project's engine writes a
third, ``.streams``. A process that is killed while it writes can leave one file of the pair, or with a BVLC Caffe part
of a file, so a snapshot counts only if both files can be parsed.
"""

import re
from pathlib import Path

from sentiment.utils import locks
from sentiment.utils.files import half_written

PREFIX = "snapshot"
"""Caffe's ``snapshot_prefix``."""
_FILE = re.compile(rf"{PREFIX}_iter_(\d+)\.(caffemodel|solverstate|streams).*")  # .solverstate.streams in version 0.1


def weights(folder: Path, iteration: int) -> Path:
    """The path of the weights of an iteration."""
    return folder / f"{PREFIX}_iter_{iteration}.caffemodel"


def newest(folder: Path) -> int | None:
    """The iteration of the newest snapshot from which a training can resume, or None."""
    from caffe.proto import caffe_pb2

    for iteration in sorted({iteration for _, iteration, _ in _files(folder)}, reverse=True):
        path = weights(folder, iteration)
        state = _parsed(caffe_pb2.SolverState, path.with_suffix(".solverstate"))
        if state is not None and state.iter == iteration and is_complete(path):
            return iteration
    return None


def is_complete(weights: Path) -> bool:
    """Whether a .caffemodel exists, can be parsed and has a layer."""
    from caffe.proto import caffe_pb2

    net = _parsed(caffe_pb2.NetParameter, weights)
    return net is not None and len(net.layer) + len(net.layers) > 0


def others(folder: Path, iteration: int | None = None, state=True) -> list[Path]:
    """Files of all snapshots but that of one iteration; with ``state=False`` all files but the weights of that one."""
    return [path for path, of, kind in _files(folder) if of != iteration or not (state or kind == "caffemodel")]


def keep_only(folder: Path, iteration: int | None, state=True):
    """Delete `others`, to save disk space: a solver's state takes 240 MB for CaffeNet."""
    for path in others(folder, iteration, state):
        path.unlink(missing_ok=True)


def tidy(folder: Path, last: int):
    """Delete what a process killed at the end of a training left beside the weights of the last iteration."""
    if others(folder, last, state=False) or half_written(folder):
        with locks.held(folder, "tidying"):
            keep_only(folder, last, state=False)


def _files(folder):
    """The path, iteration and kind of each file of a snapshot in a folder."""
    matches = ((path, _FILE.fullmatch(path.name)) for path in folder.glob(f"{PREFIX}_*"))
    return [(path, int(match[1]), match[2]) for path, match in matches if match]


def _parsed(message, path):
    """The protobuf message in a file; None if the file is missing or not complete."""
    from google.protobuf.message import DecodeError

    try:
        return message.FromString(path.read_bytes())
    except (OSError, DecodeError):
        return None
