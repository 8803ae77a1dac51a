"""Fine-tune the paper's networks, on one fold or on several in one process.

    python tools/train.py --init caffenet --fold 1
    python tools/train.py --arch pcnn --weak flickr         after tools/train_weak.py --weak flickr
    python tools/train.py --arch squeezenet --init squeezenet_v1.0.caffemodel --subset all --fold all

A run's folder, runs/<subset>/<arch>-<init>/fold<k>/, holds its configuration, net definitions, weights and Caffe's log.
With another seed than the default the folder is .../<arch>-<init>-seed<N>/fold<k>/. Ctrl-C, SIGTERM and SIGHUP stop a
training after a snapshot; the same command resumes from the newest complete snapshot and skips runs that are done. A
loss that is NaN stops a training, unless --keep-diverged is given.

The architectures that end in `probe` are fitted, not trained: all layers are the source's, and the new one is a
logistic regression on their features.
"""

from sentiment import engine
from sentiment.analysis import probes
from sentiment.cli import arguments, command
from sentiment.data import dataset
from sentiment.networks import architectures
from sentiment.sources import cards
from sentiment.training import loop, snapshots
from sentiment.training.plans import Plan, settings
from sentiment.utils import locks
from sentiment.utils.progress import duration


def main(argv=None):
    """Train all runs that the options name."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, "data", "splits")
    arguments.runs_options(option)
    arguments.gpu_option(option)
    arguments.schedule_options(option)
    arguments.training_options(option)
    option("--keep-diverged", action="store_true", help="train to the end although the loss is NaN, as Caffe does")
    args = parser.parse_args(argv)

    init = arguments.init_of(args)
    architectures.check_init(args.arch, init)
    engine.check_precision(args.gpu)
    data = dataset.load(args.data)
    source = cards.of_data_set(init, args.mean, data)
    given = settings(args.set, vars(args))
    runs = arguments.runs_of(args)
    due = []
    for plan in [Plan(run, data, source, args.splits, args.seed, args.variant, given) for run in runs]:
        if plan.done():
            snapshots.tidy(plan.run.folder, plan.schedule.iterations)
            command.say_skipped(plan.run.title, plan.weights)
        else:
            due.append(plan)
    if not due:
        return
    for plan in due:
        plan.check_source()
    seconds = [plan.estimate() for plan in due]
    each = f" ({duration(max(seconds))} a fold)" if len(due) > 1 else ""
    print(f"to train: {len(due)}, in about {duration(sum(seconds))}{each} on two CPU cores", flush=True)
    caffe = engine.start(args.gpu, images=args.runs)
    features: dict = {}  # of probes, which all folds share
    for plan in due:
        with locks.held(plan.run.folder, "training"):
            if plan.done():  # by another process, while this one waited
                command.say_skipped(plan.run.title, plan.weights)
            else:
                plan.write(engine.environment(args.gpu), gpu=args.gpu is not None)
                if plan.fitted:
                    probes.fit(caffe, plan, features)
                    continue
                loop.train(caffe, plan.training(args.keep_diverged))


if __name__ == "__main__":
    raise SystemExit(command.run(main))
