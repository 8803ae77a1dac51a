"""A sheet of images above their sentiment maps (Figure 7)."""

from dataclasses import dataclass

import numpy as np

from sentiment import names, paper
from sentiment.data import image_files
from sentiment.evaluation.fold_maps import FoldMaps
from sentiment.evaluation.predictions import is_positive
from sentiment.figures import plots

# Inches.
_ROW = 1.75  # height of an image
_GAP = 0.12  # between images
_LEFT, _RIGHT = 0.75, 0.3  # margins; the names of the rows are in the left one
_HEAD, _CAPTIONS, _FOOT = 0.62, 0.46, 0.62  # heights: of the title, of the captions, of the key and notes
_NARROWEST, _WIDEST = 0.6, 1.9  # width / height; images outside this range are stretched to its ends

_GREEN, _RED = "#1a8f1a", "#c62020"  # colours of text; pure green would be too pale to read

_PREDICTIONS = {"center": "centre crop", "oversampled": "mean of ten crops"}


@dataclass(frozen=True)
class Exhibit:
    """An image on the sheet, and its map."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    map: np.ndarray  # its map over the image, with a border; the same form as ``image``
    positive: float  # P(positive) of the image
    label: int  # by the annotators
    fold: int  # the fold whose net made the map


def figure7(shown: dict[str, FoldMaps]):
    """The sheet of some test images from left to right; ``shown`` has, for each, the maps of the fold that tests it."""
    exhibits = []
    for image, fold in shown.items():
        label, positive = fold.predicted[image]
        pixels, overlay = map(image_files.load, (fold.data.images / image, fold.files(image)[1]))
        exhibits.append(Exhibit(pixels, overlay, positive, label, fold.run.fold))
    first = next(iter(shown.values()))
    demo = "Demo data, drawn images. " if first.data.demo else ""
    variant = f" ({first.run.variant})" if first.run.variant else ""
    places, size = ("×".join(map(str, numbers)) for numbers in (first.conversion.map, first.conversion.input))
    return sheet(
        exhibits,
        f"{demo}Sentiment maps: {names.net_title(first.run.arch, first.source)}{variant}",
        f"Border and caption: the global prediction ({_PREDICTIONS[first.prediction]}) and its probability. "
        f"Map: {places} places of an input of {size} pixels.\n"
        f"Data set {first.data.name}, {names.SUBSET_TITLES[first.run.subset]}; each image is mapped by the net of "
        "the fold that tests it.",
    )


def sheet(exhibits: list[Exhibit], title: str, notes: str):
    """A matplotlib figure of images from left to right; ``notes``, in lines of about 110 characters, are below them."""
    widths = [_ROW * np.clip(one.image.shape[1] / one.image.shape[0], _NARROWEST, _WIDEST) for one in exhibits]
    foot = _FOOT + 0.15 * (notes.count("\n") + 1)
    maps = foot + _CAPTIONS
    images = maps + _ROW + _GAP
    width = max(_LEFT + sum(widths) + _GAP * (len(widths) - 1) + _RIGHT, 8.2)
    height = images + _ROW + _HEAD
    axes = plots.page(width, height)

    def show(pixels, x, y, wide, high):
        axes.imshow(pixels, extent=(x, x + wide, y, y + high), aspect="auto", interpolation="antialiased")

    axes.text(_LEFT, height - 0.2, title, size=12, weight="bold", va="top")
    for name, y in ("image", images), ("map", maps):
        axes.text(_LEFT - 0.15, y + _ROW / 2, name, size=11, ha="right", va="center")
    x = _LEFT
    for exhibit, wide in zip(exhibits, widths, strict=True):
        show(exhibit.image, x, images, wide, _ROW)
        show(exhibit.map, x, maps, wide, _ROW)
        positive = is_positive(exhibit.positive)
        name, colour = ("positive", _GREEN) if positive else ("negative", _RED)
        probability = exhibit.positive if positive else 1 - exhibit.positive
        label = "positive" if exhibit.label == paper.POSITIVE else "negative"
        label = "as labelled" if label == name else f"labelled {label}"
        below = {"x": x + wide / 2, "ha": "center", "va": "top"}
        axes.text(y=maps - 0.07, s=f"{name} {probability:.2f}", size=10, color=colour, weight="bold", **below)
        axes.text(y=maps - 0.25, s=f"{label}, fold {exhibit.fold}", size=8, color="0.25", **below)
        x += wide + _GAP
    # The colours of P(positive) from 0 to 1, as overlays show them on grey.
    key = np.linspace(0, 1, 64)
    colours = np.stack([1 - key, key, np.zeros_like(key)], axis=-1)[np.newaxis]
    show((colours + 0.5) / 2, _LEFT, foot - 0.2, 1.6, 0.13)
    axes.text(_LEFT + 1.7, foot - 0.135, "P(positive) of each place, from 0 (red) to 1 (green)", size=8, va="center")
    axes.text(_LEFT, foot - 0.36, notes, size=8, color="0.25", va="top", linespacing=1.35)
    return axes.figure
