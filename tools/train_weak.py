"""Train PCNN on weakly labelled pictures by the progressive scheme of You et al. (AAAI 2015).

    python tools/train_weak.py --weak flickr
    python tools/train.py --arch pcnn --weak flickr
    python tools/train.py --arch pcnn --init runs/weak/flickr/flickr-plain.caffemodel

The folder holds the pictures in images/, their labels in list.txt (lines of `name label`), and dataset.yaml, if any,
with a name and a schedule. The steps, in runs/weak/<name>/:

1. plain: the network is trained from scratch on all pictures, which gives <name>-plain.caffemodel
2. it scores all pictures (predictions.csv)
3. progressive: it is trained on with the pictures that are kept (progressive/train.txt), which gives
   <name>-progressive.caffemodel; a picture is dropped with probability max(0, 2 - exp|s1 - s2|) of its two scores

Steps that are done are skipped; one that was stopped resumes from its last snapshot.
"""

from pathlib import Path

from sentiment import engine, paper
from sentiment.cli import arguments, command
from sentiment.data import dataset
from sentiment.data.means import parse_mean
from sentiment.evaluation import predictions
from sentiment.evaluation.evaluate import predict
from sentiment.evaluation.network import Network
from sentiment.training import loop, weak
from sentiment.training.weak import PLAIN, PROGRESSIVE, WeakTraining
from sentiment.utils import locks
from sentiment.utils.progress import duration


def main(argv=None):
    """Take the steps that are not done."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    use = "folder of weakly labelled pictures: images/ and list.txt"
    option("--weak", type=Path, required=True, metavar="FOLDER", help=use)
    arguments.folder_options(option, "runs")
    option("--mean", help="mean file, or b,g,r (default: the ImageNet means)")
    arguments.seed_option(option, "random seed of the trainings and of the pictures that are dropped")
    arguments.gpu_option(option)
    args = parser.parse_args(argv)

    engine.check_precision(args.gpu)
    mean = parse_mean(args.mean) if args.mean else paper.IMAGENET_MEANS_BGR
    training = WeakTraining(dataset.load_weak(args.weak), args.runs, mean, args.seed)
    with locks.held(training.folder, "training on weakly labelled pictures"):
        training.claim()
        if training.done(PROGRESSIVE):
            command.say_skipped(f"{training.data.name}, both steps", training.weights(PROGRESSIVE))
            return
        print(f"to train: about {duration(training.estimate())} on two CPU cores", flush=True)
        caffe = engine.start(args.gpu, images=args.runs)
        train(caffe, training, PLAIN, training.pairs, args.gpu)
        if not training.predictions.is_file():
            network = Network.of_files(training.deploy(PLAIN), training.weights(PLAIN), mean)
            scored = predict(network, training.list_path, training.data.images, training.folder, gpu=args.gpu)
            predictions.write(training.predictions, scored)
        scores = [one.center for one in predictions.read(training.predictions)]
        kept = [training.pairs[index] for index in weak.kept(scores, args.seed)]
        print(f"{training.data.name}: {len(kept)} of {len(scores)} pictures kept", flush=True)
        train(caffe, training, PROGRESSIVE, kept, args.gpu)
        print(f"{training.weights(PROGRESSIVE)}", flush=True)


def train(caffe, training, step, pairs, gpu):
    """Train one step unless it is done."""
    if not training.done(step):
        training.finish(step, loop.train(caffe, training.prepare(step, pairs, gpu)), len(pairs))


if __name__ == "__main__":
    raise SystemExit(command.run(main))
