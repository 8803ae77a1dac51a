"""A table as data, and the forms it is written in: Markdown, CSV, LaTeX, HTML.

A cell is a string, an int or a `Cell`.
"""

import csv
import io
import itertools
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from sentiment.names import score
from sentiment.utils.files import write_if_changed

SUFFIXES = (".md", ".csv", ".tex")
NOTHING = "–"
DEMO = "DEMO DATA (drawn, not comparable with the paper's numbers)"

_LONG = 40  # characters; LaTeX breaks the lines of columns with longer cells
_LINE = 60  # characters; LaTeX sets a wider table in small print, as wide as the page
_SYMBOLS = r"""\ \textbackslash{}  ~ \textasciitilde{}  ^ \textasciicircum{}  | \textbar{}  < $<$  > $>$  & \&  % \%
$ \$  # \#  _ \_  { \{  } \}  ± $\pm$  × $\times$  ≤ $\leq$  ≥ $\geq$  Δ $\Delta$  → $\to$  – --  − $-$
§ \S{}  “ ``  ” ''"""
_LATEX = str.maketrans(dict(pair.split(" ") for pair in re.split(r" {2}|\n", _SYMBOLS)))


class Cell:
    """A cell that is more than text: how it is printed, and its plain values for the CSV."""

    value_names: tuple[str, ...] = ("",)  # what the CSV adds to the column's name for each of `values`

    @property
    def kind(self) -> str:
        """The class of the report's style sheet."""
        return "number"

    def text(self) -> str:
        """As Markdown and HTML print it."""
        raise NotImplementedError

    def latex(self) -> str:
        """As LaTeX prints it."""
        return escaped(self.text())

    def values(self) -> tuple:
        """A value for each of `value_names`, or None."""
        raise NotImplementedError


@dataclass(frozen=True)
class Score(Cell):
    """A mean with its standard deviation."""

    mean: float
    std: float | None = None
    runs: int | None = None  # number of accuracies that the mean is taken over
    note: str = ""  # printed in brackets: ``fold 3 only``

    value_names = ("", "std", "runs")

    def text(self):
        return score(self.mean, self.std) + (f" ({self.note})" if self.note else "")

    def latex(self):
        deviation = "" if self.std is None else f" \\pm {self.std:.3f}"
        return f"${self.mean:.3f}{deviation}$" + (f" ({escaped(self.note)})" if self.note else "")

    def values(self):
        return self.mean, self.std, self.runs


@dataclass(frozen=True)
class Difference(Cell):
    """A mean minus the paper's."""

    value: float
    verdict: str = ""  # "within" or "beyond" the paper's standard deviation, if it gives one

    value_names = ("", "within the paper's std")

    @property
    def kind(self):
        return f"number {self.verdict}".strip()

    def text(self):
        return f"{self._signed.replace('0.', '.', 1)} {self.verdict}".strip()

    def latex(self):
        return f"${self._signed}$ {self.verdict}".strip()

    def values(self):
        return self.value, {"within": 1, "beyond": 0}.get(self.verdict)

    @property
    def _signed(self):
        return f"{round(self.value, 3) + 0.0:+.3f}"  # zero without a minus


@dataclass(frozen=True)
class Interval(Cell):
    """A range of numbers."""

    low: float
    high: float

    value_names = ("low", "high")

    def text(self):
        return f"[{score(self.low)}, {score(self.high)}]"

    def latex(self):
        return f"$[{self.low:.3f}, {self.high:.3f}]$"

    def values(self):
        return self.low, self.high


@dataclass(frozen=True)
class Number(Cell):
    """Another number, printed like a score or as given."""

    value: float
    shown: str = ""  # the text to print; empty: like a score

    def text(self):
        return self.shown or score(self.value)

    def values(self):
        return (self.value,)


