"""Names as readers see them: subsets, networks, and values of a record."""

from sentiment import paper

SUBSET_TITLES = {"five_agrees": "five-agree", "four_agrees": "four-agree", "three_agrees": "three-agree"}


def net_title(arch, init) -> str:
    """What a row is called: ``CaffeNet``, ``CaffeNet fc6-2``, ``squeezenet from squeezenet_v1.0``."""
    if init not in paper.INITIALISATIONS:
        return f"{arch} from {init}"
    return paper.INITIALISATIONS[init] + ("" if arch == "finetune" else f" {arch}")


def source(record) -> str:
    """Which source a run.json, result.json or layers.json is of: a card's name only where the content is that card's.

    Another network that is called like one of the paper's, or like its title in tables, is told from it. Records of the
    first version do not tell, and are taken by their name.
    """
    name = record.get("card") or record["init"]
    own = record.get("card") == "" or name not in paper.INITIALISATIONS
    return f"{name} (another network than the card's)" if own and name.casefold() in _OF_PAPER else name


_OF_PAPER = {name.casefold() for pair in paper.INITIALISATIONS.items() for name in pair}


def plain(value):
    """A JSON value as a reader wants it, in a sentence or a cell."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not recorded"}[value]
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) or "none"
