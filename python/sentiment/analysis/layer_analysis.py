"""Linear classifiers on each layer's activations (§4.2, Table 3), from Gram matrices alone.

Per layer, fold and C of the authors' grid a linear SVM and a logistic regression are fitted to the features as they are
(`kernel_classifiers`); C is then chosen in the paper's way, or without the test images.
"""

import concurrent.futures
import contextlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sentiment import paper
from sentiment.analysis import features, layer_summary
from sentiment.analysis.kernel_classifiers import C_GRID, logistic_path, svm_path
from sentiment.analysis.layer_summary import Chosen, Classifier, Layer, Summary
from sentiment.engine import PRECISIONS
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_json

CLASSIFIERS = {"svm": svm_path, "softmax": logistic_path}
FITTED = {"svm": "SVC(kernel='linear')", "softmax": "LogisticRegression(solver='liblinear')"}
"""What of scikit-learn each minimises, as it is recorded; where another is recorded, the fits are made again."""
SECONDS_NESTED, SECONDS_PLAIN = 5.5, 1.4  # a layer of a fold, on one core
INNER_FOLDS = 5
PART = "layer_accuracies.json"  # of one fold, in its folder


@dataclass(frozen=True)
class Fitted:
    """One classifier on one layer of one fold, over the grid of C."""

    accuracy: list  # on the test images, a value for each C
    inner: list | None  # over inner folds of the training images, a value for each C
    steps: list  # of the solver, for each C
    fits: int  # inner folds included
    not_converged: int
    flat_from: int | None  # exponent of the C from which an SVM's margin is hard, so that it stays the same


def accuracies(kernel, labels, train, test, classifier, penalties=C_GRID):
    """Test accuracy for every C, and the fits.

    Parameters
    ----------
    kernel : (n, n) ndarray
        Of all images.
    labels : (n,) ndarray
    train, test : int ndarray
        Rows.
    classifier : str
        One of ``CLASSIFIERS``.
    """
    fits = CLASSIFIERS[classifier](np.ascontiguousarray(kernel[np.ix_(train, train)]), labels[train], penalties)
    weights = np.stack([fit.coefficients for fit in fits], axis=1)
    scores = kernel[np.ix_(test, train)] @ weights + [fit.intercept for fit in fits]
    right = (scores > 0) == (labels[test] == paper.POSITIVE)[:, None]
    return right.mean(0).tolist(), fits


def inner_accuracies(kernel, labels, train, classifier, penalties=C_GRID, inner=INNER_FOLDS):
    """Mean accuracy for every C over inner folds of the training images (stratified, in the list's order), and fits."""
    from sklearn.model_selection import StratifiedKFold

    found, fits = [], []
    for part, held_out in StratifiedKFold(inner).split(train, labels[train]):
        values, of_part = accuracies(kernel, labels, train[part], train[held_out], classifier, penalties)
        found.append(values)
        fits += of_part
    return np.mean(found, 0).tolist(), fits


def analyse(kernel, labels, train, test, nested=True) -> dict[str, Fitted]:
    """One layer of one fold: each classifier over the grid of C; arguments as of `accuracies`."""
    found = {}
    for classifier in CLASSIFIERS:
        values, fits = accuracies(kernel, labels, train, test, classifier)
        inner, inner_fits = inner_accuracies(kernel, labels, train, classifier) if nested else (None, [])
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


