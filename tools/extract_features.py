"""Extract the activations of every layer, as Gram matrices, for the layer analysis (Table 3).

    python tools/extract_features.py --init caffenet --fold all
    python tools/extract_features.py --source --init caffenet_conv.caffemodel --mean ilsvrc_2012_mean.binaryproto

The centre crops of each fold's training and test images are run through the fold's own fine-tuned net, and the Gram
matrices are written to runs/<subset>/<arch>-<init>/fold<k>/grams.npz. With --source the images are run through the
layers of the source itself, not fine-tuned; runs/<subset>/source-<init>/grams.npz is for all five folds. Extractions
that are already done are skipped. The next step is tools/analyze_layers.py.
"""

from pathlib import Path

from sentiment import engine
from sentiment.analysis import extraction, features
from sentiment.cli import arguments, command
from sentiment.data import dataset
from sentiment.evaluation import inference
from sentiment.networks import architectures
from sentiment.sources import cards
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text


def main(argv=None):
    """Extract features."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, "data", "splits")
    arguments.runs_options(option, fold="all")
    option("--source", action="store_true", help="extract from --init itself, not fine-tuned, for all folds")
    use = "with --source: deploy definition of the source (default: that of --arch)"
    option("--model", type=Path, metavar="FILE", help=use)
    option("--mean", help="mean file, or b,g,r (default: the mean the net was trained with)")
    use = (
        "subtract the mean image resized to the crop, as the authors did (default if there is a mean image), or the "
        "means of its channels"
    )
    option("--mean-way", choices=features.MEAN_WAYS, help=use)
    arguments.gpu_option(option)
    arguments.count_option(option, "batch-size", "crops in a forward pass (default: 20; 200 on a GPU)")
    use = "folder for gigabytes of temporary files (default: the run's folder)"
    option("--scratch", type=Path, metavar="FOLDER", help=use)
    args = parser.parse_args(argv)
    engine.check_precision(args.gpu)
    if args.source:
        parser.refuse(("fold", "variant", "seed"), "selects a trained run, and --source uses none")
    else:
        parser.refuse(["model"], "needs --source")
    if args.model:
        parser.refuse(["arch"], "and --model both give a definition; give one of them")
    if args.scratch and not args.scratch.is_dir():
        raise UserError(f"--scratch: {args.scratch} is not a folder")

    data = dataset.load(args.data)
    if args.source:
        source = cards.of_data_set(arguments.init_of(args), args.mean, data)
        engine.start(args.gpu)
        for subset in args.subset:
            divisor = architectures.ARCHITECTURES[args.arch].divisor(data.setting("channels_divisor", subset, 1))
            definition = read_text(args.model) if args.model else str(architectures.deploy(args.arch, divisor))
            extract(extraction.of_source(source, args.runs, subset, data, args.splits, definition, args.mean_way), args)
        return
    for run in arguments.runs_of(args):
        wanted = extraction.of_run(run, data, args.splits, args.mean, args.mean_way)
        if wanted is None:
            command.say_skipped(run.title, features.file_of(run))
        else:
            extract(wanted, args)


def extract(wanted, args):
    """Extract features unless that is done already, and print the path of their file."""
    if wanted.is_done():
        command.say_skipped(wanted.title, wanted.path)
        return
    batch = args.batch_size or (inference.BATCH if args.gpu is None else inference.BATCH_GPU)
    wanted.extract(args.gpu, batch, args.scratch)
    print(f"{wanted.title}: {wanted.path}", flush=True)


if __name__ == "__main__":
    raise SystemExit(command.run(main))
