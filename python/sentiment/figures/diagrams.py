"""Figures 2, 4 and 5: the networks as their definitions describe them, a row for each layer from input to output."""

import itertools
from pathlib import Path

from sentiment.figures import plots
from sentiment.networks import layout
from sentiment.networks.layout import PROTOTXT

# Inches.
_STEP, _BOX = 0.42, 0.3  # from one row to the next; height of a box
_HEAD, _FOOT = 1.15, 0.6  # top and bottom margins
_LEFT, _COLUMN = 0.35, 3.25  # left margin; from one net to the next

_NEW = "new"
_LOOK = {  # type of layer -> face colour, edge colour, text in the key of colours (empty: not in the key)
    "Input": ("#ffffff", "#555555", ""),
    "Convolution": ("#d3e5f7", "#1f5f99", "convolution"),
    "InnerProduct": ("#fbe3c4", "#9a5b00", "fully connected"),
    "Pooling": ("#ededed", "#777777", "pooling, normalisation"),
    "LRN": ("#ededed", "#777777", ""),
    "Softmax": ("#ffffff", "#555555", ""),
    _NEW: ("#cdebd3", "#146c2e", "new layer"),
}
_COLUMNS = {  # of Figure 2: x in inches of the left or right end of the text
    "layer": (0.45, "left"),
    "operation": (2.25, "left"),
    "blob": (5.0, "left"),
    "parameters": (7.35, "right"),
    "rate": (8.75, "right"),
}


def figure2(prototxt: Path = PROTOTXT):
    """The fine-tuned CaffeNet with operations, blob sizes, parameters and rates."""
    stages = layout.read(prototxt / "finetune")
    subtitle = "Every layer but the last starts from the weights of the source network."
    page = _Page(9.2, stages, "Fine-tuned CaffeNet", subtitle)

    def write(column, y, text, **style):
        x, side = _COLUMNS[column]
        page.write(x, y, text, ha=side, **style)

    for column in _COLUMNS:
        write(column, page.head, column, color="0.35")
    for stage in stages:
        y = page.layer(_LEFT, 1.6, stage)
        write("operation", y, stage.detail)
        write("blob", y, _shape(stage))
        if stage.parameters:
            write("parameters", y, f"{stage.parameters:,}")
            write("rate", y, f"×{stage.rate:g}", weight="bold" if _is_new(stage) else "normal")
    page.arrows(_LEFT + 0.8, [_row(stage) for stage in stages])
    notes = "Blob: channels × height × width of one image. Rate: times the solver's base rate."
    page.write(_LEFT, _FOOT - 0.25, f"{_parameters(stages):,} parameters. {notes}", color="0.25", size=9)
    return page.figure


def figure4(prototxt: Path = PROTOTXT):
    """The fine-tuned net beside the two with layers removed."""
    folders = {"CaffeNet": "finetune", "fc7-2": "fc7-2", "fc6-2": "fc6-2"}
    nets = {title: layout.read(prototxt / folder) for title, folder in folders.items()}
    return _beside(nets, "Layers removed", "The last remaining layer gets two outputs and is trained from scratch.")


def figure5(prototxt: Path = PROTOTXT):
    """The fine-tuned net beside the two with a layer added; in one of them the other layers are frozen."""
    folders = {"CaffeNet": "finetune", "fc9": "fc9-caffenet", "fc9-frozen": "fc9-frozen-caffenet"}
    nets = {title: layout.read(prototxt / folder) for title, folder in folders.items()}
    classes = next(stage.shape[0] for stage in nets["fc9"] if stage.name == "fc8")
    subtitle = (
        f"fc9 keeps the last layer of the source, here {classes} classes; in fc9-frozen only the new layer is trained."
    )
    return _beside(nets, "A layer added", subtitle)


FIGURES = {"2": figure2, "4": figure4, "5": figure5}


