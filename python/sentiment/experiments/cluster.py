"""Trainings as tasks of a Ray cluster: one fold a task, over its machines and fractions of its GPUs.

A task calls the commands of tools/ that would run here, in the same run folder, which all nodes share. When a worker or
a node is lost, Ray gives its task to another; the training there goes on from its newest whole snapshot, as after any
interrupt. Nothing travels through Ray but a task's words and the sentence it failed with.
"""

import contextlib
import importlib
import logging
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from sentiment import engine
from sentiment.evaluation import results
from sentiment.experiments.task_table import DONE, FAILED, RUNNING, WAITING, TaskTable
from sentiment.training import loss_curves
from sentiment.training.runs import Run
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError, sentence_of
from sentiment.utils.files import PROJECT
from sentiment.utils.signals import postponed

CPUS_PER_RUN = 2  # what the estimates of time are for
RETRIES = 5  # of a task whose worker is lost; a training that kills its worker by itself is not tried for ever
SECONDS_BETWEEN_LOOKS = 1
SECONDS_TO_CONNECT = 30
SECONDS_UNTIL_SHARED = 90  # a network file system may show a new file only after a minute
HOWTO = "docs/howto/cluster.md"
LOG = "ray.log"  # in RUNS


@dataclass(frozen=True)
class Job:
    """One task.

    Attributes
    ----------
    run : runs.Run
    iterations : int
    steps : list of tuple of str
        Commands of tools/ in their order, each a tool and its words; paths may be relative to where the user called.
    """

    run: Run
    iterations: int
    steps: list


def run_jobs(jobs, cpus=CPUS_PER_RUN, gpus=0.0):
    """Carry out jobs on the cluster at RAY_ADDRESS, or on a Ray of this machine's own that is started for them.

    One that fails does not keep the others from being done.

    Parameters
    ----------
    jobs : list of Job
    cpus : int
        CPU cores, and threads, of a task.
    gpus : float
        Of a GPU, a task's part; the jobs' own words say that they compute on it.

    Raises
    ------
    UserError
        No Ray or no cluster, no node with room for a task, or jobs that failed.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, when every task has stopped with a snapshot.
    """
    if not jobs:
        return
    ray = _ray()
    table = TaskTable([job.run.title for job in jobs])
    log = jobs[0].run.root / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    # Ray reports on both, at length and in the middle of the table, which has the stream from before.
    with stderr_to(log), contextlib.redirect_stdout(sys.stderr):
        _connect(ray, cpus, log)
        _require_room(ray.nodes(), cpus, gpus)
        try:
            faults = _Watch(ray, jobs, table, *_submit(ray, jobs, cpus, gpus)).until_all_ended()
        finally:
            table.draw(last=True)
            ray.shutdown()
    for fault in faults:
        print(fault, file=sys.stderr)
    if failed := table.of(FAILED):
        first = f"{failed[0].title}: {failed[0].about}"
        many = f"{len(failed)} of {len(jobs)} trainings failed; the first, {first}" if len(failed) > 1 else first
        raise UserError(f"{many} (the same command goes on with what is left)")


def carry_out(job, folder):
    """What a task does, on its node: the job's commands, in the folder the user called from.

    Returns
    -------
    str or None
        The sentence a user should read where it failed.
    str or None
        The traceback, where that is no user's mistake.
    """
    if not folder.is_dir():
        return f"{folder} is not there on this node; all nodes have to share it at the same path, see {HOWTO}", None
    tools = str(PROJECT / "tools")
    if tools not in sys.path:
        sys.path.insert(0, tools)
    try:
        with engine.working_in(folder):
            for tool, *words in job.steps:
                importlib.import_module(tool).main(words)
    except Exception as error:
        if sentence := sentence_of(error):
            return sentence, None
        return f"{type(error).__name__}: {error}", traceback.format_exc()
    return None, None


def _task(number, job, folder, board):
    import ray

    # Not waited for: Ray lends a waiting task's cores to another.
    board.started.remote(number, ray.get_runtime_context().get_node_id())
    return carry_out(job, folder)


class _Board:
    """Where tasks say that they have started, and on which node; lives beside the command."""

    def __init__(self):
        self.nodes = {}

    def started(self, number, node):
        self.nodes.setdefault(number, []).append(node)

    def read(self):
        return self.nodes


def _ray():
    """The module, which reads some of its settings when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray would warn of otherwise
    if os.environ.get("RAY_ADDRESS") and (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a head that finds a token demands it
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"EXECUTOR=ray needs Ray ({error}); install it with: pip install -e '.[cluster]' in {PROJECT}"
        ) from error
    return ray


def _connect(ray, cpus, log):
    """Connect to the cluster of RAY_ADDRESS, else to one of this machine's own that ends with this process."""
    # Before Python starts on a worker, for torch and BLAS read it then; PYTHONPATH may name a real Caffe, and a run is
    # of one precision.
    environment = {"OMP_NUM_THREADS": str(cpus)}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH", "CAFFE_PRECISION") if os.environ.get(name)}
    options = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"env_vars": environment}}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        ray.init(address="local", include_dashboard=False, **options)
        return
    before = log.stat().st_size
    try:
        with _at_most(SECONDS_TO_CONNECT):
            ray.init(address=address, **options)
    except (ValueError, RuntimeError, OSError, _LateError) as error:
        # Ray's own words tell of another version of Ray or Python on the cluster; of a token, only its log does.
        reason = " ".join(str(error).split()) or "no Ray cluster answers there"
        if b"Unauthenticated" in log.read_bytes()[before:]:
            reason = "the cluster there has another token"
        raise UserError(f"RAY_ADDRESS={address}: {reason}; see {HOWTO}") from error


