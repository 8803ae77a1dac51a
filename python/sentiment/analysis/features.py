"""Activations of a net's layers over a set of images, kept as Gram matrices (§4.2, Table 3).

Linear classifiers on features need only their inner products: n×n numbers for a layer, where CaffeNet's conv1 alone has
290,400 numbers for an image. One forward pass of a batch gives the activations of all layers. They are kept in
temporary files until each layer's matrix is summed.
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
from sentiment.utils.progress import Progress

FILE = "grams.npz"
MEAN_WAYS = ("image", "channels")
"""What is subtracted: the mean image resized to the crop, as the authors did, or the means of its channels."""

_CHUNK = 16384  # features summed at a time: 880 images of them in double precision are 115 MB
_ONE_READER = threading.Lock()  # NumPy parses an array's header as Python, which Python 3.11 cannot do in two threads
_NO_FEATURES = {"Input", "Split", "Softmax", "SoftmaxWithLoss", "Accuracy", "Silence"}


def file_of(run):
    """The path of a run's Gram matrices; the folds of a source as it is share one file."""
    return (run.folder.parent if run.arch == "source" else run.folder) / FILE


def layers_of(net, end=None) -> dict[str, int]:
    """The blobs whose activations are features, and how many an image has there, from the output to the input.

    As in the paper's table: every blob after its in-place layers (so after ReLU) but the input and the probabilities.
    Of a SqueezeNet's fire module only its concatenation, which is its output.

    Parameters
    ----------
    net : caffe.Net
    end : str, optional
        The last layer that runs; by default all do.
    """
    blobs = []
    for name, layer in zip(net._layer_names, net.layers):
        if layer.type not in _NO_FEATURES:
            blobs += [blob for blob in net.top_names[name] if "/" not in blob or blob.endswith("/concat")]
        if name == end:
            break
    features = [blob for blob in reversed(dict.fromkeys(blobs)) if blob not in net.inputs]
    return {blob: int(np.prod(net.blobs[blob].data.shape[1:])) for blob in features}


def mean_to_subtract(mean, way, crop):
    """The mean, ready to be subtracted from a crop of (height, width): a (3, 1, 1) or (3, height, width) ndarray.

    Parameters
    ----------
    mean : Path or sequence of 3 float
        A mean image (.binaryproto), or channel means, BGR, 0 to 255.
    way : str
        One of ``MEAN_WAYS``.
    crop : (height, width)

    Raises
    ------
    UserError
        The file is missing or is not a mean image; ``image`` without a file.
    """
    if way == "channels":
        return channel_means(mean)[:, None, None]
    if not isinstance(mean, Path):
        raise UserError("the mean is three numbers, and --mean-way image needs a mean image; name it by --mean FILE")
    import caffe

    return caffe.io.resize_image(mean_image(mean).transpose(1, 2, 0), crop).transpose(2, 0, 1)


def centre_crops(net, paths, mean, where=str):
    """The centre crops of images minus a mean, BGR, 0 to 255: yields (3, height, width) float32 ndarrays.

    Parameters
    ----------
    net : caffe.Net
    paths : sequence of path
    mean : ndarray
        See `mean_to_subtract`.
    where : callable
        Path -> where it is listed, for the message about one that is not an image.
    """
    height, width = net.blobs[net.inputs[0]].data.shape[2:]
    for image in inference.warped(net, paths, np.zeros(3), where):
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        yield image[:, top : top + height, left : left + width] - mean.astype(np.float32)


