"""Write the fold lists of a data set: splits/<dataset>/<subset>/test<k>/{train,test}.txt.

    python tools/split_folds.py --data data/deepsent
    python tools/split_folds.py --data data/deepsent --published path/to/ground_truth
    python tools/split_folds.py --data my/photographs --seed 7
    python tools/split_folds.py --data data/deepsent --no-duplicates

The DeepSent Twitter images (recognised by their names, whatever the folder is called) get the lists that the authors
of the paper published, downloaded or taken from --published, and checked by their checksums. Any other set is shuffled
once and cut into five equal blocks, as in the paper. Lists that would not change are not written again. --no-duplicates
leaves out of each training list the images that are byte-identical to a test image; those lists go to
splits/no-duplicates/<dataset>/..., for --splits splits/no-duplicates.
"""

import argparse
from pathlib import Path

from sentiment import paper
from sentiment.cli import arguments, command
from sentiment.data import dataset, folds
from sentiment.sources import deepsent
from sentiment.utils import errors, files, locks
from sentiment.utils.progress import patience


def main(argv=None):
    """Split."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, "data", out="splits")
    option("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["all"], help="subsets (default: all)")
    option("--published", type=Path, metavar="FOLDER", help="folder with the authors' lists (default: download them)")
    option("--seed", type=arguments.seed, metavar="N", help="random seed (default: keep the existing lists, else 0)")
    option("--no-duplicates", action="store_true", help="leave duplicates of test images out of training lists")
    option("--no-twins", dest="no_duplicates", action="store_true", help=argparse.SUPPRESS)  # the name in version 1
    args = parser.parse_args(argv)

    data = dataset.load(args.data)
    if data.deepsent and args.seed is not None:
        parser.error("--seed: these are the DeepSent images, whose folds are published and not shuffled")
    if not data.deepsent:
        parser.refuse(["published"], f"is for the DeepSent images, which those in {args.data} are not")
    for subset in list(data.labels) if "all" in args.subset else args.subset:
        split(data, subset, args)


def split(data: dataset.Dataset, subset: str, args: argparse.Namespace):
    """Write and report the lists of one subset."""
    labels, out = data.subset(subset), args.out
    made = None
    if data.deepsent:
        made = [deepsent.published_fold(subset, fold, args.published, out / data.name) for fold in paper.FOLDS]
        origin = "the authors' published folds"
    elif args.seed is None:
        made = folds.existing(out, data.name, subset, labels)
        origin = "as they were shuffled"
    if made is None:
        made = folds.make(labels, args.seed or 0)
        origin = f"shuffled with seed {args.seed or 0}"
    tested = [pair for fold in made for pair in fold.test]
    if missing := data.missing([name for name, _ in tested]):
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        advice = f"; run `make data DATA={data.folder}`" if data.deepsent else ""
        raise errors.UserError(
            f"{len(missing)} of {len(tested)} images of {subset} are not in {data.images}: {shown}{advice}"
        )
    digests = {}
    if args.no_duplicates:
        out, origin = args.out / folds.NO_DUPLICATES, f"{origin}, without duplicates"
        digests = digests_of(data, made)
        made = [folds.without_duplicates(fold, digests) for fold in made]
    replaced = folds.list_path(out, data.name, subset, paper.FOLDS[0], "test").is_file()
    with locks.held(out / data.name, "writing fold lists"):
        written = folds.write(out, data.name, subset, made)
    state = f"{written} of {len(made) * len(folds.PARTS)} lists written" if written else "lists unchanged"
    print(
        f"{data.name} {subset}: {len(tested)} of {len(labels)} images, {origin}; {state} ({out / data.name / subset})"
    )
    if written and replaced:
        print("  they replace other lists; `make splits SEED=N` with the seed of those lets their runs resume")
    if len({label for _, label in labels}) < paper.CLASSES:
        print("  all labels are the same; a net learns nothing from one class")
    if written:
        report(data, labels, made, digests or digests_of(data, made))


def digests_of(data: dataset.Dataset, made: list[folds.Fold]) -> dict[str, str]:
    """SHA-256 of the images by name."""
    with patience(f"reading the images in {data.images} for duplicates"):
        names = dict.fromkeys(name for fold in made for name, _ in fold.train + fold.test)
        return {name: files.sha256(data.images / name) for name in names}


def report(data: dataset.Dataset, labels, made: list[folds.Fold], digests: dict[str, str]):
    """Print the counts of images, positives and duplicates in the lists, and the labels that disagree."""
    for number, fold in zip(paper.FOLDS, made, strict=True):
        print(
            f"  fold {number}: train {len(fold.train)} ({folds.positives(fold.train)} positive), "
            f"test {len(fold.test)} ({folds.positives(fold.test)} positive), "
            f"byte-identical in both {folds.duplicates(fold, digests)}"
        )
    numbers = {name: number for number, fold in zip(paper.FOLDS, made, strict=True) for name, _ in fold.test}
    tested = [pair for fold in made for pair in fold.test]
    for one, other in folds.contrary(tested, digests):
        print(f"  duplicates with contrary labels: {one} (fold {numbers[one]}) and {other} (fold {numbers[other]})")
    known = dict(labels)
    if changed := sum(known.get(name, label) != label for name, label in tested):
        print(f"  {changed} labels differ between these lists and {data.folder}; the lists are used")


if __name__ == "__main__":
    raise SystemExit(command.run(main))
