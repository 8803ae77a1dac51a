"""Trainings as tasks of a Ray cluster: one fold per task, over its machines and shares of its GPUs.

A task calls the commands of tools/ that would run here, in the same run folder, which all nodes share. When a worker or
a node is lost, Ray gives its task to another, which resumes from the newest complete snapshot, as after any interrupt.
"""

import contextlib
import logging
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sentiment import engine
from sentiment.evaluation import results
from sentiment.experiments.planning import call
from sentiment.training import loss_curves
from sentiment.training.runs import Run
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError, sentence_of
from sentiment.utils.files import PROJECT
from sentiment.utils.progress import Progress
from sentiment.utils.signals import postponed

RETRIES = 5  # of a task whose worker is lost; not without end, for a training may be what ends its worker
SECONDS_BETWEEN_LOOKS = 1
SECONDS_TO_CONNECT = 5
SECONDS_UNTIL_SHARED = 90  # a network file system may show a new file only after a minute
HOWTO = "docs/howto/cluster.md"
LOG = "ray.log"  # in RUNS


@dataclass(frozen=True)
class Job:
    """One task: the commands that train and test a run, each a tool of tools/ and its arguments."""

    run: Run
    iterations: int
    commands: list[list[str]]  # paths in them may be relative to where the user called


def run_jobs(jobs: list[Job], cpus: int, gpus: float):
    """Carry out jobs on the cluster at RAY_ADDRESS, or on a Ray of this machine alone that is started for them.

    Each task gets so many CPU cores and threads, and a share of a GPU, on which the job's arguments make it compute.
    A job that fails does not keep the others from being done. A `UserError` says that there is no Ray, no cluster, no
    node with room for a task, or that jobs failed; after Ctrl-C or SIGTERM a KeyboardInterrupt is raised when every
    task has stopped with a snapshot.
    """
    if not jobs:
        return
    log = jobs[0].run.root / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    shown = sys.stdout
    # Ray reports on both streams, at length and in the middle of our lines.
    with stderr_to(log), contextlib.redirect_stdout(sys.stderr):
        ray = _connect(cpus)
        try:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            _require_room(ray.nodes(), cpus, gpus)
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            board = ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()
            # Each task on a GPU has its own worker (Ray's default): torch frees a GPU's memory when its process ends.
            task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_task)
            tasks = {task.remote(number, job, Path.cwd(), board): number for number, job in enumerate(jobs)}
            failed = _follow(ray, jobs, tasks, board, shown)
        finally:
            ray.shutdown()
    if failed:
        count = f"{len(failed)} of {len(jobs)} trainings failed; the first, " if len(failed) > 1 else ""
        raise UserError(f"{count}{failed[0]} (the same command resumes what is left)")


def _carry_out(job, folder):
    """Call a job's commands, on its node, in the folder the user called from; returns the accuracy of the centre crop.

    A `UserError` is the sentence a user should read; any other exception is a fault of ours.
    """
    for path in (folder, job.run.root / LOG):
        if not path.exists():
            raise UserError(f"{path} is not on this node; all nodes have to share it at the same path, see {HOWTO}")
    try:
        with engine.working_in(folder):
            for tool, *words in job.commands:
                call(tool, *words)
    except Exception as error:
        if sentence := sentence_of(error):  # made here, since an exception travels without its cause
            raise UserError(sentence) from None
        raise
    return results.read(job.run.result).accuracy["center"]


def _task(number, job, folder, board):
    import ray

    # Not waited for: Ray lends a waiting task's cores to another.
    board.started.remote(number, ray.get_runtime_context().get_node_id())
    return _carry_out(job, folder)


class _Board:
    """Where tasks say on which node they have started; lives beside the command."""

    def __init__(self):
        self.nodes = {}

    def started(self, number, node):
        self.nodes[number] = node

    def read(self):
        return self.nodes


