"""Net surgery: a classifier made fully convolutional, so that a larger input gives a map of predictions (Table 1).

Every fully connected layer becomes a convolution whose kernel is as large as its bottom when the net runs at its own
input size, and a global pooling becomes a window of that size; the weights keep their values and order. One pass over
a large image then gives what the classifier gives for each patch of its own input size, except that padding inside the
net changes the edges of the patches.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.networks import definitions
from sentiment.networks.definitions import Field, Pair, pools_globally
from sentiment.paper import CROP, FCN_NAME, MAP_INPUT
from sentiment.utils.errors import UserError

SUFFIX = "-conv"  # added to the names of converted layers and of their tops

# Types of layers that treat every cell alike, so that they compute the same on a map as on a vector.
_POINTWISE = {
    "ReLU", "PReLU", "ELU", "Clip", "Sigmoid", "TanH", "AbsVal", "BNLL", "Exp", "Log", "Power", "Swish", "Threshold",
    "Dropout", "Softmax", "LRN", "BatchNorm", "Scale", "Bias", "Eltwise", "Concat", "Split",
}  # fmt: skip


@dataclass(frozen=True)
class Kernel:
    """A row of the paper's Table 1: a converted layer, the number of its kernels and their shape in cells."""

    layer: str
    number: int
    height: int
    width: int
    depth: int
    stride: int = 1


@dataclass(frozen=True)
class Conversion:
    """A fully convolutional net and how it relates to its classifier; pairs are height, width."""

    net: Any  # NetParameter: a blob of one image in, class probabilities of every cell out
    renamed: dict[str, str]  # fully connected layer -> the convolution that replaces it
    kernels: tuple[Kernel, ...]  # of the converted fully connected layers, in the net's order
    windows: dict[str, Pair]  # global pooling -> the window in cells that replaces it
    input: Pair  # pixels
    map: Pair  # cells
    patch: Pair  # pixels: the classifier's own input size, the part of the image that a cell classifies
    step: Pair  # pixels from one cell's patch to the next one's; the first begins at the image's corner
    reach: Pair  # receptive field of a cell in pixels; larger than patch if the net has padding inside


def convert(net, size: Pair | None = None, where: str = "the net") -> Conversion:
    """Make a classifier's definition (a NetParameter) fully convolutional; `build` adds the weights.

    The classifier has one input of images, and fully connected layers or a global pooling. ``size`` is the height and
    width of the new net's input, in pixels; by default 224 more than the classifier's, as the paper's 451 is for 227. A
    `UserError`, in which ``where`` names the net, says that it is not a classifier of images, that a layer cannot be
    converted, or that the input is smaller than the net's own.
    """
    if len(net.layers):
        raise UserError(
            f"{where} is in Caffe's old format (`layers`); convert it with Caffe's upgrade_net_proto_text first"
        )
    fields = definitions.fields(net, where)
    data, field = next(iter(fields.items()))
    channels, patch = field.channels, field.size
    size = size or (patch[0] + MAP_INPUT - CROP, patch[1] + MAP_INPUT - CROP)
    if size[0] < patch[0] or size[1] < patch[1]:
        raise UserError(f"{where}: an input of {_size(size)} pixels is smaller than the net's own, {_size(patch)}")
    layers = [layer for layer in net.layer if layer.type != "Input"]
    for layer in layers:
        if problem := _problem(layer, [fields[bottom] for bottom in layer.bottom]):
            raise UserError(f"{where} cannot be made fully convolutional: layer {layer.name} ({layer.type}) {problem}")
    connected = [layer.name for layer in layers if layer.type == "InnerProduct"]
    if not connected and not any(map(pools_globally, layers)):
        raise UserError(
            f"{where} has no fully connected layer and no global pooling: it is fully convolutional already, so there "
            "is nothing to convert"
        )
    renamed = {layer: layer + SUFFIX for layer in connected}
    if taken := {layer.name for layer in layers} & set(renamed.values()):
        raise UserError(f"{where} has a layer named {min(taken)} already; rename it")

    result = type(net)(name=FCN_NAME)
    result.layer.add(name=data, type="Input", top=[data]).input_param.shape.add(dim=[1, channels, *size])
    tops, kernels, windows = {}, [], {}
    for layer in layers:
        new = result.layer.add()
        new.CopyFrom(layer)
        bottom = fields[layer.bottom[0]]
        new.bottom[:] = [tops.get(blob, blob) for blob in layer.bottom]
        if layer.type == "InnerProduct":
            kernels.append(_to_convolution(new, bottom))
            tops[layer.top[0]] = layer.top[0] + SUFFIX
        elif pools_globally(layer):
            windows[layer.name] = bottom.size
            new.pooling_param.ClearField("global_pooling")
            _set_kernel(new.pooling_param, bottom.size)
        new.top[:] = [tops.get(blob, blob) for blob in layer.top]
    end = definitions.fields(result, where)[result.layer[-1].top[0]]
    return Conversion(result, renamed, tuple(kernels), windows, tuple(size), end.size, patch, end.step, end.reach)


