"""Print the paper's tables beside this project's numbers, and write them to results/.

    python tools/make_tables.py --table 2
    python tools/make_tables.py --runs runs --table all --report
    python tools/make_tables.py --table 5 --init caffenet

The tables are made from the result.json files under --runs and the files beside them, and written to
results/<data set>/<table>.md, .csv and .tex. Numbers are the mean ± standard deviation over the five folds; – marks
a net that was not run. --report also writes report.html, a single file with all tables and the figures in that folder;
the tables are then listed instead of printed.

--subset, --arch and --init select nets. Tables and reports of selected nets have names and titles of their own, for
example table5-init-caffenet.md, so they do not replace those of all nets; a later call for all nets updates them too. A
message says when a table shows less than the one it replaces. Files of earlier calls whose runs are gone are removed.
"""

from sentiment import paper
from sentiment.cli import arguments, command
from sentiment.report import catalogue, page, study, table_files
from sentiment.sources import cards
from sentiment.utils import locks
from sentiment.utils.progress import patience

LONGEST = 50  # rows; longer tables are written but not printed


def main(argv=None):
    """Make tables."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, "runs", "out")
    option(
        "--table",
        nargs="+",
        choices=[*catalogue.TABLES, "all"],
        default=["all"],
        help="1 to 6: tables of the paper; runs: a row for each net; seeds: distribution over seeds; intervals: 95 %% "
        "intervals of the means; classes: accuracy by class and confusion; mcnemar: McNemar's test between nets; "
        "convergence: of the trainings in Figure 6; claims: the paper's claims, only without --subset, --arch and "
        "--init (default: all)",
    )
    option("--report", action="store_true", help="also write report.html")
    option("--dataset", help="only results on this data set")
    arguments.several_option(option, "subset", paper.SUBSETS, "only these subsets")
    option("--arch", help="only nets of this architecture")
    option("--init", help="only nets from this initialisation")
    option("--sample", action="store_true", help="use sample standard deviations (default: population)")
    args = parser.parse_args(argv)

    only = {}
    if len(args.subset) < len(paper.SUBSETS):
        only["subset"] = [subset for subset in paper.SUBSETS if subset in args.subset]
    if args.arch:
        only["arch"] = [args.arch]
    if args.init:
        only["init"] = [cards.run_name(args.init)]
    for found in study.read(args.runs, args.sample, args.dataset, only):
        folder = args.out / found.dataset
        with locks.held(folder, "making tables"):
            write(found, folder, args)


def write(found, folder, args):
    """Write the tables of one data set, and the report."""
    filters = table_files.filters(folder, found)  # read before entries are removed
    made = {name: catalogue.make(name, found) for name in catalogue.TABLES if {name, "all"} & set(args.table)}
    for name, tables in made.items():
        files = table_files.write(folder, found, name, tables)
        for table in tables:
            listed = args.report or len(table.rows) > LONGEST
            print(f"{table.title}: {len(table.rows)} row{'s' * (len(table.rows) != 1)}" if listed else table.markdown())
            print(f"({', '.join(map(str, files[table.file]))})", flush=True)
        if not tables and name in args.table:
            print(f"--table {name}: nothing to show, because these runs have no results for it", flush=True)
    if args.report:
        made |= {name: catalogue.make(name, found) for name in catalogue.TABLES if name not in made}
        with patience(f"writing the report of {found.dataset}"):
            path = page.write(folder, found, made)
            page.renew(folder, found, filters)
        print(path)


if __name__ == "__main__":
    raise SystemExit(command.run(main))
