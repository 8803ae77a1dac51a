"""The paper's tables say what result.json files say, beside the paper's numbers, and nothing of what was not run."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers import made_up
from sentiment import paper
from sentiment.analysis import layer_summary
from sentiment.evaluation import results
from sentiment.report import catalogue, paper_tables, study
from sentiment.report.tables import NOTHING
from sentiment.utils import errors
from sentiment.utils.files import write_json

ACCURACIES = (0.8, 0.82, 0.84, 0.78, 0.86)  # mean .82, population std .0283, sample std .0316
FIVE = [made_up.result(fold, accuracy) for fold, accuracy in zip(paper.FOLDS, ACCURACIES, strict=True)]


def of(rows, sample=False):
    found = [replace(made_up.read(row), folder=Path(str(number))) for number, row in enumerate(rows)]
    return study.Study("deepsent", any(row["demo"] for row in rows), found, [], sample)


def texts(cell):
    return cell if isinstance(cell, (str, int)) else cell.text()


def lines(tables):
    [table] = tables
    return {row[0]: [texts(cell) for cell in row[1:]] for row in table.rows}


def test_table2_sets_ours_beside_the_paper_s():
    found = lines(paper_tables.table2(of(FIVE)))
    assert found["PCNN (from the paper, not run)"] == [".783", ".714", ".687"]
    assert found["CaffeNet, paper"] == [".817±.038", ".782±.033", ".739±.033"]
    assert found["CaffeNet, here"] == [".820±.028", NOTHING, NOTHING]
    assert found["CaffeNet, difference"] == ["+.003 within", NOTHING, NOTHING]
    assert found["CaffeNet with oversampling, here"] == [".830±.028", NOTHING, NOTHING]


def test_table2_sets_pcnn_below_the_number_quoted_for_it():
    own = [
        *(made_up.result(fold, 0.7, arch="pcnn", init="scratch") for fold in paper.FOLDS),
        *(made_up.result(fold, 0.8, "four_agrees", arch="pcnn", init="flickr-progressive") for fold in paper.FOLDS),
    ]
    for rows in (own, FIVE + own):
        found = lines(paper_tables.table2(of(rows)))
        assert list(found)[:5] == [
            "PCNN, paper", "pcnn from scratch, here", "pcnn from scratch, difference",
            "pcnn from flickr-progressive, here", "pcnn from flickr-progressive, difference",
        ]  # fmt: skip
        assert found["PCNN, paper"] == [".783", ".714", ".687"]
        assert found["pcnn from scratch, here"] == [".700±.000", NOTHING, NOTHING]
        assert found["pcnn from scratch, difference"] == ["-.083", NOTHING, NOTHING]
        assert found["pcnn from flickr-progressive, difference"] == [NOTHING, "+.086", NOTHING]
        assert sum("pcnn" in name for name in found) == 4
    assert found["CaffeNet, here"][0] == ".820±.028"
    drawn = [made_up.result(fold, 0.7, arch="pcnn", init="scratch", demo=True) for fold in paper.FOLDS]
    assert "pcnn from scratch, difference" not in lines(paper_tables.table2(of(drawn)))


def test_sample_deviation_is_named():
    assert lines(paper_tables.table2(of(FIVE, sample=True)))["CaffeNet, here"][0] == ".820±.032"
    assert "sample standard deviation" in paper_tables.table2(of(FIVE, sample=True))[0].markdown()
    assert "population standard deviation" in paper_tables.table2(of(FIVE))[0].markdown()


def test_missing_folds_are_named():
    assert lines(paper_tables.table2(of(FIVE[:2])))["CaffeNet, here"][0] == ".810±.010 (folds 1 2 only)"
    assert lines(paper_tables.table2(of(FIVE[2:3])))["CaffeNet, here"][0] == ".840 (fold 3 only)"


def test_table2_is_of_caffenet_and_of_what_else_was_tested_on_several_subsets():
    other = [made_up.result(fold, 0.7, arch="squeezenet", init="mine") for fold in paper.FOLDS]
    more = [made_up.result(fold, 0.6, "four_agrees", arch="squeezenet", init="mine") for fold in paper.FOLDS]
    assert "squeezenet from mine, here" not in lines(paper_tables.table2(of(FIVE + other)))
    assert lines(paper_tables.table2(of(other)))["squeezenet from mine, here"][0] == ".700±.000"
    found = lines(paper_tables.table2(of(FIVE + other + more)))
    assert found["squeezenet from mine, here"][:2] == [".700±.000", ".600±.000"]
    assert found["CaffeNet, here"][0] == ".820±.028"


def test_table3_without_an_analysis_has_the_paper_s_thirteen_layers():
    [table] = paper_tables.table3(of(FIVE))
    assert [row[0] for row in table.rows] == list(paper.TABLE3)
    assert {row[1] for row in table.rows} == {NOTHING}


@pytest.mark.parametrize(("divisor", "fewer"), [(1, (16_781_312, 54_523_904)), (8, None)])
def test_table4_counts_parameters_of_the_nets_as_they_were_run(divisor, fewer):
    rows = [made_up.result(fold, 0.8, channels_divisor=divisor) for fold in paper.FOLDS]
    found = lines(paper_tables.table4(of(rows)))
    assert found["CaffeNet fc7-2"][:3] == [NOTHING, ".784±.024", NOTHING]
    assert found["CaffeNet fc7-2"][-1] == "> 16 M"
    for arch, expected in zip(("fc7-2", "fc6-2"), fewer or (None, None)):
        whole, cut = found["CaffeNet"][-3], found[f"CaffeNet {arch}"]
        assert cut[-2] == whole - cut[-3] > 0
        assert expected in (None, cut[-2])


def test_table5_has_all_nine_in_the_paper_s_order_and_others_after_them():
    rows = [made_up.result(1, 0.8, init="mvso_zh"), made_up.result(1, 0.6, init="mine")]
    found = lines(paper_tables.table5(of(rows)))
    assert list(found) == [*paper.INITIALISATIONS.values(), "mine"]
    assert found["PlacesCNN"] == [NOTHING, ".823±.025", NOTHING, NOTHING, ".823±.026", NOTHING]
    assert found["MVSO [ZH]"][:3] == [".800 (fold 1 only)", ".797±.024", "+.003 within"]


def test_table6_has_a_row_for_the_freezing_the_paper_did_not_run():
    rows = [made_up.result(fold, 0.7, arch="fc9-frozen", init="mvso_en") for fold in paper.FOLDS]
    found = lines(paper_tables.table6(of(rows)))
    assert found["CaffeNet fc9"][:3] == [NOTHING, ".795±.023", NOTHING]
    assert found["MVSO [EN] fc9-frozen"][:3] == [".700±.000", NOTHING, NOTHING]
    assert found["CaffeNet fc9-frozen"][0] == NOTHING


def test_every_run_has_its_row_and_the_paper_s_number_for_it():
    rows = [
        *FIVE,
        made_up.result(1, 0.7, arch="fc6-2"),
        made_up.result(1, 0.75, "four_agrees"),
        made_up.result(1, 0.6, init="mine"),
    ]
    [table] = paper_tables.all_runs(of(rows))
    found = {
        tuple(row[:2]): [cell if isinstance(cell, str) else cell.text() for cell in row[2:5]] for row in table.rows
    }
    assert found["CaffeNet", "five-agree"] == [".820±.028", ".817±.038", "+.003 within"]
    assert found["CaffeNet", "four-agree"][1] == ".782±.033"
    assert found["CaffeNet fc6-2", "five-agree"][1] == ".651±.044"
    assert found["finetune from mine", "five-agree"] == [".600 (fold 1 only)", NOTHING, NOTHING]


def test_seeds_are_averaged_and_their_distribution_shown():
    again = [made_up.result(fold, accuracy + 0.04, seed=2) for fold, accuracy in zip(paper.FOLDS, ACCURACIES)]
    part = [made_up.result(1, 0.1, seed=3)]
    assert paper_tables.seeds(of(FIVE + part)) == []
    assert lines(paper_tables.table2(of(FIVE + again)))["CaffeNet, here"][0] == ".840±.035 (2 seeds)"
    [table] = paper_tables.seeds(of(FIVE + again + part))
    net, subset, way, count, score, lowest, highest, published, below = table.rows[0]
    assert (net, subset, way, count, below) == ("CaffeNet", "five-agree", "centre crop", 2, 0)
    assert [cell.text() for cell in (score, lowest, highest, published)] == [".840±.020", ".820", ".860", ".817±.038"]


def test_a_seed_that_lacks_folds_is_named():
    again = [made_up.result(fold, 0.9, seed=7) for fold in (1, 3)]
    found = lines(paper_tables.table5(of(FIVE + again)))["CaffeNet"][0]
    assert found == ".843±.043 (2 seeds, of seed 7 folds 1 3)"


def test_a_renamed_copy_of_a_card_s_file_is_found_by_either_name(tmp_path):
    for fold in paper.FOLDS:
        place = made_up.run(tmp_path, fold, init="copy")
        found = results.read(place.result)
        results.write(place.result, replace(found, config=replace(found.config, card="caffenet")))
    for init in ("copy", "caffenet"):
        [found] = study.read(tmp_path, only={"init": [init]})
        for table in (paper_tables.table4, paper_tables.table5, paper_tables.all_runs):
            shown = lines(table(found))
            assert {name for name, cells in shown.items() if ".800±.000" in cells} == {"CaffeNet"}
    [whole] = study.read(tmp_path)
    assert len(whole.of({"init": ["copy"]}).results) == len(whole.of({"init": ["caffenet"]}).results) == 5
    assert not whole.of({"init": ["places"]}).results


@pytest.mark.parametrize("init", ["CaffeNet", "placescnn", "Places", "DeepSentiBank"])
def test_another_network_called_like_one_of_the_paper_s_is_distinguished(init):
    rows = [{**made_up.result(fold, 0.7, init=init), "card": ""} for fold in paper.FOLDS]
    titles = {*paper.INITIALISATIONS.values()}
    found = lines(paper_tables.table5(of(rows)))
    assert found[f"{init} (another network than the card's)"][0] == ".700±.000"
    assert all(found[title][0] == NOTHING for title in titles)


def test_runs_that_a_table_does_not_show_are_named_below_it():
    """A variant, and the smaller of two nets that differ in a choice."""
    rows = [*FIVE, made_up.result(1, 0.1, base_lr=0.1), made_up.result(1, 0.2, variant="plain")]
    rows += [made_up.result(1, 0.3, "four_agrees", arch="fc6-2", variant="other")]
    for make in paper_tables.table2, paper_tables.table4, paper_tables.table5:
        [table] = make(of(rows))
        (said,) = (note for note in table.notes if "table of all runs" in note)
        assert "CaffeNet (base_lr 0.1) five-agree, CaffeNet (plain) five-agree" in said and "fc6-2" not in said
    assert not any("table of all runs" in note for note in paper_tables.all_runs(of(rows))[0].notes)


def test_nets_that_are_left_out_have_no_rows():
    whole = of([*FIVE, *(made_up.result(1, 0.7, arch=arch) for arch in ("fc7-2", "fc9"))])
    cut = whole.of({"arch": ["fc7-2"]})
    assert list(lines(paper_tables.table4(cut))) == ["CaffeNet fc7-2"]
    assert paper_tables.table2(cut) == paper_tables.table5(cut) == paper_tables.table6(cut) == []
    assert paper_tables.table3(cut) == catalogue.TABLES["claims"](cut) == []
    assert list(lines(paper_tables.table6(whole.of({"arch": ["fc9"]})))) == ["CaffeNet fc9", "MVSO [EN] fc9"]
    four = whole.of({"subset": ["four_agrees"]})
    assert [table.header for table in paper_tables.table2(four)] == [["net", "four-agree"]]  # not run, and not left out
    assert paper_tables.table5(four) == []


def test_parameters_are_of_the_nets_shown_where_the_whole_one_is_left_out():
    cut = of([made_up.result(1, 0.8, arch="fc7-2", channels_divisor=8)]).of({"arch": ["fc7-2"]})
    assert "1/8 of the channels" in paper_tables.table4(cut)[0].markdown()


def test_a_training_that_departs_on_purpose_stays_out_of_the_paper_s_tables():
    fast = [made_up.result(1, 0.5, arch="fc6-2", base_lr=0.001, variant="lr0.001")]
    slow = [made_up.result(fold, 0.7, arch="fc6-2", base_lr=0.0001, variant="") for fold in paper.FOLDS]
    for rows, shown in ((fast, NOTHING), (fast + slow, ".700±.000")):
        assert lines(paper_tables.table4(of(rows)))["CaffeNet fc6-2"][0] == shown
        assert lines(paper_tables.all_runs(of(rows)))["CaffeNet fc6-2 (lr0.001)"][1:3] == [
            ".500 (fold 1 only)",
            NOTHING,
        ]


def test_runs_with_other_choices_are_another_net_but_for_what_follows_from_the_list():
    rows = [*FIVE[:4], made_up.result(5, 0.5, stepsize=16), made_up.result(1, 0.1, base_lr=0.1)]
    titles = lines(paper_tables.all_runs(of(rows)))
    assert titles["CaffeNet (base_lr 0.1)"][1] == ".100 (fold 1 only)"
    assert titles["CaffeNet (base_lr 0.001)"][1].startswith(".748")
    assert lines(paper_tables.table2(of(rows)))["CaffeNet, here"][0].startswith(".748")


def trained(*rows):
    return [row | {"test_images": 176, "iterations": 180} | more for row, more in rows]


def test_trainings_that_are_not_as_long_as_the_paper_s_are_named():
    whole = trained(*((row, {}) for row in FIVE))
    assert "Not trained as usual" not in paper_tables.table2(of(whole))[0].markdown()
    short = trained(*((row, {"iterations": 5}) for row in FIVE))
    for table in (paper_tables.table2(of(short)), paper_tables.table5(of(short)), paper_tables.all_runs(of(short))):
        assert "Not trained as usual: all nets: iterations 5." in table[0].notes
    one = trained(*((row, {}) for row in FIVE[:4]), (FIVE[4], {}), (FIVE[3] | {"seed": 2}, {"iterations": 1}))
    assert "Not trained as usual: CaffeNet five-agree fold 4: iterations 1." in paper_tables.table2(of(one))[0].notes


def test_other_choices_than_the_default_are_named_and_only_of_nets_that_are_shown():
    plain = [made_up.result(fold, 0.8, mirror=False, base_lr=0.01) for fold in paper.FOLDS]
    other = [made_up.result(fold, 0.8, "four_agrees", arch="fc6-2") for fold in paper.FOLDS]
    rows = trained(*((row, {}) for row in plain), *((row, {"iterations": 225, "test_images": 223}) for row in other))
    [table] = paper_tables.table5(of(rows))
    assert "Not trained as usual: all nets: base_lr 0.01, mirror no." in table.notes
    [table] = paper_tables.all_runs(of(rows))  # fc6-2 has a rate of its own, and 21 is its step
    assert (
        "Not trained as usual: CaffeNet five-agree: base_lr 0.01, mirror no; CaffeNet fc6-2 four-agree: base_lr 0.001, "
        "stepsize 17."
    ) in table.notes


def test_a_mean_that_is_not_the_sources_is_named_and_so_are_fewer_channels():
    rows = trained(*((made_up.result(fold, 0.8, mean=[0.0, 0.0, 0.0], channels_divisor=8), {}) for fold in paper.FOLDS))
    [table] = paper_tables.table2(of(rows))
    assert "Not trained as usual: all nets: mean 0, 0, 0, channels_divisor 8." in table.notes
    own = trained(*((made_up.result(fold, 0.8, init="places", mean=[105.0, 113.0, 116.0]), {}) for fold in paper.FOLDS))
    assert "Not trained" not in paper_tables.table5(of(own))[0].markdown()


def test_a_few_iterations_more_count_where_there_are_few():
    few = {"test_images": 12, "iterations": 3}
    rows = [row | few for row in (made_up.result(fold, 0.8) for fold in paper.FOLDS)]
    assert "iterations 3" in paper_tables.table2(of(rows))[0].markdown()


@pytest.mark.parametrize("name", ["claims", "intervals", "classes", "mcnemar", "convergence", "runs"])
def test_every_table_of_runs_names_the_trainings_that_depart_from_the_default(tmp_path, name):
    for init in "caffenet", "places":
        made_up.five(tmp_path, init=init)  # of 60 iterations on 100 images
    [found] = study.read(tmp_path)
    for table in catalogue.TABLES[name](found):
        assert table.notes[0].startswith(f"Data set: deepsent, runs in {tmp_path}.")
        assert any(note.startswith("Not trained as usual: ") for note in table.notes)


def test_table_3_names_the_trainings_of_its_nets_that_depart_and_no_others(tmp_path):
    usual = [{**row, "hashes": {"weights": f"w{row['fold']}"}} for row in FIVE]
    short = [{**row, "iterations": 5, "hashes": {"weights": "other"}} for row in trained(*((row, {}) for row in FIVE))]
    rows = trained(*((row, {}) for row in usual)) + [{**row, "seed": 2} for row in short]
    write_json(tmp_path / "layers.json", made_up.layers("caffenet"))
    [layers] = layer_summary.collect(tmp_path)
    for weights, said in (({fold: f"w{fold}" for fold in paper.FOLDS}, 0), ({1: "other"}, 1)):
        found = replace(of(rows), layers=[replace(layers, weights=weights)])
        notes = paper_tables.table3(found)[0].notes
        assert sum("iterations 5" in note for note in notes) == said


def test_the_data_sets_own_note_stands_below_its_tables():
    rows = [{**row, "note": "Shot in 2026"} for row in FIVE]
    assert paper_tables.table2(of(rows))[0].notes[0] == "Data set: deepsent, runs in runs. Shot in 2026."


def test_drawn_pictures_are_set_beside_the_paper_s_numbers_but_not_measured_by_them():
    rows = [made_up.result(fold, 0.8, demo=True) for fold in paper.FOLDS]
    for make in (
        paper_tables.table2,
        paper_tables.table4,
        paper_tables.table5,
        paper_tables.table6,
        paper_tables.all_runs,
    ):
        [table] = make(of(rows))
        text = table.markdown()
        assert ".817±.038" in text or make is paper_tables.table6
        assert "ifference" not in text and "within" not in text and "beyond" not in text


def test_the_same_fold_and_seed_twice_is_refused(tmp_path):
    made_up.run(tmp_path / "one", 1)
    made_up.run(tmp_path / "two", 1)
    with pytest.raises(errors.UserError, match="same net, fold and seed"):
        study.read(tmp_path)


def test_no_result_is_an_error_that_says_what_to_run(tmp_path):
    with pytest.raises(errors.UserError, match=r"no result\.json under .*run tools/train"):
        study.read(tmp_path)


def test_data_sets_are_apart(tmp_path):
    made_up.run(tmp_path, 1, demo=True)
    made_up.run(tmp_path / "real", 1)
    assert [(found.dataset, found.demo) for found in study.read(tmp_path)] == [("deepsent", False), ("drawn", True)]
    assert [found.dataset for found in study.read(tmp_path, dataset="drawn")] == ["drawn"]


@pytest.mark.parametrize("name", catalogue.TABLES)
def test_every_table_of_drawn_data_says_so_first_in_every_form(tmp_path, name):
    made_up.five(tmp_path, demo=True)
    made_up.run(tmp_path, 1, init="places", demo=True)
    [found] = study.read(tmp_path)
    for table in catalogue.TABLES[name](found):
        for form in (table.markdown(), table.csv(), table.latex()):
            assert "DEMO DATA" in form.splitlines()[0]
        assert len({len(row) for row in [table.header, *table.rows]}) == 1
        assert table.latex().isascii()
