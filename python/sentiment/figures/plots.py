"""Figures drawn by matplotlib, without a display and without the global state of pyplot."""

import io

from sentiment.utils.files import write_if_changed
from sentiment.utils.progress import patience

DPI = 150


def new(width, height, **more):
    """A white `matplotlib.figure.Figure` of a size in inches; ``more`` is passed on to it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", **more)


def page(width, height):
    """Axes over all of a new figure, without a frame; coordinates are inches from the lower left corner."""
    axes = new(width, height).add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return axes


def png(figure) -> bytes:
    """A figure as a PNG file. The file does not name matplotlib's version, so equal figures are equal files."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def save(path, draw, *arguments) -> bool:
    """Save the figure that ``draw(*arguments)`` returns as a PNG file. Returns whether the file changed."""
    with patience(f"drawing {path}"):
        return write_if_changed(path, png(draw(*arguments)))
