"""Pictures as every command sees them: upright, by OpenCV, which is how Caffe's ImageData reads them for training.

Those from strangers are still JPEG, PNG and WebP files within limits: what such a file says of itself is read before
any pixel is decoded, so that a small file of enormous size is refused for nothing.
"""

import functools
import io
import logging

import cv2
import numpy as np

from sentiment.utils.errors import UserError

log = logging.getLogger(__name__)

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # what phones' largest cameras give; predicting takes 1.7 GB then
FORMATS = ("JPEG", "PNG", "WEBP")
MIME_TYPES = tuple(f"image/{name.lower()}" for name in FORMATS)

_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9" * 2**15  # what OpenCV takes for the end of a JPEG file that is cut short, not of its bytes


def load(path) -> np.ndarray:
    """The picture in a file of a data set: of any size, and of any kind that OpenCV decodes.

    Returns and raises as `decode`.
    """
    try:
        with open(path, "rb") as file:
            return _pixels(file.read(), str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def read(path) -> np.ndarray:
    """The picture in a file; see `decode`."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return decode(data, str(path))


def decode(data, name="the picture"):
    """The picture in a file's bytes.

    Parameters
    ----------
    data : bytes
    name : str
        What messages call it.

    Returns
    -------
    (H, W, 3) uint8 ndarray
        RGB; turned upright where the camera noted how it was held; transparency is dropped, as Caffe drops it. What is
        missing of a JPEG that is cut short is grey.

    Raises
    ------
    UserError
        It is none, of another format, an animation, or too large: each in a sentence.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"{name} has more than {MAX_BYTES // 1_000_000} MB; save it smaller")
    _look(data, name)
    return _pixels(data, name)


def _pixels(data, name):
    image = _opencv(data)
    if image is None and data.startswith(_JPEG) and (image := _opencv(data + _JPEG_END)) is not None:
        _warn_cut_short(name)
    if image is None:
        raise UserError(f"{name} is damaged or no picture: OpenCV cannot decode it")
    return np.ascontiguousarray(image[:, :, ::-1])


def _opencv(data):
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # no bytes at all, among others
        return None


@functools.cache
def _warn_cut_short(name):
    """Say so, once for each name."""
    log.warning("%s is cut short: what is missing of the picture is grey; copy or download it again", name)


def _look(data, name):
    """Find a file's format and size right, by its head."""
    from PIL import Image

    too_large = f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels; scale it down"
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            # Phones save JPEG with a second picture behind it (MPO), which is no animation.
            moves = image.format != "MPO" and getattr(image, "is_animated", False)
    except Image.DecompressionBombError:
        raise UserError(too_large) from None
    except Exception:  # a crafted head makes Pillow raise nearly anything
        raise UserError(f"{name} is no JPEG, PNG or WebP picture") from None
    if width * height > MAX_PIXELS:
        raise UserError(too_large)
    if moves:
        raise UserError(f"{name} is an animation; give a still picture")
