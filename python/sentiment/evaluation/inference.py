"""Testing a net on images (§4.1): the numbers of ``caffe.Classifier`` one image at a time, in large batches.

An image is warped to 256×256, its channels' means are subtracted, and ten crops go through the net: four corners, the
centre, and their mirrors. The fifth is what Classifier takes without oversampling, so one pass serves both.
"""

import functools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from sentiment.data import image_files
from sentiment.engine import cores
from sentiment.paper import IMAGE_SIZE
from sentiment.utils.errors import UserError

CROPS = 10
CENTER = 4
BATCH, BATCH_GPU = 20, 200  # crops a forward pass; on a CPU more is slower and takes gigabytes for SqueezeNet's blobs


def warped(net, paths, means, where=str, size=(IMAGE_SIZE, IMAGE_SIZE)):
    """Images as the net's crops are cut from them, or with the size of its input, as it takes them whole.

    Parameters
    ----------
    net : caffe.Net
    paths : sequence of path
    means : (3,) ndarray
        BGR, 0 to 255.
    where : callable
        Says of a path where it was listed, for the message about one that is no image.
    size : (height, width)
        What each image is warped to.

    Yields
    ------
    (3, height, width) float32 ndarray
        BGR, 0 to 255, minus the means.
    """
    prepare = _preparation(net, means, size)
    # Threads do it, since neither OpenCV nor numpy holds Python's lock, and on a GPU the forward pass is far quicker.
    paths, threads = iter(paths), cores()
    with ThreadPoolExecutor(threads) as pool:

        def submit(count):
            return [pool.submit(lambda path: prepare(_loaded(path, where)), path) for path in islice(paths, count)]

        waiting = deque(submit(2 * threads))
        while waiting:
            image = waiting.popleft().result()
            waiting.extend(submit(1))
            yield image


def warp(net, images, means, size=(IMAGE_SIZE, IMAGE_SIZE)):
    """Like `warped`, of images that are loaded: (H, W, 3) float32 RGB in [0, 1], as `scaled` gives."""
    return map(_preparation(net, means, size), images)


def _preparation(net, means, size):
    """What becomes of one image: a function from what `scaled` gives to what `warped` yields."""
    import caffe

    name = net.inputs[0]
    transformer = caffe.io.Transformer({name: (1, 3, *size)})
    transformer.set_transpose(name, (2, 0, 1))
    transformer.set_channel_swap(name, (2, 1, 0))
    transformer.set_raw_scale(name, 255)
    transformer.set_mean(name, means)
    return functools.partial(transformer.preprocess, name)


def scaled(pixels):
    """A picture, (H, W, 3) uint8 RGB, in float32 from 0 to 1, as ``caffe.io.load_image`` gives it."""
    return np.divide(pixels, np.float32(255), dtype=np.float32)


def _loaded(path, where):
    """The picture in a file as training saw it: ``caffe.io.load_image`` would not turn it upright."""
    try:
        return scaled(image_files.load(path))
    except UserError as error:
        raise UserError(f"{where(path)}: {error}") from error


def probabilities(net, images, batch=BATCH, done=lambda count: None) -> np.ndarray:
    """What the net says of each image's ten crops.

    Parameters
    ----------
    net : caffe.Net
        One image input, one output of N×classes (and trailing ones).
    images : iterable of (3, H, W) float32 ndarray
        As `warped` gives them.
    batch : int
        Crops a forward pass, rounded down to whole images.
    done : callable
        Told after each pass how many images went through.

    Returns
    -------
    (N, 10, classes) float32 ndarray
        Crops in the order of ``caffe.io.oversample``; number ``CENTER`` is the centre's.
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


def ten_crops(image, out):
    """Cut an image's crops into ``out``, (10, 3, height, width), in the order of ``caffe.io.oversample``."""
    height, width = out.shape[2:]
    bottom, right = image.shape[1] - height, image.shape[2] - width
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    for index, (top, left) in enumerate(corners):
        out[index] = image[:, top : top + height, left : left + width]
    out[CROPS // 2 :] = out[: CROPS // 2, :, :, ::-1]


def groups(items, size):
    """Lists of ``size`` items, the last one shorter."""
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
