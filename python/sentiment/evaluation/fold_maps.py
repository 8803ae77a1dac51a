"""The sentiment maps of runs' test images, kept in the runs' folders, and what they are compared with."""

from functools import cached_property

import numpy as np

from sentiment import engine, names
from sentiment.data import image_files
from sentiment.evaluation import maps, predictions, results
from sentiment.networks import definitions, surgery, transfer
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, sha256, write_json
from sentiment.utils.progress import Progress, patience

ON_SHEET = 6
"""How many images are shown by default."""


class FoldMaps:
    """The maps of one run's test images.

    Parameters
    ----------
    run : runs.Run
        Trained and tested.
    data : dataset.Dataset
    input_size : int
        Height and width of the fully convolutional net's input, pixels.
    prediction : str
        Which of ``predictions.WAYS`` is the global prediction.
    gpu : int, optional
        By default the CPU.

    Attributes
    ----------
    predicted : dict of str to (int, float)
        Test image -> its label and the global P(positive).
    conversion : surgery.Conversion
    fingerprint : dict
        What the maps are made from, as maps.json beside them says.

    Raises
    ------
    UserError
        The run is not tested, or its net cannot be made fully convolutional.
    """

    def __init__(self, run, data, input_size, prediction, gpu=None):
        self.run, self.data, self.prediction, self.gpu = run, data, prediction, gpu
        if not (run.result.is_file() and run.predictions.is_file()):
            raise UserError(f"{run.folder} holds no predictions; run tools/train.py and tools/evaluate.py first")
        config, result = run.configuration("mean"), results.read(run.result)
        self.mean, self.weights = list(config.mean), run.weights(config.schedule.iterations)
        self.source = names.source_name(result.config.init, result.config.card)
        tested = predictions.read(run.predictions)
        self.predicted = {one.image: (one.label, getattr(one, prediction)) for one in tested}
        self.conversion = surgery.convert(definitions.read(run.deploy), (input_size, input_size), where=str(run.deploy))
        self.fingerprint = {
            "weights": result.weights,
            "predictions": sha256(run.predictions),
            "prediction": prediction,
            "input_size": input_size,
            "mean": self.mean,
        }

    @cached_property
    def nets(self):
        """The fully convolutional net and the classifier it is made from."""
        if not self.weights.is_file():
            raise UserError(f"no file {self.weights}; run tools/train.py with the same options again")
        if sha256(self.weights) != self.fingerprint["weights"]:
            raise UserError(f"{self.run.predictions} is not of {self.weights.name}; run tools/evaluate.py again")
        caffe = engine.start(self.gpu)
        with stderr_to(self.run.folder / "test.log") as terminal, patience(f"converting {self.weights}", terminal):
            classifier = transfer.load(caffe, self.run.deploy, self.weights)
            return surgery.build(caffe, self.conversion, classifier), classifier

    def inputs(self, images):
        """Images as the fully convolutional net takes them, see `maps.inputs`."""
        return maps.inputs(self.nets[0], [self.data.images / image for image in images], np.array(self.mean))

    def files(self, image):
        """The paths of an image's map and overlay."""
        folder = self.run.folder / "maps"
        return folder / f"{image}.npy", folder / f"{image}.png"

    def make(self, images, batch):
        """Map those of the images that have no complete map of this net and input yet, ``batch`` a forward pass."""
        if not self._missing(images):
            return
        identity = self.run.folder / "maps" / "maps.json"
        with locks.held(identity.parent, "mapping"):
            if not self._is_current():
                for image in self.predicted:
                    self.files(image)[0].unlink(missing_ok=True)
                write_json(identity, self.fingerprint)
            if not (missing := self._missing(images)):  # another process made them meanwhile
                return
            # Complete batches: the last digits of a map depend on the batch it is in, and must not on an interrupt.
            batches = [images[start : start + batch] for start in range(0, len(images), batch)]
            again = [image for one in batches if not missing.isdisjoint(one) for image in one]
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
        maps.save_picture(of_overlay, maps.bordered(pixels, self.predicted[image][1]))
        maps.save(of_map, answer)  # last: where there is a map, there is an overlay

    def _missing(self, images):
        if not self._is_current():
            return set(images)
        return {image for image in images if maps.read(self.files(image)[0], self.conversion.map) is None}

    def _is_current(self):
        identity = self.run.folder / "maps" / "maps.json"
        return identity.is_file() and read_json(identity) == self.fingerprint


def choose(folds, images):
    """The images to map, and those to show, from the most negative to the most positive prediction.

    ``images`` are names, or ``all``, or a number: that many, evenly spaced. A `UserError` names one that is not tested.

    Returns
    -------
    mapped, shown : dict of str to FoldMaps
        Image -> the fold that tests it.
    """
    tested = {image: fold for fold in folds for image in fold.predicted}
    ranked = sorted(tested, key=lambda image: (tested[image].predicted[image][1], image))

    def spaced(count):
        places = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
        return {ranked[round(n)]: tested[ranked[round(n)]] for n in places}

    if images == ["all"]:
        return {image: tested[image] for image in ranked}, spaced(ON_SHEET)
    if len(images) == 1 and images[0].isdigit() and int(images[0]) and images[0] not in tested:
        shown = spaced(int(images[0]))
        return shown, shown
    for image in images:
        if image not in tested:
            numbers = ", ".join(str(fold.run.fold) for fold in folds)
            raise UserError(
                f"{image} is not a test image of fold {numbers} of {folds[0].run.subset}; choose other folds by --fold"
            )
    shown = {image: tested[image] for image in ranked if image in images}
    return shown, shown


def describe(folds, shown):
    """What a sheet of the ``shown`` images (see `choose`) is made from, as figure7.json says: a dict of JSON values."""
    run, data, conversion = folds[0].run, folds[0].data, folds[0].conversion
    return {
        "dataset": data.name,
        "demo": data.demo,
        **{key: getattr(run, key) for key in ("subset", "arch", "init", "variant")},
        "source": folds[0].source,
        **{key: list(getattr(conversion, key)) for key in ("input", "map", "patch", "step")},
        "folds": {str(fold.run.fold): fold.fingerprint for fold in folds},
        "shown": [
            {"image": image, "label": label, "positive": positive, "fold": fold.run.fold}
            for image, fold in shown.items()
            for label, positive in [fold.predicted[image]]
        ],
    }


def compare(shown):
    """How far maps of images (see `choose`) are from predictions of their patches, see `maps.difference_summary`."""
    both = []
    for fold in dict.fromkeys(shown.values()):
        net, classifier = fold.nets
        inputs = fold.inputs([image for image, of in shown.items() if of is fold])
        both.append(maps.patch_differences(net, classifier, fold.conversion, inputs))
    return maps.difference_summary(*map(np.concatenate, zip(*both)))


def cost(fold):
    """What a map and a prediction take: seconds, in batches of one, and multiply-adds."""
    return {
        unit: dict(zip(("map", "prediction"), map(measure, fold.nets)))
        for unit, measure in (("seconds", maps.seconds), ("multiply_adds", definitions.multiply_adds))
    }