class _LateError(BaseException):
    """No Exception, for Ray catches those and tries again."""


@contextlib.contextmanager
def _at_most(seconds):
    """Raise `_LateError` in a block that takes longer: Ray itself knocks for many minutes where nobody answers."""

    def late(number, frame):
        raise _LateError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


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


def _submit(ray, jobs, cpus, gpus):
    """Give all jobs to Ray: the tasks by their number, and the board they report to."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()
    # A worker a task on a GPU (Ray's default), since torch gives a GPU's memory back only when its process ends.
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_task)
    folder = Path.cwd()
    return {task.remote(number, job, folder, board): number for number, job in enumerate(jobs)}, board


class _Watch:
    """Follows tasks to their ends and keeps the table."""

    def __init__(self, ray, jobs, table, tasks, board):
        self.ray, self.jobs, self.table, self.tasks, self.board = ray, jobs, table, tasks, board
        self.returned = {}  # a task's number -> until when its result may take to be seen here
        self.names = {}  # of nodes, the lost ones too
        self.faults = []

    def until_all_ended(self):
        """Wait for all tasks, or for their snapshots after Ctrl-C; returns tracebacks of what is no user's mistake."""
        with postponed("stopping: every training finishes an iteration, then a snapshot", self.table.stream) as stopped:
            cancelled = False
            while self.tasks or self.returned:
                if stopped and not cancelled:
                    cancelled = True
                    for task in self.tasks:
                        self.ray.cancel(task)
                self.look()
                self.table.draw()
        if stopped:
            raise KeyboardInterrupt(
                f"stopped with {len(self.table.of(DONE))} of {len(self.jobs)} trained and tested; "
                "the same command goes on from the snapshots"
            )
        return self.faults

    def look(self):
        """Wait a moment, then see what has become of every task."""
        if self.tasks:
            ended, _ = self.ray.wait([*self.tasks], num_returns=len(self.tasks), timeout=SECONDS_BETWEEN_LOOKS)
            for task in ended:
                self.end(self.tasks.pop(task), task)
        else:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        for number in list(self.returned):
            self.arrive(number)
        nodes = self.ray.nodes()
        self.names |= {node["NodeID"]: node["NodeName"] for node in nodes}
        alive = {node["NodeID"] for node in nodes if node["Alive"]}
        running = set(self.tasks.values())
        for number, places in self.ray.get(self.board.read.remote()).items():
            if number in running:
                self.locate(number, places[-1], places[-1] in alive)

    def end(self, number, task):
        """Note how a task ended."""
        errors = self.ray.exceptions
        try:
            sentence, fault = self.ray.get(task)
        except errors.TaskCancelledError:
            return self.table.change(number, WAITING, "stopped")
        except errors.RayTaskError as error:  # before the task's own code began, as where the project is not installed
            sentence, fault = " ".join(str(error.cause or error).split()), None
        except errors.RayError as error:
            sentence, fault = f"its worker was lost {RETRIES + 1} times, at last so: {str(error).splitlines()[0]}", None
        if sentence:
            self.faults += [fault] if fault else []
            return self.table.change(number, FAILED, sentence)
        self.returned[number] = time.monotonic() + SECONDS_UNTIL_SHARED
        return None

    def arrive(self, number):
        """Note that a result is here, or never came."""
        run = self.jobs[number].run
        if run.result.is_file():
            scores = results.read(run.result).accuracy
            loss = loss_curves.latest(run.log)
            words = f"with loss {loss[1]:.3f}" if loss else "without a log"
            self.table.change(number, DONE, f"{words}, {scores['center']:.3f} centre crop")
        elif time.monotonic() > self.returned[number]:
            missing = f"it was trained, but {run.result} is not here; all nodes have to share RUNS, see {HOWTO}"
            self.table.change(number, FAILED, missing)
        else:
            return
        del self.returned[number]

    def locate(self, number, node, alive):
        """Note where a task is: on a node that lives, or in the queue again."""
        name = self.names.get(node, node)
        if not alive:
            return self.table.change(number, WAITING, f"again, {name} was lost")
        self.table.change(number, RUNNING, f"on {name}")
        if latest := loss_curves.latest(self.jobs[number].run.log):
            progress = f"{latest[0]}/{self.jobs[number].iterations}, loss {latest[1]:.3f}"
            self.table.rows[number].progress = progress
        return None
