"""Map the sentiment of images place by place, and put a row of them above their maps on a sheet (Figure 7).

    python tools/sentiment_maps.py --init mvso_en --fold all
    python tools/sentiment_maps.py --init caffenet --images "a.jpg" "b.jpg"
    python tools/sentiment_maps.py --init caffenet --images all --compare-patches 8 --cost

Each image is mapped by the net of the fold that tests it, made fully convolutional. The run's folder gets
maps/<image>.npy (2×8×8: P(negative), P(positive)) and maps/<image>.png, the map laid over the image in a border of the
global prediction's colour; the sheet is results/<data set>/figure7.png. Maps that are there are not made again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from sentiment import console, dataset, gallery, maps, nets, paper, results, surgery
from sentiment.console import UserError
from sentiment.files import write_if_changed
from sentiment.fold_maps import FoldMaps
from sentiment.runs import Run

ON_SHEET = 6
WORDS = {"center": "centre crop", "oversampled": "mean of ten crops"}


def main(argv=None):
    """Map; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--data", default="data/deepsent", help="folder of images and labels (default: %(default)s)")
    option("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: %(default)s)")
    option("--subset", choices=paper.SUBSETS, default="five_agrees")
    option("--fold", nargs="+", choices=[*map(str, paper.FOLDS), "all"], default=["1"])
    option("--arch", choices=nets.ARCHITECTURES, default="finetune")
    option("--init", default="caffenet", help="as for train.py, or a run's own name (default: %(default)s)")
    option(
        "--images",
        nargs="+",
        default=[str(ON_SHEET)],
        metavar="IMAGE",
        help="names; a number: that many, evenly spaced from the most negative to the most positive prediction; "
        f"or all, of which {ON_SHEET} go on the sheet (default: {ON_SHEET})",
    )
    option("--input-size", type=int, default=paper.MAP_INPUT, metavar="N", help="pixels a side (default: %(default)s)")
    option("--prediction", choices=results.WAYS, default="oversampled", help="the global one (default: %(default)s)")
    option("--out", type=Path, default=Path("results"), help="folder of the sheet (default: results/)")
    option("--compare-patches", type=int, metavar="N", help="hold N maps against predictions of their patches")
    option("--cost", action="store_true", help="measure what a map costs over one prediction")
    option("--gpu", type=int, metavar="N", help="compute on this CUDA card (default: CPU)")
    option("--batch-size", type=int, metavar="N", help="images a forward pass (default: 4, on a GPU 50)")
    args = parser.parse_args(argv)
    args.batch_size = args.batch_size or (maps.BATCH if args.gpu is None else maps.BATCH_GPU)

    data = dataset.load(args.data)
    init = Path(args.init).stem if Path(args.init).is_file() else args.init
    numbers = paper.FOLDS if "all" in args.fold else dict.fromkeys(map(int, args.fold))
    of_fold = [
        FoldMaps(Run(args.runs, args.subset, args.arch, init, fold), data, args.input_size, args.prediction, args.gpu)
        for fold in numbers
    ]
    wanted, shown = chosen(of_fold, args.images)
    for part in of_fold:
        part.make([image for image in wanted if image in part.predicted], args.batch_size)
    if args.compare_patches:
        compare(of_fold, shown, args.compare_patches)
    if args.cost:
        cost(of_fold[0])

    exhibits = [part.exhibit(image) for image in shown for part in of_fold if image in part.predicted]
    demo = "Demo data, not photographs of the data set. " if data.demo else ""
    title = f"{demo}Sentiment maps: {paper.INITIALISATIONS.get(init, init)}, {args.arch}"
    places = "×".join(map(str, of_fold[0].conversion.map))
    notes = (
        f"Border and word: the global prediction ({WORDS[args.prediction]}); its probability beside it. "
        f"Map: {places} places of an input of {args.input_size}×{args.input_size}.\n"
        f"Data set {data.name}, {args.subset}; each image by the net of the fold that tests it."
    )
    path = args.out / data.name / "figure7.png"
    written = write_if_changed(path, gallery.sheet(exhibits, title, notes))
    print(f"{path}{'' if written else ' (unchanged)'}")
    return 0


def chosen(of_fold, images):
    """Names of the images to map, and of those that go on the sheet, from the most negative to the most positive."""
    predicted = {image: positive for part in of_fold for image, (_, positive) in part.predicted.items()}
    ranked = sorted(predicted, key=lambda image: (predicted[image], image))

    def spaced(count):
        return [ranked[round(n)] for n in np.linspace(0, len(ranked) - 1, min(count, len(ranked)))]

    if images == ["all"]:
        return ranked, spaced(ON_SHEET)
    if len(images) == 1 and images[0].isdigit() and int(images[0]) and images[0] not in predicted:
        return (spaced(int(images[0])),) * 2
    for image in images:
        if image not in predicted:
            tested = ", ".join(str(part.run.fold) for part in of_fold)
            raise UserError(
                f"{image} is no test image of fold {tested} of {of_fold[0].run.subset}; --fold chooses others"
            )
    return (sorted(dict.fromkeys(images), key=ranked.index),) * 2


def compare(of_fold, images, count):
    """Print how far the maps of the first images are from the classifier's word on their patches."""
    both = []
    for part in of_fold:
        own = [image for image in images[:count] if image in part.predicted]
        if own:
            both.append(maps.patch_differences(*part.nets, part.conversion, part.inputs(own)))
    mapped, patched = (np.concatenate(ways) for ways in zip(*both, strict=True))
    found = maps.difference_summary(mapped, patched)
    print(
        f"{len(mapped)} maps against {mapped[0].size} patches each, difference in P(positive): "
        f"median {found[50]:.4f}, 90 % below {found[90]:.4f}, 99 % below {found[99]:.4f}, largest {found[100]:.4f}; "
        f"{found['same']:.1%} on the same side of 0.5",
        flush=True,
    )


def cost(part):
    """Print what a map takes over one prediction: time, a batch of one both ways, and arithmetic."""
    spent, sums = zip(*((maps.seconds(net), surgery.multiply_adds(net)) for net in part.nets), strict=True)
    print(
        f"a map costs {spent[0] / spent[1]:.1f} times one prediction "
        f"({spent[0] * 1e3:.0f} ms over {spent[1] * 1e3:.0f} ms, one image each; "
        f"the paper says about {paper.MAP_COST}), {sums[0] / sums[1]:.1f} times in arithmetic "
        f"({sums[0] / 1e6:,.0f} over {sums[1] / 1e6:,.0f} million multiply-adds)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(console.run(main))
