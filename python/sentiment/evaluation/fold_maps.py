"""Sentiment maps of runs' test images, kept in the runs' folders: made, chosen, described, compared and timed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sentiment import engine, names
from sentiment.data import image_files
from sentiment.data.dataset import Dataset
from sentiment.evaluation import inference, maps, predictions, results
from sentiment.networks import definitions, surgery, transfer
from sentiment.training.runs import Run
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, sha256, write_json
from sentiment.utils.progress import Progress, patience

ON_SHEET = 6
"""The number of images on a sheet by default."""


@dataclass(eq=False)
class FoldMaps:
    """The maps of one run's test images, made by its net in fully convolutional form.

    A `UserError` says that the run is not tested, or that its net cannot be made fully convolutional.
    """

    run: Run
    data: Dataset
    input_size: int | None  # height and width of the fully convolutional net's input, pixels; see `surgery.convert`
    prediction: str  # the one of `predictions.WAYS` that is the global prediction
    gpu: int | None = None

    def __post_init__(self):
        run = self.run
        if not (run.result.is_file() and run.predictions.is_file()):
            raise UserError(f"{run.folder} has no predictions; run tools/train.py and tools/evaluate.py first")
        self.config, result = run.configuration("mean"), results.read(run.result)
        self.source = names.source_name(result.config.init, result.config.card)
        tested = predictions.read(run.predictions)
        # Test image -> its label and the global P(positive).
        self.predicted = {one.image: (one.label, getattr(one, self.prediction)) for one in tested}
        size = (self.input_size, self.input_size) if self.input_size else None
        self.conversion = surgery.convert(definitions.read(run.deploy), size, where=str(run.deploy))
        self._maps_json = run.folder / "maps" / "maps.json"
        self.made_from = {  # recorded in maps.json, beside the maps
            "weights": result.weights,
            "predictions": sha256(run.predictions),
            "prediction": self.prediction,
            "input_size": self.conversion.input[0],
            "mean": list(self.config.mean or ()),
        }

    @cached_property
    def nets(self):
        """The fully convolutional net, and the classifier that it is made from."""
        weights = self.run.weights(self.config.schedule.iterations)
        if not weights.is_file():
            raise UserError(f"no file {weights}; run tools/train.py with the same options again")
        if sha256(weights) != self.made_from["weights"]:
            raise UserError(f"{self.run.predictions} was not made by {weights.name}; run tools/evaluate.py again")
        caffe = engine.start(self.gpu)
        with stderr_to(self.run.folder / "test.log") as terminal, patience(f"converting {weights}", terminal):
            classifier = transfer.load(caffe, self.run.deploy, weights)
            return surgery.build(caffe, self.conversion, classifier), classifier

    def inputs(self, images: Iterable[str]):
        """Test images as inputs of the fully convolutional net; see `inference.warped`."""
        paths = [self.data.images / image for image in images]
        return inference.warped(self.nets[0], paths, np.array(self.config.mean), size=self.conversion.input)

    def files(self, image: str) -> tuple[Path, Path]:
        """The paths of an image's map and overlay."""
        folder = self._maps_json.parent
        return folder / f"{image}.npy", folder / f"{image}.png"

    def make(self, images: Sequence[str], batch: int):
        """Map the images that have no complete map of this net and input size yet, ``batch`` in a forward pass."""
        if not self._missing(images):
            return
        with locks.held(self._maps_json.parent, "mapping"):
            if not self._is_current():
                for image in self.predicted:
                    self.files(image)[0].unlink(missing_ok=True)
                write_json(self._maps_json, self.made_from)
            if not (missing := self._missing(images)):  # another process made them meanwhile
                return
            # Batches stay the same after an interrupt, because the last digits of a map depend on the batch it is in.
            batches = [group for group in inference.groups(images, batch) if not missing.isdisjoint(group)]
            again = [image for group in batches for image in group]
            title = f"mapping {self.run.folder}"
            with Progress(title, len(images), len(images) - len(missing), unit="images") as bar:
                answers = maps.forward(self.nets[0], self.inputs(again), batch)
                for image, answer in zip(again, answers, strict=True):
                    if image in missing:
                        self._save(image, answer)
                        bar.advance(1)

    def _save(self, image, answer):
        of_map, of_overlay = self.files(image)
        pixels = maps.overlay(image_files.load(self.data.images / image), answer)
        maps.save_image(of_overlay, maps.bordered(pixels, self.predicted[image][1]))
        maps.save(of_map, answer)  # last, so that an image that has a map has an overlay

    def _missing(self, images):
        if not self._is_current():
            return set(images)
        return {image for image in images if maps.read(self.files(image)[0], self.conversion.map) is None}

    def _is_current(self):
        return self._maps_json.is_file() and read_json(self._maps_json) == self.made_from


