"""Fit linear classifiers to the activations of every layer: the layer analysis (Table 3).

    python tools/analyze_layers.py --init caffenet
    python tools/analyze_layers.py --init caffenet_conv --arch source --selection nested

Reads the files of tools/extract_features.py; with --arch source those of its option --source. For each layer, fold and
C = 2^N it fits a linear SVM and a logistic regression, and prints the table beside the paper's numbers, of all folds
analysed so far. An interrupted analysis resumes; of a finished one only the table is printed.

Everything behind the table is in runs/<subset>/<arch>-<init>/layers.json: dataset, demo, subset, arch, init, variant,
images, folds, exponents (N), inner_folds, mean_way, classifiers (their scikit-learn equivalents), engine, versions,
weights (fold -> SHA-256) and layers, from the output to the input. Of each layer, its number of features and, by
classifier (svm, softmax):

    accuracy, inner      fold -> a value for each C: on its test images; over inner folds of its training images
    paper, nested        exponent, accuracy: fold -> the N chosen that way, the accuracy on its test images
    fits, not_converged  number of fits, and of those that did not converge
    flat_from            fold -> the N from which the SVM stays the same
"""

import contextlib
import sys

from sentiment.analysis import layer_analysis, layer_summary
from sentiment.cli import command
from sentiment.cli.arguments import Parser, folds_of, positive, runs_options, subsets_of
from sentiment.networks import architectures
from sentiment.report import layer_table
from sentiment.sources import cards
from sentiment.training.runs import variant_name
from sentiment.utils import locks
from sentiment.utils.progress import Progress, duration


def main(argv=None):
    """Analyse; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    runs_options(option, fold="all", archs=[*architectures.ARCHITECTURES, "source"])
    option(
        "--selection",
        nargs="+",
        choices=layer_summary.SELECTIONS,
        default=list(layer_summary.SELECTIONS),
        help="how C is chosen: paper, by the mean accuracy on the test images, which is optimistic; nested, by inner "
        "folds of the training images (default: both, a table each)",
    )
    option("--sample", action="store_true", help="print sample standard deviations (default: population)")
    option("--jobs", type=positive, metavar="N", help="number of threads (default: one per core)")
    args = parser.parse_args(argv)
    if args.arch == "source":
        parser.refuse(("variant", "seed"), "names a training, and --arch source is not trained")

    init, which = cards.run_name(args.init), variant_name(args.variant, args.seed)
    nested = "nested" in args.selection
    for subset in subsets_of(args):
        title = f"{subset}, {args.arch} from {init}{f' ({which})' if which else ''}"
        net = args.runs, subset, args.arch, init
        folds = sorted({*folds_of(args), *layer_analysis.analysed(*net, nested, which)})
        wanted = *net, folds, nested, which
        analysis = layer_analysis.Analysis(*wanted)
        if not analysis.todo and analysis.is_written():
            print(f"{title}: already done, skipped ({analysis.path})", flush=True)
            summary = analysis.summary()
        else:
            summary = analyse(title, analysis, wanted, args.jobs)
        for selection in dict.fromkeys(args.selection):
            print(f"\n{layer_table.table(summary, selection, args.sample).markdown()}", flush=True)
    return 0


def analyse(title, analysis, wanted, jobs):
    """Analyse what is to do, one process at a time; returns the summary."""
    with contextlib.ExitStack() as stack:
        for folder in (analysis.path.parent, *(run.folder for run in analysis.runs.values())):
            stack.enter_context(locks.held(folder, "analysing layers"))
        analysis = layer_analysis.Analysis(*wanted)  # read again: another process may have worked meanwhile
        seconds = layer_analysis.seconds(len(analysis.todo), analysis.nested, jobs)
        print(f"{title}: {len(analysis.todo)} layers of folds to analyse, in about {duration(seconds)}", flush=True)
        with Progress(f"analysing {title}", len(analysis.todo), unit="layers") as bar:
            analysis.run(jobs, bar.advance)
        return analysis.write()


if __name__ == "__main__":
    sys.exit(command.run(main))
