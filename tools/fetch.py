"""Download what the experiments start from: the DeepSent images, pre-trained networks and their means.

    python tools/fetch.py data                        1,269 photographs to data/deepsent
    python tools/fetch.py data --archive old/copy.zip the same from an archive you have
    python tools/fetch.py models caffenet mvso_en     networks by the names of their cards in models/
    python tools/fetch.py models all

Every file is taken from the first of its links that gives the right content; what is there already is not fetched.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from sentiment import cards, console, dataset, download, files, folds, locks, paper
from sentiment.arguments import Parser

DATA = files.PROJECT / "data" / "deepsent"
DATA_LINKS = (  # the address in the paper is gone since 2021
    download.Link(
        "https://drive.usercontent.google.com/download?id=1Jw6Bv8nFN3s4TFVMRcIfIC1Q3zOfwpib&export=download&confirm=t"
    ),
    download.Link("https://codeload.github.com/johnwsh/twitterDataset/zip/4604b72f99303fc8e814de37dc90f17fe39aa5bb"),
)


def main(argv=None):
    """Fetch; returns the exit status."""
    parser = Parser(__doc__)
    what = parser.add_subparsers(dest="what", required=True, metavar="data|models")
    data = what.add_parser("data", help="the DeepSent Twitter images and labels")
    data.add_argument("--out", type=Path, default=DATA, help="folder to make (default: data/deepsent)")
    data.add_argument("--archive", type=Path, help="take them from this zip or tar file instead")
    models = what.add_parser("models", help="pre-trained networks")
    models.add_argument("names", nargs="+", metavar="name", help=f"all, or some of {', '.join(cards.names())}")
    models.add_argument(
        "--models", type=Path, default=cards.MODELS, help="folder of cards and files (default: models/)"
    )
    args = parser.parse_args(argv)
    if args.what == "data":
        return fetch_data(args.out, args.archive)
    return fetch_models(cards.names(args.models) if "all" in args.names else args.names, args.models)


def fetch_models(names, models):
    """Fetch networks and means by their cards; goes on after one that cannot be had."""
    failed = 0
    for name in names:
        try:
            source = cards.resolve(name, models=models)
        except console.UserError as error:
            if len(names) == 1:
                raise
            failed += 1
            print(f"{name}: {error}", file=sys.stderr)
        else:
            print(f"{name}: {source.path}, mean {source.mean}")
    return 2 if failed else 0


def fetch_data(out, archive):
    """Make a DATA folder of the DeepSent images and the labels this project knows."""
    images = dataset.manifest()
    if not is_whole(out, images):
        with locks.held(out.parent, "fetching the DeepSent images"):
            if not is_whole(out, images):  # by another process, while this one waited
                bring(out, images, archive)
                return 0
    print(f"{out} has all {len(images):,} images")
    return 0


def is_whole(out, images):
    """Whether a DATA folder has all images."""
    return (out / "images").is_dir() and not dataset.load(out).missing(images)


def bring(out, images, archive):
    """Like `fetch_data`, where they are not there."""
    if out.exists() and any(out.iterdir()):
        raise console.UserError(f"{out} is there and is not the DeepSent data; move it away or give another --out")
    if archive and not archive.is_file():
        raise console.UserError(f"ARCHIVE: no file {archive}")
    links = (download.Link(str(archive)),) if archive else DATA_LINKS
    with tempfile.TemporaryDirectory(prefix=".deepsent.", suffix=".part", dir=out.parent) as temporary:
        part = Path(temporary) / "deepsent"
        (part / "images").mkdir(parents=True)
        reasons = download.first_of(links, lambda link: unpack(link, images, part / "images"), "the DeepSent images")
        if reasons:
            raise console.UserError(
                f"the DeepSent images cannot be had ({reasons}); get the archive elsewhere "
                "(github.com/imatge-upc/sentiment-2017-imavis links it, github.com/johnwsh/twitterDataset has it) and "
                "give it with --archive FILE or `make data ARCHIVE=FILE`, or its unpacked folder as DATA"
            )
        for subset in paper.SUBSETS:
            files.write_whole(part / f"twitter_{subset}.txt", folds.list_text(dataset.manifest_labels(subset)))
        if out.exists():
            out.rmdir()
        shutil.move(part, out)
    differing = sum(files.sha256(out / "images" / name) != row["sha256"] for name, row in images.items())
    print(
        f"{out}: {len(images):,} images" + (f", {differing} of them not byte for byte those known" if differing else "")
    )


def unpack(link, images, folder):
    """Download one archive and take the known images out of it."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        archive = Path(temporary) / "archive"
        download.download(link, archive)
        missing = download.extract(archive, {name: folder / name for name in images})
    if missing:
        raise ValueError(f"{len(missing):,} of the {len(images):,} images are not in it")


if __name__ == "__main__":
    sys.exit(console.run(main))
