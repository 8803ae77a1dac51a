"""Write the fold lists of a data set: splits/<dataset>/<subset>/test<k>/{train,test}.txt.

    python tools/split_folds.py --data data/deepsent
    python tools/split_folds.py --data data/deepsent --published path/to/ground_truth
    python tools/split_folds.py --data my/photographs --seed 7
    python tools/split_folds.py --data data/deepsent --no-twins

On the DeepSent Twitter images (told by their names, whatever the folder is called) these are the lists the authors of
the paper published, fetched or taken from --published, each held against its known checksum. Any other set is shuffled
once and cut into five equal blocks, as the paper did. Lists that would not change are left alone. --no-twins leaves out
of each training list what is byte-identical to a test image; those lists go to splits/no-twins/<dataset>/..., for
--splits splits/no-twins.
"""

import sys
from pathlib import Path

from sentiment import paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser, seed
from sentiment.data import dataset, folds
from sentiment.sources import download
from sentiment.utils import errors, files, locks
from sentiment.utils.progress import patience

AUTHORS = "https://raw.githubusercontent.com/imatge-upc/sentiment-2017-imavis"
LINKS = (f"{AUTHORS}/882d37a9d47adf7a49fa94805cabdd79bacd6b29/ground_truth", f"{AUTHORS}/master/ground_truth")
FETCHED = files.PROJECT / "data" / "ground_truth"


def main(argv=None):
    """Split; returns the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("--data", type=Path, default=files.default("data/deepsent"), help="(default: %(default)s)")
    parser.add_argument("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["all"])
    parser.add_argument("--published", type=Path, help="folder with the authors' lists (default: fetched)")
    parser.add_argument(
        "--seed",
        type=seed,
        help="of the shuffle, where the folds are not published (default: the lists there are, else 0)",
    )
    parser.add_argument(
        "--no-twins", action="store_true", help="no image in training that is byte-identical in testing"
    )
    parser.add_argument("--out", type=Path, default=folds.SPLITS, help="folder to write to (default: splits/)")
    args = parser.parse_args(argv)

    data = dataset.load(args.data)
    if data.deepsent and args.seed is not None:
        parser.error("--seed: these are the DeepSent images, whose folds are published and not shuffled")
    if not data.deepsent:
        parser.refuse(["published"], f"is of the DeepSent images, and those of {args.data} are others")
    subsets = list(data.labels) if "all" in args.subset else args.subset
    digests = {}
    for subset in subsets:
        if data.deepsent:
            made = [authors_lists(data, subset, fold, args) for fold in paper.FOLDS]
            origin = "the authors' published folds"
        elif args.seed is None and (made := lists_there(data, subset, args.out)):
            origin = "as they were shuffled"
        else:
            made = folds.make(data.subset(subset), args.seed or 0)
            origin = f"shuffled with seed {args.seed or 0}"
        check_images(data, subset, made)
        out = args.out
        if args.no_twins:
            out, origin = args.out / folds.NO_TWINS, f"{origin}, without twins"
            digest_images(data, made, digests)
            made = [folds.without_twins(fold, digests) for fold in made]
        before = folds.list_path(out, data.name, subset, paper.FOLDS[0], "test").is_file()
        with locks.held(out / data.name, "writing fold lists"):
            written = folds.write(out, data.name, subset, made)
        used, labelled = sum(len(fold.test) for fold in made), len(data.subset(subset))
        state = f"{written} of {len(made) * len(folds.PARTS)} lists written" if written else "lists unchanged"
        print(f"{data.name} {subset}: {used} of {labelled} images, {origin}; {state} ({out / data.name / subset})")
        if written and before:
            print(
                "  they replace others; runs of those are kept, and go on when `make splits SEED=N` brings those back"
            )
        if len({label for _, label in data.subset(subset)}) < paper.CLASSES:
            print("  all these labels are the same; a net learns nothing from one class")
        if written:
            digest_images(data, made, digests)
            report(data, subset, made, digests)
    return 0


def check_images(data, subset, made):
    """Refuse folds with images that are not on disk."""
    names = [name for fold in made for name, _ in fold.test]
    missing = data.missing(names)
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        advice = f"; `make data DATA={data.folder}` fetches them" if data.deepsent else ""
        raise errors.UserError(
            f"{len(missing)} of {len(names)} images of {subset} are not in {data.images}: {shown}{advice}"
        )


def lists_there(data, subset, out):
    """The five folds in ``out``, if they are of just these images and labels; else None."""
    paths = [folds.list_path(out, data.name, subset, fold, part) for fold in paper.FOLDS for part in folds.PARTS]
    if not all(path.is_file() for path in paths):
        return None
    made = [folds.read(out, data.name, subset, fold) for fold in paper.FOLDS]
    listed, labelled = {pair for fold in made for pair in fold.test}, data.subset(subset)
    whole = len(listed) == len(labelled) // len(paper.FOLDS) * len(paper.FOLDS)
    return made if whole and listed <= set(labelled) else None


def authors_lists(data, subset, fold, args):
    """One fold as published, checked: from --published, from splits/ where it is already, or fetched."""
    lists = []
    for part in folds.PARTS:
        name = folds.relative_path(subset, fold, part)
        path = args.published / name if args.published else folds.list_path(args.out, data.name, subset, fold, part)
        if not args.published and not (path.is_file() and files.sha256(path) == folds.published_facts()[name][2]):
            path = fetch(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise errors.UserError(
                f"PUBLISHED: cannot read {path}: {error.strerror}; expected the folder ground_truth of "
                "github.com/imatge-upc/sentiment-2017-imavis"
            ) from error
        folds.check_published(name, content, path)
        lists.append(folds.read_list(path))
    return folds.Fold(*lists)


def fetch(name):
    """Download one of the authors' lists, once."""
    return download.obtain(
        download.Wanted(
            path=FETCHED / name,
            key=name,
            links=tuple(download.Link(f"{link}/{name}") for link in LINKS),
            sha256=folds.published_facts()[name][2],
            where="github.com/imatge-upc/sentiment-2017-imavis, folder ground_truth; or PUBLISHED=<that folder>",
        )
    )


def digest_images(data, made, digests):
    """Add the digests of the lists' images that are not known yet."""
    with patience(f"reading the images in {data.images} for byte-identical ones"):
        for fold in made:
            for name, _ in fold.train + fold.test:
                if name not in digests:
                    digests[name] = files.sha256(data.images / name)


def report(data, subset, made, digests):
    """Print what the lists hold: counts, positives, byte-identical images on both sides, contrary or changed labels."""
    labels = dict(data.subset(subset))
    for number, fold in zip(paper.FOLDS, made, strict=True):
        print(
            f"  fold {number}: train {len(fold.train)} ({folds.positives(fold.train)} positive), "
            f"test {len(fold.test)} ({folds.positives(fold.test)} positive), "
            f"byte-identical in both {folds.twins(fold, digests)}"
        )
    where = {name: number for number, fold in zip(paper.FOLDS, made, strict=True) for name, _ in fold.test}
    for one, other in folds.contrary([pair for fold in made for pair in fold.test], digests):
        print(f"  byte-identical with contrary labels: {one} (fold {where[one]}) and {other} (fold {where[other]})")
    changed = sum(labels.get(name, label) != label for fold in made for name, label in fold.test)
    if changed:
        print(f"  {changed} labels differ between these lists and {data.folder}; the lists are what is used")


if __name__ == "__main__":
    sys.exit(command.run(main))
