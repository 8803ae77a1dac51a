"""The progressive scheme: which pictures are dropped, and what the record of weights from weak labels says."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import caffe
from helpers import toy
from sentiment import paper
from sentiment.data import dataset
from sentiment.training import solvers, weak
from sentiment.training.weak import PLAIN, PROGRESSIVE, WeakSource, WeakTraining
from sentiment.utils.errors import UserError

CERTAIN = (1 + math.log(2)) / 2  # P(positive) from which on nothing is dropped: the scores are ln 2 apart


@pytest.mark.parametrize(
    ("positive", "dropped"),
    [(0.5, 1.0), (0.6, 2 - math.exp(0.2)), (0.4, 2 - math.exp(0.2)), (0.75, 2 - math.exp(0.5)), (CERTAIN, 0.0)],
)
def test_the_probability_of_dropping_a_picture(positive, dropped):
    assert weak.drop_probability(positive) == pytest.approx(dropped, abs=1e-12)


@pytest.mark.parametrize("positive", [0.0, 1.0, 0.9, 0.1])
def test_scores_far_apart_are_never_dropped(positive):
    assert weak.drop_probability(positive) == 0.0


def test_scores_alike_are_dropped_and_scores_far_apart_kept_whatever_is_drawn():
    assert weak.kept([0.5] * 1000, seed=3) == []
    assert weak.kept([0.9, 0.1] * 500, seed=3) == list(range(1000))


def test_as_many_are_dropped_as_their_probability_says():
    kept = weak.kept([0.7] * 20_000, seed=3)
    assert len(kept) / 20_000 == pytest.approx(math.exp(0.4) - 1, abs=0.01)  # three deviations of the mean


def test_a_seed_keeps_the_same_pictures_and_another_seed_others():
    scores = [0.4 + 0.2 * (index % 97) / 97 for index in range(500)]
    assert weak.kept(scores, seed=1) == weak.kept(scores, seed=1) != weak.kept(scores, seed=2)


@pytest.fixture
def training(tmp_path):
    toy.weak_set(tmp_path / "flickr")
    return WeakTraining(dataset.load_weak(tmp_path / "flickr"), tmp_path / "runs")


def test_the_progressive_step_takes_a_third_of_the_plain_one_s_iterations(training):
    plain, progressive = training.schedule(PLAIN), training.schedule(PROGRESSIVE)
    assert (plain.iterations, progressive.iterations) == (60, 20)
    assert replace(progressive, iterations=60, stepsize=plain.stepsize) == plain


def test_without_a_schedule_of_its_own_the_iterations_follow_from_the_number_of_pictures(training):
    many = replace(training.data, schedule={}, labels={"weak": [("a", 0)] * 45_000})
    found = replace(training, data=many).schedule(PLAIN)
    epochs = found.iterations * found.batch_size / 45_000
    assert epochs == pytest.approx(paper.PCNN_EPOCHS, rel=0.001)
    assert found == solvers.schedule("pcnn", 45_000)


def test_a_definition_for_weak_labels_tests_nothing(training):
    folder = training.prepare(PLAIN, training.pairs).folder
    assert "phase: TEST" not in (folder / "train_val.prototxt").read_text()
    assert "test_i" not in (folder / "solver.prototxt").read_text()
    assert (folder / "train.txt").read_text() == training.list_path.read_text()


def test_the_record_beside_weights_tells_what_they_were_trained_on(training, tmp_path):
    assert weak.source_of(None) is None and weak.source_of(training.weights(PLAIN)) is None
    for step, pictures, kept in ((PLAIN, 25, None), (PROGRESSIVE, 18, 18)):
        (tmp_path / "trained").write_text("")
        training.folder.mkdir(parents=True, exist_ok=True)
        training.finish(step, tmp_path / "trained", pictures)
        found = weak.source_of(training.weights(step))
        assert found == WeakSource("flickr", 25, kept, found.list)
        assert len(found.list) == 64 and training.done(step)


def test_a_folder_of_another_training_is_not_continued(training):
    training.claim()
    training.claim()
    others = [
        replace(training, mean=(1.0, 2.0, 3.0)),
        replace(training, data=replace(training.data, schedule={"channels_divisor": 16})),
    ]
    for other in others:
        with pytest.raises(UserError, match=r"holds a training with another"):
            other.claim()
    replace(training, seed=7).claim()  # which has a folder of its own


def test_pictures_of_one_label_alone_are_not_trained_on(training):
    with pytest.raises(UserError, match="not both labels"):
        training.prepare(PROGRESSIVE, [("a.jpg", 1)] * 9)


def test_a_picture_that_is_missing_is_named(training):
    Path(training.data.images / "picture 7.jpg").unlink()
    with pytest.raises(UserError, match=r"list.txt: picture 7.jpg"):
        training.claim()


def test_a_mean_image_of_another_size_is_refused(training, tmp_path):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(caffe.io.array_to_blobproto(np.zeros((1, 3, 240, 256), np.float32)).SerializeToString())
    with pytest.raises(UserError, match=r"mean\.binaryproto has 256×240 pixels"):
        replace(training, mean=path).claim()
    assert not (training.folder / "weak.json").exists()
