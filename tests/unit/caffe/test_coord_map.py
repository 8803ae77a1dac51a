"""Where pixels of one blob lie in another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe.coord_map import AxisMismatchException, UndefinedMapException, coord_map, coord_map_from_to, crop
from caffe.net_spec import layers as L
from helpers.layer_checks import examples


def image(*shape):
    return L.Input(shape=dict(dim=list(shape or (1, 3, 64, 64))))


def offsets(top_from, top_to):
    layer = crop(top_from, top_to).to_proto().layer[-1]
    assert layer.type == "Crop"
    return layer.crop_param.axis, list(layer.crop_param.offset)


def test_downsampling_and_back():
    data = image()
    pool = L.Pooling(L.Convolution(data, kernel_size=3, pad=1), kernel_size=2, stride=2)
    up = L.Deconvolution(pool, convolution_param=dict(kernel_size=4, stride=2, pad=0))
    assert coord_map_from_to(up, data) == (1, 1, -1)
    assert coord_map_from_to(data, pool) == (1, 0.5, -0.25)
    assert offsets(up, data) == (2, [1])


def test_pointwise_layers_do_not_move_anything():
    data = image()
    relu = L.ReLU(L.LRN(data), in_place=True)
    assert coord_map_from_to(relu, data) == (None, 1, 0)
    conv = L.Convolution(relu, kernel_size=1)
    assert coord_map_from_to(conv, data) == (1, 1, 0)
    assert offsets(relu, data) == (2, [0])


@pytest.mark.parametrize("pad", [0, 1, 5])
def test_padding_shifts(pad):
    data = image()
    conv = L.Convolution(data, kernel_size=1, pad=pad)
    assert coord_map_from_to(conv, data) == (1, 1, -pad)
    assert offsets(conv, data) == (2, [pad])


def test_dilation_widens_the_kernel():
    data = image()
    assert coord_map_from_to(data, L.Convolution(data, kernel_size=3, dilation=4)) == (1, 1, -4)


@examples(50)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=3))
def test_averages_over_a_ramp_read_their_own_place(stack):
    """An averaging layer over values that are their own coordinates gives the coordinates its outputs lie at."""
    places = np.arange(400.0)
    top = bottom = image()
    for kernel, stride, pad in stack:
        top = L.Convolution(top, kernel_size=kernel, stride=stride, pad=pad)
        places = np.pad(places, pad, mode="reflect", reflect_type="odd")
        places = np.convolve(places, np.ones(kernel) / kernel, "valid")[::stride]
    axis, scale, shift = coord_map_from_to(bottom, top)
    assert axis == 1
    np.testing.assert_allclose(scale * places + shift, np.arange(places.size), atol=1e-6)


@examples(50)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_deconvolution_undoes_convolution(kernel, stride, pad):
    data = image()
    spec = dict(kernel_size=kernel, stride=stride, pad=pad)
    back = L.Deconvolution(L.Convolution(data, **spec), convolution_param=spec)
    np.testing.assert_allclose(coord_map_from_to(back, data)[1:], [[1], [0]], atol=1e-12)
    assert offsets(back, data) == (2, [0])


def test_strides_whose_reciprocal_rounds():
    assert 1 / 49 * 49 != 1
    data = image()
    back = L.Deconvolution(
        L.Pooling(data, kernel_size=49, stride=49), convolution_param=dict(kernel_size=49, stride=49)
    )
    assert offsets(back, data) == (2, [0])


def test_sizes_an_axis():
    data = image()
    conv = L.Convolution(data, kernel_size=[3, 5], pad=[3, 4])
    assert offsets(conv, data) == (2, [2, 2])
    up = L.Deconvolution(
        L.Convolution(data, kernel_size=[1, 5], stride=[1, 2], pad=[1, 0]),
        convolution_param=dict(kernel_size=[3, 5], stride=[1, 2]),
    )
    assert offsets(up, data) == (2, [2, 0])


def test_other_spatial_axes():
    data = image(1, 3, 9, 9, 9, 9)
    conv = L.Convolution(data, kernel_size=[1] * 3, pad=[1, 2, 3], axis=2)
    assert coord_map_from_to(conv, data)[0] == 2
    assert offsets(conv, data) == (3, [1, 2, 3])


def test_crops_are_on_the_way():
    data, small = image(), image(1, 3, 9, 9)
    conv = L.Convolution(data, kernel_size=1, pad=10)
    once = L.Crop(conv, small, offset=3)
    assert offsets(once, data) == (2, [7])
    twice = L.Crop(once, small, crop_param=dict(offset=[4], axis=2))
    assert offsets(twice, data) == (2, [3])
    with pytest.raises(RuntimeError, match="connected by spatial layers"):
        coord_map_from_to(once, small)


def test_blobs_on_different_branches():
    data = image()
    up = L.Deconvolution(
        L.Pooling(data, kernel_size=2, stride=2), convolution_param=dict(kernel_size=4, stride=2, pad=0)
    )
    padded = L.Convolution(data, kernel_size=1, pad=1)
    assert offsets(up, padded) == (2, [0])
    both = L.Eltwise(crop(up, data), data)
    assert coord_map_from_to(both, padded) == (1, 1, 1)


def test_not_connected():
    with pytest.raises(RuntimeError, match="Could not compute map between tops"):
        coord_map_from_to(image(), image())
    data = image()
    with pytest.raises(RuntimeError, match="Could not compute map between tops"):
        coord_map_from_to(L.InnerProduct(data, num_output=2), data)


@pytest.mark.parametrize("fn", [L.InnerProduct(image(), num_output=2).fn, L.Pooling(image(), global_pooling=True).fn])
def test_layers_without_a_map(fn):
    with pytest.raises(UndefinedMapException):
        coord_map(fn)


def test_axes_that_disagree():
    data = image(1, 3, 9, 9, 9)
    with pytest.raises(AxisMismatchException):
        coord_map_from_to(L.Convolution(L.Convolution(data, kernel_size=1), kernel_size=1, axis=2), data)


def test_crops_that_cannot_be():
    data = image()
    with pytest.raises(AssertionError, match="scale mismatch"):
        crop(L.Pooling(data, kernel_size=2, stride=2), data)
    with pytest.raises(AssertionError, match="negative offset"):
        crop(L.Convolution(data, kernel_size=5), data)
    with pytest.raises(AssertionError, match="noninteger offset"):
        crop(L.Convolution(data, kernel_size=2, pad=1), data)


def test_sizes_given_by_side_are_refused():
    with pytest.raises(AssertionError, match="legacy _h/_w"):
        coord_map(L.Convolution(image(), kernel_h=3, kernel_w=5).fn)


def test_many_paths_are_walked_once():
    data = top = image()
    for _ in range(60):
        top = L.Eltwise(top, L.ReLU(top))
    assert coord_map_from_to(top, data) == (None, 1, 0)
