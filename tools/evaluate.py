"""Test fine-tuned networks on their folds' test images: the centre crop, and the mean over ten crops.

    python tools/evaluate.py --init caffenet --fold all
    python tools/evaluate.py --model deploy.prototxt --weights any.caffemodel --list test.txt --images DIR --out DIR

Writes predictions.csv (image, label, P(positive) both ways) and result.json into each run's folder, or predictions.csv
into --out for a net that is no run of this project. A fold whose result is of the training there is left alone.

The centre crop is pycaffe's, and its accuracy not quite that of `caffe test`, or of the tests in train.log: those warp
8-bit pixels by OpenCV and subtract the mean image, pycaffe warps floats and subtracts the channels' means.
"""

import math
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sentiment import engine, paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser, card, other_net, positive, runs_of, runs_options
from sentiment.data import dataset, folds, lists
from sentiment.data.means import channel_means
from sentiment.evaluation import inference, results
from sentiment.networks import architectures
from sentiment.report import comparisons
from sentiment.sources import cards
from sentiment.training import solvers
from sentiment.training.runs import TRAINING
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import default, sha256
from sentiment.utils.progress import Progress, patience

OF_RUN = ("dataset", "demo", "subset", "arch", "init", "fold", "seed", "fold_seed", "train_images", "card", TRAINING)
HASHES = ("source", "mean_file", "train_list", "test_list")
# What the paper leaves open, or a user may have changed, by its name in run.json.
CHOICES = ("variant", "precision", "mean", "mean_image", "channels_divisor", *architectures.CHOICES, *solvers.NAMES)


def main(argv=None):
    """Test; returns the exit status."""
    parser = Parser(__doc__)
    of_runs, of_net = map(parser.add_argument_group, ("runs of tools/train.py", "any other two-way net"))
    option = of_runs.add_argument
    option("--data", default=default("data/deepsent"), help="folder of images and labels (default: %(default)s)")
    option("--splits", type=Path, default=folds.SPLITS, help="folder of fold lists (default: splits/)")
    runs_options(option)
    option = of_net.add_argument
    option("--model", type=Path, help="deploy definition")
    option("--weights", type=Path, help=".caffemodel")
    option("--list", type=Path, help="file of `name label` lines")
    option("--images", type=Path, help="folder the list's names are relative to")
    option("--mean", help="mean file, or b,g,r (default: the ImageNet means)")
    option("--out", type=Path, help="folder to write to")
    parser.add_argument("--gpu", type=card, metavar="N", help="compute on this CUDA card (default: CPU)")
    parser.add_argument(
        "--batch-size", type=positive, metavar="N", help="crops a forward pass (default: 20, on a GPU 200)"
    )
    args = parser.parse_args(argv)
    args.batch_size = args.batch_size or (inference.BATCH if args.gpu is None else inference.BATCH_GPU)

    engine.check_precision(args.gpu)
    other_net(parser, args, of_runs, of_net, ("weights", "list", "images", "out"))
    if args.model:
        caffe = engine.start(args.gpu)
        means = channel_means(cards.mean_for(args.weights, args.mean))
        pairs = lists.read(args.list)
        rows = predict(caffe, args.model, args.weights, args.list, pairs, args.images, means, args.batch_size, args.out)
        results.write_predictions(args.out / "predictions.csv", rows)
        print_accuracy(str(args.weights), accuracy(rows), len(rows))
        return 0

    data = dataset.load(args.data)
    for run in runs_of(args):
        evaluate(run, data, args)
    return 0


def evaluate(run, data, args):
    """Test one run and write its result, unless it is there."""
    if is_tested(run):
        return
    with locks.held(run.folder, "testing"):
        if not is_tested(run):  # by another process, while this one waited
            test(run, data, args)


