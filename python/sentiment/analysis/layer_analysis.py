"""Linear classifiers on each layer's activations (§4.2, Table 3), from Gram matrices alone.

For each layer, fold and C of the authors' grid, a linear SVM and a logistic regression are fitted to the unscaled
features (`kernel_classifiers`). C is then chosen in the paper's way, or without the test images.
"""

import concurrent.futures
import contextlib
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sentiment import paper
from sentiment.analysis import features, layer_summary
from sentiment.analysis.kernel_classifiers import C_GRID, Fit, logistic_path, svm_path
from sentiment.analysis.layer_summary import Chosen, Classifier, Layer, Summary
from sentiment.engine import PRECISIONS, cores
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_json

CLASSIFIERS = {"svm": svm_path, "softmax": logistic_path}
FITTED = {"svm": "SVC(kernel='linear')", "softmax": "LogisticRegression(solver='liblinear')"}
"""The scikit-learn estimator that each is equivalent to; fits recorded with another estimator are made again."""
SECONDS_NESTED, SECONDS_PLAIN = 5.5, 1.4  # for one layer of one fold, on one core
INNER_FOLDS = 5
FOLD_FILE = "layer_accuracies.json"  # of one fold, in its folder


@dataclass(frozen=True)
class Fitted:
    """One classifier on one layer of one fold, over the grid of C."""

    accuracy: list  # on the test images, a value for each C
    inner: list | None  # over inner folds of the training images, a value for each C
    steps: list  # number of the solver's steps, for each C
    fits: int  # number of fits, inner folds included
    not_converged: int  # number of fits that stopped before they converged
    flat_from: int | None  # exponent of the C from which the SVM stays the same, since its margin is hard


def accuracies(kernel, labels, splits, classifier: str, penalties=C_GRID) -> tuple[list[float], list[Fit]]:
    """Mean test accuracy over some splits for each C, and all fits, of one of `CLASSIFIERS`.

    ``kernel``, (n, n), and ``labels``, (n,), are of all images; a split is the rows to train on and those to test on.
    """
    found, fits = [], []
    for train, test in splits:
        path = CLASSIFIERS[classifier](np.ascontiguousarray(kernel[np.ix_(train, train)]), labels[train], penalties)
        weights = np.stack([fit.coefficients for fit in path], axis=1)
        scores = kernel[np.ix_(test, train)] @ weights + [fit.intercept for fit in path]
        right = (scores > 0) == (labels[test] == paper.POSITIVE)[:, None]
        found.append(right.mean(0))
        fits += path
    return np.mean(found, 0).tolist(), fits


def analyse(kernel, labels, train, test, nested=True) -> dict[str, Fitted]:
    """One layer of one fold: each classifier over the grid of C.

    With ``nested``, also over inner folds of the training images; they are stratified and keep the list's order.
    """
    from sklearn.model_selection import StratifiedKFold

    splits = StratifiedKFold(INNER_FOLDS).split(train, labels[train]) if nested else ()
    inner_folds = [(train[fitted], train[held_out]) for fitted, held_out in splits]
    found = {}
    for classifier in CLASSIFIERS:
        values, fits = accuracies(kernel, labels, [(train, test)], classifier)
        inner, inner_fits = accuracies(kernel, labels, inner_folds, classifier) if nested else (None, [])
        same = sum(fit is fits[-1] for fit in fits)
        found[classifier] = Fitted(
            accuracy=values,
            inner=inner,
            steps=[fit.steps for fit in fits],
            fits=len(fits) + len(inner_fits),
            not_converged=sum(not fit.converged for fit in (*fits, *inner_fits)),
            flat_from=paper.C_GRID_EXPONENTS[-same] if classifier == "svm" and same > 1 else None,
        )
    return found


class FoldAnalysis:
    """The layer analysis of one fold: its ``grams``, and ``layers``, the results so far as in the file `FOLD_FILE`.

    A `UserError` names Gram matrices that are missing or damaged, or a class with too few images.
    """

    def __init__(self, run: Run, nested=True):
        self.run, self.nested = run, nested
        self.grams = features.read(features.file_of(run))
        if run.fold not in self.grams.folds:
            raise UserError(f"{self.grams.path} has no fold {run.fold}; run tools/extract_features.py for it")
        self.train, self.test = self.grams.folds[run.fold]
        least = min(np.bincount(self.grams.labels[self.train], minlength=paper.CLASSES))
        needed = INNER_FOLDS if nested else 1
        if least < needed:
            raise UserError(
                f"{self.grams.path}: fold {run.fold} has {least} training images of one class, and {needed} are needed"
                + ("; --selection paper needs only one" if least > 0 else "")
            )
        precision = self.grams.about.precision
        self.made_from = {
            "hashes": self.grams.about.hashes,
            "mean_way": self.grams.about.mean_way,
            **({"precision": precision} if precision != PRECISIONS[0] else {}),
            "exponents": list(paper.C_GRID_EXPONENTS),
            "inner_folds": INNER_FOLDS,
            "classifiers": FITTED,
        }
        before = read_json(run.folder / FOLD_FILE) if (run.folder / FOLD_FILE).is_file() else {}
        self.layers = before["layers"] if before.get("made_from") == self.made_from else {}

    @property
    def todo(self) -> list[str]:
        """The layers still to analyse."""
        inner = {layer: fitted["svm"]["inner"] for layer, fitted in self.layers.items()}
        return [layer for layer in self.grams.layers if layer not in inner or (self.nested and inner[layer] is None)]

    def analyse(self, layer: str) -> dict[str, Fitted]:
        """The results of the function `analyse` for a layer."""
        return analyse(self.grams.gram(layer), self.grams.labels, self.train, self.test, self.nested)

    def keep(self, layer: str, found: dict[str, Fitted]):
        """Add the results for a layer to `FOLD_FILE`."""
        self.layers[layer] = {classifier: asdict(fitted) for classifier, fitted in found.items()}
        write_json(self.run.folder / FOLD_FILE, {"made_from": self.made_from, "layers": self.layers})


