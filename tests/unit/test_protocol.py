"""docs/protocol.md: every assumption names what changes it, and that exists."""

import re

import pytest

from sentiment.networks.choices import CHOICES
from sentiment.training import solvers


@pytest.fixture(scope="module")
def rows(root):
    """(mark, choice, changed by) of every line of the ledger's tables."""
    lines = (root / "docs" / "protocol.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if re.match(r"\| [KA?] ", line)]
    assert {len(row) for row in cells} <= {2, 3}
    return [(*row, "")[:3] for row in cells]


def test_every_assumption_says_what_changes_it(rows):
    assumed = [row for row in rows if row[0] == "?"]
    assert len(assumed) >= 15
    assert all("`" in changed_by for _, _, changed_by in assumed), [row for row in assumed if "`" not in row[2]]


def test_what_changes_a_choice_exists(root, rows):
    makefile = (root / "Makefile").read_text()
    paths = [*(root / "tools").glob("*.py"), root / "python" / "sentiment" / "cli" / "arguments.py"]
    code = "".join(path.read_text() for path in paths)
    said = [text for row in rows for text in re.findall(r"`([^`]+)`", row[2])]
    for text in said:
        if variable := re.match(r"[A-Z]{2,}\b", text):
            assert re.search(rf"^#: (?:[A-Z]+ )*{variable[0]}\b", makefile, re.MULTILINE), text
        for option in re.findall(r"--[a-z-]+", text):
            assert re.search(rf'"(--)?{option[2:]}"', code), text
        for path in re.findall(r"tools/\w+\.py", text):
            assert (root / path).is_file(), text
    names = set(re.findall(r"(\w+)=[\d.]+", " ".join(text for text in said if text.startswith("SET="))))
    assert names <= {*solvers.NAMES, *CHOICES}
    assert set(CHOICES) <= names