def matrices(net, crops, count, layers, scratch, batch=inference.BATCH, end=None, title="images"):
    """Run images through a net once; the Gram matrix of each layer's activations, see `gram`.

    Parameters
    ----------
    net : caffe.Net
        One image input.
    crops : iterable of (3, height, width) ndarray
    count : int
        How many crops there are.
    layers : dict of str to int
        Of `layers_of`.
    scratch : path
        A folder for files of 4 bytes a number. They have no names, so nothing is left behind, however this ends.
    batch : int
        Crops a forward pass.
    end : str, optional
        The last layer to run.
    title : str
        Of the progress bars.

    Returns
    -------
    dict of str to (count, count) float64 ndarray

    Raises
    ------
    UserError
        The scratch folder has too little room.
    """
    needed = np.dtype(np.float32).itemsize * count * sum(layers.values())
    free = shutil.disk_usage(scratch).free
    if needed > free:
        raise UserError(
            f"{scratch} has {free / 1e9:.1f} GB free, and the activations of {count} images take {needed / 1e9:.1f} GB "
            "temporarily; name a folder with more room by --scratch"
        )
    print(f"{title}: {count} images, {len(layers)} layers, {needed / 1e9:.1f} GB temporarily in {scratch}", flush=True)
    data, crops = net.blobs[net.inputs[0]], iter(crops)
    with contextlib.ExitStack() as stack:
        files = {layer: stack.enter_context(tempfile.TemporaryFile(dir=scratch)) for layer in layers}
        with Progress(f"extracting {title}", count, unit="images") as bar:
            for start in range(0, count, batch):
                size = min(batch, count - start)
                data.reshape(size, *data.data.shape[1:])
                net.reshape()
                for index in range(size):
                    data.data[index] = next(crops)
                net.forward(end=end)
                # Written, not mapped: a full disk is then an error; a write to mapped memory would kill the process.
                try:
                    for layer, file in files.items():
                        file.write(np.ascontiguousarray(net.blobs[layer].data, np.float32).data)
                        file.flush()
                except OSError as error:
                    raise UserError(f"cannot write activations to {scratch}: {error.strerror}") from error
                bar.advance(size)
        with Progress(f"summing {title}", sum(layers.values()), unit="features") as bar:
            return {
                layer: gram(np.memmap(file, np.float32, "r", shape=(count, layers[layer])), bar.advance)
                for layer, file in files.items()
            }


def gram(rows, done=lambda count: None):
    """Inner products of every two rows, summed in double precision: an (n, n) float64 ndarray.

    Parameters
    ----------
    rows : (n, d) float32 ndarray
        May be larger than memory.
    done : callable
        Called with the number of columns summed since the last call.
    """
    total = np.zeros((len(rows),) * 2)
    for start in range(0, rows.shape[1], _CHUNK):
        block = rows[:, start : start + _CHUNK].astype(np.float64)
        total += block @ block.T
        done(block.shape[1])
    return total


@dataclass(frozen=True)
class Grams:
    """A file of Gram matrices."""

    path: Path
    about: dict  # what they are made from: data set, subset, architecture, source, checksums, the mean subtracted
    images: list  # in the order of rows and columns
    labels: np.ndarray  # (n,) int
    folds: dict  # number -> rows of its training images, rows of its test images
    layers: dict  # name -> numbers an image has there; from the output to the input

    def gram(self, layer):
        """The (n, n) float64 matrix of a layer, read from the file."""
        with _opened(self.path) as arrays:
            return arrays[f"gram/{layer}"]


def write(path, about, labels, folds, layers, grams):
    """Write a file of `Grams`; ``labels`` are by image, ``folds`` are `folds.Fold` by number, ``grams`` by layer."""
    rows = {image: row for row, image in enumerate(labels)}
    arrays: dict[str, Any] = {"about": json.dumps({**about, "layers": layers, "folds": list(folds)})}
    arrays["images"] = np.array(list(labels))
    arrays["labels"] = np.array(list(labels.values()), np.int8)
    for number, fold in folds.items():
        for part, listed in zip(("train", "test"), fold, strict=True):
            arrays[f"fold{number}/{part}"] = np.array([rows[image] for image, _ in listed], np.int32)
    arrays.update({f"gram/{layer}": grams[layer] for layer in layers})
    with replacing(path) as part:
        np.savez(part, **arrays)


def read(path) -> Grams:
    """Read a file of Gram matrices; a `UserError` says what is wrong with it."""
    with _opened(path) as arrays:
        about = json.loads(str(arrays["about"]))
        layers, numbers = about.pop("layers"), about.pop("folds")
        folds = {number: tuple(arrays[f"fold{number}/{part}"] for part in ("train", "test")) for number in numbers}
        return Grams(Path(path), about, arrays["images"].tolist(), arrays["labels"].astype(int), folds, layers)


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
