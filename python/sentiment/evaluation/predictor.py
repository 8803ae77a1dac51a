"""A trained network's prediction and sentiment map of single images."""

import functools
import os
from dataclasses import dataclass

import numpy as np

from sentiment import engine, paper
from sentiment.evaluation import inference, maps
from sentiment.evaluation.predictions import is_positive
from sentiment.networks import definitions, surgery, transfer
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.progress import patience


@dataclass(frozen=True)
class CropPredictions:
    """The predictions of an image's ten crops."""

    # (10,) float32: P(positive) of each crop, in the order of ``caffe.io.oversample``: upper left, upper
    # right, lower left, lower right, centre; then their mirrors.
    crops: np.ndarray

    @property
    def positive(self):
        """P(positive) of the image: the mean over the ten crops."""
        return float(self.crops.mean())

    @property
    def center(self):
        """P(positive) of the centre crop alone."""
        return float(self.crops[inference.CENTER])

    @property
    def sentiment(self):
        """``positive`` or ``negative``."""
        return "positive" if is_positive(self.positive) else "negative"

    @property
    def agreeing(self):
        """How many crops have the image's sentiment."""
        return int(np.sum(is_positive(self.crops) == is_positive(self.positive)))


class Predictor:
    """A trained network, loaded.

    Parameters
    ----------
    trained : trained.Trained
    gpu : int, optional
        Number of the GPU; without it, the CPU.

    Raises
    ------
    UserError
        Definition and weights do not belong together, or the network has not two outputs.
    """

    def __init__(self, trained, gpu=None):
        self.trained = trained
        self._means = np.array(trained.means)
        self._caffe = engine.start(gpu)
        with stderr_to(os.devnull) as terminal, patience(f"reading {trained.weights}", terminal):
            self._net = transfer.load(self._caffe, trained.deploy, trained.weights)
        shape = self._net.blobs[self._net.outputs[0]].data.shape[1:]
        if np.prod(shape) != paper.CLASSES:
            raise UserError(
                f"{trained.deploy} has {'×'.join(map(str, shape))} outputs; a sentiment network has {paper.CLASSES}, "
                "P(negative) and P(positive)"
            )

    def predict(self, pixels) -> CropPredictions:
        """The predictions of an image, (H, W, 3) uint8 RGB; to the last digit those of tools/evaluate.py."""
        crops = inference.probabilities(self._net, inference.warp(self._net, [inference.scaled(pixels)], self._means))
        return CropPredictions(crops[0, :, paper.POSITIVE])

    def map(self, pixels):
        """The sentiment map of an image, (2, rows, columns) float32: P(negative) and P(positive) of each place.

        Raises
        ------
        UserError
            The network cannot be made fully convolutional.
        """
        size = self._convolutional.blobs[self._convolutional.inputs[0]].data.shape[2:]
        warped = inference.warp(self._convolutional, [inference.scaled(pixels)], self._means, size)
        return next(maps.forward(self._convolutional, warped))

    @functools.cached_property
    def _convolutional(self):
        deploy = self.trained.deploy
        conversion = surgery.convert(definitions.read(deploy), where=str(deploy))
        with stderr_to(os.devnull):
            return surgery.build(self._caffe, conversion, self._net)