def _beside(nets, title, subtitle):
    """Nets in columns, each layer in the same row of all, with outlines for the layers that only the first net has."""
    page = _Page(_LEFT + _COLUMN * len(nets), max(nets.values(), key=len), title, subtitle)
    first = next(iter(nets.values()))
    for number, (name, stages) in enumerate(nets.items()):
        x = _LEFT + _COLUMN * number
        page.write(x + 0.1, page.head, name, weight="bold", size=11)
        for stage in stages:
            y = page.layer(x, 2.2, stage, _shape(stage))
            if stage.rate == 0 or _is_new(stage):
                page.write(x + 2.27, y, f"rate ×{stage.rate:g}" if stage.rate else "frozen", size=8.5, color="0.25")
        rows = [_row(stage) for stage in stages]
        missing = [_row(stage) for stage in first if _row(stage) not in rows]
        for row in missing:
            page.box(x, page.y[row], 2.2, facecolor="white", edgecolor="0.6", ls=(0, (4, 3)))
            page.write(x + 1.1, page.y[row], f"{row} removed", ha="center", color="0.45", style="italic", size=9)
        page.arrows(x + 1.1, rows, missing)
        total = f"{_parameters(stages):,} parameters"
        if fewer := _parameters(first) - _parameters(stages):
            total += f"\n{abs(fewer):,} {'fewer' if fewer > 0 else 'more'}"
        page.write(x, _FOOT - 0.1, total, va="top", linespacing=1.5)
    return page.figure


class _Page:
    """A page in inches with a row for each layer of a net; ``y`` has the centre of each row by its name."""

    def __init__(self, width, stages, title, subtitle):
        height = _HEAD + 0.35 + _STEP * len(stages) + _FOOT
        self.axes = plots.page(width, height)
        self.figure = self.axes.figure
        self.head = height - _HEAD - 0.1
        self.y = {_row(stage): self.head - 0.35 - _STEP * number for number, stage in enumerate(stages)}
        self.write(_LEFT, height - 0.3, title, size=14, weight="bold")
        self.write(_LEFT, height - 0.62, subtitle, color="0.25")
        x, y = _LEFT, height - 0.88
        for face, edge, text in _LOOK.values():
            if text:
                self.box(x, y, 0.16, 0.12, facecolor=face, edgecolor=edge)
                self.write(x + 0.23, y, text, size=8.5, color="0.25")
                x += 0.45 + 0.085 * len(text)

    def write(self, x, y, text, **style):
        self.axes.text(x, y, text, **{"size": 9.5, "va": "center_baseline", **style})

    def layer(self, x, width, stage, text=""):
        """The box of a layer: its name on the left, a text on the right. Returns the row's centre."""
        y = self.y[_row(stage)]
        face, edge, _ = _LOOK[_NEW if _is_new(stage) else stage.type]
        face = "white" if stage.rate == 0 else face
        self.box(x, y, width, facecolor=face, edgecolor=edge, lw=1.8 if _is_new(stage) else 1.0)
        self.write(x + 0.1, y, stage.name, weight="bold")
        self.write(x + width - 0.1, y, text, ha="right", size=8.5)
        return y

    def box(self, x, y, width, height=_BOX, **style):
        from matplotlib.patches import FancyBboxPatch

        shape = "round,pad=0,rounding_size=0.05"
        self.axes.add_patch(FancyBboxPatch((x, y - height / 2), width, height, boxstyle=shape, **{"lw": 1.0, **style}))

    def arrows(self, x, rows, missing=()):
        """An arrow from each row to the next; past missing rows it starts with a dotted line behind their boxes."""
        look = {"arrowstyle": "-|>", "color": "0.3", "lw": 1, "shrinkA": 0, "shrinkB": 0}
        for above, below in itertools.pairwise(rows):
            start, end = self.y[above] - _BOX / 2, self.y[below] + _BOX / 2
            if any(self.y[below] < self.y[row] < self.y[above] for row in missing):
                self.axes.plot([x, x], [start, end], color="0.6", lw=1, ls=(0, (1, 2)), zorder=0)
                start = end + _STEP - _BOX
            self.axes.annotate("", (x, end), (x, start), arrowprops=look)


def _row(stage):
    """The name of a layer's row; a new layer is in the row of the layer that it replaces."""
    return stage.name.removesuffix("_twitter")


def _is_new(stage):
    return stage.name.endswith("_twitter")


def _parameters(stages):
    return sum(stage.parameters for stage in stages)


def _shape(stage):
    return "×".join(map(str, stage.shape))
