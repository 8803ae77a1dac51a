"""Activations of a net's layers over a set of images, kept as Gram matrices (§4.2, Table 3).

Linear classifiers on features need only their inner products: n×n numbers for a layer, where CaffeNet's conv1 alone has
290,400 numbers for an image. One forward pass of a batch gives the activations of all layers. They are kept in
temporary files until each layer's matrix is summed.
"""

import contextlib
import json
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sentiment.data.folds import PARTS, Fold
from sentiment.data.means import channel_means, mean_image
from sentiment.engine import PRECISIONS
from sentiment.evaluation import inference
from sentiment.training.runs import Run
from sentiment.utils import records
from sentiment.utils.errors import UserError
from sentiment.utils.files import replacing
from sentiment.utils.progress import Progress

FILE = "grams.npz"
Mean = Path | tuple[float, ...]
"""A mean image (.binaryproto), or three channel means; BGR, 0 to 255."""
MEAN_WAYS = ("image", "channels")
"""What is subtracted: the mean image resized to the crop, as the authors did, or the means of its channels."""

_CHUNK = 16384  # features summed at a time; those of 880 images take 115 MB in double precision
_ONE_READER = threading.Lock()  # NumPy parses an array's header as Python, which Python 3.11 cannot do in two threads
_NO_FEATURES = {"Input", "Split", "Softmax", "SoftmaxWithLoss", "Accuracy", "Silence"}  # types of layers


def file_of(run: Run) -> Path:
    """The path of a run's Gram matrices; the folds of a source that is not fine-tuned share one file."""
    return (run.folder.parent if run.arch == "source" else run.folder) / FILE


def layers_of(net, end: str | None = None) -> dict[str, int]:
    """Names of the blobs whose activations are features -> features per image, from the output to the input.

    As in the paper's table, these are all blobs but the input and the probabilities, after their in-place layers (so
    after ReLU); of a module that ends in a concatenation (SqueezeNet's fire2/…, GoogLeNet's inception_3a/…) only that.
    ``end`` is the last layer that runs.
    """
    types = dict(zip(net._layer_names, (layer.type for layer in net.layers), strict=True))
    joined = {name.split("/")[0]: net.top_names[name][0] for name in types if "/" in name and types[name] == "Concat"}
    blobs = []
    for name, type_ in types.items():
        if type_ not in _NO_FEATURES:
            blobs += net.top_names[name]
        if name == end:
            break
    own = [blob for blob in dict.fromkeys(blobs) if joined.get(blob.split("/")[0], blob) == blob]
    features = [blob for blob in reversed(own) if blob not in net.inputs]
    return {blob: int(np.prod(net.blobs[blob].data.shape[1:])) for blob in features}


def mean_to_subtract(mean: Mean, crop: tuple[int, int]) -> np.ndarray:
    """What is subtracted from a crop of (height, width) pixels: (3, 1, 1) or (3, height, width), BGR, 0 to 255.

    A mean image is resized to the crop, as the authors did; a `UserError` names a file that is not a mean image.
    """
    if not isinstance(mean, Path):
        return channel_means(mean)[:, None, None]
    import caffe

    return caffe.io.resize_image(mean_image(mean).transpose(1, 2, 0), crop).transpose(2, 0, 1)


def centre_crops(net, paths: Iterable[Path], mean: np.ndarray, where=str) -> Iterator[np.ndarray]:
    """The centre crops of images minus a mean (see `mean_to_subtract`): (3, height, width) float32, BGR, 0 to 255.

    ``where`` gives the place where a path is listed, for the message about one that is not an image.
    """
    height, width = net.blobs[net.inputs[0]].data.shape[2:]
    for image in inference.warped(net, paths, np.zeros(3), where):
        yield inference.centre_crop(image, height, width) - mean.astype(np.float32)


