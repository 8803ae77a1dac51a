"""Write the network definitions in prototxt/: one folder per architecture, with train_val.prototxt and deploy.prototxt.

fcn is the fully convolutional net that a fine-tuned one becomes (Table 1); it is not trained, so it has no train_val.

    python tools/make_prototxt.py                          all of them, as committed
    python tools/make_prototxt.py --arch fc6-2 --out /tmp  one of them, elsewhere
    python tools/make_prototxt.py --arch fc9 --init my.caffemodel --out /tmp

The paths in them are those of the five-agree subset's first fold, for `caffe train` from the repository's root;
tools/train.py writes the same nets with a run's own paths. fc9 and fc9-frozen keep the last layer of the source they
start from: the committed ones keep CaffeNet's.
"""

from pathlib import Path

from sentiment import paper
from sentiment.cli import arguments, command
from sentiment.networks import architectures, surgery
from sentiment.networks.weights_files import last_layer
from sentiment.sources import cards, foreign
from sentiment.training import solvers
from sentiment.utils.errors import UserError
from sentiment.utils.files import write_if_changed

SUBSET, FOLD = "five_agrees", 1
HEADER = "# Written by tools/make_prototxt.py\n"
FCN = "fcn"


def main(argv=None):
    """Write the definitions."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.several_option(option, "arch", (*architectures.TRAINED, FCN), "architectures")
    option("--data", default="data/deepsent", help="data set's folder, for the definitions (default: %(default)s)")
    option("--splits", default="splits/deepsent", help="fold lists' folder, for the definitions (default: %(default)s)")
    mean = "models/imagenet_mean.binaryproto"
    option("--mean", default=mean, help="mean file, for the definitions (default: %(default)s)")
    arguments.count_option(option, "batch-size", "images per iteration (default: the architecture's own)")
    arguments.count_option(option, "divisor", "divide channel counts by N, which is 8 for the demo's networks", 1)
    init = "source whose last layer fc9 keeps: a .caffemodel, or a model card with `last_layer` (default: %(default)s)"
    option("--init", default=architectures.DEFAULT_INIT, help=init)
    option("--scratch", action="store_true", help="write fillers for every layer, to train from scratch")
    arguments.folder_options(option, out="prototxt")
    args = parser.parse_args(argv)

    for arch in args.arch:
        for name, net in definitions(arch, args).items():
            path = args.out / architectures.folder_name(arch, cards.run_name(args.init)) / f"{name}.prototxt"
            command.say_written(path, write_if_changed(path, HEADER + str(net)))


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
    scratch = args.scratch or architectures.default_init(arch) == architectures.SCRATCH
    train_val = architectures.train_val(arch, lists, args.divisor, scratch, last)
    return {"train_val": train_val, "deploy": architectures.deploy(arch, args.divisor, last)}


def source_layer(init):
    """The last layer of a file of weights as the file has it, or of a model card as it was published."""
    if cards.is_path(init):
        return last_layer(foreign.caffemodel(Path(init)))
    published = cards.read(init).last_layer
    if set(published) != {"name", "classes"}:
        raise UserError(f"the model card {init} does not name its last layer; give its .caffemodel by --init")
    return architectures.LastLayer(published["name"], published["classes"])


if __name__ == "__main__":
    raise SystemExit(command.run(main))
