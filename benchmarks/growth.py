"""How time and memory grow with images, batch, folds and features, beside the law expected of each.

    python benchmarks/growth.py                 # about ten minutes on two CPU cores
    python benchmarks/growth.py --only step gram --times 5

Each size is measured several times, each time in a process of its own, so that peak memory is its own; what is there
before anything is computed (Python, torch, the net and its weights) is part of it. The sizes take turns, so that a
machine that becomes slower favours none. Prints a Markdown table of medians; the spread is the difference between the
largest and the smallest time over the median, and the exponent is that of the least-squares line through the logarithms
of all sizes and medians. A second table shows the memory during an epoch.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve()
WIDTH = 65536  # features of an image: about those of CaffeNet's conv3
TIMES = 3  # each size is measured
POINTS = ("a quarter", "half", "three quarters", "all", "all, and resumed")  # of an epoch; memory is measured there
FOLDER_BYTES = 1 << 28  # of decoded images that the epoch's processes share: 1,365, so that the folder is soon full

SMALL = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 }
  convolution_param { num_output: 4 kernel_size: 11 stride: 8 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def step(batch):
    """A training step of so many images."""
    import measures

    measures._device(None)
    with tempfile.TemporaryDirectory() as folder:
        solver = measures._solver(folder, batch)
        return timed(lambda: solver.step(1), rounds=3)


def folds(count):
    """So many trainings, one after the other in one process: made ready, and two steps of 8 images."""
    import measures

    measures._device(None)

    def train():
        for _ in range(count):
            with tempfile.TemporaryDirectory() as folder:
                measures._solver(folder, 8).step(2)

    return timed(train)


def evaluation(count):
    """Ten crops of so many images, files and all."""
    import measures
    import numpy as np

    from sentiment import paper
    from sentiment.evaluation import inference

    measures._device(None)
    net = measures._deploy(inference.BATCH)
    with tempfile.TemporaryDirectory() as folder:
        paths = measures._photographs(folder, count)

        def evaluate(paths=paths):
            inference.probabilities(net, inference.warped(net, paths, np.array(paper.IMAGENET_MEANS_BGR)))

        evaluate(paths[:2])
        return timed(evaluate)


def epoch(count):
    """An epoch of a small net on a data set of so many images, with fold lists, decoding and resuming."""
    from sentiment import engine, paper
    from sentiment.data import dataset, folds
    from sentiment.networks import architectures
    from sentiment.sources import cards
    from sentiment.training import snapshots, solvers
    from sentiment.training.plans import Plan
    from sentiment.training.runs import Run

    os.environ.update(CAFFE_IMAGE_CACHE_BYTES=str(FOLDER_BYTES), GLOG_minloglevel="2")
    subset, points = paper.SUBSETS[0], []
    with tempfile.TemporaryDirectory() as folder:
        _data_set(Path(folder, "data"), count)
        caffe = engine.start(images=folder)

        def train():
            data = dataset.load(Path(folder, "data"))
            folds.write(folder, data.name, subset, folds.make(data.subset(subset), 1))
            run = Run(Path(folder), subset, "finetune", architectures.SCRATCH, 1)
            plan = Plan(run, data, cards.of_data_set(run.init, "104,117,123", data), Path(folder))
            plan.write(engine.environment())
            images = next(layer for layer in plan.train_val().layer if layer.type == "ImageData")
            run.train_val.write_text(f"layer {{ {images} }} {SMALL}")
            with engine.working_in(run.folder):
                definition = solvers.solver(plan.schedule, run.train_val.name, snapshots.PREFIX, 1)
                for name in "test_iter", "test_interval", "snapshot":
                    definition.ClearField(name)
                run.solver.write_text(str(definition))
                solver = caffe.get_solver(run.solver.name)
                for _ in range(4):
                    solver.step(len(plan.lists.train) // plan.schedule.batch_size // 4)
                    points.append(memory("VmRSS"))
                solver.snapshot()
                solver.restore(snapshots.weights(Path(), solver.iter).with_suffix(".solverstate").name)
                solver.step(1)
                points.append(memory("VmRSS"))

        return timed(train), points


def _data_set(folder, count):
    """Small JPEG files of different contents, each in a file of its own, and their labels."""
    import cv2
    import numpy as np

    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    drawn = [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (80, 60)) for _ in range(100)]
    encoded = [cv2.imencode(".jpg", image)[1].tobytes() for image in drawn]
    for number in range(count):  # what follows a JPEG's end is not read
        (folder / "images" / f"{number}.jpg").write_bytes(encoded[number % len(encoded)] + str(number).encode())
    (folder / "twitter_five_agrees.txt").write_text("".join(f"{n}.jpg {n % 2}\n" for n in range(count)))
    (folder / "dataset.yaml").write_text("batch_size: 80\n")


def gram(count, width=WIDTH):
    """The Gram matrix of so many images in one layer (Table 3)."""
    import numpy as np

    from sentiment.analysis import features

    rows = np.random.default_rng(0).standard_normal((count, width), np.float32)
    return timed(lambda: features.gram(rows), rounds=3)


def wide(width):
    """The Gram matrix of 440 images in a layer of so many features."""
    return gram(440, width)


def fits(count):
    """Both classifiers of Table 3 over the grid of C, inner folds too, on so many images of one layer and fold."""
    import numpy as np

    from sentiment.analysis import layer_analysis

    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    rows = rng.standard_normal((count, 4 * count)) + 0.1 * labels[:, None]
    order = rng.permutation(count)
    cut = count // 5
    return timed(lambda: layer_analysis.analyse(rows @ rows.T, labels, order[cut:], order[:cut]))


class Measure(NamedTuple):
    """Something that grows."""

    way: Callable  # called with a size
    sizes: tuple
    law: int  # expected exponent of time
    made_of: str  # the peak memory


MEASURES = {
    "step": Measure(
        step, (8, 16, 32, 64), 1, "weights, their gradients and history (0.7 GB), and activations by images"
    ),
    "folds": Measure(folds, (1, 2, 4), 1, "one training's"),
    "evaluation": Measure(evaluation, (11, 22, 44), 1, "a batch's"),
    "epoch": Measure(epoch, (10_000, 100_000), 1, "some batches, and decoded images up to 1 GiB"),
    "gram": Measure(gram, (220, 440, 880), 2, "the features of a block, and images²"),
    "wide": Measure(wide, (32768, 65536, 131072), 1, "the features themselves, here in memory"),
    "fits": Measure(fits, (220, 440, 880), 3, "images²"),
}


def timed(way, rounds=1):
    """Seconds of a call; with several rounds the median, after a call that does not count."""
    if rounds > 1:
        way()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def memory(kind):
    """The memory of this process, MB: ``VmRSS`` is that of now, ``VmHWM`` the peak (Linux only)."""
    return int(re.search(rf"{kind}:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


class Size(NamedTuple):
    """What was measured of one size: in one process, or the medians over several."""

    seconds: float
    peak: float  # memory, MB
    points: list[float]  # memory at `POINTS`, MB; empty for all but an epoch
    spread: float = 0.0  # of the seconds: the largest minus the smallest, over the median


def alone(name, size):
    """A `Size`, measured in a process of its own."""
    told = subprocess.run([sys.executable, HERE, "--one", name, str(size)], check=True, capture_output=True, text=True)
    return Size(*json.loads(told.stdout.splitlines()[-1]))


def one(name, size):
    """What `alone` reads."""
    found = MEASURES[name].way(size)
    seconds, points = found if isinstance(found, tuple) else (found, [])
    return json.dumps(Size(seconds, memory("VmHWM"), points))


def medians(measured):
    """The medians over the `Size`s of one size."""
    seconds, peaks, points, _ = zip(*measured)
    middle = statistics.median(seconds)
    return Size(
        middle,
        statistics.median(peaks),
        [statistics.median(values) for values in zip(*points)],
        (max(seconds) - min(seconds)) / middle,
    )


def slope(sizes, values):
    """The exponent of a power law, fitted to all sizes."""
    return statistics.linear_regression([math.log(n) for n in sizes], [math.log(value) for value in values]).slope


def row(*cells):
    """A line of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main(argv=None):
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="PART")
    parser.add_argument(
        "--times", type=int, default=TIMES, help="how often each size is measured (default: %(default)s)"
    )
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(one(args.one[0], int(args.one[1])))
        return 0
    during = {}
    head = "what", "sizes", "seconds", "spread", "time grows as size^", "expected", "peak memory, MB", "which is"
    row(*head)
    row(*["---"] * len(head))
    for name in args.only:
        way, sizes, law, made_of = MEASURES[name]
        turns = [[alone(name, size) for size in sizes] for _ in range(args.times)]
        found = dict(zip(sizes, map(medians, zip(*turns))))
        row(
            way.__doc__.split(".")[0].split(":")[0],
            " ".join(map(str, sizes)),
            " ".join(f"{of.seconds:.3g}" for of in found.values()),
            " ".join(f"{of.spread:.0%}" for of in found.values()),
            f"{slope(sizes, [of.seconds for of in found.values()]):.2f}",
            law,
            " ".join(f"{of.peak:.0f}" for of in found.values()),
            made_of,
        )
        during |= {size: of.points for size, of in found.items() if of.points}
    if during:
        print("\nMemory, MB, after these parts of the epoch:\n")
        row("images", *POINTS)
        row(*["---"] * (1 + len(POINTS)))
        for size, points in during.items():
            row(size, *(f"{value:.0f}" for value in points))
    return 0


if __name__ == "__main__":
    sys.exit(main())
