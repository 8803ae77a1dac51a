"""Map the sentiment of images place by place, and draw a row of images above their maps (Figure 7).

    python tools/sentiment_maps.py --init mvso_en --fold all
    python tools/sentiment_maps.py --init caffenet --images "a.jpg" "b.jpg"
    python tools/sentiment_maps.py --init caffenet --images all --compare-patches 8 --cost

Each image is mapped by the net of the fold that tests it, made fully convolutional. The run's folder gets
maps/<image>.npy (2×8×8: P(negative), P(positive)) and maps/<image>.png, the map laid over the image, with a border in
the colour of the global prediction. The figure is results/<data set>/figure7.png; figure7.json beside it records its
images, its nets and the results of --compare-patches and --cost. Maps and figures that are already done are skipped.
"""

from sentiment import paper
from sentiment.cli import arguments, command
from sentiment.data import dataset
from sentiment.evaluation import fold_maps, maps
from sentiment.evaluation.predictions import WAYS
from sentiment.figures import gallery, plots
from sentiment.utils import locks
from sentiment.utils.files import read_json, write_json
from sentiment.utils.progress import patience


def main(argv=None):
    """Map images, compare and time maps if asked to, and draw the figure."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, "data", "out")
    arguments.runs_options(option, several=("fold",))
    use = (
        "test images to map and draw: their names; or a number of images, evenly spaced from the most negative to the "
        f"most positive prediction; or all, to map all and draw {fold_maps.ON_SHEET} (default: {fold_maps.ON_SHEET})"
    )
    option("--images", nargs="+", default=[str(fold_maps.ON_SHEET)], metavar="IMAGE", help=use)
    arguments.input_size_option(option)
    option("--prediction", choices=WAYS, default="oversampled", help="global prediction (default: %(default)s)")
    arguments.count_option(option, "compare-patches", "compare N maps with predictions of their patches")
    option("--cost", action="store_true", help="measure the cost of a map relative to one prediction")
    arguments.gpu_option(option)
    arguments.count_option(option, "batch-size", "images in a forward pass (default: 4; 50 on a GPU)")
    args = parser.parse_args(argv)
    batch = args.batch_size or (maps.BATCH if args.gpu is None else maps.BATCH_GPU)

    data = dataset.load(args.data)
    runs = arguments.runs_of(args)
    folds = [fold_maps.FoldMaps(run, data, args.input_size, args.prediction, args.gpu) for run in runs]
    mapped, shown = fold_maps.choose(folds, args.images)
    for fold in folds:
        fold.make([image for image, of in mapped.items() if of is fold], batch)

    path = args.out / data.name / "figure7.png"
    record = path.with_suffix(".json")
    about = fold_maps.describe(folds, shown)
    before = read_json(record) if record.is_file() else {}
    same = before.get("about") == about
    patches, cost = (before.get(name) if same else None for name in ("patches", "cost"))
    if args.compare_patches and (not patches or patches["maps"] != min(args.compare_patches, len(shown))):
        with patience("comparing maps with predictions of their patches"):
            patches = fold_maps.compare(dict(list(shown.items())[: args.compare_patches]))
    if args.cost and not cost:
        with patience("measuring the cost of a map"):
            cost = fold_maps.cost(folds[0])
    say(patches, cost)
    with locks.held(path.parent, "drawing maps"):
        if not (same and path.is_file()):
            plots.save(path, gallery.figure7, shown)
        if (now := {"about": about, "patches": patches, "cost": cost}) != before:
            write_json(record, now)
    print(f"{path}{': already done, skipped' if same else ''}")


def say(patches, cost):
    """Print the results of --compare-patches and --cost, if there are any."""
    if patches:
        print(
            f"{patches['maps']} maps compared with {patches['places']} patches each, difference in P(positive): "
            f"median {patches['50']:.4f}, 90 % below {patches['90']:.4f}, 99 % below {patches['99']:.4f}, "
            f"largest {patches['100']:.4f}; {patches['same']:.1%} on the same side of 0.5"
        )
    if cost:
        (fcn, one), (sums, sums_of_one) = (cost[unit].values() for unit in ("seconds", "multiply_adds"))
        print(
            f"a map takes {fcn / one:.1f} times as long as one prediction ({fcn * 1e3:.0f} ms and {one * 1e3:.0f} ms, "
            f"one image each; the paper says about {paper.MAP_COST} times), and {sums / sums_of_one:.1f} times as many "
            f"operations ({sums / 1e6:,.0f} and {sums_of_one / 1e6:,.0f} million multiply-adds)"
        )


if __name__ == "__main__":
    raise SystemExit(command.run(main))
