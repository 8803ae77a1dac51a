"""Net surgery: a classifier made fully convolutional, so that a larger input gives a map of predictions (Table 1).

Every fully connected layer becomes a convolution whose kernel is as large as what it looks at when the net runs at its
own input size; the weights keep their values and order. Then one pass over a large image is the classifier sliding
over it, in patches of its own input size, but for what padding inside the net adds at their edges.
"""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment.console import UserError
from sentiment.files import read_text
from sentiment.paper import FCN_NAME, MAP_INPUT
from sentiment.transfer import take_over

SUFFIX = "-conv"

# Layers that treat every place alike, so that they mean the same on a map as on a vector.
_POINTWISE = {
    *("ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Exp", "Log", "Power", "Dropout", "Softmax", "LRN"),
    *("BatchNorm", "Scale", "Bias", "Eltwise", "Concat", "Split"),
}
_WINDOWED = {"Convolution", "Pooling"}
_LARGEST_OWN_INPUT = 4096  # pixels; where the search for the smallest input that gives a map ends


@dataclass(frozen=True)
class Kernel:
    """A row of the paper's Table 1: a converted layer, its kernels and their shape in cells."""

    layer: str
    number: int
    height: int
    width: int
    depth: int
    stride: int = 1


@dataclass(frozen=True)
class Conversion:
    """A fully convolutional net and how it relates to the classifier it was made from.

    Attributes
    ----------
    net : NetParameter
        Its definition: a blob of one image in, class probabilities of every cell out.
    renamed : dict of str to str
        Fully connected layer -> the convolution that took its place.
    kernels : tuple of Kernel
        Of the converted layers, in the net's order.
    input : (height, width)
        In pixels.
    map : (height, width)
        In cells.
    patch : (height, width)
        The classifier's own input size in pixels: what one cell stands for.
    step : (vertical, horizontal)
        Pixels from one cell's patch to the next one's; the first patch begins at the image's corner.
    reach : (height, width)
        Pixels that can bear on one cell. More than ``patch`` where padding lets a patch's neighbours in.
    """

    net: object
    renamed: dict
    kernels: tuple
    input: tuple
    map: tuple
    patch: tuple
    step: tuple
    reach: tuple


@dataclass(frozen=True)
class _Blob:
    """What is known of a blob: its channels, its size in cells, and a cell's step and reach in pixels."""

    channels: int
    size: tuple
    step: tuple = (1, 1)
    reach: tuple = (1, 1)
    after_fc: bool = False  # at the classifier's own size this is a vector, whatever it is on a map


def read_definition(path):
    """Read a deploy definition as it stands.

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter

    Raises
    ------
    UserError
        It is missing or no net definition.
    """
    from google.protobuf import text_format

    from caffe.proto import caffe_pb2

    try:
        return text_format.Parse(read_text(path), caffe_pb2.NetParameter())
    except text_format.ParseError as error:
        raise UserError(f"{path} is no net definition: {error}") from error


def convert(net, size=(MAP_INPUT, MAP_INPUT), name=FCN_NAME, where="the net"):
    """Make a classifier's definition fully convolutional; weights follow by `build`.

    Parameters
    ----------
    net : NetParameter
        A deploy definition: one blob of images in, fully connected layers towards its end.
    size : (height, width)
        The new net's input, pixels.
    name : str
        The new net's name.
    where : str
        Names the net in messages.

    Returns
    -------
    Conversion

    Raises
    ------
    UserError
        The net is no such classifier, has a layer that a map has no meaning for, or the input is too small for a map.
    """
    if len(net.layers):
        raise UserError(
            f"{where} is of Caffe's first generation (`layers`); upgrade_net_proto_text brings it up to date"
        )
    data, channels, patch = _input(net, where)
    layers = [layer for layer in net.layer if layer.type != "Input"]
    connected = [layer.name for layer in layers if layer.type == "InnerProduct"]
    if not connected:
        pooling = [layer.name for layer in layers if layer.type == "Pooling" and layer.pooling_param.global_pooling]
        until = f" up to its global pooling {pooling[-1]}" if pooling else ""
        raise UserError(
            f"{where} has no fully connected layer: it is fully convolutional already{until}, "
            "so there is nothing to convert"
        )
    blobs = _trace(layers, {data: _Blob(channels, patch)}, where)

    from caffe.proto import caffe_pb2

    renamed = {layer: layer + SUFFIX for layer in connected}
    if taken := {layer.name for layer in layers} & set(renamed.values()):
        raise UserError(f"{where} has a layer named {min(taken)} already; rename it")
    result = caffe_pb2.NetParameter(name=name)
    result.layer.add(name=data, type="Input", top=[data]).input_param.shape.add(dim=[1, channels, *size])
    kernels, tops = [], {}
    for layer in layers:
        new = result.layer.add()
        new.CopyFrom(layer)
        if layer.type == "InnerProduct":
            bottom = blobs[layer.name][layer.bottom[0]]
            kernels.append(
                Kernel(renamed[layer.name], layer.inner_product_param.num_output, *bottom.size, bottom.channels)
            )
            _to_convolution(new, kernels[-1])
        new.bottom[:] = [tops.get(bottom, bottom) for bottom in layer.bottom]
        if layer.type == "InnerProduct":
            tops[layer.top[0]] = layer.top[0] + SUFFIX
        new.top[:] = [tops.get(top, top) for top in layer.top]

    end = _end(result.layer[1:], {data: _Blob(channels, tuple(size))})
    if end is None:
        least = next(
            side
            for side in range(1, _LARGEST_OWN_INPUT)
            if _end(result.layer[1:], {data: _Blob(channels, (side, side))}) is not None
        )
        raise UserError(
            f"{where}: an input of {size[0]}×{size[1]} pixels is too small for a map; {least}×{least} gives one"
        )
    return Conversion(result, renamed, tuple(kernels), tuple(size), end.size, patch, end.step, end.reach)


