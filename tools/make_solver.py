"""Write the solver definitions in solvers/: one per subset and architecture, with the paper's schedule.

    python tools/make_solver.py                                           all of them, as committed
    python tools/make_solver.py --arch finetune --subset five_agrees --iterations 300 --out /tmp

They train the nets in prototxt/ on the paper's numbers of images, from the repository's root; tools/train.py writes
the same with a run's own net, number of images and seed.
"""

import math
import sys
from pathlib import Path

from sentiment import paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_number, schedule_options, seed
from sentiment.networks import architectures
from sentiment.training import solvers
from sentiment.utils.files import PROJECT, write_if_changed

HEADER = "# Written by tools/make_solver.py\n"


def main(argv=None):
    """Generate; returns the exit status."""
    parser = Parser(__doc__)
    option, archs = parser.add_argument, architectures.ARCHITECTURES
    option("--arch", nargs="+", choices=[*archs, "all"], default=["all"], help="architectures (default: all)")
    option("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["all"], help="subsets (default: all)")
    option("--seed", type=seed, default=solvers.DEFAULT_SEED, metavar="N", help="random seed (default: %(default)s)")
    mode = "write GPU mode; `caffe train -gpu` chooses the GPU (default: CPU)"
    option("--gpu", type=gpu_number, metavar="N", help=mode)
    schedule_options(option)
    option("--out", type=Path, default=PROJECT / "solvers", help="folder to write to (default: solvers/)")
    args = parser.parse_args(argv)

    for arch in archs if "all" in args.arch else args.arch:
        for subset in paper.SUBSETS if "all" in args.subset else args.subset:
            test_images = paper.IMAGES[subset] // len(paper.FOLDS)
            schedule = solvers.schedule(arch, paper.IMAGES[subset] - test_images, given=vars(args))
            # prototxt/ holds the five-agree subset's test batch; the larger subsets' lists take more of them.
            images = paper.IMAGES["five_agrees"] // len(paper.FOLDS)
            test_batch_size, _ = solvers.covering_batches(images, schedule.batch_size)
            test_iter = math.ceil(test_images / test_batch_size)
            name = architectures.folder_name(arch)
            net, prefix = f"prototxt/{name}/train_val.prototxt", f"runs/{subset}_{name}"
            solver = solvers.solver(schedule, net, prefix, test_iter, args.seed, args.gpu is not None)
            path = args.out / f"{subset}_{name}.prototxt"
            written = write_if_changed(path, HEADER + str(solver))
            print(f"{path}{'' if written else ' (unchanged)'}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
