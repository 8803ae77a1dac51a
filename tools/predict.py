"""Tell the sentiment of pictures with a trained network, and lay its map over them.

    python tools/predict.py holiday.jpg --init caffenet
    python tools/predict.py holiday.jpg dog.png --runs runs/demo --map
    python tools/predict.py holiday.jpg --model deploy.prototxt --weights any.caffemodel

A line a picture: P(positive) as the mean over ten crops, how many crops alone say the same and from where to where they
go, and the centre crop alone. With --map also <picture>_map.png in --out: the sentiment of each place, green for
positive and red for negative, laid half and half over the picture, in a border of the prediction's colour. Pictures are
still JPEG, PNG or WebP files, turned upright where the camera noted how it was held.
"""

import sys
from pathlib import Path

from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option, other_net, run_of, runs_options
from sentiment.data import image_files
from sentiment.evaluation import maps, trained
from sentiment.evaluation.predictor import Predictor
from sentiment.sources import cards
from sentiment.utils.errors import UserError
from sentiment.utils.files import default
from sentiment.utils.progress import patience


def main(argv=None):
    """Predict; returns the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="image")
    parser.add_argument("--map", action="store_true", help="lay the sentiment map over each picture")
    parser.add_argument(
        "--out", type=Path, default=default("results/predictions"), help="folder of the maps (default: %(default)s)"
    )
    gpu_option(parser.add_argument)
    of_run, of_net = map(parser.add_argument_group, ("which run of tools/train.py", "any other two-way net"))
    runs_options(of_run.add_argument, several=())
    option = of_net.add_argument
    option("--model", type=Path, help="deploy definition")
    option("--weights", type=Path, help=".caffemodel")
    option("--mean", help="mean file, or b,g,r (default: the ImageNet means)")
    args = parser.parse_args(argv)
    other_net(parser, args, of_run, of_net)
    if not args.map:
        parser.refuse(["out"], "is of maps; give --map too")

    images = outputs(args.images, args.out)
    predictor = Predictor(chosen(args), args.gpu)
    each = command.OneByOne()
    for path, out in images:
        with each, patience(f"looking at {path}"):
            pixels = image_files.read(path)
            prediction = predictor.predict(pixels)
            print(f"{path}: {sentence(prediction)}", flush=True)
            if args.map:
                overlay = maps.overlay(pixels, predictor.map(pixels))
                maps.save_picture(out, maps.bordered(overlay, prediction.positive))
                print(f"  {out}", flush=True)
    return each.status


def chosen(args):
    """The trained net that the options name."""
    if args.model:
        return trained.of_files(args.model, args.weights, cards.mean_for(args.weights, args.mean))
    return trained.of_run(run_of(args))


def outputs(images, folder):
    """Each picture with the path of its map; a UserError where two would share one."""
    owners = {}
    for image in images:
        out = folder / f"{image.name}_map.png"
        if owners.setdefault(out, image) != image:
            raise UserError(f"the maps of {owners[out]} and {image} would both be {out}; give another --out for one")
    return [(image, out) for out, image in owners.items()]


def sentence(prediction):
    """The prediction in words."""
    low, high = prediction.crops.min(), prediction.crops.max()
    return (
        f"{prediction.word}, P(positive) {prediction.positive:.3f} ({prediction.agreeing} of {len(prediction.crops)} "
        f"crops agree, {low:.3f} to {high:.3f}; centre crop {prediction.center:.3f})"
    )


if __name__ == "__main__":
    sys.exit(command.run(main))
