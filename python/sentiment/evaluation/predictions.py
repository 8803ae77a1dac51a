"""Predictions: a network's probabilities for an image, and predictions.csv, which lists them."""

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sentiment import paper
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text, write_whole

WAYS = ("center", "oversampled")
"""Ways of testing: by the centre crop alone, or by the mean over ten crops."""
HEADER = ("image", "label", "positive_center", "positive_10crop")


def is_positive(probability):
    """Whether P(positive), a number or an array, predicts a positive image; 0.5 is negative, as argmax decides."""
    return probability > 0.5


@dataclass(frozen=True)
class Prediction:
    """An image's label and P(positive) by both ways of testing."""

    image: str  # name in the data set
    label: int  # 0 negative, 1 positive
    center: float  # P(positive) of the centre crop
    oversampled: float  # mean of P(positive) over ten crops

    def is_right(self, way: str) -> bool:
        """Whether the class predicted by ``way``, one of `WAYS`, is the label."""
        return is_positive(getattr(self, way)) == (self.label == paper.POSITIVE)


def accuracy(predictions: Collection[Prediction]) -> dict[str, float]:
    """The fraction of right predictions, for each of `WAYS`."""
    return {way: sum(one.is_right(way) for one in predictions) / len(predictions) for way in WAYS}


def write(path: Path, predictions: Collection[Prediction]):
    """Write predictions.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    # Nine digits are enough to read every float32 back exactly.
    writer.writerows((one.image, one.label, f"{one.center:.9g}", f"{one.oversampled:.9g}") for one in predictions)
    write_whole(path, text.getvalue())


def read(path: Path) -> list[Prediction]:
    """Read predictions.csv; a `UserError` names a line that is wrong."""
    lines = csv.reader(io.StringIO(read_text(path)))
    if tuple(next(lines, ())) != HEADER:
        raise UserError(f"{path}, line 1: expected the header {','.join(HEADER)}")
    found = []
    for number, line in enumerate(lines, start=2):
        try:
            image, label, center, oversampled = line
            found.append(Prediction(image, int(label), float(center), float(oversampled)))
        except ValueError:
            raise UserError(f"{path}, line {number}: expected image,label,probability,probability") from None
    return found
