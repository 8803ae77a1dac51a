"""Where trainings depart from those a table is expected to be of, so that its reader is told.

Usual are the paper's schedule for so many images, and this project's answers to what the paper leaves open
(docs/protocol.md); of SqueezeNet, which is not the paper's, this project's schedule.
"""

from dataclasses import asdict

from sentiment import engine, paper
from sentiment.names import SUBSET_TITLES, plain, source
from sentiment.networks import architectures
from sentiment.training import solvers

_OWN_MEANS = ("places",)  # initialisations that bring another mean than ImageNet's


def of(row) -> dict:
    """What a result's training departs in: name of the schedule's value or choice -> its value.

    Parameters
    ----------
    row : dict
        A result.json. What it does not record counts as usual.
    """
    train_images = row.get("train_images", (len(paper.FOLDS) - 1) * row["test_images"])
    usual = {**asdict(solvers.schedule(row["arch"], train_images)), **asdict(architectures.Choices())}
    usual["precision"] = engine.PRECISIONS[0]
    values = {**row["choices"], "iterations": row["iterations"]}
    found = {name: values[name] for name, expected in usual.items() if name in values and values[name] != expected}
    tested = row["evaluation"].get("precision", usual["precision"])
    if tested != values.get("precision", usual["precision"]):
        found["precision of testing"] = tested
    means = values.get("mean", paper.IMAGENET_MEANS_BGR)
    if (
        source(row) not in _OWN_MEANS
        and max(abs(a - b) for a, b in zip(means, paper.IMAGENET_MEANS_BGR, strict=True)) > 1
    ):
        found["mean"] = means
    if values.get("channels_divisor", 1) != 1 and not row["demo"]:  # of which every title says so
        found["channels_divisor"] = values["channels_divisor"]
    return found


def about(study, nets=None) -> list[str]:
    """What a table is of, as its first notes: data set, runs, the data set's own note, trainings that depart, and what
    they were computed with where that is not the same.

    Parameters
    ----------
    study : study.Study
    nets : iterable of study.Net, optional
        Those in the table; all by default.
    """
    first = f"Data set: {study.dataset}, runs in {study.root}."
    rows = [(net.title, row) for net in (study.nets if nets is None else nets) for row in net.rows]
    return [f"{first} {study.note}".strip(), *note(rows), *computed_with(rows)]


def note(rows) -> list[str]:
    """A table's note on the trainings that depart; none where none does.

    Parameters
    ----------
    rows : sequence of (str, dict)
        The nets' titles, and a result.json each.
    """
    said = [", ".join(f"{name} {plain(value)}" for name, value in of(row).items()) for _, row in rows]
    parts = [f"{whose}: {what}" for what, whose in _whose(rows, said).items() if what]
    return [f"Not trained as usual: {'; '.join(parts)}."] if parts else []


def computed_with(rows) -> list[str]:
    """A table's notes on engines, devices and versions of torch, each where there is more than one.

    Parameters
    ----------
    rows : sequence of (str, dict)
        The nets' titles, and a result.json each.
    """
    notes = []
    for way in WAYS:
        for title in MIXED:
            said = [said_of(row, way, FACTS[title]) for _, row in rows]
            if len(set(said)) > 1 or any(_THEN in one for one in said):
                parts = [f"{what} ({whose})" for what, whose in _whose(rows, said).items()]
                notes.append(f"{way.capitalize()} with more than one {title}: {'; '.join(parts)}.")
    return notes


WAYS = {"trained": "training", "tested": "evaluation"}
"""What was done -> the key of result.json that says what it was computed with."""

_UNKNOWN = "not recorded"  # by the first version
_THEN = ", then "  # where a training resumed


def _engine(environment):
    commit, _, dirty = environment.get("commit", "").partition("-")
    return f"{environment['engine']} {commit[:12]}{'-dirty' * bool(dirty)}".strip()


FACTS = {  # title -> how an environment says it
    "engine": _engine,
    "device": lambda one: one.get("device", _UNKNOWN) + (f", CUDA {one['cuda']}" if one.get("cuda") else ""),
    "threads": lambda one: plain(one.get("threads")),
    "precision": lambda one: one["precision"],
    "torch": lambda one: one["versions"].get("torch", "none"),
    "versions": lambda one: ", ".join(f"{name} {of}" for name, of in one["versions"].items()),
}
MIXED = ("engine", "device", "torch")
"""What a table's nets should have in common; other precisions are other choices, which `of` tells."""


def said_of(row, way, fact) -> str:
    """One of `FACTS` of a result, trained or tested; of a training in several environments all, in their order."""
    found = row[WAYS[way]]
    environments = [found] if isinstance(found, dict) else found
    return _THEN.join(dict.fromkeys(map(fact, environments))) or _UNKNOWN


def _whose(rows, said) -> dict[str, str]:
    """What is said of each row -> whose rows those are: nets with the folds, or ``all nets``."""
    folds, whose = {}, {}
    for (title, row), what in zip(rows, said, strict=True):
        net = title, row["subset"]
        folds.setdefault(net, set()).add(row["fold"])
        whose.setdefault(what, {}).setdefault(net, set()).add(row["fold"])
    named = {}
    for what, concerned in whose.items():
        names = [
            f"{title} {SUBSET_TITLES[subset]}"
            + ("" if of_net == folds[title, subset] else f" fold {' '.join(map(str, sorted(of_net)))}")
            for (title, subset), of_net in concerned.items()
        ]
        named[what] = "all nets" if concerned == folds else ", ".join(names)
    return named
