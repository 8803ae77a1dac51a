"""The constants agree with one another, as the paper's own arithmetic says they must."""

import pytest

from sentiment import paper
from sentiment.networks import architectures


@pytest.mark.parametrize("subset", paper.SUBSETS)
def test_folds_use_the_largest_multiple_of_five(subset):
    assert paper.IMAGES[subset] == paper.LABELLED_IMAGES[subset] // 5 * 5


@pytest.mark.parametrize("subset", paper.SUBSETS)
def test_iterations_are_65_epochs_to_a_multiple_of_15(subset):
    training_images = paper.IMAGES[subset] * 4 // 5
    epochs = paper.EPOCHS * training_images / paper.BATCH_SIZE
    assert paper.ITERATIONS[subset] == round(epochs / 15) * 15


@pytest.mark.parametrize("subset", paper.SUBSETS)
def test_step_is_six_epochs(subset):
    # 16.5 goes up: Python's round would take it to 16.
    training_images = paper.IMAGES[subset] * 4 // 5
    assert paper.STEP[subset] == int(paper.STEP_EPOCHS * training_images / paper.BATCH_SIZE + 0.5)


def test_map_has_a_cell_every_stride_from_crop_to_input():
    assert (paper.MAP_INPUT - paper.CROP) // paper.MAP_STRIDE + 1 == paper.MAP_SIZE


def test_tables_name_what_there_is():
    assert list(paper.TABLE5) == list(paper.INITIALISATIONS)
    assert set(paper.TABLE6) <= set(paper.INITIALISATIONS)
    assert set(paper.TABLE4) <= set(architectures.ARCHITECTURES)
    assert paper.TABLE5["caffenet"] == paper.TABLE2["CaffeNet"]["five_agrees"]


def test_table_3_has_every_layer_from_the_output_to_the_input():
    assert list(paper.TABLE3) == (
        ["fc8", "fc7", "fc6", "pool5", "conv5", "conv4", "conv3", "norm2", "pool2", "conv2", "norm1", "pool1", "conv1"]
    )


def test_mean_of_table_5_sentiment_networks_beats_objects():
    """A slip in a digit would break the paper's main claim: MVSO [EN] is best, MVSO [ZH] last."""
    center = {name: row["center"][0] for name, row in paper.TABLE5.items()}
    assert max(center, key=center.get) == "mvso_en"
    assert min(center, key=center.get) == "mvso_zh"
