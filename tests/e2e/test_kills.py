"""Killed (SIGKILL) at any moment, a command called again comes to the very files of one that was never disturbed."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import dying, made_up
from sentiment import engine, paper
from sentiment.report import table_files
from sentiment.training import loss_curves
from sentiment.utils import locks

LOGS = {"train.log", "test.log", "features.log"}
GROWING = {"layer_accuracies.json"}  # keeps what was found so far: whole each time, but not the last one's content
KILLS = {  # by command; fifty together
    "train": 10,
    "evaluate": 6,
    "extract_features": 7,
    "analyze_layers": 7,
    "make_tables": 7,
    "sentiment_maps": 7,
    "demo": 6,
}


@pytest.fixture
def command(request, tool, tiny, tmp_path):
    """What comes before a command is done; its folder and its arguments."""
    work = tmp_path / "runs"
    before = {"evaluate": ["train"], "extract_features": ["train"], "sentiment_maps": ["train", "evaluate"]}
    before["analyze_layers"] = ["train", "extract_features"]
    options = [*tiny.options, "--fold", "1", "2"]
    for step in before.get(request.param, []):
        assert tool(step, *options) == 0
    if request.param == "train":
        options += ["--iterations", "70"]  # snapshots at 30 and 60
    elif request.param == "analyze_layers":
        options = ["--runs", work, "--init", "source", "--fold", "1", "2", "--selection", "paper", "--jobs", "1"]
    elif request.param == "sentiment_maps":
        options = ["--data", tiny.data, "--runs", work, "--init", "source", "--fold", "1", "2", "--images", "all"]
        options += ["--input-size", "259", "--out", work / "results"]
    elif request.param == "make_tables":
        for init in paper.INITIALISATIONS:
            made_up.five(work, init=init)
        options = ["--runs", work, "--out", work / "results", "--report"]
    elif request.param == "demo":
        work.mkdir()
        options = ["--out", work / "demo", "--pictures", "64", "--iterations", "2"]
    work.mkdir(exist_ok=True)
    return request.param, work, [str(option) for option in options]


def files(work):
    """Content of the files a user sees, but for logs."""
    paths = [path for path in work.rglob("*") if path.is_file()]
    seen = [path for path in paths if path.name not in LOGS and not hidden(path.relative_to(work))]
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in seen}


def hidden(path):
    return any(part.startswith(".") for part in path.parts)


def stage(work):
    """How far a command came: the files there are, half-written ones by what they were to become."""
    names = [path.relative_to(work).as_posix() for path in work.rglob("*")]
    return frozenset(re.sub(r"\.[0-9a-f]{12}\.(?=tmp|part)", ".", name) for name in names)


def assert_no_process_in(folder):
    """Nothing the killed one had started lives on."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        alive = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "cwd") == str(folder):
                    alive.append(process.name)
            except OSError:  # ended meanwhile
                pass
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"processes {alive} live on")


@pytest.mark.slow
@pytest.mark.parametrize("command", KILLS, indirect=True)
def test_killed_at_random_moments(command, root, tmp_path):
    name, work, options = command
    place, count, before = tmp_path / "place", tmp_path / "count", tmp_path / "before"
    place.mkdir()
    chance = random.Random(name)
    shutil.copytree(work, before)

    def reset():
        shutil.rmtree(work)
        shutil.copytree(before, work)

    def run(moment=0, delay=0.0, seconds=None):
        """Call the command; whether it lived to its end."""
        script = [sys.executable, Path(dying.__file__), work, moment, delay, count]
        with open(place / "said", "w") as said:
            process = subprocess.Popen(
                [*map(str, script), str(root / "tools" / f"{name}.py"), *options],
                cwd=place,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=said,
            )
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        assert status in (0, -signal.SIGKILL), (place / "said").read_text()[-2000:]
        return status == 0

    start = time.monotonic()
    assert run()
    seconds, moments = time.monotonic() - start, int(count.read_text())
    whole = files(work)
    losses = {path: loss_curves.read(path).losses for path in work.rglob("train.log")}
    assert whole != files(before)
    reset()

    def check_result():
        assert files(work) == whole
        left = {path.name for path in work.rglob("*") if hidden(path.relative_to(work))}
        shared = {path.name for path in (work / engine.IMAGES).glob("*") if path.suffix != ".tmp"}
        assert left <= {locks.NAME, engine.IMAGES, table_files.RECORD, *shared}
        for path, values in losses.items():
            np.testing.assert_array_equal(loss_curves.read(path).losses, values)

    stages, kills, parts = [], 0, KILLS[name] // 2
    for attempt in range(4 * KILLS[name]):
        if kills == KILLS[name]:
            break
        if attempt % 2:
            lived = run(seconds=chance.uniform(0.2, 1) * seconds)
        else:
            part = (attempt // 2 % parts + chance.random()) / parts  # early ones and late ones, in turn
            lived = run(1 + int(part * moments), chance.choice([0, chance.uniform(0, 0.003)]))
        assert_no_process_in(place)
        if lived:
            check_result()
            reset()
            continue
        kills += 1
        stages.append(stage(work))
        for path, content in files(work).items():
            if path in whole and Path(path).name not in GROWING:
                assert content == whole[path], f"{path} after kill {kills}"
    assert kills == KILLS[name]
    assert len(set(stages)) >= 3
    assert run()
    check_result()
    print(f"{name}: {kills} kills in {attempt} calls of {seconds:.1f} s, {moments} moments, {len(set(stages))} stages")
