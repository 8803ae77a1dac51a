"""Fine-tune the paper's networks: one fold, or any number of them in one process.

    python tools/train.py --init caffenet --fold 1
    python tools/train.py --arch squeezenet --init squeezenet_v1.0.caffemodel --subset all --fold all

A run's folder, runs/<subset>/<arch>-<init>/fold<k>/, gets all that was used and Caffe's log; with a seed other than the
usual one it is .../<arch>-<init>-seed<N>/fold<k>/. Ctrl-C ends with a snapshot; the same command goes on from the
newest whole one, and a run that is done is left alone. SIGTERM and SIGHUP do as Ctrl-C. A loss that is no number stops
a training, unless --keep-diverged.
"""

import math
import sys
from pathlib import Path

import numpy as np

from sentiment import engine
from sentiment.cli import command
from sentiment.cli.arguments import Parser, card, folds_of, positive, runs_options, subsets_of
from sentiment.data import dataset, folds
from sentiment.networks import architectures
from sentiment.networks.transfer import take_over
from sentiment.sources import cards
from sentiment.training import snapshots, solvers
from sentiment.training.plans import Plan, settings
from sentiment.utils import locks
from sentiment.utils.caffe_log import ignored_layers, stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import default, half_written
from sentiment.utils.progress import Progress, duration, patience
from sentiment.utils.signals import Interrupted, postponed


def main(argv=None):
    """Train; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--data", default=default("data/deepsent"), help="folder of images and labels (default: %(default)s)")
    option("--splits", type=Path, default=folds.SPLITS, help="folder of fold lists (default: splits/)")
    runs_options(option)
    option("--mean", help="mean file, or b,g,r (default: the card's; for a file, the ImageNet means)")
    option("--gpu", type=card, metavar="N", help="compute on this CUDA card (default: CPU)")
    option("--batch-size", type=positive, metavar="N", help="images an iteration (default: 256)")
    option("--iterations", type=positive, metavar="N", help="(default: those of 65 epochs)")
    option("--base-lr", type=float, metavar="RATE", help="(default: 0.001, for fc6-2 0.0001)")
    option(
        "--stepsize", type=positive, metavar="N", help="iterations between divisions of the rate (default: 6 epochs)"
    )
    option(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="any other choice of docs/protocol.md: " + ", ".join((*solvers.NAMES[4:], *architectures.CHOICES)),
    )
    option("--keep-diverged", action="store_true", help="train to the end though the loss is no number, as Caffe does")
    args = parser.parse_args(argv)

    architectures.check_init(args.arch, args.init)
    engine.check_precision(args.gpu)
    data = dataset.load(args.data)
    source = cards.of_data_set(args.init, args.mean, data)
    given = settings(args.set, vars(args))
    plans = [
        Plan(data, source, args.arch, subset, fold, args.splits, args.runs, args.seed, given, args.variant)
        for subset in subsets_of(args)
        for fold in folds_of(args)
    ]
    due = [plan for plan in plans if not plan.done()]
    for plan in plans:
        if plan not in due:
            tidy(plan)
            say_done(plan)
    for plan in due:
        plan.check_source()
    if due:
        seconds = [plan.estimate() for plan in due]
        each = f" ({duration(max(seconds))} a fold)" if len(due) > 1 else ""
        print(f"to train: {len(due)}, in about {duration(sum(seconds))}{each} on two CPU cores", flush=True)
        caffe = engine.start(args.gpu, images=args.runs)
        for plan in due:
            with locks.held(plan.run.folder, "training"):
                if plan.done():  # by another process, while this one waited
                    say_done(plan)
                else:
                    plan.write(engine.environment(args.gpu), gpu=args.gpu is not None)
                    train(caffe, plan, solvers.snapshot_every(args.gpu is not None), args.keep_diverged)
    return 0


def tidy(plan):
    """Remove what a process killed in its last moments left beside the last weights."""
    run, last = plan.run, plan.schedule.iterations
    if snapshots.others(run, last, state=False) or half_written(run.folder):
        with locks.held(run.folder, "tidying"):
            snapshots.keep_only(run, last, state=False)


def say_done(plan):
    """One line."""
    print(f"{plan.title}: done already, {plan.run.weights(plan.schedule.iterations)}", flush=True)


def train(caffe, plan, snapshot_every, keep_diverged):
    """Run one plan to its end; a signal ends it with a snapshot and an `Interrupted` that says how to go on."""
    run, total = plan.run, plan.schedule.iterations
    resumed = snapshots.newest(run)
    with engine.working_in(run.folder), stderr_to(run.log) as terminal:
        log_start = run.log.stat().st_size
        with patience(f"{plan.title}: setting up", terminal):
            solver = caffe.SGDSolver(run.solver.name)
        print(plan.title)
        if resumed is not None:
            solver.restore(run.state(resumed).name)
            print(f"  goes on from iteration {resumed}")
        elif plan.source.path is not None:
            taken, new = take_over(
                solver.net, str(plan.source.path.resolve()), architectures.filled_layers(plan.train_val())
            )
            print(f"  taken over: {' '.join(taken)}\n  new: {' '.join(new)}")
            if ignored := ignored_layers(run.log, log_start):
                print(f"  left behind: {' '.join(ignored)}")
        sys.stdout.flush()
        with (
            Progress(plan.title, total, solver.iter, stream=terminal) as bar,
            postponed("stopping: finishing this iteration, then a snapshot", terminal) as stopped,
        ):
            loss = math.nan
            while solver.iter < total and not stopped:
                solver.step(1)
                loss = float(solver.net.blobs["loss"].data)
                snapshot = solver.iter % snapshot_every == 0
                if not (keep_diverged or is_finite(solver.net, loss, snapshot or solver.iter == total)):
                    raise diverged(plan, solver, loss)
                bar.advance(1, f"loss {loss:.3f}")
                if snapshot:
                    snapshots.keep_only(run, solver.iter)
            if solver.iter % snapshot_every:
                solver.snapshot()
    snapshots.keep_only(run, solver.iter, state=solver.iter < total)
    if solver.iter < total:
        sentence = f"stopped at iteration {solver.iter} of {total}; the same command goes on from there"
        raise Interrupted(stopped[0], sentence)
    if not math.isfinite(loss):
        print(f"{plan.title}: diverged, the loss is {loss}; kept as a result", file=sys.stderr)


def is_finite(net, loss, weights):
    """Whether the loss is a number, and with ``weights`` those of the net too: a loss may be the last good one."""
    blobs = [blob.data for of_layer in net.params.values() for blob in of_layer] if weights else []
    return math.isfinite(loss) and all(np.isfinite(values).all() for values in blobs)


def diverged(plan, solver, loss):
    """The `UserError` of a training that came to no number; of its snapshots only a good one stays."""
    snapshots.discard(plan.run, solver.iter)
    good = snapshots.newest(plan.run)
    kept = f"the snapshot of iteration {good} stays" if good is not None else "there is no snapshot yet"
    iteration, schedule = solver.iter - 1, plan.schedule  # as the log counts
    rate, tenth = schedule.base_lr * schedule.gamma ** (iteration // schedule.stepsize), f"{schedule.base_lr / 10:g}"
    what = "some weights are no numbers" if math.isfinite(loss) else f"the loss is {loss:g}"
    return UserError(
        f"{plan.title}: {what} at iteration {iteration}, at a learning rate of {rate:g} ({kept}); try a lower rate, as "
        f"SET='base_lr={tenth}' VARIANT=lr{tenth}, and see that the mean is the one of these weights"
    )


if __name__ == "__main__":
    sys.exit(command.run(main))