def load(caffe, model, weights):
    """A net for testing with every parameter from a weights file.

    Raises
    ------
    UserError
        A file is missing, or the weights lack a layer the definition has.
    """
    for path in (model, weights):
        if not Path(path).is_file():
            raise UserError(f"no file {path}")
    net = caffe.Net(str(model), caffe.TEST)
    _, lacking = take_over(net, str(weights), filled=set(net.params))
    if lacking:
        raise UserError(
            f"{weights} has no layer named {lacking[0]}, which {model} asks for; they do not belong together"
        )
    return net


def build(caffe, conversion, classifier):
    """The fully convolutional net with a classifier's weights, rearranged.

    Parameters
    ----------
    caffe : module
    conversion : Conversion
    classifier : caffe.Net
        With the weights; of the definition that was converted.

    Returns
    -------
    caffe.Net
    """
    with tempfile.TemporaryDirectory() as folder:
        definition = Path(folder) / "deploy_conv.prototxt"
        definition.write_text(str(conversion.net))
        net = caffe.Net(str(definition), caffe.TEST)
    for name, blobs in classifier.params.items():
        for new, old in zip(net.params[conversion.renamed.get(name, name)], blobs, strict=True):
            new.data[...] = old.data.reshape(new.data.shape)
    return net


def multiply_adds(net):
    """Multiplications with a weight in one forward pass of one image: of its convolutions and fully connected layers.

    The net is asked for the shapes it has now.
    """
    return sum(
        blobs[0].data.size * math.prod(net.blobs[net.top_names[name][0]].data.shape[2:])
        for name, blobs in net.params.items()
        if blobs[0].data.ndim > 1
    )


def table1(kernels):
    """The paper's Table 1 as text, a line a converted layer."""
    rows = [("layer", "kernels", "kernel size (h × w × d)", "stride")]
    rows += [(k.layer, str(k.number), f"{k.height} × {k.width} × {k.depth}", str(k.stride)) for k in kernels]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _input(net, where):
    """Name, channels and (height, width) of a definition's one input, in any of the three ways to write it."""
    shapes = {top: list(layer.input_param.shape) for layer in net.layer if layer.type == "Input" for top in layer.top}
    shapes = {name: tuple(shape[0].dim) for name, shape in shapes.items() if shape}
    for index, name in enumerate(net.input):
        old = net.input_dim[4 * index : 4 * index + 4]
        shapes[name] = tuple(net.input_shape[index].dim) if index < len(net.input_shape) else tuple(old)
    if len(shapes) != 1 or len(next(iter(shapes.values()))) != 4:
        raise UserError(f"{where} is no deploy net: it must have one input, a blob of images (N×channels×height×width)")
    [(name, (_, channels, height, width))] = shapes.items()
    return name, channels, (height, width)


