"""Test fine-tuned networks on their folds' test images, by the centre crop and by the mean over ten crops.

    python tools/evaluate.py --init caffenet --fold all
    python tools/evaluate.py --model deploy.prototxt --weights any.caffemodel --list test.txt --images DIR --out DIR

Writes predictions.csv (image, label, P(positive) by both ways) and result.json into each run's folder; for any other
network, predictions.csv into --out. A run that is tested already is skipped.

The centre crop's accuracy differs a little from that of `caffe test` and of the tests in train.log: they warp 8-bit
pixels by OpenCV and subtract the mean image, whereas pycaffe warps floats and subtracts the channel means.
"""

import math
from pathlib import Path

from sentiment import engine
from sentiment.cli import arguments, command
from sentiment.data import dataset
from sentiment.data.means import mean_for
from sentiment.evaluation import predictions
from sentiment.evaluation.evaluate import evaluate, predict
from sentiment.evaluation.network import Network


def main(argv=None):
    """Test all runs that the options name, or the network that --model names."""
    parser = arguments.Parser(__doc__)
    of_runs, of_net = map(parser.add_argument_group, ("runs of tools/train.py", "any other network with two outputs"))
    arguments.folder_options(of_runs.add_argument, "data", "splits")
    arguments.runs_options(of_runs.add_argument)
    arguments.net_options(of_net.add_argument)
    option = of_net.add_argument
    option("--list", type=Path, metavar="FILE", help="list of images to test on: lines of `name label`")
    option("--images", type=Path, metavar="FOLDER", help="folder the list's names are relative to")
    option("--out", type=Path, metavar="FOLDER", help="folder for predictions.csv")
    option = parser.add_argument
    arguments.gpu_option(option)
    arguments.count_option(option, "batch-size", "crops in a forward pass (default: 20; 200 on a GPU)")
    args = parser.parse_args(argv)

    engine.check_precision(args.gpu)
    arguments.other_net(parser, args, of_runs, of_net, ("weights", "list", "images", "out"))
    if args.model:
        network = Network.of_files(args.model, args.weights, mean_for(args.weights, args.mean))
        tested = predict(network, args.list, args.images, args.out, args.batch_size, args.gpu)
        predictions.write(args.out / "predictions.csv", tested)
        print_accuracy(str(args.weights), predictions.accuracy(tested), len(tested))
        return
    data = dataset.load(args.data)
    for run in arguments.runs_of(args):
        result, now = evaluate(run, data, args.splits, args.batch_size, args.gpu)
        print_accuracy(run.title + ("" if now else " (already done, skipped)"), result.accuracy, result.test_images)


def print_accuracy(title, accuracy, images):
    """Print one line, and a second one if the accuracy is more than three deviations below that of guessing."""
    print(f"{title}: {accuracy['center']:.3f} centre crop, {accuracy['oversampled']:.3f} ten crops", flush=True)
    if (0.5 - accuracy["oversampled"]) * images > 3 * math.sqrt(images) / 2:
        print("  worse than guessing: are the classes or labels swapped? 0 is negative, 1 is positive", flush=True)


if __name__ == "__main__":
    raise SystemExit(command.run(main))
