"""Every table there is, by the name a user asks for it with."""

from dataclasses import replace

from sentiment import paper
from sentiment.report import claims, comparisons, departures, paper_tables
from sentiment.training import loss_curves


def convergence(study, fold=claims.FOLD):
    """Iterations to convergence of the nine initialisations' trainings on one fold."""
    curves = figure6_curves(study, fold)
    title = f"Convergence of the nine initialisations: training loss of five-agree fold {fold}"
    file = "convergence" if fold == claims.FOLD else f"convergence-fold{fold}"
    notes = departures.about(study, list(filter(None, _nine(study).values())))
    return [replace(loss_curves.table(curves, title, study.demo, notes), file=file)] if any(curves.values()) else []


def figure6_curves(study, fold=claims.FOLD):
    """Training losses of Figure 6 by initialisation's title; None for those that were not run on that fold."""
    return {title: net and net.curve(fold) for title, net in _nine(study).items()}


def _nine(study):
    """The nets of Figure 6 by initialisation's title, those that are not left out; None for one that was not run."""
    shown = {init: title for init, title in paper.INITIALISATIONS.items() if study.shows("finetune", init)}
    return {title: study.net("finetune", init) for init, title in shown.items()}


TABLES = {
    "1": paper_tables.table1,
    "2": paper_tables.table2,
    "3": paper_tables.table3,
    "4": paper_tables.table4,
    "5": paper_tables.table5,
    "6": paper_tables.table6,
    "runs": paper_tables.all_runs,
    "seeds": paper_tables.seeds,
    "classes": lambda study: [comparisons.classes_table(study)] if study.nets else [],
    "mcnemar": comparisons.mcnemar_tables,
    "convergence": convergence,
    "claims": lambda study: [] if study.only else [claims.table(study)],  # a claim is on many nets
}
"""Name -> function of a `study.Study` that returns its tables; none where there is nothing to show."""


def make(name, study):
    """The tables of a name; those of some nets only say so in their titles and files, beside which those of all stay.

    Returns
    -------
    list of tables.Table
    """
    words = ", ".join(f"{key} {' '.join(values)}" for key, values in study.only.items())
    return [
        replace(table, file=table.file + suffix(study), title=table.title + (f"; only {words}" if words else ""))
        for table in TABLES[name](study)
    ]


def suffix(study):
    """What the names of files end in that are of some nets only: ``-init-caffenet``; nothing for those of all."""
    return "".join(f"-{word}" for key, values in study.only.items() for word in (key, *values))
