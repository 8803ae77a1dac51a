"""Results: the accuracy of a tested run and all that it was computed from, as result.json records them."""

import logging
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sentiment.engine import Environment
from sentiment.evaluation.predictions import WAYS
from sentiment.training.configuration import CHECKSUMS, IDENTITY, Configuration, Stretch
from sentiment.utils import records
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a tested run."""

    config: Configuration = field(metadata=records.FLAT)  # what the run is made from
    training: tuple[Stretch, ...] = ()  # what computed the training; empty if an earlier version did not record it
    accuracy: dict[str, float]  # for each of `WAYS`, 0 to 1
    test_images: int
    evaluation: Environment  # what computed the test
    weights: str | None  # checksum (SHA-256) of the tested weights
    note: str = ""  # note for readers of tables, from the data set's description
    folder: Path = field(default=Path(), compare=False)  # the folder it was read from; not part of the file

    def to_json(self) -> dict[str, Any]:
        """The object in a result.json."""
        values = records.to_json(self)
        return {
            **{name: values[name] for name in (*IDENTITY, "training", "accuracy", "test_images", "iterations")},
            "evaluation": values["evaluation"],
            **({"weak": values["weak"]} if self.config.weak else {}),
            "hashes": {name: values[name] for name in ("weights", *CHECKSUMS)},
            "choices": {name: value for name, value in self.config.settings().items() if name != "iterations"},
            **({"note": self.note} if self.note else {}),
        }

    @classmethod
    def from_json(cls, values, where) -> "Result":
        """Read an object that `to_json` of this or an earlier version returned; ``where`` names its file in errors."""
        values = _of_today(values)
        for name in ("hashes", "choices"):
            if not isinstance(values, dict) or not isinstance(values.get(name), dict):
                raise UserError(f"{where} is not a complete result: {name} is missing")
        found = records.read(cls, {**values, **values["hashes"], **values["choices"]}, where)
        if set(found.accuracy) != set(WAYS) or not all(0 <= value <= 1 for value in found.accuracy.values()):
            raise UserError(
                f"{where}: accuracy must have {' and '.join(WAYS)}, between 0 and 1, not {found.accuracy!r}"
            )
        if found.config.fold_seed is None:  # the first version had one seed for all folds
            found = replace(found, config=replace(found.config, fold_seed=found.config.seed))
        return found


def _of_today(values):
    """A result of the first version in today's form; the precision of its test counts as that of its training."""
    of_first = ("engine", "versions", "choices")
    if not isinstance(values, dict) or not all(isinstance(values.get(key), dict) for key in of_first):
        return values
    versions = dict(values["versions"])
    precision = versions.pop("products", "float32")
    engine = " ".join(map(str, values["engine"].values()))
    return {
        **values,
        "choices": {"precision": precision, **values["choices"]},
        "evaluation": {"engine": engine, "precision": precision, "versions": versions},
    }


def write(path: Path, result: Result):
    """Write a result.json, completely or not at all."""
    write_json(path, result.to_json())


def read(path: Path) -> Result:
    """Read a result.json of this or an earlier version; a `UserError` says what is wrong with it."""
    return replace(Result.from_json(read_json(path), path), folder=path.parent)


def collect(root: str | Path) -> list[Result]:
    """All results below a folder of runs, sorted by data set, subset, architecture, initialisation, seed and fold."""
    found = [read(path) for path in Path(root).glob("**/result.json")]
    log.info("read %d results in %s", len(found), root)
    names = ("dataset", "subset", "arch", "init", "seed", "fold")
    return sorted(found, key=lambda result: [getattr(result.config, name) for name in names])


def mean_std(values: Iterable[float], sample=False) -> tuple[float, float | None]:
    """The mean and the standard deviation of numbers.

    The paper does not say which deviation it prints. The default is the population's, which divides by n. With
    ``sample`` it is the sample's, which divides by n - 1; of a single number it is None.
    """
    values = list(values)
    mean = statistics.fmean(values)
    divisor = len(values) - 1 if sample else len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / divisor) if divisor else None
