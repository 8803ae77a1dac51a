"""Tables of how fast and how smoothly trainings converge (Figure 6)."""

from sentiment import paper
from sentiment.report import claims, departures
from sentiment.report.study import Study
from sentiment.report.tables import NOTHING, Number, Table
from sentiment.training.loss_curves import LAST_PART, PART_OF_WAY, Curve

DEFINITION = (
    "The loss is smoothed by a centred moving average over a twentieth of the points in the log, at least 5. "
    f"Final loss: the mean of the last {LAST_PART:.0%}. Converged: the first iteration at which the smoothed "
    f"loss has come {PART_OF_WAY:.0%} of its way from ln 2 = .693, which is guessing, to the final loss. "
    "Noise: the mean distance of a loss from the smoothed one. A training whose final loss is not below ln 2 by "
    "more than its noise does not converge."
)


def table(curves: dict[str, Curve | None], title: str, demo=False, notes=(), file="convergence") -> Table:
    """Iterations to convergence, final loss and noise, a row for each curve by name; None for one that was not run."""
    rows: list[list] = []
    for name, curve in curves.items():
        if curve is None:
            rows.append([name, *[NOTHING] * 4])
            continue
        converged = "does not converge" if curve.converged_at is None else curve.converged_at
        rows.append([name, int(curve.iterations[-1]), converged, Number(curve.final), Number(curve.noise)])
    header = ["training", "last iteration", "converged at", "final loss", "noise"]
    return Table(file, title, [*notes, DEFINITION], header, rows, demo)


def tables(study: Study, fold=claims.FOLD) -> list[Table]:
    """The convergence of the nine initialisations' trainings on one fold; an empty list if none was run."""
    curves = figure6_curves(study, fold)
    title = f"Convergence of the nine initialisations: training loss of five-agree fold {fold}"
    file = "convergence" if fold == claims.FOLD else f"convergence-fold{fold}"
    notes = departures.about(study, list(_nine(study).values()))
    return [table(curves, title, study.demo, notes, file)] if any(curves.values()) else []


def figure6_curves(study: Study, fold=claims.FOLD) -> dict[str, Curve | None]:
    """Training losses of Figure 6 by initialisation's title; None for those that were not run on that fold."""
    return {title: net.curve(fold) for title, net in _nine(study).items()}


def _nine(study):
    """The nets of Figure 6 by initialisation's title, without those that the study's restriction leaves out."""
    shown = {init: title for init, title in paper.INITIALISATIONS.items() if study.shows("finetune", init)}
    return {title: study.net("finetune", init) for init, title in shown.items()}
