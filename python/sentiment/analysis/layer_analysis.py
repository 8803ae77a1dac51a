"""Linear classifiers on each layer's activations (§4.2, Table 3), from Gram matrices alone.

Per layer, fold and C of the authors' grid a linear SVM and a logistic regression are fitted to the features as they are
(`kernel_classifiers`); C is then chosen the paper's way or a fair one.
"""

import concurrent.futures
import contextlib
import os
from pathlib import Path

import numpy as np

from sentiment import paper
from sentiment.analysis import features
from sentiment.analysis.kernel_classifiers import C_GRID, logistic_path, svm_path
from sentiment.engine import PRECISIONS
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_json

CLASSIFIERS = {"svm": svm_path, "softmax": logistic_path}
FITTED = {"svm": "SVC(kernel='linear')", "softmax": "LogisticRegression(solver='liblinear')"}
"""What of scikit-learn each minimises, as it is recorded; another word makes earlier fits count as not done."""
SELECTIONS = ("paper", "nested")
"""C of the best mean accuracy on the test images, or by inner folds of the training images alone."""
SECONDS_NESTED, SECONDS_PLAIN = 5.5, 1.4  # a layer of a fold, on one core
INNER_FOLDS = 5
FILE = "layers.json"  # of all folds, beside their folders
PART = "layer_accuracies.json"  # of one fold, in its folder


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

    Returns
    -------
    list of float, list of Fit
    """
    fits = CLASSIFIERS[classifier](np.ascontiguousarray(kernel[np.ix_(train, train)]), labels[train], penalties)
    weights = np.stack([fit.coefficients for fit in fits], axis=1)
    scores = kernel[np.ix_(test, train)] @ weights + [fit.intercept for fit in fits]
    right = (scores > 0) == (labels[test] == paper.POSITIVE)[:, None]
    return right.mean(0).tolist(), fits


def inner_accuracies(kernel, labels, train, classifier, penalties=C_GRID, inner=INNER_FOLDS):
    """Mean accuracy for every C over inner folds of the training images (stratified, in the list's order).

    Returns
    -------
    list of float, list of Fit
    """
    from sklearn.model_selection import StratifiedKFold

    found, fits = [], []
    for part, held_out in StratifiedKFold(inner).split(train, labels[train]):
        values, of_part = accuracies(kernel, labels, train[part], train[held_out], classifier, penalties)
        found.append(values)
        fits += of_part
    return np.mean(found, 0).tolist(), fits


def analyse(kernel, labels, train, test, nested=True):
    """One layer of one fold: both classifiers over the grid of C.

    Returns
    -------
    dict
        By classifier: ``accuracy`` on the test images and ``inner`` (None unless ``nested``), a value a C; ``steps``
        of the solver a C; how many ``fits`` there were and how many of them did ``not_converge``; ``flat_from``: the
        exponent of C from which on an SVM's margin is hard, so that it stays the same.
    """
    found = {}
    for classifier in CLASSIFIERS:
        values, fits = accuracies(kernel, labels, train, test, classifier)
        inner, inner_fits = inner_accuracies(kernel, labels, train, classifier) if nested else (None, [])
        same = sum(fit is fits[-1] for fit in fits)
        found[classifier] = {
            "accuracy": values,
            "inner": inner,
            "steps": [fit.steps for fit in fits],
            "fits": len(fits) + len(inner_fits),
            "not_converged": sum(not fit.converged for fit in (*fits, *inner_fits)),
            "flat_from": paper.C_GRID_EXPONENTS[-same] if classifier == "svm" and same > 1 else None,
        }
    return found


class Analysis:
    """The layer analysis of one net's folds, part by part.

    Parameters
    ----------
    root : path
        Folder of all runs.
    subset, arch, init : str
        ``arch`` is ``source`` for an initialisation as it is.
    folds : sequence of int
    nested : bool
        Inner folds too.
    variant : str
        Of the runs.

    Attributes
    ----------
    grams : dict of int to features.Grams
    parts : dict of int to dict
        Fold -> what its ``PART`` file holds.
    todo : list of (int, str)
        Folds and layers still to analyse.

    Raises
    ------
    UserError
        Gram matrices that are missing or not whole, or a class with too few images.
    """

    def __init__(self, root, subset, arch, init, folds, nested=True, variant=""):
        self.runs = {fold: Run(Path(root), subset, arch, init, fold, variant) for fold in folds}
        self.path = next(iter(self.runs.values())).folder.parent / FILE
        self.nested = nested
        self.grams, self.parts = {}, {}
        for fold, run in self.runs.items():
            folder = run.folder.parent if arch == "source" else run.folder
            grams = self.grams[fold] = features.read(folder / features.FILE)
            if fold not in grams.folds:
                raise UserError(f"{grams.path} does not hold fold {fold}")
            made_from = {
                "hashes": grams.about["hashes"],
                "mean_way": grams.about["mean_way"],
                **_precision(grams.about),
            }
            # Through JSON, as it is compared with what was read from a file.
            grid = {"exponents": list(paper.C_GRID_EXPONENTS), "inner_folds": INNER_FOLDS}
            fingerprint = {**made_from, **grid, "classifiers": FITTED}
            part = read_json(run.folder / PART) if (run.folder / PART).is_file() else {}
            if part.get("made_from") != fingerprint:
                part = {"made_from": fingerprint, "layers": {}}
            self.parts[fold] = part
            self._check(grams, fold)
        self.todo = [
            (fold, layer)
            for fold, grams in self.grams.items()
            for layer in grams.layers
            if not self._has(self.parts[fold]["layers"].get(layer))
        ]

    def run(self, jobs=None, done=lambda count: None):
        """Analyse what is to do in ``jobs`` threads, and keep each layer of a fold once it is known.

        An interrupt loses the layers at work, no others.
        """
        from threadpoolctl import threadpool_limits

        with (
            threadpool_limits(1),  # the threads are enough, more would wait for each other
            concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count()) as pool,
        ):
            running = {pool.submit(self._one, fold, layer): (fold, layer) for fold, layer in self.todo}
            try:
                for future in concurrent.futures.as_completed(running):
                    fold, layer = running[future]
                    self.parts[fold]["layers"][layer] = future.result()
                    write_json(self.runs[fold].folder / PART, self.parts[fold])
                    done(1)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        self.todo = []

    def summary(self):
        """What ``FILE`` holds: accuracies by layer, classifier and fold, and each selection's C and scores."""
        first = next(iter(self.grams.values()))
        about = first.about
        run = next(iter(self.runs.values()))
        # Which card the source is of; runs and matrices of the first version do not tell.
        tells = read_json(run.record) if run.record.is_file() else about
        return {
            "dataset": about["dataset"],
            "demo": about["demo"],
            "subset": run.subset,
            "arch": run.arch,
            "init": run.init,
            **({"card": tells["card"]} if "card" in tells else {}),
            "variant": run.variant,
            "images": len(first.images),
            "folds": list(self.runs),
            "exponents": list(paper.C_GRID_EXPONENTS),
            "inner_folds": INNER_FOLDS,
            "mean_way": about["mean_way"],
            **_precision(*(grams.about for grams in self.grams.values())),
            "classifiers": FITTED,
            "engine": about["engine"],
            "versions": about["versions"],
            "weights": {str(fold): grams.about["hashes"]["weights"] for fold, grams in self.grams.items()},
            "layers": {
                layer: {"features": width, **{name: self._classifier(layer, name) for name in CLASSIFIERS}}
                for layer, width in first.layers.items()
            },
        }

    def _classifier(self, layer, name):
        parts = {fold: part["layers"][layer][name] for fold, part in self.parts.items()}
        summary = {
            "fits": sum(part["fits"] for part in parts.values()),
            "not_converged": sum(part["not_converged"] for part in parts.values()),
            "flat_from": {str(fold): part["flat_from"] for fold, part in parts.items()} if name == "svm" else None,
            "accuracy": {str(fold): part["accuracy"] for fold, part in parts.items()},
            "inner": {str(fold): part["inner"] for fold, part in parts.items()},
        }
        nested = None not in summary["inner"].values()
        test = np.array([part["accuracy"] for part in parts.values()])
        for selection in SELECTIONS if nested else ("paper",):
            # Among equals the smallest C, which is the first.
            inner = [part["inner"] if selection == "nested" else test.mean(0) for part in parts.values()]
            chosen = [int(np.argmax(np.round(values, 12))) for values in inner]
            summary[selection] = {
                "exponent": {str(fold): paper.C_GRID_EXPONENTS[c] for fold, c in zip(parts, chosen)},
                "accuracy": {str(fold): float(row[c]) for fold, row, c in zip(parts, test, chosen)},
            }
        return summary

    def is_written(self):
        """Whether ``FILE`` holds the summary."""
        return self.path.is_file() and read_json(self.path) == self.summary()

    def write(self):
        """Write ``FILE``; returns what it holds."""
        if not self.is_written():
            write_json(self.path, self.summary())
        return self.summary()

    def _one(self, fold, layer):
        grams = self.grams[fold]
        train, test = grams.folds[fold]
        return analyse(grams.gram(layer), grams.labels, train, test, self.nested)

    def _has(self, entry):
        return entry is not None and (not self.nested or all(entry[name]["inner"] is not None for name in CLASSIFIERS))

    def _check(self, grams, fold):
        train, _ = grams.folds[fold]
        least = min(np.bincount(grams.labels[train], minlength=paper.CLASSES))
        needed = INNER_FOLDS if self.nested else 1
        if least < needed:
            raise UserError(
                f"{grams.path}: fold {fold} has {least} training images of one class and needs {needed}"
                + (", or --selection paper alone" if least > 0 else "")
            )


def _precision(*abouts):
    """What features were computed in, where that is not float32 alone."""
    found = dict.fromkeys(about.get("precision", PRECISIONS[0]) for about in abouts)
    return {} if [*found] == [PRECISIONS[0]] else {"precision": " and ".join(found)}


def analysed(root, subset, arch, init, nested=True, variant="") -> list[int]:
    """The folds of which every layer is analysed, with the Gram matrices there are now."""
    found = []
    for fold in paper.FOLDS:
        with contextlib.suppress(UserError):
            if not Analysis(root, subset, arch, init, [fold], nested, variant).todo:
                found.append(fold)
    return found


def is_current(path):
    """Whether a ``FILE`` is there and holds what these classifiers found."""
    return Path(path).is_file() and read_json(path).get("classifiers") == FITTED


def seconds(layers, nested=True, jobs=None) -> float:
    """About how many seconds the analysis of so many layers of folds takes; the images are the paper's 880."""
    return layers * (SECONDS_NESTED if nested else SECONDS_PLAIN) / (jobs or os.cpu_count())


def collect(root, **wanted):
    """Every net's summary under a folder of runs, optionally only those with some values (``arch="source"``).

    Returns
    -------
    list of dict
        Sorted by data set, subset, architecture, initialisation; what `layer_table.table` takes.
    """
    summaries = []
    for path in Path(root).glob(f"**/{FILE}"):
        summary = read_json(path)
        if not isinstance(summary, dict) or "layers" not in summary:
            raise UserError(f"{path} is no layer analysis; remove it, tools/analyze_layers.py writes it anew")
        if all(summary[key] == value for key, value in wanted.items()):
            summaries.append(summary)
    return sorted(summaries, key=lambda summary: [summary[key] for key in ("dataset", "subset", "arch", "init")])
