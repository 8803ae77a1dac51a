"""Download what the experiments start from: the DeepSent images, pre-trained networks and their means.

    python tools/fetch.py data                        1,269 photographs to data/deepsent
    python tools/fetch.py data --archive old/copy.zip the same from an archive you have
    python tools/fetch.py models caffenet mvso_en     networks by the names of their cards in models/
    python tools/fetch.py models all

Every file is taken from the first of its links that gives the right content. What is there already is held against what
is known of it and not fetched; a download that was stopped goes on where it was.
"""

import sys
from pathlib import Path

from sentiment.cli import command
from sentiment.cli.arguments import Parser
from sentiment.sources import cards, deepsent
from sentiment.utils import files
from sentiment.utils.errors import UserError


def main(argv=None):
    """Fetch; returns the exit status."""
    parser = Parser(__doc__)
    what = parser.add_subparsers(dest="what", required=True, metavar="data|models")
    data = what.add_parser("data", help="the DeepSent Twitter images and labels")
    data.add_argument(
        "--out", type=Path, default=files.default("data/deepsent"), help="folder to make (default: %(default)s)"
    )
    data.add_argument("--archive", help="take them from this zip or tar file, or address, instead")
    models = what.add_parser("models", help="pre-trained networks")
    models.add_argument("names", nargs="+", metavar="name", help=f"all, or some of {', '.join(cards.names())}")
    models.add_argument(
        "--models", type=Path, default=cards.MODELS, help="folder of cards and files (default: models/)"
    )
    args = parser.parse_args(argv)
    if args.what == "data":
        deepsent.fetch(args.out, args.archive)
        return 0
    return fetch_models(cards.names(args.models) if "all" in args.names else args.names, args.models)


def fetch_models(names, models):
    """Fetch networks and means by their cards; goes on after one that cannot be had."""
    if not names:
        raise UserError(f"there are no cards in {models}")
    each = command.OneByOne()
    for name in names:
        with each:
            source = cards.resolve(name, models=models)
            print(f"{name}: {source.path}, mean {source.mean}" if source.path else f"{name}: no file is needed")
    return each.status


if __name__ == "__main__":
    sys.exit(command.run(main))
