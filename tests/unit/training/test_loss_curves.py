"""Training losses are read from any Caffe's log, and summarised correctly."""

import numpy as np
import pytest

from helpers import made_up
from sentiment.figures import loss_figure, plots
from sentiment.report import convergence
from sentiment.training import loss_curves
from sentiment.training.loss_curves import GUESSING, Curve
from sentiment.utils import errors


def curve(losses):
    return Curve(np.arange(len(losses)), np.array(losses, float))


@pytest.mark.parametrize("old", [False, True])
def test_both_generations_of_logs_are_read(tmp_path, old):
    path = tmp_path / "train.log"
    path.write_text("I1105 net.cpp:1] Creating layer\n" + made_up.log([0.7, 0.5, 0.25], every=20, old=old))
    found = loss_curves.read(path)
    assert found.iterations.tolist() == [0, 20, 40]
    assert found.losses.tolist() == [0.7, 0.5, 0.25]


def test_the_iterations_of_a_resumed_training_count_once(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(made_up.log([0.7, 0.6, 0.5, 0.4]) + made_up.log([0.55, 0.45], first=2))
    assert loss_curves.read(path).losses.tolist() == [0.7, 0.6, 0.55, 0.45]


def test_nan_and_infinity_are_kept_and_cut_off_lines_are_not(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(made_up.log([0.7, float("nan"), float("inf")]) + "I1105 solver.cpp:239] Iteration 3, loss = 0.\n")
    text = path.read_text().replace("loss = nan", "loss = -nan")
    path.write_text(text + "I1105 solver.cpp:239] Iteration 4, loss = -")
    losses = loss_curves.read(path).losses
    assert len(losses) == 4 and np.isnan(losses[1]) and np.isinf(losses[2]) and losses[3] == 0


def test_outputs_of_the_test_net_are_read_with_their_iteration(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "I1105 solver.cpp:347] Iteration 30, Testing net (#0)\n"
        "I1105 solver.cpp:414]     Test net output #0: accuracy = 0.75\n"
        "I1105 solver.cpp:414]     Test net output #1: loss = 0.5 (* 1 = 0.5 loss)\n" + made_up.log([0.4], first=30)
    )
    assert loss_curves.read(path).tests == {"accuracy": ([30], [0.75]), "loss": ([30], [0.5])}


@pytest.mark.parametrize("text", ["", "nothing of a training\n"])
def test_a_file_that_is_not_a_training_log_is_refused(tmp_path, text):
    (tmp_path / "a.log").write_text(text)
    with pytest.raises(errors.UserError, match="no training loss"):
        loss_curves.read(tmp_path / "a.log")
    with pytest.raises(errors.UserError, match="cannot read"):
        loss_curves.read(tmp_path / "b.log")


def test_convergence_is_nine_tenths_of_the_way_down():
    losses = np.concatenate([np.linspace(GUESSING, 0.2, 101), np.full(100, 0.2)])
    assert curve(losses).converged_at == 90
    assert curve(losses).final == pytest.approx(0.2)


def test_a_loss_that_ends_no_lower_than_guessing_does_not_converge():
    assert curve([0.69] * 30 + [0.9] * 30).converged_at is None
    assert curve([0.6] * 30 + [float("nan")] * 30).converged_at is None
    assert curve([GUESSING + 0.03 * (-1) ** n - 0.001 for n in range(60)]).converged_at is None
    assert curve([0.1] * 60).converged_at == 0


def test_a_spike_moves_neither_the_window_s_end_nor_the_level():
    losses = [GUESSING] * 20 + [0.2] * 80
    spiked = [*losses[:60], 0.6, *losses[61:]]
    assert curve(spiked).converged_at == curve(losses).converged_at
    assert curve(spiked).noise > curve(losses).noise


def test_noise_is_none_on_a_line_and_grows_with_the_scatter():
    rng = np.random.default_rng(0)
    scatter = rng.normal(size=180)
    assert curve(np.linspace(0.7, 0.2, 100)).noise < 1e-3  # the ends' windows are one-sided
    small, large = (curve(0.4 + size * scatter).noise for size in (0.01, 0.02))
    assert large == pytest.approx(2 * small)


def test_the_table_names_what_was_not_run_and_what_does_not_converge():
    curves = {"a": curve(made_up.falling(60)), "b": None, "c": curve([0.9] * 60)}
    rows = {row[0]: row for row in convergence.table(curves, "Convergence").rows}
    assert rows["a"][1] == 59 and isinstance(rows["a"][2], int)
    assert set(rows["b"][1:]) == {"–"}
    assert rows["c"][2] == "does not converge"


def lines(axes):
    """What is plotted: (label, colour, dashes, x, y) a line."""
    return [
        (line.get_label(), line.get_color(), line.get_linestyle(), line.get_xdata(), line.get_ydata())
        for line in axes.get_lines()
    ]


@pytest.mark.parametrize("count", [1, 2, 12])
def test_the_figure_has_every_curve_among_all_and_alone(count):
    curves = {f"net {number}": curve(made_up.falling(40, 0.1 + 0.02 * number)) for number in range(count)}
    curves["net 0"].losses[3] = np.nan
    figure = loss_figure.draw(curves, "Training loss", "Notes")
    together, *alone = figure.get_axes()
    found = {label: (x, y, colour, dashes) for label, colour, dashes, x, y in lines(together) if label in curves}
    assert list(found) == list(curves)
    assert [text.get_text() for text in together.get_legend().get_texts()] == list(curves)
    assert len({(colour, str(dashes)) for _, _, colour, dashes in found.values()}) == count  # each has its own look
    for name, (x, y, *_) in found.items():
        np.testing.assert_array_equal(x, curves[name].iterations)
        np.testing.assert_array_equal(y, curves[name].smoothed)
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("Training loss", "Notes")

    assert [axes.get_title("left") for axes in alone] == (list(curves) if count > 1 else [])
    for axes, (name, expected) in zip(alone, curves.items(), strict=False):
        colour = found[name][2]
        own = [y for _, line_colour, _, _, y in lines(axes) if line_colour == colour and len(y) == 40]
        assert any(np.array_equal(y, expected.losses, equal_nan=True) for y in own)
        assert any(np.array_equal(y, expected.smoothed, equal_nan=True) for y in own)
        assert axes.get_ylim() == together.get_ylim() and axes.get_xlim() == together.get_xlim()
        at = expected.converged_at  # none of the first, whose NaN leaves it without a final loss
        assert [text.get_text() for text in axes.texts] == [f"converged at {at}" if at else "does not converge"]
    assert plots.png(figure).startswith(b"\x89PNG")


def test_the_figure_says_what_does_not_converge_and_lets_no_spike_set_the_scale():
    curves = {"a": curve([0.9] * 60), "b": curve([*made_up.falling(399), 500.0])}
    together, first, _ = loss_figure.draw(curves, "Training loss").get_axes()
    assert "does not converge" in [text.get_text() for text in first.texts]
    assert together.get_ylim()[0] == 0 and GUESSING < together.get_ylim()[1] < 2


def test_outputs_of_the_test_net_are_drawn_on_demand():
    tested = Curve(
        np.arange(40), np.array(made_up.falling(40)), {"loss": ([10, 20], [0.6, 0.5]), "accuracy": ([10], [0.75])}
    )
    assert len(loss_figure.draw({"a": tested}, "").get_axes()) == 1
    losses, accuracies = loss_figure.draw({"a": tested}, "", tests=True).get_axes()
    assert [(list(x), list(y)) for label, _, _, x, y in lines(losses) if label == "a, test"] == [([10, 20], [0.6, 0.5])]
    assert [(list(x), list(y)) for _, _, _, x, y in lines(accuracies)] == [([10], [0.75])]
