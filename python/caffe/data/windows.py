"""Windows of images for training R-CNN: the window file, and a window warped to a square (window_data_layer.cpp)."""

import hashlib
import itertools
import math
from dataclasses import dataclass

import numpy as np

from .. import names
from ..errors import CaffeError
from ..formats.storage import refusal

CHANNELS = 3  # images are read in colour


@dataclass(frozen=True)
class WindowFile:
    """The images and windows of a window file.

    Attributes
    ----------
    images : list of str
        Paths.
    background, foreground : ndarray
        (n, 6) integers: index of the image, label, x1, y1, x2, y2, in pixels from 0, both corners inside the window.
        A background's label is 0.
    digest : str
        Of the file.
    """

    images: list[str]
    background: np.ndarray
    foreground: np.ndarray
    digest: str


def read_windows(source, foreground, background):
    """Read a window file: windows that overlap an object by at least ``foreground``, and by less than ``background``.

    For each image it has, separated by spaces or line ends: ``#`` and its index, counted from 0, path, channels,
    height, width, the number of its windows, and for each of these label, overlap, x1, y1, x2, y2. Raises CaffeError if
    the file cannot be read or is not of this form.
    """
    digest = hashlib.sha256()
    images, inside, outside, used, where = [], [], [], {}, source
    try:
        with open(names.for_os(source), "rb") as file:
            words = _words(file, digest)
            for mark in words:
                where = f"image {len(images)} of {source}"
                if mark != b"#":
                    raise CaffeError(f"{where} begins with '{names.of_bytes(mark):.40}', not with # and its index")
                head = list(itertools.islice(words, 6))
                index, channels, n = (int(np.int32(int(head[i]))) for i in (0, 2, 5))
                images.append(names.of_bytes(head[1]))
                used[index] = where
                if channels != CHANNELS:
                    raise CaffeError(f"{where} has {channels} channels, but images are read with {CHANNELS}")
                table = np.array(list(itertools.islice(words, 6 * n)), "S").astype(np.float64).reshape(n, 6)
                overlap, numbers = table[:, 1].astype(np.float32), np.delete(table, 1, axis=1)
                if not (numbers == np.rint(numbers)).all() or (np.abs(numbers) > 2**30).any():
                    raise CaffeError(f"{where} has a window whose label or corners are not integers")
                windows = np.insert(numbers.astype(np.int64), 0, index, axis=1)
                near = overlap >= np.float32(foreground)
                if (windows[near, 1] <= 0).any():
                    raise CaffeError(f"{where} has a window of an object whose label is not positive")
                far = ~near & (overlap < np.float32(background))
                windows[far, 1] = 0
                inside.append(windows[near])
                outside.append(windows[far])
    except CaffeError:
        raise
    except OSError as error:
        raise refusal("Failed to open window file", source, error) from None
    except (ValueError, IndexError, OverflowError):
        parts = "path, channels, height, width, number of windows; label, overlap, x1, y1, x2, y2 of each"
        raise CaffeError(f"{where} is not complete; it should have #, index, {parts}") from None
    if not images:
        raise CaffeError(f"Window file is empty: {source}")
    if lost := [where for index, where in used.items() if not 0 <= index < len(images)]:
        raise CaffeError(f"{lost[0]} has an index that no image has: number the {len(images)} images from 0")
    return WindowFile(images, np.concatenate(outside), np.concatenate(inside), digest.hexdigest())


def _words(file, digest):
    for line in file:
        digest.update(line)
        yield from line.split()


def warp(image, box, size, context, square, mirror):
    """A window of an image, scaled to a square of ``size`` pixels or to the part of it that the image covers.

    Parameters
    ----------
    image : ndarray
        (H, W, C) uint8.
    box : sequence of int
        x1, y1, x2, y2 in pixels, both corners inside.
    context : int
        Pixels of the square, on each side, that show what is around the window.
    square : bool
        Whether the window's shorter side is first extended to its longer one.
    mirror : bool
        Whether left and right are exchanged.

    Returns
    -------
    patch : ndarray
        (h, w, C) uint8, h and w at most ``size``.
    top, left : int
        Its place in the square, whose rest lies beyond the image.

    Raises CaffeError if the window is not inside the image, or too thin for the square.
    """
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise CaffeError(f"the window {x1}, {y1}, {x2}, {y2} is empty: these are its first and its last column and row")
    x, y = _Span(x1, x2, image.shape[1]), _Span(y1, y2, image.shape[0])
    if context > 0 or square:
        scale = np.float32(size) / np.float32(size - 2 * context)
        half = [np.float32(span.end - span.start + 1) / np.float32(2) for span in (x, y)]
        x, y = (span.around(max(half) if square else own, own, scale, size) for span, own in zip((x, y), half))
    else:
        x.length = y.length = size
    left = x.after if mirror else x.before
    height, width = min(y.length, size - y.before), min(x.length, size - left)
    if any(span.start < 0 or span.end < span.start or span.end >= span.size for span in (x, y)):
        raise CaffeError(f"the window {x1}, {y1}, {x2}, {y2} is not inside the image of {x.size} x {y.size} pixels")
    if min(height, width) < 1:
        raise CaffeError(f"of the window {x1}, {y1}, {x2}, {y2} no pixel is left in a square of {size} pixels")
    import cv2  # as in images.py

    patch = cv2.resize(image[y.start : y.end + 1, x.start : x.end + 1], (width, height))
    return patch[:, ::-1] if mirror else patch, y.before, left


@dataclass
class _Span:
    """A window along one axis: its first and last pixel, the image's size, and its place in the square.

    The place is the number of the square's pixels that the window covers, and of those before and after it that lie
    beyond the image. All is computed in float32, as by Caffe.
    """

    start: int
    end: int
    size: int
    length: int = 0
    before: int = 0
    after: int = 0

    def around(self, half, own, scale, square):
        """The same with the context: the window of ``half`` its side about its centre, ``scale`` times as large."""
        center = np.float32(self.start) + own
        start, end = _rounded(center - half * scale), _rounded(center + half * scale)
        ratio = np.float32(square) / np.float32(end - start + 1)
        before, after = max(0, -start), max(0, end - self.size + 1)
        start, end = start + before, end - after
        sizes = (_rounded(np.float32(n) * ratio) for n in (end - start + 1, before, after))
        return _Span(start, end, self.size, *sizes)


def _rounded(value):
    """The nearest integer; halves are rounded away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))
