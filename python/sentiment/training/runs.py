"""Where one training lives: a self-contained folder per subset, architecture, initialisation and fold."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from sentiment.training.configuration import Configuration, Stretch
from sentiment.training.solvers import DEFAULT_SEED
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import read_json, write_json

TRAINING = "training"
"""Key of run.json: the stretches of its training, which are no part of what the run is made from."""


def variant_name(variant="", seed=DEFAULT_SEED) -> str:
    """The part of a run's folder name that a variant, a seed other than the default, or both give it.

    Raises
    ------
    UserError
        A variant that cannot be part of a folder's name, or that looks like another seed's.
    """
    if not re.fullmatch(r"[\w.-]*", variant):
        raise UserError(f"VARIANT: {variant!r} names a folder; use letters, digits, dots and dashes")
    if re.fullmatch(r"(.*-)?seed\d+", variant):
        raise UserError(f"VARIANT: {variant!r} ends like the folders of another seed; give SEED=N or --seed N for that")
    return "-".join(filter(None, (variant, f"seed{seed}" if seed != DEFAULT_SEED else "")))


@dataclass(frozen=True)
class Run:
    """One training's folder, ``root/<subset>/<arch>-<init>[-<variant>]/fold<k>``, and the files in it."""

    root: Path  # the folder of all runs
    subset: str
    arch: str
    init: str  # a `cards.Source.name`
    fold: int  # 1 to 5
    variant: str = ""  # as `variant_name` gives it: ``lr0.001``, ``seed1702``

    @property
    def folder(self):
        """The run's own folder."""
        name = "-".join(filter(None, (self.arch, self.init, self.variant)))
        return Path(self.root) / self.subset / name / f"fold{self.fold}"

    @property
    def title(self):
        """What messages call it."""
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.subset} fold {self.fold}, {self.arch} from {self.init}{variant}"

    def command(self, tool, data):
        """The command that calls a tool for this run, given the folder of its data set."""
        configuration = self.configuration()
        given = {"data": data, "runs": self.root, "subset": self.subset, "arch": self.arch, "init": self.init}
        given |= {"fold": self.fold, "variant": configuration.variant}
        if configuration.seed != DEFAULT_SEED:
            given["seed"] = configuration.seed
        words = [word for name, value in given.items() if value for word in (f"--{name}", str(value))]
        return shlex.join([python(), f"tools/{tool}.py", *words])

    @property
    def train_val(self):
        """The definition it is trained with."""
        return self.folder / "train_val.prototxt"

    @property
    def deploy(self):
        """The definition it is tested with."""
        return self.folder / "deploy.prototxt"

    @property
    def solver(self):
        """The solver it is trained with."""
        return self.folder / "solver.prototxt"

    @property
    def log(self):
        """Caffe's log of the training."""
        return self.folder / "train.log"

    @property
    def predictions(self):
        """Probabilities of the test images."""
        return self.folder / "predictions.csv"

    @property
    def result(self):
        """The result, once it is tested."""
        return self.folder / "result.json"

    @property
    def record(self):
        """The configuration, and the stretches of its training."""
        return self.folder / "run.json"

    @property
    def snapshot_prefix(self):
        """Caffe's ``snapshot_prefix``: files are this plus ``_iter_<n>.caffemodel`` or ``.solverstate``."""
        return self.folder / "snapshot"

    def weights(self, iteration):
        """The snapshot of the weights at an iteration."""
        return Path(f"{self.snapshot_prefix}_iter_{iteration}.caffemodel")

    def state(self, iteration):
        """The snapshot of the solver's state at an iteration."""
        return Path(f"{self.snapshot_prefix}_iter_{iteration}.solverstate")

    def snapshots(self):
        """Iterations with both weights and state on disk, newest first: where training can resume."""
        states = self.folder.glob(f"{self.snapshot_prefix.name}_iter_*.solverstate")
        iterations = (re.fullmatch(r".*_iter_(\d+)", path.stem) for path in states)
        complete = (int(match[1]) for match in iterations if match)
        return sorted((iteration for iteration in complete if self.weights(iteration).is_file()), reverse=True)

    def configuration(self, *needed) -> Configuration:
        """What the run is made from, as run.json records it.

        Parameters
        ----------
        *needed : str
            Fields the caller is about to use.

        Raises
        ------
        UserError
            The folder holds no training, or one of an earlier version of this project that recorded less.
        """
        if not self.record.is_file():
            raise UserError(f"{self.folder} holds no training; run tools/train.py with the same options first")
        values = read_json(self.record)
        if missing := [name for name in ("iterations", *needed) if name not in values]:
            raise self._earlier_version(missing)
        found = Configuration.from_json(values, self.record)
        if found.init not in (None, self.init):  # the folder of init a-b is also that of a's variant b
            others = {"init": found.init, "variant": found.variant, "seed": found.seed}
            options = " ".join(f"--{name} {value}" for name, value in others.items() if value)
            raise UserError(f"{self.folder} holds a training from {found.init}, not {self.init}; name it by {options}")
        return found

    def training(self) -> list[Stretch] | None:
        """The stretches of its training in their order; None where run.json does not record them."""
        values = read_json(self.record)
        if TRAINING not in values:
            return None
        return [Stretch.from_json(one, self.record) for one in values[TRAINING]]

    def _earlier_version(self, missing):
        return UserError(
            f"{self.record} is of an earlier version of this project and does not record {', '.join(missing)}; "
            "remove that folder and run tools/train.py with the same options again, or give another RUNS=<folder>"
        )

    def is_of(self, configuration) -> bool:
        """Whether the folder holds a run of this configuration, complete or not.

        Raises
        ------
        UserError
            It holds a training of another configuration: names the fields that differ.
        """
        if not self.record.is_file():
            return False
        before, now = read_json(self.record), configuration.to_json()
        changed = [name for name, value in now.items() if name != "card" and before.get(name) != value]
        if changed and self._is_trained():
            if not before.keys() & changed:
                raise self._earlier_version(changed)
            restore = (
                "restore its fold lists (shuffled ones by `make splits SEED=N` with their DATA and seed), "
                if set(changed) <= {"train_list", "test_list"}
                else ""
            )
            raise UserError(
                f"{self.folder} holds a run with another {', '.join(changed)}; {restore}"
                "remove that folder to start again, or give VARIANT=<name> or another RUNS=<folder>"
            )
        return not changed

    def claim(self, configuration):
        """Bind the folder to a configuration; what was begun there from another one and not trained is removed.

        Raises
        ------
        UserError
            As `is_of`.
        """
        if self.is_of(configuration):
            return
        if self.record.is_file():
            self.log.unlink(missing_ok=True)
        write_json(self.record, configuration.to_json())

    def record_environment(self, iteration, environment):
        """Record what the training computes with from an iteration on; the caller holds the folder (`locks.held`).

        Parameters
        ----------
        iteration : int
            Where it starts or resumes; stretches recorded from there on do not count any more.
        environment : engine.Environment
        """
        before = self.training()
        kept = [stretch for stretch in before or [] if stretch.from_iteration < iteration]
        if not kept or kept[-1].environment != environment:
            kept.append(Stretch(iteration, environment))
        if kept != before:
            write_json(self.record, {**read_json(self.record), TRAINING: [stretch.to_json() for stretch in kept]})

    def _is_trained(self):
        """Whether the folder holds anything that took time to make."""
        return self.result.is_file() or any(self.folder.glob(f"{self.snapshot_prefix.name}_iter_*"))
