"""Rerun the paper: train, test and analyse what its tables and figures need, and make them.

    python tools/paper.py                        all of it, and the report
    python tools/paper.py table4 figure6         parts of it
    python tools/paper.py table2 --arch squeezenet --init squeezenet_v1.0.caffemodel
    python tools/paper.py --executor ray         its trainings over GPUs and machines, see docs/howto/cluster.md

What each part needs stands in python/sentiment/experiments/paper_parts.py; a training that several need is done once.
It says what is to do and how long that takes. Every step is a command of tools/, printed as one could call it.
Interrupted, the same command goes on; what is done is left alone. A table shows all nets under --runs, not only those
trained for it. An initialisation that cannot be had is left out, which is said first and last (exit status 2).
"""

import importlib
import itertools
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from sentiment import engine
from sentiment.analysis import layer_analysis, layer_summary
from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option, positive, seed
from sentiment.data import dataset, folds
from sentiment.experiments import paper_parts
from sentiment.experiments.cluster import CPUS_PER_RUN, Job, run_jobs
from sentiment.experiments.paper_parts import PARTS
from sentiment.networks import architectures, surgery
from sentiment.report import paper_tables, table_files
from sentiment.sources import cards
from sentiment.training import solvers
from sentiment.training.plans import settings
from sentiment.utils import files
from sentiment.utils.errors import UserError, python
from sentiment.utils.progress import duration

DATA = files.default("data/deepsent")
REPORT = "report"
CODE = [*Path(__file__).parent.glob("*.py"), *(files.PROJECT / "python" / "sentiment").rglob("*.py")]


