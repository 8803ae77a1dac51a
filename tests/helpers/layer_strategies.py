"""What layers' parameters are drawn from: hypothesis strategies, and text of their definitions."""

import numpy as np
from hypothesis import strategies as st

import caffe

seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(["normal", "ties"])
sides = st.integers(1, 4)
phases = st.sampled_from([caffe.TRAIN, caffe.TEST])


def shapes(low=1, high=4):
    """Shapes of ``low`` to ``high`` axes."""
    return st.lists(sides, min_size=low, max_size=high).map(tuple)


def axes(ndim):
    """An axis of ``ndim``, counted from either end."""
    return st.integers(-ndim, ndim - 1)


def field(name, value):
    """One field in text format; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        value = str(value).lower()
    return f" {name}: {value}"


def fields(name, given):
    """A repeated field in text format."""
    return "".join(field(name, v) for v in given)


def maybe(strategy):
    """A value, or none."""
    return st.none() | strategy


def numbers(low, high):
    """Floats with few digits."""
    return st.integers(round(low * 8), round(high * 8)).map(lambda n: n / 8)


MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]


@st.composite
def loss_params(draw, ignored):
    """Text of a loss_param: ignored label, today's and the former normalisation."""
    text = field("ignore_label", draw(maybe(ignored)))
    text += field("normalization", draw(maybe(st.sampled_from(MODES)))) + field("normalize", draw(maybe(st.booleans())))
    return f"loss_param {{ {text} }}" if text else ""


def labels_like(seed, count, classes, shape=None):
    """Labels as float32, in any shape that holds them all."""
    return np.random.default_rng(seed).integers(0, classes, count).astype(np.float32).reshape(shape or (count,))
