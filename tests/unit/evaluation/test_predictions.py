"""Predictions: which class they mean, and the file that keeps them."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.evaluation import predictions
from sentiment.evaluation.predictions import Prediction
from sentiment.utils.errors import UserError


def test_even_odds_are_negative():
    assert Prediction("a", 0, 0.5, 0.4).is_right("center") and not Prediction("a", 1, 0.5, 0.4).is_right("center")
    assert Prediction("a", 1, 0.4, 0.5000001).is_right("oversampled")
    assert predictions.is_positive(np.array([0.5, 0.6])).tolist() == [False, True]


@given(p=st.floats(0, 1, width=32))
def test_predictions_keep_every_float32(p, tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    rows = [("a, b.jpg", 1, p, 1 - p)]
    predictions.write(path, [Prediction(*row) for row in rows])
    ((image, label, center, crops),) = map(astuple, predictions.read(path))
    assert (image, label, np.float32(center)) == ("a, b.jpg", 1, np.float32(p))
    assert math.isclose(crops, 1 - p, rel_tol=1e-8, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,label\n", "line 1: expected the header image,label,positive_center,positive_10crop"),
        (
            "image,label,positive_center,positive_10crop\na,1,0.5,0.5\nb,1,0.5\n",
            "line 3: expected image,label,probability",
        ),
        ("image,label,positive_center,positive_10crop\na,x,0.5,0.5\n", "line 2: expected image,label,probability"),
    ],
)
def test_wrong_predictions_are_named_by_line(tmp_path, text, sentence):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        predictions.read(path)
