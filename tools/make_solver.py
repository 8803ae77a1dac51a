"""Write the solver definitions in solvers/: one per subset and architecture, with the paper's schedule.

    python tools/make_solver.py                                           all of them, as committed
    python tools/make_solver.py --arch finetune --subset five_agrees --iterations 300 --out /tmp

They train the nets in prototxt/ on the paper's numbers of images, from the repository's root; tools/train.py writes
the same with a run's own net, number of images and seed.
"""

import math

from sentiment import paper
from sentiment.cli import arguments, command
from sentiment.networks import architectures
from sentiment.training import solvers
from sentiment.utils.files import write_if_changed

HEADER = "# Written by tools/make_solver.py\n"


def main(argv=None):
    """Write the definitions."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.several_option(option, "arch", architectures.TRAINED, "architectures")
    arguments.several_option(option, "subset", paper.SUBSETS, "subsets")
    arguments.seed_option(option, "random seed")
    mode = "write solver_mode: GPU; `caffe train -gpu` chooses the GPU (default: CPU)"
    option("--gpu", type=arguments.gpu_number, metavar="N", help=mode)
    arguments.schedule_options(option)
    arguments.folder_options(option, out="solvers")
    args = parser.parse_args(argv)

    for arch in args.arch:
        for subset in args.subset:
            test_images = paper.IMAGES[subset] // len(paper.FOLDS)
            schedule = solvers.schedule(arch, paper.IMAGES[subset] - test_images, given=vars(args))
            # prototxt/ has the five-agree subset's test batch size; a larger subset needs more test batches.
            images = paper.IMAGES["five_agrees"] // len(paper.FOLDS)
            test_batch_size, _ = solvers.covering_batches(images, schedule.batch_size)
            test_iter = math.ceil(test_images / test_batch_size)
            name = architectures.folder_name(arch)
            net, prefix = f"prototxt/{name}/train_val.prototxt", f"runs/{subset}_{name}"
            solver = solvers.solver(schedule, net, prefix, test_iter, args.seed, args.gpu is not None)
            path = args.out / f"{subset}_{name}.prototxt"
            command.say_written(path, write_if_changed(path, HEADER + str(solver)))


if __name__ == "__main__":
    raise SystemExit(command.run(main))
