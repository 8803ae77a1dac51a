"""Pictures from files: decoded and resized once, then kept in memory as bytes for the next epochs.

All layers of a process share what is kept: at most ``CACHE_BYTES`` (1 GiB, about 5,400 pictures of 256 x 256), the
longest unused going first. A file that changes is read again.
"""

import os
import threading
from collections import OrderedDict

import cv2
import numpy as np

from .errors import CaffeError

CACHE_BYTES = 1 << 30

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS_A_BYTE = 8 * 1032  # pixels of one bit, compressed as far as deflate can

_kept = OrderedDict()
_kept_bytes = 0
_lock = threading.Lock()


def decode(data, color=True):
    """The picture in an encoded file's bytes, as OpenCV decodes it, or None where it is no picture.

    ``color``: True for BGR, False for grey, None for whatever channels and depth are stored.
    Returns an array (H, W, C).
    """
    flag = {True: cv2.IMREAD_COLOR, False: cv2.IMREAD_GRAYSCALE, None: cv2.IMREAD_UNCHANGED}[color]
    if data.startswith(_PNG) and not _whole_png(data):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None
    return None if image is None else image.reshape(*image.shape[:2], -1)


def _whole_png(data):
    """Whether a PNG holds the chunks that it announces, and may hold its pixels; OpenCV claims the memory unasked."""
    position, kind = len(_PNG), b""
    while position < len(data) and kind != b"IEND":
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    return position <= len(data) and width * height <= _PNG_PIXELS_A_BYTE * len(data)


def to_planes(image):
    """An array (H, W, C) as planes (C, H, W), contiguous."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def read_image(path, height=0, width=0, color=True):
    """The picture in a file as uint8 (C, H, W), BGR or grey, in [0, 255]; read-only (io.cpp, ReadImageToCVMat).

    ``height`` and ``width`` above zero resize it, bilinear as OpenCV does. Raises CaffeError where the file cannot be
    read or is no picture.
    """
    try:
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size, height, width, color)
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise CaffeError(f"Could not load {path}: {error.strerror}") from None
    except ValueError:  # a NUL in the path
        raise CaffeError(f"Could not load {path!r}: not a path") from None
    image = decode(data, color)
    if image is None:
        raise CaffeError(f"Could not load {path}: it is no picture that OpenCV can decode")
    if height > 0 and width > 0:
        image = cv2.resize(image, (width, height)).reshape(height, width, -1)
    planes = to_planes(image)
    planes.flags.writeable = False
    _keep(key, planes)
    return planes


def _keep(key, planes):
    global _kept_bytes
    with _lock:
        if planes.nbytes > CACHE_BYTES or key in _kept:
            return
        _kept[key] = planes
        _kept_bytes += planes.nbytes
        while _kept_bytes > CACHE_BYTES:
            _kept_bytes -= _kept.popitem(last=False)[1].nbytes
