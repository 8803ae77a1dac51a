"""Rerun the paper: train, test and analyse what its tables and figures need, and make them.

    python tools/paper.py                        all of it, and the report
    python tools/paper.py table4 figure6         parts of it
    python tools/paper.py table2 --arch squeezenet --init squeezenet_v1.0.caffemodel
    python tools/paper.py laptop                 SqueezeNet and its linear probe, in minutes, and the report
    python tools/paper.py --executor ray         its trainings over GPUs and machines, see docs/howto/cluster.md

It prints what is to be trained and about how long that takes, then every step as a command that can be called alone.
A training that several parts need is done once; trainings, tests, layer analyses and maps that are already done are
skipped, so the same command resumes an interrupted one. Tables and figures are made again each time, which takes
seconds; a table shows all nets under --runs. A training whose weights are not available is left out; the first and the
last lines say so, and the exit status is 2. python/sentiment/experiments/paper_parts.py lists what each part needs.
"""

from dataclasses import replace

from sentiment import engine
from sentiment.cli import arguments, command
from sentiment.data import dataset
from sentiment.experiments import cluster, paper_parts, planning
from sentiment.experiments.paper_parts import LAPTOP, OF_ONE_NET, PARTS
from sentiment.experiments.planning import call
from sentiment.networks import architectures, surgery
from sentiment.report import paper_tables
from sentiment.training import solvers
from sentiment.utils.errors import UserError
from sentiment.utils.files import default


def main(argv=None):
    """Rerun the parts that are asked for."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    known = [*PARTS, "report"]
    choices = [*known, LAPTOP, "all"]
    option("parts", nargs="*", choices=choices, default="all", help="parts (default: all of the paper)")
    arguments.folder_options(option, "data", "splits", "runs", "out")
    of_one = f"for {', '.join(OF_ONE_NET)} (default: the paper's) or {LAPTOP} (default: squeezenet)"
    option("--arch", choices=architectures.ARCHITECTURES, help=f"architecture {of_one}")
    option("--init", help=f"what training starts from, {of_one}")
    arguments.seed_option(option)
    arguments.count_option(option, "seeds", "repeat trainings on all five folds with N seeds, from --seed on", 1)
    arguments.gpu_option(option)
    arguments.schedule_options(option, rates=False)
    arguments.training_options(option)
    share = "with ray: share of a GPU per training (default: CPU)"
    option("--executor", choices=("local", "ray"), default="local", help="where to train (default: %(default)s)")
    option("--gpus-per-run", type=float, default=0, metavar="X", help=share)
    arguments.count_option(option, "cpus-per-run", "threads per training", 2)
    args = parser.parse_args(argv)
    if args.arch and args.init:
        architectures.check_init(args.arch, args.init)
    if args.seed + args.seeds > solvers.SEEDS:
        parser.error(f"--seeds: seeds go up to {solvers.SEEDS - 1:,}")
    if not 0 <= args.gpus_per_run <= 1:
        parser.error("--gpus-per-run: a training computes on one GPU or a share of it, so give 0 to 1")
    if args.executor != "ray":
        parser.refuse(("gpus_per_run", "cpus_per_run"), "is for --executor ray, which is not given")
    parts = known if "all" in args.parts else [part for part in [LAPTOP, *known] if part in args.parts]
    if LAPTOP in parts and (args.arch or "squeezenet") not in architectures.PROBES:
        parser.error(f"--arch {args.arch}: {LAPTOP} is for {', '.join(architectures.PROBES)}")
    if not {*parts} & {*OF_ONE_NET, LAPTOP, "report"}:
        parser.refuse(("arch", "init"), f"is for {', '.join(OF_ONE_NET)}; {parts[0]} has nets of its own")

    data = data_of(parts, args.data)
    seeds = range(args.seed, args.seed + args.seeds)
    of_training = args.batch_size, args.iterations, args.mean, args.set
    options = planning.Options(data, args.splits, args.runs, seeds, *of_training)
    repeats, missing = planning.repeats(paper_parts.experiments(parts, args.arch, args.init), options)
    for sentence in missing:
        print(f"left out: {sentence}", flush=True)
    if repeats or not missing:
        train_and_test(parts, repeats, args)
        make(parts, data, repeats, args)
    if missing:
        raise UserError(f"left out: {missing[0] if len(missing) == 1 else f'{len(missing)} things, listed above'}")


def data_of(parts, folder):
    """The data set; parts that show definitions alone can do without one, but for its name."""
    if any(PARTS.get(part, True) for part in parts) or folder.is_dir() or folder != default("data/deepsent"):
        return dataset.load(folder)
    return dataset.Dataset(folder, folder.name, folder / "images", {})


def train_and_test(parts, repeats, args):
    """Train and test what is not done yet: here, one net after the other, or as tasks of a Ray cluster."""
    due = [(repeat, plans) for repeat in repeats if (plans := repeat.untested)]
    if due:
        plans = [plan for _, of_repeat in due for plan in of_repeat]
        print(f"to train and test: {planning.work(plans, parts)} in {args.runs}", flush=True)
    elif repeats:
        print(f"all nets are trained and tested, in {args.runs}", flush=True)
    if args.executor == "ray":
        gpu = 0 if args.gpus_per_run else None  # a task sees the GPU that Ray gave it and no other
        jobs = [
            cluster.Job(plan.run, plan.schedule.iterations, repeat.commands([plan], gpu))
            for repeat, of_repeat in due
            for plan in of_repeat
        ]
        cluster.run_jobs(jobs, args.cpus_per_run, args.gpus_per_run)
        return
    for repeat, of_repeat in due:
        for tool, *words in repeat.commands(of_repeat, args.gpu):
            call(tool, *words)


def make(parts, data, repeats, args):
    """Make the parts, but for those whose only net was left out."""
    out, made_from = args.out / data.name, {"runs": args.runs, "out": args.out, "dataset": data.name}
    seed = args.seed if args.seed != solvers.DEFAULT_SEED else None
    for part in parts:
        if part in ("table3", "figure7"):
            (experiment,) = paper_parts.experiments_of(part, args.arch, args.init)
            repeat = next((repeat for repeat in repeats if repeat.experiment == experiment), None)
            net = {"runs": args.runs, "arch": experiment.arch, "init": experiment.init, "seed": seed}
            if part == "table3" and repeat and not repeat.is_analysed:
                call("extract_features", data=args.data, splits=args.splits, **net, gpu=args.gpu)
                call("analyze_layers", **net)
            elif part == "figure7" and repeat:
                call("sentiment_maps", data=args.data, **net, fold="all", out=args.out, gpu=args.gpu)
        elif part == "figure6":
            call("plot_loss", **made_from)
        elif part.startswith("figure"):
            call("draw_nets", figure=part.removeprefix("figure"), out=out)
    tables = [part.removeprefix("table") for part in parts if part.startswith("table")]
    if {"report", LAPTOP} & {*parts}:
        call("make_tables", "--report", **made_from)
        if LAPTOP in parts:
            call("make_tables", **made_from, table=["runs"])
        return
    if "1" in tables:  # shows the definition alone, whether anything is trained or not
        tables.remove("1")
        engine.start()
        divisor = data.setting("channels_divisor", paper_parts.FIVE, 1)
        table = paper_tables.fcn_table(surgery.convert(architectures.deploy("finetune", divisor)))
        replace(table, demo=data.demo).write(out)
        print(table.markdown())
    if tables:
        call("make_tables", **made_from, table=tables)


if __name__ == "__main__":
    raise SystemExit(command.run(main))
