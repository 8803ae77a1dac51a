"""The snapshots of a run: which can be gone on from, which can go.

A snapshot is a pair, ``snapshot_iter_<N>.caffemodel`` and ``.solverstate``. A process killed while it writes can leave
one file of the pair, and with a BVLC Caffe a part of a file, so only what parses counts.
"""

import re


def newest(run):
    """The iteration of the newest snapshot of a `Run` that can be restored, or None."""
    from caffe.proto import caffe_pb2

    for iteration in run.snapshots():
        state = _parsed(caffe_pb2.SolverState, run.state(iteration))
        if state is not None and state.iter == iteration and is_whole(run.weights(iteration)):
            return iteration
    return None


def is_whole(weights):
    """Whether a .caffemodel is there and parses, with a layer in it."""
    from caffe.proto import caffe_pb2

    net = _parsed(caffe_pb2.NetParameter, weights)
    return net is not None and len(net.layer) + len(net.layers) > 0


def others(run, iteration, state=True):
    """Paths of a run's snapshots but for one iteration's, and with ``state=False`` its solver state too."""
    found = []
    for path in run.folder.glob(f"{run.snapshot_prefix.name}_iter_*"):
        # The engine may keep more beside a state, as .streams (.solverstate.streams before).
        match = re.fullmatch(r".*_iter_(\d+)\.(caffemodel|solverstate|streams)(\..*)?", path.name)
        if match and (int(match[1]) != iteration or (match[2] != "caffemodel" and not state)):
            found.append(path)
    return found


def keep_only(run, iteration, state=True):
    """Delete a run's other snapshots, and with ``state=False`` this one's solver state too (CaffeNet's: 240 MB)."""
    for path in others(run, iteration, state):
        path.unlink(missing_ok=True)


def discard(run, iteration):
    """Delete the snapshot of an iteration, if there is one."""
    for path in run.folder.glob(f"{run.snapshot_prefix.name}_iter_{iteration}.*"):
        path.unlink()


def _parsed(message, path):
    """The protobuf message in a file, or None where there is no file or it holds only a part."""
    from google.protobuf.message import DecodeError

    try:
        return message.FromString(path.read_bytes())
    except (OSError, DecodeError):
        return None
