"""Draw the paper's networks from their definitions: Figures 2 (fine-tuning), 4 (layers removed) and 5 (a layer added).

    python tools/draw_nets.py
    python tools/draw_nets.py --figure 4 --out results/demo

Sizes, parameters and rates are read from the definitions in --prototxt, which tools/make_prototxt.py writes. The
paper's Figures 1 and 3 are illustrations without results and are not drawn.
"""

import sys
from pathlib import Path

from sentiment.cli import command
from sentiment.cli.arguments import Parser
from sentiment.figures import diagrams, plots
from sentiment.networks.layout import PROTOTXT
from sentiment.utils.files import default


def main(argv=None):
    """Draw; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--figure", nargs="+", choices=[*diagrams.FIGURES, "all"], default=["all"], help="figures (default: all)")
    option("--prototxt", type=Path, default=PROTOTXT, help="folder of network definitions (default: prototxt/)")
    option("--out", type=Path, default=default("results"), help="folder to write to (default: %(default)s)")
    args = parser.parse_args(argv)

    for number, draw in diagrams.FIGURES.items():
        if {number, "all"} & set(args.figure):
            path = args.out / f"figure{number}.png"
            changed = plots.save(path, draw, args.prototxt)
            print(f"{path}{'' if changed else ' (unchanged)'}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
