"""Tables as files in a folder of results, and the folder's record of them.

By the record, files that an earlier call made and this one would not make are removed, and a table that is about to
show less than before is announced.
"""

import contextlib
from pathlib import Path

from sentiment.report import catalogue
from sentiment.report.study import Study
from sentiment.report.tables import NOTHING, SUFFIXES, Table
from sentiment.utils.errors import UserError, say
from sentiment.utils.files import read_json, write_json

RECORD = ".tables.json"
"""File's name without suffix -> the table's name, the study's ``only``, the folder of runs, how much is shown."""


def write(folder: Path, study: Study, name: str, tables: list[Table]) -> dict[str, list[Path]]:
    """Write the tables of one name, and update those of some nets that are there from earlier calls.

    The caller holds the folder (`locks.held`); ``tables`` are what `catalogue.make` gives for the name. Files that an
    earlier call made of runs that are gone are removed, no others. A table that shows less than the one it replaces is
    announced. Returns the tables' files by their name without suffix.
    """
    before = _read(folder)
    record, runs, files = dict(before), _runs(study), {}
    for only in (study.only, *filters(folder, study, name)):
        if only != study.only:
            part = study.of(only)
            tables = catalogue.make(name, part) if part.results or part.layers else []
        for table in tables:
            files[table.file] = table.write(folder)
            now = {"table": name, "only": only, "runs": runs, "shows": _shows(table)}
            earlier = before.get(table.file, now)
            if now["shows"] < earlier["shows"]:
                of = "fewer runs there" if runs == earlier["runs"] else f"runs in {runs}"
                say(f"{files[table.file][0]} showed more before, of runs in {earlier['runs']}; now it is of {of}")
            record[table.file] = now
        for file, of in list(record.items()):
            if (of["table"], of["only"]) == (name, only) and file not in files:
                for suffix in SUFFIXES:
                    (folder / f"{file}{suffix}").unlink(missing_ok=True)
                say(f"removed {folder / file}.*: the runs that an earlier call made it of are not there any more")
                del record[file]
    if record != before:
        write_json(folder / RECORD, record)
    return files


def filters(folder: Path, study: Study, name: str | None = None) -> list[dict]:
    """The distinct ``only`` of tables there that are of some of the study's nets, of one name or (default) of any.

    Empty if the study itself is of some nets.
    """
    found: list[dict] = []
    for of in _read(folder).values() if not study.only else ():
        if of["runs"] == _runs(study) and of["only"] not in ({}, *found) and name in (None, of["table"]):
            found.append(of["only"])
    return found


def _runs(study):
    return str(Path(study.root).resolve())


def _shows(table):
    """How much a table shows: its cells that are not empty, a mean as often as it has runs."""
    cells = [cell for row in table.rows for cell in row if cell != NOTHING]
    return sum(getattr(cell, "runs", None) or 1 for cell in cells)


def _read(folder):
    """The record; empty where there is none, or it is damaged."""
    with contextlib.suppress(UserError, AttributeError):
        record = read_json(folder / RECORD)
        if all(of.keys() == {"table", "only", "runs", "shows"} for of in record.values()):
            return record
    return {}
