"""Read a net's definition: the size of every blob, the receptive fields of its cells, and the shapes of weights."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text

WINDOWED = ("Convolution", "Pooling")
Pair = tuple[int, ...]
"""Two values, for the vertical and the horizontal direction."""


def read(path: str | Path):
    """Read a definition (.prototxt) as a NetParameter; a `UserError` if it is missing or is not a definition."""
    from google.protobuf import text_format

    from caffe.proto import caffe_pb2

    text = read_text(path, errors="surrogateescape")  # comments may be in any encoding
    if "\0" in text:
        raise UserError(f"{path} is not a text file, so it is not a net definition")
    try:
        return text_format.Parse(text, caffe_pb2.NetParameter())
    except text_format.ParseError as error:
        raise UserError(f"{path} is not a net definition: {error}") from error


@dataclass(frozen=True)
class Field:
    """A blob as a grid of cells over the image."""

    channels: int
    size: Pair  # cells; less than one where a window does not fit
    step: Pair = (1, 1)  # pixels from one cell to the next
    reach: Pair = (1, 1)  # receptive field: pixels that can influence a cell
    vector: bool = False  # one cell whatever the input's size: after a fully connected layer or a global pooling


def fields(net, where: str = "the net") -> dict[str, Field]:
    """The Field of every blob of a deploy definition (a NetParameter), the input first.

    Its layers must be of types that `above` supports. A `UserError`, in which ``where`` names the net, says that there
    is not exactly one input of images, that a layer's bottom is missing, or that a window is larger than its bottom.
    """
    layers = [layer for layer in net.layer if layer.type == "Input"]
    names = [*net.input, *(top for layer in layers for top in layer.top)]
    shapes = [*net.input_shape, *(shape for layer in layers for shape in layer.input_param.shape)]
    dims = shapes[0].dim if shapes else net.input_dim
    if len(names) != 1 or len(dims) != 4:
        raise UserError(
            f"{where} is not a deploy net: it must have one input, a blob of images (N×channels×height×width)"
        )
    found = {names[0]: Field(dims[1], (dims[2], dims[3]))}
    for layer in net.layer:
        if missing := [bottom for bottom in layer.bottom if bottom not in found]:
            raise UserError(f"{where}: no layer before {layer.name} gives its bottom {missing[0]}")
        if layer.bottom:
            top = above(layer, [found[bottom] for bottom in layer.bottom])
            if min(top.size) < 1:
                raise UserError(f"{where}: the window of layer {layer.name} is larger than its bottom")
            found.update(dict.fromkeys(layer.top, top))
    return found


def above(layer, bottoms: list[Field]) -> Field:
    """The Field of the top of a convolution, pooling or fully connected layer, or of one that treats all cells alike.

    >>> from caffe.proto.caffe_pb2 import LayerParameter
    >>> pool = LayerParameter(type="Pooling", pooling_param={"kernel_size": 3, "stride": 2})
    >>> above(pool, [Field(96, (55, 55))])
    Field(channels=96, size=(27, 27), step=(2, 2), reach=(3, 3), vector=False)
    """
    first = bottoms[0]
    if layer.type not in (*WINDOWED, "InnerProduct"):
        channels = sum(bottom.channels for bottom in bottoms) if layer.type == "Concat" else first.channels
        reach = tuple(map(max, zip(*(bottom.reach for bottom in bottoms), strict=True)))
        return replace(first, channels=channels, reach=reach, vector=any(bottom.vector for bottom in bottoms))
    own = {"InnerProduct": layer.inner_product_param, "Convolution": layer.convolution_param}.get(layer.type)
    sees_all = layer.type == "InnerProduct" or pools_globally(layer)
    kernel, stride, pad = (first.size, (1, 1), (0, 0)) if sees_all else window(layer)
    # Caffe 1.0 has no round_mode and always rounds a pooling's size up, as CEIL (0) does.
    ceil = layer.type == "Pooling" and getattr(layer.pooling_param, "round_mode", 0) == 0
    return Field(
        channels=own.num_output if own else first.channels,
        size=tuple(_cells(*side, ceil) for side in zip(first.size, kernel, stride, pad, strict=True)),
        step=tuple(j * s for j, s in zip(first.step, stride, strict=True)),
        reach=tuple(r + (k - 1) * j for r, k, j in zip(first.reach, kernel, first.step, strict=True)),
        vector=first.vector or sees_all,
    )


def pools_globally(layer) -> bool:
    """Whether a layer pools all of its bottom into one cell."""
    return layer.type == "Pooling" and layer.pooling_param.global_pooling


def window(layer) -> tuple[Pair, Pair, Pair]:
    """Kernel (with dilation, its extent), stride and pad of a convolution or pooling.

    >>> from caffe.proto.caffe_pb2 import LayerParameter
    >>> param = {"kernel_size": [3], "dilation": [2], "pad": [1]}
    >>> window(LayerParameter(type="Convolution", convolution_param=param))
    ((5, 5), (1, 1), (1, 1))
    """
    kernel, stride, pad = _sides(layer, "kernel", 1), _sides(layer, "stride", 1), _sides(layer, "pad", 0)
    if layer.type != "Pooling" and len(layer.convolution_param.dilation):
        dilations = layer.convolution_param.dilation
        dilation = dilations[0], dilations[-1]
        kernel = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    return kernel, stride, pad


def _sides(layer, name, default) -> Pair:
    """A layer's kernel, stride or pad, in whichever of the possible ways it is written."""
    convolves = layer.type != "Pooling"
    param = layer.convolution_param if convolves else layer.pooling_param
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
    value = getattr(param, "kernel_size" if name == "kernel" else name)
    values = (list(value) if convolves else [value]) or [default]
    return values[0], values[-1]


def _cells(size, kernel, stride, pad, ceil):
    """The number of windows. Pooling rounds it up, but leaves out a last window that would begin in the padding."""
    room = size + 2 * pad - kernel
    if room < 0:
        return 0
    cells = (-(-room // stride) if ceil else room // stride) + 1
    return cells - 1 if ceil and pad and (cells - 1) * stride >= size + pad else cells


def weight_shapes(net) -> dict[str, list[tuple]]:
    """Layer -> shapes of weights and biases, for a deploy definition's convolutions and fully connected layers."""
    blobs, shapes = fields(net), {}
    for layer in net.layer:
        if layer.type == "Convolution":
            param = layer.convolution_param
            inputs = (blobs[layer.bottom[0]].channels // param.group, *_sides(layer, "kernel", 1))
        elif layer.type == "InnerProduct":
            param = layer.inner_product_param
            inputs = (blobs[layer.bottom[0]].channels * math.prod(blobs[layer.bottom[0]].size),)
        else:
            continue
        shapes[layer.name] = [(param.num_output, *inputs)] + ([(param.num_output,)] if param.bias_term else [])
    return shapes


def multiply_adds(net) -> int:
    """Multiplications in a caffe.Net's convolutions and fully connected layers, for one image of its input size."""
    return sum(
        blobs[0].data.size * math.prod(net.blobs[net.top_names[name][0]].data.shape[2:])
        for name, blobs in net.params.items()
        if blobs[0].data.ndim > 1
    )
