"""The snapshots in a training's folder: which one it can resume from, which ones can be deleted.

A snapshot is a pair, ``snapshot_iter_<N>.caffemodel`` and ``.solverstate``, and what the engine keeps beside them. A
process killed while it writes can leave one file of the pair, and with a BVLC Caffe a part of a file, so only what
parses counts.

A training is here anything with a ``folder``: a `runs.Run` or a `loop.Training`.
"""

import re

from sentiment.utils import locks
from sentiment.utils.files import half_written

_FILE = re.compile(r"snapshot_iter_(\d+)\.(caffemodel|solverstate|streams).*")  # .solverstate.streams in version 0.1


def weights(folder, iteration):
    """The path of the weights of an iteration."""
    return folder / f"snapshot_iter_{iteration}.caffemodel"


def newest(training):
    """The iteration of the newest snapshot that can be restored, or None."""
    from caffe.proto import caffe_pb2

    iterations = {int(match[1]) for path in training.folder.glob("snapshot_*") if (match := _FILE.fullmatch(path.name))}
    for iteration in sorted(iterations, reverse=True):
        path = weights(training.folder, iteration)
        state = _parsed(caffe_pb2.SolverState, path.with_suffix(".solverstate"))
        if state is not None and state.iter == iteration and is_whole(path):
            return iteration
    return None


def is_whole(weights):
    """Whether a .caffemodel is there and parses, with a layer in it."""
    from caffe.proto import caffe_pb2

    net = _parsed(caffe_pb2.NetParameter, weights)
    return net is not None and len(net.layer) + len(net.layers) > 0


def others(training, iteration, state=True):
    """The paths of all snapshots but one iteration's, and with ``state=False`` of that one's solver state too."""
    found = []
    for path in training.folder.glob("snapshot_*"):
        match = _FILE.fullmatch(path.name)
        if match and (int(match[1]) != iteration or (match[2] != "caffemodel" and not state)):
            found.append(path)
    return found


def keep_only(training, iteration, state=True):
    """Delete all other snapshots, and with ``state=False`` this one's solver state too (240 MB for CaffeNet)."""
    for path in others(training, iteration, state):
        path.unlink(missing_ok=True)


def tidy(training, last):
    """Delete what a process killed in its last moments left beside the weights of the last iteration."""
    if others(training, last, state=False) or half_written(training.folder):
        with locks.held(training.folder, "tidying"):
            keep_only(training, last, state=False)


def discard(training, iteration="*"):
    """Delete the snapshot of an iteration if there is one, by default all snapshots."""
    for path in training.folder.glob(f"snapshot_iter_{iteration}.*"):
        path.unlink()


def _parsed(message, path):
    """The protobuf message in a file; None where there is no file or only a part of one."""
    from google.protobuf.message import DecodeError

    try:
        return message.FromString(path.read_bytes())
    except (OSError, DecodeError):
        return None