def main(argv=None):
    """Run; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}, {REPORT} (default: all)")
    option("--data", type=Path, default=DATA, help="images and labels (default: %(default)s)")
    option("--splits", type=Path, default=folds.SPLITS, help="folder of fold lists (default: splits/)")
    option("--runs", type=Path, default=files.default("runs"), help="folder of all runs (default: %(default)s)")
    option(
        "--out", type=Path, default=files.default("results"), help="folder of tables and figures (default: %(default)s)"
    )
    option("--arch", choices=architectures.ARCHITECTURES, help=f"subject of {', '.join(paper_parts.OF_ONE_NET)}")
    option("--init", help="likewise (default: the paper's)")
    option("--seed", type=seed, default=solvers.DEFAULT_SEED, help="of all random numbers (default: %(default)s)")
    option("--seeds", type=positive, default=1, metavar="N", help="repeat every training with N seeds, from --seed on")
    gpu_option(option)
    option("--batch-size", type=positive, metavar="N", help="as for train.py")
    option("--iterations", type=positive, metavar="N", help="as for train.py")
    option("--mean", help="as for train.py")
    option("--set", nargs="+", default=[], metavar="NAME=VALUE", help="as for train.py; with --runs of its own")
    option("--executor", choices=("local", "ray"), default="local", help="of trainings (default: %(default)s)")
    option("--gpus-per-run", type=float, default=0, metavar="X", help="of a GPU, a training's part (default: the CPU)")
    option("--cpus-per-run", type=positive, default=CPUS_PER_RUN, metavar="N", help="threads (default: %(default)s)")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - {*PARTS, REPORT}:
        parser.error(f"unknown part {min(unknown)!r}; known are {', '.join(PARTS)} and {REPORT}")
    if args.arch:
        architectures.check_init(args.arch, args.init or architectures.EXAMPLE_INIT)
    if args.seed + args.seeds > solvers.SEEDS:
        parser.error(f"--seeds: seeds go up to {solvers.SEEDS - 1:,}")
    if not 0 <= args.gpus_per_run <= 1:
        parser.error("--gpus-per-run: a training computes on one GPU or a part of it, so give 0 to 1")
    if args.executor != "ray":
        parser.refuse(("gpus_per_run", "cpus_per_run"), "is of --executor ray, which is not given")
    named = [name for name in ("arch", "init") if getattr(args, name)]
    if named and args.parts and not set(args.parts) & {*paper_parts.OF_ONE_NET, REPORT}:
        parser.error(f"--{named[0]} is for {', '.join(paper_parts.OF_ONE_NET)}; {args.parts[0]} has nets of its own")
    args.parts = [part for part in (*PARTS, REPORT) if part in (args.parts or (*PARTS, REPORT))]

    data = data_of(args)
    wanted, lacking = available(data, args)
    given = settings(args.set, vars(args))
    planned = {}
    for training, (source, seeds) in wanted.items():
        where = data, source, args.splits, args.runs
        of_seeds = [paper_parts.plans(training, *where, seed, given) for seed in seeds]
        to_do = list(itertools.chain.from_iterable(untested(of_seeds)))
        try:
            for plan in to_do:
                plan.check_source()
            planned[training] = of_seeds
        except UserError as error:
            lacking.append(str(error))
    lacking = list(dict.fromkeys(lacking))
    if len(lacking) == 1 and not planned:
        raise UserError(lacking[0])
    for sentence in lacking:
        print(f"left out: {sentence}", flush=True)
    if lacking and not planned:
        raise UserError(f"nothing can be made; {len(lacking)} things are missing, as said above")
    due = {training: untested(of_seeds) for training, of_seeds in planned.items()}
    announce(due, args)
    train_and_test(due, args)
    make(data, planned, args)
    if lacking:
        raise UserError(f"left out: {lacking[0] if len(lacking) == 1 else f'{len(lacking)} things, as said above'}")
    return 0


def data_of(args):
    """The data set; parts that are of definitions alone can do without one, but for its name."""
    if any(paper_parts.PARTS.get(part, True) for part in args.parts) or args.data.is_dir() or args.data != DATA:
        return dataset.load(args.data)
    return dataset.Dataset(args.data, args.data.name, args.data / "images", {})


def available(data, args):
    """Trainings whose labels and source are there, with source and seeds of each; and a sentence for each other one."""

    def source(init):
        return cards.of_data_set(init, args.mean, data)

    wanted, found, lacking = {}, {}, {}
    for training in paper_parts.trainings(args.parts, args.arch, args.init):
        needed = {training.subset: data.subset, training.init: source}
        for name, look in needed.items():
            if name not in found and name not in lacking:
                try:
                    found[name] = look(name)
                except UserError as error:
                    lacking[name] = str(error)
        if needed.keys() <= found.keys():
            whole = len(training.folds) == len(paper_parts.CAFFENET.folds)
            wanted[training] = found[training.init], range(args.seed, args.seed + (args.seeds if whole else 1))
    return wanted, list(lacking.values())


def untested(of_seeds):
    """By seed, the plans still to train or test."""
    return [[plan for plan in plans if not paper_parts.is_tested(plan)] for plans in of_seeds]


def announce(due, args):
    """Say what is to do and about how long it takes."""
    plans = [plan for of_seeds in due.values() for plans in of_seeds for plan in plans]
    if not plans:
        if due:
            print(f"all nets are trained and tested, in {args.runs}", flush=True)
        return
    total = sum(map(paper_parts.seconds, plans)) + sum(paper_parts.seconds_more(args.parts, plans[0].divisor))
    megabytes = sum(4 * architectures.parameters(plan.run.arch, plan.divisor, plan.last) for plan in plans) / 1e6
    print(
        f"to train and test: {len(plans)} nets, in about {duration(total)} on two CPU cores; "
        f"their weights take {megabytes:,.0f} MB in {args.runs}",
        flush=True,
    )


def train_and_test(due, args):
    """Train and test what is due: here, a net after the other, or a fold a task of a Ray cluster."""
    batches = [(training, plans) for training, of_seeds in due.items() for plans in filter(None, of_seeds)]
    if args.executor == "local":
        for training, plans in batches:
            for step in steps(training, plans, args, args.gpu):
                call(*step)
        return
    gpu = 0 if args.gpus_per_run else None  # a task sees the card that it was given and no other
    jobs = [
        Job(plan.run, plan.schedule.iterations, steps(training, [plan], args, gpu))
        for training, plans in batches
        for plan in plans
    ]
    run_jobs(jobs, args.cpus_per_run, args.gpus_per_run)


def steps(training, plans, args, gpu):
    """The commands that train and test one net's plans: each a tool and its words."""
    first = plans[0]
    which = [
        *("--data", args.data, "--splits", args.splits, "--runs", args.runs, "--subset", training.subset),
        *("--arch", training.arch, "--init", training.init, "--fold", *(plan.run.fold for plan in plans)),
        *(("--seed", first.seed) if first.seed != solvers.DEFAULT_SEED else ()),
        *(("--variant", first.variant) if first.variant else ()),
        *(("--gpu", gpu) if gpu is not None else ()),
    ]
    given = {"--batch-size": args.batch_size, "--iterations": args.iterations, "--mean": args.mean}
    if training.usual_rate:
        given["--base-lr"] = first.schedule.base_lr
    more = [word for name, value in given.items() if value is not None for word in (name, value)]
    more += ["--set", *args.set] if args.set else []
    # A training that diverges is a result too, as that of fc6-2 at the usual rate, and no reason to end the others.
    more += ["--keep-diverged"]
    return [("train", *map(str, [*which, *more])), ("evaluate", *map(str, which))]


