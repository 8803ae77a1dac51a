"""Every table, by the name that --table takes."""

from dataclasses import replace

from sentiment.report import claims, comparisons, convergence, paper_tables
from sentiment.report.study import Study
from sentiment.report.tables import Table

TABLES = {
    "1": paper_tables.table1,
    "2": paper_tables.table2,
    "3": paper_tables.table3,
    "4": paper_tables.table4,
    "5": paper_tables.table5,
    "6": paper_tables.table6,
    "runs": paper_tables.all_runs,
    "seeds": paper_tables.seeds,
    "intervals": comparisons.interval_tables,
    "classes": lambda study: [comparisons.classes_table(study)] if study.nets else [],
    "mcnemar": comparisons.mcnemar_tables,
    "convergence": convergence.tables,
    "claims": lambda study: [] if study.only else [claims.table(study)],  # a claim compares many nets
}
"""Name -> function that returns a `study.Study`'s tables, an empty list where there is nothing to show."""


def make(name: str, study: Study) -> list[Table]:
    """The tables of one name; if the study is restricted to some nets, their titles and file names say to which."""
    only = f"; only {study.restriction}" if study.only else ""
    return [replace(table, file=table.file + study.suffix, title=table.title + only) for table in TABLES[name](study)]
