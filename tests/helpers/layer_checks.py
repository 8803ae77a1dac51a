"""One layer in a net of its own, forward and backward, against ``reference``."""

import tempfile

import numpy as np
from google.protobuf import text_format
from hypothesis import settings

import caffe
from caffe.proto import caffe_pb2
from caffe.runtime import mode
from helpers import reference
from helpers.reference_tools import Replaced


def examples(n):
    """Hypothesis settings for a property with ``n`` examples, where the profile's usual number is 100."""
    return settings(max_examples=n * settings.default.max_examples // 100)


def build(text, phase=caffe.TEST, **kwargs):
    """The net of a definition given as text."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text)
        file.flush()
        return caffe.Net(file.name, phase, **kwargs)


def input_layer(name, shape):
    """Definition of an Input layer with one top of its own name."""
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"layer {{ name: '{name}' type: 'Input' top: '{name}' input_param {{ shape {{ {dims} }} }} }}\n"


def parameter_layer(name, shape):
    """Definition of a Parameter layer with a top of its own name, which has a gradient."""
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"layer {{ name: '{name}' type: 'Parameter' top: '{name}' parameter_param {{ shape {{ {dims} }} }} }}\n"


def layer(name, bottoms, tops, body):
    """Definition of a layer between blobs (names separated by spaces)."""
    wires = "".join(f" bottom: '{b}'" for b in bottoms.split()) + "".join(f" top: '{t}'" for t in tops.split())
    return f"layer {{ name: '{name}'{wires} {body} }}\n"


FORCED = "force_backward: true\n"
# the magnitude below which results of numbers of order 1 are small by cancellation, which leaves rounding behind
FLOOR = 0.05
ON_GPU = 1e-4  # a GPU adds in another order; the measured cases are held to the same


def values(seed, shape, kind="normal"):
    """float32 numbers: ``normal``, ``ties`` (few different ones, zero among them), ``positive``."""
    rng = np.random.default_rng(seed)
    if kind == "ties":
        return rng.integers(-2, 3, shape).astype(np.float32)
    if kind == "positive":
        return rng.uniform(0.2, 3, shape).astype(np.float32)
    return rng.standard_normal(shape).astype(np.float32)


def relative_error(out, expected, floor=1e-6):
    """Largest difference over the largest expected magnitude (``floor`` at least), as the measured cases are held."""
    out, expected = np.asarray(out, np.float64), np.asarray(expected, np.float64)
    assert out.shape == expected.shape
    if not out.size:
        return 0.0
    assert np.isfinite(out).all()
    return np.abs(out - expected).max() / max(np.abs(expected).max(), floor)


def close(out, expected, rtol=2e-5, what="", floor=1e-6):
    """Fail unless ``out`` holds against ``expected``."""
    error = relative_error(out, expected, floor)
    rtol = max(rtol, ON_GPU) if mode.is_gpu() else rtol
    assert error <= rtol, f"{what}: relative error {error:.2e}\n{out}\nexpected\n{expected}"


def layer_param(body, phase=caffe.TEST):
    """The ``LayerParameter`` of a definition's inside."""
    param = text_format.Parse(body, caffe_pb2.LayerParameter())
    param.phase = phase
    return param


def check(body, bottoms, tops=1, phase=caffe.TEST, seed=0, rtol=2e-5, in_place=False, blobs=None, fixed=None):
    """Hold a layer's tops, bottom diffs and parameter diffs against the reference.

    ``body`` is the inside of its definition without name, bottoms and tops. Parameters are random unless given.
    ``fixed`` are the indices of the bottoms without a gradient, for a layer that refuses to give them one; by default
    every bottom asks for one.
    Before backward every diff holds numbers of its own: bottoms' must be replaced, parameters' added to. Losses get
    another weight than the definition's through the top's diff.
    """
    param = layer_param(body, phase)
    names = [f"b{i}" for i in range(len(bottoms))]
    outs = names[:1] if in_place else [f"t{i}" for i in range(tops)]
    inputs, head = "".join(input_layer(n, x.shape) for n, x in zip(names, bottoms)), FORCED
    if fixed is not None:
        learned = {n: parameter_layer(n, x.shape) for i, (n, x) in enumerate(zip(names, bottoms)) if i not in fixed}
        inputs, head = "".join(learned.get(n) or input_layer(n, x.shape) for n, x in zip(names, bottoms)), ""
        body += " loss_weight: 1" * tops
    net = build(head + inputs + layer("l", " ".join(names), " ".join(outs), body), phase)
    for name, x in zip(names, bottoms):
        net.blobs[name].data[...] = x
    params = list(net.params.get("l", []))
    for i, blob in enumerate(params):
        blob.data[...] = values(seed + 10 + i, blob.data.shape) if blobs is None else blobs[i]
    copies = [blob.data.astype(np.float64) for blob in params]
    expected, backward = reference.run(param, bottoms, copies, tops)

    net.forward()
    for name, y in zip(outs, expected):
        close(net.blobs[name].data, y, rtol, f"{param.type} {name}", FLOOR)
    for i, (blob, after) in enumerate(zip(params, copies)):
        close(blob.data, after, rtol, f"{param.type} parameter {i} after forward")
    if backward is None:
        return net

    before = []
    for i, blob in enumerate(params):
        blob.diff[...] = values(seed + 20 + i, blob.diff.shape)
        before.append(blob.diff.copy())
    marks = [np.full(x.shape, 7 + i, np.float32) for i, x in enumerate(bottoms)]
    for name, mark in zip(names, marks):
        net.blobs[name].diff[...] = mark
    diffs = [values(seed + 30 + i, y.shape) for i, y in enumerate(expected)]
    for name, dy in zip(outs, diffs):
        net.blobs[name].diff[...] = dy
    bottom_diffs, param_diffs = backward([d.astype(np.float64) for d in diffs])
    net.backward()
    for name, mark, dx in zip(names, marks, bottom_diffs):
        close(net.blobs[name].diff, mark if dx is None else dx, rtol, f"{param.type} diff of {name}", FLOOR)
    for i, (blob, was, grad) in enumerate(zip(params, before, param_diffs)):
        if grad is None:
            grad = was
        elif not isinstance(grad, Replaced):
            grad = was + grad
        close(blob.diff, grad, rtol, f"{param.type} diff of parameter {i}", FLOOR)
    return net
