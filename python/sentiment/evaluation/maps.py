"""Sentiment maps (Figure 7): predictions for every place of an image, laid over the image.

An image is warped to 451×451, the input of the fully convolutional network, whose output is the map: 2×8×8
probabilities.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from sentiment.evaluation import inference
from sentiment.evaluation.predictions import is_positive
from sentiment.networks.surgery import Conversion
from sentiment.paper import CLASSES, NEGATIVE, POSITIVE
from sentiment.utils.files import replacing, write_whole

BATCH, BATCH_GPU = 4, 50  # images in a forward pass
BORDER = 0.035  # width of a border, as a fraction of the image's shorter side
PERCENTILES = (50, 90, 99, 100)  # in `difference_summary`

GREEN, RED = (0, 255, 0), (255, 0, 0)  # RGB


def forward(net, images: Iterable[np.ndarray], batch: int = BATCH) -> Iterator[np.ndarray]:
    """The maps of images, (2, rows, columns) float32: P(negative) and P(positive) of each place.

    The net has one image input, and one output of N×2×rows×columns probabilities. The images are (3, height, width)
    float32, as `inference.warp` returns them for the size of that input; ``batch`` of them are in a forward pass.
    """
    data = net.blobs[net.inputs[0]]
    for group in inference.groups(images, batch):
        stacked = np.stack(group)
        if data.data.shape != stacked.shape:
            data.reshape(*stacked.shape)
            net.reshape()
        data.data[...] = stacked
        yield from net.forward()[net.outputs[0]].copy()


def save(path: Path, probabilities: np.ndarray):
    """Write a map to a .npy file, completely or not at all."""
    with replacing(path) as part:
        np.save(part, probabilities, allow_pickle=False)


def read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The map in a .npy file; None if there is no complete one of this shape, (rows, columns)."""
    try:
        probabilities = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return probabilities if probabilities.shape == (CLASSES, *shape) and probabilities.dtype == np.float32 else None


def overlay(image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """A map laid over its image: each place green by P(positive) and red by P(negative), blended half and half.

    The image and the result are (H, W, 3) uint8 RGB. The map is enlarged by nearest neighbour, as in the paper: each of
    its places becomes a rectangle.
    """
    negative, positive = probabilities[NEGATIVE], probabilities[POSITIVE]
    colours = np.stack([negative, positive, np.zeros_like(negative)], axis=-1) * 255
    enlarged = cv2.resize(colours, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.rint((image + enlarged) / 2).astype(np.uint8)


def bordered(image: np.ndarray, positive: float) -> np.ndarray:
    """An image, (H, W, 3) uint8 RGB, with a border around it: green if P(positive) means a positive image, else red."""
    width = max(2, round(BORDER * min(image.shape[:2])))
    colour = GREEN if is_positive(positive) else RED
    return cv2.copyMakeBorder(image, width, width, width, width, cv2.BORDER_CONSTANT, value=colour)


def save_image(path: Path, image: np.ndarray):
    """Write an (H, W, 3) uint8 RGB image as PNG, completely or not at all."""
    _, encoded = cv2.imencode(".png", image[:, :, ::-1])
    write_whole(path, encoded.tobytes())


def patch_differences(
    net, classifier, conversion: Conversion, images: Iterable[np.ndarray], batch: int = inference.BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """The maps' predictions for each place, and the classifier's for the patch of that place, cut from the same input.

    The two agree if no layer pads: padding gives each patch edges that the image does not have there.

    Parameters
    ----------
    net, classifier
        The fully convolutional network, and the one it was made from.
    images
        (3, height, width) float32, as for `forward`.
    batch
        Patches in a forward pass.

    Returns
    -------
    maps, patches
        (N, rows, columns) float32 each, P(positive), without the places whose patch would extend beyond the image:
        pooling rounds up, which adds a row or column.
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


def difference_summary(mapped: np.ndarray, patched: np.ndarray) -> dict[str, float]:
    """Percentiles of the absolute differences between the two results of `patch_differences`.

    Keys: ``maps``, their number; ``places`` in each map; ``"50"``, ``"90"``, ``"99"`` and ``"100"`` (the largest
    difference), in probability; ``same``, the fraction of places where both predict the same class.
    """
    difference = np.abs(np.asarray(mapped, float) - patched)
    return {
        "maps": len(mapped),
        "places": mapped[0].size,
        **{str(q): float(np.percentile(difference, q)) for q in PERCENTILES},
        "same": float(np.mean(is_positive(mapped) == is_positive(patched))),
    }


def seconds(net, repeats: int = 7) -> float:
    """The median seconds of a forward pass of one image; a first pass is not counted."""
    shape = net.blobs[net.inputs[0]].data.shape[1:]
    image = np.random.default_rng(0).uniform(-100, 100, shape).astype(np.float32)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        list(forward(net, [image]))  # copies the output, so it waits for a GPU to finish
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))
