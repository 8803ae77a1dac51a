"""Fit linear classifiers to the activations of every layer: the layer analysis (Table 3).

    python tools/analyze_layers.py --init caffenet
    python tools/analyze_layers.py --init caffenet_conv --arch source --selection nested

The files of tools/extract_features.py are read, with --arch source those of its option --source. For each layer, fold
and C = 2^N a linear SVM and a logistic regression are fitted. The table of all folds analysed so far is printed with
the paper's numbers. An interrupted analysis resumes; if it is already done, only the table is printed.

All numbers behind the table are in runs/<subset>/<arch>-<init>/layers.json: dataset, demo, subset, arch, init, variant,
images, folds, exponents (N), inner_folds, mean_way, classifiers (their scikit-learn equivalents), engine, versions,
weights (fold -> SHA-256) and layers, from the output to the input. Each layer has its number of features and, for each
classifier (svm, softmax):

    accuracy, inner      fold -> accuracy for each C: on its test images; over inner folds of its training images
    paper, nested        exponent, accuracy: fold -> the N chosen that way, the accuracy on its test images
    fits, not_converged  number of fits, and of those that did not converge
    flat_from            fold -> the N from which the SVM stays the same
"""

import contextlib

from sentiment import paper
from sentiment.analysis import layer_analysis, layer_summary
from sentiment.cli import arguments, command
from sentiment.networks import architectures
from sentiment.report import layer_table
from sentiment.sources import cards
from sentiment.training.runs import Run, variant_name
from sentiment.utils import locks
from sentiment.utils.progress import Progress, duration


def main(argv=None):
    """Analyse layers."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.runs_options(option, fold="all", archs=[*architectures.ARCHITECTURES, "source"])
    use = (
        "how C is chosen, one table for each way: paper, by the mean accuracy on the test images, which is optimistic; "
        "nested, by inner folds of the training images"
    )
    arguments.several_option(option, "selection", layer_summary.SELECTIONS, use)
    option("--sample", action="store_true", help="print sample standard deviations (default: population)")
    arguments.count_option(option, "jobs", "number of threads (default: one per core)")
    args = parser.parse_args(argv)
    if args.arch == "source":
        parser.refuse(("variant", "seed"), "selects a trained run, and --arch source uses none")

    init, which = cards.run_name(arguments.init_of(args)), variant_name(args.variant, args.seed)
    for subset in args.subset:
        title = f"{subset}, {args.arch} from {init}{f' ({which})' if which else ''}"
        runs = [Run(args.runs, subset, args.arch, init, fold, which) for fold in paper.FOLDS]
        path = runs[0].folder.parent / layer_summary.FILE
        wanted = runs, args.fold, "nested" in args.selection
        folds = layer_analysis.read(*wanted)
        if any(fold.todo for fold in folds) or layer_analysis.written(path) != layer_analysis.summary(folds):
            folds = analyse(title, path, folds, wanted, args.jobs)
        else:
            command.say_skipped(title, path)
        summary = layer_analysis.summary(folds)
        for selection in args.selection:
            print(f"\n{layer_table.table(summary, selection, args.sample).markdown()}", flush=True)


def analyse(title, path, folds, wanted, jobs):
    """Analyse the layers that are still to do and write layers.json; returns the folds that are in it."""
    with contextlib.ExitStack() as stack:
        for folder in (path.parent, *(fold.run.folder for fold in folds)):
            stack.enter_context(locks.held(folder, "analysing layers"))
        folds = layer_analysis.read(*wanted)  # again: another process may have analysed some meanwhile
        count = sum(len(fold.todo) for fold in folds)
        seconds = layer_analysis.seconds(count, folds[0].nested, jobs)
        print(f"{title}: {count} layers to analyse, counted for each fold; about {duration(seconds)}", flush=True)
        with Progress(f"analysing {title}", count, unit="layers") as bar:
            layer_analysis.analyse_folds(folds, jobs, bar.advance)
        layer_summary.write(path, layer_analysis.summary(folds))
    return folds


if __name__ == "__main__":
    raise SystemExit(command.run(main))
