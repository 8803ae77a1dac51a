"""What each layer of a convolutional net sees of its input: sizes, steps and reaches, by its definition."""

from dataclasses import dataclass, replace

WINDOWED = ("Convolution", "Pooling")


@dataclass(frozen=True)
class Field:
    """A blob as a grid over the image.

    Attributes
    ----------
    channels : int
    size : (height, width)
        In cells; less than one where a window does not fit.
    step : (vertical, horizontal)
        Pixels from one cell to the next.
    reach : (height, width)
        Pixels that can bear on a cell.
    vector : bool
        One cell whatever the input's size: a fully connected layer's, or a global pooling's.
    """

    channels: int
    size: tuple[int, int]
    step: tuple[int, int] = (1, 1)
    reach: tuple[int, int] = (1, 1)
    vector: bool = False


def pools_globally(layer):
    """Whether a layer pools all of its bottom into one cell."""
    return layer.type == "Pooling" and layer.pooling_param.global_pooling


def outputs(layer):
    """The channels a layer gives by its own definition, or None where it gives as many as it gets."""
    if layer.type == "InnerProduct":
        return layer.inner_product_param.num_output
    return layer.convolution_param.num_output if layer.type == "Convolution" else None


def window(layer):
    """Kernel (as far as it spreads when dilated), stride and pad of a windowed layer, each (vertical, horizontal).

    >>> from caffe.proto.caffe_pb2 import LayerParameter
    >>> window(LayerParameter(type="Convolution", convolution_param={"kernel_size": [3], "dilation": [2], "pad": [1]}))
    ((5, 5), (1, 1), (1, 1))
    """
    convolves = layer.type == "Convolution"
    param = layer.convolution_param if convolves else layer.pooling_param

    def pair(name, one_side, default):
        if param.HasField(f"{one_side}_h") or param.HasField(f"{one_side}_w"):
            return getattr(param, f"{one_side}_h"), getattr(param, f"{one_side}_w")
        value = getattr(param, name)
        values = (list(value) if convolves else [value]) or [default]
        return values[0], values[-1]

    kernel, stride, pad = pair("kernel_size", "kernel", 1), pair("stride", "stride", 1), pair("pad", "pad", 0)
    if convolves and len(param.dilation):
        dilation = param.dilation[0], param.dilation[-1]
        kernel = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    return kernel, stride, pad


def above(layer, bottoms):
    """The Field of a layer's top.

    Parameters
    ----------
    layer : LayerParameter
        A convolution, pooling or fully connected layer, or one that treats each cell alike.
    bottoms : list of Field

    Examples
    --------
    >>> from caffe.proto.caffe_pb2 import LayerParameter
    >>> pool = LayerParameter(type="Pooling", pooling_param={"kernel_size": 3, "stride": 2})
    >>> above(pool, [Field(channels=96, size=(55, 55), step=(4, 4), reach=(11, 11))])
    Field(channels=96, size=(27, 27), step=(8, 8), reach=(19, 19), vector=False)
    """
    first = bottoms[0]
    channels = outputs(layer) or first.channels
    if layer.type == "InnerProduct" or pools_globally(layer):
        return replace(first, channels=channels, size=(1, 1), reach=_seen(first, first.size), vector=True)
    if layer.type in WINDOWED:
        kernel, stride, pad = window(layer)
        # Caffe 1.0 knows no rounding mode; CEIL, 0, is what it does.
        ceil = layer.type == "Pooling" and getattr(layer.pooling_param, "round_mode", 0) == 0
        return replace(
            first,
            channels=channels,
            size=tuple(_cells(*side, ceil) for side in zip(first.size, kernel, stride, pad, strict=True)),
            step=tuple(j * s for j, s in zip(first.step, stride, strict=True)),
            reach=_seen(first, kernel),
        )
    if layer.type == "Concat":
        channels = sum(bottom.channels for bottom in bottoms)
    reach = tuple(map(max, zip(*(bottom.reach for bottom in bottoms), strict=True)))
    return replace(first, channels=channels, reach=reach, vector=any(bottom.vector for bottom in bottoms))


def _seen(field, kernel):
    """The reach of a window of some cells."""
    return tuple(r + (k - 1) * j for r, k, j in zip(field.reach, kernel, field.step, strict=True))


def _cells(size, kernel, stride, pad, ceil):
    """How many windows there are. Pooling rounds up, then leaves out a last one that would begin in the padding."""
    room = size + 2 * pad - kernel
    if room < 0:
        return 0
    cells = (-(-room // stride) if ceil else room // stride) + 1
    return cells - 1 if ceil and pad and (cells - 1) * stride >= size + pad else cells
