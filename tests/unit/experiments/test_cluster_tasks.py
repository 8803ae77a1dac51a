"""Trainings over a cluster, as far as it needs none: what a task does, what is refused."""

import io
import socket
import sys
import types
from pathlib import Path

import pytest

from helpers import made_up
from sentiment.experiments import cluster
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError


@pytest.fixture
def job(tmp_path):
    def make(*commands):
        return cluster.Job(Run(tmp_path, "five_agrees", "finetune", "caffenet", 1), 60, list(commands))

    (tmp_path / cluster.LOG).touch()
    return make


def test_a_task_calls_its_commands_where_the_user_did(job, tmp_path):
    made_up.run(tmp_path, 1)
    before = Path.cwd()
    work = job(("make_solver", "--out", "made"), ("make_prototxt", "--out", "made"))
    assert cluster._carry_out(work, tmp_path) == 0.8
    assert Path.cwd() == before
    assert (tmp_path / "made" / "five_agrees_finetune.prototxt").is_file()
    assert (tmp_path / "made" / "finetune" / "train_val.prototxt").is_file()


def test_a_users_mistake_is_a_sentence_and_a_fault_is_itself(job, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="DATA: nowhere is not a folder"):
        cluster._carry_out(job(("evaluate", "--data", "nowhere")), tmp_path)

    (tmp_path / "faulty.py").write_text("def main(words):\n    return {}[words[0]]\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyError):
        cluster._carry_out(job(("faulty", "key")), tmp_path)


def test_a_full_disk_is_said_though_causes_do_not_travel(job, tmp_path, monkeypatch):
    (tmp_path / "filling.py").write_text("def main(words):\n    raise OSError(28, 'No space left on device', 'x')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="the disk is full"):
        cluster._carry_out(job(("filling",)), tmp_path)


@pytest.mark.parametrize("missing", ["mine", cluster.LOG])
def test_a_folder_that_is_not_shared_is_said(job, tmp_path, missing):
    work = job()
    (tmp_path / cluster.LOG).unlink()
    with pytest.raises(UserError, match=f"{missing} is not on this node"):
        cluster._carry_out(work, tmp_path / "mine" if missing == "mine" else tmp_path)


def test_without_ray_the_extra_is_named(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[cluster\]'"):
        cluster.run_jobs([job()], 2, 0)


def test_workers_compute_with_what_the_command_was_given(monkeypatch):
    given = {}
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=lambda **options: given.update(options)))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("CAFFE_PRECISION", "bf16")
    cluster._connect(3)
    assert given["runtime_env"]["env_vars"] == {"OMP_NUM_THREADS": "3", "CAFFE_PRECISION": "bf16"}


def test_an_address_that_is_none(job, monkeypatch):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    for address in "nonsense", f"127.0.0.1:{free}":
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=rf"RAY_ADDRESS={address}: .*see docs/howto/cluster.md"):
            cluster.run_jobs([job()], 2, 0)


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


def test_how_far_a_log_is(tmp_path):
    job = cluster.Job(Run(tmp_path, "five_agrees", "finetune", "caffenet", 1), 60, [])
    assert cluster._iterations(job) == 0
    job.run.folder.mkdir(parents=True)
    job.run.log.write_text("I1105 net.cpp:1] Creating layer\n")
    assert cluster._iterations(job) == 0
    job.run.log.write_text(made_up.log([0.5] * 1000) + made_up.log([0.75, 0.25], first=30) + "I1105] Iteration 32, lo")
    assert cluster._iterations(job) == 32


class RayError(Exception):
    cause = None


class TaskCancelledError(RayError):
    pass


class FakeRay:
    """Tasks on two nodes: the first ends well, the second fails, the third is lost with its node and ends elsewhere."""

    exceptions = types.SimpleNamespace(RayError=RayError, TaskCancelledError=TaskCancelledError)

    def __init__(self):
        self.looks = 0
        self.read = types.SimpleNamespace(remote=lambda: self)

    def wait(self, tasks, num_returns, timeout):
        self.looks += 1
        return [task for task in tasks if self.looks == task + 1], []

    def nodes(self):
        return [{"NodeID": "1", "NodeName": "one"}, {"NodeID": "2", "NodeName": "two"}]

    def get(self, asked):
        if asked is self:
            return {0: "1", 1: "1", 2: "2" if self.looks < 3 else "1"}
        if asked == 1:
            error = RayError()
            error.cause = UserError("the disk is full")
            raise error
        return 0.8


def test_every_change_is_a_line_and_a_failure_stops_no_other(tmp_path):
    jobs = [cluster.Job(made_up.run(tmp_path, fold), 60, []) for fold in (1, 2, 3)]
    ray, shown = FakeRay(), io.StringIO()
    failed = cluster._follow(ray, jobs, {number: number for number in range(3)}, ray, shown)
    assert failed == [f"{jobs[1].run.title}: the disk is full"]
    lines = shown.getvalue().splitlines()
    places = (0, "one"), (1, "one"), (2, "two"), (2, "one")
    assert [line for line in lines if "running on" in line] == [
        f"{jobs[number].run.title}: running on {node}" for number, node in places
    ]
    assert [line for line in lines if ": done" in line or ": failed" in line] == [
        f"{jobs[0].run.title}: done, 0.800 centre crop; 1 done, 0 failed, 2 to go",
        f"{jobs[1].run.title}: failed: the disk is full; 1 done, 1 failed, 1 to go",
        f"{jobs[2].run.title}: done, 0.800 centre crop; 2 done, 1 failed, 0 to go",
    ]
