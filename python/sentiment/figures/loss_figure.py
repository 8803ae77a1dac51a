"""Figure 6: training losses of several nets, raw and smoothed."""

import itertools
import math

import numpy as np

from sentiment.figures import plots
from sentiment.training.loss_curves import GUESSING, Curve

_WIDTH = 10.0  # inches
_HANDLE, _CHARACTER = 0.7, 0.085  # widths in the legend, inches: of a line, of a letter
_TOP, _ROW = 4.2, 1.75  # heights in inches: of the panel of all curves, of a row of panels of one curve
_COLUMNS = 3
_GUESSING = {"color": "0.55", "lw": 0.8, "ls": ":"}
# Okabe and Ito's colours, which colour-blind readers can distinguish, and two more; further curves are dashed.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))


def draw(curves: dict[str, Curve], title: str, notes="", tests=False):
    """A matplotlib figure of curves by name; its first panel has all of them, smoothed.

    If there are several curves, each is also drawn in a panel of its own, raw and smoothed. With ``tests``, the outputs
    of the test net are drawn too: its loss as points, its accuracy in a panel of its own.
    """
    several = len(curves) > 1
    accuracies = tests and any("accuracy" in curve.tests for curve in curves.values())
    rows = math.ceil(len(curves) / _COLUMNS) if several else 0
    heights = [_TOP, *([_TOP * 0.6] if accuracies else []), *[_ROW] * rows]
    figure = plots.new(_WIDTH, sum(heights) + 1.2, layout="constrained")
    grid = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights)
    styles = dict(zip(curves, itertools.cycle(itertools.product(_DASHES, _COLOURS))))
    top = figure.add_subplot(grid[0, :])
    _all_losses(top, curves, styles, tests)
    if accuracies:
        axes = figure.add_subplot(grid[1, :], sharex=top)
        axes.set(xlabel="iteration", ylabel="accuracy in testing")
        for name, (dashes, colour) in styles.items():
            if "accuracy" in curves[name].tests:
                axes.plot(*curves[name].tests["accuracy"], color=colour, ls=dashes, lw=1.2, marker="o", ms=3)
    # The panel ends just above the 99 % quantile of the losses, so single spikes may leave it.
    losses = np.concatenate([curve.losses[np.isfinite(curve.losses)] for curve in curves.values()])
    highest = float(np.quantile(losses, 0.99)) if len(losses) else 1.0
    top.set_ylim(0, 1.15 * max(highest, GUESSING))
    for number, name in enumerate(curves if several else ()):
        axes = figure.add_subplot(grid[len(heights) - rows + number // _COLUMNS, number % _COLUMNS])
        _one_loss(axes, curves, name, styles[name][1])
        axes.set(xlim=top.get_xlim(), ylim=top.get_ylim())
        if number % _COLUMNS == 0:
            axes.set_ylabel("loss", size=9)
        if number >= len(curves) - _COLUMNS:
            axes.set_xlabel("iteration", size=9)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, size=13, weight="bold", x=0.01, ha="left")
    if notes:
        figure.supxlabel(notes, size=9, color="0.25", x=0.01, ha="left", linespacing=1.4)
    return figure


def _all_losses(axes, curves, styles, tests):
    axes.set(xlabel="iteration", ylabel="training loss, smoothed")
    axes.axhline(GUESSING, **_GUESSING)
    axes.annotate(
        "guessing, ln 2", (1, GUESSING), xycoords=("axes fraction", "data"), xytext=(-4, 3),
        textcoords="offset points", ha="right", size=8, color="0.35",
    )  # fmt: skip
    for name, curve in curves.items():
        dashes, colour = styles[name]
        axes.plot(curve.iterations, curve.smoothed, color=colour, ls=dashes, lw=1.8, label=name)
        if tests and "loss" in curve.tests:
            axes.plot(*curve.tests["loss"], "o", color=colour, ms=4, mfc="white", label=f"{name}, test")
    axes.margins(x=0.01)
    # Above the panel, where no curve can run through it.
    longest = max(map(len, axes.get_legend_handles_labels()[1]), default=1)
    columns = max(1, min(5, int(_WIDTH / (_HANDLE + _CHARACTER * longest))))
    axes.legend(fontsize=9, ncols=columns, frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1.0))


def _one_loss(axes, curves, name, colour):
    """One curve, raw and smoothed, over the others in grey, with a line at the iteration at which it converged."""
    for other in curves.values():
        axes.plot(other.iterations, other.smoothed, color="0.87", lw=0.8)
    axes.axhline(GUESSING, **_GUESSING)
    curve = curves[name]
    axes.plot(curve.iterations, curve.losses, color=colour, lw=0.6, alpha=0.45)
    axes.plot(curve.iterations, curve.smoothed, color=colour, lw=1.6)
    text = "does not converge"
    if curve.converged_at is not None:
        text = f"converged at {curve.converged_at}"
        axes.axvline(curve.converged_at, ymax=0.82, color=colour, lw=0.8, ls="--")  # the text is above its end
    axes.set_title(name, size=9, loc="left", weight="bold")
    axes.text(0.98, 0.95, text, transform=axes.transAxes, size=8.5, ha="right", va="top", color="0.25")
    axes.tick_params(labelsize=8)
