"""Tables say what result.json files say, beside the paper's numbers."""

import pytest

from sentiment import paper, tables


def result(fold, center, subset="five_agrees", arch="finetune", init="caffenet", demo=False, seed=1):
    return {"dataset": "drawn" if demo else "deepsent", "demo": demo, "subset": subset, "arch": arch, "init": init,
            "fold": fold, "seed": seed, "accuracy": {"center": center, "oversampled": center + 0.01}}  # fmt: skip


ACCURACIES = (0.8, 0.82, 0.84, 0.78, 0.86)  # mean .82, population std .0283, sample std .0316
FIVE = [result(fold, accuracy) for fold, accuracy in zip(paper.FOLDS, ACCURACIES, strict=True)]


def lines(table):
    return {row[0]: row[1:] for row in table.rows}


def test_table2_sets_ours_beside_the_paper_s():
    table = tables.table2(FIVE)
    found = lines(table)
    assert found["PCNN (from the paper, not run)"] == [".783", ".714", ".687"]
    assert found["CaffeNet, paper"] == [".817±.038", ".782±.033", ".739±.033"]
    assert found["CaffeNet, here"] == [".820±.028", "–", "–"]
    assert found["CaffeNet with oversampling, here"] == [".830±.028", "–", "–"]
    assert table.rows[3] == ["difference", "+.003", "–", "–"]


def test_sample_deviation_is_named():
    table = tables.table2(FIVE, sample=True)
    assert lines(table)["CaffeNet, here"][0] == ".820±.032"
    assert "sample standard deviation" in table.markdown()
    assert "population standard deviation" in tables.table2(FIVE).markdown()


def test_missing_folds_are_named():
    assert lines(tables.table2(FIVE[:2]))["CaffeNet, here"][0] == ".810±.010 (folds 1 2 only)"
    assert lines(tables.table2(FIVE[2:3]))["CaffeNet, here"][0] == ".840 (fold 3 only)"


def test_table2_is_of_caffenet_where_it_was_trained_and_of_what_there_is_elsewhere():
    other = [result(fold, 0.7, arch="squeezenet", init="mine") for fold in paper.FOLDS]
    assert "squeezenet from mine, here" not in lines(tables.table2(FIVE + other))
    assert lines(tables.table2(other))["squeezenet from mine, here"] == [".700±.000", "–", "–"]


def test_drawn_data_are_named_before_the_numbers():
    text = tables.table2([result(1, 0.8, demo=True)]).markdown()
    assert "DEMO DATA" in text.splitlines()[0]
    assert "DEMO" not in tables.table2(FIVE).markdown()


def test_every_run_has_its_row_and_the_paper_s_number_for_it():
    rows = [
        *FIVE,
        result(1, 0.7, arch="fc6-2"),
        result(1, 0.75, "four_agrees"),
        result(1, 0.8, init="mvso_en"),
        result(1, 0.6, init="mine"),
    ]
    table = {tuple(row[:2]): row[2:] for row in tables.all_runs(rows).rows}
    assert table["CaffeNet", "five-agree"][:3] == [".820±.028", ".817±.038", "+.003"]
    assert table["CaffeNet", "four-agree"][1] == ".782±.033"
    assert table["CaffeNet fc6-2", "five-agree"][1] == ".651±.044"
    assert table["MVSO [EN]", "five-agree"][1:3] == [".839±.029", "-.039"]
    assert table["finetune from mine", "five-agree"] == [
        ".600 (fold 1 only)",
        "–",
        "–",
        ".610 (fold 1 only)",
        "–",
        "–",
    ]


@pytest.mark.parametrize("make", tables.TABLES.values())
def test_markdown_is_a_table(make):
    text = make(FIVE).markdown().splitlines()
    table = [line for line in text if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert len({line.count("|") for line in table}) == 1
    assert set(table[1]) == set("|-")
