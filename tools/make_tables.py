"""Print the paper's tables beside this project's numbers, and write them to results/.

    python tools/make_tables.py --table 2
    python tools/make_tables.py --runs runs --table all --report

Everything comes from the result.json files under --runs and what lies beside them, wherever they were made. Each table
becomes results/<data set>/<table>.md, .csv and .tex. Numbers are the mean ± standard deviation over the five folds;
what was not run is shown as –. --report adds report.html: all of it in one file, with the figures that lie there; the
tables are then listed, not printed.
"""

import sys
from pathlib import Path

from sentiment import cards, catalogue, console, locks, paper, report, study
from sentiment.arguments import Parser
from sentiment.files import default
from sentiment.progress import patience

LONGEST = 50  # rows of a table that is printed; longer ones are to be read in their files


def main(argv=None):
    """Make tables; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--runs", type=Path, default=default("runs"), help="folder of all runs (default: %(default)s)")
    option("--out", type=Path, default=default("results"), help="folder to write to (default: %(default)s)")
    option(
        "--table",
        nargs="+",
        choices=[*catalogue.TABLES, "all"],
        default=["all"],
        help="1 to 6: the paper's; runs: a row a net; seeds: their distribution; classes: accuracy by class and "
        "confusion; mcnemar: nets against each other; convergence: of the trainings in Figure 6; claims: the paper's "
        "(default: all)",
    )
    option("--report", action="store_true", help="write report.html too")
    option("--dataset", help="only results on this data set")
    option("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["all"])
    option("--arch", help="only results of this architecture")
    option("--init", help="only results from this initialisation")
    option("--sample", action="store_true", help="sample standard deviation (default: the population's)")
    args = parser.parse_args(argv)

    wanted = {key: getattr(args, key) for key in ("dataset", "arch", "init") if getattr(args, key)}
    if args.init:
        wanted["init"] = cards.run_name(args.init)
    if "all" not in args.subset:
        wanted["subset"] = args.subset
    for found in study.read(args.runs, args.sample, **wanted):
        folder = args.out / found.dataset
        with locks.held(folder, "making tables"):
            write(found, folder, args)
    return 0


def write(found, folder, args):
    """Write the tables of one data set, and the report."""
    made = {name: make(found) for name, make in catalogue.TABLES.items() if {name, "all"} & set(args.table)}
    for name, tables in made.items():
        if not tables:  # and none of other runs stays
            for path in folder.glob(f"{name}.*"):
                path.unlink()
        for table in tables:
            paths = ", ".join(map(str, table.write(folder)))
            listed = args.report or len(table.rows) > LONGEST
            print(f"{table.title}: {len(table.rows)} row{'s' * (len(table.rows) != 1)}" if listed else table.markdown())
            print(f"({paths})", flush=True)
    if args.report:
        made |= {name: make(found) for name, make in catalogue.TABLES.items() if name not in made}
        with patience(f"writing {folder / 'report.html'}"):
            path = report.write(folder, found, made)
        print(path)


if __name__ == "__main__":
    sys.exit(console.run(main))
