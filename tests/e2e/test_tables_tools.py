"""tools/make_tables.py, plot_loss.py and draw_nets.py as a user runs them, on made-up runs."""

import csv
import json
import shutil

import pytest

from helpers import made_up
from sentiment import paper
from sentiment.utils.files import write_json


def written(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def forms(*names):
    return {f"{name}.{form}" for name in names for form in ("md", "csv", "tex")}


def test_all_tables_are_written_in_three_forms_and_not_changed_the_second_time(tool, tmp_path, capsys):
    made_up.five(tmp_path / "runs", demo=True)
    made_up.run(tmp_path / "runs", 1, init="places", demo=True)
    options = ["--runs", tmp_path / "runs", "--out", tmp_path / "results"]
    assert tool("make_tables", *options, "--report") == 0
    folder = tmp_path / "results" / "drawn"
    names = [*(f"table{number}" for number in range(1, 7)), "runs", "intervals", "classes", "mcnemar"]
    names += ["convergence", "claims"]
    assert written(folder) == {*forms(*names), "report.html"}
    assert "Table 5: accuracy, mean ± std over five folds, five-agree: 9 rows\n" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert page.index('<section id="intervals">') < page.index("share training images") < page.index("[.800, .800]")
    for path in (folder / name for name in forms(*names)):
        assert "DEMO DATA" in path.read_text().splitlines()[0]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert tool("make_tables", *options, "--report") == 0
    assert tool("make_tables", *options, "--table", "5") == 0
    assert (folder / "table5.md").read_text() in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_tables_of_other_runs_leave_none_behind_and_say_what_they_show_no_more(tool, tmp_path, capsys):
    made_up.five(tmp_path / "two")
    made_up.five(tmp_path / "two", init="places")
    made_up.five(tmp_path / "one")
    out = ["--out", tmp_path / "results"]
    assert tool("make_tables", "--runs", tmp_path / "two", *out) == 0
    folder = tmp_path / "results" / "deepsent"
    assert forms("mcnemar") <= written(folder)
    (folder / "mcnemar.txt").write_text("the user's own")
    assert "showed more" not in capsys.readouterr().err
    assert tool("make_tables", "--runs", tmp_path / "one", *out) == 0
    said = capsys.readouterr().err
    assert not forms("mcnemar") & written(folder)
    assert "mcnemar.txt" in written(folder)
    for name in "table5.md", "runs.md":  # which had both nets
        assert f"{folder / name} showed more" in said and str(tmp_path / "two") in said
    assert f"{folder / 'table4.md'} showed more" not in said


def rows_of(path, column="initialisation"):
    return {row[column]: row for row in csv.DictReader(path.read_text().splitlines())}


def test_tables_of_some_nets_have_names_of_their_own_and_do_not_change_those_of_all(tool, tmp_path, capsys):
    for init in "caffenet", "places":
        made_up.run(tmp_path / "runs", 1, init=init)
        made_up.run(tmp_path / "runs", 1, init=init, subset="four_agrees")
    folder, options = tmp_path / "deepsent", ["--runs", tmp_path / "runs", "--out", tmp_path]
    assert tool("make_tables", *options, "--report") == 0
    before = {name: (folder / name).read_bytes() for name in written(folder)}
    assert tool("make_tables", *options, "--report", "--init", "places") == 0
    assert tool("make_tables", *options, "--table", "2", "runs", "--subset", "four_agrees", "--arch", "finetune") == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    names = "table2", "table5", "runs", "intervals", "classes", "convergence"
    expected = forms(*(f"{name}-init-places" for name in names))
    expected |= forms(*(f"{name}-subset-four_agrees-arch-finetune" for name in ("table2", "runs")))
    assert written(folder) - before.keys() == {*expected, "report-init-places.html"}
    page = (folder / "report-init-places.html").read_text()
    assert "Data set deepsent, only init places" in page and "not tested here" not in page

    rows = rows_of(folder / "table5-init-places.csv")
    assert list(rows) == ["PlacesCNN"]  # CaffeNet, which was run, is not shown as if it were not
    assert rows["PlacesCNN"]["centre crop, here"] == "0.8"
    assert "only init places" in (folder / "table5-init-places.md").read_text().splitlines()[0]
    rows = rows_of(folder / "table2-subset-four_agrees-arch-finetune.csv", "net")
    assert rows["CaffeNet, here"] == {"net": "CaffeNet, here", "four-agree": "0.8", "four-agree runs": "1"} | {
        name: value for name, value in rows["CaffeNet, here"].items() if "std" in name
    }
    capsys.readouterr()
    assert tool("make_tables", *options, "--table", "1", "4", "claims", "--init", "places") == 0
    assert capsys.readouterr().out.count("nothing to show") == 3


def test_tables_of_some_nets_are_updated_with_those_of_all_or_removed(tool, tmp_path, capsys):
    for init in "caffenet", "places":
        made_up.run(tmp_path / "runs", 1, init=init)
    folder, options = tmp_path / "deepsent", ["--runs", tmp_path / "runs", "--out", tmp_path, "--table", "runs", "5"]
    for init in "caffenet", "places":
        assert tool("make_tables", *options, "--init", init) == 0
    made_up.run(tmp_path / "runs", 2, init="caffenet")
    shutil.rmtree(tmp_path / "runs" / "five_agrees" / "finetune-places")
    assert tool("make_tables", *options) == 0
    assert written(folder) == forms("runs", "table5", "runs-init-caffenet", "table5-init-caffenet")
    assert "(folds 1 2 only)" in (folder / "table5-init-caffenet.md").read_text()
    assert f"removed {folder / 'table5-init-places'}.*" in capsys.readouterr().err


def test_reports_of_some_nets_are_updated_with_that_of_all_or_removed(tool, tmp_path, capsys):
    for init in "caffenet", "places":
        made_up.run(tmp_path / "runs", 1, init=init)
    folder, options = tmp_path / "deepsent", ["--runs", tmp_path / "runs", "--out", tmp_path, "--report"]
    for init in "caffenet", "places":
        assert tool("make_tables", *options, "--init", init) == 0
    made_up.run(tmp_path / "runs", 2, init="caffenet")
    shutil.rmtree(tmp_path / "runs" / "five_agrees" / "finetune-places")
    assert tool("make_tables", *options) == 0
    assert {path.name for path in folder.glob("*.html")} == {"report.html", "report-init-caffenet.html"}
    assert "(folds 1 2 only)" in (folder / "report-init-caffenet.html").read_text()
    assert f"removed {folder / 'report-init-places.html'}" in capsys.readouterr().err


def test_the_table_of_a_layer_analysis_goes_with_it(tool, tmp_path):
    made_up.run(tmp_path / "runs", 1)
    folder, options = tmp_path / "deepsent", ["--runs", tmp_path / "runs", "--out", tmp_path, "--table", "3"]
    for init in "caffenet", "places":
        write_json(tmp_path / "runs" / init / "layers.json", made_up.layers(init))
    assert tool("make_tables", *options) == 0
    of_places = forms("table3-five_agrees-finetune-places", "table3-nested-five_agrees-finetune-places")
    assert written(folder) == {*forms("table3", "table3-nested"), *of_places}
    (folder / "table3-notes.md").write_text("the user's own")
    (tmp_path / "runs" / "places" / "layers.json").unlink()
    assert tool("make_tables", *options) == 0
    assert written(folder) == {*forms("table3", "table3-nested"), "table3-notes.md"}
    write_json(tmp_path / "runs" / "caffenet" / "layers.json", made_up.layers("caffenet", nested=False))
    assert tool("make_tables", *options) == 0
    assert written(folder) == {*forms("table3"), "table3-notes.md"}


def test_a_damaged_record_of_the_tables_is_no_obstacle(tool, tmp_path):
    made_up.run(tmp_path / "runs", 1)
    options = ["--runs", tmp_path / "runs", "--out", tmp_path, "--table", "5"]
    for text in "{", "[]", '{"table5": 3}':
        (tmp_path / "deepsent").mkdir(exist_ok=True)
        (tmp_path / "deepsent" / ".tables.json").write_text(text)
        assert tool("make_tables", *options) == 0
    assert "table5" in json.loads((tmp_path / "deepsent" / ".tables.json").read_text())


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
    folder = tmp_path / "results" / "deepsent"
    assert written(folder) == {"figure6-fold2.png", *forms("convergence-fold2")}
    assert "| DeepSentiBank " in capsys.readouterr().out
    made_up.run(tmp_path / "runs", 1)
    assert tool("plot_loss", *options) == 0
    assert written(folder) == {"figure6.png", "figure6-fold2.png", *forms("convergence", "convergence-fold2")}
    assert "five-agree fold 2" in (folder / "convergence-fold2.md").read_text()


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
    assert tool("draw_nets", "--prototxt", tmp_path, "--out", tmp_path) == 2
    assert "deploy.prototxt" in capsys.readouterr().err
