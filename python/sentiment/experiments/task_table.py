"""Many trainings at once, for people: a table that is drawn anew on a terminal, a line a change elsewhere."""

import os
import sys
from dataclasses import dataclass

RUNNING, WAITING, FAILED, DONE = "running", "waiting", "failed", "done"


@dataclass
class Row:
    """One training: where it is in its life, and a few words on that."""

    title: str
    state: str = WAITING
    about: str = ""
    progress: str = ""


class TaskTable:
    """States of trainings, shown as they change.

    Parameters
    ----------
    titles : list of str
    stream : text stream, optional
        Standard output by default.
    """

    def __init__(self, titles, stream=None):
        self.rows = [Row(title) for title in titles]
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self._drawn = 0

    def of(self, state):
        """The rows in a state, in the order of the trainings."""
        return [row for row in self.rows if row.state == state]

    def change(self, number, state, about=""):
        """Note a state and what is to say about it (``on node3``); the same again changes nothing."""
        row = self.rows[number]
        if (row.state, row.about) == (state, about):
            return
        row.state, row.about = state, about
        if not self.live:
            counts = f" ({self.counts()})" if state in (DONE, FAILED) else ""
            more = f"{':' if state == FAILED else ''} {about}" if about else ""
            print(f"{row.title}: {state}{more}{counts}", file=self.stream, flush=True)

    def counts(self):
        """How many are in each state: ``3 running, 12 waiting, 1 done, 0 failed``."""
        return ", ".join(f"{len(self.of(state))} {state}" for state in (RUNNING, WAITING, DONE, FAILED))

    def draw(self, last=False):
        """Draw the table over the one before, where there is a terminal; ``last``: in full, to stay there."""
        if not self.live:
            return
        size = os.get_terminal_size(self.stream.fileno())
        lines = self.lines(*((10**4, 10**6) if last else (size.columns or 80, (size.lines or 24) - 1)))
        back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        print(back + "\n".join(lines), file=self.stream, flush=True)
        self._drawn = len(lines)

    def lines(self, columns, most):
        """The counts, then a line for each that runs, failed or waits, as far as they fit."""
        shown = [row for state in (RUNNING, FAILED, WAITING) for row in self.of(state)]
        fit = len(shown) if len(shown) < most else max(0, most - 2)
        lines = [self.counts()]
        for row in shown[:fit]:
            words = ", ".join(filter(None, (row.progress if row.state == RUNNING else "", row.about)))
            lines.append(f"  {row.state:<8} {row.title}{': ' if words else ''}{words}")
        if fit < len(shown):
            lines.append(f"  and {len(shown) - fit} more")
        return [line if len(line) <= columns else f"{line[: columns - 1]}…" for line in lines]
