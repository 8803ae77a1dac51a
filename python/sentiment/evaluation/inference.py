"""The probabilities that a net gives to images' crops (§4.1), in batches of several images.

The results are those of ``caffe.Classifier`` for one image at a time. An image is warped to 256×256, the channel means
are subtracted, and ten crops go through the net: the four corners, the centre, and their mirrors. The fifth crop is the
one that Classifier takes without oversampling, so that one forward pass serves both ways of testing.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from sentiment.data import image_files
from sentiment.engine import cores
from sentiment.paper import CLASSES, IMAGE_SIZE
from sentiment.utils.errors import UserError

CROPS = 10
CENTER = 4  # index of the centre crop
AHEAD = 32  # images read at a time
BATCH, BATCH_GPU = 20, 200  # crops in a forward pass; more are hardly faster on a CPU, and take gigabytes


def check_outputs(net, model: Path):
    """Refuse a ``caffe.Net`` that does not have two outputs; ``model`` is the file of its definition."""
    outputs = net.blobs[net.outputs[0]].data.shape[1:]
    if math.prod(outputs) != CLASSES:
        raise UserError(
            f"{model} has {'×'.join(map(str, outputs))} outputs; a sentiment network has {CLASSES}, P(negative) and "
            "P(positive)"
        )


def warp(net, pixels: np.ndarray, means: np.ndarray, size=(IMAGE_SIZE, IMAGE_SIZE)) -> np.ndarray:
    """An image warped and normalised for a net: to cut crops from it, or in the size of the net's input to map it.

    Parameters
    ----------
    net
        A ``caffe.Net``.
    pixels
        (H, W, 3) uint8, RGB.
    means
        (3,), BGR, 0 to 255.
    size
        Height and width of the result, pixels; the image's aspect ratio is not kept.

    Returns
    -------
    ndarray
        (3, height, width) float32, BGR, 0 to 255, minus the means.
    """
    import caffe

    name = net.inputs[0]
    transformer = caffe.io.Transformer({name: (1, 3, *size)})
    transformer.set_transpose(name, (2, 0, 1))
    transformer.set_channel_swap(name, (2, 1, 0))
    transformer.set_raw_scale(name, 255)
    transformer.set_mean(name, means)
    # Scaled to 0..1 as by ``caffe.io.load_image``, which is not used because it does not turn images upright.
    return transformer.preprocess(name, np.divide(pixels, np.float32(255), dtype=np.float32))


def warped(
    net, paths: Iterable[Path], means: np.ndarray, where: Callable = str, size=(IMAGE_SIZE, IMAGE_SIZE)
) -> Iterator[np.ndarray]:
    """The result of `warp` for each image file, in their order.

    ``where`` returns where a path is listed, to begin the `UserError` about a file that is not an image.
    """

    def prepare(path):
        try:
            pixels = image_files.load(path)
        except UserError as error:
            raise UserError(f"{where(path)}: {error}") from error
        return warp(net, pixels, means, size)

    # Threads run in parallel, because OpenCV and numpy release Python's lock. They do not run during forward passes:
    # one of PyTorch's threads that has to share its core keeps the others waiting.
    with ThreadPoolExecutor(cores()) as pool:
        for group in groups(paths, AHEAD):
            yield from list(pool.map(prepare, group))


def probabilities(
    net, images: Iterable[np.ndarray], batch: int = BATCH, done: Callable = lambda count: None
) -> np.ndarray:
    """The net's probabilities for the ten crops of each image.

    Parameters
    ----------
    net
        A ``caffe.Net`` with one image input and one output of N×classes (and trailing ones).
    images
        (3, H, W) float32, as `warp` gives them.
    batch
        Crops in a forward pass, rounded down to a multiple of ten, at least ten.
    done
        Called after each forward pass with the number of its images.

    Returns
    -------
    ndarray
        (N, 10, classes) float32; crops in the order of ``caffe.io.oversample``, the centre crop at index `CENTER`.
    """
    name, out = net.inputs[0], net.outputs[0]
    height, width = net.blobs[name].data.shape[2:]
    answers = []
    for group in groups(images, max(1, batch // CROPS)):
        net.blobs[name].reshape(len(group) * CROPS, 3, height, width)
        net.reshape()
        crops = net.blobs[name].data.reshape(len(group), CROPS, 3, height, width)
        for image, of_image in zip(group, crops, strict=True):
            ten_crops(image, of_image)
        answers.append(net.forward()[out].reshape(len(group), CROPS, -1).copy())
        done(len(group))
    return np.concatenate(answers)


def ten_crops(image: np.ndarray, out: np.ndarray):
    """Cut an image's crops into ``out``, (10, 3, height, width), in the order of ``caffe.io.oversample``."""
    height, width = out.shape[2:]
    bottom, right = image.shape[1] - height, image.shape[2] - width
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    for index, (top, left) in enumerate(corners):
        out[index] = image[:, top : top + height, left : left + width]
    out[CROPS // 2 :] = out[: CROPS // 2, :, :, ::-1]


def centre_crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The centre crop of an image, (3, H, W), in the place of the fifth of `ten_crops`: a view, (3, height, width)."""
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


def groups(items: Iterable, size: int) -> Iterator[Sequence]:
    """Lists of ``size`` items each; the last one can be shorter."""
    items = iter(items)
    while group := list(islice(items, size)):
        yield group
