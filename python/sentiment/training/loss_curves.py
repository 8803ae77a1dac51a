"""Loss curves: training losses read from Caffe's logs, and how fast and how smoothly they fall (Figure 6).

Two forms of log lines are read, ``Iteration 20, loss = 0.6`` of Caffe in 2015 and ``Iteration 20 (1.5 iter/s, 13s/20
iters), loss = 0.6`` of later versions, with anything before them in the line.
"""

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text

GUESSING = math.log(2)
"""The loss of a classifier that gives both classes the same probability."""
PART_OF_WAY = 0.9  # part of the way from GUESSING to the final loss after which a training counts as converged
LAST_PART = 0.1  # part of the iterations, at the end, whose mean loss is the final loss

_NUMBER = r"(-?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf))(?!\S)"  # a C++ float that is not cut off
_LOSS = re.compile(rf"\bIteration (\d+)(?: \([^)\n]*\))?, loss = {_NUMBER}")
_TESTING = re.compile(r"\bIteration (\d+), Testing net")
_TEST_OUTPUT = re.compile(rf"\bTest net output #\d+: (\S+) = {_NUMBER}")


@dataclass(frozen=True)
class Curve:
    """The losses of one training."""

    iterations: np.ndarray  # (n,) int, ascending
    losses: np.ndarray  # (n,) float64, of the training batches; NaN and infinity as in the log
    tests: dict = field(default_factory=dict)  # output of the test net, as ``accuracy`` -> its iterations and values

    @cached_property
    def smoothed(self) -> np.ndarray:
        """The centred moving average, (n,), over a twentieth of all points, but an odd number and at least five.

        Near both ends the average is over fewer points.
        """
        half = (max(5, len(self.losses) // 20) | 1) // 2
        return np.array([self.losses[max(0, n - half) : n + half + 1].mean() for n in range(len(self.losses))])

    @property
    def final(self) -> float:
        """The mean loss of the last tenth of the iterations."""
        return float(self.losses[-math.ceil(LAST_PART * len(self.losses)) :].mean())

    @property
    def noise(self) -> float:
        """The mean distance of a loss from the smoothed curve."""
        return float(np.abs(self.losses - self.smoothed).mean())

    @property
    def converges(self) -> bool:
        """Whether the final loss is below that of guessing by more than the noise; False if it is NaN."""
        return bool(self.final < GUESSING - self.noise)

    @property
    def converged_at(self) -> int | None:
        """The first iteration at which the smoothed loss has come nine tenths of its way down.

        The way is from the loss of guessing (ln 2) to the final loss, so that it starts at the same loss for every
        training. None if the training does not converge.
        """
        if not self.converges:
            return None
        low = self.smoothed <= GUESSING - PART_OF_WAY * (GUESSING - self.final)
        return int(self.iterations[np.argmax(low)]) if low.any() else None


def read(path: Path) -> Curve:
    """Read a Caffe log; a `UserError` if it is missing or has no training loss.

    The log of a training that was resumed has some iterations twice; the later ones count.
    """
    found: dict[int, float] = {}
    tests: dict[str, dict[int, float]] = {}
    last, tested = -1, None
    for line in read_text(path, errors="replace").split("\n"):
        if match := _LOSS.search(line):
            iteration = int(match[1])
            if iteration <= last:
                found = {number: loss for number, loss in found.items() if number < iteration}
            found[iteration] = float(match[2])
            last = iteration
        elif match := _TESTING.search(line):
            tested = int(match[1])
        elif tested is not None and (match := _TEST_OUTPUT.search(line)):
            tests.setdefault(match[1], {})[tested] = float(match[2])
    if not found:
        raise UserError(f"{path} has no training loss: it is not the log of a Caffe training, or display is not set")
    return Curve(
        np.array(list(found)),
        np.array(list(found.values())),
        {name: (sorted(values), [values[n] for n in sorted(values)]) for name, values in tests.items()},
    )
