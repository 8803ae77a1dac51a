"""Net surgery: a classifier made fully convolutional, so that a larger input gives a map of predictions (Table 1).

Every fully connected layer becomes a convolution whose kernel is as large as what it looks at when the net runs at its
own input size, and a global pooling becomes a window of that size; the weights keep their values and order. Then one
pass over a large image is the classifier sliding over it, in patches of its own input size, but for what padding inside
the net adds at their edges.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sentiment.networks.receptive_field import WINDOWED, Field, above, pools_globally, window
from sentiment.networks.transfer import take_over
from sentiment.paper import FCN_NAME, MAP_INPUT
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text

SUFFIX = "-conv"

# Layers that treat every place alike, so that they mean the same on a map as on a vector.
_POINTWISE = {
    *("ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Exp", "Log", "Power", "Dropout", "Softmax", "LRN"),
    *("BatchNorm", "Scale", "Bias", "Eltwise", "Concat", "Split"),
}


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
        Of the converted fully connected layers, in the net's order.
    windows : dict of str to (height, width)
        Global pooling -> the window in cells that took its place.
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
    windows: dict
    input: tuple
    map: tuple
    patch: tuple
    step: tuple
    reach: tuple


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

    text = read_text(path, errors="surrogateescape")  # comments may be in any encoding
    if "\0" in text:
        raise UserError(f"{path} is not a text file, so no net definition")
    try:
        return text_format.Parse(text, caffe_pb2.NetParameter())
    except text_format.ParseError as error:
        raise UserError(f"{path} is no net definition: {error}") from error


def convert(net, size=(MAP_INPUT, MAP_INPUT), name=FCN_NAME, where="the net") -> Conversion:
    """Make a classifier's definition fully convolutional; weights follow by `build`.

    Parameters
    ----------
    net : NetParameter
        A deploy definition: one blob of images in, fully connected layers or a global pooling towards its end.
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
        The net is no such classifier, has a layer that a map has no meaning for, or the input is smaller than its own.
    """
    if len(net.layers):
        raise UserError(
            f"{where} is of Caffe's first generation (`layers`); Caffe's upgrade_net_proto_text brings it up to date"
        )
    data, channels, patch = _input(net, where)
    if size[0] < patch[0] or size[1] < patch[1]:
        raise UserError(f"{where}: an input of {_size(size)} pixels is smaller than the net's own, {_size(patch)}")
    layers = [layer for layer in net.layer if layer.type != "Input"]
    _check(layers, {data: Field(channels, patch)}, where)
    connected = [layer.name for layer in layers if layer.type == "InnerProduct"]
    if not connected and not any(map(pools_globally, layers)):
        raise UserError(
            f"{where} has no fully connected layer and no global pooling: it is fully convolutional already, so there "
            "is nothing to convert"
        )
    renamed = {layer: layer + SUFFIX for layer in connected}
    if taken := {layer.name for layer in layers} & set(renamed.values()):
        raise UserError(f"{where} has a layer named {min(taken)} already; rename it")

    result = type(net)(name=name)
    result.layer.add(name=data, type="Input", top=[data]).input_param.shape.add(dim=[1, channels, *size])
    blobs, tops, kernels, windows = {data: Field(channels, patch)}, {}, [], {}
    for layer in layers:
        new = result.layer.add()
        new.CopyFrom(layer)
        bottom = blobs[layer.bottom[0]]
        new.bottom[:] = [tops.get(blob, blob) for blob in layer.bottom]
        if layer.type == "InnerProduct":
            outputs = layer.inner_product_param.num_output
            kernels.append(Kernel(renamed[layer.name], outputs, *bottom.size, bottom.channels))
            _to_convolution(new, kernels[-1])
            tops[layer.top[0]] = layer.top[0] + SUFFIX
        elif pools_globally(layer):
            windows[layer.name] = bottom.size
            _to_window(new, bottom.size)
        new.top[:] = [tops.get(blob, blob) for blob in layer.top]
        _run(layer, blobs)

    blobs = {data: Field(channels, tuple(size))}
    for layer in result.layer[1:]:
        end = _run(layer, blobs)
    return Conversion(result, renamed, tuple(kernels), windows, tuple(size), end.size, patch, end.step, end.reach)


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


def describe(conversion) -> str:
    """A sentence or two on the map."""
    rows, patch, step, reach = (_size(getattr(conversion, name)) for name in ("map", "patch", "step", "reach"))
    beyond = f" (padding lets it see up to {reach})" if conversion.reach != conversion.patch else ""
    windows = [f"{layer} pools windows of {_size(size)}. " for layer, size in conversion.windows.items()]
    return (
        f"{''.join(windows)}An input of {_size(conversion.input)} pixels gives a map of {rows}: each cell stands for "
        f"{patch} pixels{beyond}, in steps of {step}."
    )


def _size(numbers):
    return "×".join(map(str, numbers))


def _input(net, where):
    """Name, channels and (height, width) of a definition's one input, in any of the three ways to write it."""
    given = {top: list(layer.input_param.shape) for layer in net.layer if layer.type == "Input" for top in layer.top}
    shapes = {name: tuple(shape[0].dim) for name, shape in given.items() if shape}
    for index, name in enumerate(net.input):
        old = net.input_dim[4 * index : 4 * index + 4]
        shapes[name] = tuple(net.input_shape[index].dim) if index < len(net.input_shape) else tuple(old)
    if len(shapes) != 1 or len(next(iter(shapes.values()))) != 4:
        raise UserError(f"{where} is no deploy net: it must have one input, a blob of images (N×channels×height×width)")
    [(name, (_, channels, height, width))] = shapes.items()
    return name, channels, (height, width)