class Analysis:
    """The layer analysis of one net's folds, part by part.

    Parameters
    ----------
    root : path
        Folder of all runs.
    subset, arch, init : str
        ``arch`` is ``source`` for a source as it is.
    folds : sequence of int
    nested : bool
        Inner folds too.
    variant : str
        Of the runs.

    Attributes
    ----------
    path : Path
        Of the summary.
    todo : list of (int, str)
        Folds and layers still to analyse.

    Raises
    ------
    UserError
        Gram matrices that are missing or damaged, or a class with too few images.
    """

    def __init__(self, root, subset, arch, init, folds, nested=True, variant=""):
        self.runs = {fold: Run(Path(root), subset, arch, init, fold, variant) for fold in folds}
        self.path = next(iter(self.runs.values())).folder.parent / layer_summary.FILE
        self.nested = nested
        self.grams, self.parts = {}, {}
        for fold, run in self.runs.items():
            grams = self.grams[fold] = features.read(features.file_of(run))
            if fold not in grams.folds:
                raise UserError(f"{grams.path} has no fold {fold}; run tools/extract_features.py for it")
            self._check(grams, fold)
            precision = _precision([grams])
            made_from = {
                "hashes": grams.about["hashes"],
                "mean_way": grams.about["mean_way"],
                **({"precision": precision} if precision else {}),
                "exponents": list(paper.C_GRID_EXPONENTS),
                "inner_folds": INNER_FOLDS,
                "classifiers": FITTED,
            }
            part = read_json(run.folder / PART) if (run.folder / PART).is_file() else {}
            same = part.get("made_from") == made_from
            self.parts[fold] = part if same else {"made_from": made_from, "layers": {}}
        self.todo = [
            (fold, layer)
            for fold, grams in self.grams.items()
            for layer in grams.layers
            if not self._is_analysed(fold, layer)
        ]

    def run(self, jobs=None, done=lambda count: None):
        """Analyse ``todo`` in ``jobs`` threads, and write each layer of a fold as soon as it is done.

        An interrupt loses only the layers that are being analysed.
        """
        from threadpoolctl import threadpool_limits

        with (
            threadpool_limits(1),  # each layer has a thread; more for its linear algebra would compete
            concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count()) as pool,
        ):
            running = {pool.submit(self._one, fold, layer): (fold, layer) for fold, layer in self.todo}
            try:
                for future in concurrent.futures.as_completed(running):
                    fold, layer = running[future]
                    found = {name: asdict(fitted) for name, fitted in future.result().items()}
                    self.parts[fold]["layers"][layer] = found
                    write_json(self.runs[fold].folder / PART, self.parts[fold])
                    done(1)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        self.todo = []

    def _one(self, fold, layer):
        grams = self.grams[fold]
        train, test = grams.folds[fold]
        return analyse(grams.gram(layer), grams.labels, train, test, self.nested)

    def _fitted(self, fold, layer):
        """What is known of a layer of a fold, by classifier."""
        return {name: Fitted(**entry) for name, entry in self.parts[fold]["layers"].get(layer, {}).items()}

    def _is_analysed(self, fold, layer):
        fitted = self._fitted(fold, layer).values()
        return bool(fitted) and not (self.nested and any(one.inner is None for one in fitted))

    def _check(self, grams, fold):
        train, _ = grams.folds[fold]
        least = min(np.bincount(grams.labels[train], minlength=paper.CLASSES))
        needed = INNER_FOLDS if self.nested else 1
        if least < needed:
            raise UserError(
                f"{grams.path}: fold {fold} has {least} training images of one class, and {needed} are needed"
                + ("; --selection paper alone needs one" if least > 0 else "")
            )

    def summary(self) -> Summary:
        """Accuracies by layer, classifier and fold, and each selection's C and scores."""
        first = next(iter(self.grams.values()))
        about = first.about
        run = next(iter(self.runs.values()))
        # Which model card the source is of; runs and matrices of the first version do not say.
        recorded = read_json(run.record) if run.record.is_file() else about
        return Summary(
            dataset=about["dataset"],
            demo=about["demo"],
            subset=run.subset,
            arch=run.arch,
            init=run.init,
            card=recorded.get("card"),
            variant=run.variant,
            images=len(first.images),
            folds=list(self.runs),
            exponents=list(paper.C_GRID_EXPONENTS),
            inner_folds=INNER_FOLDS,
            mean_way=about["mean_way"],
            precision=_precision(self.grams.values()),
            classifiers=FITTED,
            engine=about["engine"],
            versions=about["versions"],
            weights={fold: grams.about["hashes"]["weights"] for fold, grams in self.grams.items()},
            layers={
                layer: Layer(width, **{name: self._classifier(layer, name) for name in CLASSIFIERS})
                for layer, width in first.layers.items()
            },
        )

    def _classifier(self, layer, name):
        parts = {fold: self._fitted(fold, layer)[name] for fold in self.parts}
        accuracy = {fold: part.accuracy for fold, part in parts.items()}
        inner = {fold: part.inner for fold, part in parts.items()}
        mean = np.mean([part.accuracy for part in parts.values()], 0)
        return Classifier(
            fits=sum(part.fits for part in parts.values()),
            not_converged=sum(part.not_converged for part in parts.values()),
            flat_from={fold: part.flat_from for fold, part in parts.items()} if name == "svm" else None,
            accuracy=accuracy,
            inner=inner,
            paper=_choose(accuracy, dict.fromkeys(parts, mean)),
            nested=None if None in inner.values() else _choose(accuracy, inner),
        )

    def is_written(self):
        """Whether ``path`` holds the summary."""
        with contextlib.suppress(UserError):  # no file, or a damaged one
            return layer_summary.read(self.path) == self.summary()
        return False

    def write(self):
        """Write the summary to ``path`` unless that has it; returns it."""
        if not self.is_written():
            layer_summary.write(self.path, self.summary())
        return self.summary()


def _choose(accuracy, values):
    """Per fold the C of the largest of ``values``, the smallest C among equals, and its accuracy."""
    chosen = {fold: int(np.argmax(np.round(values[fold], 12))) for fold in accuracy}
    return Chosen(
        exponent={fold: paper.C_GRID_EXPONENTS[c] for fold, c in chosen.items()},
        accuracy={fold: accuracy[fold][c] for fold, c in chosen.items()},
    )


def _precision(grams):
    """The precision of some features, None where that is float32 alone."""
    found = list(dict.fromkeys(one.about.get("precision", PRECISIONS[0]) for one in grams))
    return None if found == [PRECISIONS[0]] else " and ".join(found)


def analysed(root, subset, arch, init, nested=True, variant="") -> list[int]:
    """The folds of which every layer is analysed, from the Gram matrices that are there now."""
    found = []
    for fold in paper.FOLDS:
        with contextlib.suppress(UserError):
            if not Analysis(root, subset, arch, init, [fold], nested, variant).todo:
                found.append(fold)
    return found


def is_current(path):
    """Whether there is a layers.json of these classifiers."""
    with contextlib.suppress(UserError):  # no file, or a damaged one
        return layer_summary.read(path).classifiers == FITTED
    return False


def seconds(layers, nested=True, jobs=None) -> float:
    """About how many seconds it takes to analyse a number of layers of folds, for the paper's 880 images."""
    return layers * (SECONDS_NESTED if nested else SECONDS_PLAIN) / (jobs or os.cpu_count())
