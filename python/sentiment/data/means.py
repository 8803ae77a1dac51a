"""The mean that is subtracted from an image: a mean image file, or three channel means."""

import shlex
import sys
from pathlib import Path

import numpy as np

from sentiment.paper import IMAGE_SIZE, IMAGENET_MEANS_BGR
from sentiment.utils.errors import UserError


def parse_mean(mean, where="MEAN") -> Path | tuple[float, ...]:
    """A mean as a user gives it: an existing file as an absolute path, or three channel means (B, G, R, 0 to 255).

    ``mean`` is a path, a text ``b,g,r`` or a sequence of numbers; the `UserError` for anything else begins with
    ``where``.
    """
    values = mean
    if isinstance(mean, (str, Path)):
        path = Path(mean).expanduser()
        if path.is_file():
            return path.absolute()
        values = str(mean).split(",")
    try:
        means = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        means = ()
    if len(means) != 3 or not all(0 <= value <= 255 for value in means):
        raise UserError(
            f"{where}: expected three channel means b,g,r between 0 and 255, or an existing file, not {mean}"
        )
    return means


def mean_for(weights: Path, mean=None) -> Path | tuple[float, ...]:
    """The mean for weights without a card: the given one, or the ImageNet means and a line on stderr that says so."""
    if mean:
        return parse_mean(mean)
    shown = ",".join(f"{value:g}" for value in IMAGENET_MEANS_BGR)
    print(
        f"{weights.name}: no mean given, using the ImageNet means (b,g,r {shown}); MEAN= or --mean gives another",
        file=sys.stderr,
        flush=True,
    )
    return IMAGENET_MEANS_BGR


def mean_image(path) -> np.ndarray:
    """The mean image in a .binaryproto file: (3, H, W) float64, BGR, 0 to 255.

    A `UserError` says that the file is missing or not a mean image of three channels.
    """
    from google.protobuf.message import DecodeError

    import caffe

    try:
        content = Path(path).read_bytes()
        image = caffe.io.blobproto_to_array(caffe.proto.caffe_pb2.BlobProto.FromString(content))
        (image,) = image.reshape(-1, 3, *image.shape[-2:])
    except OSError as error:
        raise UserError(f"cannot read the mean {path}: {error.strerror}") from error
    except (DecodeError, ValueError, IndexError) as error:
        if is_npy(path):
            command = f"`python tools/convert_mean.py {shlex.quote(str(path))}`"
            raise UserError(f"{path} is a numpy file; {command} makes a .binaryproto of it") from error
        advice = f"`make models FILE={shlex.quote(str(path))}` shows what it is"
        raise UserError(f"{path} is not a mean image of three channels in binaryproto form; {advice}") from error
    return image.astype(float)


def check_mean(mean):
    """Refuse a mean, as `parse_mean` returns it, that is an image of another size than images have: a `UserError`."""
    if not isinstance(mean, Path):
        return
    *_, height, width = mean_image(mean).shape
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise UserError(
            f"MEAN: {mean} has {width}×{height} pixels, but images have {IMAGE_SIZE}×{IMAGE_SIZE}; give another mean "
            "image, or channel means b,g,r"
        )


def is_npy(path) -> bool:
    """Whether a file is a numpy array, whatever it is called."""
    try:
        with open(path, "rb") as file:
            return file.read(6) == b"\x93NUMPY"
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def npy_image(path) -> np.ndarray:
    """The mean image in a .npy file: (3, H, W), BGR, 0 to 255; a `UserError` if it holds something else."""
    try:
        image = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the mean {path} ({error})") from error
    if image.ndim != 3 or len(image) != 3 or image.dtype.kind not in "fu" or not 0 <= image.min() <= image.max() <= 255:
        raise UserError(f"{path} is not a mean image of three channels first, with values from 0 to 255")
    return image


def binaryproto(image: np.ndarray) -> bytes:
    """A (3, H, W) mean image as the bytes of a .binaryproto file, in float32 as Caffe writes it."""
    from caffe.proto import caffe_pb2

    channels, height, width = image.shape
    blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width, data=image.ravel())
    return blob.SerializeToString()


def npy_to_binaryproto(path: Path):
    """Replace a .npy file's content by that of a .binaryproto; any other file stays as it is.

    Many copies of a mean are .npy files of the same numbers in float64, and give the published file byte for byte.
    """
    if is_npy(path):
        path.write_bytes(binaryproto(npy_image(path)))


def channel_means(mean) -> np.ndarray:
    """The three channel means, BGR, 0 to 255, of what `parse_mean` returns; a `UserError` as from `mean_image`."""
    return np.array(mean, float) if isinstance(mean, (tuple, list)) else mean_image(mean).mean((1, 2))