@dataclass(frozen=True)
class Table:
    """A table ready to be written."""

    file: str  # name of its files without suffix
    title: str
    notes: list[str]  # paragraphs above the table, in HTML below it
    header: list  # names of the columns; a pair is the name of a group of neighbouring columns and the column's own
    rows: list[list]  # of cells, the first of which names the row
    demo: bool = False  # made from drawn data, which the first line of every form says

    @property
    def full_title(self) -> str:
        """The title, preceded by the notice that the data are drawn."""
        return f"{DEMO}. {self.title}" if self.demo else self.title

    @property
    def columns(self) -> list[str]:
        """The name of each column, after that of its group."""
        return [name if isinstance(name, str) else ", ".join(name) for name in self.header]

    def markdown(self) -> str:
        """Title, notes, and a table whose columns are aligned in the Markdown source too."""
        lines = [[_text(cell).replace("|", "\\|") for cell in line] for line in [self.columns, *self.rows]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        cells = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        rule = "-|-".join("-" * width for width in widths)
        head = ["\n\n".join([f"**{self.full_title}**", *self.notes]), ""]
        return "\n".join([*head, f"| {cells[0]} |", f"|-{rule}-|", *(f"| {cell} |" for cell in cells[1:])]) + "\n"

    def csv(self) -> str:
        """Unrounded numbers, a mean and its deviation in separate columns; the header's first cell names demo data."""
        columns = []
        for name, cells in zip(self.columns, zip(*self.rows, strict=True), strict=True):
            added = max((getattr(cell, "value_names", ("",)) for cell in cells), key=len)
            for value_name, values in zip(added, itertools.zip_longest(*map(_values, cells)), strict=True):
                if value_name == "" or any(value is not None for value in values):
                    columns.append([f"{name} {value_name}".strip(), *values])
        if self.demo:
            columns[0][0] = f"{DEMO.split(' (')[0]}: {columns[0][0]}"
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
        return text.getvalue()

    def latex(self) -> str:
        """A floating table with booktabs' rules, for an ``input`` command."""
        wide = sum(self._widths()) > _LINE
        environment, small = ("table*", r"\footnotesize\setlength{\tabcolsep}{4pt}") if wide else ("table", "")
        # LaTeX numbers tables itself.
        title = re.sub(r"Table \d+: (\w)", lambda match: match[1].upper(), self.full_title)
        rows = [" & ".join(map(_latex, line)) + r" \\" for line in self.rows]
        body = [r"\toprule", *self._latex_head(), r"\midrule", *rows, r"\bottomrule"]
        lines = [
            *([f"% {DEMO}"] if self.demo else []),
            r"% needs \usepackage{booktabs,graphicx}",
            rf"\begin{{{environment}}}",
            rf"  \centering{small}",
            rf"  \caption{{{escaped(title)}}}",
            rf"  \label{{tab:{self.file}}}",
            rf"  \sbox0{{\begin{{tabular}}{{{self._latex_columns()}}}",
            *(f"    {line}" for line in body),
            r"  \end{tabular}}%",
            # Shrunk if it is wider than the line nevertheless.
            r"  \resizebox{\ifdim\wd0>\linewidth\linewidth\else\wd0\fi}{!}{\usebox0}",
            *(rf"  \par\smallskip{{\raggedright\footnotesize {escaped(note)}\par}}" for note in self.notes),
            rf"\end{{{environment}}}",
        ]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """A ``<table>`` with its caption and the attributes that screen readers need, followed by the notes."""
        columns = self.columns[1:]
        body = "\n".join(
            f'<tr><th scope="row">{escape(_text(line[0]))}</th>{"".join(map(_html, columns, line[1:]))}</tr>'
            for line in self.rows
        )
        notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in self.notes)
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(self.title)}">\n'
            f"<table>\n<caption><span>{escape(self.full_title)}</span></caption>\n<thead>{self._html_head()}</thead>\n"
            f"<tbody>\n{body}\n</tbody>\n</table>\n</div>\n{notes}"
        )

    def write(self, folder: Path) -> list[Path]:
        """Write the table's three files into a folder, except unchanged ones; returns all paths."""
        paths = [folder / f"{self.file}{suffix}" for suffix in SUFFIXES]
        for path, text in zip(paths, (self.markdown(), self.csv(), self.latex()), strict=True):
            write_if_changed(path, text)
        return paths

    def _groups(self):
        """(group, names) of neighbouring columns; the group is empty for columns that have none."""
        pairs = [("", name) if isinstance(name, str) else name for name in self.header]
        groups = itertools.groupby(pairs, key=lambda pair: pair[0])
        return [(group, [name for _, name in of_group]) for group, of_group in groups]

    def _widths(self):
        """Number of characters of each column's longest cell, its name included."""
        names = [name for _, of_group in self._groups() for name in of_group]
        return [max(len(_text(cell)) for cell in cells) for cells in zip(names, *self.rows, strict=True)]

    def _latex_columns(self):
        """The kind of each column: centred after the first; columns of long text share the remaining width."""
        widths = self._widths()
        long = [width for width in widths if width > _LONG]
        room, shares = 0.95 - 0.1 * (len(widths) - len(long)), sum(width**0.5 for width in long)
        short = ["l", *"c" * (len(widths) - 1)]
        kinds = [
            f"p{{{room * width**0.5 / shares:.2f}\\linewidth}}" if width > _LONG else kind
            for width, kind in zip(widths, short, strict=True)
        ]
        return "".join(kinds)

    def _latex_head(self):
        """The header's lines: one, or two with a rule under each group."""
        above, rules, names = [], [], []
        for group, of_group in self._groups():
            first, columns = len(names) + 1, len(of_group)
            if group:
                above.append(rf"\multicolumn{{{columns}}}{{c}}{{{escaped(group)}}}")
                rules.append(rf"\cmidrule(lr){{{first}-{first + columns - 1}}}")
            else:
                above += [""] * columns
            names += map(escaped, of_group)
        lines = [" & ".join(above) + r" \\", " ".join(rules)] if rules else []
        return [*lines, " & ".join(names) + r" \\"]

    def _html_head(self):
        """The header's rows: one, or two where columns are grouped."""
        grouped = any(group for group, _ in self._groups())
        first, second = "", ""
        for group, names in self._groups():
            rows = ' rowspan="2"' if grouped and not group else ""
            cells = "".join(f'<th{rows} scope="col">{escape(name)}</th>' for name in names)
            if group:
                first += f'<th scope="colgroup" colspan="{len(names)}">{escape(group)}</th>'
                second += cells
            else:
                first += cells
        return "".join(f"<tr>{row}</tr>" for row in (first, second) if row)