def _connect(cpus):
    """The module of Ray, connected to the cluster of RAY_ADDRESS, else to one here that ends with this process."""
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    if address and (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a head that finds a token demands it
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"EXECUTOR=ray needs Ray ({error}); install it with: pip install -e '.[cluster]' in {PROJECT}"
        ) from error

    # Before Python starts on a worker, for torch and BLAS read it then; PYTHONPATH may name a real Caffe, and a run is
    # of one precision.
    environment = {"OMP_NUM_THREADS": str(cpus)}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH", "CAFFE_PRECISION") if os.environ.get(name)}
    options: dict[str, Any] = {"runtime_env": {"env_vars": environment}}
    options |= {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        ray.init(address="local", include_dashboard=False, **options)
        return ray
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal():  # where nobody answers, Ray itself tries for many minutes
            socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
        ray.init(address=address, **options)
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"RAY_ADDRESS={address}: no Ray cluster answers there, or it has another token ({reason}); see {HOWTO}"
        ) from error
    return ray


def _require_room(nodes, cpus, gpus):
    """Refuse what no node could ever run: Ray would wait for one that can."""
    nodes = [node["Resources"] for node in nodes if node["Alive"]]
    if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        return
    largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}
    raise UserError(
        f"no node has room for CPUS_PER_RUN={cpus} and GPUS_PER_RUN={gpus:g}: "
        f"the most that one has is {largest['CPU']:g} CPUs and {largest['GPU']:g} GPUs"
    )


def _follow(ray, jobs, tasks, board, shown):
    """Print what becomes of the tasks (task -> job's number); returns a sentence for each job that failed."""
    places, done, failed, cancelled = {}, [], [], False
    reached = [_iterations(job) for job in jobs]

    def say(line):
        tqdm.write(line, file=shown)  # above the bar, where there is one
        shown.flush()

    with (
        Progress("training", sum(job.iterations for job in jobs), sum(reached), "iterations", shown) as bar,
        postponed("stopping: every training finishes an iteration, then a snapshot", shown) as stopped,
    ):
        while tasks:
            if stopped and not cancelled:
                cancelled = True
                for task in tasks:
                    ray.cancel(task)
            ended, _ = ray.wait([*tasks], num_returns=len(tasks), timeout=SECONDS_BETWEEN_LOOKS)
            names = {node["NodeID"]: node["NodeName"] for node in ray.nodes()}
            started = ray.get(board.read.remote())
            for number in started.keys() & set(tasks.values()):
                reached[number] = max(reached[number], _iterations(jobs[number]))
                if places.get(number) != started[number]:
                    places[number] = started[number]
                    say(f"{jobs[number].run.title}: running on {names[places[number]]}")
            for task in ended:
                number = tasks.pop(task)
                job = jobs[number]
                try:
                    words = f"done, {ray.get(task):.3f} centre crop"
                    done.append(job)
                    reached[number] = job.iterations
                except ray.exceptions.TaskCancelledError:
                    words = "stopped"
                except ray.exceptions.RayError as error:
                    sentence = _sentence(error, say)
                    failed.append(f"{job.run.title}: {sentence}")
                    words = f"failed: {sentence}"
                say(f"{job.run.title}: {words}; {len(done)} done, {len(failed)} failed, {len(tasks)} to go")
            if further := sum(reached) - bar.done:
                bar.advance(further, f"{len(done)} of {len(jobs)} done")
    if stopped:
        raise KeyboardInterrupt(
            f"stopped with {len(done)} of {len(jobs)} trained and tested; the same command resumes from the snapshots"
        )
    deadline = time.monotonic() + SECONDS_UNTIL_SHARED
    while (missing := [job.run for job in done if not job.run.result.is_file()]) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    unseen = f"is not here though the training is done; all nodes have to share RUNS, see {HOWTO}"
    return failed + [f"{run.result} {unseen}" for run in missing]


def _iterations(job):
    """How many iterations are behind a training, by its log."""
    try:
        return int(loss_curves.read(job.run.log).iterations[-1]) + 1
    except UserError:  # no log, or no iteration in it yet
        return 0


def _sentence(error, say):
    """What a user should read where Ray raised an error for a task; a traceback is said where the fault is ours."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, UserError):
        return str(cause)
    if cause is None:
        return f"Ray tried it {RETRIES + 1} times, and at last: {str(error).splitlines()[0]}"
    say(str(error))
    return f"{type(cause).__name__}: {cause}"
