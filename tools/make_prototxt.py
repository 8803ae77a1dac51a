"""Write the network definitions in prototxt/: one folder an architecture, train_val.prototxt and deploy.prototxt in it.

fcn is the fully convolutional net that a fine-tuned one becomes (Table 1); it is not trained, so it has no train_val.

    python tools/make_prototxt.py                          all of them, as committed
    python tools/make_prototxt.py --arch fc6-2 --out /tmp  one of them, elsewhere
    python tools/make_prototxt.py --arch fc9 --init my.caffemodel --out /tmp

The paths in them are those of the five-agree subset's first fold, for `caffe train` from the repository's root;
tools/train.py writes the same nets with a run's own paths. fc9 and fc9-frozen keep the last layer of what they start
from: the committed ones are CaffeNet's.
"""

import sys
from pathlib import Path

from sentiment import paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser, positive
from sentiment.networks import architectures, surgery
from sentiment.networks.weights_files import last_layer
from sentiment.sources import cards
from sentiment.training import solvers
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, write_if_changed

SUBSET, FOLD = "five_agrees", 1
HEADER = "# Written by tools/make_prototxt.py\n"
FCN = "fcn"


def main(argv=None):
    """Generate; returns the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("--arch", nargs="+", choices=[*architectures.ARCHITECTURES, FCN, "all"], default=["all"])
    parser.add_argument(
        "--data", default="data/deepsent", help="the data set's folder, as written into the definitions"
    )
    parser.add_argument("--splits", default="splits/deepsent", help="the fold lists' folder, likewise")
    parser.add_argument("--mean", default="models/imagenet_mean.binaryproto", help="the mean file, likewise")
    parser.add_argument("--batch-size", type=positive, help="images an iteration (default: the architecture's own)")
    parser.add_argument(
        "--divisor", type=positive, default=1, help="divide the numbers of channels (the demo's nets: 8)"
    )
    parser.add_argument(
        "--init",
        default=architectures.EXAMPLE_INIT,
        help="whose last layer fc9 keeps: a .caffemodel, or a card that names it (default: %(default)s)",
    )
    parser.add_argument("--scratch", action="store_true", help="fillers in every layer, for training from scratch")
    parser.add_argument(
        "--out", type=Path, default=PROJECT / "prototxt", help="folder to write to (default: prototxt/)"
    )
    args = parser.parse_args(argv)

    for arch in [*architectures.ARCHITECTURES, FCN] if "all" in args.arch else args.arch:
        for name, net in definitions(arch, args).items():
            path = args.out / architectures.folder_name(arch, cards.run_name(args.init)) / f"{name}.prototxt"
            written = write_if_changed(path, HEADER + str(net))
            print(f"{path}{'' if written else ' (unchanged)'}")
    return 0


def definitions(arch, args):
    """An architecture's definitions by their files' names."""
    if arch == FCN:
        return {"deploy": surgery.convert(architectures.deploy("finetune", args.divisor)).net}
    test_images = paper.IMAGES[SUBSET] // len(paper.FOLDS)
    train_images = paper.IMAGES[SUBSET] - test_images
    batch_size = solvers.schedule(arch, train_images, given={"batch_size": args.batch_size}).batch_size
    test_batch_size, _ = solvers.covering_batches(test_images, batch_size)
    last = source_layer(args.init) if arch in architectures.ON_LAST_LAYER else None
    fold = f"{args.splits}/{SUBSET}/test{FOLD}"
    train_val = architectures.train_val(
        arch,
        f"{fold}/train.txt",
        f"{fold}/test.txt",
        f"{args.data}/images",
        args.mean,
        batch_size,
        test_batch_size,
        args.divisor,
        args.scratch,
        last,
    )
    return {"train_val": train_val, "deploy": architectures.deploy(arch, args.divisor, last)}


def source_layer(init):
    """The last layer of a .caffemodel as the file has it, of a card as it was published."""
    if cards.is_path(init):
        return last_layer(Path(init))
    published = cards.read(init).last_layer
    if set(published) != {"name", "classes"}:
        raise UserError(f"the card {init} does not know its last layer's name; give the .caffemodel by --init")
    return architectures.LastLayer(published["name"], published["classes"])


if __name__ == "__main__":
    sys.exit(command.run(main))
