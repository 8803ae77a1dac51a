"""Speed as ratios measured in one run: python/caffe against what else there is on this machine.

    python benchmarks/run.py                         # everything, about five minutes on two CPU cores
    python benchmarks/run.py --only step forward     # parts of it
    CAFFE_BIN=/opt/caffe/build/tools/caffe python benchmarks/run.py

Ways of doing the same thing take turns, and the medians are compared, so that a machine whose speed drifts favours
none. Prints a Markdown table and writes --json.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import measures

MEASURES = {
    "step": measures.step,
    "forward": measures.forward,
    "tiny": measures.tiny,
    "memory": measures.memory,
    "ten-crop": measures.ten_crop,
    "map": measures.sentiment_map,
    "weights": measures.weights,
    "start": measures.start,
    "data": measures.data,
    "import": measures.imports,
}


def main(argv=None):
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="PART")
    parser.add_argument("--rounds", type=int, default=7, help="turns each way of doing it gets (default: %(default)s)")
    parser.add_argument("--gpu", type=int, metavar="N", help="on this CUDA card (default: CPU)")
    parser.add_argument("--json", type=Path, default=Path("results/bench.json"), help="(default: %(default)s)")
    args = parser.parse_args(argv)

    machine = measures.machine(args.gpu)
    print("\n".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
    rows = []
    for name in args.only:
        for row in MEASURES[name](args.rounds, args.gpu):
            rows.append({"part": name, **row})
            print(line(row), flush=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({"machine": machine, "python": platform.python_version(), "rows": rows}, indent=1))
    print(f"\n{table(rows)}\n({args.json})")
    return 0


def line(row):
    """A row as it is found."""
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
    )


def table(rows):
    """All rows in Markdown."""
    lines = ["| what | ours | against | theirs | ratio | bar |", "|---|---|---|---|---|---|"]
    for row in rows:
        bar = row.get("bar", "")
        lines.append(
            f"| {row['what']} | {row['ours']:.3g} {row['unit']} | {row['against']} | {row['theirs']:.3g} {row['unit']} "
            f"| {row['ratio']:.2f} | {bar} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
