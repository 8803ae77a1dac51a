"""Intervals, accuracy by class and McNemar's test are of the right folds, seeds, images and pairs of nets."""

from dataclasses import replace

import pytest

from helpers import made_up
from sentiment import paper
from sentiment.evaluation import predictions
from sentiment.evaluation.uncertainty import corrected_interval
from sentiment.report import comparisons, study
from sentiment.report.tables import NOTHING, Interval


def of(rows):
    """A study of what `made_up.result` returns, with test lists of 20 images."""
    return study.Study("deepsent", False, [made_up.read(row) for row in rows], [])


def intervals(found):
    """The cells after a row's title, by net, subset and way."""
    [table] = comparisons.interval_tables(found)
    return {tuple(row[:3]): row[3:] for row in table.rows}


def test_the_interval_takes_the_share_of_test_images_from_the_results():
    accuracies = (0.8, 0.82, 0.84, 0.78, 0.86)
    rows = [made_up.result(fold, accuracy) for fold, accuracy in zip(paper.FOLDS, accuracies)]
    for more, ratio in (({}, 20 / 80), ({"train_images": 40}, 20 / 40)):  # the first version did not record 80
        cells = intervals(of([{**row, **more} for row in rows]))["CaffeNet", "five-agree", "centre crop"]
        assert cells[0].text() == ".820±.028"
        assert (cells[1].low, cells[1].high) == pytest.approx(corrected_interval(accuracies, ratio))
    assert intervals(of(rows))["CaffeNet", "five-agree", "ten crops"][1].text() == "[.771, .889]"


def test_a_fold_with_several_seeds_counts_once():
    rows = [made_up.result(fold, 0.7 + fold / 100) for fold in paper.FOLDS]
    rows += [made_up.result(fold, 0.8, seed=2) for fold in (1, 2)]
    cells = intervals(of(rows))["CaffeNet", "five-agree", "centre crop"]
    assert (cells[1].low, cells[1].high) == pytest.approx(corrected_interval([0.755, 0.76, 0.73, 0.74, 0.75], 1 / 4))
    assert any("several seeds" in note for note in comparisons.interval_tables(of(rows))[0].notes)


def test_an_interval_ends_at_one_and_a_single_fold_has_none():
    rows = [made_up.result(fold, accuracy) for fold, accuracy in zip(paper.FOLDS, (1, 0.7, 1, 0.9, 1))]
    assert intervals(of(rows))["CaffeNet", "five-agree", "centre crop"][1].high == 1
    rows = [made_up.result(fold, accuracy) for fold, accuracy in zip(paper.FOLDS, (0, 0.2, 0, 0.1, 0))]
    assert intervals(of(rows))["CaffeNet", "five-agree", "centre crop"][1].low == 0
    rows = [made_up.result(3, 0.8), made_up.result(3, 0.9, seed=2)]
    assert intervals(of(rows))["CaffeNet", "five-agree", "centre crop"][1] == NOTHING
    assert comparisons.interval_tables(of([])) == []


def test_an_interval_is_printed_as_scores_are():
    cell = Interval(0.7611, 1.0)
    assert (cell.text(), cell.latex(), cell.values()) == ("[.761, 1.000]", "$[0.761, 1.000]$", (0.7611, 1.0))


def test_accuracy_by_class_is_a_mean_over_folds(tmp_path):
    made_up.run(tmp_path, 1, right=16)  # of 8 positive and 12 negative images, four negative ones wrong
    made_up.run(tmp_path / "again", 1, right=18, seed=2)  # two
    made_up.run(tmp_path, 2, right=5)  # three positive and all negative ones wrong
    [found] = study.read(tmp_path)
    negative, positive = intervals(found)["CaffeNet", "five-agree", "centre crop"][2:]
    assert (negative.value, positive.value) == pytest.approx(((9 / 12 + 0) / 2, (8 / 8 + 5 / 8) / 2))


