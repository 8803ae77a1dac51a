"""tools/paper.py: parts of the paper at toy size, each training once, nothing long twice."""

import shutil

import pytest

from sentiment.evaluation import results
from sentiment.sources import cards
from sentiment.utils.errors import UserError

CARD = "title: CaffeNet\nabout: Toy.\nfile: toy.caffemodel\nmean: [104, 117, 123]\n"


@pytest.fixture
def paper(tool, tiny, root, tmp_path, monkeypatch, capfd):
    """Call tools/paper.py on the tiny data, where a card of CaffeNet is the only one available."""
    monkeypatch.syspath_prepend(root / "tools")
    models = tmp_path / "models"
    models.mkdir()
    (models / "caffenet.yaml").write_text(CARD)
    shutil.copy(tiny.source, models / "toy.caffemodel")
    resolve = cards.resolve

    def known(init, *arguments, **more):
        if init not in ("caffenet", str(tiny.source)):
            raise UserError(f"{init} is missing")
        return resolve(init, *arguments, **{**more, "models": models})

    monkeypatch.setattr(cards, "resolve", known)
    monkeypatch.chdir(tmp_path)  # as make calls it, with paths that are relative

    def call(*arguments):
        where = "--data", "data", "--splits", tiny.splits, "--runs", "runs", "--out", "results"
        status = tool("paper", *where, *arguments)
        return status, capfd.readouterr()

    return call


def steps(said):
    return [line.split()[2].removeprefix("tools/") for line in said.out.splitlines() if line.startswith("$ ")]


def test_trainings_that_diverge_are_results_and_no_end(paper, tool, tiny, tmp_path, capfd):
    settings = tiny.data / "dataset.yaml"
    settings.write_text(settings.read_text().replace("base_lr: 0.00001", "base_lr: 100000"))
    status, said = paper("table4")
    assert status == 0
    assert said.err.count("diverged, the loss is nan; kept as a result") == 16
    assert len(results.collect(tiny.runs)) == 16
    assert "(folds 1 2 3 4 5 diverged)" in (tmp_path / "results" / "tiny" / "table4.md").read_text()
    assert tool("make_tables", "--runs", tiny.runs, "--out", tmp_path / "results", "--table", "claims") == 0
    claims = (tmp_path / "results" / "tiny" / "claims.md").read_text()
    claim = next(line for line in claims.splitlines() if "fc6-2 does not converge" in line)
    assert "| held" in claim
    assert "nan" in claim
    assert steps(paper("table4")[1]) == ["make_tables.py"]


def test_a_table_from_nothing_and_again(paper, tiny, tmp_path):
    status, said = paper("table4")
    assert status == 0
    assert said.out.startswith("to train and test: 16 nets, in about ")
    assert steps(said) == ["train.py", "evaluate.py"] * 4 + ["make_tables.py"]
    rows = [result.to_json() for result in results.collect(tiny.runs) if result.config.arch == "fc6-2"]
    rates = {row["choices"]["variant"]: row["choices"]["base_lr"] for row in rows}
    assert rates == {"": 1e-6, "lr1e-05": 1e-5}  # a tenth of the data set's rate, and that rate itself
    assert (tiny.folder(1, "fc6-2", "caffenet-lr1e-05") / "result.json").is_file()
    for suffix in "md", "csv", "tex":
        assert (tmp_path / "results" / "tiny" / f"table4.{suffix}").is_file()

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    status, said = paper("table4")
    assert status == 0
    assert steps(said) == ["make_tables.py"]
    assert "all nets are trained and tested" in said.out
    assert {path: path.stat().st_mtime_ns for path in before} == before

    (tmp_path / "runs").rename(tmp_path / "other")
    status, said = paper("table4", "--runs", "other")
    assert steps(said) == ["make_tables.py"]
    assert "runs in other." in (tmp_path / "results" / "tiny" / "table4.md").read_text()
    (tmp_path / "other").rename(tmp_path / "runs")

    (tiny.folder(3, "fc7-2", "caffenet") / "result.json").unlink()
    status, said = paper("table4")
    assert "to train and test: 1 nets" in said.out
    assert said.out.count("--arch fc7-2 --init caffenet --fold 3") == 2
    assert steps(said) == ["train.py", "evaluate.py", "make_tables.py"]


def test_a_net_beside_its_linear_probe_and_the_report(paper, tiny, tmp_path):
    net = "laptop", "--arch", "finetune", "--init", tiny.source, "--iterations", 2
    status, said = paper(*net)
    assert status == 0
    assert said.out.startswith("to train and test: 10 nets, in about ")
    assert steps(said) == ["train.py", "evaluate.py"] * 2 + ["make_tables.py"] * 2
    assert {result.config.arch for result in results.collect(tiny.runs)} == {"probe", "finetune"}
    assert "linear probe" in said.out
    assert (tmp_path / "results" / "tiny" / "report.html").is_file()
    assert steps(paper(*net)[1]) == ["make_tables.py"] * 2


def test_what_is_not_available_is_left_out_and_said(paper, tiny, tmp_path):
    status, said = paper("figure6")
    assert status == 2
    assert said.out.splitlines()[0] == "left out: places is missing"
    assert "left out: deepsentibank is missing" in said.out
    assert "error: left out: 8 things" in said.err
    assert (tmp_path / "results" / "tiny" / "figure6.png").is_file()
    assert [result.config.fold for result in results.collect(tiny.runs)] == [1]

    status, said = paper("figure7")
    assert status == 2
    assert steps(said) == []


def test_seeds_repeat_trainings_in_folders_of_their_own(paper, tiny):
    status, said = paper("table3", "--init", tiny.source, "--seeds", 2, "--iterations", 1)
    assert status == 0
    assert steps(said)[:4] == ["train.py", "evaluate.py"] * 2
    assert sorted({result.config.seed for result in results.collect(tiny.runs)}) == [1701, 1702]
    assert (tiny.folder(5, init="source-seed1702") / "result.json").is_file()
    assert (tiny.folder().parent / "layers.json").is_file()

    (tiny.folder() / "grams.npz").unlink()
    status, said = paper("table3", "--init", tiny.source, "--seeds", 2, "--iterations", 1)
    assert steps(said) == ["make_tables.py"]


def test_an_unknown_part_is_a_sentence(paper):
    with pytest.raises(SystemExit):
        paper("table7")


def test_other_choices_and_other_folders(paper, tiny, tmp_path, tool):
    status, said = paper("figure6", "--iterations", 1, "--set", "mirror=0")
    assert status == 2  # eight sources are missing
    assert [result.config.choices.mirror for result in results.collect(tiny.runs)] == [False]
    status, said = paper("figure6", "--iterations", 1)
    assert "holds a run with another mirror; remove that folder" in said.err
