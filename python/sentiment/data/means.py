"""The mean that is subtracted from an image: a mean image file, or three channel means."""

import shlex
from pathlib import Path

import numpy as np

from sentiment.utils.errors import UserError


def mean_image(path) -> np.ndarray:
    """The mean image in a .binaryproto file.

    Returns
    -------
    (3, H, W) float64 ndarray
        BGR, 0 to 255.

    Raises
    ------
    UserError
        The file is missing or not a mean image of three channels.
    """
    from google.protobuf.message import DecodeError

    import caffe

    try:
        with open(path, "rb") as file:
            image = caffe.io.blobproto_to_array(caffe.proto.caffe_pb2.BlobProto.FromString(file.read()))
        (image,) = image.reshape(-1, 3, *image.shape[-2:])
    except OSError as error:
        raise UserError(f"cannot read the mean {path}: {error.strerror}") from error
    except (DecodeError, ValueError, IndexError) as error:
        if Path(path).suffix == ".npy":
            raise UserError(
                f"{path} is a numpy file; a mean is a .binaryproto, or b,g,r: {_npy_means(path)}"
            ) from error
        advice = f"`make models FILE={shlex.quote(str(path))}` shows what it is"
        raise UserError(f"{path} is not a mean image of three channels in binaryproto form; {advice}") from error
    return image.astype(float)


def _npy_means(path):
    """The channel means of a mean image as numpy saved it, as an option takes them."""
    try:
        means = np.load(path, allow_pickle=False).reshape(3, -1).mean(1)
    except (OSError, ValueError):
        return "but this one is not an image of three channels"
    return "here " + ",".join(f"{mean:.8g}" for mean in means)


def channel_means(mean) -> np.ndarray:
    """The channels' means, BGR on the 0 to 255 scale, of a mean file's path; three numbers stay as they are.

    Raises
    ------
    UserError
        The file is missing or not a mean image of three channels.
    """
    return np.array(mean, float) if isinstance(mean, (tuple, list)) else mean_image(mean).mean((1, 2))
