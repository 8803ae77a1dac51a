"""Where trainings depart from those a table is expected to be of, so that its reader is told.

Usual are the paper's schedule for so many images, and this project's answers to what the paper leaves open
(docs/protocol.md); of SqueezeNet, which is not the paper's, this project's schedule.
"""

from dataclasses import asdict

from sentiment import nets, paper, solvers
from sentiment.tables import SUBSET_TITLES, plain

_NEAR = {"iterations": 15, "stepsize": 1}  # as far as a list without twins moves them


def of(row) -> dict:
    """What a result's training departs in: name of the schedule's value or choice -> its value.

    Parameters
    ----------
    row : dict
        A result.json. What it does not record counts as usual.
    """
    train_images = (len(paper.FOLDS) - 1) * row["test_images"]
    usual = {**asdict(solvers.schedule(row["arch"], train_images)), **asdict(nets.Choices())}
    values = {**row["choices"], "iterations": row["iterations"]}
    return {
        name: values[name]
        for name, expected in usual.items()
        if name in values and abs(values[name] - expected) > _NEAR.get(name, 0)
    }


def note(rows) -> list[str]:
    """A table's note on the trainings that depart; none where none does.

    Parameters
    ----------
    rows : sequence of (str, dict)
        The nets' titles, and a result.json each.
    """
    folds, whose = {}, {}
    for title, row in rows:
        net = title, row["subset"]
        folds.setdefault(net, set()).add(row["fold"])
        if departures := of(row):
            said = ", ".join(f"{name} {plain(value)}" for name, value in departures.items())
            whose.setdefault(said, {}).setdefault(net, set()).add(row["fold"])
    parts = []
    for said, concerned in whose.items():
        names = [
            f"{title} {SUBSET_TITLES[subset]}"
            + ("" if of_net == folds[title, subset] else f" fold {' '.join(map(str, sorted(of_net)))}")
            for (title, subset), of_net in concerned.items()
        ]
        parts.append(f"{'all nets' if concerned == folds else ', '.join(names)}: {said}")
    return [f"Not trained as usual: {'; '.join(parts)}."] if parts else []