def _problem(layer, bottoms: list[Field]):
    """Why a layer of the classifier has no counterpart on a map; None if it has one."""
    if not bottoms:
        return "is not part of a deploy net"
    if layer.type == "InnerProduct":
        param = layer.inner_product_param
        if param.axis != 1:
            return f"has axis {param.axis}; only those over entire images (axis 1) can be converted"
        return "has transposed weights" if param.transpose else None
    if pools_globally(layer):
        return None
    if layer.type in definitions.WINDOWED:
        moves = definitions.window(layer) != ((1, 1), (1, 1), (0, 0))
        return "has a window over a single cell" if moves and bottoms[0].vector else None
    if layer.type == "LRN" and layer.lrn_param.norm_region:
        return "normalises within channels, across the edges of patches"
    if layer.type not in _POINTWISE:
        return "is not of a type known to treat all cells alike"
    param = getattr(layer, f"{layer.type.lower()}_param", None)
    if getattr(param, "axis", 1) != 1 or getattr(param, "num_axes", 1) != 1:
        return "works along another axis than the channels'"
    if len({(bottom.size, bottom.step) for bottom in bottoms}) > 1:
        return "joins blobs of different sizes or steps"
    return None


def _to_convolution(layer, bottom: Field) -> Kernel:
    """Turn a copy of an InnerProduct layer into a convolution over all of its bottom."""
    old, new = layer.inner_product_param, layer.convolution_param
    new.num_output = old.num_output
    if not old.bias_term:
        new.bias_term = False
    _set_kernel(new, bottom.size)
    for filler in ("weight_filler", "bias_filler"):
        if old.HasField(filler):
            getattr(new, filler).CopyFrom(getattr(old, filler))
    layer.ClearField("inner_product_param")
    layer.name, layer.type = layer.name + SUFFIX, "Convolution"
    height, width = bottom.size
    return Kernel(layer.name, new.num_output, height, width, bottom.channels)


def _set_kernel(param, size):
    """Write a kernel's (height, width) into a convolution's or pooling's parameters."""
    if size[0] != size[1]:
        param.kernel_h, param.kernel_w = size
    elif param.DESCRIPTOR.name == "ConvolutionParameter":
        param.kernel_size.append(size[0])
    else:
        param.kernel_size = size[0]


def build(caffe, conversion: Conversion, classifier):
    """Build the fully convolutional caffe.Net with the reshaped weights of its classifier, a caffe.Net."""
    with tempfile.TemporaryDirectory() as folder:
        definition = Path(folder) / "deploy_conv.prototxt"
        definition.write_text(str(conversion.net))
        net = caffe.Net(str(definition), caffe.TEST)
    for name, blobs in classifier.params.items():
        for new, old in zip(net.params[conversion.renamed.get(name, name)], blobs, strict=True):
            new.data[...] = old.data.reshape(new.data.shape)
    return net


def describe(conversion: Conversion) -> str:
    """Describe the map in a sentence or two."""
    rows, patch, step, reach = (_size(getattr(conversion, name)) for name in ("map", "patch", "step", "reach"))
    beyond = f" (padding lets it see up to {reach})" if conversion.reach != conversion.patch else ""
    windows = [f"{layer} pools windows of {_size(size)}. " for layer, size in conversion.windows.items()]
    return (
        f"{''.join(windows)}An input of {_size(conversion.input)} pixels gives a map of {rows}: each cell stands for "
        f"{patch} pixels{beyond}, in steps of {step}."
    )


def _size(numbers):
    return "×".join(map(str, numbers))
