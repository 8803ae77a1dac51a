"""What the figures of networks say is what the definitions say."""

import pytest

from sentiment import architecture_figures, architectures


def stages(folder):
    return {stage.name: stage for stage in architectures.read(architectures.PROTOTXT / folder)}


def test_stages_have_the_sizes_parameters_and_rates_of_the_definitions():
    found = stages("finetune")
    assert list(found)[:4] == ["data", "conv1", "pool1", "norm1"] and list(found)[-1] == "prob"
    assert found["conv1"].shape == (96, 55, 55) and found["conv1"].detail == "11×11, stride 4, ReLU"
    assert found["conv4"].detail == "3×3, pad 1, 2 groups, ReLU"
    assert found["fc6"].parameters == 4096 * 9216 + 4096 and found["fc6"].detail == "ReLU, dropout 0.5"
    assert (found["fc7"].rate, found["fc8_twitter"].rate, found["pool5"].rate) == (1, 10, None)
    assert found["fc8_twitter"].shape == (2,)


def test_only_the_new_layer_of_the_frozen_net_learns():
    rates = {name: stage.rate for name, stage in stages("fc9-frozen-caffenet").items() if stage.rate is not None}
    assert rates.pop("fc9_twitter") == 10
    assert set(rates.values()) == {0}


@pytest.mark.parametrize("number", architecture_figures.FIGURES)
def test_figures_are_drawn_the_same_again(number):
    draw = architecture_figures.FIGURES[number]
    png = draw()
    assert png.startswith(b"\x89PNG") and png == draw()
