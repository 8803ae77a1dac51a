"""Tables as files in a folder of results, and the folder's record of which of its files are such.

The record tells which files an earlier call made that this one would not make any more, and when a table is about to
show less than it did.
"""

import contextlib
from pathlib import Path

from sentiment.report import catalogue
from sentiment.report.study import Study
from sentiment.report.tables import NOTHING, Table
from sentiment.utils.errors import UserError, say
from sentiment.utils.files import read_json, write_json

RECORD = ".tables.json"
"""File's name without suffix -> the name of its tables, the nets it is of only, their folder, how much it shows."""
SUFFIXES = (".md", ".csv", ".tex")


def write(folder: Path, study: Study, name: str, tables: list[Table]) -> dict[str, list[Path]]:
    """Write the tables of one name; those of some nets only that lie there from earlier calls are written anew.

    The caller holds the folder (`locks.held`); ``tables`` are what `catalogue.make` gives for the name. What an earlier
    call made of runs that are gone is removed; files that no such call made are not touched. A table that shows less
    than the one it replaces is announced. Returns the tables' files by their name without suffix.
    """
    before = _read(folder)
    record, runs, files = dict(before), str(Path(study.root).resolve()), {}
    wanted = [study.only]
    for of in () if study.only else before.values():
        if (of["table"], of["runs"]) == (name, runs) and of["only"] not in wanted:
            wanted.append(of["only"])
    for only in wanted:
        made, part = {}, study.of(only)
        if only != study.only:
            tables = catalogue.make(name, part) if part.nets or part.layers else []
        for table in tables:
            made[table.file] = table.write(folder)
            now = {"table": name, "only": only, "runs": runs, "shows": _shows(table)}
            earlier = before.get(table.file, now)
            if now["shows"] < earlier["shows"]:
                of = "fewer runs there" if runs == earlier["runs"] else f"runs in {runs}"
                say(f"{made[table.file][0]} showed more before, of runs in {earlier['runs']}; now it is of {of}")
            record[table.file] = now
        for file in [file for file, of in record.items() if (of["table"], of["only"]) == (name, only)]:
            if file not in made:
                _remove(folder, file)
                del record[file]
        files.update(made)
    if record != before:
        write_json(folder / RECORD, record)
    return files


def filters(folder: Path, study: Study) -> list[dict]:
    """By what ``only`` nets were chosen for tables that lie there of the study's runs; tables of all nets left out."""
    runs = str(Path(study.root).resolve())
    found: list[dict] = []
    for of in _read(folder).values():
        if of["runs"] == runs and of["only"] and of["only"] not in found:
            found.append(of["only"])
    return found


def _remove(folder, file):
    for suffix in SUFFIXES:
        (folder / f"{file}{suffix}").unlink(missing_ok=True)
    say(f"removed {folder / file}.*: the runs that an earlier call made it of are not there any more")


def _shows(table):
    """How much a table shows: its cells that are not empty, a mean as often as it has runs."""
    cells = [cell for row in table.rows for cell in row if cell != NOTHING]
    return sum(getattr(cell, "runs", None) or 1 for cell in cells)


def _read(folder):
    """The record; none where there is none, or it is damaged."""
    with contextlib.suppress(UserError, AttributeError):
        record = read_json(folder / RECORD)
        if all(of.keys() == {"table", "only", "runs", "shows"} for of in record.values()):
            return record
    return {}
