"""Predictions and sentiment maps of single images by a network that stays loaded."""

import functools
import os
from dataclasses import dataclass

import numpy as np

from sentiment import engine, paper
from sentiment.evaluation import inference, maps
from sentiment.evaluation.network import Network
from sentiment.evaluation.predictions import is_positive
from sentiment.networks import definitions, surgery, transfer
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.progress import patience


@dataclass(frozen=True)
class CropPredictions:
    """The predictions for an image's ten crops."""

    # (10,) float32: P(positive) of each crop, in the order of ``caffe.io.oversample``: upper left, upper
    # right, lower left, lower right, centre; then their mirrors.
    crops: np.ndarray

    @property
    def positive(self) -> float:
        """P(positive) of the image: the mean over the ten crops."""
        return float(self.crops.mean())

    @property
    def center(self) -> float:
        """P(positive) of the centre crop alone."""
        return float(self.crops[inference.CENTER])

    @property
    def sentiment(self) -> str:
        """``positive`` or ``negative``."""
        return "positive" if is_positive(self.positive) else "negative"

    @property
    def agreeing(self) -> int:
        """The number of crops that have the image's sentiment."""
        return int(np.sum(is_positive(self.crops) == is_positive(self.positive)))


class Predictor:
    """A loaded network; a `UserError` if its files do not belong together or it does not have two outputs."""

    def __init__(self, network: Network, gpu: int | None = None):
        self._deploy, self._means = network.deploy, np.array(network.means)
        self._caffe = engine.start(gpu)
        with stderr_to(os.devnull) as terminal, patience(f"reading {network.weights}", terminal):
            self._net = transfer.load(self._caffe, network.deploy, network.weights)
        inference.check_outputs(self._net, network.deploy)

    def predict(self, pixels: np.ndarray) -> CropPredictions:
        """The predictions for an image, (H, W, 3) uint8 RGB, equal to those of tools/evaluate.py to the last digit."""
        crops = inference.probabilities(self._net, [inference.warp(self._net, pixels, self._means)])
        return CropPredictions(crops[0, :, paper.POSITIVE])

    def map(self, pixels: np.ndarray) -> np.ndarray:
        """The sentiment map of an image, (2, rows, columns) float32: P(negative) and P(positive) of each place.

        A `UserError` says why the network cannot be made fully convolutional.
        """
        net = self._convolutional
        size = net.blobs[net.inputs[0]].data.shape[2:]
        return next(maps.forward(net, [inference.warp(net, pixels, self._means, size)]))

    @functools.cached_property
    def _convolutional(self):
        conversion = surgery.convert(definitions.read(self._deploy), where=str(self._deploy))
        with stderr_to(os.devnull):
            return surgery.build(self._caffe, conversion, self._net)