def test_without_predictions_there_is_no_accuracy_by_class_and_a_note_says_so(tmp_path):
    made_up.run(tmp_path, 1, right=16)
    made_up.run(tmp_path, 2, right=16).predictions.unlink()
    made_up.run(tmp_path, 1, right=16, init="places")
    made_up.run(tmp_path, 1, right=16, init="mvso_en").predictions.unlink()
    [found] = study.read(tmp_path)
    cells = {net: row for (net, _, way), row in intervals(found).items() if way == "ten crops"}
    assert cells["CaffeNet"][2:] == cells["MVSO [EN]"][2:] == [NOTHING, NOTHING] and cells["CaffeNet"][1] != NOTHING
    assert [cell.text() for cell in cells["PlacesCNN"][2:]] == [".667", "1.000"]
    classes = comparisons.classes_table(found)
    assert [row[-1] == NOTHING for row in classes.rows[::2]] == [False, False, True]
    assert [row[:2] for row in mcnemar_rows(tmp_path)[::2]] == [["CaffeNet", "PlacesCNN"]]
    for table in (*comparisons.interval_tables(found), classes, *comparisons.mcnemar_tables(found)):
        [note] = [note for note in table.notes if "predictions.csv" in note]
        assert "CaffeNet five-agree fold 2, MVSO [EN] five-agree" in note


def test_counts_by_class_add_up_over_folds(tmp_path):
    made_up.run(tmp_path, 1, right=16)  # of 8 positive and 12 negative images, four negative ones wrong
    made_up.run(tmp_path, 2, right=5)  # three positive and all negative ones wrong
    [found] = study.read(tmp_path)
    row = comparisons.classes_table(found).rows[0]
    assert row[3:5] == [8, 16] and row[6:8] == [13, 3]
    assert [row[index].text() for index in (5, 8, 9)] == [".333", ".812", ".525"]


def mcnemar_rows(root):
    [found] = study.read(root)
    tables = comparisons.mcnemar_tables(found)
    return tables[0].rows if tables else []


def test_mcnemar_is_over_the_images_both_nets_were_tested_on(tmp_path):
    made_up.run(tmp_path, 1, right=18)
    made_up.run(tmp_path, 2, right=18)
    made_up.run(tmp_path, 1, right=10, init="mvso_en")
    row = mcnemar_rows(tmp_path)[0]
    assert row[:9] == ["CaffeNet", "MVSO [EN]", "five-agree", "centre crop", 20, 10, 8, 0, 2]
    assert row[9].value == pytest.approx(2 / 2**8)


def test_images_that_are_not_the_same_are_not_compared(tmp_path):
    made_up.run(tmp_path, 1)
    other = made_up.run(tmp_path, 1, init="mvso_en")
    first, *rest = predictions.read(other.predictions)
    predictions.write(other.predictions, [replace(one, image=f"other {one.image}") for one in (first, *rest)])
    assert mcnemar_rows(tmp_path) == []
    predictions.write(other.predictions, [replace(first, label=1 - first.label), *rest])
    assert mcnemar_rows(tmp_path) == []
    made_up.run(tmp_path, 1, init="places")
    [table] = comparisons.mcnemar_tables(study.read(tmp_path)[0])
    assert [row[:2] for row in table.rows[::2]] == [["CaffeNet", "PlacesCNN"]]
    [note] = [note for note in table.notes if "MVSO" in note]
    assert "CaffeNet and MVSO [EN], five-agree; PlacesCNN and MVSO [EN], five-agree" in note


def test_the_order_of_a_list_does_not_matter(tmp_path):
    made_up.run(tmp_path, 1, right=18)
    other = made_up.run(tmp_path, 1, right=10, init="mvso_en")
    before = mcnemar_rows(tmp_path)
    predictions.write(other.predictions, predictions.read(other.predictions)[::-1])
    assert mcnemar_rows(tmp_path) == before


