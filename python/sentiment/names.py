"""How subsets, networks, sources, scores and recorded values are named and printed."""

from sentiment import paper

SUBSET_TITLES = {"five_agrees": "five-agree", "four_agrees": "four-agree", "three_agrees": "three-agree"}
WAY_TITLES = {"center": "centre crop", "oversampled": "ten crops"}

PROBE = "probe"  # how the names of architectures end whose new layer is fitted

_PAPER_NAMES = {name.casefold() for pair in paper.INITIALISATIONS.items() for name in pair}


def net_title(arch: str, init: str) -> str:
    """The title of a network: ``CaffeNet``, ``CaffeNet fc6-2``, ``squeezenet from squeezenet_v1.0``.

    >>> net_title("probe", "caffenet"), net_title("squeezenet-probe", "squeezenet_v1.0")
    ('linear probe of CaffeNet', 'linear probe of squeezenet_v1.0')
    """
    if arch == PROBE or arch.endswith(f"-{PROBE}"):
        return f"linear probe of {paper.INITIALISATIONS.get(init, init)}"
    if init not in paper.INITIALISATIONS:
        return f"{arch} from {init}"
    return paper.INITIALISATIONS[init] + ("" if arch == "finetune" else f" {arch}")


def source_name(init: str, card: str | None) -> str:
    """The name of a source: a model card's name only if the source is that card's file.

    ``init`` is as a run records it. ``card`` is the model card whose file the source is: empty if it is none's, None if
    an earlier version did not record it, so that the card with the name ``init`` is assumed. A user's network with the
    name or the title of one of the paper's is marked as another network.
    """
    name = card or init
    own = card == "" or name not in paper.INITIALISATIONS
    return f"{name} (another network than the card's)" if own and name.casefold() in _PAPER_NAMES else name


def score(mean: float, std: float | None = None) -> str:
    """A score as the paper prints it.

    >>> score(0.8172, 0.038), score(0.783), score(1)
    ('.817±.038', '.783', '1.000')
    """
    numbers = [mean] if std is None else [mean, std]
    return "±".join(f"{number:.3f}".removeprefix("0") for number in numbers)


def plain(value) -> str:
    """A recorded JSON value as text for a sentence or a cell."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not recorded"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) or "none"