def published(mean_std: tuple | None) -> Score | str:
    """The paper's (mean, std) as a cell, which is empty for None."""
    return Score(*mean_std) if mean_std else NOTHING


def difference(here: Score | str, mean_std: tuple | None) -> Difference | str:
    """A score minus the paper's (mean, std) as a cell, which is empty if either is missing."""
    if not isinstance(here, Score) or not mean_std:
        return NOTHING
    mean, std = mean_std
    value = here.mean - mean
    return Difference(value, "" if std is None else "within" if round(abs(value), 9) <= std else "beyond")


def escaped(text: str) -> str:
    """Text with the characters that are special in LaTeX replaced by commands."""
    return text.translate(_LATEX)


def _text(cell):
    return cell if isinstance(cell, str) else f"{cell:,}" if isinstance(cell, int) else cell.text()


def _values(cell):
    """The cell's plain values, rounded to nine digits; None if it is empty."""
    if isinstance(cell, (str, int)):
        return (None if cell == NOTHING else cell,)
    return tuple(float(f"{value:.9g}") if isinstance(value, float) else value for value in cell.values())


def _latex(cell):
    return escaped(_text(cell)) if isinstance(cell, (str, int)) else cell.latex()


def _html(name, cell):
    """A cell with its column's name, which is shown if the page is too narrow for columns."""
    kind = "nothing" if cell == NOTHING else "number" if isinstance(cell, int) else getattr(cell, "kind", "text")
    return f'<td class="{kind}" data-label="{escape(name)}">{escape(_text(cell))}</td>'
