"""Images from files: decoded and resized once, then cached as bytes for the next epochs.

The cache is shared by all layers of a process. It holds at most ``CACHE_BYTES`` (1 GiB, about 5,400 images of
256 x 256); the least recently used are removed first. A file that has changed is read again.

A resized image is also stored in the folder that all processes share, see `image_folder`.
"""

import mmap
import os
import threading
import weakref
from collections import OrderedDict

import numpy as np
import torch

from .. import names
from ..errors import CaffeError
from ..formats.storage import refusal
from ..runtime.glog import warn
from . import image_folder

CACHE_BYTES = 1 << 30
_OWN_MEMORY = 1 << 16  # bytes of an image from which on it is mapped; Linux allows a process 65,530 mappings

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_PIXELS_A_BYTE = 8 * 1032  # pixels of one bit, compressed as far as deflate can
_JPEG_PIXELS_A_BYTE = 8 * 64  # a bit for a block of 8 x 8
_JPEG_PIXELS = 2**24  # of a photograph that is cut short after a small part
# What libjpeg reads beyond the end of a file. OpenCV lets it do so for files but not for bytes, so it is appended to
# them, as often as the longest segment of a JPEG may need it.
_JPEG_END = b"\xff\xd9" * 2**15
_JPEG_FRAMES = [bytes([mark]) for mark in range(0xC0, 0xD0) if mark not in (0xC4, 0xC8, 0xCC)]


class _LastUsed:
    """A cache of at most ``CACHE_BYTES``, from which the least recently used values are removed first."""

    def __init__(self):
        self._entries = OrderedDict()  # key -> value, bytes
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self):
        return len(self._entries)

    def values(self):
        """The cached values."""
        return [value for value, _ in self._entries.values()]

    def get(self, key):
        """The value of this key, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def keep(self, key, value, size):
        """Cache a value, unless it is too large; it replaces another one of its key."""
        with self._lock:
            if size > CACHE_BYTES:
                return
            if key in self._entries:
                self.bytes -= self._entries.pop(key)[1]
            self._entries[key] = value, size
            self.bytes += size
            while self.bytes > CACHE_BYTES:
                self.bytes -= self._entries.popitem(last=False)[1][1]


_kept = _LastUsed()
_on_device = _LastUsed()
_cut_short: set[str] = set()  # names of the images that a warning was written about


def decode(data, color=True, name=None):
    """The image in an encoded file's bytes as an array (H, W, C), as OpenCV reads it from a file, or None.

    ``color``: True for BGR, False for greyscale, None for the channels and depth that are stored. A JPEG that is cut
    short is an image whose end is grey, as in Caffe; if it has a ``name``, this is logged as a warning, once.
    """
    if not _may_be_whole(data):
        return None
    image = _opencv(data, color)
    if image is None and data.startswith(_JPEG) and (image := _opencv(data + _JPEG_END, color)) is not None:
        _warn_once(name)
    return None if image is None else image.reshape(*image.shape[:2], -1)


def _opencv(data, color):
    import cv2  # here and below: loading it takes time, and most programs read no images

    flag = {True: cv2.IMREAD_COLOR, False: cv2.IMREAD_GRAYSCALE, None: cv2.IMREAD_UNCHANGED}[color]
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None


def _warn_once(name):
    if name is not None and name not in _cut_short:
        _cut_short.add(name)
        warn("io.cpp:82", f"Premature end of JPEG file: {name}; the missing part of the image is grey.")


def _may_be_whole(data):
    """Whether a PNG or JPEG can hold the chunks and pixels it announces; OpenCV allocates memory without checking."""
    size = len(data)
    if data.startswith(_PNG):
        position, kind = len(_PNG), b""
        while position < size and kind != b"IEND":
            kind = data[position + 4 : position + 8]
            position += 12 + int.from_bytes(data[position : position + 4], "big")
        return position <= size and _number(data, 16, 4) * _number(data, 20, 4) <= _PNG_PIXELS_A_BYTE * size
    if data.startswith(_JPEG):
        position = 2
        while position < size and data[position + 1 : position + 2] not in _JPEG_FRAMES:
            filler = data[position + 1 : position + 2] == b"\xff"
            position += 1 if filler else 2 + _number(data, position + 2, 2)
        pixels = _number(data, position + 5, 2) * _number(data, position + 7, 2)
        return pixels <= max(_JPEG_PIXELS_A_BYTE * size, _JPEG_PIXELS)
    return True


def _number(data, position, size):
    return int.from_bytes(data[position : position + size], "big")


def to_planes(image):
    """An array (H, W, C) as a contiguous array (C, H, W)."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def read_image(path, height=0, width=0, color=True):
    """The image in a file as uint8 (C, H, W), BGR or greyscale, in [0, 255]; read-only (io.cpp, ReadImageToCVMat).

    If ``height`` and ``width`` are above zero, it is resized by OpenCV's bilinear interpolation. Raises CaffeError if
    the file cannot be read or is not an image.
    """
    try:
        path = names.for_os(path)
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size, height, width, color)
        if (planes := _kept.get(key)) is not None:
            return planes
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise CaffeError(str(refusal("Could not load", path, error)).rstrip(".")) from None
    except ValueError:  # a NUL in the path
        raise CaffeError(f"Could not load {path!r}: a path cannot contain a zero byte") from None
    folder = image_folder.current()
    if folder and height > 0 and width > 0:
        planes = _shared(folder, path, data, height, width, color)
    else:
        planes = _decoded(path, data, height, width, color)
    planes = _in_own_memory(planes)
    _kept.keep(key, planes, planes.nbytes)
    return planes


def _in_own_memory(planes):
    """A copy, read-only, whose memory the system gets back when the array is gone.

    malloc has a heap for each of several threads. An image that leaves the cache would stay in the heap of the thread
    that read it, while another thread reads the next one into its own: the cache would take its limit several times.
    """
    if planes.nbytes < _OWN_MEMORY:
        return planes
    memory = mmap.mmap(-1, planes.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    copy = np.frombuffer(memory, planes.dtype).reshape(planes.shape)
    copy[...] = planes
    copy.flags.writeable = False
    return copy


def _decoded(path, data, height, width, color):
    """The result of `read_image` for a file with these bytes."""
    image = decode(data, color, path)
    if image is None:
        raise CaffeError(f"Could not load {path}: it is not an image that OpenCV can decode")
    if height > 0 and width > 0:
        import cv2

        try:
            image = cv2.resize(image, (width, height)).reshape(height, width, -1)
        except cv2.error:
            raise CaffeError(f"Could not resize {path} to {height} x {width}; use a smaller size") from None
    planes = to_planes(image)
    planes.flags.writeable = False
    return planes


def _shared(folder, path, data, height, width, color):
    """The same from the folder that all processes share, to which it is written if it is not there."""
    original = image_folder.digest(data)
    planes = folder.read(original, (3 if color else 1, height, width))
    if planes is None:
        planes = _decoded(path, data, height, width, color)
        folder.write(original, planes)
    return planes


def on_device(image, device, keep):
    """An image's array as a tensor on ``device``; with ``keep`` the tensor is cached for the next use of that array."""
    key = id(image), device
    if keep and (entry := _on_device.get(key)) is not None and entry[0]() is image:
        return entry[1]
    tensor = torch.tensor(image, device=device)
    if keep:
        # The array is not kept alive, which could double the host's memory; another one may have its id later.
        _on_device.keep(key, (weakref.ref(image), tensor), tensor.nbytes)
    return tensor
