"""Gram matrices of every layer's activations, for the layer analysis (Table 3).

    python tools/extract_features.py --init caffenet --fold all
    python tools/extract_features.py --source --init caffenet_conv.caffemodel --mean ilsvrc_2012_mean.binaryproto

Each fold's images, training and test, go once through the fold's own fine-tuned net (centre crop) into
runs/<subset>/<arch>-<init>/fold<k>/grams.npz. With --source they go through the initialisation itself, not fine-tuned,
as far as it has layers; one file, runs/<subset>/source-<init>/grams.npz, serves the five folds. What is done is left
alone; tools/analyze_layers.py goes on from there.
"""

import sys
from pathlib import Path

from sentiment import engine, paper
from sentiment.analysis import features
from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option, positive, runs_of, runs_options, subsets_of
from sentiment.data import dataset, folds
from sentiment.data.means import channel_means
from sentiment.evaluation import inference
from sentiment.networks import architectures
from sentiment.networks.transfer import take_over
from sentiment.sources import cards
from sentiment.training.runs import Run
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import default, read_text, sha256, write_if_changed
from sentiment.utils.progress import Progress, patience

LISTS = tuple(f"{part}_list" for part in folds.PARTS)  # as run.json calls their digests


def main(argv=None):
    """Extract; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--data", default=default("data/deepsent"), help="folder of images and labels (default: %(default)s)")
    option("--splits", type=Path, default=folds.SPLITS, help="folder of fold lists (default: splits/)")
    runs_options(option, fold="all")
    option("--source", action="store_true", help="extract from --init itself, not fine-tuned; --fold is not asked")
    option("--model", type=Path, help="with --source: its deploy definition (default: that of --arch)")
    option("--mean", help="mean file, or b,g,r (default: the one the net was trained with)")
    option(
        "--mean-way",
        choices=features.MEAN_WAYS,
        help="subtract the mean image resized to the crop, as the authors did (default where there is one), "
        "or its channels' means",
    )
    gpu_option(option)
    option("--batch-size", type=positive, metavar="N", help="crops a forward pass (default: 20, on a GPU 200)")
    option("--scratch", type=Path, metavar="DIR", help="where activations wait, gigabytes (default: the run's folder)")
    args = parser.parse_args(argv)
    engine.check_precision(args.gpu)
    if args.source:
        parser.refuse(("fold", "variant", "seed"), "names a training, and --source is of what is not trained")
    else:
        parser.refuse(["model"], "needs --source")
    if args.model:
        parser.refuse(["arch"], "gives a definition, and so does --model; give one of them")
    if args.scratch and not args.scratch.is_dir():
        raise UserError(f"--scratch: {args.scratch} is not a folder")
    args.batch_size = args.batch_size or (inference.BATCH if args.gpu is None else inference.BATCH_GPU)

    data = dataset.load(args.data)
    if args.source:
        source = cards.of_data_set(args.init, args.mean, data)
        if source.path is None:
            raise UserError(f"INIT={args.init} has no weights to extract from")
        for subset in subsets_of(args):
            extract_source(subset, source, data, args)
        return 0
    for run in runs_of(args):
        extract_run(run, data, args)
    return 0


def extract_run(run, data, args):
    """Extract from one fold's own net, unless that is done."""
    title = run.title
    config = run.configuration("dataset", "demo", "subset", "arch", "init", "mean", "mean_image", *LISTS)
    weights, path = run.weights(config.schedule.iterations), run.folder / features.FILE
    if not weights.is_file():
        if path.is_file():
            return print(f"{title}: done already, {path}")
        raise UserError(f"{run.folder}: its training is not done; run tools/train.py with the same options, it goes on")
    lists = [folds.list_path(args.splits, data.name, run.subset, run.fold, part) for part in folds.PARTS]
    fold = folds.read(args.splits, data.name, run.subset, run.fold)
    for part, listed in zip(folds.PARTS, lists, strict=True):
        if sha256(listed) != getattr(config, f"{part}_list"):
            raise UserError(f"{listed} is not the list {run.folder} was trained with")
    mean, way = mean_of_run(run, config, args)
    about = {
        **{key: getattr(config, key) for key in ("dataset", "demo", "subset", "arch", "init")},
        **described(run.deploy, weights, mean, way, lists),
    }

    def load(caffe):
        return caffe.Net(str(run.deploy), str(weights), caffe.TEST), None

    return extract(title, path, about, {run.fold: fold}, lists, data, mean, load, args)


