"""Figures 2, 4 and 5: the networks as their definitions describe them, layer under layer.

Each function draws a `matplotlib.figure.Figure` for `plots.png`, on one axes in inches.
"""

import itertools
from pathlib import Path

from sentiment.figures import plots
from sentiment.networks import layout
from sentiment.networks.layout import PROTOTXT

_STEP, _BOX = 0.42, 0.3  # inches: from one row to the next, a box's height
_HEAD, _FOOT = 1.15, 0.6
_NEW = "new"
_COLOURS = {  # kind -> face, edge
    "Input": ("#ffffff", "#555555"),
    "Convolution": ("#d3e5f7", "#1f5f99"),
    "InnerProduct": ("#fbe3c4", "#9a5b00"),
    "Pooling": ("#ededed", "#777777"),
    "LRN": ("#ededed", "#777777"),
    "Softmax": ("#ffffff", "#555555"),
    _NEW: ("#cdebd3", "#146c2e"),
}
_KEY = {
    "Convolution": "convolution",
    "InnerProduct": "fully connected",
    "Pooling": "pooling, normalisation",
    _NEW: "new layer",
}


def figure2(prototxt=PROTOTXT):
    """The fine-tuned CaffeNet with operations, blob sizes, parameters and rates."""
    stages = layout.read(Path(prototxt) / "finetune")
    total = sum(stage.parameters for stage in stages)
    canvas = _Canvas(9.2, [stage.name for stage in stages])
    canvas.title("Fine-tuned CaffeNet", "Every layer but the last is taken over from the source network and learns on.")
    columns = {"layer": 0.35, "operation": 2.25, "blob": 5.0, "parameters": 7.35, "rate": 8.75}
    for name, x in columns.items():
        right = name in ("parameters", "rate")
        canvas.write(
            x + (0.1 if name == "layer" else 0), canvas.head, name, ha="right" if right else "left", color="0.35"
        )
    for stage in stages:
        y = canvas.y[stage.name]
        canvas.box(columns["layer"], y, 1.6, stage)
        canvas.write(columns["operation"], y, stage.detail)
        canvas.write(columns["blob"], y, _shape(stage.shape))
        if stage.parameters:
            canvas.write(columns["parameters"], y, f"{stage.parameters:,}", ha="right")
            canvas.write(
                columns["rate"], y, _rate(stage.rate), ha="right", weight="bold" if _is_new(stage) else "normal"
            )
    canvas.arrows(columns["layer"] + 0.8, [stage.name for stage in stages])
    canvas.foot(
        f"{total:,} parameters. Blob: channels × height × width of one image. Rate: over the solver's base rate."
    )
    return canvas.figure


def figure4(prototxt=PROTOTXT):
    """The whole net beside the two with layers removed."""
    nets = {"CaffeNet": "finetune", "fc7-2": "fc7-2", "fc6-2": "fc6-2"}
    return _beside(
        {title: layout.read(Path(prototxt) / folder) for title, folder in nets.items()},
        "Layers removed",
        "The last layer that is left gets two outputs and starts anew.",
        removed=True,
    )


def figure5(prototxt=PROTOTXT):
    """The fine-tuned net beside the one with a layer added, learning and frozen."""
    folders = {"CaffeNet": "finetune", "fc9": "fc9-caffenet", "fc9-frozen": "fc9-frozen-caffenet"}
    nets = {title: layout.read(Path(prototxt) / folder) for title, folder in folders.items()}
    classes = next(stage.shape[0] for stage in nets["fc9"] if stage.name == "fc8")
    subtitle = (
        f"fc9 keeps the source's own last layer, here of {classes} classes; in fc9-frozen only the new layer learns."
    )
    return _beside(nets, "A layer added", subtitle)


FIGURES = {"2": figure2, "4": figure4, "5": figure5}


