"""Tables as files in a folder of results, and the folder's record of them.

The record is used to remove the files of earlier calls whose runs are gone, and to print a message if a new table shows
less than the one it replaces.
"""

import contextlib
from pathlib import Path

from sentiment.report import catalogue
from sentiment.report.study import Study
from sentiment.report.tables import NOTHING, SUFFIXES, Table
from sentiment.utils.errors import UserError, say
from sentiment.utils.files import read_json, write_json

RECORD = ".tables.json"
"""Name of a table's files without suffix -> its name in the catalogue, `Study.only`, folder of runs, size."""


def write(folder: Path, study: Study, name: str, tables: list[Table]) -> dict[str, list[Path]]:
    """Write the tables of one name, and update those of selected nets that earlier calls wrote.

    The caller holds the folder's lock (`locks.held`); ``tables`` are what `catalogue.make` returns for the name. Files
    that an earlier call made from runs that are gone are removed; no other file is. A message names a table that shows
    less than the one it replaces. Returns the paths of each table's files by their name without suffix.
    """
    before = _read(folder)
    record, runs, files = dict(before), _runs(study), {}
    for only in (study.only, *filters(folder, study, name)):
        if only != study.only:
            restricted = study.of(only)
            tables = catalogue.make(name, restricted) if restricted.results or restricted.layers else []
        for table in tables:
            files[table.file] = table.write(folder)
            now = {"table": name, "only": only, "runs": runs, "shows": _shows(table)}
            earlier = before.get(table.file, now)
            if now["shows"] < earlier["shows"]:
                source = "fewer runs there" if runs == earlier["runs"] else f"runs in {runs}"
                say(f"{files[table.file][0]} showed more before, from runs in {earlier['runs']}; now from {source}")
            record[table.file] = now
        for file, entry in list(record.items()):
            if (entry["table"], entry["only"]) == (name, only) and file not in files:
                for suffix in SUFFIXES:
                    (folder / f"{file}{suffix}").unlink(missing_ok=True)
                say(f"removed {folder / file}.*: the runs it was made from are gone")
                del record[file]
    if record != before:
        write_json(folder / RECORD, record)
    return files


def filters(folder: Path, study: Study, name: str | None = None) -> list[dict]:
    """The different values of `Study.only` among a folder's tables of selected nets of the study.

    ``name`` is the name of the tables (default: any). The list is empty if the study itself is restricted.
    """
    found: list[dict] = []
    for entry in _read(folder).values() if not study.only else ():
        if entry["runs"] == _runs(study) and entry["only"] not in ({}, *found) and name in (None, entry["table"]):
            found.append(entry["only"])
    return found


def _runs(study):
    return str(Path(study.root).resolve())


def _shows(table):
    """How much a table shows: the number of its cells that are not empty; a mean counts once for each of its runs."""
    cells = [cell for row in table.rows for cell in row if cell != NOTHING]
    return sum(getattr(cell, "runs", None) or 1 for cell in cells)


def _read(folder):
    """The folder's record; empty if there is none or it is damaged."""
    with contextlib.suppress(UserError, AttributeError):
        record = read_json(folder / RECORD)
        if all(entry.keys() == {"table", "only", "runs", "shows"} for entry in record.values()):
            return record
    return {}
