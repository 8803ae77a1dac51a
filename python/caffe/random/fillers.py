"""Caffe's fillers: initial values of parameters (filler.hpp)."""

import math

import numpy as np

from ..errors import CaffeError
from ..proto import caffe_pb2
from .rng import bernoulli, gaussian, uniform


def fill(param, shape, stream):
    """A float32 array of ``shape`` filled as in a ``FillerParameter``, with random numbers from ``stream``.

    Raises CaffeError for an unknown filler and where Caffe's checks fail.
    """
    filler = _FILLERS.get(param.type)
    if filler is None:
        raise CaffeError(f"Unknown filler name: {param.type} (supported: {', '.join(sorted(_FILLERS))}).")
    shape = tuple(int(n) for n in shape)
    if math.prod(shape) == 0:
        raise CaffeError(f"Check failed: count: the filler {param.type} was given an empty blob of shape {shape}.")
    if param.sparse != -1 and filler is not _gaussian:
        raise CaffeError(f"Sparsity not supported by this Filler: {param.type} (only by gaussian).")
    return filler(param, shape, stream).reshape(shape)


def _constant(param, shape, stream):
    return np.full(shape, param.value, np.float32)


def _uniform(param, shape, stream):
    return uniform(stream, math.prod(shape), param.min, param.max)


def _gaussian(param, shape, stream):
    values = gaussian(stream, math.prod(shape), param.mean, param.std)
    if param.sparse < -1:
        raise CaffeError(f"Check failed: sparse >= -1 ({param.sparse} vs. -1): a gaussian filler's sparse is a count.")
    if param.sparse >= 0:
        # the first axis is that of the outputs; sparse is the mean number of non-zero weights of each
        outputs = shape[0] if shape else 1
        values *= bernoulli(stream, len(values), np.float32(param.sparse) / np.float32(outputs))
    return values


def _positive_unitball(param, shape, stream):
    rows = uniform(stream, math.prod(shape), 0, 1).reshape(shape[0] if shape else 1, -1)
    # a running sum adds from left to right in float32, as Caffe does; numpy's sum does not
    return rows / np.add.accumulate(rows, axis=1)[:, -1:]


def _inputs(param, shape):
    """The n in xavier's and msra's scale: fan-in, fan-out or their mean."""
    count = math.prod(shape)
    fan_in = count // shape[0] if shape else count
    fan_out = count // shape[1] if len(shape) > 1 else count
    if param.variance_norm == caffe_pb2.FillerParameter.AVERAGE:
        return np.float32(fan_in + fan_out) / np.float32(2)
    return np.float32(fan_out if param.variance_norm == caffe_pb2.FillerParameter.FAN_OUT else fan_in)


def _xavier(param, shape, stream):
    scale = np.sqrt(np.float32(3) / _inputs(param, shape))
    return uniform(stream, math.prod(shape), -scale, scale)


def _msra(param, shape, stream):
    return gaussian(stream, math.prod(shape), 0, np.sqrt(np.float32(2) / _inputs(param, shape)))


def _bilinear(param, shape, stream):
    if len(shape) != 4:
        raise CaffeError(f"Blob must be 4 dim: a bilinear filler was given the shape {shape}.")
    height, width = shape[2:]
    if height != width:
        raise CaffeError(f"Filter must be square: a bilinear filler was given a kernel of {height} x {width}.")
    factor = np.float32(math.ceil(width / 2))
    centre = np.float32((width - 1) / (2 * float(factor)))
    ramp = 1 - np.abs(np.arange(width, dtype=np.float32) / factor - centre)
    return np.broadcast_to(np.outer(ramp, ramp), shape).copy()


_FILLERS = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
