"""A sheet of images above their sentiment maps (Figure 7)."""

from dataclasses import dataclass

import numpy as np

from sentiment import paper
from sentiment.evaluation.predictions import is_positive
from sentiment.figures import plots

_ROW = 1.75  # inches a row of pictures is high
_GAP = 0.12  # inches between pictures
_MARGIN = 0.3
_LEFT = 0.75  # for the rows' names
_HEAD, _CAPTIONS, _FOOT = 0.62, 0.46, 0.62
_NARROWEST, _WIDEST = 0.6, 1.9  # width of a picture over its height, where a sheet would suffer from the true one

_GREEN, _RED = "#1a8f1a", "#c62020"  # of words; pure green is too pale to read


@dataclass(frozen=True)
class Exhibit:
    """An image on the sheet.

    Attributes
    ----------
    image, map : (H, W, 3) uint8 ndarray
        RGB: the image, and its overlay in its border.
    positive : float
        P(positive) of the whole image.
    label : int
        What the annotators said.
    fold : int
        Whose net it was mapped by.
    """

    image: np.ndarray
    map: np.ndarray
    positive: float
    label: int
    fold: int


def sheet(exhibits, title, notes):
    """Draw the sheet.

    Parameters
    ----------
    exhibits : list of Exhibit
        From left to right.
    title : str
    notes : str
        Said below the maps: what the numbers are, and where they are from. Lines of up to about 110 characters.

    Returns
    -------
    matplotlib.figure.Figure
        For `plots.png`.
    """
    aspects = [np.clip(e.image.shape[1] / e.image.shape[0], _NARROWEST, _WIDEST) for e in exhibits]
    widths = [_ROW * aspect for aspect in aspects]
    lines = notes.count("\n") + 1
    foot = _FOOT + 0.15 * lines
    width = max(_LEFT + sum(widths) + _GAP * (len(widths) - 1) + _MARGIN, 8.2)
    height = _HEAD + 2 * _ROW + _GAP + _CAPTIONS + foot
    figure = plots.blank(width, height)

    def place(x, y, w, h):
        axes = figure.add_axes((x / width, y / height, w / width, h / height))
        axes.set_axis_off()
        return axes

    def write(x, y, words, **style):
        figure.text(x / width, y / height, words, **style)

    write(_LEFT, height - 0.2, title, size=12, weight="bold", va="top")
    below = foot + _CAPTIONS
    for name, bottom in ("image", below + _ROW + _GAP), ("map", below):
        write(_LEFT - 0.15, bottom + _ROW / 2, name, size=11, ha="right", va="center")
    x = _LEFT
    for exhibit, wide in zip(exhibits, widths, strict=True):
        for pixels, bottom in (exhibit.image, below + _ROW + _GAP), (exhibit.map, below):
            # Stretched by a few percent at most, but for the panoramas above.
            place(x, bottom, wide, _ROW).imshow(pixels, aspect="auto", interpolation="antialiased")
        positive = is_positive(exhibit.positive)
        word, colour = ("positive", _GREEN) if positive else ("negative", _RED)
        probability = exhibit.positive if positive else 1 - exhibit.positive
        right = positive == (exhibit.label == paper.POSITIVE)
        middle = x + wide / 2
        write(
            middle,
            below - 0.07,
            f"{word} {probability:.2f}",
            size=10,
            color=colour,
            weight="bold",
            ha="center",
            va="top",
        )
        label = "as labelled" if right else f"labelled {'positive' if exhibit.label == paper.POSITIVE else 'negative'}"
        write(middle, below - 0.25, f"{label}, fold {exhibit.fold}", size=8, color="0.25", ha="center", va="top")
        x += wide + _GAP
    _key(place(_LEFT, foot - 0.2, 1.6, 0.13), write, foot)
    write(_LEFT, foot - 0.36, notes, size=8, color="0.25", va="top", linespacing=1.35)
    return figure


def _key(axes, write, foot):
    """The colours between P(positive) 0 and 1, as overlays show them on mid-grey."""
    positive = np.linspace(0, 1, 64)
    colours = np.stack([1 - positive, positive, np.zeros_like(positive)], axis=-1)[np.newaxis]
    axes.imshow((colours + 0.5) / 2, aspect="auto")
    write(_LEFT + 1.7, foot - 0.135, "P(positive) of a place, from 0 (red) to 1 (green)", size=8, va="center")
