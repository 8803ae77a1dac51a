"""Write the network definitions in prototxt/: one folder an architecture, train_val.prototxt and deploy.prototxt in it.

    python tools/make_prototxt.py                          all of them, as committed
    python tools/make_prototxt.py --arch fc6-2 --out /tmp  one of them, elsewhere

The paths in them are those of the five-agree subset's first fold, for `caffe train` from the repository's root;
tools/train.py writes the same nets with a run's own paths.
"""

import argparse
import sys
from pathlib import Path

from sentiment import console, nets, paper, solvers
from sentiment.files import PROJECT, write_if_changed

SUBSET, FOLD = "five_agrees", 1
HEADER = "# Written by tools/make_prototxt.py\n"


def main(argv=None):
    """Generate; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", choices=[*nets.ARCHITECTURES, "all"], default=["all"])
    parser.add_argument(
        "--data", default="data/deepsent", help="the data set's folder, as written into the definitions"
    )
    parser.add_argument("--splits", default="splits/deepsent", help="the fold lists' folder, likewise")
    parser.add_argument("--mean", default="models/imagenet_mean.binaryproto", help="the mean file, likewise")
    parser.add_argument("--batch-size", type=int, help="images an iteration (default: the architecture's own)")
    parser.add_argument("--divisor", type=int, default=1, help="divide the numbers of channels (the demo's nets: 8)")
    parser.add_argument("--scratch", action="store_true", help="fillers in every layer, for training from scratch")
    parser.add_argument(
        "--out", type=Path, default=PROJECT / "prototxt", help="folder to write to (default: prototxt/)"
    )
    args = parser.parse_args(argv)

    test_images = paper.IMAGES[SUBSET] // len(paper.FOLDS)
    for arch in nets.ARCHITECTURES if "all" in args.arch else args.arch:
        batch_size = solvers.schedule(
            arch, paper.IMAGES[SUBSET] - test_images, {"batch_size": args.batch_size}
        ).batch_size
        test_batch_size, _ = solvers.covering_batches(test_images, batch_size)
        fold = f"{args.splits}/{SUBSET}/test{FOLD}"
        train_val = nets.train_val(
            arch,
            f"{fold}/train.txt",
            f"{fold}/test.txt",
            f"{args.data}/images",
            args.mean,
            batch_size,
            test_batch_size,
            args.divisor,
            args.scratch,
        )
        for name, net in ("train_val", train_val), ("deploy", nets.deploy(arch, args.divisor)):
            path = args.out / arch / f"{name}.prototxt"
            written = write_if_changed(path, HEADER + str(net))
            print(f"{path}{'' if written else ' (unchanged)'}")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
