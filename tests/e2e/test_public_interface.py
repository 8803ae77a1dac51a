"""The tools ask pycaffe for nothing that BVLC's does not document, so a BVLC build can stand under them (CAFFE=)."""

import json
import os
import subprocess
import sys

import pytest

DRIVER = """
import importlib, json, sys
for tool, *arguments in json.loads(sys.argv[1]):
    print("--", tool, *arguments, flush=True)
    status = importlib.import_module(tool).main(arguments)
    assert not status, (tool, status)
"""
STAND_IN = "recording.cpp:1] a {} is made"


@pytest.fixture
def environment(root, tmp_path):
    """What puts the stand-in before the engine, as the Makefile does with CAFFE."""
    folders = root / "tests" / "e2e" / "recording", root / "tools"
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "ENGINE": str(root / "python" / "caffe"),
        "RECORD": str(tmp_path / "record.txt"),
        "OMP_NUM_THREADS": "1",
    }


def test_the_tools_use_documented_names_alone(tiny, tmp_path, environment):
    data, runs = ["--data", tiny.data], ["--runs", tiny.runs]
    which = [*data, "--splits", tiny.splits, *runs, "--init", tiny.source]
    named = [*runs, "--init", "source"]
    steps = [
        ["split_folds", *data, "--out", tiny.splits],
        ["make_prototxt", "--init", tiny.source, "--out", tmp_path / "prototxt"],
        ["make_solver", "--out", tmp_path / "solvers"],
        ["train", *which, "--fold", "1", "2"],
        ["train", *which, "--arch", "fc9"],
        ["evaluate", *which, "--fold", "1", "2"],
        ["extract_features", *data, "--splits", tiny.splits, *named, "--fold", "1"],
        ["extract_features", *data, "--splits", tiny.splits, *runs, "--source", "--init", tiny.source],
        ["net_surgery", *named],
        ["sentiment_maps", *data, *named, "--images", "2", "--compare-patches", "1", "--out", tmp_path / "results"],
        ["paper", "table1", *which[:-2], "--out", tmp_path / "results"],
        ["predict", tiny.data / "images" / "picture 1.jpg", *named, "--map", "--out", tmp_path / "predictions"],
    ]
    words = [[str(word) for word in step] for step in steps]
    command = [sys.executable, "-c", DRIVER, json.dumps(words)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    used = set((tmp_path / "record.txt").read_text().split())
    assert used >= {"caffe.Net", "caffe.get_solver", "Solver.step", "Net.blobs", "Blob.data", "caffe.io"}

    log = (tiny.folder() / "train.log").read_text()
    assert STAND_IN.format("Solver") in log  # written past sys.stderr, to the file descriptor
    assert "] Iteration 5 (" in log
    assert STAND_IN.format("Net") in (tiny.folder() / "test.log").read_text()
    assert "recording.cpp" not in process.stderr
    result = json.loads((tiny.folder() / "result.json").read_text())
    assert result["evaluation"]["engine"] == "BVLC Caffe 1.0.0-rc3"


def test_make_puts_another_caffe_under_the_tools(root, environment, tmp_path):
    if not (root / ".venv" / ".set-up").is_file():
        pytest.skip("needs the .venv of make setup")
    for name in "PYTHONPATH", "MAKEFLAGS", "MFLAGS", "MAKELEVEL":  # the last three are those of `make test`
        environment.pop(name, None)
    # -o: not a set-up in the middle of the tests, whatever is newer than it.
    command = ["make", "-o", ".venv/.set-up", "prototxt", f"CAFFE={root / 'tests' / 'e2e' / 'recording'}"]
    process = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("(unchanged)") == len(process.stdout.splitlines())
    assert "caffe.NetSpec" in (tmp_path / "record.txt").read_text()


def test_make_refuses_a_folder_without_a_caffe(root, environment, tmp_path):
    command = ["make", "help", f"CAFFE={tmp_path}"]
    process = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert process.returncode == 2
    assert f"CAFFE: {tmp_path} is not the python folder of a Caffe" in process.stderr
