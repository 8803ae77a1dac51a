"""Fine-tune the paper's networks: one fold, or any number of them in one process.

    python tools/train.py --init caffenet --fold 1
    python tools/train.py --arch squeezenet --init squeezenet_v1.0.caffemodel --subset all --fold all

A run's folder, runs/<subset>/<arch>-<init>/fold<k>/, holds everything the run was made from, and Caffe's log. With
another seed than the default it is .../<arch>-<init>-seed<N>/fold<k>/. Ctrl-C, SIGTERM and SIGHUP end a training with a
snapshot. The same command resumes from the newest complete snapshot, and skips runs that are done. A loss that is NaN
stops a training, unless --keep-diverged is given.
"""

import sys
from pathlib import Path

from sentiment import engine
from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option, positive, runs_of, runs_options
from sentiment.data import dataset, folds
from sentiment.networks import architectures
from sentiment.networks.choices import CHOICES
from sentiment.sources import cards
from sentiment.training import loop, snapshots
from sentiment.training.plans import Plan, settings
from sentiment.utils import locks
from sentiment.utils.files import default
from sentiment.utils.progress import duration


def main(argv=None):
    """Train; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--data", default=default("data/deepsent"), help="folder of images and labels (default: %(default)s)")
    option("--splits", type=Path, default=folds.SPLITS, help="folder of fold lists (default: splits/)")
    runs_options(option)
    option("--mean", help="mean file, or b,g,r (default: the model card's; for a file, the ImageNet means)")
    gpu_option(option)
    option("--batch-size", type=positive, metavar="N", help="images per iteration (default: 256)")
    option("--iterations", type=positive, metavar="N", help="iterations to train (default: those of 65 epochs)")
    option(
        "--base-lr", type=float, metavar="RATE", help="learning rate at the start (default: 0.001, for fc6-2 0.0001)"
    )
    option("--stepsize", type=positive, metavar="N", help="iterations between drops of the rate (default: 6 epochs)")
    other = ("gamma", "momentum", "weight_decay", *CHOICES)
    option(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help=f"any other choice of docs/protocol.md: {', '.join(other)}",
    )
    option("--keep-diverged", action="store_true", help="train to the end although the loss is NaN, as Caffe does")
    args = parser.parse_args(argv)

    architectures.check_init(args.arch, args.init)
    engine.check_precision(args.gpu)
    data = dataset.load(args.data)
    source = cards.of_data_set(args.init, args.mean, data)
    given = settings(args.set, vars(args))
    plans = [Plan(run, data, source, args.splits, args.seed, args.variant, given) for run in runs_of(args)]
    due = []
    for plan in plans:
        if plan.done():
            snapshots.tidy(plan.run.folder, plan.schedule.iterations)
            say_done(plan)
        else:
            due.append(plan)
    if not due:
        return 0
    for plan in due:
        plan.check_source()
    seconds = [plan.estimate() for plan in due]
    each = f" ({duration(max(seconds))} a fold)" if len(due) > 1 else ""
    print(f"to train: {len(due)}, in about {duration(sum(seconds))}{each} on two CPU cores", flush=True)
    caffe = engine.start(args.gpu, images=args.runs)
    for plan in due:
        with locks.held(plan.run.folder, "training"):
            if plan.done():  # by another process, while this one waited
                say_done(plan)
                continue
            plan.write(engine.environment(args.gpu), gpu=args.gpu is not None)
            loop.train(caffe, plan.training(args.keep_diverged))
    return 0


def say_done(plan):
    """Print that a run needs no training."""
    print(f"{plan.run.title}: already done, skipped ({plan.weights})", flush=True)


if __name__ == "__main__":
    sys.exit(command.run(main))
