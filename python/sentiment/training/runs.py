"""A run's folder, which holds all of the run: one for each subset, architecture, initialisation, variant and fold."""

import re
import shlex
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from sentiment.engine import Environment
from sentiment.training import loop, snapshots
from sentiment.training.configuration import Configuration, Stretch
from sentiment.training.solvers import DEFAULT_SEED
from sentiment.utils import records
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import read_json, write_json

STRETCHES = "training"
"""Key of the training's stretches in run.json; they are not part of the configuration."""


def variant_name(variant: str = "", seed: int = DEFAULT_SEED) -> str:
    """The end of a run's folder name: the variant, and the seed if it is not the default one.

    A `UserError` names a variant that cannot be part of a folder's name, or that reads like a seed.
    """
    if not re.fullmatch(r"[\w.-]*", variant):
        raise UserError(f"VARIANT: {variant!r} names a folder; use letters, digits, dots, dashes, underscores")
    if re.fullmatch(r"(.*-)?seed\d+", variant):
        raise UserError(f"VARIANT: {variant!r} ends like the folder of another seed; give SEED=N or --seed N instead")
    return "-".join(filter(None, (variant, f"seed{seed}" if seed != DEFAULT_SEED else "")))


def _file(name) -> Any:
    """A property: the path of a file in the run's folder."""
    return property(lambda run: run.folder / name)


@dataclass(frozen=True)
class Run:
    """A run's folder, ``root/<subset>/<arch>-<init>[-<variant>]/fold<k>``, and the files in it."""

    root: Path  # the folder of all runs
    subset: str
    arch: str
    init: str  # a `cards.Source.name`
    fold: int  # 1 to 5
    variant: str = ""  # as `variant_name` gives it: ``lr0.001``, ``seed1702``

    train_val = _file("train_val.prototxt")  # the definition it is trained with
    deploy = _file("deploy.prototxt")  # the definition it is tested with
    solver = _file(loop.SOLVER)
    log = _file(loop.LOG)  # Caffe's log of the training
    record = _file("run.json")  # the configuration, and the training's stretches
    predictions = _file("predictions.csv")
    result = _file("result.json")

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        name = "-".join(filter(None, (self.arch, self.init, self.variant)))
        return Path(self.root) / self.subset / name / f"fold{self.fold}"

    @property
    def title(self) -> str:
        """The run's name in messages."""
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.subset} fold {self.fold}, {self.arch} from {self.init}{variant}"

    def weights(self, iteration: int) -> Path:
        """The path of the weights of an iteration."""
        return snapshots.weights(self.folder, iteration)

    def command(self, tool: str, data: Path) -> str:
        """The shell command that calls a tool for this run; ``data`` is the folder of its data set."""
        config = self.configuration()
        options = {"data": data, "runs": self.root, "subset": self.subset, "arch": self.arch, "init": self.init}
        options |= {"fold": self.fold, "variant": config.variant or None}
        options |= {"seed": None if config.seed == DEFAULT_SEED else config.seed}
        words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
        return shlex.join([python(), f"tools/{tool}.py", *words])

    def configuration(self, *needed: str) -> Configuration:
        """What the run is made from, as run.json records it; ``needed`` are keys that have to be recorded.

        A `UserError` says that the folder holds no training, or one of an earlier version without one of these keys.
        """
        if not self.record.is_file():
            raise UserError(f"{self.folder} holds no training; run tools/train.py with the same options first")
        values = read_json(self.record)
        if missing := [name for name in ("iterations", *needed) if name not in values]:
            raise self._earlier_version(missing)
        found = records.read(Configuration, values, self.record)
        if found.init not in (None, self.init):  # init a-b and variant b of init a have the same folder
            others = {"init": found.init, "variant": found.variant, "seed": found.seed}
            options = " ".join(f"--{name} {value}" for name, value in others.items() if value)
            raise UserError(f"{self.folder} holds a training from {found.init}, not {self.init}; name it by {options}")
        return found

    def stretches(self) -> tuple[Stretch, ...] | None:
        """The stretches of the training in their order; None if an earlier version did not record them."""
        values = read_json(self.record).get(STRETCHES)
        return None if values is None else tuple(records.read(Stretch, one, self.record) for one in values)

    def _earlier_version(self, missing):
        return UserError(
            f"{self.record} is of an earlier version of this project and does not record {', '.join(missing)}; "
            "remove that folder and run tools/train.py with the same options again, or give another RUNS=<folder>"
        )

    def is_of(self, configuration: Configuration) -> bool:
        """Refuse a folder that holds a run of another configuration, and return whether it holds one of this.

        The `UserError` names the fields that differ. A run that has neither a snapshot nor a result is not refused.
        """
        if not self.record.is_file():
            return False
        # An earlier version did by default what it did not record yet.
        defaults = {field.name: field.default for field in fields(configuration) if field.default is not MISSING}
        before, now = defaults | read_json(self.record), records.to_json(configuration)
        changed = [name for name, value in now.items() if name != "card" and before.get(name) != value]
        # Without a snapshot or a result, the folder holds nothing that took time to compute.
        if changed and (self.result.is_file() or snapshots.others(self.folder)):
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

    def claim(self, configuration: Configuration):
        """Write this configuration to run.json; the log of a run of another one is deleted.

        Raises a `UserError` as `is_of` does.
        """
        if self.is_of(configuration):
            return
        if self.record.is_file():
            self.log.unlink(missing_ok=True)
        write_json(self.record, records.to_json(configuration))

    def record_environment(self, iteration: int, environment: Environment):
        """Record the environment that computes from an iteration on; the caller holds the folder (`locks.held`).

        The training starts or resumes at that iteration, so stretches recorded from there on are dropped.
        """
        before = self.stretches()
        kept = [stretch for stretch in before or () if stretch.from_iteration < iteration]
        if not kept or kept[-1].environment != environment:
            kept.append(Stretch(iteration, environment))
        if tuple(kept) != before:
            write_json(self.record, {**read_json(self.record), STRETCHES: records.to_json(kept)})
