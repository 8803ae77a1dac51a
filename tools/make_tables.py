"""Print the paper's tables beside this project's numbers, and write them to results/.

    python tools/make_tables.py --table 2
    python tools/make_tables.py --runs runs --arch squeezenet --table all

Everything comes from the result.json files under --runs, wherever they were made. Numbers are the mean ± standard
deviation over the five folds; where folds are missing it says which are there.
"""

import argparse
import sys
from pathlib import Path

from sentiment import console, paper, results, tables
from sentiment.console import UserError
from sentiment.files import write_whole


def main(argv=None):
    """Make tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: runs/)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write to (default: results/)")
    parser.add_argument(
        "--table",
        nargs="+",
        choices=[*tables.TABLES, "all"],
        default=["all"],
        help="2: the paper's Table 2; runs: a row per architecture and initialisation (default: all)",
    )
    parser.add_argument("--dataset", help="only results on this data set")
    parser.add_argument("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["all"])
    parser.add_argument("--arch", help="only results of this architecture")
    parser.add_argument("--init", help="only results from this initialisation")
    parser.add_argument("--sample", action="store_true", help="sample standard deviation (default: the population's)")
    args = parser.parse_args(argv)

    wanted = {key: getattr(args, key) for key in ("dataset", "arch", "init") if getattr(args, key)}
    rows = [row for row in results.collect(args.runs, **wanted) if "all" in args.subset or row["subset"] in args.subset]
    if not rows:
        raise UserError(
            f"no result.json under {args.runs}{' that fits the options' if wanted else ''}; "
            "run tools/train.py and tools/evaluate.py first"
        )
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        for name in tables.TABLES if "all" in args.table else args.table:
            table = tables.TABLES[name](of_dataset, args.sample)
            text = table.markdown()
            path = args.out / dataset / f"{table.file}.md"
            write_whole(path, text)
            print(f"{text}\n({path})\n")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
