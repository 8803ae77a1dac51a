"""Records come back from JSON as they were, and a wrong value is named."""

import json
from dataclasses import dataclass, field

import pytest

from sentiment.utils import records
from sentiment.utils.errors import UserError


@dataclass(frozen=True)
class Part:
    size: float
    name: str | None = None


@dataclass(frozen=True)
class Record:
    number: int
    own: Part = field(metadata=records.FLAT)
    by_fold: dict[int, Part]
    parts: tuple[Part, ...] = ()
    either: str | dict = ""


def test_a_record_comes_back():
    record = Record(1, Part(2.5), {3: Part(4, "a")}, (Part(1), Part(2)), {"b": 5})
    text = json.dumps(records.to_json(record))
    assert records.read(Record, json.loads(text), "made up") == record
    assert list(json.loads(text)) == ["number", "size", "by_fold", "parts", "either"]
    assert records.names(Record) == ["number", "size", "by_fold", "parts", "either"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"number": True}, "number must be int, not True"),
        ({"size": "large"}, "size must be float"),
        ({"by_fold": {"x": {"size": 1}}}, "by_fold: .*'x'"),
        ({"by_fold": {"1": {}}}, "by_fold 1: size is missing"),
        ({"parts": [3]}, "parts: expected a JSON object"),
        ({"parts": 3}, "parts must be tuple"),
    ],
)
def test_a_wrong_value_is_named(changes, sentence):
    values = {"number": 1, "size": 2, "by_fold": {}, **changes}
    with pytest.raises(UserError, match=f"made up: {sentence}"):
        records.read(Record, values, "made up")
