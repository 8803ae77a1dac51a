"""Plot training losses from logs of this project's engine or of any Caffe: Figure 6, or the logs that are given.

    python tools/plot_loss.py
    python tools/plot_loss.py runs/*/*/fold1/train.log --out losses.png
    python tools/plot_loss.py a.log b.log --names "rate 0.001" "rate 0.0001" --tests --out compared.png

Without logs, draws Figure 6, the losses of the nine initialisations on one fold, to results/<data set>/figure6.png and
writes the table of iterations to convergence beside it; for another fold than 1 the files are named figure6-fold2.png
and so on. With logs, draws their losses to one file and prints their table.
"""

from pathlib import Path

from sentiment import paper
from sentiment.cli import arguments, command
from sentiment.figures import loss_figure, plots
from sentiment.report import claims, convergence, study, table_files
from sentiment.training import loss_curves
from sentiment.utils import locks
from sentiment.utils.errors import UserError
from sentiment.utils.files import default

NOTES = "Thin: the loss of each batch; thick: its moving average; dashed: where it has come 90 % of its way down."


def main(argv=None):
    """Plot the given logs, or Figure 6."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    option("logs", nargs="*", type=Path, metavar="LOG", help="logs to plot (default: those of Figure 6)")
    use = "names of the logs in the legend, one each (default: the parts in which their paths differ)"
    option("--names", nargs="+", help=use)
    option("--tests", action="store_true", help="draw the loss and accuracy of the test net too")
    option("--title", help="title above the plot")
    arguments.folder_options(option, "runs")
    option("--dataset", help="use only results on this data set (default: a figure for each)")
    option("--fold", type=int, choices=paper.FOLDS, default=claims.FOLD, help="fold of Figure 6 (default: %(default)s)")
    option("--out", type=Path, help="with logs: PNG file (default: losses.png); without: folder (default: results)")
    args = parser.parse_args(argv)

    if args.logs:
        parser.refuse(("runs", "dataset", "fold"), "applies only to Figure 6, which is drawn without logs")
        if args.names and len(args.names) != len(args.logs):
            parser.error(f"--names gives {len(args.names)} names for {len(args.logs)} logs")
        if len(set(args.names or args.logs)) < len(args.logs):
            parser.error("each log and each name can be given once")
        curves = dict(zip(args.names or distinct_names(args.logs), map(loss_curves.read, args.logs), strict=True))
        path = args.out or Path("losses.png")
        write(path, curves, args.title or "Training loss", args.tests)
        print(convergence.table(curves, args.title or "Training loss").markdown())
        return

    parser.refuse(["names"], "applies only to logs that are given")
    for found in study.read(args.runs, dataset=args.dataset):
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


def write(path, curves, title, tests):
    """Draw curves to a PNG file and print its path."""
    changed = plots.save(path, loss_figure.draw, curves, title, NOTES if len(curves) > 1 else "", tests)
    command.say_written(path, changed)


def distinct_names(paths):
    """A name for each path: its parts without the first and the last ones that all paths share."""
    parts = [path.with_suffix("").parts for path in paths]
    for end, others in ((-1, slice(None, -1)), (0, slice(1, None))):
        while len(parts) > 1 and min(map(len, parts)) > 1 and len({one[end] for one in parts}) == 1:
            parts = [one[others] for one in parts]
    return ["/".join(one) for one in parts]


if __name__ == "__main__":
    raise SystemExit(command.run(main))
