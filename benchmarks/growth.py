"""How time and memory grow with images, batch, folds and features, beside the law expected of each.

    python benchmarks/growth.py                 # about ten minutes on two CPU cores
    python benchmarks/growth.py --only step gram

Each size is measured in a process of its own, so that peak memory is its own; what is there before anything is computed
(Python, torch, the net and its weights) is part of it. Prints a Markdown table.
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
WIDTH = 65536  # features of an image: about those of CaffeNet's conv3


def step(batch):
    """A training step of so many images."""
    import measures

    measures._device(None)
    with tempfile.TemporaryDirectory() as folder:
        solver = measures._solver(folder, batch)
        return median(lambda: solver.step(1), 3)


def folds(count):
    """So many trainings, one after the other in one process: made ready, and two steps of 8 images."""
    import measures

    measures._device(None)

    def train():
        for _ in range(count):
            with tempfile.TemporaryDirectory() as folder:
                measures._solver(folder, 8).step(2)

    return median(train, 1)


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

        def evaluate():
            inference.probabilities(net, inference.warped(net, paths, np.array(paper.IMAGENET_MEANS_BGR)))

        return median(evaluate, 3)


def gram(count, width=WIDTH):
    """The Gram matrix of so many images in one layer (Table 3)."""
    import numpy as np

    from sentiment.analysis import features

    rows = np.random.default_rng(0).standard_normal((count, width), np.float32)
    return median(lambda: features.gram(rows), 3)


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
    return median(lambda: layer_analysis.analyse(rows @ rows.T, labels, order[cut:], order[:cut]), 1)


MEASURES = {
    # what, sizes, expected exponent of time, and the law of memory
    "step": (step, (8, 16, 32, 64), 1, "weights, their gradients and history (0.7 GB), and activations by images"),
    "folds": (folds, (1, 2, 4), 1, "one training's"),
    "evaluation": (evaluation, (22, 44, 88, 176), 1, "a batch's"),
    "gram": (gram, (220, 440, 880), 2, "the features of a block, and images²"),
    "wide": (wide, (32768, 65536, 131072), 1, "the features themselves, here in memory"),
    "fits": (fits, (220, 440, 880), 3, "images²"),
}


def median(way, rounds):
    """Median seconds, after one call that does not count where there is more than one."""
    if rounds > 1:
        way()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def alone(name, size):
    """Seconds, and the peak memory in MB of the process that took them."""
    told = subprocess.run([sys.executable, HERE, "--one", name, str(size)], check=True, capture_output=True, text=True)
    return json.loads(told.stdout.splitlines()[-1])


def main(argv=None):
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="PART")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        seconds = MEASURES[args.one[0]][0](int(args.one[1]))
        peak = int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
        print(json.dumps([seconds, peak]))
        return 0
    print("| what | sizes | seconds | time grows as size^ | expected | peak memory, MB | made of |")
    print("|---|---|---|---|---|---|---|")
    for name in args.only:
        way, sizes, law, memory = MEASURES[name]
        seconds, peaks = zip(*(alone(name, size) for size in sizes))
        exponent = math.log(seconds[-1] / seconds[0]) / math.log(sizes[-1] / sizes[0])
        columns = [
            " ".join(f"{value:{form}}" for value in values) for values, form in ((seconds, ".3g"), (peaks, ".0f"))
        ]
        title = way.__doc__.split(".")[0].split(":")[0]
        cells = title, " ".join(map(str, sizes)), columns[0], f"{exponent:.2f}", str(law), columns[1], memory
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
