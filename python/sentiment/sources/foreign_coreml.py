"""Read the weights in a Core ML neural network (.mlmodel).

Apple's coremltools reads such files too, but imports much more than is needed here; so what is needed of the file's
messages is described below, with Apple's names and numbers of fields. Other fields are skipped when a file is parsed.
"""

from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sentiment.sources.parameters import Content, Parameters
from sentiment.utils.errors import UserError

_WITHOUT_WEIGHTS = {
    "pooling": 120, "activation": 130, "softmax": 175, "lrn": 180, "padding": 200, "concat": 320, "split": 330,
}  # fmt: skip
_NETWORKS = {"neuralNetworkRegressor": 303, "neuralNetworkClassifier": 403, "neuralNetwork": 500}
_MESSAGES = {  # message -> its fields: number, type (a name of another message, or * before it if repeated)
    "Model": {"description": (2, "Description"), **{name: (number, "Network") for name, number in _NETWORKS.items()}},
    "Description": {"input": (1, "*Feature")},
    "Feature": {"name": (1, "string"), "type": (3, "FeatureType")},
    "FeatureType": {"imageType": (4, "ImageType")},
    "ImageType": {"colorSpace": (3, "uint64")},
    "Network": {"layers": (1, "*Layer"), "preprocessing": (2, "*Preprocessing")},
    "Layer": {
        "name": (1, "string"), "convolution": (100, "Convolution"), "innerProduct": (140, "InnerProduct"),
        "flatten": (301, "Flatten"), **{name: (number, "Other") for name, number in _WITHOUT_WEIGHTS.items()},
    },
    "Convolution": {
        "outputChannels": (1, "uint64"), "kernelChannels": (2, "uint64"), "kernelSize": (20, "*uint64"),
        "isDeconvolution": (60, "bool"), "hasBias": (70, "bool"), "weights": (90, "Weights"), "bias": (91, "Weights"),
    },
    "InnerProduct": {
        "inputChannels": (1, "uint64"), "outputChannels": (2, "uint64"), "hasBias": (10, "bool"),
        "weights": (20, "Weights"), "bias": (21, "Weights"),
    },
    "Weights": {"floatValue": (1, "*float"), "float16Value": (2, "bytes")},
    "Flatten": {"mode": (1, "uint64")},
    "Preprocessing": {"scaler": (10, "Scaler"), "meanImage": (11, "Other")},
    "Scaler": {"channelScale": (10, "float"), "blueBias": (20, "float"), "greenBias": (21, "float"),
               "redBias": (22, "float")},
    "Other": {},
}  # fmt: skip
_COLOURS = {20: "RGB", 30: "BGR"}
_CHANNEL_LAST = 1  # mode of a flatten layer


def message(name: str = "Model"):
    """The class of one of a file's messages; `_MESSAGES` describes them."""
    file = descriptor_pb2.FileDescriptorProto(name="core_ml_weights.proto", package="core_ml", syntax="proto3")
    for of_message, fields in _MESSAGES.items():
        described = file.message_type.add(name=of_message)
        for field, (number, kind) in fields.items():
            label, kind = ("LABEL_REPEATED", kind[1:]) if kind[0] == "*" else ("LABEL_OPTIONAL", kind)
            added = described.field.add(name=field, number=number, label=label)
            if kind in _MESSAGES:
                added.type, added.type_name = added.TYPE_MESSAGE, f".core_ml.{kind}"
            else:
                added.type = added.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"core_ml.{name}")
    if not hasattr(message_factory, "GetMessageClass"):  # an old protobuf, as under a real Caffe
        return message_factory.MessageFactory(pool).GetPrototype(found)  # type: ignore[attr-defined]
    return message_factory.GetMessageClass(found)


def read(path: Path) -> Content:
    """The convolutions and fully connected layers of a Core ML neural network, from its input to its output.

    A `UserError` says that the file is not complete, is quantised, or has another kind of layer.
    """
    from google.protobuf.message import DecodeError

    try:
        model = message().FromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise UserError(f"{path} is not a complete Core ML model ({error}); copy or download it again") from error
    network = next((getattr(model, name) for name in _NETWORKS if model.HasField(name)), None)
    if network is None:
        raise UserError(f"{path} is not a Core ML neural network; ML programs, pipelines and others cannot be read")
    found, channels_last = [], False
    for layer in network.layers:
        if layer.HasField("convolution"):
            found.append(_convolution(path, layer.name, layer.convolution))
        elif layer.HasField("innerProduct"):
            found.append(_inner_product(path, layer.name, layer.innerProduct, channels_last))
            channels_last = False
        elif layer.HasField("flatten"):
            channels_last = layer.flatten.mode == _CHANNEL_LAST
        elif not any(map(layer.HasField, _WITHOUT_WEIGHTS)):
            raise UserError(f"{path}: layer {layer.name} is of a type that none of the architectures has")
    return Content("Core ML", found, list(_notes(model, network)))


def _convolution(path, name, layer):
    if layer.isDeconvolution:
        raise UserError(f"{path}: layer {name} is a deconvolution, which none of the architectures has")
    shape = layer.outputChannels, layer.kernelChannels, *(layer.kernelSize or (3, 3))  # 3×3: Core ML's default
    bias = _array(path, name, layer.bias, (layer.outputChannels,)) if layer.hasBias else None
    return Parameters(name, _array(path, name, layer.weights, shape), bias)


def _inner_product(path, name, layer, channels_last):
    weights = _array(path, name, layer.weights, (layer.outputChannels, layer.inputChannels))
    bias = _array(path, name, layer.bias, (layer.outputChannels,)) if layer.hasBias else None
    return Parameters(name, weights, bias, channels_last)


def _array(path, name, stored, shape):
    """An array of the file; float16 stays float16."""
    if stored.float16Value:
        values = np.frombuffer(stored.float16Value[: len(stored.float16Value) // 2 * 2], "<f2")
    else:
        values = np.fromiter(stored.floatValue, np.float32, len(stored.floatValue))
    needed = "×".join(map(str, shape))
    if not values.size:
        raise UserError(f"{path}: layer {name} has no float weights; a quantised model does not have the exact ones")
    try:
        return values.reshape(shape)
    except ValueError:
        problem = f"layer {name} has {values.size:,} numbers instead of {needed}"
        raise UserError(f"{path} is not complete: {problem}; copy or download it again") from None


def _notes(model, network):
    """What the file says of its input, as a user may need it for MEAN."""
    for feature in model.description.input:
        if colours := _COLOURS.get(feature.type.imageType.colorSpace):
            yield f"its input {feature.name} is an image in {colours}; here weights get BGR, as those of a Caffe net"
    for entry in network.preprocessing:
        if entry.HasField("meanImage"):
            yield "it subtracts a mean image, which is not converted; give the mean by MEAN="
        if entry.HasField("scaler"):
            scaler = entry.scaler
            biases = f"{scaler.blueBias:g}, {scaler.greenBias:g} and {scaler.redBias:g}"
            text = f"it multiplies the input by {scaler.channelScale:g} and adds {biases} to blue, green and red"
            means = [-scaler.blueBias, -scaler.greenBias, -scaler.redBias]
            advice = f"; MEAN={','.join(f'{mean:.9g}' for mean in means)} does so"
            yield text + advice * (scaler.channelScale == 1 and all(0 <= mean <= 255 for mean in means))