def _trace(layers, blobs, where):
    """The blobs each layer finds below it: layer name -> blob name -> _Blob. Fully connected layers take all of theirs.

    Raises UserError where a layer has no meaning on a map.
    """
    found, blobs = {}, dict(blobs)
    for layer in layers:
        if missing := [bottom for bottom in layer.bottom if bottom not in blobs]:
            raise UserError(f"{where}: no layer before {layer.name} gives its bottom {missing[0]}")
        found[layer.name] = {bottom: blobs[bottom] for bottom in layer.bottom}
        if problem := _problem(layer, [blobs[bottom] for bottom in layer.bottom]):
            raise UserError(f"{where} cannot be made fully convolutional: layer {layer.name} ({layer.type}) {problem}")
        if layer.type == "InnerProduct":
            bottom = blobs[layer.bottom[0]]
            blobs[layer.top[0]] = replace(
                bottom, channels=layer.inner_product_param.num_output, size=(1, 1), after_fc=True
            )
        else:
            blobs.update(dict.fromkeys(layer.top, _top(layer, [blobs[bottom] for bottom in layer.bottom])))
    return found


def _problem(layer, bottoms):
    """Why a layer of the classifier has no counterpart on a map, or None."""
    if not bottoms:
        return "is no part of a deploy net"
    after_fc = any(bottom.after_fc for bottom in bottoms)
    if layer.type == "InnerProduct":
        param = layer.inner_product_param
        if param.axis != 1:
            return f"has axis {param.axis}; only whole images (axis 1) become places of a map"
        return "has transposed weights" if param.transpose else None
    if layer.type == "Pooling" and layer.pooling_param.global_pooling:
        return "pools globally, which leaves one cell of an input of any size"
    if layer.type == "LRN" and layer.lrn_param.norm_region:
        return "normalises within channels, across the edges of patches"
    if layer.type in _WINDOWED:
        return "comes after a fully connected layer" if after_fc else None
    if layer.type not in _POINTWISE:
        return "is of no type that is known to treat all places alike"
    param = getattr(layer, f"{layer.type.lower()}_param", None)
    if getattr(param, "axis", 1) != 1 or getattr(param, "num_axes", 1) != 1:
        return "works along another axis than the channels'"
    if len({(bottom.size, bottom.step) for bottom in bottoms}) > 1:
        return "joins blobs of different sizes or steps"
    return None


def _top(layer, bottoms):
    """The blob a layer gives; its size is less than one cell where the window does not fit."""
    first = bottoms[0]
    if layer.type in _WINDOWED:
        kernel, stride, pad = _window(layer)
        # Pooling rounds up, then leaves out a last window that would begin in the padding; convolution rounds down.
        ceil = layer.type == "Pooling" and layer.pooling_param.round_mode == 0
        size = []
        for n, k, s, p in zip(first.size, kernel, stride, pad, strict=True):
            room = n + 2 * p - k
            cells = (-(-room // s) if ceil else room // s) + 1 if room >= 0 else 0
            size.append(cells - 1 if ceil and p and (cells - 1) * s >= n + p else cells)
        return replace(
            first,
            channels=layer.convolution_param.num_output if layer.type == "Convolution" else first.channels,
            size=tuple(size),
            step=tuple(j * s for j, s in zip(first.step, stride, strict=True)),
            reach=tuple(r + (k - 1) * j for r, k, j in zip(first.reach, kernel, first.step, strict=True)),
        )
    channels = sum(bottom.channels for bottom in bottoms) if layer.type == "Concat" else first.channels
    reach = tuple(map(max, zip(*(bottom.reach for bottom in bottoms), strict=True)))
    return replace(first, channels=channels, reach=reach, after_fc=any(bottom.after_fc for bottom in bottoms))


def _window(layer):
    """Kernel (as far as it spreads when dilated), stride and pad of a windowed layer, each (vertical, horizontal)."""
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


def _end(layers, blobs):
    """The last layer's blob in a fully convolutional net, or None where a window does not fit its bottom."""
    blobs = dict(blobs)
    for layer in layers:
        blob = _top(layer, [blobs[bottom] for bottom in layer.bottom])
        if min(blob.size) < 1:
            return None
        blobs.update(dict.fromkeys(layer.top, blob))
    return blobs[layers[-1].top[0]]


def _to_convolution(layer, kernel):
    """Turn a copy of an InnerProduct layer into the convolution `kernel` describes; bottoms and tops stay."""
    old = layer.inner_product_param
    new = layer.convolution_param
    new.num_output = kernel.number
    if not old.bias_term:
        new.bias_term = False
    if kernel.height == kernel.width:
        new.kernel_size.append(kernel.height)
    else:
        new.kernel_h, new.kernel_w = kernel.height, kernel.width
    for filler in ("weight_filler", "bias_filler"):
        if old.HasField(filler):
            getattr(new, filler).CopyFrom(getattr(old, filler))
    layer.ClearField("inner_product_param")
    layer.name, layer.type = kernel.layer, "Convolution"