Shown = dict[str, FoldMaps]
"""Test images, each with the maps of the fold that tests it."""


def choose(folds: Sequence[FoldMaps], images: Sequence[str]) -> tuple[Shown, Shown]:
    """The images to map and those to show, from the most negative to the most positive prediction.

    ``images`` are names; or a number of images to map and show, evenly spaced; or ``all``, to map all of them and show
    `ON_SHEET`, evenly spaced. A `UserError` names an image that no fold tests.
    """
    tested = {image: fold for fold in folds for image in fold.predicted}
    ranked = sorted(tested, key=lambda image: (tested[image].predicted[image][1], image))
    everything = list(images) == ["all"]
    count = ON_SHEET if everything else 0
    if len(images) == 1 and images[0].isdigit() and images[0] not in tested:
        count = int(images[0])
    if count:
        places = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
        chosen = [ranked[round(place)] for place in places]
    elif missing := [image for image in images if image not in tested]:
        numbers = ", ".join(str(fold.run.fold) for fold in folds)
        raise UserError(
            f"{missing[0]} is not a test image of fold {numbers} of {folds[0].run.subset}; choose other folds by --fold"
        )
    else:
        chosen = [image for image in ranked if image in images]
    shown = {image: tested[image] for image in chosen}
    mapped = {image: tested[image] for image in ranked} if everything else shown
    return mapped, shown


def describe(folds: Sequence[FoldMaps], shown: Shown) -> dict[str, Any]:
    """What a sheet of the ``shown`` images is made from, as an object for figure7.json."""
    run, data, conversion = folds[0].run, folds[0].data, folds[0].conversion
    images = []
    for image, fold in shown.items():
        label, positive = fold.predicted[image]
        images.append({"image": image, "label": label, "positive": positive, "fold": fold.run.fold})
    return {
        "dataset": data.name,
        "demo": data.demo,
        **{key: getattr(run, key) for key in ("subset", "arch", "init", "variant")},
        "source": folds[0].source,
        **{key: list(getattr(conversion, key)) for key in ("input", "map", "patch", "step")},
        "folds": {str(fold.run.fold): fold.made_from for fold in folds},
        "shown": images,
    }


def compare(shown: Shown) -> dict[str, float]:
    """The differences between maps and predictions of their patches, see `maps.difference_summary`."""
    both = []
    for fold in dict.fromkeys(shown.values()):
        net, classifier = fold.nets
        inputs = fold.inputs(image for image, of in shown.items() if of is fold)
        both.append(maps.patch_differences(net, classifier, fold.conversion, inputs))
    mapped, patched = zip(*both, strict=True)
    return maps.difference_summary(np.concatenate(mapped), np.concatenate(patched))


def cost(fold: FoldMaps) -> dict[str, dict[str, float]]:
    """The cost of a map and of a prediction, for one image: seconds and multiply-adds."""
    nets = dict(zip(("map", "prediction"), fold.nets, strict=True))
    return {
        "seconds": {name: maps.seconds(net) for name, net in nets.items()},
        "multiply_adds": {name: definitions.multiply_adds(net) for name, net in nets.items()},
    }
