"""A probe as a user runs it: fitted, tested, shown in tables; what it refuses."""

import numpy as np

import caffe
from helpers.commands import refused
from sentiment.utils.files import read_json


def test_a_probe_is_a_run_like_any_other(tool, tiny, capfd):
    options = [*tiny.options, "--arch", "probe", "--fold", 1, 2]
    assert tool("train", *options) == 0
    folder = tiny.folder(arch="probe")
    assert not (folder / "solver.prototxt").exists()
    weights = folder / "snapshot_iter_0.caffemodel"
    probe, record = read_json(folder / "probe.json"), read_json(folder / "run.json")
    assert probe["c"] in probe["grid"]
    assert record["iterations"] == 0
    fitted = caffe.Net(str(folder / "deploy.prototxt"), str(weights), caffe.TEST)
    source = caffe.Net(str(tiny.source.parent / "deploy.prototxt"), str(tiny.source), caffe.TEST)
    for name in set(fitted.params) - {"fc8_twitter"}:
        assert np.array_equal(fitted.params[name][0].data, source.params[name][0].data)
    before = weights.stat().st_mtime_ns
    capfd.readouterr()
    assert tool("train", *options) == 0
    assert "already done" in capfd.readouterr().out
    assert weights.stat().st_mtime_ns == before
    assert tool("evaluate", *options) == 0
    out = tiny.runs.parent / "results"
    assert tool("make_tables", "--runs", tiny.runs, "--out", out, "--report") == 0
    for table in out.rglob("table2.md"):
        assert "linear probe of source" in table.read_text()
    assert [path for path in out.rglob("report.html") if "A linear probe is" in path.read_text()]


def test_what_has_no_meaning_for_a_probe_is_refused(tool, tiny, capfd):
    options = ["train", *tiny.options, "--arch", "probe"]
    for more in (["--iterations", 5], ["--batch-size", 5], ["--set", "mirror=0"], ["--seed", 5], ["--init", "scratch"]):
        refused(tool, capfd, *options, *more)
    assert not tiny.runs.exists()
