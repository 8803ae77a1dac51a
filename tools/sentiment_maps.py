"""Map the sentiment of images place by place, and put a row of them above their maps on a sheet (Figure 7).

    python tools/sentiment_maps.py --init mvso_en --fold all
    python tools/sentiment_maps.py --init caffenet --images "a.jpg" "b.jpg"
    python tools/sentiment_maps.py --init caffenet --images all --compare-patches 8 --cost

Each image is mapped by the net of the fold that tests it, made fully convolutional. The run's folder gets
maps/<image>.npy (2×8×8: P(negative), P(positive)) and maps/<image>.png, the map laid over the image in a border of the
global prediction's colour. The sheet is results/<data set>/figure7.png; figure7.json beside it says what is on it, and
what was measured. What is there is not made again.
"""

import sys
from pathlib import Path

import numpy as np

from sentiment import names, paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option, positive, runs_of, runs_options
from sentiment.data import dataset
from sentiment.evaluation import maps, results
from sentiment.evaluation.predictions import WAYS
from sentiment.figures import gallery, plots
from sentiment.figures.fold_maps import FoldMaps
from sentiment.networks import definitions
from sentiment.utils import locks
from sentiment.utils.errors import UserError
from sentiment.utils.files import default, read_json, write_json, write_whole
from sentiment.utils.progress import patience

ON_SHEET = 6
WORDS = {"center": "centre crop", "oversampled": "mean of ten crops"}


def main(argv=None):
    """Map; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--data", default=default("data/deepsent"), help="folder of images and labels (default: %(default)s)")
    runs_options(option, several=("fold",))
    option(
        "--images",
        nargs="+",
        default=[str(ON_SHEET)],
        metavar="IMAGE",
        help="names; a number: that many, evenly spaced from the most negative to the most positive prediction; "
        f"or all, of which {ON_SHEET} go on the sheet (default: {ON_SHEET})",
    )
    option(
        "--input-size", type=positive, default=paper.MAP_INPUT, metavar="N", help="pixels a side (default: %(default)s)"
    )
    option("--prediction", choices=WAYS, default="oversampled", help="the global one (default: %(default)s)")
    option("--out", type=Path, default=default("results"), help="folder of the sheet (default: %(default)s)")
    option("--compare-patches", type=positive, metavar="N", help="hold N maps against predictions of their patches")
    option("--cost", action="store_true", help="measure what a map costs over one prediction")
    gpu_option(option)
    option("--batch-size", type=positive, metavar="N", help="images a forward pass (default: 4, on a GPU 50)")
    args = parser.parse_args(argv)
    args.batch_size = args.batch_size or (maps.BATCH if args.gpu is None else maps.BATCH_GPU)

    data = dataset.load(args.data)
    of_fold = [FoldMaps(run, data, args.input_size, args.prediction, args.gpu) for run in runs_of(args)]
    wanted, shown = chosen(of_fold, args.images)
    for part in of_fold:
        part.make([image for image in wanted if image in part.predicted], args.batch_size)

    path = args.out / data.name / "figure7.png"
    about = described(of_fold, shown, data)
    before = read_json(path.with_suffix(".json")) if path.with_suffix(".json").is_file() else {}
    same = before.get("about") == about
    patches, spent = (before.get(name) if same else None for name in ("patches", "cost"))
    if args.compare_patches and (not patches or patches["maps"] != min(args.compare_patches, len(shown))):
        with patience("comparing maps with predictions of their patches"):
            patches = compare(of_fold, shown[: args.compare_patches])
    if args.cost and not spent:
        with patience("measuring the cost of a map"):
            spent = cost(of_fold[0])
    say(patches, spent)
    with locks.held(path.parent, "drawing maps"):
        if not (same and path.is_file()):
            with patience(f"drawing {path}"):
                exhibits = [part.exhibit(image) for image in shown for part in of_fold if image in part.predicted]
                write_whole(path, plots.png(gallery.sheet(exhibits, *words(about))))
        if (record := {"about": about, "patches": patches, "cost": spent}) != before:
            write_json(path.with_suffix(".json"), record)
    print(f"{path}{' (done already)' if same else ''}")
    return 0


def described(of_fold, shown, data):
    """What the sheet shows and what it is made from."""
    run, conversion = of_fold[0].run, of_fold[0].conversion
    tested = results.read(run.result).config
    return {
        "dataset": data.name,
        "demo": data.demo,
        **{key: getattr(run, key) for key in ("subset", "arch", "init", "variant")},
        "source": names.source_name(tested.init, tested.card),
        **{key: list(getattr(conversion, key)) for key in ("input", "map", "patch", "step")},
        "folds": {str(part.run.fold): part.fingerprint for part in of_fold},
        "shown": [
            {
                "image": image,
                "label": part.predicted[image][0],
                "positive": part.predicted[image][1],
                "fold": part.run.fold,
            }
            for image in shown
            for part in of_fold
            if image in part.predicted
        ],
    }


def words(about):
    """The sheet's title and notes."""
    demo = "Demo data, not photographs of the data set. " if about["demo"] else ""
    prediction = WORDS[next(iter(about["folds"].values()))["prediction"]]
    places, pixels = ("×".join(map(str, about[key])) for key in ("map", "input"))
    return (
        f"{demo}Sentiment maps: {names.net_title(about['arch'], about['source'])}"
        + (f" ({about['variant']})" if about["variant"] else ""),
        f"Border and word: the global prediction ({prediction}); its probability beside it. "
        f"Map: {places} places of an input of {pixels} pixels.\n"
        f"Data set {about['dataset']}, {names.SUBSET_TITLES[about['subset']]}; each image by the net of the fold that "
        "tests it.",
    )


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


def compare(of_fold, images):
    """How far the maps of some images are from the classifier's word on their patches."""
    both = [
        maps.patch_differences(net, classifier, part.conversion, part.inputs(own))
        for part in of_fold
        if (own := [image for image in images if image in part.predicted])
        for net, classifier in [part.nets]
    ]
    return maps.difference_summary(*(np.concatenate(ways) for ways in zip(*both, strict=True)))


def cost(part):
    """What a map takes over one prediction: time, a batch of one both ways, and arithmetic."""
    spent, sums = ([measure(net) for net in part.nets] for measure in (maps.seconds, definitions.multiply_adds))
    return {"seconds": dict(zip(("map", "prediction"), spent)), "multiply_adds": dict(zip(("map", "prediction"), sums))}


def say(patches, spent):
    """Print what was measured."""
    if patches:
        print(
            f"{patches['maps']} maps against {patches['places']} patches each, difference in P(positive): "
            f"median {patches['50']:.4f}, 90 % below {patches['90']:.4f}, 99 % below {patches['99']:.4f}, "
            f"largest {patches['100']:.4f}; {patches['same']:.1%} on the same side of 0.5"
        )
    if spent:
        (fcn, one), (sums, sums_of_one) = (spent[unit].values() for unit in ("seconds", "multiply_adds"))
        print(
            f"a map costs {fcn / one:.1f} times one prediction ({fcn * 1e3:.0f} ms over {one * 1e3:.0f} ms, one image "
            f"each; the paper says about {paper.MAP_COST}), {sums / sums_of_one:.1f} times in arithmetic "
            f"({sums / 1e6:,.0f} over {sums_of_one / 1e6:,.0f} million multiply-adds)"
        )


if __name__ == "__main__":
    sys.exit(command.run(main))
