"""result.json and predictions.csv: what each run found, and mean ± std over folds."""

import csv
import io
import logging
import math
from pathlib import Path
from typing import Any

from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, read_text, write_json, write_whole

log = logging.getLogger(__name__)

WAYS = ("center", "oversampled")
"""Ways of testing: the centre crop alone, or the mean over ten crops."""

PREDICTIONS_HEADER = ("image", "label", "positive_center", "positive_10crop")

SCHEMA = {  # key of result.json -> kind of its value
    "dataset": str,
    "demo": bool,
    "subset": str,
    "arch": str,
    "init": str,
    "fold": int,
    "seed": int,
    "fold_seed": int,  # what `solvers.fold_seed` made of it
    "accuracy": dict,  # center, oversampled: 0 to 1
    "test_images": int,
    "iterations": int,
    "training": list,  # an `engine.Environment` as a dict, and from_iteration; several where it resumed in another
    "evaluation": dict,  # an `engine.Environment`
    "hashes": dict,  # SHA-256 of weights, source, mean_file, train_list, test_list
    "choices": dict,  # what the paper does not state and this run chose
}
OPTIONAL = {"note", "train_images", "card"}
"""``note``, text, where the data set describes itself; since the second version the number of ``train_images``, and
``card``, the one whose file the source is by its content, or empty."""


def write(path, result):
    """Write a result.json, whole or not at all.

    Raises
    ------
    UserError
        A key of `SCHEMA` is missing, another is there, or a value is of the wrong kind.
    """
    write_json(path, _checked(path, result))


def read(path) -> dict[str, Any]:
    """Read one result.json, also of the first version; a `UserError` says what is wrong with it."""
    return _checked(path, _renewed(read_json(path)))


def _renewed(result):
    """A result of the first version in today's form: one seed for all folds, and nothing known of its training.

    But for the precision: that of testing counts, for one call of make did both.
    """
    of_first = ("engine", "versions", "choices")
    if not isinstance(result, dict) or not all(isinstance(result.get(key), dict) for key in of_first):
        return result
    engine, versions = result.pop("engine"), dict(result.pop("versions"))
    evaluation = {"engine": " ".join(map(str, engine.values())), "precision": versions.pop("products", "float32")}
    return {
        **result,
        "choices": {"precision": evaluation["precision"], **result["choices"]},
        "fold_seed": result.get("seed"),
        "training": [],
        "evaluation": {**evaluation, "versions": versions},
    }


def collect(root, **wanted) -> list[dict[str, Any]]:
    """Every result under a folder of runs.

    Parameters
    ----------
    root : str or Path
    **wanted
        Keep only results with these values, as ``subset="five_agrees", arch="finetune"``.

    Returns
    -------
    list of dict
        Sorted by dataset, subset, arch, init, seed, fold; each has its file's ``path`` too.
    """
    rows = [{**read(path), "path": path} for path in Path(root).glob("**/result.json")]
    log.info("read %d results in %s", len(rows), root)
    rows = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return sorted(rows, key=lambda row: [row[key] for key in ("dataset", "subset", "arch", "init", "seed", "fold")])


def mean_std(values, sample=False) -> tuple[float, float | None]:
    """Mean and standard deviation of some numbers.

    The paper does not say which deviation it prints; the population's (dividing by n) is the default here.

    Parameters
    ----------
    values : sequence of float
    sample : bool
        Divide by n - 1; None for a single value then.

    Returns
    -------
    (float, float or None)
    """
    values = list(values)
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    divisor = len(values) - 1 if sample else len(values)
    if divisor == 0:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / divisor)


def score(mean, std=None) -> str:
    """A score as the paper prints it: ``.817±.038``, or ``.783`` without a deviation."""
    return _three(mean) if std is None else f"{_three(mean)}±{_three(std)}"


def write_predictions(path, rows):
    """Write predictions.csv.

    Parameters
    ----------
    path : str or Path
    rows : iterable of (str, int, float, float)
        Image, label, P(positive) of the centre crop, P(positive) of ten crops.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PREDICTIONS_HEADER)
    # Nine digits give every float32 back exactly.
    writer.writerows((image, label, f"{center:.9g}", f"{crops:.9g}") for image, label, center, crops in rows)
    write_whole(path, text.getvalue())


def read_predictions(path):
    """The rows `write_predictions` wrote; a `UserError` names the line of a wrong one."""
    lines = csv.reader(io.StringIO(read_text(path)))
    rows = []
    for number, line in enumerate(lines, start=1):
        if number == 1:
            if tuple(line) != PREDICTIONS_HEADER:
                raise UserError(f"{path}, line 1: expected the header {','.join(PREDICTIONS_HEADER)}")
            continue
        try:
            image, label, center, crops = line
            rows.append((image, int(label), float(center), float(crops)))
        except ValueError:
            raise UserError(f"{path}, line {number}: expected image,label,probability,probability") from None
    return rows


def _three(value):
    """Three decimals without the leading zero."""
    return f"{value:.3f}".removeprefix("0")


def _checked(path, result):
    if not isinstance(result, dict):
        raise UserError(f"{path} is not a result: expected a JSON object")
    for key, kind in SCHEMA.items():
        value = result.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"{path} is not a whole result: {key} must be {kind.__name__}, not {value!r}")
    if unknown := set(result) - {*SCHEMA, *OPTIONAL}:
        raise UserError(f"{path}: unknown key {min(unknown)!r} in a result")
    accuracy = result["accuracy"]
    if set(accuracy) != set(WAYS) or not all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in accuracy.values()):
        raise UserError(f"{path}: accuracy must have {' and '.join(WAYS)} between 0 and 1, not {accuracy!r}")
    return result
