"""Draw the paper's networks from their definitions: Figures 2 (fine-tuning), 4 (layers removed) and 5 (a layer added).

    python tools/draw_nets.py
    python tools/draw_nets.py --figure 4 --out results/demo

Sizes, parameters and rates are read from the definitions in --prototxt, which tools/make_prototxt.py writes. The
paper's Figures 1 and 3 are illustrations without results and are not drawn.
"""

from sentiment.cli import arguments, command
from sentiment.figures import diagrams, plots


def main(argv=None):
    """Draw the figures."""
    parser = arguments.Parser(__doc__)
    arguments.several_option(parser.add_argument, "figure", diagrams.FIGURES, "figures")
    arguments.folder_options(parser.add_argument, "prototxt", "out")
    args = parser.parse_args(argv)

    for number in args.figure:
        path = args.out / f"figure{number}.png"
        command.say_written(path, plots.save(path, diagrams.FIGURES[number], args.prototxt))


if __name__ == "__main__":
    raise SystemExit(command.run(main))
