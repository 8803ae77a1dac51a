"""Test fine-tuned networks on their folds' test images: the centre crop, and the mean over ten crops.

    python tools/evaluate.py --init caffenet --fold all
    python tools/evaluate.py --model deploy.prototxt --weights any.caffemodel --list test.txt --images DIR --out DIR

Writes predictions.csv (image, label, P(positive) both ways) and result.json into each run's folder, or predictions.csv
into --out for a network that is no run of this project. A run that is tested already is skipped.

The centre crop is pycaffe's, so its accuracy differs a little from that of `caffe test` and of the tests in train.log:
those warp 8-bit pixels by OpenCV and subtract the mean image, pycaffe warps floats and subtracts the channel means.
"""

import math
import sys
from pathlib import Path

from sentiment import engine
from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option, other_net, positive, runs_of, runs_options
from sentiment.data import dataset, folds
from sentiment.data.means import channel_means, mean_for
from sentiment.evaluation import predictions
from sentiment.evaluation.evaluate import evaluate, predict
from sentiment.utils.files import default


def main(argv=None):
    """Test; returns the exit status."""
    parser = Parser(__doc__)
    of_runs, of_net = map(parser.add_argument_group, ("runs of tools/train.py", "any other network with two outputs"))
    option = of_runs.add_argument
    option("--data", default=default("data/deepsent"), help="folder of images and labels (default: %(default)s)")
    option("--splits", type=Path, default=folds.SPLITS, help="folder of fold lists (default: splits/)")
    runs_options(option)
    option = of_net.add_argument
    option("--model", type=Path, help="deploy definition")
    option("--weights", type=Path, help=".caffemodel file")
    option("--list", type=Path, help="file of `name label` lines")
    option("--images", type=Path, help="folder the list's names are relative to")
    option("--mean", help="mean image file, or channel means b,g,r (default: the ImageNet means)")
    option("--out", type=Path, help="folder for predictions.csv")
    option = parser.add_argument
    gpu_option(option)
    option("--batch-size", type=positive, metavar="N", help="crops in a forward pass (default: 20, on a GPU 200)")
    args = parser.parse_args(argv)

    engine.check_precision(args.gpu)
    other_net(parser, args, of_runs, of_net, ("weights", "list", "images", "out"))
    if args.model:
        means = channel_means(mean_for(args.weights, args.mean))
        listed = args.list, args.images
        tested = predict(args.model, args.weights, means, *listed, args.out, args.batch_size, args.gpu)
        predictions.write(args.out / "predictions.csv", tested)
        print_accuracy(str(args.weights), predictions.accuracy(tested), len(tested))
        return 0
    data = dataset.load(args.data)
    for run in runs_of(args):
        result, now = evaluate(run, data, args.splits, args.batch_size, args.gpu)
        print_accuracy(run.title + ("" if now else " (already done)"), result.accuracy, result.test_images)
    return 0


def print_accuracy(title, accuracy, images):
    """One line; a second one where a network is worse than guessing by more than chance (three deviations)."""
    print(f"{title}: {accuracy['center']:.3f} centre crop, {accuracy['oversampled']:.3f} ten crops", flush=True)
    if (0.5 - accuracy["oversampled"]) * images > 3 * math.sqrt(images) / 2:
        print("  worse than guessing: are the classes or labels swapped? 0 is negative, 1 is positive", flush=True)


if __name__ == "__main__":
    sys.exit(command.run(main))
