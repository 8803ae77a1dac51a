"""The training loop of the paper's runs and of the demo's source models."""

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

SOLVER, LOG = "solver.prototxt", "train.log"
"""The solver's definition and Caffe's log in a training's folder."""


@dataclass(frozen=True)
class Training:
    """A training for `train`: a folder with the definitions of a net and its solver.

    Caffe runs in that folder and writes the log and the snapshots there; snapshot_prefix has to be `snapshots.PREFIX`.
    """

    folder: Path
    title: str  # in messages
    advice: str  # end of the error about a loss that is not finite: what the user can do
    source: Path | None = None  # weights to start from; None to start from the net's fillers
    keep_diverged: bool = False  # whether to train to the end although the loss is NaN, as Caffe does


def train(caffe, training: Training) -> Path:
    """Train until the last iteration, resuming from the newest snapshot if there is one.

    Returns the path of the last iteration's weights. All other files of snapshots are deleted.

    Raises
    ------
    UserError
        The source's weights do not fit; or the loss or the weights are not finite, and the last good snapshot is kept.
    Interrupted
        A signal arrived; the current iteration was finished and saved as a snapshot, from which the next call resumes.
    """
    from google.protobuf import text_format

    folder, title = training.folder.resolve(), training.title  # absolute, because the current folder changes
    source = str(training.source.resolve()) if training.source else None
    definition = text_format.Parse(read_text(folder / SOLVER), caffe.proto.caffe_pb2.SolverParameter())
    total, every = definition.max_iter, definition.snapshot
    weights = snapshots.weights(folder, total)
    if snapshots.is_complete(weights):
        snapshots.keep_only(folder, total, state=False)
        return weights
    resumed = snapshots.newest(folder)
    with engine.working_in(folder), stderr_to(folder / LOG) as terminal:
        log_start = (folder / LOG).stat().st_size
        with patience(f"{title}: setting up", terminal):
            solver = caffe.get_solver(SOLVER)
        print(title)
        if resumed is not None:
            solver.restore(snapshots.weights(folder, resumed).with_suffix(".solverstate").name)
            print(f"  resumes from iteration {resumed}")
        elif source is not None:
            net = text_format.Parse(read_text(definition.net), caffe.proto.caffe_pb2.NetParameter())
            taken, new = take_over(solver.net, source, architectures.filled_layers(net))
            print(f"  taken over: {' '.join(taken)}\n  new: {' '.join(new)}")
            if ignored := ignored_layers(LOG, log_start):
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
                if finite and (snapshot or solver.iter == total):  # the weights were updated after this loss
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
    """Delete the snapshot of an iteration whose loss or weights are not finite; return the `UserError` about it."""
    for path in folder.glob(f"{snapshots.weights(folder, iteration).stem}.*"):
        path.unlink()
    good = snapshots.newest(folder)
    kept = f"the snapshot of iteration {good} is kept" if good is not None else "there is no snapshot yet"
    what = "some weights are not finite" if math.isfinite(loss) else f"the loss is {loss:g}"
    return UserError(  # iterations are numbered from 0, as in the log
        f"{training.title}: {what} at iteration {iteration - 1}, with a base_lr of {base_lr:g} ({kept}); "
        f"{training.advice}"
    )
