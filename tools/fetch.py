"""Download what the experiments start from: the DeepSent images, pre-trained networks and their means.

    python tools/fetch.py data                        1,269 photographs to data/deepsent
    python tools/fetch.py data --archive old/copy.zip the same from an archive you have
    python tools/fetch.py models caffenet mvso_en     networks by the names of their cards in models/
    python tools/fetch.py models all

Each file is taken from the first of its links that gives the right content. A file that is there already is checked and
not downloaded again; a download that was cut off is resumed.
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
    data = what.add_parser("data", help="download the DeepSent Twitter images and labels")
    data.add_argument(
        "--out", type=Path, default=files.default("data/deepsent"), help="folder to write to (default: %(default)s)"
    )
    data.add_argument("--archive", help="zip or tar file, or address of one, to take them from (default: download it)")
    models = what.add_parser("models", help="download pre-trained networks and their means")
    models.add_argument("names", nargs="+", metavar="name", help=f"all, or any of {', '.join(cards.names())}")
    models.add_argument(
        "--models", type=Path, default=cards.MODELS, help="folder of model cards and their files (default: models/)"
    )
    args = parser.parse_args(argv)
    if args.what == "data":
        deepsent.fetch(args.out, args.archive)
        return 0
    return fetch_models(cards.names(args.models) if "all" in args.names else args.names, args.models)


def fetch_models(names: list[str], models: Path) -> int:
    """Fetch networks and means by their cards, continuing after one that cannot be obtained."""
    if not names:
        raise UserError(f"there are no cards in {models}")
    each = command.OneByOne()
    for name in names:
        with each:
            source = cards.resolve(name, models=models)
            print(f"{name}: {source.path}, mean {source.mean}" if source.path else f"{name}: needs no file")
    return each.status


if __name__ == "__main__":
    sys.exit(command.run(main))
