"""Print the paper's tables beside this project's numbers, and write them to results/.

    python tools/make_tables.py --table 2
    python tools/make_tables.py --runs runs --table all --report
    python tools/make_tables.py --table 5 --init caffenet

Everything comes from the result.json files under --runs and the files beside them. Each table becomes
results/<data set>/<table>.md, .csv and .tex. Numbers are the mean ± standard deviation over the five folds, or – where
nothing was run. --report adds report.html: all tables, and the figures in that folder, in one file; the tables are then
listed, not printed.

--subset, --arch and --init leave out other nets. Tables and a report of some nets have names of their own, for example
table5-init-caffenet.md, and titles that say so; they replace none of all nets. Making a table of all nets updates those
of some nets beside it. A table that shows less than the one it replaces, because it is made from other runs or runs are
gone, is announced. Files that an earlier call made of runs that are gone are removed, no others.
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
        help="1 to 6: tables of the paper; runs: a row for each net; seeds: distribution over seeds; classes: accuracy "
        "by class and confusion; mcnemar: McNemar's test between nets; convergence: of the trainings in Figure 6; "
        "claims: the paper's claims, without --subset, --arch and --init only (default: all)",
    )
    option("--report", action="store_true", help="also write report.html")
    option("--dataset", help="only results on this data set")
    arguments.several_option(option, "subset", paper.SUBSETS, "only these subsets")
    option("--arch", help="only nets of this architecture")
    option("--init", help="only nets from this initialisation")
    option("--sample", action="store_true", help="sample standard deviation (default: the population's)")
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
    raise SystemExit(command.run(main))
