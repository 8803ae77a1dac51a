"""Convert a mean image from Caffe's .binaryproto to the .npy that scripts of 2014 and 2015 load, or back.

    python tools/convert_mean.py models/imagenet_mean.binaryproto --out ilsvrc_2012_mean.npy
    python tools/convert_mean.py ilsvrc_2012_mean.npy --out models/imagenet_mean.binaryproto

The array is 3×H×W, BGR, 0 to 255, so that np.load(FILE).mean(1).mean(1) gives the channels' means.
"""

from pathlib import Path

import numpy as np

from sentiment import engine
from sentiment.cli import arguments, command
from sentiment.data.means import binaryproto, is_npy, mean_image, npy_image
from sentiment.utils.files import replacing, write_whole


def main(argv=None):
    """Convert."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("mean", type=Path, help="mean image, a .binaryproto or .npy")
    parser.add_argument("--out", type=Path, help="file to write (default: beside the mean, with its name)")
    args = parser.parse_args(argv)

    engine.start()
    if is_npy(args.mean):
        image, out = npy_image(args.mean), args.out or args.mean.with_suffix(".binaryproto")
        write_whole(out, binaryproto(image))
    else:
        image, out = mean_image(args.mean), args.out or args.mean.with_suffix(".npy")
        with replacing(out) as new, open(new, "wb") as file:
            np.save(file, image)
    means = ", ".join(f"{value:.8f}" for value in image.mean((1, 2)))
    print(f"{out}: {'×'.join(map(str, image.shape))}, channel means (BGR) {means}")


if __name__ == "__main__":
    raise SystemExit(command.run(main))
