"""Plot training losses from Caffe's logs, of this project's engine or any Caffe: Figure 6, or any logs given.

    python tools/plot_loss.py
    python tools/plot_loss.py runs/*/*/fold1/train.log --out losses.png
    python tools/plot_loss.py a.log b.log --names "rate 0.001" "rate 0.0001" --tests --out compared.png

Without logs it draws the nine initialisations' losses on one fold into results/<data set>/figure6.png and writes the
table of iterations to convergence beside it; those of another fold than 1 are named by it, as figure6-fold2.png. With
logs it draws those and prints their table.
"""

import sys
from pathlib import Path

from sentiment import paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser
from sentiment.figures import loss_figure, plots
from sentiment.report import claims, convergence, study, table_files
from sentiment.training import loss_curves
from sentiment.utils import locks
from sentiment.utils.errors import UserError
from sentiment.utils.files import default

NOTES = "Thin: the loss of each batch; thick: its moving average; dashed: where it has come 90 % of its way down."


def main(argv=None):
    """Plot; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("logs", nargs="*", type=Path, metavar="LOG", help="logs to plot (default: those of Figure 6)")
    option("--names", nargs="+", help="what the legend calls the logs (default: what tells their paths apart)")
    option("--tests", action="store_true", help="loss and accuracy of the test net too")
    option("--title", help="above the plot")
    option("--runs", type=Path, default=default("runs"), help="folder of all runs (default: %(default)s)")
    option("--dataset", help="only results on this data set")
    option("--fold", type=int, choices=paper.FOLDS, default=claims.FOLD, help="of Figure 6 (default: %(default)s)")
    option(
        "--out", type=Path, help="with logs: the picture (default: losses.png); without: a folder (default: results)"
    )
    args = parser.parse_args(argv)

    if args.logs:
        parser.refuse(("runs", "dataset", "fold"), "is of Figure 6, and logs are given")
        if args.names and len(args.names) != len(args.logs):
            parser.error(f"--names gives {len(args.names)} names for {len(args.logs)} logs")
        if len(set(args.names or args.logs)) < len(args.logs):
            parser.error("each log and each name can be given once")
        curves = dict(zip(args.names or told_apart(args.logs), map(loss_curves.read, args.logs), strict=True))
        path = args.out or Path("losses.png")
        write(path, curves, args.title or "Training loss", args.tests)
        print(convergence.table(curves, args.title or "Training loss").markdown())
        return 0

    parser.refuse(["names"], "is of logs, and none are given")
    wanted = {"dataset": args.dataset} if args.dataset else {}
    for found in study.read(args.runs, **wanted):
        curves = convergence.figure6_curves(found, args.fold)
        there = {name: curve for name, curve in curves.items() if curve is not None}
        if not there:
            raise UserError(
                f"{args.runs} has no train.log of a five-agree fine-tuning on fold {args.fold} of {found.dataset}; "
                "run tools/train.py and tools/evaluate.py first"
            )
        folder = (args.out or default("results")) / found.dataset
        demo = "Demo data. " if found.demo else ""
        title = f"{demo}Training loss by initialisation, five-agree, fold {args.fold}"
        with locks.held(folder, "drawing losses"):
            tables = convergence.tables(found, args.fold)
            name = tables[0].file
            figure = folder / f"{name.replace('convergence', 'figure6')}.png"
            write(figure, there, args.title or title, args.tests)
            table_files.write(folder, found, name, tables)
            for table in tables:
                print(table.markdown())
    return 0


def write(path, curves, title, tests):
    """Draw into a file and say so."""
    changed = plots.save(path, loss_figure.draw, curves, title, NOTES if len(curves) > 1 else "", tests)
    print(f"{path}{'' if changed else ' (unchanged)'}")


def told_apart(paths):
    """Names for paths: their parts but for those all share at the end and at the beginning."""
    parts = [path.with_suffix("").parts for path in paths]
    while len(parts) > 1 and all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    while len(parts) > 1 and all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    return ["/".join(one) for one in parts]


if __name__ == "__main__":
    sys.exit(command.run(main))
