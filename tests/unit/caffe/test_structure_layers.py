"""Layers that join, cut, move, select and repeat, against a plain reference, over their whole parameter space."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from helpers import reference
from helpers.layer_checks import build, check, examples, input_layer, layer, layer_param, values
from helpers.layer_strategies import (
    axes,
    field,
    fields,
    kinds,
    maybe,
    numbers,
    seeds,
    shapes,
    sides,
)


@examples(20)
@given(seeds, shapes(1, 4), st.integers(1, 4), st.data())
def test_concat(seed, shape, count, data):
    axis = data.draw(axes(len(shape)))
    text = f"axis: {axis}"
    if axis >= 0 and data.draw(st.booleans()):
        text = f"concat_dim: {axis}"
    canonical = axis % len(shape)
    bottoms = [values(seed + i, (*shape[:canonical], data.draw(sides), *shape[canonical + 1 :])) for i in range(count)]
    check(f"type: 'Concat' concat_param {{ {text} }}", bottoms)


@examples(20)
@given(seeds, shapes(1, 4), st.integers(1, 4), st.data())
def test_slice(seed, shape, tops, data):
    axis = data.draw(axes(len(shape)))
    canonical = axis % len(shape)
    text = f"slice_dim: {axis}" if axis >= 0 and data.draw(st.booleans()) else f"axis: {axis}"
    if data.draw(st.booleans()) and tops > 1:
        size = tops + data.draw(st.integers(0, 3))
        points = data.draw(st.lists(st.integers(1, size), min_size=tops - 1, max_size=tops - 1, unique=True))
        text += fields("slice_point", sorted(points))
    else:
        size = tops * data.draw(st.integers(1, 2))
    x = values(seed, (*shape[:canonical], size, *shape[canonical + 1 :]))
    check(f"type: 'Slice' slice_param {{ {text} }}", [x], tops=tops)


@examples(10)
@given(seeds, shapes(), st.integers(1, 4))
def test_split_and_silence(seed, shape, count):
    check("type: 'Split'", [values(seed, shape)], tops=count)
    check("type: 'Silence'", [values(seed + i, shape) for i in range(count)], tops=0)


@examples(30)
@given(seeds, shapes(), st.integers(2, 4), maybe(st.sampled_from(["PROD", "SUM", "MAX"])), st.data())
def test_eltwise(seed, shape, count, operation, data):
    text = field("operation", operation)
    if operation in (None, "SUM") and data.draw(st.booleans()):
        text += fields("coeff", [data.draw(numbers(-2, 2)) for _ in range(count)])
    bottoms = [values(seed + i, shape, data.draw(kinds)) for i in range(count)]
    check(f"type: 'Eltwise' eltwise_param {{ {text} }}", bottoms)


@examples(20)
@given(seeds, shapes(1, 5), st.data())
def test_flatten(seed, shape, data):
    first = data.draw(axes(len(shape)))
    last = data.draw(st.integers(max(first % len(shape) - 1, 0), len(shape) - 1))
    last -= data.draw(st.sampled_from([0, len(shape)]))
    check(f"type: 'Flatten' flatten_param {{ axis: {first} end_axis: {last} }}", [values(seed, shape)])


@examples(30)
@given(seeds, shapes(1, 4), st.data())
def test_reshape(seed, shape, data):
    ndim = len(shape)
    first = data.draw(st.integers(0, ndim))
    last = data.draw(st.integers(first, ndim))
    middle = shape[first:last]
    dims = list(middle)
    if data.draw(st.booleans()) and middle:
        dims = [math.prod(middle)]
    elif data.draw(st.booleans()):
        dims = [1, *dims]
    else:
        dims = [0 if data.draw(st.booleans()) else d for d in dims]
    if dims and data.draw(st.booleans()):
        dims[data.draw(st.integers(0, len(dims) - 1))] = -1
    text = "shape {" + fields("dim", dims) + " }"
    text += field("axis", first - data.draw(st.sampled_from([0, ndim + 1])))
    text += field("num_axes", -1 if last == ndim and data.draw(st.booleans()) else last - first)
    x = values(seed, shape)
    param = layer_param(f"type: 'Reshape' reshape_param {{ {text} }}")
    known = math.prod(d or shape[first + i] for i, d in enumerate(dims) if d != -1)
    if -1 in dims:  # numpy infers from all axes, Caffe from the replaced ones: the same number
        assert math.prod(middle) % known == 0
    assert reference.run(param, [x])[0][0].size == x.size
    check(f"type: 'Reshape' reshape_param {{ {text} }}", [x])


def test_a_zero_of_reshape_copies_an_axis_that_is_not_replaced_too():
    # one axis of three replaced by two, of which the second is copied from where it comes to stand
    check("type: 'Reshape' reshape_param { axis: 0 num_axes: 1 shape { dim: [2, 0] } }", [values(0, (6, 3, 2))])


@examples(20)
@given(seeds, shapes(1, 4), st.data())
def test_crop(seed, shape, data):
    ndim = len(shape)
    axis = data.draw(axes(ndim))
    start = axis % ndim
    like, offsets = list(shape), []
    one = data.draw(st.booleans())
    for i in range(start, ndim):
        like[i] = data.draw(st.integers(1, shape[i]))
        offsets.append(data.draw(st.integers(0, shape[i] - like[i])))
    text = f"axis: {axis}"
    if not one:
        text += fields("offset", offsets)
    elif data.draw(st.booleans()):
        text += fields("offset", [min(shape[i] - like[i] for i in range(start, ndim))])
    for i in range(start):
        like[i] = data.draw(sides)  # axes in front do not matter
    check(f"type: 'Crop' crop_param {{ {text} }}", [values(seed, shape), values(seed + 1, like)])


@examples(30)
@given(seeds, shapes(1, 4), maybe(st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"])), kinds, st.data())
def test_reduction(seed, shape, operation, kind, data):
    text = field("operation", operation) + field("axis", data.draw(maybe(axes(len(shape)))))
    text += field("coeff", data.draw(maybe(numbers(-2, 2))))
    check(f"type: 'Reduction' reduction_param {{ {text} }}", [values(seed, shape, kind)])


@examples(8)
@given(seeds, shapes(0, 4))
def test_parameter(seed, shape):
    check(f"type: 'Parameter' parameter_param {{ shape {{ {fields('dim', shape)} }} }}", [], seed=seed % 99)


@examples(15)
@given(seeds, shapes(1, 4), st.integers(1, 3), st.data())
def test_tile(seed, shape, tiles, data):
    check(f"type: 'Tile' tile_param {{ axis: {data.draw(axes(len(shape)))} tiles: {tiles} }}", [values(seed, shape)])


@examples(15)
@given(seeds, shapes(1, 4), st.data())
def test_batch_reindex(seed, shape, data):
    index = data.draw(st.lists(st.integers(0, shape[0] - 1), max_size=6))
    check("type: 'BatchReindex'", [values(seed, shape), np.float32(index)], fixed=[1])


@examples(20)
@given(seeds, sides, st.lists(shapes(0, 3), min_size=1, max_size=3), st.data())
def test_filter(seed, items, rests, data):
    selector = np.float32(data.draw(st.lists(st.sampled_from([0, 0, 1, -2, 0.5]), min_size=items, max_size=items)))
    selector = selector.reshape(data.draw(st.sampled_from([(items,), (items, 1), (items, 1, 1)])))
    bottoms = [values(seed + i, (items, *rest)) for i, rest in enumerate(rests)]
    check("type: 'Filter'", [*bottoms, selector], tops=len(rests), fixed=[len(rests)])


def test_a_filters_tops_are_as_long_as_its_bottoms_until_the_selector_is_known():
    net = build(input_layer("x", (3, 2)) + input_layer("s", (3,)) + layer("f", "x s", "y", "type: 'Filter'"))
    assert net.blobs["y"].data.shape == (3, 2)
    net.reshape()
    assert net.blobs["y"].data.shape == (0, 2)
    net.blobs["s"].data[...] = [0, 5, 0]
    net.forward()
    assert net.blobs["y"].data.shape == (1, 2)
