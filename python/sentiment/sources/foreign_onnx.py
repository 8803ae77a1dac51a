"""Read the weights in an ONNX model, by following its graph; needs the package onnx."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from sentiment.sources.parameters import Content, Parameters
from sentiment.utils.errors import UserError

# Operators between layers, without weights; what they compute is not compared with the architecture's definition.
_BETWEEN = {
    *("Relu", "LRN", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Pad", "Concat", "Dropout"),
    *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Softmax", "LogSoftmax"),
}
_FOLDED = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"}
"""Operators that may stand between stored weights and their layer."""
_QUANTISED = re.compile("[Qq]uantize|QLinear|Integer")
_KIND = re.compile(r"(_w(_0)?|[._/]weights?|/kernel)(:0)?$")  # the end of a name of weights, after the layer's


def read(path: Path) -> Content:
    """The convolutions and fully connected layers of an ONNX model, in the order of its graph.

    A `UserError` says that the file is not a complete ONNX model, is quantised, or computes something that none of the
    architectures does.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(f"reading {path} needs the package onnx; `pip install onnx` in .venv") from error
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    except (DecodeError, LookupError, ValueError, TypeError, OSError, onnx.checker.ValidationError) as error:
        raise UserError(f"{path} is not a complete ONNX model ({error}); copy or download it again") from error
    walk = _Walk(constants)
    for node in model.graph.node:
        where = f"{path}: operator {node.op_type} ({node.name or ', '.join(map(str, node.output))})"
        try:
            walk.add(node)
        except UserError as reason:
            raise UserError(f"{where} {reason}") from None
        except Exception as error:  # what is raised for a damaged operator can be of any type
            raise UserError(f"{where} is damaged ({error!r}); copy or download the file again") from error
    return Content("ONNX", walk.layers)


class _Walk:
    """The layers of a graph so far; its operators are added in their order, each after those it depends on."""

    def __init__(self, constants: dict[str, np.ndarray]):
        self.layers: list[Parameters] = []
        self._constants = constants
        self._names = {name: name for name in constants}  # constant -> the stored one that it is made from
        self._sizes: set[str] = set()  # tensors made from shapes of others, or from constants: no images
        self._channels_last: set[str] = set()  # tensors with the order of axes N, height, width, channels
        self._without_bias: dict[str, int] = {}  # output of a layer without a bias -> its index

    def add(self, node):
        """Add an operator; a `UserError` says why it cannot be part of one of the architectures."""
        from onnx import helper

        op, output, inputs = node.op_type, node.output[0], [name for name in node.input if name]
        if _QUANTISED.search(op):
            raise UserError("is of a quantised model, whose weights are rounded; take the file with float32 weights")
        if node.domain not in ("", "ai.onnx"):
            raise UserError(f"is of the domain {node.domain}; only ONNX's own operators can be read")
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        varying = [name for name in inputs if name not in self._constants]
        if op == "Constant":
            self._constants[output] = _value(attributes)
        elif not varying and op in _FOLDED:
            self._fold(node, inputs)
        elif op in ("Conv", "Gemm", "MatMul"):
            self._layer(op, attributes, inputs, output)
        elif op == "Shape" or self._sizes.issuperset(varying):
            self._sizes.update(node.output)
        elif op == "Add" and len(varying) == 1 and varying[0] in self._without_bias:
            (bias,) = (name for name in inputs if name in self._constants)
            self._add_bias(self._without_bias.pop(varying[0]), self._constants[bias])
        elif op == "Transpose":
            axes = tuple(attributes.get("perm", ()))
            if axes not in ((0, 2, 3, 1), (0, 3, 1, 2)):
                raise UserError(f"puts the axes in the order {axes}, which none of the architectures does")
            if axes == (0, 2, 3, 1):
                self._channels_last.add(output)
        elif op in _BETWEEN or self._is_part_of_lrn(op, inputs, varying):
            if varying[0] in self._channels_last:
                self._channels_last.add(output)
        else:
            raise UserError("is not part of any of the architectures")

    def _is_part_of_lrn(self, op, inputs, varying):
        """Whether an operator may be part of a normalisation that PyTorch writes as x / (1 + factor · mean of x²)^0.75.

        Before the first layer it is a change of the input, and with an array, learned factors or terms.
        """
        scalars = all(self._constants[name].size == 1 for name in inputs if name not in varying)
        return bool(self.layers) and scalars and (op in ("Mul", "Pow", "Div") or (op == "Add" and len(varying) == 1))

    def _fold(self, node, inputs):
        """Compute a constant from others."""
        from onnx.reference import ReferenceEvaluator

        values = {name: self._constants[name] for name in inputs}
        folded = ReferenceEvaluator(node).run(None, values)
        self._constants[node.output[0]] = folded[0]  # type: ignore[index] # a list, since no names are given
        if inputs[0] in self._names:
            self._names[node.output[0]] = self._names[inputs[0]]

    def _layer(self, op, attributes, inputs, output):
        bottom, of_weights, *of_bias = inputs
        if bottom in self._constants or any(name not in self._constants for name in (of_weights, *of_bias)):
            raise UserError("multiplies by what is computed, not by stored weights")
        weights = self._constants[of_weights]
        if op != "Conv":
            if weights.ndim != 2 or attributes.get("transA"):
                raise UserError("is not a fully connected layer")
            if not attributes.get("transB"):
                weights = weights.T
            if attributes.get("alpha", 1) != 1:
                weights = weights * np.float32(attributes["alpha"])
        name = _KIND.sub("", self._names.get(of_weights, ""))
        channels_last = op != "Conv" and bottom in self._channels_last
        self.layers.append(Parameters(name, weights, channels_last=channels_last))
        if not of_bias:
            self._without_bias[output] = len(self.layers) - 1
        elif op == "Conv":
            self.layers[-1] = replace(self.layers[-1], bias=self._constants[of_bias[0]])
        else:
            beta = np.float32(attributes.get("beta", 1))
            self._add_bias(len(self.layers) - 1, self._constants[of_bias[0]], beta)

    def _add_bias(self, index, bias, factor=1):
        """Give a layer its bias, an array that is added with broadcasting to N×outputs or N×outputs×height×width."""
        weights = self.layers[index].weights
        shape = (1, len(weights), *[1] * (weights.ndim - 2))
        try:
            values = np.broadcast_to(bias, shape).ravel()
        except ValueError:
            raise UserError(f"adds an array of shape {bias.shape}, not one number to each channel") from None
        self.layers[index] = replace(self.layers[index], bias=values if factor == 1 else values * factor)


def _value(attributes):
    """The array of a Constant."""
    from onnx import numpy_helper

    if "value" in attributes:
        return numpy_helper.to_array(attributes["value"])
    return np.array(next(iter(attributes.values())))
