"""Print the paper's tables beside this project's numbers, and write them to results/.

    python tools/make_tables.py --table 2
    python tools/make_tables.py --runs runs --table all --report
    python tools/make_tables.py --table 5 --init caffenet

Everything comes from the result.json files under --runs and what lies beside them, wherever they were made. Each table
becomes results/<data set>/<table>.md, .csv and .tex. Numbers are the mean ± standard deviation over the five folds;
what was not run is shown as –. --report adds report.html: all of it in one file, with the figures that lie there; the
tables are then listed, not printed.

--subset, --arch and --init leave out the other nets' rows. Such tables, and such a report, have names of their own, as
table5-init-caffenet.md, and titles that say so; those of all nets stay as they are. A table that shows less than the
one it replaces, for it is of another --runs or runs are gone, says so. A table of all nets renews those of some that
lie beside it. Files that an earlier call made of runs that are gone are removed, no others.
"""

import sys
from pathlib import Path

from sentiment import paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser
from sentiment.report import catalogue, page, study, table_files
from sentiment.sources import cards
from sentiment.utils import locks
from sentiment.utils.files import default
from sentiment.utils.progress import patience

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
        "confusion; mcnemar: nets against each other; convergence: of the trainings in Figure 6; claims: the paper's, "
        "of all nets alone (default: all)",
    )
    option("--report", action="store_true", help="write report.html too")
    option("--dataset", help="only results on this data set")
    option("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["all"], help="only these (default: all)")
    option("--arch", help="only nets of this architecture")
    option("--init", help="only nets from this initialisation")
    option("--sample", action="store_true", help="sample standard deviation (default: the population's)")
    args = parser.parse_args(argv)

    only = {"arch": [args.arch], "init": [args.init and cards.run_name(args.init)]}
    only = {key: values for key, values in only.items() if values != [None]}
    if "all" not in args.subset and {*paper.SUBSETS} != {*args.subset}:
        only = {"subset": [subset for subset in paper.SUBSETS if subset in args.subset], **only}
    for found in study.read(args.runs, args.sample, args.dataset, only):
        folder = args.out / found.dataset
        with locks.held(folder, "making tables"):
            write(found, folder, args)
    return 0


def write(found, folder, args):
    """Write the tables of one data set, and the report."""
    filters = table_files.filters(folder, found)  # before those of runs that are gone are removed
    made = {name: catalogue.make(name, found) for name in catalogue.TABLES if {name, "all"} & set(args.table)}
    for name, tables in made.items():
        files = table_files.write(folder, found, name, tables)
        for table in tables:
            listed = args.report or len(table.rows) > LONGEST
            print(f"{table.title}: {len(table.rows)} row{'s' * (len(table.rows) != 1)}" if listed else table.markdown())
            print(f"({', '.join(map(str, files[table.file]))})", flush=True)
        if not tables and name in args.table:
            print(f"--table {name}: these runs have nothing to show there", flush=True)
    if args.report:
        made |= {name: catalogue.make(name, found) for name in catalogue.TABLES if name not in made}
        with patience(f"writing the report of {found.dataset}"):
            path = page.write(folder, found, made)
            page.renew(folder, found, filters)
        print(path)


if __name__ == "__main__":
    sys.exit(command.run(main))
