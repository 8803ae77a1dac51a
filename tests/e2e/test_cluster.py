"""tools/paper.py --executor ray: trainings on a real cluster of two nodes on this machine, one of which is killed."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from helpers.ray_nodes import Cluster

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

FOLDS = range(1, 6)
THREADS = "1"


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    try:
        made.start("one", "--head", f"--port={made.address.split(':')[1]}", f"--temp-dir={made.home}/ray")
        made.start("two", f"--address={made.address}")
        yield made
    finally:
        made.stop()


@pytest.fixture
def paper(root, tiny, tmp_path, cluster):
    """Start ``tools/paper.py figure7`` with five tiny trainings in a process of its own, its output in a file."""

    def start(name, *words, **more):
        where = "--data", "data", "--splits", tiny.splits, "--runs", name, "--out", f"{name}-results"
        command = [sys.executable, root / "tools" / "paper.py", "figure7", *where, "--init", tiny.source]
        with (tmp_path / f"{name}.txt").open("w") as said:
            return subprocess.Popen(
                [*map(str, [*command, "--batch-size", 4, *words])],
                cwd=tmp_path,
                env={**cluster.of_users, **more},
                stdout=said,
                stderr=said,
            )

    return start


def on_cluster(cluster):
    return {"RAY_ADDRESS": cluster.address}


RAY = "--executor", "ray", "--cpus-per-run", THREADS


def until(look, process, said, seconds=300):
    """Wait for what ``look`` sees."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert process.poll() is None and time.monotonic() < deadline, said.read_text()
        time.sleep(0.02)
    return found


def folder(tmp_path, name, fold):
    return tmp_path / name / "five_agrees" / "finetune-source" / f"fold{fold}"


def log(tmp_path, name, fold):
    path = folder(tmp_path, name, fold) / "train.log"
    return path.read_text() if path.is_file() else ""


def test_a_node_killed_in_the_middle_costs_no_result_and_no_bit(paper, cluster, tmp_path):
    local = paper("local", "--iterations", 60)
    assert local.wait(timeout=600) == 0, (tmp_path / "local.txt").read_text()

    process, said = paper("shared", "--iterations", 60, *RAY, **on_cluster(cluster)), tmp_path / "shared.txt"
    fold = int(until(lambda: re.search(r"fold (\d), .*: running on two\n", said.read_text()), process, said)[1])
    until(lambda: "] Iteration 33 (" in log(tmp_path, "shared", fold), process, said)
    assert "Optimization Done" not in log(tmp_path, "shared", fold)
    assert not (folder(tmp_path, "shared", fold) / "result.json").exists()
    cluster.kill("two")
    assert process.wait(timeout=600) == 0, said.read_text()

    assert "Random streams and data positions restored" in log(tmp_path, "shared", fold)
    assert "] Iteration 0 (" in log(tmp_path, "shared", fold).split("Random streams and data positions restored")[0]
    assert said.read_text().count(": done, ") == 5
    assert "raylet" not in said.read_text() and "Error" not in said.read_text()
    assert "5 done, 0 failed, 0 to go" in said.read_text()
    for one in FOLDS:
        assert set(re.findall(r"Computing with (\d+) CPU threads", log(tmp_path, "shared", one))) == {THREADS}
        for name in ("snapshot_iter_60.caffemodel", "predictions.csv", "result.json"):
            ours, theirs = (folder(tmp_path, runs, one) / name for runs in ("shared", "local"))
            assert ours.read_bytes() == theirs.read_bytes(), f"{one} {name}"
    assert (tmp_path / "shared-results" / "tiny" / "figure7.png").is_file()


def test_an_interrupt_takes_snapshots_and_one_failure_stops_no_other(paper, cluster, tmp_path):
    process, said = paper("shared", "--iterations", 290, *RAY, **on_cluster(cluster)), tmp_path / "shared.txt"
    until(lambda: any("] Iteration 5 (" in log(tmp_path, "shared", fold) for fold in FOLDS), process, said)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert re.search(r"paper: stopped with \d of 5 trained and tested; the same command resumes", said.read_text())
    assert "Traceback" not in said.read_text()
    stopped = list((tmp_path / "shared").rglob("*.solverstate"))
    assert stopped

    identity = folder(tmp_path, "shared", 5) / "run.json"
    identity.parent.mkdir(parents=True, exist_ok=True)
    identity.write_text(json.dumps({"seed": 0}))
    identity.with_name("snapshot_iter_290.caffemodel").touch()  # a run that was trained
    process = paper("shared", "--iterations", 290, *RAY, **on_cluster(cluster))
    assert process.wait(timeout=600) == 2
    words = said.read_text()
    assert "Traceback" not in words
    assert re.search(r"paper: error: five_agrees fold 5, finetune from source: .*fold5 holds a run with another", words)
    assert words.count(": error: ") == 1
    for fold in FOLDS[:-1]:
        assert (folder(tmp_path, "shared", fold) / "result.json").is_file()
    restored = [fold for fold in FOLDS if "data positions restored" in log(tmp_path, "shared", fold)]
    assert [folder(tmp_path, "shared", fold) for fold in restored] == sorted({path.parent for path in stopped})


def test_what_cannot_run_is_a_sentence(paper, cluster, tmp_path):
    process = paper("shared", *RAY, "--gpus-per-run", "0.5", **on_cluster(cluster))
    assert process.wait(timeout=300) == 2
    said = (tmp_path / "shared.txt").read_text()
    assert "error: no node has room for CPUS_PER_RUN=1 and GPUS_PER_RUN=0.5: the most that one has is 1 CPUs" in said
