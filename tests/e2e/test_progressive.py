"""The progressive step of You et al. helps where weak labels are noisy: measured on drawn pictures with known noise."""

import random
import statistics
from dataclasses import replace

import cv2
import numpy as np
import pytest

from sentiment import engine
from sentiment.data import dataset, lists
from sentiment.demo.shapes import discs, paint
from sentiment.evaluation import predictions
from sentiment.evaluation.evaluate import predict
from sentiment.evaluation.network import Network
from sentiment.training import loop, weak
from sentiment.training.weak import PLAIN, PROGRESSIVE, WeakTraining

PICTURES, TESTED, NOISE = 600, 300, 0.3
WARM = 0.9  # of a positive picture's discs, on average; as many of a negative one's are cold
SEEDS = (1, 2, 3, 4, 5)
SCHEDULE = {"channels_divisor": 8, "batch_size": 8, "iterations": 2100, "stepsize": 1400, "base_lr": 0.0003}


def picture(seed, label):
    """Twelve discs of warm and cold colours on grey: (64, 64, 3) uint8, BGR."""
    rng, canvas = np.random.default_rng(seed), np.full((64, 64, 3), 128, np.uint8)
    for _ in range(12):
        warm, light = rng.uniform() < (WARM if label else 1 - WARM), int(rng.integers(60, 255))
        tone = (30, light // 2, light) if warm else (light, light // 2, 30)
        paint(canvas, discs(tone, (0, 0, 1)), rng.uniform(4, 60, 2), rng.uniform(5, 11))
    return canvas


def draw(folder, count, kind):
    """Draw pictures of both labels in turn into a folder's images/; returns their names and true labels."""
    (folder / "images").mkdir(parents=True)
    pairs = [(f"{index}.png", index % 2) for index in range(count)]
    for index, (name, label) in enumerate(pairs):
        cv2.imwrite(str(folder / "images" / name), picture((kind, index), label))
    return pairs


def scored(training, step, listed, images):
    """The predictions of a step's network for the pictures of a list."""
    network = Network.of_files(training.deploy(step), training.weights(step), training.mean)
    return predict(network, listed, images, training.folder)


@pytest.mark.slow
def test_the_progressive_step_beats_training_on_with_all_pictures(tmp_path):
    """The mean over seeds of the accuracy on clean test pictures, from the same weights, for the same iterations.

    How it compares to the plain step before it, trained for three quarters of the iterations, depends on the seed.
    """
    true, tested = draw(tmp_path / "weak", PICTURES, 0), draw(tmp_path / "test", TESTED, 1)
    noise = random.Random(1)
    weakly = [(name, 1 - label if noise.random() < NOISE else label) for name, label in true]
    (tmp_path / "weak" / "list.txt").write_text(lists.text(weakly))
    (tmp_path / "test.txt").write_text(lists.text(tested))
    data = replace(dataset.load_weak(tmp_path / "weak"), schedule=SCHEDULE)
    caffe = engine.start(images=tmp_path / "runs")

    wrong, accuracies = [], []
    for seed in SEEDS:
        training = WeakTraining(data, tmp_path / "runs", seed=seed)

        def trained(step, pairs, training=training):
            training.finish(step, loop.train(caffe, training.prepare(step, pairs)), len(pairs))
            found = scored(training, step, tmp_path / "test.txt", tmp_path / "test" / "images")
            return predictions.accuracy(found)["center"]

        plain = trained(PLAIN, training.pairs)
        scores = [one.center for one in scored(training, PLAIN, training.list_path, data.images)]
        kept = [training.pairs[index] for index in weak.kept(scores, seed)]
        wrong.append(sum(dict(true)[name] != label for name, label in kept) / len(kept))
        accuracies.append((plain, trained("on with all", training.pairs), trained(PROGRESSIVE, kept)))
    plain, on_with_all, progressive = map(statistics.fmean, zip(*accuracies, strict=True))
    assert statistics.fmean(wrong) < 0.75 * NOISE
    assert progressive > on_with_all + 0.02, (plain, accuracies)
