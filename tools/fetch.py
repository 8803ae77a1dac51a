"""Download what the experiments start from: the DeepSent images, pre-trained networks and their means.

    python tools/fetch.py data                        1,269 photographs to data/deepsent
    python tools/fetch.py data --archive old/copy.zip the same from an archive you have
    python tools/fetch.py models caffenet mvso_en     networks by the names of their cards in models/
    python tools/fetch.py models all

Each file is taken from the first of its links that gives the right content. A file that is there already is checked and
not downloaded again; a download that was cut off is resumed.
"""

from pathlib import Path

from sentiment.cli import arguments, command
from sentiment.sources import cards, deepsent
from sentiment.utils.errors import UserError


def main(argv=None):
    """Fetch."""
    parser = arguments.Parser(__doc__)
    what = parser.add_subparsers(dest="what", required=True, metavar="data|models")
    data = what.add_parser("data", help="download the DeepSent Twitter images and labels")
    arguments.folder_options(data.add_argument, out="data/deepsent")
    data.add_argument("--archive", help="zip or tar file with the images, or its address (default: download it)")
    models = what.add_parser("models", help="download pre-trained networks and their means")
    models.add_argument("names", nargs="+", metavar="name", help=f"all, or any of {', '.join(cards.names())}")
    arguments.folder_options(models.add_argument, "models")
    args = parser.parse_args(argv)
    if args.what == "data":
        deepsent.fetch(args.out, args.archive)
        return 0
    names = cards.names(args.models) if "all" in args.names else args.names
    if not names:
        raise UserError(f"there are no cards in {args.models}")
    each, obtained = command.OneByOne(), []
    for name in names:
        with each:
            source = cards.resolve(name, models=args.models)
            print(f"{name}: {source.path}, mean {source.mean}" if source.path else f"{name}: needs no file")
            if source.card and source.card.next:
                mean = source.mean if isinstance(source.mean, Path) else ",".join(f"{value:g}" for value in source.mean)
                print(source.card.next.replace("{weights}", str(source.path)).replace("{mean}", str(mean)))
            obtained.append(name)
    if len(names) > 1:
        print(f"{len(obtained)} of {len(names)} obtained{': ' if obtained else ''}{', '.join(obtained)}")
    return each.status


if __name__ == "__main__":
    raise SystemExit(command.run(main))
