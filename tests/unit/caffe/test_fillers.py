import json

import numpy as np
import pytest
from google.protobuf import text_format

from caffe.errors import CaffeError
from caffe.proto import caffe_pb2
from caffe.random.fillers import fill
from caffe.random.rng import Stream, bernoulli, gaussian, uniform

f32 = np.float32


def filled(text, shape, seed=1):
    return fill(text_format.Parse(text, caffe_pb2.FillerParameter()), shape, Stream(seed))


@pytest.mark.parametrize("case", ["gaussian", "msra", "positive_unitball", "uniform", "xavier"])
def test_fills_equal_the_measured_ones(root, case):
    folder = root / f"tests/conformance/cases/fill_{case}"
    net = text_format.Parse((folder / "net.prototxt").read_text(), caffe_pb2.NetParameter())
    reference = np.load(root / f"tests/conformance/reference/fill_{case}.npz")
    stream = Stream(json.loads((folder / "case.json").read_text())["seed"])
    compared = 0
    for layer in net.layer[1:]:
        param = layer.convolution_param if layer.type == "Convolution" else layer.inner_product_param
        for i, filler in enumerate((param.weight_filler, param.bias_filler)):
            expected = reference[f"param:{layer.name}:{i}"]
            assert np.array_equal(fill(filler, expected.shape, stream), expected)
            compared += 1
    assert compared == 4


@pytest.mark.parametrize(("norm", "n"), [("FAN_IN", 30), ("FAN_OUT", 20), ("AVERAGE", 25)])
def test_variance_norm_chooses_n(norm, n):
    shape = (4, 6, 5, 1)
    scale = np.sqrt(f32(3) / f32(n))
    xavier = filled(f"type: 'xavier' variance_norm: {norm}", shape)
    assert np.array_equal(xavier.ravel(), uniform(Stream(1), 120, -scale, scale))
    msra = filled(f"type: 'msra' variance_norm: {norm}", shape)
    assert np.array_equal(msra.ravel(), gaussian(Stream(1), 120, 0, np.sqrt(f32(2) / f32(n))))


def test_constant_draws_nothing():
    stream = Stream(4)
    param = caffe_pb2.FillerParameter(value=0.25)
    assert np.array_equal(fill(param, (2, 3), stream), np.full((2, 3), 0.25, f32))
    assert stream.word() == Stream(4).word()


def test_sparse_mask_is_drawn_after_the_values():
    stream = Stream(9)
    values = gaussian(stream, 200, 0, 1)
    kept = bernoulli(stream, 200, f32(3) / f32(20))
    out = filled("type: 'gaussian' sparse: 3", (20, 10), seed=9)
    assert np.array_equal(out.ravel(), values * kept)
    assert 0 < np.count_nonzero(out) < 100


def test_positive_unitball_rows_sum_to_one():
    out = filled("type: 'positive_unitball'", (5, 2, 3))
    assert (out > 0).all()
    np.testing.assert_allclose(out.reshape(5, -1).sum(1), 1, rtol=1e-6)


def test_bilinear_interpolates():
    kernel = filled("type: 'bilinear'", (3, 1, 4, 4))
    ramp = [0.25, 0.75, 0.75, 0.25]
    assert np.array_equal(kernel, np.broadcast_to(np.outer(ramp, ramp), (3, 1, 4, 4)))
    np.testing.assert_allclose(filled("type: 'bilinear'", (1, 1, 3, 3))[0, 0, 1], [0.5, 1, 0.5])


@pytest.mark.parametrize("kind", ["constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra", "bilinear"])
def test_gives_float32_of_the_shape(kind):
    out = filled(f"type: '{kind}'", (2, 3, 4, 4))
    assert out.shape == (2, 3, 4, 4)
    assert out.dtype == f32
    assert out.flags.writeable


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("type: 'xaver'", (2,), "Unknown filler name: xaver .*xavier"),
        ("type: 'xavier' sparse: 2", (2, 2), "Sparsity not supported"),
        ("type: 'gaussian' sparse: 9", (2, 2), "probability"),
        ("type: 'gaussian' std: 0", (2,), "sigma > 0"),
        ("type: 'uniform' min: 2 max: 1", (2,), "min <= max"),
        ("type: 'bilinear'", (2, 2), "Blob must be 4 dim"),
        ("type: 'bilinear'", (1, 1, 2, 3), "Filter must be square"),
        ("type: 'constant'", (2, 0), "empty blob"),
    ],
)
def test_refuses(text, shape, message):
    with pytest.raises(CaffeError, match=message):
        filled(text, shape)
