"""Activations of a net's layers over a set of images, kept as Gram matrices (§4.2, Table 3).

Linear classifiers on features need only their inner products: n×n numbers a layer, where CaffeNet's conv1 alone has
290,400 numbers an image. One forward pass a batch gives all layers; the activations wait in scratch files of the layers
until each one's matrix is summed, and are then gone.
"""

import contextlib
import json
import shutil
import tempfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sentiment.data.means import channel_means, mean_image
from sentiment.evaluation import inference
from sentiment.utils.errors import UserError
from sentiment.utils.files import replacing

FILE = "grams.npz"
MEAN_WAYS = ("image", "channels")
"""What is subtracted: the mean image resized to the crop, as the authors' features had it, or its channels' means."""

_CHUNK = 16384  # features summed at a time: 880 images of them in double precision are 115 MB
_ONE_READER = threading.Lock()  # NumPy parses an array's header as Python, which Python 3.11 cannot do in two threads
_NO_FEATURES = {"Input", "Split", "Softmax", "SoftmaxWithLoss", "Accuracy", "Silence"}


def layers_of(net, end=None) -> list[str]:
    """The blobs whose activations are looked at, from the output to the input, as in the paper's table.

    Every blob after its in-place layers (so after ReLU) but the input and the probabilities. Of a SqueezeNet's fire
    module, only its concatenation: what the module hands on.

    Parameters
    ----------
    net : caffe.Net
    end : str, optional
        The last layer that runs; by default all do.

    Returns
    -------
    list of str
    """
    blobs = []
    for name, layer in zip(net._layer_names, net.layers):
        if layer.type not in _NO_FEATURES:
            blobs += [blob for blob in net.top_names[name] if "/" not in blob or blob.endswith("/concat")]
        if name == end:
            break
    return [blob for blob in reversed(dict.fromkeys(blobs)) if blob not in net.inputs]


def mean_to_subtract(mean, way, crop):
    """The mean of `mean_way`, ready to be subtracted from a crop.

    Parameters
    ----------
    mean : Path or sequence of 3 float
        A mean image (.binaryproto), or channel means, BGR, 0 to 255.
    way : str
        One of ``MEAN_WAYS``.
    crop : (height, width)

    Returns
    -------
    (3, 1, 1) or (3, height, width) ndarray

    Raises
    ------
    UserError
        No such file or no mean image; the way ``image`` without one.
    """
    if way == "channels":
        return channel_means(mean)[:, None, None]
    if not isinstance(mean, Path):
        raise UserError("the mean here is three numbers; --mean-way image needs the mean image, --mean FILE")
    import caffe

    return caffe.io.resize_image(mean_image(mean).transpose(1, 2, 0), crop).transpose(2, 0, 1)


def centre_crops(net, paths, mean, where=str):
    """The centre crops of images, ready for a net.

    Parameters
    ----------
    net : caffe.Net
    paths : sequence of path
    mean : ndarray
        As `mean_to_subtract` gives it.
    where : callable
        Says of a path where it was listed.

    Yields
    ------
    (3, height, width) float32 ndarray
        BGR, 0 to 255, minus the mean.
    """
    height, width = net.blobs[net.inputs[0]].data.shape[2:]
    crops = np.empty((inference.CROPS, 3, height, width), np.float32)
    for image in inference.warped(net, paths, np.zeros(3), where):
        inference.ten_crops(image, crops)
        yield crops[inference.CENTER] - mean.astype(np.float32)


def widths_of(net, layers):
    """How many numbers an image has in each of some blobs, as a dict."""
    return {layer: int(np.prod(net.blobs[layer].data.shape[1:])) for layer in layers}


def scratch_bytes(widths, count):
    """Disk that `activations` needs for a while, from what `widths_of` says and the number of images."""
    return np.dtype(np.float32).itemsize * count * sum(widths.values())


