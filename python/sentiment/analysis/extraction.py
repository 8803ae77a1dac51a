"""What features are extracted from, a run or a source as it is, and whether that is done."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sentiment import engine, paper
from sentiment.analysis import features
from sentiment.data import folds
from sentiment.data.dataset import Dataset
from sentiment.data.means import channel_means, parse_mean
from sentiment.networks import definitions
from sentiment.networks.transfer import take_over
from sentiment.sources import cards
from sentiment.training.runs import Run
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import sha256, write_if_changed
from sentiment.utils.progress import patience


@dataclass(frozen=True)
class Extraction:
    """A net, the images of some folds and a mean, whose features go to a file of Gram matrices."""

    run: Run  # of a source as it is: one whose arch is "source"
    data: Dataset
    folds: dict  # number -> folds.Fold
    lists: list  # the files of their lists, two for each fold
    model: Path  # runs as far as the weights have its layers
    weights: Path
    mean: Any  # path of a mean image, or three channel means
    mean_way: str  # one of features.MEAN_WAYS
    card: str | None = None  # the model card whose file the source is; a trained run records it itself

    @property
    def title(self):
        """What it is, for people."""
        return f"{self.run.subset}, {self.run.init} as it is" if self.run.arch == "source" else self.run.title

    @property
    def path(self):
        """The file of Gram matrices."""
        return features.file_of(self.run)

    @cached_property
    def made_from(self):
        """What the features depend on, as `features.Grams.about` has it."""
        of_image = self.mean_way == "image" and isinstance(self.mean, Path)
        return {
            "dataset": self.data.name,
            "demo": self.data.demo,
            "subset": self.run.subset,
            "arch": self.run.arch,
            "init": self.run.init,
            "precision": engine.precision(),
            "mean_way": self.mean_way,
            "mean": channel_means(self.mean).tolist(),
            "hashes": {
                "definition": sha256(self.model),
                "weights": sha256(self.weights),
                "mean": sha256(self.mean) if of_image else None,
                "lists": [sha256(path) for path in self.lists],
            },
        }

    def is_done(self):
        """Whether the file is there and made from the same."""
        if not self.path.is_file():
            return False
        before = {"precision": engine.PRECISIONS[0], **features.read(self.path).about}  # earlier files do not name it
        return all(before.get(key) == value for key, value in self.made_from.items())

    def extract(self, gpu, batch, scratch=None):
        """Run the images through the net and write the file, unless another process does so meanwhile.

        ``gpu`` is None for the CPU; ``batch`` counts crops; activations wait in ``scratch``, by default beside it.
        """
        with locks.held(self.path.parent, "extracting features"):
            if self.is_done():
                return
            labels, where = listed(self.folds, self.lists)
            if missing := self.data.missing(labels):
                raise UserError(
                    f"{missing[0]} of the fold lists is not in {self.data.images} ({len(missing)} such images)"
                )
            caffe = engine.start(gpu)
            with stderr_to(self.path.with_name("features.log")) as terminal, patience("reading the weights", terminal):
                net, end = self._load(caffe)
            mean = features.mean_to_subtract(self.mean, self.mean_way, net.blobs[net.inputs[0]].data.shape[2:])
            layers = features.layers_of(net, end)
            places = {self.data.images / image: place for image, place in where.items()}
            crops = features.centre_crops(net, list(places), mean, places.get)
            scratch = scratch or self.path.parent
            grams = features.matrices(net, crops, len(labels), layers, scratch, batch, end, self.title)
            about = {**self.made_from, **({} if self.card is None else {"card": self.card})}
            about |= {"engine": engine.describe(), "versions": engine.versions()}
            features.write(self.path, about, labels, self.folds, layers, grams)

    def _load(self, caffe):
        """The net, and the last of its layers before one that the weights lack."""
        net = caffe.Net(str(self.model), caffe.TEST)
        taken, new = take_over(net, str(self.weights), filled=set(net.params))
        if not taken:
            raise UserError(f"{self.weights} has none of the layers of {self.model}; name its definition by --model")
        names = list(net._layer_names)
        return net, names[min((names.index(name) for name in new), default=len(names)) - 1]


def of_run(run: Run, data: Dataset, splits, mean=None, way=None):
    """The `Extraction` from a fold's own net; None where there are features and the weights are gone.

    Parameters
    ----------
    splits : path
        Folder of fold lists.
    mean, way : str, optional
        By default the mean that the run was trained with, the image where it was one.

    Raises
    ------
    UserError
        The run is not trained, its lists are others now, or its mean image is not there.
    """
    names = [f"{part}_list" for part in folds.PARTS]
    config = run.configuration("mean", "mean_image", *names)
    weights = run.weights(config.schedule.iterations)
    if not weights.is_file():
        if features.file_of(run).is_file():
            return None
        raise UserError(
            f"{run.folder}: the training is not finished; run tools/train.py with the same options, which resumes it"
        )
    by_fold, lists = _folds(splits, data, run.subset, [run.fold])
    for name, path in zip(names, lists, strict=True):
        if sha256(path) != getattr(config, name):
            raise UserError(f"{path} is not the list that {run.folder} was trained with; restore it, or train again")
    mean = parse_mean(mean) if mean else _mean_of_run(run, config, way)
    return Extraction(run, data, by_fold, lists, run.deploy, weights, mean, way or _way(mean))


def of_source(source: cards.Source, runs, subset, data, splits, definition, way=None) -> Extraction:
    """The extraction from a source as it is, of the images of all folds.

    Parameters
    ----------
    source : cards.Source
    runs, subset, data, splits, way
        As of `of_run` and its run.
    definition : str
        Text of the deploy definition that the source runs in.
    """
    if source.path is None:
        raise UserError(f"INIT={source.name} has no weights to extract features from")
    run = Run(runs, subset, "source", source.name, 0)
    by_fold, lists = _folds(splits, data, subset, paper.FOLDS)
    model = run.folder.with_name("deploy.prototxt")
    write_if_changed(model, definition)
    way = way or _way(source.mean)
    return Extraction(run, data, by_fold, lists, model, source.path, source.mean, way, source.known_as)


def listed(by_fold, lists):
    """Image -> label, and image -> the first line that names it, of some folds' lists in their order.

    A `UserError` names an image that has both labels.
    """
    labels, where = {}, {}
    parts = [pairs for fold in by_fold.values() for pairs in fold]
    for path, pairs in zip(lists, parts, strict=True):
        for number, (image, label) in enumerate(pairs, start=1):
            where.setdefault(image, f"{path}, line {number}")
            if labels.setdefault(image, label) != label:
                raise UserError(f"the fold lists give {image} both labels; correct them, or run `make splits` again")
    return labels, where


def _folds(splits, data, subset, numbers):
    by_fold = {number: folds.read(splits, data.name, subset, number) for number in numbers}
    lists = [folds.list_path(splits, data.name, subset, k, part) for k in numbers for part in folds.PARTS]
    return by_fold, lists


def _way(mean):
    return "image" if isinstance(mean, Path) else "channels"


def _mean_of_run(run, config, way):
    """The mean a run was trained with: a path where it was an image, unless its channels' means are enough."""
    if not config.mean_image or way == "channels":
        return config.mean
    net = definitions.read(run.train_val)
    path = Path(next(layer.transform_param.mean_file for layer in net.layer if layer.transform_param.mean_file))
    if not path.is_file() or tuple(channel_means(path).tolist()) != config.mean:
        raise UserError(
            f"the mean image that {run.folder} was trained with is not at {path} any more; name it by --mean FILE, "
            "or subtract the means of its channels by --mean-way channels"
        )
    return path
