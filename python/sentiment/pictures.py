"""Pictures from strangers: still JPEG, PNG and WebP files within limits, upright.

What a file says of itself is read before any pixel is decoded, so that a small file of enormous size is refused for
nothing. Pixels come from OpenCV, as everywhere in this project.
"""

import io

import cv2
import numpy as np

from sentiment.console import UserError

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # what phones' largest cameras give; predicting takes 1.7 GB then
FORMATS = ("JPEG", "PNG", "WEBP")
MIME_TYPES = tuple(f"image/{name.lower()}" for name in FORMATS)

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # its value -> what brings stored pixels upright (EXIF 2.3, 4.6.4 A)
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}


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
        RGB; turned upright where the camera noted how it was held; transparency is dropped, as Caffe drops it.

    Raises
    ------
    UserError
        It is none, of another format, an animation, or too large: each in a sentence.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"{name} has more than {MAX_BYTES // 1_000_000} MB; save it smaller")
    orientation = _look(data, name)
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        stored = None
    if stored is None:
        raise UserError(f"{name} is damaged: its pixels cannot be decoded")
    return np.ascontiguousarray(_UPRIGHT.get(orientation, np.asarray)(stored)[:, :, ::-1])


def _look(data, name):
    """The orientation that a file's head gives, once format and size are found right."""
    from PIL import Image

    too_large = f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels; scale it down"
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            # Phones save JPEG with a second picture behind it (MPO), which is no animation.
            moves = image.format != "MPO" and getattr(image, "is_animated", False)
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))  # image.getexif() would decode a PNG first
            orientation = exif.get(_ORIENTATION, 1)
    except Image.DecompressionBombError:
        raise UserError(too_large) from None
    except Exception:  # a crafted head makes Pillow raise nearly anything
        raise UserError(f"{name} is no JPEG, PNG or WebP picture") from None
    if width * height > MAX_PIXELS:
        raise UserError(too_large)
    if moves:
        raise UserError(f"{name} is an animation; give a still picture")
    return orientation
