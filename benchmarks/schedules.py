r"""Search an architecture's schedule on inner splits: test images of the folds are never seen.

    python benchmarks/schedules.py OUT --data data/deepsent --arch squeezenet --init squeezenet \
        --grid base_lr=1e-5,3e-5 new_lr_mult=1,10 iterations=66 --jobs 2
    python benchmarks/schedules.py OUT --data data/deepsent --arch squeezenet --init squeezenet --seeds 10

Each fold's training list is shuffled and cut into five; the first part is the fold's validation list. Every combination
of the grid's values is trained on all five folds and tested on the validation lists; without --grid the architecture's
own schedule is. The learning rate is divided by ten after two thirds of the iterations, and the new layer's bias learns
twice as fast as its weights, unless stepsize and new_bias_lr_mult are given. The table is sorted by the log loss of the
ten crops' mean probability; `largest loss` is the largest training loss after the tenth iteration. The same call
resumes and skips what is done. Unknown options go to tools/train.py, as --mean.
"""

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentiment import paper
from sentiment.data import dataset, folds
from sentiment.evaluation import predictions
from sentiment.networks import architectures
from sentiment.report.tables import Table
from sentiment.sources import cards
from sentiment.training import loss_curves
from sentiment.training.runs import Run, variant_name
from sentiment.training.solvers import DEFAULT_SEED
from sentiment.utils.files import PROJECT

WARM_UP = 10  # iterations whose losses do not count as unstable


@dataclass(frozen=True)
class Candidate:
    """A combination of settings, to be trained with one seed on all folds."""

    settings: Mapping[str, str]
    seed: int

    @property
    def variant(self) -> str:
        """The name of its runs."""
        return "-".join(f"{name}{value}" for name, value in self.settings.items())


def main(argv=None):
    """Split, train and test what is missing, and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default="data/deepsent")
    parser.add_argument("--splits", type=Path, default="splits", help="folder of the folds' lists (default: splits)")
    parser.add_argument("--subset", default="five_agrees", choices=paper.SUBSETS)
    parser.add_argument("--arch", required=True, choices=architectures.ARCHITECTURES)
    parser.add_argument("--init", required=True)
    parser.add_argument("--grid", nargs="+", default=[], metavar="NAME=VALUE,VALUE", help="settings of --set")
    parser.add_argument("--seeds", type=int, default=1, help="train with seeds from 1701 on (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: 1)")
    parser.add_argument("--gpu", type=int)
    args, more = parser.parse_known_args(argv)

    data = dataset.load(args.data)
    inner = split(args, data)
    names = [pair.partition("=")[0] for pair in args.grid]
    values = [pair.partition("=")[2].split(",") for pair in args.grid]
    grid = [dict(zip(names, combination, strict=True)) for combination in itertools.product(*values)]
    for settings in grid:
        if "iterations" in settings:
            settings.setdefault("stepsize", str(round(int(settings["iterations"]) * 2 / 3)))
        if "new_lr_mult" in settings:
            settings.setdefault("new_bias_lr_mult", f"{2 * float(settings['new_lr_mult']):g}")
    candidates = [Candidate(settings, DEFAULT_SEED + n) for settings in grid for n in range(args.seeds)]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda candidate: train(candidate, args, inner, more), candidates))
    shown = list(grid[0])
    rows = sorted((row(candidate, args, shown) for candidate in candidates), key=lambda cells: float(cells[-2]))
    header = [*shown, "seed", "ten crops", "centre crop", "log loss", "largest loss"]
    title = f"{args.arch}: accuracy on inner validation lists, {args.subset}"
    print(Table("schedules", title, [], header, rows).markdown())
    print("best:", *(f"{name}={value}" for name, value in zip(shown, rows[0][: len(shown)], strict=True)))


def split(args, data) -> Path:
    """Write the inner lists of every fold's training list; returns their folder."""
    outer = [folds.read(args.splits, data.name, args.subset, fold) for fold in paper.FOLDS]
    inner = [folds.make(fold.train, seed=number)[0] for number, fold in zip(paper.FOLDS, outer, strict=True)]
    folds.write(args.out / "splits", data.name, args.subset, inner)
    return args.out / "splits"


def train(candidate: Candidate, args, inner: Path, more):
    """Train and test a candidate on all folds, each by the tools, with one thread for each of several jobs."""
    which = ["--data", args.data, "--splits", inner, "--runs", args.out / "runs", "--subset", args.subset]
    which += ["--arch", args.arch, "--init", args.init, "--fold", "all", "--seed", candidate.seed]
    which += ["--variant", candidate.variant] if candidate.variant else []
    which += ["--gpu", args.gpu] if args.gpu is not None else []
    given = [f"{name}={value}" for name, value in candidate.settings.items()]
    commands = {"train": [*which, *more, "--keep-diverged", *(["--set", *given] if given else [])], "evaluate": which}
    environment = os.environ if args.jobs == 1 else {**os.environ, "OMP_NUM_THREADS": "1"}
    log = args.out / f"{args.arch}-{candidate.variant}-{candidate.seed}.log"
    with open(log, "a") as file:
        for tool, words in commands.items():
            command = [sys.executable, PROJECT / "tools" / f"{tool}.py", *words]
            if subprocess.run(list(map(str, command)), env=environment, stdout=file, stderr=file).returncode:
                sys.exit(f"{tool} failed, see {log}")
    print(f"done: {args.arch} {candidate.variant} seed {candidate.seed}", flush=True)


def row(candidate: Candidate, args, names) -> list[str]:
    """A candidate's cells."""
    which = variant_name(candidate.variant, candidate.seed)
    init = cards.run_name(args.init)
    runs = [Run(args.out / "runs", args.subset, args.arch, init, fold, which) for fold in paper.FOLDS]
    tested = [predictions.read(run.predictions) for run in runs]
    accuracy = {way: np.mean([predictions.accuracy(fold)[way] for fold in tested]) for way in predictions.WAYS}
    everything = [one for fold in tested for one in fold]
    right = np.array([one.oversampled if one.label == paper.POSITIVE else 1 - one.oversampled for one in everything])
    log_loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()
    largest = max(loss_curves.read(run.log).losses[WARM_UP:].max(initial=0) for run in runs)
    numbers = [accuracy["oversampled"], accuracy["center"], log_loss, largest]
    return [
        *(candidate.settings[name] for name in names),
        str(candidate.seed),
        *(f"{number:.3f}" for number in numbers),
    ]


if __name__ == "__main__":
    sys.exit(main())
