"""Where one training lives: a self-contained folder per subset, architecture, initialisation and fold."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from sentiment.training.solvers import DEFAULT_SEED
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import read_json, write_json

TRAINING = "training"
"""Key of run.json and result.json: what a training was computed with, a list of environments each from an iteration on.

"""
RECORDED = {TRAINING, "card"}
"""Keys of run.json that tell of a run and are no part of its identity."""


def variant(word="", seed=DEFAULT_SEED) -> str:
    """The variant of a run that differs from the usual one by what a user's word says, or by its seed, or both.

    Raises
    ------
    UserError
        A word unfit for a folder's name, or one that says what the seed does.
    """
    if not re.fullmatch(r"[\w.-]*", word):
        raise UserError(f"VARIANT: {word!r} names a folder; use letters, digits, dots and dashes")
    if re.fullmatch(r"(.*-)?seed\d+", word):
        raise UserError(f"VARIANT: {word!r} ends as the folders of another seed do; give SEED=N or --seed N for that")
    return "-".join(filter(None, (word, f"seed{seed}" if seed != DEFAULT_SEED else "")))


@dataclass(frozen=True)
class Run:
    """One training's folder, ``root/<subset>/<arch>-<init>[-<variant>]/fold<k>``, and the files in it.

    Attributes
    ----------
    root : Path
        The folder of all runs.
    subset, arch, init : str
        ``init`` is a `cards.Source.name`.
    fold : int
        1 to 5.
    variant : str
        Tells a run with other options than the usual ones apart, as ``lr0.001`` and ``seed1702`` do.
    """

    root: Path
    subset: str
    arch: str
    init: str
    fold: int
    variant: str = ""

    @property
    def folder(self):
        """The run's own folder."""
        name = "-".join(filter(None, (self.arch, self.init, self.variant)))
        return Path(self.root) / self.subset / name / f"fold{self.fold}"

    @property
    def title(self):
        """What it is, for people."""
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.subset} fold {self.fold}, {self.arch} from {self.init}{variant}"

    def command(self, tool, data):
        """How a tool is called for it, with the folder of its data set."""
        identity = self.made_from("seed", "variant")
        given = {"data": data, "runs": self.root, "subset": self.subset, "arch": self.arch, "init": self.init}
        given |= {"fold": self.fold, "variant": identity["variant"]}
        given |= {} if identity["seed"] == DEFAULT_SEED else {"seed": identity["seed"]}
        words = [word for name, value in given.items() if value for word in (f"--{name}", str(value))]
        return shlex.join([python(), f"tools/{tool}.py", *words])

    @property
    def train_val(self):
        """The net it was trained with."""
        return self.folder / "train_val.prototxt"

    @property
    def deploy(self):
        """The net it is tested with."""
        return self.folder / "deploy.prototxt"

    @property
    def solver(self):
        """The solver it was trained with."""
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
        """Accuracies and how they came about."""
        return self.folder / "result.json"

    @property
    def identity(self):
        """What the run was made from."""
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
        """Iterations with both weights and state on disk, newest first: what training can go on from."""
        states = self.folder.glob(f"{self.snapshot_prefix.name}_iter_*.solverstate")
        iterations = (re.fullmatch(r".*_iter_(\d+)", path.stem) for path in states)
        whole = (int(match[1]) for match in iterations if match)
        return sorted((iteration for iteration in whole if self.weights(iteration).is_file()), reverse=True)

    def made_from(self, *needed):
        """What run.json says the run is made from, a dict.

        Parameters
        ----------
        *needed : str
            Keys the caller is about to use.

        Raises
        ------
        UserError
            The folder holds no training, or one of an older form of this project that kept less.
        """
        if not self.identity.is_file():
            raise UserError(f"{self.folder} holds no training; run tools/train.py with the same options first")
        identity = read_json(self.identity)
        if lacking := [key for key in ("iterations", *needed) if key not in identity]:
            raise self._older(lacking)
        if identity.get("init", self.init) != self.init:  # the folder of init a-b is also that of a's variant b
            others = {name: identity.get(name) for name in ("init", "variant", "seed")}
            raise UserError(
                f"{self.folder} holds a training from {others.pop('init')}, not {self.init}; name it by --init "
                f"{identity['init']}" + "".join(f" --{name} {value}" for name, value in others.items() if value)
            )
        return identity

    def _older(self, lacking):
        return UserError(
            f"{self.identity} is of an older form of this project and does not say {', '.join(lacking)}; "
            "remove that folder and run tools/train.py with the same options again, or give another RUNS=<folder>"
        )

    def is_of(self, fingerprint) -> bool:
        """Whether the folder holds this run: it was made from that, be it trained or only begun.

        Parameters
        ----------
        fingerprint : dict
            JSON values by input: digests of the lists, source, net and solver, the seed.

        Raises
        ------
        UserError
            It holds a training that was made from something else: names what differs.
        """
        if not self.identity.is_file():
            return False
        before = {key: value for key, value in read_json(self.identity).items() if key not in RECORDED}
        keys = dict.fromkeys(key for key in (*before, *fingerprint) if key not in RECORDED)
        changed = [key for key in keys if before.get(key) != fingerprint.get(key)]
        if changed and self._is_trained():
            if not before.keys() & changed:
                raise self._older(changed)
            lists = set(changed) <= {"train_list", "test_list"}
            raise UserError(
                f"{self.folder} holds a run with another {', '.join(changed)}; "
                + (
                    "bring its fold lists back (shuffled ones by `make splits SEED=N` with their DATA and seed), "
                    if lists
                    else ""
                )
                + "remove that folder to start anew, or give VARIANT=<word> or another RUNS=<folder>"
            )
        return not changed

    def claim(self, fingerprint):
        """Bind the folder to what this run is made from; what was begun there from something else goes.

        Raises
        ------
        UserError
            As `is_of`.
        """
        if self.is_of(fingerprint):
            return
        if self.identity.is_file():
            self.log.unlink(missing_ok=True)
        write_json(self.identity, fingerprint)

    def sit(self, iteration, environment):
        """Record what the training computes with from an iteration on, for one who holds the folder (`locks.held`).

        Parameters
        ----------
        iteration : int
            Where it starts or resumes; what came after that before counts no more.
        environment : dict
            As JSON has an `engine.Environment`.
        """
        identity = read_json(self.identity)
        kept = [one for one in identity.get(TRAINING, []) if one["from_iteration"] < iteration]
        if not kept or kept[-1] != {"from_iteration": kept[-1]["from_iteration"], **environment}:
            kept.append({"from_iteration": iteration, **environment})
        if kept != identity.get(TRAINING):
            write_json(self.identity, {**identity, TRAINING: kept})

    def _is_trained(self):
        """Whether anything is there that would be lost."""
        return self.result.is_file() or any(self.folder.glob(f"{self.snapshot_prefix.name}_iter_*"))