def test_nets_of_different_subsets_are_not_compared(tmp_path):
    made_up.run(tmp_path, 1)
    made_up.run(tmp_path, 1, subset="four_agrees")
    assert mcnemar_rows(tmp_path) == []


def test_one_seed_stands_for_several(tmp_path):
    made_up.run(tmp_path / "a", 1, right=18, seed=7)
    made_up.run(tmp_path / "b", 1, right=4, seed=8)
    [found] = study.read(tmp_path)
    assert len(comparisons.pooled(found.nets[0])) == 20
    assert comparisons.classes_table(found).rows[0][-1].text() == ".900"
    made_up.run(tmp_path / "b", 2, right=4, seed=8)
    [found] = study.read(tmp_path)
    assert comparisons.classes_table(found).rows[0][-1].text() == ".200"


def test_nets_are_compared_by_the_lowest_seed_that_both_have(tmp_path):
    for seed, right in ((1, 20), (2, 18), (3, 16)):
        made_up.run(tmp_path / str(seed), 1, right=right, seed=seed)
        if seed > 1:
            made_up.run(tmp_path / str(seed), 1, right=10, seed=seed, init="mvso_en")
    assert mcnemar_rows(tmp_path)[0][4:9] == [20, 10, 8, 0, 2]  # seed 2
    for init in "caffenet", "mvso_en":
        made_up.run(tmp_path / "3", 2, right=20, seed=3, init=init)
    assert mcnemar_rows(tmp_path)[0][4:9] == [40, 30, 6, 0, 4]  # seed 3 has more folds


def test_nets_without_a_common_seed_are_compared_nevertheless(tmp_path):
    made_up.run(tmp_path, 1, right=18, seed=1)
    made_up.run(tmp_path, 1, right=10, seed=2, init="mvso_en")
    assert mcnemar_rows(tmp_path)[0][4:9] == [20, 10, 8, 0, 2]


def compared(rows):
    """The pairs of nets, each as (arch, init, variant)."""
    nets = ([(net.arch, net.init, net.variant) for net in pair] for pair in comparisons.pairs(of(rows)))
    return set(map(frozenset, nets))


def test_of_many_nets_each_is_compared_with_caffenet_and_with_the_best():
    few = [made_up.result(1, 0.7, init=init) for init in list(paper.INITIALISATIONS)[: comparisons.MOST_NETS]]
    assert len(compared(few)) == 15
    many = [made_up.result(1, 0.9 if init == "mvso_fr" else 0.7, init=init) for init in paper.INITIALISATIONS]
    central = {("finetune", "caffenet", ""), ("finetune", "mvso_fr", "")}
    assert len(compared(many)) == 8 + 7 and all(pair & central for pair in compared(many))
    assert compared([*many, made_up.result(1, 0.6, "four_agrees")]) == compared(many)


def test_variants_and_probes_are_compared_with_their_own_net_too():
    many = [made_up.result(1, 0.7, init=init) for init in paper.INITIALISATIONS]
    variants = [made_up.result(1, 0.7, init=init, variant="tf32") for init in ("places", "mvso_en")]
    of_variants = {frozenset({("finetune", init, ""), ("finetune", init, "tf32")}) for init in ("places", "mvso_en")}
    assert compared([*many, *variants]) - compared(many) == of_variants
    probes = [made_up.result(1, 0.1, arch=arch, init="places") for arch in ("probe", "fc9", "fc9-probe")]
    of_probes = {
        frozenset({("probe", "places", ""), ("finetune", "places", "")}),
        frozenset({("fc9-probe", "places", ""), ("fc9", "places", "")}),
    }
    with_caffenet = {
        frozenset({("finetune", "caffenet", ""), (arch, "places", "")}) for arch in ("probe", "fc9", "fc9-probe")
    }
    assert compared([*many, *probes]) - compared(many) == of_probes | with_caffenet