def is_tested(run):
    """Whether the run's result is there, of its weights and of how those came about; prints it if so."""
    identity = run.made_from()
    weights = run.weights(identity["iterations"])
    result = results.read(run.result) if run.result.is_file() and run.predictions.is_file() else None
    if not weights.is_file() and result is None:
        raise UserError(f"{run.folder}: its training is not done; run tools/train.py with the same options, it goes on")
    if result is None:
        return False
    told = identity.get(TRAINING, result[TRAINING])  # a training done anew may end with the same weights
    if weights.is_file() and (told != result[TRAINING] or result["hashes"]["weights"] != sha256(weights)):
        return False
    print_accuracy(f"{run.title} (done already)", result["accuracy"], result["test_images"])
    return True


def test(run, data, args):
    """Test one run and write its result."""
    identity = run.made_from(*OF_RUN, *HASHES, *CHOICES)
    weights = run.weights(identity["iterations"])
    test_list = folds.list_path(args.splits, data.name, run.subset, run.fold, "test")
    pairs = folds.read(args.splits, data.name, run.subset, run.fold).test
    if sha256(test_list) != identity["test_list"]:
        raise UserError(f"{test_list} is not the list {run.folder} was trained for; it may name images trained on")
    caffe = engine.start(args.gpu)
    means = np.array(identity["mean"])
    rows = predict(caffe, run.deploy, weights, test_list, pairs, data.images, means, args.batch_size, run.folder)
    result = {
        **{key: identity[key] for key in OF_RUN},
        "accuracy": accuracy(rows),
        "test_images": len(rows),
        "iterations": identity["iterations"],
        "evaluation": asdict(engine.environment(args.gpu)),
        "hashes": {"weights": sha256(weights), **{key: identity[key] for key in HASHES}},
        "choices": {key: identity[key] for key in CHOICES if key != "iterations"},
        **({"note": data.note} if data.note else {}),
    }
    results.write_predictions(run.predictions, rows)
    results.write(run.result, result)  # last: it says that all else is there
    print_accuracy(run.title, result["accuracy"], len(rows))


def predict(caffe, model, weights, list_path, pairs, images, means, batch, out):
    """Rows of predictions.csv: image, label, P(positive) of the centre crop and of ten. Caffe logs into ``out``."""
    for path in (model, weights):
        if not path.is_file():
            raise UserError(f"no file {path}")
    out.mkdir(parents=True, exist_ok=True)
    with stderr_to(out / "test.log") as terminal, patience(f"reading {weights}", terminal):
        net = caffe.Net(str(model), str(weights), caffe.TEST)
    classes = net.blobs[net.outputs[0]].data.size // net.blobs[net.outputs[0]].data.shape[0]
    if classes != paper.CLASSES:
        raise UserError(
            f"{model} answers with {classes} classes; a sentiment net has {paper.CLASSES}, negative and positive"
        )
    paths = [images / image for image, _ in pairs]
    numbered = {path: f"{list_path}, line {number}" for number, path in enumerate(paths, start=1)}
    with Progress(f"testing {weights}", len(paths), unit="images") as bar:
        warped = inference.warped(net, paths, means, where=numbered.get)
        crops = inference.probabilities(net, warped, batch, done=bar.advance)
    positive = crops[:, :, paper.POSITIVE]
    return [
        (image, label, float(center), float(ten))
        for (image, label), center, ten in zip(pairs, positive[:, inference.CENTER], positive.mean(1), strict=True)
    ]


def accuracy(rows):
    """The fraction of images whose more probable class is their label, both ways; even odds are negative (argmax)."""
    return {
        way: sum(comparisons.right(row[1], row[column]) for row in rows) / len(rows)
        for way, column in zip(results.WAYS, (2, 3), strict=True)
    }


def print_accuracy(title, scores, images):
    """One line; a second one where a net is worse than guessing by more than chance (three standard deviations)."""
    print(f"{title}: {scores['center']:.3f} centre crop, {scores['oversampled']:.3f} ten crops", flush=True)
    if (0.5 - scores["oversampled"]) * images > 3 * math.sqrt(images) / 2:
        print("  worse than guessing: are classes or labels the other way round? 0 is negative, 1 positive", flush=True)


if __name__ == "__main__":
    sys.exit(command.run(main))