def extract_source(subset, source, data, args):
    """Extract from an initialisation as it is, unless that is done."""
    path = Run(args.runs, subset, "source", source.name, 0).folder.parent / features.FILE
    title = f"{subset}, {source.name} as it is"
    by_fold = {number: folds.read(args.splits, data.name, subset, number) for number in paper.FOLDS}
    lists = [folds.list_path(args.splits, data.name, subset, k, part) for k in by_fold for part in folds.PARTS]
    way = args.mean_way or ("image" if isinstance(source.mean, Path) else "channels")
    model = path.with_name("deploy.prototxt")
    divisor = architectures.ARCHITECTURES[args.arch].divisor(data.setting("channels_divisor", subset, 1))
    engine.start(args.gpu)
    write_if_changed(model, read_text(args.model) if args.model else str(architectures.deploy(args.arch, divisor)))
    about = {"dataset": data.name, "demo": data.demo, "subset": subset, "arch": "source", "init": source.name}
    about |= described(model, source.path, source.mean, way, lists)

    def load(caffe):
        net = caffe.Net(str(model), caffe.TEST)
        taken, new = take_over(net, str(source.path), list(net.params))
        if not taken:
            raise UserError(f"{source.path} has none of the layers of {model}; name its own definition by --model")
        names = list(net._layer_names)
        return net, names[min((names.index(name) for name in new), default=len(names)) - 1]

    extract(title, path, about, by_fold, lists, data, source.mean, load, args, card=source.known_as)


def extract(title, path, about, by_fold, lists, data, mean, load, args, **tells):
    """Run the images of some folds through the net that ``load(caffe)`` gives, with its last layer to run; write.

    What is there already, made from the same, is left alone.
    """
    if is_done(path, about, title):
        return
    with locks.held(path.parent, "extracting features"):
        if not is_done(path, about, title):  # by another process, while this one waited
            extract_anew(title, path, {**about, **tells}, by_fold, lists, data, mean, load, args)


def extract_anew(title, path, about, by_fold, lists, data, mean, load, args):
    """Like `extract`, whatever is there."""
    pairs = features.listed_images(by_fold.values())
    images = [image for image, _ in pairs]
    if missing := data.missing(images):
        raise UserError(f"{missing[0]} of the fold lists is not in {data.images} ({len(missing)} such images)")
    caffe = engine.start(args.gpu)
    with stderr_to(path.with_name("features.log")) as terminal, patience("reading the weights", terminal):
        net, end = load(caffe)
    subtracted = features.mean_to_subtract(mean, about["mean_way"], net.blobs[net.inputs[0]].data.shape[2:])
    widths = features.widths_of(net, features.layers_of(net, end))
    scratch, size = args.scratch or path.parent, features.scratch_bytes(widths, len(images))
    what = f"{len(images)} images, {len(widths)} layers, {size / 1e9:.1f} GB in {scratch} meanwhile"
    print(f"{title}: {what}", flush=True)
    where = dict(reversed(lines(by_fold, lists)))
    listed = {data.images / image: where[image] for image in images}
    crops = features.centre_crops(net, list(listed), subtracted, listed.get)
    with Progress(f"extracting {title}", len(images), unit="images") as bar:
        stored = features.activations(net, crops, len(images), widths, scratch, args.batch_size, end, bar.advance)
        with stored as rows, Progress(f"summing {title}", sum(widths.values()), unit="features") as summing:
            matrices = {layer: features.gram(rows[layer], summing.advance) for layer in widths}
    about = {**about, "engine": engine.describe(), "versions": engine.versions()}
    features.write(path, about, pairs, by_fold, widths, matrices)
    print(f"{title}: {path}", flush=True)


def lines(by_fold, lists):
    """(image, where it stands) of every line of the folds' lists, in their order."""
    parts = [pairs for fold in by_fold.values() for pairs in fold]
    numbered = zip(lists, parts, strict=True)
    return [(pair[0], f"{path}, line {n}") for path, pairs in numbered for n, pair in enumerate(pairs, start=1)]


def mean_of_run(run, config, args):
    """The mean of a training and the way to subtract it: the image where it was trained with one."""
    mean = cards.parse_mean(args.mean) if args.mean else None
    if mean is None and config.mean_image and args.mean_way != "channels":
        mean = trained_mean(run)
        if not mean.is_file() or tuple(channel_means(mean).tolist()) != config.mean:
            raise UserError(
                f"the mean image {run.folder} was trained with is not at {mean} any more; give it by --mean FILE, "
                "or take its channels' means by --mean-way channels"
            )
    mean = mean or config.mean
    return mean, args.mean_way or ("image" if isinstance(mean, Path) else "channels")


def trained_mean(run):
    """The path of the mean image in a run's definition."""
    from google.protobuf import text_format

    from caffe.proto import caffe_pb2

    net = text_format.Parse(read_text(run.train_val), caffe_pb2.NetParameter())
    return Path(next(layer.transform_param.mean_file for layer in net.layer if layer.transform_param.mean_file))


def described(model, weights, mean, way, lists):
    """What the features depend on."""
    return {
        "precision": engine.precision(),
        "mean_way": way,
        "mean": channel_means(mean).tolist(),
        "hashes": {
            "definition": sha256(model),
            "weights": sha256(weights),
            "mean": sha256(mean) if way == "image" and isinstance(mean, Path) else None,
            "lists": [sha256(path) for path in lists],
        },
    }


def is_done(path, about, title):
    """Whether the file is there and made from the same."""
    if not path.is_file():
        return False
    before = {"precision": engine.PRECISIONS[0], **features.read(path).about}  # earlier ones do not tell
    done = all(before.get(key) == value for key, value in about.items())
    if done:
        print(f"{title}: done already, {path}")
    return done


if __name__ == "__main__":
    sys.exit(command.run(main))