@contextlib.contextmanager
def activations(net, crops, count, widths, scratch, batch=inference.BATCH, end=None, done=lambda count: None):
    """Run images through a net once and keep what its layers say of them on disk while the block runs.

    Parameters
    ----------
    net : caffe.Net
        One image input.
    crops : iterable of (3, height, width) ndarray
    count : int
        How many crops there are.
    widths : dict of str to int
        The blobs wanted, as `widths_of` gives them.
    scratch : path
        A folder with room for `scratch_bytes`. The files in it have no names: nothing stays behind, however it ends.
    batch : int
        Crops a forward pass.
    end : str, optional
        The last layer to run.
    done : callable
        Told after each pass how many images went through.

    Yields
    ------
    dict of str to (count, width) float32 ndarray

    Raises
    ------
    UserError
        Too little room in the scratch folder.
    """
    needed, free = scratch_bytes(widths, count), shutil.disk_usage(scratch).free
    if needed > free:
        raise UserError(
            f"{scratch} has {free / 1e9:.1f} GB left and the activations of {count} images take {needed / 1e9:.1f} GB "
            "for a while; name a folder with more room by --scratch"
        )
    name, crops = net.inputs[0], iter(crops)
    with contextlib.ExitStack() as stack:
        files = {layer: stack.enter_context(tempfile.TemporaryFile(dir=scratch)) for layer in widths}
        for start in range(0, count, batch):
            size = min(batch, count - start)
            net.blobs[name].reshape(size, *net.blobs[name].data.shape[1:])
            net.reshape()
            for index in range(size):
                net.blobs[name].data[index] = next(crops)
            net.forward(end=end)
            # Written, not mapped: a disk that fills up is an error then, and not the end of the process.
            try:
                for layer, file in files.items():
                    file.write(np.ascontiguousarray(net.blobs[layer].data, np.float32).data)
                    file.flush()
            except OSError as error:
                raise UserError(f"cannot write activations to {scratch}: {error.strerror}") from error
            done(size)
        yield {layer: np.memmap(files[layer], np.float32, "r", shape=(count, widths[layer])) for layer in widths}


def gram(rows, done=lambda count: None):
    """Inner products of every two rows.

    Parameters
    ----------
    rows : (n, d) float32 ndarray
        May be larger than memory.
    done : callable
        Told now and then of how many of the d columns were summed.

    Returns
    -------
    (n, n) float64 ndarray
        Summed in double precision.
    """
    total = np.zeros((len(rows),) * 2)
    for start in range(0, rows.shape[1], _CHUNK):
        block = rows[:, start : start + _CHUNK].astype(np.float64)
        total += block @ block.T
        done(block.shape[1])
    return total


@dataclass(frozen=True)
class Grams:
    """A file of Gram matrices.

    Attributes
    ----------
    path : Path
    about : dict
        What they were made from: data set, subset, architecture, initialisation, digests, the mean subtracted.
    images : list of str
        The order of rows and columns.
    labels : (n,) ndarray of int
    folds : dict of int to (ndarray, ndarray)
        Fold -> rows of its training images, rows of its test images.
    layers : dict of str to int
        Layer -> numbers an image has there; from the output to the input.
    """

    path: Path
    about: dict
    images: list
    labels: np.ndarray
    folds: dict
    layers: dict

    def gram(self, layer):
        """The (n, n) float64 matrix of a layer, read from the file."""
        with _opened(self.path) as arrays:
            return arrays[f"gram/{layer}"]


def write(path, about, pairs, folds, widths, matrices):
    """Write a file of Gram matrices, whole or not at all.

    Parameters
    ----------
    path : path
    about : dict
        JSON values, see `Grams`.
    pairs : list of (image, label)
    folds : dict of int to folds.Fold
    widths : dict of str to int
    matrices : dict of str to ndarray
    """
    rows = {image: row for row, (image, _) in enumerate(pairs)}
    arrays: dict[str, Any] = {"about": json.dumps({**about, "layers": widths, "folds": list(folds)})}
    arrays["images"] = np.array([image for image, _ in pairs])
    arrays["labels"] = np.array([label for _, label in pairs], np.int8)
    for number, fold in folds.items():
        for part, listed in zip(("train", "test"), fold, strict=True):
            arrays[f"fold{number}/{part}"] = np.array([rows[image] for image, _ in listed], np.int32)
    arrays.update({f"gram/{layer}": matrices[layer] for layer in widths})
    with replacing(path) as part:
        np.savez(part, **arrays)


def read(path) -> Grams:
    """Read a file of Gram matrices; a `UserError` says what is wrong with it."""
    with _opened(path) as arrays:
        about = json.loads(str(arrays["about"]))
        layers, numbers = about.pop("layers"), about.pop("folds")
        folds = {number: tuple(arrays[f"fold{number}/{part}"] for part in ("train", "test")) for number in numbers}
        return Grams(Path(path), about, arrays["images"].tolist(), arrays["labels"].astype(int), folds, layers)


def listed_images(folds):
    """Every (image, label) of some folds' lists once, in the order they come.

    Raises
    ------
    UserError
        An image that has both labels.
    """
    labels = {}
    for fold in folds:
        for image, label in (*fold.train, *fold.test):
            if labels.setdefault(image, label) != label:
                raise UserError(f"the fold lists give {image} both labels; correct them or split anew (`make splits`)")
    return list(labels.items())


@contextlib.contextmanager
def _opened(path):
    """The arrays of a .npz file."""
    try:
        with _ONE_READER, np.load(path) as arrays:
            yield arrays
    except FileNotFoundError:
        raise UserError(
            f"no file {path}; tools/extract_features.py with the same options writes it, of --arch source with --source"
        ) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no whole file of Gram matrices ({error}); remove it, tools/extract_features.py writes it anew"
        ) from error
