"""Maps between the coordinates of blobs, and crops that align them: pycaffe's ``caffe.coord_map``.

A coordinate map is a tuple `(axis, scale, shift)`: x in one blob is scale * x + shift in the other, along the axes
after `axis` (None: any). Scale and shift are numbers, or arrays of one value or of one for each spatial axis.
"""

import numpy as np

from .net_spec import layers as L

# fmt: off
PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Exp", "Log", "LRN", "MVN", "Power", "PReLU",
    "ReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold",
]
# fmt: on
_ONE_AXIS_FIELDS = {f"{name}_{side}" for name in ("kernel", "stride", "pad") for side in "hw"}


class UndefinedMapException(Exception):
    """A layer that does not map coordinates, for example InnerProduct."""


class AxisMismatchException(Exception):
    """Two maps that are composed have spatial axes that begin at different axes."""


def conv_params(fn):
    """Axis, stride, extent of the dilated kernel and padding of a convolution, deconvolution or pooling layer."""
    given = fn.params.get("pooling_param" if fn.type_name == "Pooling" else "convolution_param", fn.params)
    assert _ONE_AXIS_FIELDS.isdisjoint(given), "cropping does not support legacy _h/_w params"
    if "kernel_size" not in given:
        raise UndefinedMapException(f"{fn.type_name} without kernel_size")
    kernel, stride, pad, dilation = (
        np.array(given.get(name, default), ndmin=1)
        for name, default in (("kernel_size", None), ("stride", 1), ("pad", 0), ("dilation", 1))
    )
    return given.get("axis", 1), stride, (kernel - 1) * dilation + 1, pad


def crop_params(fn):
    """First cropped axis and offsets of a Crop layer."""
    given = fn.params.get("crop_param", fn.params)
    return given.get("axis", 2), np.array(given.get("offset", 0), ndmin=1)


def coord_map(fn):
    """The map from a layer's bottoms to its tops: top = scale * bottom + shift.

    Raises UndefinedMapException for a layer without a map.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, kernel, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, kernel, pad = conv_params(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    raise UndefinedMapException(f"{fn.type_name} does not map coordinates")


def compose(base_map, next_map):
    """The map that applies `next_map` first, then `base_map`."""
    base_axis, base_scale, base_shift = base_map
    next_axis, next_scale, next_shift = next_map
    if None not in (base_axis, next_axis) and base_axis != next_axis:
        raise AxisMismatchException(f"spatial axes begin after axis {base_axis} and after axis {next_axis}")
    axis = next_axis if base_axis is None else base_axis
    return axis, base_scale * next_scale, base_scale * next_shift + base_shift


def inverse(coord_map):
    """The inverse map."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def _walk(top):
    """Yield the blobs that `top` is computed from and its map from each of them, nearest first."""
    maps, queue = {top: (None, 1, 0)}, [top]
    for reached in queue:
        yield reached, maps[reached]
        # of a Crop layer's second bottom only the size matters
        bottoms = reached.fn.inputs[:1] if reached.fn.type_name == "Crop" else reached.fn.inputs
        new = [bottom for bottom in bottoms if bottom not in maps]
        if not new:
            continue
        try:
            through = compose(maps[reached], coord_map(reached.fn))
        except UndefinedMapException:
            continue
        for bottom in new:
            maps[bottom] = through
            queue.append(bottom)


def coord_map_from_to(top_from, top_to):
    """The map from one blob's coordinates to another's, through their nearest common ancestor.

    All paths between two blobs are assumed to have the same map.

    Raises RuntimeError if they are not connected by spatial layers, AxisMismatchException if the layers between them
    differ in their spatial axes.
    """
    from_maps = dict(_walk(top_from))
    for top, to_map in _walk(top_to):
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def crop(top_from, top_to):
    """A Crop layer of `top_from` to the size of `top_to`, in which equal coordinates are the same place of the input.

    Raises AssertionError if the two have different scales, or if the offset is not an integer or negative.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    # products of strides and their reciprocals are rounded: 1 / 49 * 49 is not 1
    scale, shift = np.round(scale, 9), np.round(shift, 9)
    assert np.all(scale == 1), f"scale mismatch on crop (a = {scale})"
    assert np.all(shift <= 0), f"cannot crop negative offset (b = {shift})"
    assert np.all(shift == np.round(shift)), f"cannot crop noninteger offset (b = {shift})"
    first = 2 if axis is None else axis + 1
    return L.Crop(top_from, top_to, crop_param=dict(axis=first, offset=np.array(-shift, int, ndmin=1).tolist()))
