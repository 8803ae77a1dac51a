"""The figures of networks show what the definitions say."""

import pytest

from sentiment.figures import diagrams, plots
from sentiment.networks import layout


def stages(folder):
    return {stage.name: stage for stage in layout.read(layout.PROTOTXT / folder)}


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


def words(number):
    """Everything that stands in a figure."""
    [axes] = diagrams.FIGURES[number]().get_axes()
    return [text.get_text() for text in axes.texts]


def test_figure_2_has_a_row_of_each_layer():
    [axes] = diagrams.figure2().get_axes()
    columns = {}
    for text in axes.texts:
        columns.setdefault(round(text.get_position()[1], 3), []).append(text.get_text())
    rows = {row[0]: row[1:] for row in columns.values()}
    for name, stage in stages("finetune").items():
        assert rows[name][1:3] == [stage.detail, "×".join(map(str, stage.shape))]
        assert rows[name][3:] == ([f"{stage.parameters:,}", f"×{stage.rate:g}"] if stage.parameters else [])
    total = sum(stage.parameters for stage in stages("finetune").values())
    assert any(text.startswith(f"{total:,} parameters") for text in words("2"))


def test_figure_4_marks_what_is_removed_and_counts_what_is_left():
    found = words("4")
    assert [found.count(f"{layer} removed") for layer in ("fc8", "fc7")] == [2, 1]
    assert {"CaffeNet", "fc7-2", "fc6-2", "fc7_twitter", "fc6_twitter"} <= set(found)
    whole = sum(stage.parameters for stage in stages("finetune").values())
    for arch in "fc7-2", "fc6-2":
        count = sum(stage.parameters for stage in stages(arch).values())
        assert f"{count:,} parameters\n{whole - count:,} fewer" in found


def test_figure_5_says_what_is_frozen():
    found = words("5")
    learns = [name for name, stage in stages("fc9-frozen-caffenet").items() if stage.rate == 0]
    assert found.count("frozen") == len(learns) == 8
    assert found.count("rate ×10") == 3 and found.count("fc9_twitter") == 2


@pytest.mark.parametrize("number", diagrams.FIGURES)
def test_text_of_the_figures_stays_on_the_page(number):
    figure = diagrams.FIGURES[number]()
    assert plots.png(figure).startswith(b"\x89PNG")
    [axes] = figure.get_axes()
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1, text.get_text()
