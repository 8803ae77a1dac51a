"""Predict the sentiment of images with a trained network, and lay its sentiment map over them.

    python tools/predict.py holiday.jpg --init caffenet
    python tools/predict.py holiday.jpg dog.png --runs runs/demo --map
    python tools/predict.py holiday.jpg --model deploy.prototxt --weights any.caffemodel

Prints one line per image: P(positive) as the mean over ten crops, how many crops agree with it, the lowest and the
highest P(positive) of a crop, and that of the centre crop. With --map, also writes <image>_map.png to --out: the
sentiment of each place, green for positive and red for negative, blended half and half with the image, with a border in
the prediction's colour. Images are JPEG, PNG or WebP files without animation, turned upright as their EXIF data says.
"""

from pathlib import Path

from sentiment.cli import arguments, command
from sentiment.data import image_files
from sentiment.data.means import mean_for
from sentiment.evaluation import maps
from sentiment.evaluation.network import Network
from sentiment.evaluation.predictor import Predictor
from sentiment.utils.errors import UserError
from sentiment.utils.progress import patience


def main(argv=None):
    """Predict the sentiment of all images; return the exit status."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    option("images", nargs="+", type=Path, metavar="IMAGE", help="image file")
    option("--map", action="store_true", help="also write each image with its sentiment map laid over it")
    arguments.folder_options(option, out="results/predictions")
    arguments.gpu_option(option)
    of_run, of_net = map(parser.add_argument_group, ("a run of tools/train.py", "any other network with two outputs"))
    arguments.runs_options(of_run.add_argument, several=())
    arguments.net_options(of_net.add_argument)
    args = parser.parse_args(argv)
    arguments.other_net(parser, args, of_run, of_net)
    if not args.map:
        parser.refuse(["out"], "is the folder for maps; give --map too")

    if args.model:
        network = Network.of_files(args.model, args.weights, mean_for(args.weights, args.mean))
    else:
        network = Network.of_run(arguments.run_of(args))
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
                maps.save_image(out, maps.bordered(overlay, prediction.positive))
                print(f"  {out}", flush=True)
    return each.status


def map_paths(images, folder):
    """The path of each image's map; a `UserError` if two images have the same."""
    paths = {image: folder / f"{image.name}_map.png" for image in images}
    owners = {}
    for image, path in paths.items():
        if owners.setdefault(path, image) != image:
            raise UserError(f"the maps of {owners[path]} and {image} would both be {path}; save one to another --out")
    return paths


if __name__ == "__main__":
    raise SystemExit(command.run(main))
