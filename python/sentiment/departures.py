"""Where trainings depart from those a table is expected to be of, so that its reader is told.

Usual are the paper's schedule for so many images, and this project's answers to what the paper leaves open
(docs/protocol.md); of SqueezeNet, which is not the paper's, this project's schedule.
"""

from dataclasses import asdict

from sentiment import nets, paper, solvers
from sentiment.tables import SUBSET_TITLES, plain

_NEAR = {"iterations": 15, "stepsize": 1}  # as far as a list without twins moves them
_LONG = 60  # iterations from which on it does
_OWN_MEANS = ("places",)  # initialisations that bring another mean than ImageNet's


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
    near = _NEAR if usual["iterations"] >= _LONG else {}
    found = {
        name: values[name]
        for name, expected in usual.items()
        if name in values and abs(values[name] - expected) > near.get(name, 0)
    }
    means = values.get("mean", paper.IMAGENET_MEANS_BGR)
    if (
        row["init"] not in _OWN_MEANS
        and max(abs(a - b) for a, b in zip(means, paper.IMAGENET_MEANS_BGR, strict=True)) > 1
    ):
        found["mean"] = means
    if values.get("channels_divisor", 1) != 1 and not row["demo"]:  # of which every title says so
        found["channels_divisor"] = values["channels_divisor"]
    return found


def about(study, nets=None) -> list[str]:
    """What a table is of, as its first notes: data set, runs, the data set's own note, and trainings that depart.

    Parameters
    ----------
    study : study.Study
    nets : iterable of study.Net, optional
        Those in the table; all by default.
    """
    first = f"Data set: {study.dataset}, runs in {study.root}."
    rows = [(net.title, row) for net in (study.nets if nets is None else nets) for row in net.rows]
    return [f"{first} {study.note}".strip(), *note(rows)]


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