def _check(layers, blobs, where):
    """Raise a UserError for a layer that has no meaning on a map."""
    blobs = dict(blobs)
    for layer in layers:
        if missing := [bottom for bottom in layer.bottom if bottom not in blobs]:
            raise UserError(f"{where}: no layer before {layer.name} gives its bottom {missing[0]}")
        if problem := _problem(layer, [blobs[bottom] for bottom in layer.bottom]):
            raise UserError(f"{where} cannot be made fully convolutional: layer {layer.name} ({layer.type}) {problem}")
        if min(_run(layer, blobs).size) < 1:
            raise UserError(f"{where}: the window of layer {layer.name} is larger than what it looks at")


def _problem(layer, bottoms):
    """Why a layer of the classifier has no counterpart on a map, or None."""
    if not bottoms:
        return "is no part of a deploy net"
    if layer.type == "InnerProduct":
        param = layer.inner_product_param
        if param.axis != 1:
            return f"has axis {param.axis}; only whole images (axis 1) become places of a map"
        return "has transposed weights" if param.transpose else None
    if pools_globally(layer):
        return None
    if layer.type in WINDOWED:
        moves = window(layer) != ((1, 1), (1, 1), (0, 0))
        return "has a window over what is one cell by then" if moves and bottoms[0].vector else None
    if layer.type == "LRN" and layer.lrn_param.norm_region:
        return "normalises within channels, across the edges of patches"
    if layer.type not in _POINTWISE:
        return "is of no type that is known to treat all places alike"
    param = getattr(layer, f"{layer.type.lower()}_param", None)
    if getattr(param, "axis", 1) != 1 or getattr(param, "num_axes", 1) != 1:
        return "works along another axis than the channels'"
    if len({(bottom.size, bottom.step) for bottom in bottoms}) > 1:
        return "joins blobs of different sizes or steps"
    return None


def _run(layer, blobs):
    """Put a layer's tops into ``blobs`` (name -> Field); returns their Field."""
    top = above(layer, [blobs[bottom] for bottom in layer.bottom])
    blobs.update(dict.fromkeys(layer.top, top))
    return top


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


def _to_window(layer, size):
    """Turn a copy of a global pooling into one over a window of some (height, width) in cells."""
    param = layer.pooling_param
    param.ClearField("global_pooling")
    if size[0] == size[1]:
        param.kernel_size = size[0]
    else:
        param.kernel_h, param.kernel_w = size
