"""The extraction of features from a run, or from a source that is not fine-tuned: its net, images and mean."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

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
    """What a file of Gram matrices is made from: a net, the images of some folds, and a mean."""

    run: Run  # its arch is "source" for a source that is not fine-tuned
    data: Dataset
    folds: dict[int, folds.Fold]
    lists: list[Path]  # the training list and the test list of each fold
    model: Path  # the net's definition; features end before the first layer that the weights lack
    weights: Path
    mean: features.Mean
    card: str | None = None  # see features.About

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.run.subset}, {self.run.init} not fine-tuned" if self.run.arch == "source" else self.run.title

    @property
    def path(self) -> Path:
        """The file of Gram matrices."""
        return features.file_of(self.run)

    @cached_property
    def made_from(self) -> features.About:
        """What the features depend on."""
        is_image = isinstance(self.mean, Path)
        return features.About(
            dataset=self.data.name,
            demo=self.data.demo,
            subset=self.run.subset,
            arch=self.run.arch,
            init=self.run.init,
            precision=engine.precision(),
            mean_way="image" if is_image else "channels",
            mean=channel_means(self.mean).tolist(),
            hashes={
                "definition": sha256(self.model),
                "weights": sha256(self.weights),
                "mean": sha256(self.mean) if is_image else None,
                "lists": [sha256(path) for path in self.lists],
            },
        )

    def is_done(self) -> bool:
        """Whether the file exists and was made from the same net, images and mean."""
        if not self.path.is_file():
            return False
        return replace(features.read(self.path).about, card=None, engine="", versions={}) == self.made_from

    def extract(self, gpu: int | None, batch: int, scratch: Path | None = None):
        """Run the images through the net and write the file, unless another process does so meanwhile.

        ``gpu`` is None for the CPU; ``batch`` counts crops; temporary files go to ``scratch`` (default: beside it).
        """
        with locks.held(self.path.parent, "extracting features"):
            if self.is_done():
                return
            labels, where = listed(self.folds, self.lists)
            if missing := self.data.missing(labels):
                place = where[missing[0]]
                raise UserError(f"{place}: {missing[0]} is not in {self.data.images} ({len(missing)} images missing)")
            caffe = engine.start(gpu)
            with stderr_to(self.path.with_name("features.log")) as terminal, patience("reading the weights", terminal):
                net, end = self._load(caffe)
            mean = features.mean_to_subtract(self.mean, net.blobs[net.inputs[0]].data.shape[2:])
            layers = features.layers_of(net, end)
            places = {self.data.images / image: place for image, place in where.items()}
            crops = features.centre_crops(net, list(places), mean, places.get)
            scratch = scratch or self.path.parent
            grams = features.matrices(net, crops, len(labels), layers, scratch, batch, end, self.title)
            about = replace(self.made_from, card=self.card, engine=engine.describe(), versions=engine.versions())
            features.write(self.path, about, labels, self.folds, layers, grams)

    def _load(self, caffe):
        """The net with its weights, and the name of the last layer before the first one that the weights lack."""
        net = caffe.Net(str(self.model), caffe.TEST)
        taken, new = take_over(net, str(self.weights), filled=set(net.params))
        if not taken:
            raise UserError(f"{self.weights} has none of the layers of {self.model}; --model must give its definition")
        names = list(net._layer_names)
        return net, names[min((names.index(name) for name in new), default=len(names)) - 1]


def of_run(run: Run, data: Dataset, splits: Path, mean: str | None = None, way: str | None = None) -> Extraction | None:
    """The extraction from a fold's own net; None if the weights were deleted after an extraction.

    ``splits`` is the folder of fold lists. ``mean`` is by default the one that the run was trained with. ``way``, one
    of `features.MEAN_WAYS`, is by default "image" if the mean is an image. A `UserError` says that the run is not
    trained, that its lists have changed or that its mean image is missing.
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
    subtracted = _in_way(way, parse_mean(mean) if mean else _mean_of_run(run, config, way))
    return Extraction(run, data, by_fold, lists, run.deploy, weights, subtracted)


def of_source(
    source: cards.Source, runs: Path, subset: str, data: Dataset, splits: Path, definition: str, way: str | None = None
) -> Extraction:
    """The extraction from a source that is not fine-tuned, of the images of all folds.

    ``runs`` is the folder of all runs, ``definition`` the text of the source's deploy definition; the other arguments
    are those of `of_run`.
    """
    if source.path is None:
        raise UserError(f"INIT={source.name} has no weights to extract features from")
    run = Run(runs, subset, "source", source.name, 0)
    by_fold, lists = _folds(splits, data, subset, paper.FOLDS)
    model = run.folder.with_name("deploy.prototxt")
    write_if_changed(model, definition)
    return Extraction(run, data, by_fold, lists, model, source.path, _in_way(way, source.mean), source.known_as)


def listed(by_fold: dict[int, folds.Fold], lists: list[Path]) -> tuple[dict[str, int], dict[str, str]]:
    """The images of some folds' lists in their order: image -> label, and image -> the line that first lists it.

    A `UserError` names an image that is listed with both labels.
    """
    labels, where = {}, {}
    listed_pairs = [pairs for fold in by_fold.values() for pairs in fold]
    for path, pairs in zip(lists, listed_pairs, strict=True):
        for number, (image, label) in enumerate(pairs, start=1):
            where.setdefault(image, f"{path}, line {number}")
            if labels.setdefault(image, label) != label:
                raise UserError(f"the fold lists give {image} both labels; correct them, or run `make splits` again")
    return labels, where


def _folds(splits, data, subset, numbers):
    by_fold = {number: folds.read(splits, data.name, subset, number) for number in numbers}
    lists = [folds.list_path(splits, data.name, subset, k, part) for k in numbers for part in folds.PARTS]
    return by_fold, lists


def _in_way(way, mean):
    """The mean in the form that ``way`` names: the image itself, or the means of its channels."""
    if way == "image" and not isinstance(mean, Path):
        raise UserError("the mean is three numbers, and --mean-way image needs a mean image; give one by --mean FILE")
    return tuple(channel_means(mean)) if way == "channels" else mean


def _mean_of_run(run, config, way):
    """The mean that a run was trained with: the path of its image, or its channel means if these are enough."""
    if not config.mean_image or way == "channels":
        return config.mean
    net = definitions.read(run.train_val)
    path = Path(next(layer.transform_param.mean_file for layer in net.layer if layer.transform_param.mean_file))
    if not path.is_file() or tuple(channel_means(path).tolist()) != config.mean:
        raise UserError(
            f"{path} is missing or is not the mean image that {run.folder} was trained with; give that by --mean FILE, "
            "or subtract the means of its channels by --mean-way channels"
        )
    return path
