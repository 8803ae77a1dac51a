"""Linear probes: a new layer that is fitted to the frozen features of a source, instead of trained with all layers.

A logistic regression on the features that feed the new layer is that layer with two outputs and a softmax. So a probe
is written as a run like any other, with the source's layers as they were, and all tools test, show and export it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentiment import paper
from sentiment.analysis.layer_analysis import INNER_FOLDS
from sentiment.data.means import channel_means
from sentiment.evaluation import inference
from sentiment.networks import architectures
from sentiment.networks.transfer import take_over
from sentiment.training.plans import Plan
from sentiment.utils import records
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import replacing, write_json
from sentiment.utils.progress import Progress, patience

C_GRID = tuple(10 ** (exponent / 2) for exponent in range(-2, 9))
"""From 0.1 to 10,000 in half decades, for features whose mean squared norm is 1."""
FILE, LOG = "probe.json", "probe.log"  # in the run's folder: a `Probe`, and Caffe's log


@dataclass(frozen=True)
class Probe:
    """How a fold's probe was fitted."""

    features: int  # numbers for an image
    scale: float  # the features were multiplied by it, so that their mean squared norm was 1
    grid: list  # the values of C that were tried
    inner_folds: int  # of the training images
    inner_accuracy: list  # mean over the inner folds, for each C of the grid
    c: float  # the one with the best inner accuracy, the smallest of several


@dataclass(frozen=True)
class Fitted:
    """A logistic regression: P(positive) is the logistic function of ``features @ weights + intercept``."""

    weights: np.ndarray  # (d,) float64, for features that are not scaled
    intercept: float
    about: Probe


def classifier(features: np.ndarray, labels: np.ndarray, grid=C_GRID, done: Callable = lambda count: None) -> Fitted:
    """The logistic regression on the features, (n, d), of n images with labels, (n,), of 0 and 1.

    C is chosen by the accuracy over inner folds, which are stratified and keep the images' order; then all images are
    fitted. ``done`` is called after each C with 1. A `UserError` names a class with fewer images than inner folds,
    or says that the features are of no use.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    if (least := min(np.bincount(labels, minlength=paper.CLASSES))) < INNER_FOLDS:
        raise UserError(f"a probe needs {INNER_FOLDS} training images of each class, and one class has {least}")
    norm = np.sqrt(np.square(features, dtype=np.float64).sum(1).mean())
    if not 0 < norm < np.inf:
        raise UserError("the source's features are all zero, or not finite; check its weights and the mean")
    scale = 1 / norm
    scaled, accuracies = features * scale, []
    for penalty in grid:
        right = cross_val_score(_logistic(penalty), scaled, labels, cv=StratifiedKFold(INNER_FOLDS))
        accuracies.append(round(float(right.mean()), 12))  # sums of the same numbers in another order are ties too
        done(1)
    best = grid[int(np.argmax(accuracies))]
    fitted = _logistic(best).fit(scaled, labels)
    about = Probe(features.shape[1], float(scale), list(grid), INNER_FOLDS, accuracies, best)
    return Fitted(fitted.coef_[0] * scale, float(fitted.intercept_[0]), about)


def _logistic(penalty):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=penalty, tol=1e-6, max_iter=10_000)  # L2, the intercept is free


def fit(caffe, plan: Plan, known: dict[Path, np.ndarray], batch: int = inference.BATCH) -> Path:
    """Fit the new layer of a run whose files `Plan.write` has written; returns the path of the weights.

    ``known`` has the features of images by path, for plans of one source and architecture; those of this plan's
    training images are added, so that folds share them. ``batch`` counts crops. An interrupted fit starts again.
    """
    run, source = plan.run, plan.source.path
    new = architectures.ARCHITECTURES[run.arch].new_layer
    with stderr_to(run.folder / LOG) as terminal:
        with patience(f"{run.title}: setting up", terminal):
            net = caffe.Net(str(run.deploy), caffe.TEST)
            take_over(net, str(source), filled={new})
        where = {
            plan.data.images / image: f"{plan.paths[0]}, line {number}"
            for number, (image, _) in enumerate(plan.lists.train, start=1)
        }
        unseen = [path for path in where if path not in known]
        if unseen:
            with Progress(f"{run.title}: features", len(unseen), unit="images", stream=terminal) as bar:
                means = channel_means(plan.source.mean)
                images = inference.warped(net, unseen, means, where.get)
                found = features(net, new, images, batch, bar.advance)
                known.update(zip(unseen, found, strict=True))
        rows = np.stack([known[plan.data.images / image] for image, _ in plan.lists.train])
        labels = np.array([label for _, label in plan.lists.train])
        with Progress(f"{run.title}: fitting", len(C_GRID), unit="values of C", stream=terminal) as bar:
            fitted = classifier(rows, labels, done=bar.advance)
        _fill(net, new, fitted)
        write_json(run.folder / FILE, records.to_json(fitted.about))
        with replacing(plan.weights) as unfinished:  # last, because its presence means that the run is done
            net.save(str(unfinished))
    best = max(fitted.about.inner_accuracy)
    print(f"{run.title}: C {fitted.about.c:g}, accuracy over {INNER_FOLDS} inner folds {best:.3f}", flush=True)
    return plan.weights


def features(net, layer: str, images, batch: int = inference.BATCH, done: Callable = lambda count: None) -> np.ndarray:
    """The features that feed a layer, of the centre crops of images: (n, d) float32.

    A convolution's are averaged over its input's cells: it is linear, and a global average follows it. ``images`` are
    (3, H, W), as `inference.warp` gives them; ``done`` is called with the number of images of each pass.
    """
    name, (bottom, *_) = net.inputs[0], net.bottom_names[layer]
    pooled = net.params[layer][0].data.ndim > 2
    height, width = net.blobs[name].data.shape[2:]
    found = []
    for group in inference.groups(images, batch):
        net.blobs[name].reshape(len(group), 3, height, width)
        net.reshape()
        for image, crop in zip(group, net.blobs[name].data, strict=True):
            crop[...] = inference.centre_crop(image, height, width)
        net.forward(end=layer)
        cells = net.blobs[bottom].data
        found.append(cells.mean((2, 3)) if pooled else cells.reshape(len(group), -1).copy())
        done(len(group))
    return np.concatenate(found)


def _fill(net, layer, fitted):
    """Write a logistic regression into the layer with two outputs before a softmax."""
    weights, biases = (blob.data for blob in net.params[layer])
    weights[paper.POSITIVE] = (fitted.weights / 2).reshape(weights.shape[1:])
    weights[1 - paper.POSITIVE] = -weights[paper.POSITIVE]
    biases[paper.POSITIVE] = fitted.intercept / 2
    biases[1 - paper.POSITIVE] = -biases[paper.POSITIVE]
