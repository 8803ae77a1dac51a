"""Trainings over a cluster, as far as it needs none: what a task does, what is refused, what the table says."""

import io
import os
import pty
import signal
import sys
import time
import types
from pathlib import Path

import pytest

from helpers import made_up
from sentiment.experiments import cluster
from sentiment.experiments.task_table import DONE, FAILED, RUNNING, WAITING, TaskTable
from sentiment.training import loss_curves
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError


def job(tmp_path, *steps):
    return cluster.Job(Run(tmp_path, "five_agrees", "finetune", "caffenet", 1), 60, list(steps))


def test_a_task_calls_its_commands_where_the_user_did(tmp_path):
    work = job(tmp_path, ("make_solver", "--out", "made"), ("make_prototxt", "--out", "made"))
    before = Path.cwd()
    assert cluster.carry_out(work, tmp_path) == (None, None)
    assert Path.cwd() == before
    assert (tmp_path / "made" / "five_agrees_finetune.prototxt").is_file()
    assert (tmp_path / "made" / "finetune" / "train_val.prototxt").is_file()


def test_a_users_mistake_is_a_sentence_and_a_fault_has_its_traceback(tmp_path, monkeypatch):
    work = job(tmp_path, ("evaluate", "--data", "nowhere"))
    sentence, fault = cluster.carry_out(work, tmp_path)
    assert sentence.startswith("DATA: nowhere is not a folder") and fault is None

    (tmp_path / "faulty.py").write_text("def main(words):\n    return {}[words[0]]\n")
    monkeypatch.syspath_prepend(tmp_path)
    sentence, fault = cluster.carry_out(job(tmp_path, ("faulty", "key")), tmp_path)
    assert sentence == "KeyError: 'key'"
    assert fault.startswith("Traceback") and "faulty.py" in fault


def test_a_folder_that_is_not_shared_is_said(tmp_path):
    sentence, _ = cluster.carry_out(job(tmp_path), tmp_path / "mine")
    assert "mine is not there on this node; all nodes have to share it" in sentence


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[cluster\]'"):
        cluster.run_jobs([job(tmp_path)])


def test_workers_compute_with_what_the_command_was_given(tmp_path, monkeypatch):
    given = {}
    ray = types.SimpleNamespace(init=lambda **options: given.update(options))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("CAFFE_PRECISION", "bf16")
    cluster._connect(ray, 3, tmp_path / "ray.log")
    assert given["runtime_env"]["env_vars"] == {"OMP_NUM_THREADS": "3", "CAFFE_PRECISION": "bf16"}


def test_an_address_that_is_none(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(UserError, match=r"RAY_ADDRESS=nonsense: .*see docs/howto/cluster.md"):
        cluster.run_jobs([job(tmp_path)])


def test_knocking_ends_though_ray_tries_again_after_any_error():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(cluster._LateError), cluster._at_most(1):
        while True:
            try:
                time.sleep(60)
            except Exception:
                continue
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_task_needs_one_node_with_room_for_all_of_it():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    cluster._require_room(nodes, 8, 0)
    cluster._require_room(nodes, 2, 0.5)
    for cpus, gpus in ((9, 0), (4, 1)):
        with pytest.raises(UserError, match="the most that one has is 8 CPUs and 1 GPUs"):
            cluster._require_room(nodes, cpus, gpus)


def test_where_there_is_no_terminal_a_change_is_a_line():
    stream = io.StringIO()
    table = TaskTable(["fold 1", "fold 2"], stream)
    for _ in range(3):
        table.change(0, RUNNING, "on two")
        table.rows[0].progress = "30/60, loss 0.5"
        table.draw()
    table.change(0, WAITING, "again, two was lost")
    table.change(1, FAILED, "the disk is full")
    table.change(0, DONE, "with loss 0.400")
    assert stream.getvalue().splitlines() == [
        "fold 1: running on two",
        "fold 1: waiting again, two was lost",
        "fold 2: failed: the disk is full (0 running, 1 waiting, 0 done, 1 failed)",
        "fold 1: done with loss 0.400 (0 running, 0 waiting, 1 done, 1 failed)",
    ]


def test_a_table_shows_what_runs_and_what_failed_first_and_fits():
    table = TaskTable([f"fold {number}" for number in range(1, 6)], io.StringIO())
    table.change(1, FAILED, "the disk is full")
    table.change(3, RUNNING, "on two")
    table.change(4, DONE)
    table.rows[3].progress = "30/60, loss 0.5"
    assert table.lines(80, 20) == [
        "1 running, 2 waiting, 1 done, 1 failed",
        "  running  fold 4: 30/60, loss 0.5, on two",
        "  failed   fold 2: the disk is full",
        "  waiting  fold 1",
        "  waiting  fold 3",
    ]
    for columns in (20, 40):
        for most in range(2, 7):
            lines = table.lines(columns, most)
            assert len(lines) <= most and max(map(len, lines)) <= columns
    assert table.lines(80, 3)[-1] == "  and 3 more"


def test_on_a_terminal_the_table_is_drawn_over_itself():
    master, slave = pty.openpty()
    with open(slave, "w") as terminal:
        table = TaskTable(["fold 1", "fold 2"], terminal)
        table.draw()
        table.change(0, RUNNING, "on two")
        table.draw()
        shown = ""
        while shown.count("\n") < 6:  # a terminal hands over in parts
            shown += os.read(master, 4096).decode()
    os.close(master)
    before, after = shown.split("\x1b[3F\x1b[J")
    assert "2 waiting" in before
    assert "running  fold 1: on two" in after


def test_how_far_a_log_is(tmp_path):
    path = tmp_path / "train.log"
    assert loss_curves.latest(path) is None
    path.write_text("I1105 net.cpp:1] Creating layer\n")
    assert loss_curves.latest(path) is None
    path.write_text(made_up.log([0.5] * 1000) + made_up.log([0.75, 0.25], first=30) + "I1105] Iteration 32, loss = 0.")
    assert loss_curves.latest(path) == (31, 0.25)
