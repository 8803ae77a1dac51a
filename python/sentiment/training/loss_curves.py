"""Training losses read from Caffe's logs: curves, how fast and how smoothly they fall (Figure 6).

Both generations of log lines are read: ``Iteration 20, loss = 0.6`` of 2015 and ``Iteration 20 (1.5 iter/s, 13s/20
iters), loss = 0.6`` of later versions, whatever precedes them in the line.
"""

import math
import os
import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sentiment.utils.errors import UserError

GUESSING = math.log(2)
"""The loss of a classifier that gives both classes the same probability."""
PART_OF_WAY = 0.9  # of the way from GUESSING to the final loss, where a training counts as converged
LAST_BYTES = 1 << 14  # of a log, in which there is an iteration if there is one at all
LAST_PART = 0.1  # of the iterations, whose mean is the final loss

_LOSS = re.compile(r"\bIteration (\d+)(?: \([^)]*\))?, loss = (\S+)")
_TESTING = re.compile(r"\bIteration (\d+), Testing net")
_TEST_OUTPUT = re.compile(r"\bTest net output #\d+: (\S+) = (\S+)")


@dataclass(frozen=True)
class Curve:
    """The losses of one training."""

    iterations: np.ndarray  # (n,) int, ascending
    losses: np.ndarray  # (n,) float64, of the training batches; NaN and infinity as in the log
    tests: dict = field(default_factory=dict)  # output of the test net, as ``accuracy`` -> its iterations and values

    @cached_property
    def smoothed(self):
        """(n,) ndarray: the centred moving average over a twentieth of all points, at least five and an odd number.

        At both ends it is over the points there are.
        """
        half = (max(5, len(self.losses) // 20) | 1) // 2
        return np.array([self.losses[max(0, n - half) : n + half + 1].mean() for n in range(len(self.losses))])

    @property
    def final(self):
        """The mean loss of the last tenth."""
        return float(self.losses[-math.ceil(LAST_PART * len(self.losses)) :].mean())

    @property
    def noise(self):
        """The mean distance of a loss from the smoothed curve."""
        return float(np.abs(self.losses - self.smoothed).mean())

    @property
    def converges(self):
        """Whether the final loss is below that of guessing by more than the noise; never where it is NaN."""
        return bool(self.final < GUESSING - self.noise)

    @property
    def converged_at(self):
        """The first iteration at which the smoothed loss has come nine tenths of its way down, or None.

        The way is from what guessing gives (ln 2) to the final loss, so that every training has the same start,
        whatever its first steps do. None where the training does not converge.
        """
        if not self.converges:
            return None
        low = self.smoothed <= GUESSING - PART_OF_WAY * (GUESSING - self.final)
        return int(self.iterations[np.argmax(low)]) if low.any() else None


def read(path) -> Curve:
    """Read a Caffe log.

    The log of a training that was resumed has some iterations twice; the later ones count.

    Raises
    ------
    UserError
        No such file, or no training loss in it.
    """
    found, tests, last, tested = {}, {}, -1, None
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            for line in log:
                if match := _LOSS.search(line):
                    iteration = int(match[1])
                    if iteration <= last:
                        found = {number: loss for number, loss in found.items() if number < iteration}
                    found[iteration] = _number(match[2])
                    last = iteration
                elif match := _TESTING.search(line):
                    tested = int(match[1])
                elif tested is not None and (match := _TEST_OUTPUT.search(line)):
                    tests.setdefault(match[1], {})[tested] = _number(match[2])
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    found = {iteration: loss for iteration, loss in found.items() if loss is not None}
    if not found:
        raise UserError(f"{path} has no training loss: it is not a log of a Caffe training, or of one without display")
    return Curve(
        np.array(list(found)),
        np.array(list(found.values())),
        {name: (sorted(values), [values[n] for n in sorted(values)]) for name, values in tests.items()},
    )


def latest(path):
    """The last iteration in a Caffe log and its loss, from the last lines of the log; None where there is none yet."""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = log.read().decode(errors="replace").splitlines(keepends=True)
    except OSError:
        return None
    found = [match for line in lines if line.endswith("\n") and (match := _LOSS.search(line))]
    loss = _number(found[-1][2]) if found else None
    return None if loss is None else (int(found[-1][1]), loss)


def _number(text):
    """A C++ float (``nan``, ``-nan`` and ``inf`` too), or None where the line was cut off within it."""
    try:
        return float(text)
    except ValueError:
        return None