def read(runs: Iterable[Run], wanted: Container[int], nested=True) -> list[FoldAnalysis]:
    """The analyses of a net's wanted folds, and of its other folds if all their layers are analysed."""
    found = []
    for run in runs:
        if run.fold in wanted:
            found.append(FoldAnalysis(run, nested))
            continue
        with contextlib.suppress(UserError):
            fold = FoldAnalysis(run, nested)
            if not fold.todo:
                found.append(fold)
    return found


def analyse_folds(folds: list[FoldAnalysis], jobs: int | None = None, done=lambda count: None):
    """Analyse the layers of some folds that are still to do in ``jobs`` threads, by default one for each core.

    Each layer of a fold is written as soon as it is done: an interrupt loses only those that are being analysed.
    ``done`` is called with the number of layers since the last call.
    """
    from threadpoolctl import threadpool_limits

    with (
        threadpool_limits(1),  # each layer has a thread; more for its linear algebra would compete
        concurrent.futures.ThreadPoolExecutor(jobs or cores()) as pool,
    ):
        running = {pool.submit(fold.analyse, layer): (fold, layer) for fold in folds for layer in fold.todo}
        try:
            for future in concurrent.futures.as_completed(running):
                fold, layer = running[future]
                fold.keep(layer, future.result())
                done(1)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def summary(folds: list[FoldAnalysis]) -> Summary:
    """Accuracies by layer, classifier and fold, and each selection's C and scores."""
    run, grams = folds[0].run, folds[0].grams
    # The source's model card; the first version recorded it neither for runs nor for matrices.
    card = read_json(run.record).get("card") if run.record.is_file() else grams.about.card
    precisions = dict.fromkeys(fold.grams.about.precision for fold in folds)
    return Summary(
        dataset=grams.about.dataset,
        demo=grams.about.demo,
        subset=run.subset,
        arch=run.arch,
        init=run.init,
        card=card,
        variant=run.variant,
        images=len(grams.images),
        folds=[fold.run.fold for fold in folds],
        exponents=list(paper.C_GRID_EXPONENTS),
        inner_folds=INNER_FOLDS,
        mean_way=grams.about.mean_way,
        precision=" and ".join(precisions) if list(precisions) != [PRECISIONS[0]] else None,
        classifiers=FITTED,
        engine=grams.about.engine,
        versions=grams.about.versions,
        weights={fold.run.fold: fold.grams.about.hashes["weights"] for fold in folds},
        layers={
            layer: Layer(width, **{name: _classifier(folds, layer, name) for name in CLASSIFIERS})
            for layer, width in grams.layers.items()
        },
    )


def _classifier(folds, layer, name):
    fitted = {fold.run.fold: Fitted(**fold.layers[layer][name]) for fold in folds}
    accuracy = {fold: one.accuracy for fold, one in fitted.items()}
    inner = {fold: one.inner for fold, one in fitted.items()}
    mean = np.mean(list(accuracy.values()), 0)
    return Classifier(
        fits=sum(one.fits for one in fitted.values()),
        not_converged=sum(one.not_converged for one in fitted.values()),
        flat_from={fold: one.flat_from for fold, one in fitted.items()} if name == "svm" else None,
        accuracy=accuracy,
        inner=inner,
        paper=_choose(accuracy, dict.fromkeys(fitted, mean)),
        nested=None if None in inner.values() else _choose(accuracy, inner),
    )


def _choose(accuracy, values):
    """For each fold, the C with the largest of ``values``, the smallest if several have it, and its accuracy."""
    chosen = {fold: int(np.argmax(np.round(values[fold], 12))) for fold in accuracy}
    return Chosen(
        exponent={fold: paper.C_GRID_EXPONENTS[c] for fold, c in chosen.items()},
        accuracy={fold: accuracy[fold][c] for fold, c in chosen.items()},
    )


def written(path: Path) -> Summary | None:
    """The summary in a layers.json; None if the file is missing or damaged."""
    with contextlib.suppress(UserError):
        return layer_summary.read(path)
    return None


def seconds(layers: int, nested=True, jobs: int | None = None) -> float:
    """Rough number of seconds that ``layers`` layers, counted for each fold, take with the paper's 880 images."""
    return layers * (SECONDS_NESTED if nested else SECONDS_PLAIN) / (jobs or cores())
