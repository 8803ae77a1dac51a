"""Where a blob's pixels lie in another blob of the net, and crops that line the two up: ``caffe.coord_map``.

A coordinate map is a triple `(axis, scale, shift)`: x in the one blob is scale * x + shift in the other, along the
axes after `axis` (None: the map is the same for all). Scale and shift are a number, or an array of one number or of
one a spatial axis.
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
    """A layer that does not map coordinates, such as InnerProduct."""


class AxisMismatchException(Exception):
    """Two maps, one after the other, whose spatial axes begin at different places."""


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

    Raises UndefinedMapException for a layer that has none.
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
    """The map that applies `next_map` first and `base_map` to what it gives."""
    base_axis, base_scale, base_shift = base_map
    next_axis, next_scale, next_shift = next_map
    if None not in (base_axis, next_axis) and base_axis != next_axis:
        raise AxisMismatchException(f"spatial axes begin after axis {base_axis} and after axis {next_axis}")
    axis = next_axis if base_axis is None else base_axis
    return axis, base_scale * next_scale, base_scale * next_shift + base_shift


def inverse(coord_map):
    """The map back."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def _walk(top):
    """Every blob above `top` that has a map to it, nearest first: pairs of the blob and top's map from it."""
    maps, queue = {top: (None, 1, 0)}, [top]
    for reached in queue:
        yield reached, maps[reached]
        # A Crop layer's second bottom only lends its size.
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

    All ways between two blobs are taken to give the same map.

    Raises RuntimeError when no spatial layers connect them, AxisMismatchException when those on the way disagree about
    the spatial axes.
    """
    from_maps = dict(_walk(top_from))
    for top, to_map in _walk(top_to):
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def crop(top_from, top_to):
    """A Crop layer that cuts `top_from` down to `top_to` so that equal coordinates see the same place of the input.

    Raises AssertionError when the two are of different scale, or when the offset is not a whole number of pixels or
    would lie outside `top_from`.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    # Products of strides and their reciprocals miss whole numbers by rounding: 1 / 49 * 49 is not 1.
    scale, shift = np.round(scale, 9), np.round(shift, 9)
    assert np.all(scale == 1), f"scale mismatch on crop (a = {scale})"
    assert np.all(shift <= 0), f"cannot crop negative offset (b = {shift})"
    assert np.all(shift == np.round(shift)), f"cannot crop noninteger offset (b = {shift})"
    first = 2 if axis is None else axis + 1
    return L.Crop(top_from, top_to, crop_param=dict(axis=first, offset=np.array(-shift, int, ndmin=1).tolist()))
