"""The demo's pictures: a real task that only shapes can solve, the same on every machine."""

import hashlib
from collections import Counter

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from sentiment import drawn, paper
from sentiment.figures import MOODY


@pytest.fixture(scope="module")
def scenes():
    return drawn.scenes()


def test_agreement_is_that_of_deepsent(scenes):
    counts = Counter(scene.agreement for scene in scenes)
    assert counts == {5: 882, 4: 234, 3: 153}
    for subset, annotators in paper.ANNOTATORS.items():
        assert sum(scene.agreement >= annotators for scene in scenes) == paper.LABELLED_IMAGES[subset]


def test_labels_are_the_majoritys_and_about_as_unbalanced_as_deepsents(scenes):
    assert all(scene.label == (sum(scene.votes) >= 3) for scene in scenes)
    assert 0.55 < np.mean([scene.label for scene in scenes]) < 0.66


def test_annotators_disagree_over_what_is_hard_to_read(scenes):
    def strength(agreement):
        chosen = [scene for scene in scenes if scene.agreement == agreement]
        return np.mean([abs(np.mean([mood for _, mood, _ in scene.figures])) for scene in chosen])

    assert strength(3) < strength(4) < strength(5)


def test_a_seed_and_a_number_make_a_picture(scenes):
    again = drawn.scenes()[17]
    assert np.array_equal(again.draw(), scenes[17].draw())
    assert not np.array_equal(drawn.scenes(seed=1)[17].draw(), scenes[17].draw())
    names = [scene.name for scene in scenes]
    assert len(set(names)) == len(names)


def test_pictures_are_colour_images_of_the_papers_size_and_all_different(scenes):
    pictures = [scene.draw() for scene in scenes[:100]]
    assert all(picture.shape == (256, 256, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert len({hashlib.sha256(picture.tobytes()).digest() for picture in pictures}) == 100


def test_few_pixels_do_not_tell_the_label(scenes):
    agreed = [scene for scene in scenes if scene.agreement == 5]
    pixels = np.stack([cv2.resize(s.draw(), (16, 16), interpolation=cv2.INTER_AREA).ravel() / 255 for s in agreed])
    labels = [scene.label for scene in agreed]
    for c in (0.01, 1.0):
        classifier = LogisticRegression(C=c, max_iter=2000)
        assert cross_val_score(classifier, pixels, labels, cv=5).mean() < 0.65


def test_concepts_are_balanced_and_cover_every_figure():
    concepts = drawn.concepts(2 * len(drawn.CONCEPTS))
    assert set(Counter(concept.label for concept in concepts).values()) == {2}
    assert {figure for figure, _ in drawn.CONCEPTS.values()} >= set(MOODY.values())
    assert np.array_equal(concepts[3].draw(), drawn.concepts(4)[3].draw())