def matrices(
    net, crops, count: int, layers: dict[str, int], scratch: Path, batch=inference.BATCH, end=None, title="images"
) -> dict[str, np.ndarray]:
    """Run images through a net once and return the Gram matrix of each layer's activations (see `gram`).

    ``crops`` are ``count`` images as `centre_crops` gives them, ``batch`` of them in a forward pass; ``layers`` and
    ``end`` are those of `layers_of`, ``title`` is shown in the progress bars.

    The activations are kept in temporary files in the folder ``scratch``, 4 bytes each; a `UserError` says that it has
    too little space, or that the machine has too little memory for the matrices. The files are unnamed, so none is left
    behind, not even if the process is killed.
    """
    taken = np.dtype(np.float64).itemsize * count**2 * len(layers)
    if taken > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise UserError(
            f"the Gram matrices of {count} images in {len(layers)} layers take {taken / 1e9:.1f} GB of memory, and "
            f"this machine has {memory / 1e9:.1f} GB; analyse a data set with fewer images"
        )
    needed = np.dtype(np.float32).itemsize * count * sum(layers.values())
    free = shutil.disk_usage(scratch).free
    if needed > free:
        raise UserError(
            f"{scratch} has {free / 1e9:.1f} GB free, and the activations of {count} images take {needed / 1e9:.1f} GB "
            "temporarily; give a folder with more space by --scratch"
        )
    print(f"{title}: {count} images, {len(layers)} layers, {needed / 1e9:.1f} GB temporarily in {scratch}", flush=True)
    data = net.blobs[net.inputs[0]]
    with contextlib.ExitStack() as stack:
        files = {layer: stack.enter_context(tempfile.TemporaryFile(dir=scratch)) for layer in layers}
        with Progress(f"extracting {title}", count, unit="images") as bar:
            for group in inference.groups(crops, batch):
                data.reshape(len(group), *data.data.shape[1:])
                net.reshape()
                data.data[...] = group
                net.forward(end=end)
                # On a full disk, writing to a file raises an error; writing to mapped memory would kill the process.
                try:
                    for layer, file in files.items():
                        file.write(np.ascontiguousarray(net.blobs[layer].data, np.float32).data)
                        file.flush()
                except OSError as error:
                    raise UserError(f"cannot write activations to {scratch}: {error.strerror}") from error
                bar.advance(len(group))
        with Progress(f"summing {title}", sum(layers.values()), unit="features") as bar:
            return {
                layer: gram(np.memmap(file, np.float32, "r", shape=(count, layers[layer])), bar.advance)
                for layer, file in files.items()
            }


def gram(rows: np.ndarray, done=lambda count: None) -> np.ndarray:
    """Inner products of every two of n rows, summed in double precision: (n, n) float64.

    ``rows``, (n, d) float32, may be larger than memory. ``done`` is called with the number of columns summed since the
    last call.
    """
    total = np.zeros((len(rows),) * 2)
    for start in range(0, rows.shape[1], _CHUNK):
        block = rows[:, start : start + _CHUNK].astype(np.float64)
        total += block @ block.T
        done(block.shape[1])
    return total


@dataclass(frozen=True, kw_only=True)
class About:
    """What Gram matrices are made from; the attributes are the keys of their file's ``about``, in its order."""

    dataset: str
    demo: bool
    subset: str
    arch: str  # "source" for a source that is not fine-tuned
    init: str
    precision: str = PRECISIONS[0]  # earlier files do not name it
    mean_way: str  # one of `MEAN_WAYS`
    mean: list = field(default_factory=list)  # of each channel, BGR, 0 to 255
    hashes: dict  # SHA-256 of the definition, the weights, the mean image (or None) and the lists
    card: str | None = None  # the model card whose file the source is; None for a run, whose run.json has it
    engine: str = ""
    versions: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Grams:
    """A file of Gram matrices."""

    path: Path
    about: About
    images: list[str]  # in the order of the matrices' rows and columns
    labels: np.ndarray  # (n,) int
    folds: dict[int, tuple]  # number -> rows of its training images, rows of its test images
    layers: dict[str, int]  # name -> number of features of an image, from the output to the input

    def gram(self, layer: str) -> np.ndarray:
        """The (n, n) float64 matrix of a layer, read from the file."""
        with _opened(self.path) as arrays:
            return arrays[f"gram/{layer}"]


def write(path, about: About, labels: dict[str, int], folds: dict[int, Fold], layers: dict[str, int], grams: dict):
    """Write a file of `Grams`; ``labels`` are by image, ``layers`` and ``grams``, the matrices, by layer."""
    rows = {image: row for row, image in enumerate(labels)}
    known = {**records.to_json(about), "layers": layers, "folds": list(folds)}
    arrays: dict[str, Any] = {"about": json.dumps(known)}
    arrays["images"] = np.array(list(labels))
    arrays["labels"] = np.array(list(labels.values()), np.int8)
    for number, fold in folds.items():
        for part, listed in zip(PARTS, fold, strict=True):
            arrays[f"fold{number}/{part}"] = np.array([rows[image] for image, _ in listed], np.int32)
    arrays.update({f"gram/{layer}": grams[layer] for layer in layers})
    with replacing(path) as unfinished:
        np.savez(unfinished, **arrays)


def read(path: Path) -> Grams:
    """Read a file of Gram matrices; a `UserError` says what is wrong with it."""
    with _opened(path) as arrays:
        about = json.loads(str(arrays["about"]))
        layers, numbers = about["layers"], about["folds"]
        folds = {number: tuple(arrays[f"fold{number}/{part}"] for part in PARTS) for number in numbers}
        images, labels = arrays["images"].tolist(), arrays["labels"].astype(int)
    return Grams(path, records.read(About, about, path), images, labels, folds, layers)


@contextlib.contextmanager
def _opened(path):
    """The arrays of a .npz file."""
    try:
        with _ONE_READER, np.load(path) as arrays:
            yield arrays
    except FileNotFoundError:
        raise UserError(
            f"no file {path}; run tools/extract_features.py with the same options (with --source for --arch source)"
        ) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not a complete file of Gram matrices ({error}); remove it and run tools/extract_features.py "
            "again"
        ) from error
