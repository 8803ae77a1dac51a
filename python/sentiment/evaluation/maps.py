"""Sentiment maps (Figure 7): predictions for every place of an image, laid over the image.

An image is warped to the fully convolutional network's input, 451×451, which gives a map of 2×8×8 probabilities in one
pass.
"""

import io
import time

import cv2
import numpy as np

from sentiment.evaluation import inference
from sentiment.evaluation.predictions import is_positive
from sentiment.paper import CLASSES, NEGATIVE, POSITIVE
from sentiment.utils.files import write_whole

BATCH, BATCH_GPU = 4, 50  # images a forward pass
BORDER = 0.035  # of an image's shorter side
PERCENTILES = (50, 90, 99, 100)

GREEN, RED = (0, 255, 0), (255, 0, 0)  # RGB


def inputs(net, paths, means, where=str):
    """Images as the fully convolutional network takes them: warped to its input, whatever their shape.

    Parameters
    ----------
    net : caffe.Net
    paths, means, where
        As for `inference.warped`.

    Yields
    ------
    (3, height, width) float32 ndarray
        BGR, 0 to 255, minus the means.
    """
    return inference.warped(net, paths, means, where, net.blobs[net.inputs[0]].data.shape[2:])


def forward(net, images, batch=BATCH):
    """The maps of images.

    Parameters
    ----------
    net : caffe.Net
        One image input; one output of N×2×rows×columns probabilities.
    images : iterable of (3, height, width) float32 ndarray
    batch : int
        Images a forward pass.

    Yields
    ------
    (2, rows, columns) float32 ndarray
        P(negative) and P(positive) of each place.
    """
    for group in inference.groups(images, batch):
        yield from _pass(net, np.stack(group))


def _pass(net, images):
    data = net.blobs[net.inputs[0]]
    if data.data.shape != images.shape:
        data.reshape(*images.shape)
        net.reshape()
    data.data[...] = images
    return net.forward()[net.outputs[0]].copy()


def save(path, probabilities):
    """Write a map as .npy, completely or not at all."""
    content = io.BytesIO()
    np.save(content, probabilities, allow_pickle=False)
    write_whole(path, content.getvalue())


def read(path, shape):
    """The map in a .npy file, or None if there is no complete one of that (rows, columns)."""
    try:
        probabilities = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return probabilities if probabilities.shape == (CLASSES, *shape) and probabilities.dtype == np.float32 else None


def overlay(image, probabilities):
    """A map laid over its image: each place green by P(positive) and red by P(negative), blended half and half.

    Parameters
    ----------
    image : (H, W, 3) uint8 ndarray
        RGB.
    probabilities : (2, rows, columns) ndarray
        The map. Each place becomes a rectangle of the image: nearest neighbour, as the paper enlarges maps.

    Returns
    -------
    (H, W, 3) uint8 ndarray
        RGB.
    """
    colours = (
        np.stack([probabilities[NEGATIVE], probabilities[POSITIVE], np.zeros_like(probabilities[0])], axis=-1) * 255
    )
    enlarged = cv2.resize(colours, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.rint((image + enlarged) / 2).astype(np.uint8)


def bordered(image, positive):
    """An image in a border of the global prediction's colour: green for positive, red for negative.

    Parameters
    ----------
    image : (H, W, 3) uint8 ndarray
        RGB; the border is added around it.
    positive : float
        P(positive) of the image.
    """
    width = max(2, round(BORDER * min(image.shape[:2])))
    colour = GREEN if is_positive(positive) else RED
    return cv2.copyMakeBorder(image, width, width, width, width, cv2.BORDER_CONSTANT, value=colour)


def save_picture(path, image):
    """Write an (H, W, 3) uint8 RGB image as PNG, completely or not at all."""
    _, encoded = cv2.imencode(".png", image[:, :, ::-1])
    write_whole(path, encoded.tobytes())


def patch_differences(net, classifier, conversion, images, batch=inference.BATCH):
    """How far maps are from the classifier run on each place's patch, cut from the same input.

    The two agree if no layer pads; padding gives each patch edges that the complete image does not have.

    Parameters
    ----------
    net, classifier : caffe.Net
        The fully convolutional network, and the one it was made from.
    conversion : surgery.Conversion
    images : iterable of (3, height, width) float32 ndarray
        As `inputs` gives them.
    batch : int
        Patches a forward pass.

    Returns
    -------
    maps, patches : (N, rows, columns) float32 ndarray
        P(positive) both ways, without places whose patch would extend beyond the image (rounding up in pooling adds a
        row or column).
    """
    (height, width), (down, right) = conversion.patch, conversion.step
    rows = min(conversion.map[0], (conversion.input[0] - height) // down + 1)
    columns = min(conversion.map[1], (conversion.input[1] - width) // right + 1)
    mapped, patched = [], []
    for image in images:
        mapped += [probabilities[POSITIVE, :rows, :columns] for probabilities in forward(net, [image])]
        patches = (
            image[:, y : y + height, x : x + width]
            for y in range(0, rows * down, down)
            for x in range(0, columns * right, right)
        )
        probabilities = np.stack(list(forward(classifier, patches, batch)))
        patched.append(probabilities.reshape(rows, columns, -1)[..., POSITIVE])
    return np.stack(mapped), np.stack(patched)


def difference_summary(mapped, patched):
    """Percentiles of the absolute differences, and how often both ways predict the same class.

    Returns
    -------
    dict
        ``maps``, and ``places`` in each; ``"50"``, ``"90"``, ``"99"``, ``"100"`` (the largest) -> difference in
        probability; ``same`` -> fraction of places.
    """
    difference = np.abs(np.asarray(mapped, float) - patched)
    return {
        "maps": len(mapped),
        "places": mapped[0].size,
        **{str(q): float(value) for q, value in zip(PERCENTILES, np.percentile(difference, PERCENTILES), strict=True)},
        "same": float(np.mean(is_positive(mapped) == is_positive(patched))),
    }


def seconds(net, repeats=7):
    """Median seconds of a forward pass of one image, after a first one that does not count."""
    data = net.blobs[net.inputs[0]]
    shape = (1, *data.data.shape[1:])
    data.reshape(*shape)
    net.reshape()
    data.data[...] = np.random.default_rng(0).uniform(-100, 100, shape)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        # Reading the output waits for a GPU to finish.
        net.forward()[net.outputs[0]].sum()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))
