"""Predict the sentiment of images with a trained network, and lay its sentiment map over them.

    python tools/predict.py holiday.jpg --init caffenet
    python tools/predict.py holiday.jpg dog.png --runs runs/demo --map
    python tools/predict.py holiday.jpg --model deploy.prototxt --weights any.caffemodel

Prints one line per image: P(positive) as the mean over ten crops, how many crops agree, the crops' lowest and highest,
and the centre crop's. With --map also writes <image>_map.png to --out: the sentiment of each place, green for positive
and red for negative, blended half and half with the image, in a border of the prediction's colour. Images are JPEG, PNG
or WebP files without animation, turned upright if the camera noted its orientation.
"""

import sys
from pathlib import Path

from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option, other_net, run_of, runs_options
from sentiment.data import image_files
from sentiment.data.means import mean_for
from sentiment.evaluation import maps, trained
from sentiment.evaluation.predictor import Predictor
from sentiment.utils.errors import UserError
from sentiment.utils.files import default
from sentiment.utils.progress import patience


def main(argv=None):
    """Predict; returns the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="file to predict the sentiment of")
    parser.add_argument("--map", action="store_true", help="also lay the sentiment map over each image")
    parser.add_argument(
        "--out", type=Path, default=default("results/predictions"), help="folder for the maps (default: %(default)s)"
    )
    gpu_option(parser.add_argument)
    of_run, of_net = map(parser.add_argument_group, ("a run of tools/train.py", "any other network of two classes"))
    runs_options(of_run.add_argument, several=())
    option = of_net.add_argument
    option("--model", type=Path, help="deploy definition of the network")
    option("--weights", type=Path, help=".caffemodel of --model")
    option("--mean", help="mean file of --model, or b,g,r (default: the ImageNet means)")
    args = parser.parse_args(argv)
    other_net(parser, args, of_run, of_net)
    if not args.map:
        parser.refuse(["out"], "is for maps; give --map too")

    if args.model:
        network = trained.of_files(args.model, args.weights, mean_for(args.weights, args.mean))
    else:
        network = trained.of_run(run_of(args))
    outputs = map_paths(args.images, args.out)
    predictor = Predictor(network, args.gpu)
    each = command.OneByOne()
    for image, out in outputs.items():
        with each, patience(f"predicting {image}"):
            pixels = image_files.read(image)
            prediction = predictor.predict(pixels)
            low, high = prediction.crops.min(), prediction.crops.max()
            print(
                f"{image}: {prediction.sentiment}, P(positive) {prediction.positive:.3f} ({prediction.agreeing} of "
                f"{len(prediction.crops)} crops agree, {low:.3f} to {high:.3f}; centre crop {prediction.center:.3f})",
                flush=True,
            )
            if args.map:
                overlay = maps.overlay(pixels, predictor.map(pixels))
                maps.save_picture(out, maps.bordered(overlay, prediction.positive))
                print(f"  {out}", flush=True)
    return each.status


def map_paths(images, folder):
    """The path of each image's map; a UserError if two images would share one."""
    paths = {image: folder / f"{image.name}_map.png" for image in images}
    owners = {}
    for image, path in paths.items():
        if owners.setdefault(path, image) != image:
            raise UserError(f"the maps of {owners[path]} and {image} would both be {path}; give one another --out")
    return paths


if __name__ == "__main__":
    sys.exit(command.run(main))
