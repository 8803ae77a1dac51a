"""Write the network definitions in prototxt/: one folder per architecture, with train_val.prototxt and deploy.prototxt.

fcn is the fully convolutional net that a fine-tuned one becomes (Table 1); it is not trained, so it has no train_val.

    python tools/make_prototxt.py                          all of them, as committed
    python tools/make_prototxt.py --arch fc6-2 --out /tmp  one of them, elsewhere
    python tools/make_prototxt.py --arch fc9 --init my.caffemodel --out /tmp

The paths in them are those of the five-agree subset's first fold, for `caffe train` from the repository's root;
tools/train.py writes the same nets with a run's own paths. fc9 and fc9-frozen keep the last layer of the source they
start from: the committed ones keep CaffeNet's.
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
    option, archs = parser.add_argument, [*architectures.ARCHITECTURES, FCN]
    option("--arch", nargs="+", choices=[*archs, "all"], default=["all"], help="architectures (default: all)")
    option("--data", default="data/deepsent", help="data set's folder in the definitions (default: %(default)s)")
    option("--splits", default="splits/deepsent", help="fold lists' folder in the definitions (default: %(default)s)")
    mean = "models/imagenet_mean.binaryproto"
    option("--mean", default=mean, help="mean file in the definitions (default: %(default)s)")
    option("--batch-size", type=positive, metavar="N", help="images per iteration (default: the architecture's own)")
    option("--divisor", type=positive, default=1, metavar="N", help="divide channel counts by N (default: 1; demo: 8)")
    init = "source whose last layer fc9 keeps: a .caffemodel, or a model card that names it (default: %(default)s)"
    option("--init", default=architectures.EXAMPLE_INIT, help=init)
    option("--scratch", action="store_true", help="write fillers for every layer, to train from scratch")
    option("--out", type=Path, default=PROJECT / "prototxt", help="folder to write to (default: prototxt/)")
    args = parser.parse_args(argv)

    for arch in archs if "all" in args.arch else args.arch:
        for name, net in definitions(arch, args).items():
            path = args.out / architectures.folder_name(arch, cards.run_name(args.init)) / f"{name}.prototxt"
            written = write_if_changed(path, HEADER + str(net))
            print(f"{path}{'' if written else ' (unchanged)'}")
    return 0


def definitions(arch, args):
    """An architecture's definitions, by the names of their files."""
    if arch == FCN:
        return {"deploy": surgery.convert(architectures.deploy("finetune", args.divisor)).net}
    test_images = paper.IMAGES[SUBSET] // len(paper.FOLDS)
    batch_size = solvers.schedule(arch, paper.IMAGES[SUBSET] - test_images, given=vars(args)).batch_size
    test_batch_size, _ = solvers.covering_batches(test_images, batch_size)
    last = source_layer(args.init) if arch in architectures.ON_LAST_LAYER else None
    train, test = (f"{args.splits}/{SUBSET}/test{FOLD}/{part}.txt" for part in ("train", "test"))
    lists = architectures.ImageLists(train, test, f"{args.data}/images", args.mean, batch_size, test_batch_size)
    train_val = architectures.train_val(arch, lists, args.divisor, args.scratch, last)
    return {"train_val": train_val, "deploy": architectures.deploy(arch, args.divisor, last)}


def source_layer(init):
    """The last layer of a .caffemodel as its file has it, or of a model card as it was published."""
    if cards.is_path(init):
        return last_layer(Path(init))
    published = cards.read(init).last_layer
    if set(published) != {"name", "classes"}:
        raise UserError(f"the model card {init} does not name its last layer; give its .caffemodel by --init")
    return architectures.LastLayer(published["name"], published["classes"])


if __name__ == "__main__":
    sys.exit(command.run(main))
