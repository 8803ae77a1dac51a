"""The training loop of every network that is trained here: the paper's runs, the demo's source model and stand-ins."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentiment import engine
from sentiment.networks import architectures
from sentiment.networks.transfer import take_over
from sentiment.training import snapshots
from sentiment.utils.caffe_log import ignored_layers, stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text
from sentiment.utils.progress import Progress, patience
from sentiment.utils.signals import Interrupted, postponed


@dataclass(frozen=True)
class Training:
    """What `train` trains: the net and solver in a folder, where Caffe runs.

    ``solver.prototxt`` there says how many iterations to train and how many lie between two snapshots; its
    snapshot_prefix is ``snapshot``. The log, ``train.log``, and the snapshots are written there too.
    """

    folder: Path
    title: str  # in messages
    advice: str  # what the user can do when the loss is NaN: the end of that error's sentence
    source: Path | None = None  # weights to start from; without them, the net's fillers
    keep_diverged: bool = False  # train to the end although the loss is NaN, as Caffe does


def train(caffe, training: Training) -> Path:
    """Train until the last iteration, from the newest snapshot where there is one.

    Returns the path of the last iteration's weights. No other snapshot is left.

    Raises
    ------
    UserError
        The source's weights do not fit, or the loss or the weights are not finite; the last good snapshot is kept.
    Interrupted
        A signal came; there is a snapshot of the iteration that was finished, which the next call resumes from.
    """
    from google.protobuf import text_format

    folder, title = training.folder.resolve(), training.title  # absolute, for the current folder changes
    source = str(training.source.resolve()) if training.source else None
    definition = text_format.Parse(read_text(folder / "solver.prototxt"), caffe.proto.caffe_pb2.SolverParameter())
    total, every = definition.max_iter, definition.snapshot
    weights = snapshots.weights(folder, total)
    if snapshots.is_complete(weights):
        snapshots.keep_only(folder, total, state=False)
        return weights
    resumed = snapshots.newest(folder)
    with engine.working_in(folder), stderr_to(folder / "train.log") as terminal:
        log_start = (folder / "train.log").stat().st_size
        with patience(f"{title}: setting up", terminal):
            solver = caffe.get_solver("solver.prototxt")
        print(title)
        if resumed is not None:
            solver.restore(f"{snapshots.PREFIX}_iter_{resumed}.solverstate")
            print(f"  resumes from iteration {resumed}")
        elif source is not None:
            net = text_format.Parse(read_text(definition.net), caffe.proto.caffe_pb2.NetParameter())
            taken, new = take_over(solver.net, source, architectures.filled_layers(net))
            print(f"  taken over: {' '.join(taken)}\n  new: {' '.join(new)}")
            if ignored := ignored_layers("train.log", log_start):
                print(f"  left behind: {' '.join(ignored)}")
        sys.stdout.flush()
        with (
            Progress(title, total, solver.iter, stream=terminal) as bar,
            postponed("stopping: finishing this iteration, then a snapshot", terminal) as stopped,
        ):
            loss = math.nan
            while solver.iter < total and not stopped:
                solver.step(1)
                loss = float(solver.net.blobs["loss"].data)
                snapshot = solver.iter % every == 0
                finite = math.isfinite(loss)
                if finite and (snapshot or solver.iter == total):  # a loss is computed before the weights' update
                    blobs = [blob for of_layer in solver.net.params.values() for blob in of_layer]
                    finite = all(np.isfinite(blob.data).all() for blob in blobs)
                if not (finite or training.keep_diverged):
                    raise _diverged(training, folder, solver.iter, loss, definition.base_lr)
                bar.advance(1, f"loss {loss:.3f}")
                if snapshot:
                    snapshots.keep_only(folder, solver.iter)
            if solver.iter % every:
                solver.snapshot()
    snapshots.keep_only(folder, solver.iter, state=solver.iter < total)
    if solver.iter < total:
        sentence = f"stopped at iteration {solver.iter} of {total}; the same command resumes from there"
        raise Interrupted(stopped[0], sentence)
    if not math.isfinite(loss):
        print(f"{title}: diverged, the loss is {loss}; kept as a result", file=sys.stderr)
    return weights


def _diverged(training, folder, iteration, loss, base_lr):
    """The `UserError` of a training whose loss or weights are not finite; their snapshot is deleted."""
    for path in folder.glob(f"{snapshots.PREFIX}_iter_{iteration}.*"):
        path.unlink()
    good = snapshots.newest(folder)
    kept = f"the snapshot of iteration {good} is kept" if good is not None else "there is no snapshot yet"
    what = "some weights are not finite" if math.isfinite(loss) else f"the loss is {loss:g}"
    return UserError(  # the log counts iterations from 0
        f"{training.title}: {what} at iteration {iteration - 1}, with a base_lr of {base_lr:g} ({kept}); "
        f"{training.advice}"
    )
