"""The paper's tables, filled from result.json rows and set beside the paper's own numbers.

A table is a function of rows, as `results.collect` gives them for one data set, that returns a `Table`; ``TABLES``
names them. How a table is written (Markdown here) is no table's concern.
"""

from dataclasses import dataclass

from sentiment import paper, results

SUBSET_TITLES = {"five_agrees": "five-agree", "four_agrees": "four-agree", "three_agrees": "three-agree"}
WAY_TITLES = {"center": "", "oversampled": " with oversampling"}
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Attributes
    ----------
    file : str
        Its file's name without suffix.
    title : str
    notes : list of str
        What a reader has to know before the numbers.
    header, rows : list of str, list of list of str
        The first column names the row.
    """

    file: str
    title: str
    notes: list
    header: list
    rows: list

    def markdown(self):
        """The table as Markdown, columns aligned."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        cells = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        rule = "-|-".join("-" * width for width in widths)
        notes = "\n\n".join([f"**{self.title}**", *self.notes])
        return "\n".join([notes, "", f"| {cells[0]} |", f"|-{rule}-|", *(f"| {cell} |" for cell in cells[1:])]) + "\n"


def table2(rows, sample=False):
    """Table 2: accuracy on the three subsets, the paper's lines and those of this project's nets.

    The nets are CaffeNets fine-tuned from ``caffenet`` where there are such runs, else whatever was trained.
    """
    caffenets = [row for row in rows if (row["arch"], row["init"]) == ("finetune", "caffenet")]
    lines = [
        ["PCNN (from the paper, not run)", *(results.score(*paper.TABLE2["PCNN"][s]["center"]) for s in paper.SUBSETS)]
    ]
    for way, suffix in WAY_TITLES.items():
        published = {subset: paper.TABLE2["CaffeNet"][subset][way] for subset in paper.SUBSETS}
        lines.append([f"CaffeNet{suffix}, paper", *(results.score(*published[subset]) for subset in paper.SUBSETS)])
        for (arch, init), group in _nets(caffenets or rows).items():
            found = {subset: _scores(group, subset, way) for subset in paper.SUBSETS}
            lines.append([f"{net_title(arch, init)}{suffix}, here", *(_cell(found[s], sample) for s in paper.SUBSETS)])
            lines.append(["difference", *(_difference(found[s], published[s], sample) for s in paper.SUBSETS)])
    header = ["", *(SUBSET_TITLES[s] for s in paper.SUBSETS)]
    return Table("table2", _title("Table 2", rows), _notes(rows, sample), header, lines)


def all_runs(rows, sample=False):
    """A row per net and subset, with the paper's numbers where it has any."""
    header = ["", "subset", "centre crop", "paper", "difference", "ten crops", "paper", "difference"]
    lines = []
    for (arch, init), group in _nets(rows).items():
        for subset in dict.fromkeys(row["subset"] for row in group):
            line = [net_title(arch, init), SUBSET_TITLES[subset]]
            for way in results.WAYS:
                found, published = _scores(group, subset, way), published_scores(arch, init, subset).get(way)
                line += [
                    _cell(found, sample),
                    results.score(*published) if published else NOTHING,
                    _difference(found, published, sample),
                ]
            lines.append(line)
    return Table("runs", _title("All runs", rows), _notes(rows, sample), header, lines)


TABLES = {"2": table2, "runs": all_runs}


def net_title(arch, init):
    """What a row is called: ``CaffeNet``, ``CaffeNet fc6-2``, ``squeezenet from squeezenet_v1.0``."""
    if init not in paper.INITIALISATIONS or arch == "squeezenet":
        return f"{arch} from {init}"
    return paper.INITIALISATIONS[init] + ("" if arch == "finetune" else f" {arch}")


def published_scores(arch, init, subset):
    """The paper's (mean, std) by way of testing, empty where it has none."""
    if (arch, init) == ("finetune", "caffenet"):
        return paper.TABLE2["CaffeNet"][subset]
    if subset == "five_agrees" and arch == "finetune":
        return paper.TABLE5.get(init, {})
    if subset == "five_agrees" and init == "caffenet" and arch in paper.TABLE4:
        return paper.TABLE4[arch]
    if subset == "five_agrees" and arch == "fc9":
        return paper.TABLE6.get(init, {})
    return {}


def _nets(rows):
    """Rows by (architecture, initialisation), in the order they come."""
    groups = {}
    for row in rows:
        groups.setdefault((row["arch"], row["init"]), []).append(row)
    return groups


def _scores(rows, subset, way):
    """(fold, accuracy) pairs."""
    return [(row["fold"], row["accuracy"][way]) for row in rows if row["subset"] == subset]


def _cell(scores, sample):
    """Mean ± std, and which folds there are where some are missing."""
    if not scores:
        return NOTHING
    there = sorted({fold for fold, _ in scores})
    missing = "" if there == list(paper.FOLDS) else f" (fold{'s' * (len(there) > 1)} {' '.join(map(str, there))} only)"
    mean, std = results.mean_std([value for _, value in scores], sample)
    return results.score(mean, std if len(scores) > 1 else None) + missing


def _difference(scores, published, sample):
    """Mean here minus mean in the paper."""
    if not scores or not published:
        return NOTHING
    difference = results.mean_std([value for _, value in scores], sample)[0] - published[0]
    return f"{difference:+.3f}".replace("0.", ".", 1)


def _title(name, rows):
    """A table's first line; drawn data are named there."""
    demo = "DEMO DATA (drawn, not comparable with the paper's numbers). " if any(row["demo"] for row in rows) else ""
    return f"{demo}{name}: accuracy, mean ± std over five folds"


def _notes(rows, sample):
    """What the table is of."""
    names = ", ".join(dict.fromkeys(row["dataset"] for row in rows))
    return [f"Data set: {names}. The ± is the {'sample' if sample else 'population'} standard deviation."]
