"""Notes name what departs from the default and what was computed in several ways."""

import pytest

from helpers import made_up
from sentiment import paper
from sentiment.report import departures


def row(fold=1, trained=None, tested=None, **choices):
    made = made_up.result(fold, 0.8, **choices) | {"test_images": 176, "iterations": 180}
    made["training"] = [{"from_iteration": 0, **made_up.ENVIRONMENT, **one} for one in (trained or [{}])]
    made["evaluation"] = {**made_up.ENVIRONMENT, **(tested or {})}
    return made


def notes(*rows):
    return departures.note([("CaffeNet", made_up.read(one)) for one in rows])


def computed(*rows):
    return departures.computed_with([("CaffeNet", made_up.read(one)) for one in rows])


@pytest.mark.parametrize("iterations", [165, 179, 181, 195])
def test_other_counts_of_iterations_than_the_default_depart(iterations):
    assert departures.of(made_up.read(row())) == {}
    assert departures.of(made_up.read(row() | {"iterations": iterations})) == {"iterations": iterations}
    assert departures.of(made_up.read(row(stepsize=16))) == {"stepsize": 16}


def test_the_default_schedule_is_that_for_the_length_of_the_list():
    shorter = {"train_images": 690}  # 6 epochs are 16.2 iterations
    assert departures.of(made_up.read(row(stepsize=16) | shorter)) == {}
    assert departures.of(made_up.read(row(stepsize=17) | shorter)) == {"stepsize": 17}


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_another_precision_is_named(precision):
    lower = {"precision": precision}
    rows = [row(fold, [lower], lower, precision=precision) for fold in paper.FOLDS]
    assert notes(*rows) == [f"Not trained as usual: all nets: precision {precision}."]
    mixed = [*rows[:2], *(row(fold, precision="float32") for fold in (3, 4, 5))]
    assert notes(*mixed) == [f"Not trained as usual: CaffeNet five-agree fold 1 2: precision {precision}."]
    tested = [row(fold, precision="float32", tested=lower) for fold in paper.FOLDS]
    assert notes(*tested) == [f"Not trained as usual: all nets: precision of testing {precision}."]


def test_one_way_of_computing_needs_no_word():
    assert computed(*(row(fold) for fold in paper.FOLDS)) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"engine": "BVLC Caffe 1.0.0", "commit": "ab" * 20}, "engine: pixels-to-sentiment 0.1.0 012345678901 ({}); "
         "BVLC Caffe 1.0.0 abababababab ({})"),
        ({"commit": "0123456789" * 4 + "-dirty"}, "engine: pixels-to-sentiment 0.1.0 012345678901 ({}); "
         "pixels-to-sentiment 0.1.0 012345678901-dirty ({})"),
        ({"device": "NVIDIA H100", "cuda": "13.0"}, "device: Some CPU, AVX2 ({}); NVIDIA H100, CUDA 13.0 ({})"),
        ({"versions": {"torch": "2.14.0"}}, "torch: 2.13.0 ({}); 2.14.0 ({})"),
    ],
)  # fmt: skip
def test_mixed_ways_of_computing_are_named_with_their_folds(other, said):
    whose = said.format("CaffeNet five-agree fold 1", "CaffeNet five-agree fold 2")
    assert computed(row(1), row(2, [other])) == [f"Trained with more than one {whose}."]
    assert computed(row(1), row(2, tested=other)) == [f"Tested with more than one {whose}."]


def test_a_training_that_resumed_elsewhere_is_mixed_by_itself():
    [note] = computed(row(1), row(2, [{}, {"device": "other"}]))
    assert "Some CPU, AVX2, then other (CaffeNet five-agree fold 2)" in note
    both = [{}, {"device": "other"}]
    [note] = computed(row(1, both), row(2, both))
    assert note == "Trained with more than one device: Some CPU, AVX2, then other (all nets)."


def test_a_training_of_the_first_version_is_not_recorded():
    old = row(2) | {"training": []}
    assert "not recorded (CaffeNet five-agree fold 2)" in " ".join(computed(row(1), old))