def make(data, planned, args):
    """Make the parts, each unless it is newer than what it is made from."""
    out = args.out / data.name
    gpu = ["--gpu", args.gpu] if args.gpu is not None else []
    of_seed = ["--seed", args.seed] if args.seed != solvers.DEFAULT_SEED else []
    tested = [plan.run.result for of_seeds in planned.values() for plans in of_seeds for plan in plans]
    for part in args.parts:
        net = paper_parts.subject(PARTS[part][0], args.arch, args.init) if part in paper_parts.OF_ONE_NET else None
        if net and net not in planned:
            continue  # left out
        which = ["--runs", args.runs, *(("--arch", net.arch, "--init", net.init, *of_seed) if net else ())]
        if part == "table3":
            layers = planned[net][0][0].run.folder.parent / layer_summary.FILE
            done = layer_analysis.is_current(layers)
            if not done or not files.is_newer([layers], [plan.run.result for plan in planned[net][0]]):
                call("extract_features", "--data", args.data, "--splits", args.splits, *which, *gpu)
                call("analyze_layers", *which)
                files.touch([layers])
            tested.append(layers)
        elif part == "figure6":
            fresh([out / "figure6.png"], tested, "plot_loss", *which, "--dataset", data.name, "--out", args.out)
        elif part == "figure7":
            more = ["--data", args.data, "--fold", "all", "--out", args.out, *gpu]
            fresh([out / "figure7.png"], tested, "sentiment_maps", *which, *more)
        elif part.startswith("figure"):
            fresh([out / f"{part}.png"], [], "draw_nets", "--figure", part.removeprefix("figure"), "--out", out)
    make_tables(data, tested, out, args)


def make_tables(data, tested, out, args):
    """Make the tables asked for, and the report."""
    which = ["--runs", args.runs, "--out", args.out, "--dataset", data.name]
    outputs = {
        part: [out / f"{part}{suffix}" for suffix in table_files.SUFFIXES]
        for part in args.parts
        if part.startswith("table")
    }
    if REPORT in args.parts:
        inputs = [*args.runs.glob("**/result.json"), *args.runs.glob(f"**/{layer_summary.FILE}"), *out.glob("figure*")]
        written = [path for paths in outputs.values() for path in paths]
        return fresh([*written, out / "report.html"], inputs, "make_tables", *which, "--report")
    if "table1" in outputs:  # of the net alone, trained or not
        engine.start()
        divisor = data.setting("channels_divisor", paper_parts.FIVE, 1)
        table = paper_tables.fcn_table(surgery.convert(architectures.deploy("finetune", divisor)))
        replace(table, demo=data.demo).write(out)
        print(table.markdown())
    for part in outputs:
        if part != "table1":
            fresh(outputs[part], tested, "make_tables", *which, "--table", part.removeprefix("table"))
    return None


def fresh(outputs, inputs, tool, *arguments):
    """Call a tool unless this very call has made all its outputs since the inputs and its code were changed."""
    # Which tables are made together makes no difference to any of them.
    words = shlex.join([tool, *map(str, arguments), str(Path.cwd())])
    this = re.sub(r" --(report|table \S+)", "", words)
    notes = list(dict.fromkeys(path.with_name(f".{path.stem}.call") for path in outputs))
    again = files.is_newer(notes, outputs) and all(files.read_text(note) == this for note in notes)
    if not (again and files.is_newer(outputs, [*inputs, *CODE])):
        call(tool, *arguments)
        files.touch(outputs)
        for note in notes:
            files.write_whole(note, this)
        return
    shown = [path for path in outputs if path.suffix not in (".csv", ".tex")]
    print(f"{', '.join(map(str, shown))}: done already", flush=True)
    if len(shown) == 1 and shown[0].suffix == ".md":
        print(files.read_text(shown[0]), flush=True)


def call(tool, *arguments):
    """Run a command of tools/ in this process."""
    words = [str(argument) for argument in arguments]
    print(f"$ {python()} tools/{tool}.py {shlex.join(words)}", flush=True)
    importlib.import_module(tool).main(words)  # beside this file, whose folder is on the path


if __name__ == "__main__":
    sys.exit(command.run(main))
