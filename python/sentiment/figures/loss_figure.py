"""Figure 6: training losses of several nets, raw and smoothed."""

import math

import numpy as np

from sentiment.figures import plots
from sentiment.training.loss_curves import GUESSING

_WIDTH = 10.0  # inches
_HANDLE, _CHARACTER = 0.7, 0.085  # inches of a legend's entry: its line, and each letter
_TOP, _ROW = 4.2, 1.75  # inches: the panel of all curves, a row of single ones
_COLUMNS = 3
# Okabe and Ito's colours, which colour-blind readers tell apart, and two more; dashes tell the rest.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))


def draw(curves, title, notes="", tests=False):
    """Draw the curves: all smoothed ones in one panel, then each alone, raw and smoothed, where there are several.

    Parameters
    ----------
    curves : dict of str to loss_curves.Curve
        By name, in the legend's order.
    title, notes : str
    tests : bool
        The test net's outputs too: its loss as points, its accuracy in a panel of its own.

    Returns
    -------
    matplotlib.figure.Figure
        For `plots.png`. The first axes are those of all curves.
    """
    single = len(curves) > 1
    accuracies = tests and any("accuracy" in curve.tests for curve in curves.values())
    rows = math.ceil(len(curves) / _COLUMNS) if single else 0
    heights = [_TOP, *([_TOP * 0.6] if accuracies else []), *[_ROW] * rows]
    figure = plots.blank(_WIDTH, sum(heights) + 1.2, layout="constrained")
    grid = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights)
    styles = {name: _style(number) for number, name in enumerate(curves)}
    top = figure.add_subplot(grid[0, :])
    _all_losses(top, curves, styles, tests)
    if accuracies:
        _all_accuracies(figure.add_subplot(grid[1, :], sharex=top), curves, styles)
    limits = _limits(curves)
    top.set_ylim(limits)
    for number, (name, curve) in enumerate(curves.items() if single else ()):
        place = grid[len(heights) - rows + number // _COLUMNS, number % _COLUMNS]
        axes = figure.add_subplot(place)
        _one_loss(axes, curves, name, curve, styles[name][0])
        axes.set(xlim=top.get_xlim(), ylim=limits)
        if number % _COLUMNS == 0:
            axes.set_ylabel("loss", size=9)
        if number >= len(curves) - _COLUMNS:
            axes.set_xlabel("iteration", size=9)
    figure.suptitle(title, size=13, weight="bold", x=0.01, ha="left")
    if notes:
        figure.supxlabel(notes, size=9, color="0.25", x=0.01, ha="left", linespacing=1.4)
    return figure


def _style(number):
    return _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]


def _limits(curves):
    """From zero to just above what nearly all losses reach; single spikes may leave the panel."""
    losses = np.concatenate([curve.losses[np.isfinite(curve.losses)] for curve in curves.values()])
    highest = float(np.quantile(losses, 0.99)) if len(losses) else 1.0
    return 0, 1.15 * max(highest, GUESSING)


def _guessing(axes, text=True):
    axes.axhline(GUESSING, color="0.55", lw=0.8, ls=":")
    if text:
        axes.annotate(
            "guessing, ln 2", (1, GUESSING), xycoords=("axes fraction", "data"), xytext=(-4, 3),
            textcoords="offset points", ha="right", size=8, color="0.35",
        )  # fmt: skip


def _all_losses(axes, curves, styles, tests):
    _guessing(axes)
    for name, curve in curves.items():
        colour, dashes = styles[name]
        axes.plot(curve.iterations, curve.smoothed, color=colour, ls=dashes, lw=1.8, label=name)
        if tests and "loss" in curve.tests:
            axes.plot(*curve.tests["loss"], "o", color=colour, ms=4, mfc="white", label=f"{name}, test")
    axes.set_xlabel("iteration")
    axes.set_ylabel("training loss, smoothed")
    axes.margins(x=0.01)
    # Above the panel, where no curve can run through it.
    longest = max(map(len, axes.get_legend_handles_labels()[1]), default=1)
    columns = max(1, min(5, int(_WIDTH / (_HANDLE + _CHARACTER * longest))))
    axes.legend(fontsize=9, ncols=columns, frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1.0))
    axes.spines[["top", "right"]].set_visible(False)


def _all_accuracies(axes, curves, styles):
    for name, curve in curves.items():
        if "accuracy" in curve.tests:
            colour, dashes = styles[name]
            axes.plot(*curve.tests["accuracy"], color=colour, ls=dashes, lw=1.2, marker="o", ms=3)
    axes.set_xlabel("iteration")
    axes.set_ylabel("accuracy in testing")
    axes.spines[["top", "right"]].set_visible(False)


def _one_loss(axes, curves, name, curve, colour):
    """One curve, raw and smoothed, over the others in grey; a mark where it converged."""
    for other in curves.values():
        axes.plot(other.iterations, other.smoothed, color="0.87", lw=0.8)
    _guessing(axes, text=False)
    axes.plot(curve.iterations, curve.losses, color=colour, lw=0.6, alpha=0.45)
    axes.plot(curve.iterations, curve.smoothed, color=colour, lw=1.6)
    converged = curve.converged_at
    if converged is None:
        words = "does not converge"
    else:
        axes.axvline(converged, ymax=0.82, color=colour, lw=0.8, ls="--")  # the words stand above its end
        words = f"converged at {converged}"
    axes.set_title(name, size=9, loc="left", weight="bold")
    axes.text(0.98, 0.95, words, transform=axes.transAxes, size=8.5, ha="right", va="top", color="0.25")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
