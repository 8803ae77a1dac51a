"""tools/make_tables.py, plot_loss.py and draw_nets.py as a user runs them, on made-up runs."""

import csv

import made_up
import pytest

from sentiment import paper


def written(folder):
    return {path.name for path in folder.iterdir()}


def test_all_tables_are_written_in_three_forms_and_left_alone_the_second_time(tool, tmp_path, capsys):
    made_up.five(tmp_path / "runs", demo=True)
    made_up.run(tmp_path / "runs", 1, init="places", demo=True)
    options = ["--runs", tmp_path / "runs", "--out", tmp_path / "results"]
    assert tool("make_tables", *options, "--report") == 0
    folder = tmp_path / "results" / "drawn"
    names = [*(f"table{number}" for number in range(1, 7)), "runs", "classes", "mcnemar", "convergence", "claims"]
    forms = {f"{name}.{form}" for name in names for form in ("md", "csv", "tex")}
    assert written(folder) == {*forms, "report.html"}
    assert "Table 5: accuracy, mean ± std over five folds, five-agree: 9 rows\n" in capsys.readouterr().out
    for path in folder.iterdir():
        assert path.suffix == ".html" or "DEMO DATA" in path.read_text().splitlines()[0]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert tool("make_tables", *options, "--report") == 0
    assert tool("make_tables", *options, "--table", "5") == 0
    assert (folder / "table5.md").read_text() in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_tables_of_other_runs_leave_none_behind(tool, tmp_path):
    made_up.five(tmp_path / "two")
    made_up.five(tmp_path / "two", init="places")
    made_up.five(tmp_path / "one")
    out = ["--out", tmp_path / "results"]
    assert tool("make_tables", "--runs", tmp_path / "two", *out) == 0
    assert {"mcnemar.md", "mcnemar.csv", "mcnemar.tex"} <= written(tmp_path / "results" / "deepsent")
    assert tool("make_tables", "--runs", tmp_path / "one", *out) == 0
    assert not {name for name in written(tmp_path / "results" / "deepsent") if name.startswith("mcnemar")}


def test_one_table_of_some_runs(tool, tmp_path):
    made_up.run(tmp_path / "runs", 1)
    made_up.run(tmp_path / "runs", 1, init="places")
    options = ["--runs", tmp_path / "runs", "--out", tmp_path, "--table", "5", "--init", "places"]
    assert tool("make_tables", *options) == 0
    assert written(tmp_path / "deepsent") == {"table5.md", "table5.csv", "table5.tex"}
    rows = {
        row["initialisation"]: row
        for row in csv.DictReader((tmp_path / "deepsent" / "table5.csv").read_text().splitlines())
    }
    assert rows["PlacesCNN"]["centre crop, here"] == "0.8"
    assert rows["CaffeNet"]["centre crop, here"] == ""
    assert float(rows["CaffeNet"]["centre crop, paper"]) == 0.817


@pytest.mark.parametrize("options", [["make_tables"], ["make_tables", "--init", "nobody"], ["plot_loss"]])
def test_without_results_a_sentence_says_what_to_run(tool, tmp_path, capsys, options):
    made_up.run(tmp_path / "runs" / "not here", 1)
    runs = tmp_path / "runs" if len(options) > 1 else tmp_path / "nothing"
    assert tool(*options, "--runs", runs, "--out", tmp_path / "results") == 2
    assert "run tools/train.py and tools/evaluate.py first" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_wrong_result_is_named(tool, tmp_path, capsys):
    run = made_up.run(tmp_path, 1)
    run.result.write_text("{}")
    assert tool("make_tables", "--runs", tmp_path, "--out", tmp_path) == 2
    assert str(run.result) in capsys.readouterr().err


def test_figure6_and_its_table(tool, tmp_path, capsys):
    for init in paper.INITIALISATIONS:
        made_up.run(tmp_path / "runs", 2, init=init)
    options = ["--runs", tmp_path / "runs", "--out", tmp_path / "results"]
    assert tool("plot_loss", *options) == 2
    assert "no train.log of a five-agree fine-tuning on fold 1" in capsys.readouterr().err
    assert tool("plot_loss", *options, "--fold", 2) == 0
    forms = {f"convergence.{form}" for form in ("md", "csv", "tex")}
    assert written(tmp_path / "results" / "deepsent") == {"figure6.png", *forms}
    assert "| DeepSentiBank " in capsys.readouterr().out


def test_any_logs_are_plotted(tool, tmp_path, capsys):
    for name, old in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.log").write_text(made_up.log(made_up.falling(20), every=5, old=old))
    logs = [tmp_path / name / "train.log" for name in "ab"]
    assert tool("plot_loss", *logs, "--out", tmp_path / "x.png", "--tests") == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:] == ["a", "b"]
    assert tool("plot_loss", logs[0], "--names", "mine", "--out", tmp_path / "y.png") == 0
    assert "| mine " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        tool("plot_loss", *logs, "--names", "one")
    assert tool("plot_loss", tmp_path / "c.log", "--out", tmp_path / "z.png") == 2
    assert "c.log" in capsys.readouterr().err


def test_networks_are_drawn(tool, tmp_path, capsys):
    assert tool("draw_nets", "--figure", "2", "4", "--out", tmp_path / "figures") == 0
    assert written(tmp_path / "figures") == {"figure2.png", "figure4.png"}
    assert tool("draw_nets", "--figure", "2", "--out", tmp_path / "figures") == 0
    assert "(unchanged)" in capsys.readouterr().out
    assert tool("draw_nets", "--prototxt", tmp_path, "--out", tmp_path) == 2
    assert "deploy.prototxt" in capsys.readouterr().err
