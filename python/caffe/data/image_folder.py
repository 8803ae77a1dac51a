"""Decoded images in files that processes share, in the folder named by the environment variable CAFFE_IMAGE_CACHE.

There is a file for each resized image, whose name consists of the digest of the original file, OpenCV's version and the
shape. Damaged or missing files are made again. (Files are read rather than mapped, because Python keeps a descriptor
open for each mapping and there may be thousands.)

CAFFE_IMAGE_CACHE_BYTES limits what the folder holds; without it there is no limit. A full folder stays as it is: if the
least recently used file made room for the next, an epoch of more images than fit would remove each one shortly before
it is read again. Only files that were not read for a day are removed then, because they are of a data set that nobody
trains on: an epoch reads each image. Several processes together may exceed the limit by 64 MiB each.
"""

import contextlib
import functools
import hashlib
import math
import os
import re
import threading
import time

import numpy as np

from ..errors import CaffeError
from ..runtime.glog import warn

FOLDER, LIMIT = "CAFFE_IMAGE_CACHE", "CAFFE_IMAGE_CACHE_BYTES"

_DIGEST = 16  # bytes
_BYTES_UNSEEN = 1 << 26  # written, or not written for want of room, before the folder is listed again
_UNUSED, _TOUCHED = 24 * 3600, 3600  # seconds since a file was read: it can be removed, its time is set again
_NAME = re.compile(r"[0-9a-f]{32}-\S+-[13]x\d+x\d+(\.tmp)?")  # of this cache's files, for the folder may have others


def digest(content):
    """Bytes that tell contents apart."""
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def current():
    """The `ImageFolder` that the environment names, or None."""
    path = os.environ.get(FOLDER)
    return _at(path) if path else None


class ImageFolder:
    """The decoded images in a folder, for all threads of this process."""

    def __init__(self, path):
        self.path = path
        self._lock = threading.Lock()
        self._unseen = 0  # bytes until the folder is listed again
        self._full = self._told = False

    def read(self, original, shape):
        """The image (C, H, W), read-only, that was made from a file with this digest; None if it is not there."""
        file, size = self._file(original, shape), math.prod(shape)
        with contextlib.suppress(OSError), open(file, "rb") as stored:
            content = stored.read()
            if len(content) > size and digest(memoryview(content)[:size]) == content[size:]:
                if os.fstat(stored.fileno()).st_mtime < time.time() - _TOUCHED:
                    os.utime(file)
                return np.frombuffer(content, np.uint8, size).reshape(shape)
        return None

    def write(self, original, planes):
        """Store the image made from a file with this digest, if there is room and the folder can be written."""
        if not self._has_room(planes.nbytes + _DIGEST):
            return
        file = self._file(original, planes.shape)
        temporary = f"{file}.tmp"  # if two processes write it at once, the digest will not match
        try:
            os.makedirs(self.path, exist_ok=True)
            with open(temporary, "wb") as stored:
                stored.write(planes)
                stored.write(digest(planes))
            os.replace(temporary, file)
        except OSError:  # for example a full disk; the image is only not stored
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _file(self, original, shape):
        import cv2  # loading it takes time, and most programs read no images

        return os.path.join(self.path, f"{original.hex()}-{cv2.__version__}-{'x'.join(map(str, shape))}")

    def _has_room(self, size):
        if (limit := _limit()) is None:
            return True
        with self._lock:
            if self._unseen < size:
                self._look(limit, size)
            self._unseen -= size
            return not self._full

    def _look(self, limit, size):
        """List the folder, and where there is no room for so many bytes, remove the files that nobody reads."""
        files = self._files()
        if sum(length for _, length, _ in files) + size > limit:
            before = time.time() - _UNUSED
            for file, _, read in files:
                if read < before:
                    with contextlib.suppress(OSError):
                        os.unlink(file)
            files = [entry for entry in files if entry[2] >= before]
        room = limit - sum(length for _, length, _ in files)
        self._full = room < size
        self._unseen = max(size, _BYTES_UNSEEN if self._full else min(_BYTES_UNSEEN, room))
        if self._full and not self._told:
            self._told = True
            message = f"{self.path} is full: further images are decoded in each epoch ({LIMIT} is {limit})"
            warn("image_folder.py:1", message)

    def _files(self):
        """The path, bytes and time of each image's file; the time is when it was last read, within an hour."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with contextlib.suppress(OSError):
                        status = entry.stat()
                        found.append((entry.path, status.st_size, status.st_mtime))
        return found


_at = functools.cache(ImageFolder)


def _limit():
    """What the folder may hold, bytes, or None."""
    if not (text := os.environ.get(LIMIT)):
        return None
    if not text.isdecimal():
        raise CaffeError(f"{LIMIT} is '{text}'; it should be a number of bytes, as {4 << 30}.")
    return int(text)
