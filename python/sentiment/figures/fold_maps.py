"""The maps of a fold's test images, kept in its run's folder."""

from typing import Any

import numpy as np

from sentiment import engine
from sentiment.data import image_files
from sentiment.evaluation import maps, predictions, results
from sentiment.figures import gallery
from sentiment.networks import definitions, surgery, transfer
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, sha256, write_json
from sentiment.utils.progress import Progress, patience


class FoldMaps:
    """The maps of one run's test images.

    Parameters
    ----------
    run : runs.Run
        Trained and tested.
    data : dataset.Dataset
    input_size : int
        Of the fully convolutional net, pixels a side.
    prediction : str
        Which of ``predictions.WAYS`` is the global prediction.
    gpu : int, optional
        A CUDA card's number.

    Attributes
    ----------
    predicted : dict of str to (int, float)
        Test image -> its label and the global P(positive).
    conversion : surgery.Conversion

    Raises
    ------
    UserError
        The run is not tested, or its net cannot be made fully convolutional.
    """

    def __init__(self, run, data, input_size, prediction, gpu=None):
        self.run, self.data, self.gpu = run, data, gpu
        if not (run.result.is_file() and run.predictions.is_file()):
            raise UserError(f"{run.folder} holds no predictions; run tools/train.py and tools/evaluate.py first")
        self.config = run.configuration("mean")
        self.weights = run.weights(self.config.schedule.iterations)
        tested = predictions.read(run.predictions)
        self.predicted = {one.image: (one.label, getattr(one, prediction)) for one in tested}
        size = (input_size, input_size)
        self.conversion = surgery.convert(definitions.read(run.deploy), size, where=str(run.deploy))
        self.folder = run.folder / "maps"
        self.fingerprint = {
            "weights": results.read(run.result).weights,
            "predictions": sha256(run.predictions),
            "prediction": prediction,
            "input_size": input_size,
            "mean": list(self.config.mean),
        }
        self.loaded = None

    @property
    def nets(self) -> tuple[Any, Any]:
        """The fully convolutional net and the classifier, loaded when first asked for."""
        if self.loaded is None:
            if not self.weights.is_file():
                raise UserError(f"{self.weights} is not there any more; run tools/train.py with the same options again")
            if sha256(self.weights) != self.fingerprint["weights"]:
                raise UserError(f"{self.run.predictions} is not of {self.weights.name}; run tools/evaluate.py again")
            caffe = engine.start(self.gpu)
            with stderr_to(self.run.folder / "test.log") as terminal, patience(f"converting {self.weights}", terminal):
                classifier = transfer.load(caffe, self.run.deploy, self.weights)
                self.loaded = surgery.build(caffe, self.conversion, classifier), classifier
        return self.loaded

    def inputs(self, images):
        """What the fully convolutional net takes for these images."""
        paths = [self.data.images / image for image in images]
        return maps.inputs(self.nets[0], paths, np.array(self.config.mean))

    def files(self, image):
        """The paths of an image's map and overlay."""
        return self.folder / f"{image}.npy", self.folder / f"{image}.png"

    def make(self, images, batch):
        """Map those of the images that have no whole map of this net and input yet."""
        if self._is_made(images):
            return
        with locks.held(self.folder, "mapping"):
            self._make(images, batch)

    def _is_made(self, images):
        identity = self.folder / "maps.json"
        same = identity.is_file() and read_json(identity) == self.fingerprint
        return same and all(maps.read(self.files(image)[0], self.conversion.map) is not None for image in images)

    def _make(self, images, batch):
        identity = self.folder / "maps.json"
        if not identity.is_file() or read_json(identity) != self.fingerprint:
            for image in self.predicted:
                self.files(image)[0].unlink(missing_ok=True)
            write_json(identity, self.fingerprint)
        # Whole batches, for a map's last digits depend on what is in a batch with it: an interrupt is not to be seen.
        batches = [images[start : start + batch] for start in range(0, len(images), batch)]
        mapped = {image for image in images if maps.read(self.files(image)[0], self.conversion.map) is not None}
        again = [image for together in batches if not mapped.issuperset(together) for image in together]
        if not again:
            return
        title = f"mapping {self.run.folder}"
        with Progress(title, len(images), len(mapped), unit="images") as bar:
            answers = maps.forward(self.nets[0], self.inputs(again), batch)
            for image, answer in zip(again, answers, strict=True):
                if image in mapped:
                    continue
                pixels = maps.overlay(image_files.load(self.data.images / image), answer)
                of_map, of_overlay = self.files(image)
                maps.save_picture(of_overlay, maps.bordered(pixels, self.predicted[image][1]))
                maps.save(of_map, answer)  # last: it says that both are there
                bar.advance(1)

    def exhibit(self, image):
        """An image for the sheet."""
        label, positive = self.predicted[image]
        shown = image_files.load(self.data.images / image), image_files.load(self.files(image)[1])
        return gallery.Exhibit(*shown, positive, label, self.run.fold)
