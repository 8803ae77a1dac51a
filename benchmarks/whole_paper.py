"""How long the paper's trainings and their tests take, all of them, at full size: for a machine with a GPU.

    python benchmarks/whole_paper.py /scratch/whole --gpu 0
    python benchmarks/whole_paper.py /scratch/whole --gpu 0 --executor ray --gpus-per-run 0.5
    python benchmarks/whole_paper.py /scratch/some --gpu 0 --sample
    CAFFE_PRECISION=tf32 python benchmarks/whole_paper.py /scratch/whole-tf32 --gpu 0

Numbers of images, sizes, schedules and files are those of the paper; pictures and weights are noise, so that nothing
needs to be downloaded. The folder takes 20 GB. Unknown options go to tools/paper.py; the same call resumes what was
stopped, and tells the time of what was left.

--sample trains and tests one fold of each subset and multiplies: the nets of a subset differ in initialisation, or in
fully connected layers, and count as equal. With --jobs N this is done in N processes at a time, as
`--executor ray` would, and the sum of their times is divided by N.
"""

import argparse
import importlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import yaml

from sentiment import engine, paper
from sentiment.demo import stand_ins
from sentiment.experiments import paper_parts
from sentiment.networks import architectures
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.files import PROJECT

PARTS = ("table2", "table4", "table5", "table6")
WEIGHTS = "noise.caffemodel"


def main(argv=None):
    """Make what is missing, train and test; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, help="of each subset (default: the paper's)")
    parser.add_argument("--divisor", type=int, default=1, help="of all channels, to try this script (default: 1)")
    parser.add_argument("--sample", action="store_true", help="one fold of each subset, and an estimate")
    parser.add_argument("--jobs", type=int, choices=range(1, 5), default=1, help="at a time, for --sample (default: 1)")
    parser.add_argument("--gpu", type=int, metavar="N", help="on this CUDA card (default: CPU)")
    args, more = parser.parse_known_args(argv)

    data = args.folder / "data"
    prepare(data, args.images, args.divisor)
    places = ["--data", data, "--splits", args.folder / "splits", "--runs", args.folder / "runs"]
    places += [] if args.gpu is None else ["--gpu", args.gpu]
    call("split_folds", "--data", data, "--out", args.folder / "splits")
    if args.sample:
        return sample(places, args.jobs, more)
    start = time.perf_counter()
    call("paper", *PARTS, *places, "--out", args.folder / "results", *more)
    print(f"{time.perf_counter() - start:.0f} s for all trainings, tests and tables ({engine.precision()})")
    return 0


def sample(places, jobs, more):
    """Train and test a fold of each subset; prints the time that all trainings of the paper would take.

    The first training of each process does not count, because the process starts in it. Nor do the last ones, which
    keep all processes at work until those that count are done.
    """
    trainings: Counter[str] = Counter()
    for experiment in paper_parts.experiments(PARTS):
        # beyond the paper's 75: fc6-2 at the full rate, of which it gives no number, and what it proposes
        if not experiment.full_rate and not architectures.ARCHITECTURES[experiment.arch].frozen:
            trainings[experiment.subset] += len(paper.FOLDS)
    starting = [(paper.SUBSETS[0], fold) for fold in paper.FOLDS[:jobs]]
    ending = [(subset, fold) for subset in paper.SUBSETS[1:] for fold in paper.FOLDS[:-1]][: jobs - 1]
    runs = [*starting, *((subset, paper.FOLDS[-1]) for subset in trainings), *ending]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        seconds = list(pool.map(partial(train_and_test, places, more), runs))
    total = max(seconds[:jobs]) - seconds[jobs]  # for the processes to start
    for (subset, count), each in zip(trainings.items(), seconds[jobs:]):
        total += count * each / jobs
        print(f"{subset}: {each:.1f} s for one of {count} trainings and its test, {jobs} at a time")
    print(f"all {trainings.total()} trainings and tests, extrapolated: {total:.0f} s ({engine.precision()})")
    return 0


def train_and_test(places, more, run):
    """Train and test a CaffeNet on one fold of a subset; the seconds it took."""
    sys.path.insert(0, str(PROJECT / "tools"))
    train, evaluate = (importlib.import_module(tool).main for tool in ("train", "evaluate"))
    start = time.perf_counter()
    which = [*places, "--subset", run[0], "--init", "caffenet", "--fold", run[1]]
    train([str(word) for word in [*which, "--keep-diverged", *more]])
    evaluate([str(word) for word in which])
    return time.perf_counter() - start


def prepare(data, images, divisor):
    """A DATA folder with as many images a subset as DeepSent has, and a source for each of the nine cards."""
    counts = {subset: images or count for subset, count in zip(paper.SUBSETS, (880, 1113, 1269), strict=True)}
    (data / "images").mkdir(parents=True, exist_ok=True)
    (data / "models").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    names = [f"{number}.jpg" for number in range(max(counts.values()))]
    for name in names:
        if not (path := data / "images" / name).is_file():
            small = rng.integers(0, 255, (30, 40, 3), np.uint8)
            cv2.imwrite(str(path), cv2.resize(small, (500, 375), interpolation=cv2.INTER_CUBIC))
    for subset, count in counts.items():
        lines = [f"{name} {number % 2}\n" for number, name in enumerate(names[:count])]
        (data / f"twitter_{subset}.txt").write_text("".join(lines))
    description = {"name": "noise", "demo": True, "note": "noise, for timing only", "channels_divisor": divisor}
    (data / "dataset.yaml").write_text(yaml.safe_dump(description))
    if not (data / "models" / WEIGHTS).is_file():
        weights(data / "models" / WEIGHTS, divisor)
    for init in stand_ins.STAND_INS:
        card = {
            "title": f"noise for {init}",
            "about": "Noise.",
            "file": WEIGHTS,
            "mean": list(paper.IMAGENET_MEANS_BGR),
            "last_layer": {"name": paper.NEW_LAYER, "classes": paper.CLASSES},
        }
        (data / "models" / f"{init}.yaml").write_text(yaml.safe_dump(card, sort_keys=False))


def weights(path, divisor):
    """A CaffeNet of Gaussian weights."""
    caffe = engine.start()
    model = path.with_suffix(".prototxt")
    model.write_text(str(architectures.deploy("finetune", divisor)))
    rng = np.random.default_rng(1)
    with stderr_to(os.devnull):
        net = caffe.Net(str(model), caffe.TEST)
    for blobs in net.params.values():
        shape = blobs[0].data.shape
        blobs[0].data[...] = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    net.params["conv1"][0].data[...] /= 100
    net.save(str(path))


def call(tool, *words):
    """Run one of the tools; its failure is this script's."""
    status = subprocess.run([sys.executable, PROJECT / "tools" / f"{tool}.py", *map(str, words)]).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    sys.exit(main())
