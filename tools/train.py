"""Fine-tune the paper's networks: one fold, or any number of them in one process.

    python tools/train.py --init caffenet --fold 1
    python tools/train.py --arch squeezenet --init squeezenet_v1.0.caffemodel --subset all --fold all

A run's folder, runs/<subset>/<arch>-<init>/fold<k>/, gets all that was used and Caffe's log; with a seed other than the
usual one it is .../<arch>-<init>-seed<N>/fold<k>/. Ctrl-C ends with a snapshot; the same command goes on from the
newest whole one, and a run that is done is left alone.
"""

import math
import sys
from pathlib import Path

from sentiment import cards, console, dataset, engine, folds, nets, paper, snapshots, solvers
from sentiment.arguments import Parser
from sentiment.interrupt import postponed
from sentiment.logs import ignored_layers, stderr_to
from sentiment.plans import Plan, settings
from sentiment.progress import Progress, duration, patience
from sentiment.transfer import take_over


def main(argv=None):
    """Train; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--data", default="data/deepsent", help="folder of images and labels (default: %(default)s)")
    option("--splits", type=Path, default=folds.SPLITS, help="folder of fold lists (default: splits/)")
    option("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: %(default)s)")
    option("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["five_agrees"])
    option("--fold", nargs="+", choices=[*map(str, paper.FOLDS), "all"], default=["1"])
    option("--arch", choices=nets.ARCHITECTURES, default="finetune")
    option("--init", default="caffenet", help="a card's name, a .caffemodel, or scratch (default: %(default)s)")
    option("--mean", help="mean file, or b,g,r (default: the card's; for a file, the ImageNet means)")
    option("--seed", type=int, default=solvers.DEFAULT_SEED, help="of all random numbers (default: %(default)s)")
    option("--gpu", type=int, metavar="N", help="compute on this CUDA card (default: CPU)")
    option("--batch-size", type=int, metavar="N", help="images an iteration (default: 256)")
    option("--iterations", type=int, metavar="N", help="(default: those of 65 epochs)")
    option("--base-lr", type=float, metavar="RATE", help="(default: 0.001, for fc6-2 0.0001)")
    option("--stepsize", type=int, metavar="N", help="iterations between divisions of the rate (default: 6 epochs)")
    option(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="any other choice of docs/protocol.md: " + ", ".join((*solvers.NAMES[4:], *nets.CHOICES)),
    )
    option("--variant", default="", metavar="WORD", help="keep the run apart, in <arch>-<init>-WORD")
    args = parser.parse_args(argv)

    data = dataset.load(args.data)
    source = cards.resolve(args.init, args.mean, own=data.folder / "models")
    given = {**vars(args), **settings(args.set)}
    plans = [
        Plan(data, source, args.arch, subset, fold, args.splits, args.runs, args.seed, given, args.variant)
        for subset in (paper.SUBSETS if "all" in args.subset else dict.fromkeys(args.subset))
        for fold in (paper.FOLDS if "all" in args.fold else dict.fromkeys(map(int, args.fold)))
    ]
    due = [plan for plan in plans if not plan.done()]
    for plan in plans:
        if plan not in due:
            print(f"{plan.title}: done already, {plan.run.weights(plan.schedule.iterations)}")
    if due:
        seconds = [plan.estimate() for plan in due]
        each = f" ({duration(max(seconds))} a fold)" if len(due) > 1 else ""
        print(f"to train: {len(due)}, in about {duration(sum(seconds))}{each} on two CPU cores", flush=True)
        caffe = engine.start(args.gpu, images=args.runs)
        for plan in due:
            plan.write(gpu=args.gpu is not None)
            train(caffe, plan)
    return 0


def train(caffe, plan):
    """Run one plan to its end; an interrupt ends it with a snapshot and a KeyboardInterrupt that says how to go on."""
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
            taken, new = take_over(solver.net, str(plan.source.path.resolve()), nets.filled_layers(plan.train_val()))
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
                bar.advance(1, f"loss {loss:.3f}")
                if solver.iter % solvers.SNAPSHOT_EVERY == 0:
                    snapshots.keep_only(run, solver.iter)
            if solver.iter % solvers.SNAPSHOT_EVERY:
                solver.snapshot()
    snapshots.keep_only(run, solver.iter, state=solver.iter < total)
    if solver.iter < total:
        raise KeyboardInterrupt(f"stopped at iteration {solver.iter} of {total}; the same command goes on from there")
    if not math.isfinite(loss):
        print(f"{plan.title}: the loss is {loss}: this rate does not converge here", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(console.run(main))
