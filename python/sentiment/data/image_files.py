"""Read image files in the same way for every command: upright and by OpenCV, as Caffe's ImageData does for training.

Images of unknown origin must be JPEG, PNG or WebP within limits. Their headers are read before any pixel is decoded, so
that a small file of enormous dimensions costs nothing.
"""

import functools
import io
import logging

import cv2
import numpy as np

from sentiment.utils.errors import UserError

log = logging.getLogger(__name__)

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # of the largest phone cameras; predicting an image of this size takes 1.7 GB of memory
FORMATS = ("JPEG", "PNG", "WEBP")
MIME_TYPES = tuple(f"image/{name.lower()}" for name in FORMATS)

_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9" * 2**15  # end markers, so many that OpenCV does not take them for pixels


def load(path) -> np.ndarray:
    """Read an image of a data set, of any size and any format that OpenCV decodes, as (H, W, 3) uint8, RGB.

    It is turned upright where the camera recorded its orientation; transparency is dropped, as in Caffe; the missing
    part of a JPEG that is cut short is grey. A `UserError` says that the file cannot be read or decoded.
    """
    return _pixels(_content(path), str(path))


def read(path) -> np.ndarray:
    """Read an image file of unknown origin; see `decode`."""
    return decode(_content(path, MAX_BYTES + 1), str(path))


def decode(data: bytes, name: str = "the image") -> np.ndarray:
    """Decode the bytes of an image file of unknown origin as `load` does; messages call the image ``name``.

    A `UserError` says that it is not an image of these formats, is damaged or an animation, or is too large.
    """
    from PIL import Image  # only here, since loading it takes time

    too_large = f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels; scale it down"
    if len(data) > MAX_BYTES:
        raise UserError(f"{name} has more than {MAX_BYTES // 1_000_000} MB; save it smaller")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            # Some phones append a second image to a JPEG (MPO); that is not an animation.
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
    except Image.DecompressionBombError:
        raise UserError(too_large) from None
    except Exception:  # a crafted header makes Pillow raise nearly anything
        raise UserError(f"{name} is not a JPEG, PNG or WebP image") from None
    if width * height > MAX_PIXELS:
        raise UserError(too_large)
    if animated:
        raise UserError(f"{name} is an animation; give a still image")
    return _pixels(data, name)


def _content(path, limit=None):
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _pixels(data, name):
    image = _opencv(data)
    if image is None and data.startswith(_JPEG):
        image = _opencv(data + _JPEG_END)
        if image is not None:
            _warn_cut_short(name)
    if image is None:
        raise UserError(f"{name} is damaged or not an image: OpenCV cannot decode it")
    return np.ascontiguousarray(image[:, :, ::-1])


def _opencv(data):
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # for example for a file without any bytes
        return None


@functools.cache
def _warn_cut_short(name):
    """Warn once for each name."""
    log.warning("%s is cut short: the missing part is grey; copy or download the image again", name)
