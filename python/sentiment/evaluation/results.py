"""Results: what a tested run found and how it came about, as result.json records it."""

import logging
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sentiment.engine import Environment
from sentiment.evaluation.predictions import WAYS
from sentiment.training.configuration import CHECKSUMS, IDENTITY, Configuration, Stretch
from sentiment.utils import records
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a tested run found."""

    config: Configuration  # what the run is made from
    training: tuple  # what it was trained with; empty where an earlier version did not record it
    accuracy: dict  # by way of testing, 0 to 1
    test_images: int
    evaluation: Environment  # what it was tested with
    weights: str | None  # checksum (SHA-256) of the tested weights
    note: str = ""  # what the data set's description says to readers of tables
    folder: Path = field(default=Path(), compare=False)  # the run's folder that it was read from; not part of the file

    def to_json(self):
        """The object in a result.json."""
        values = self.config.to_json()
        return {
            **{name: values[name] for name in IDENTITY},
            "training": [stretch.to_json() for stretch in self.training],
            "accuracy": self.accuracy,
            "test_images": self.test_images,
            "iterations": values["iterations"],
            "evaluation": asdict(self.evaluation),
            "hashes": {"weights": self.weights, **{name: values[name] for name in CHECKSUMS}},
            "choices": {name: value for name, value in self.config.settings().items() if name != "iterations"},
            **({"note": self.note} if self.note else {}),
        }

    @classmethod
    def from_json(cls, values, where):
        """Read what `to_json` gave, of this or an earlier version."""
        values = _of_today(values)
        for name in ("hashes", "choices"):
            if not isinstance(values, dict) or not isinstance(values.get(name), dict):
                raise UserError(f"{where} is not a complete result: {name} is missing")
        config = Configuration.from_json({**values, **values["hashes"], **values["choices"]}, where)
        if config.fold_seed is None:  # the first version had one seed for all folds
            config = replace(config, fold_seed=config.seed)
        made = {
            "config": config,
            "training": tuple(Stretch.from_json(one, where) for one in values.get("training", [])),
            "evaluation": records.read(Environment, values.get("evaluation"), where),
            "weights": values["hashes"].get("weights"),
        }
        found = records.read(cls, {**values, **made}, where)
        if set(found.accuracy) != set(WAYS) or not all(0 <= value <= 1 for value in found.accuracy.values()):
            raise UserError(
                f"{where}: accuracy must have {' and '.join(WAYS)}, between 0 and 1, not {found.accuracy!r}"
            )
        return found


def _of_today(values):
    """A result of the first version in today's form; nothing is known of its training but the precision of testing."""
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


def write(path, result):
    """Write a result.json, complete or not at all."""
    write_json(path, result.to_json())


def read(path) -> Result:
    """Read one result.json, also of the first version; a `UserError` says what is wrong with it."""
    return replace(Result.from_json(read_json(path), path), folder=Path(path).parent)


def collect(root) -> list[Result]:
    """Every result under a folder of runs, sorted by data set, subset, arch, init, seed, fold."""
    found = [read(path) for path in Path(root).glob("**/result.json")]
    log.info("read %d results in %s", len(found), root)
    names = ("dataset", "subset", "arch", "init", "seed", "fold")
    return sorted(found, key=lambda result: [getattr(result.config, name) for name in names])


def mean_std(values, sample=False) -> tuple[float, float | None]:
    """Mean and standard deviation of some numbers.

    The paper does not say which deviation it prints; the population's (dividing by n) is the default here.

    Parameters
    ----------
    values : sequence of float
    sample : bool
        Divide by n - 1; None for a single value then.
    """
    values = list(values)
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    divisor = len(values) - 1 if sample else len(values)
    if divisor == 0:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / divisor)
