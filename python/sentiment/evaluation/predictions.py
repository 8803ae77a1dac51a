"""Predictions: what a network says of one image, and predictions.csv, which keeps them."""

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sentiment import paper
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text, write_whole

WAYS = ("center", "oversampled")
"""Ways of testing: the centre crop alone, or the mean over ten crops."""
HEADER = ("image", "label", "positive_center", "positive_10crop")


def is_positive(probability):
    """Whether P(positive) means a positive image; even odds are negative, as argmax has it. Takes arrays too."""
    return probability > 0.5


@dataclass(frozen=True)
class Prediction:
    """An image's label and its probability of being positive, both ways of testing."""

    image: str  # its name in the data set
    label: int  # 0 negative, 1 positive
    center: float  # P(positive) of the centre crop
    oversampled: float  # mean of P(positive) over ten crops

    def is_right(self, way: str) -> bool:
        """Whether the more probable class, tested one of `WAYS`, is the label."""
        return is_positive(getattr(self, way)) == (self.label == paper.POSITIVE)


def accuracy(predictions: Collection[Prediction]) -> dict[str, float]:
    """The fraction of predictions that are right, by way of testing."""
    return {way: sum(one.is_right(way) for one in predictions) / len(predictions) for way in WAYS}


def write(path: Path, predictions: Collection[Prediction]):
    """Write predictions.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    # Nine digits give every float32 back exactly.
    writer.writerows((one.image, one.label, f"{one.center:.9g}", f"{one.oversampled:.9g}") for one in predictions)
    write_whole(path, text.getvalue())


def read(path: Path) -> list[Prediction]:
    """Read what `write` wrote; a `UserError` names a line that is wrong."""
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
