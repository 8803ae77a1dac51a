"""Names and numbers as readers see them: subsets, networks, sources, scores, values of a record."""

from sentiment import paper

SUBSET_TITLES = {"five_agrees": "five-agree", "four_agrees": "four-agree", "three_agrees": "three-agree"}
WAY_TITLES = {"center": "centre crop", "oversampled": "ten crops"}

_OF_PAPER = {name.casefold() for pair in paper.INITIALISATIONS.items() for name in pair}


def net_title(arch: str, init: str) -> str:
    """What a network is called: ``CaffeNet``, ``CaffeNet fc6-2``, ``squeezenet from squeezenet_v1.0``."""
    if init not in paper.INITIALISATIONS:
        return f"{arch} from {init}"
    return paper.INITIALISATIONS[init] + ("" if arch == "finetune" else f" {arch}")


def source_name(init: str, card: str | None) -> str:
    """The name of a source: a model card's name only where the file is that card's.

    ``init`` is as a run records it; ``card`` is the card whose file it is, empty where it is no card's, None where an
    earlier version did not record it and the name has to do. Another network that is called like one of the paper's, or
    like its title in tables, is marked as another.
    """
    name = card or init
    own = card == "" or name not in paper.INITIALISATIONS
    return f"{name} (another network than the card's)" if own and name.casefold() in _OF_PAPER else name


def score(mean: float, std: float | None = None) -> str:
    """A score as the paper prints it.

    >>> score(0.8172, 0.038), score(0.783), score(1)
    ('.817±.038', '.783', '1.000')
    """
    parts = [mean] if std is None else [mean, std]
    return "±".join(f"{part:.3f}".removeprefix("0") for part in parts)


def plain(value) -> str:
    """A JSON value for a sentence or a cell."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not recorded"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) or "none"