def _beside(nets, title, subtitle, removed=False):
    """Nets in columns, the same layer in the same row; layers that the first has and another lacks as outlines."""
    whole = max(nets.values(), key=len)
    rows = [_row(stage) for stage in whole]
    width = 0.35 + 3.25 * len(nets)
    canvas = _Canvas(width, rows)
    canvas.title(title, subtitle)
    first = next(iter(nets.values()))
    counts = {name: sum(stage.parameters for stage in stages) for name, stages in nets.items()}
    for number, (name, stages) in enumerate(nets.items()):
        x = 0.35 + 3.25 * number
        canvas.write(x + 0.1, canvas.head, name, weight="bold", size=11)
        for stage in stages:
            canvas.box(x, canvas.y[_row(stage)], 2.2, stage, _shape(stage.shape))
            if stage.parameters:
                words = "frozen" if stage.rate == 0 else f"rate {_rate(stage.rate)}" if _is_new(stage) else ""
                canvas.write(x + 2.27, canvas.y[_row(stage)], words, size=8.5, color="0.25")
        missing = [_row(stage) for stage in first if _row(stage) not in map(_row, stages)] if removed else []
        for row in missing:
            canvas.ghost(x, canvas.y[row], 2.2, f"{row} removed")
        canvas.arrows(x + 1.1, [_row(stage) for stage in stages], through=missing)
        total = f"{counts[name]:,} parameters"
        fewer = sum(stage.parameters for stage in first) - counts[name]
        words = f"\n{abs(fewer):,} {'fewer' if fewer > 0 else 'more'}" if fewer else ""
        canvas.write(x, _FOOT - 0.1, total + words, va="top", linespacing=1.5)
    return canvas.figure


class _Canvas:
    """A page in inches with a row a layer, from top to bottom."""

    def __init__(self, width, rows):
        height = _HEAD + 0.35 + _STEP * len(rows) + _FOOT
        self.figure = plots.blank(width, height)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()
        self.width, self.height = width, height
        self.head = height - _HEAD - 0.1
        self.y = {row: self.head - 0.35 - _STEP * number for number, row in enumerate(rows)}

    def write(self, x, y, words, **style):
        self.axes.text(x, y, words, **{"size": 9.5, "va": "center_baseline", **style})

    def title(self, title, subtitle):
        self.write(0.35, self.height - 0.3, title, size=14, weight="bold")
        self.write(0.35, self.height - 0.62, subtitle, color="0.25")
        x = 0.35
        for kind, words in _KEY.items():
            face, edge = _COLOURS[kind]
            self._rectangle(x, self.height - 0.88, 0.16, 0.12, facecolor=face, edgecolor=edge)
            self.write(x + 0.23, self.height - 0.88, words, size=8.5, color="0.25")
            x += 0.45 + 0.085 * len(words)

    def foot(self, words):
        self.write(0.35, _FOOT - 0.25, words, color="0.25", size=9)

    def box(self, x, y, width, stage, words=""):
        """A layer: its name on the left, a few words on the right; new ones in a colour of their own."""
        face, edge = _COLOURS[_NEW if _is_new(stage) else stage.type]
        face = "white" if stage.rate == 0 else face
        self._rectangle(x, y, width, _BOX, facecolor=face, edgecolor=edge, lw=1.8 if _is_new(stage) else 1.0)
        self.write(x + 0.1, y, stage.name, weight="bold")
        self.write(x + width - 0.1, y, words, ha="right", size=8.5)

    def ghost(self, x, y, width, words):
        """The place of a layer that is not there."""
        self._rectangle(x, y, width, _BOX, facecolor="white", edgecolor="0.6", ls=(0, (4, 3)))
        self.write(x + width / 2, y, words, ha="center", color="0.45", style="italic", size=9)

    def arrows(self, x, rows, through=()):
        """From each row to the next of them; past the rows ``through``, beside their boxes."""
        for above, below in itertools.pairwise(rows):
            passes = [row for row in through if self.y[below] < self.y[row] < self.y[above]]
            start, end = self.y[above] - _BOX / 2, self.y[below] + _BOX / 2
            if passes:
                # Drawn under the outlines, which are filled.
                self.axes.plot([x, x], [start, end], color="0.6", lw=1, ls=(0, (1, 2)), zorder=0)
            self.axes.annotate(
                "", (x, end), (x, end + _STEP - _BOX if passes else start),
                arrowprops={"arrowstyle": "-|>", "color": "0.3", "lw": 1, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip

    def _rectangle(self, x, y, width, height, **style):
        from matplotlib.patches import FancyBboxPatch

        style = {"lw": 1.0, **style}
        self.axes.add_patch(
            FancyBboxPatch((x, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.05", **style)
        )


def _row(stage):
    """The row a layer belongs in: a new one in that of the layer whose place it takes."""
    return stage.name.removesuffix("_twitter")


def _is_new(stage):
    return stage.name.endswith("_twitter")


def _shape(shape):
    return "×".join(map(str, shape))


def _rate(rate):
    return f"×{rate:g}"
