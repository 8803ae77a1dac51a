"""A Caffe net as an ONNX model, and its weights under PyTorch's names.

Each layer becomes the ONNX operators that compute the same. Caffe's pooling rounds sizes up and averages over its
padding, which ONNX does not, so paddings are computed from the sizes of the net's blobs; only the number of images can
vary.
"""

import functools
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from sentiment.networks.definitions import pools_globally, window
from sentiment.utils.errors import UserError

OPSET, IR_VERSION = 17, 8  # both of 2022, so that current programs read them
TOLERANCE = 1e-4  # largest difference allowed, as a fraction of a blob's largest value
BATCH = "N"  # name of the axis of images, which can have any length


def export(net, where: str, metadata: dict[str, str] | None = None) -> tuple[ModelProto, dict[str, str]]:
    """The ONNX model of a caffe.Net, a deploy net with its weights, and for each blob the tensor that equals it.

    Inputs and outputs have the blobs' names and shapes, float32, for any number of images; the model holds the
    metadata. A `UserError`, in which ``where`` names the net, says which layer cannot be exported.
    """
    graph, proto = _Graph(net), _definition(net)
    for layer in proto.layer:
        if layer.type == "Input":
            continue
        try:
            graph.add(layer)
        except UserError as reason:
            raise UserError(f"{where}: layer {layer.name} ({layer.type}) {reason}") from None
    for blob in net.outputs:
        graph.nodes.append(helper.make_node("Identity", [graph.tensors[blob]], [blob], name=f"{blob}_output"))
        graph.tensors[blob] = blob

    def described(blob):
        shape = net.blobs[blob].data.shape
        return helper.make_tensor_value_info(blob, TensorProto.FLOAT, [BATCH, *shape[1:]])

    inputs, outputs = ([described(blob) for blob in blobs] for blobs in (net.inputs, net.outputs))
    model = helper.make_model(
        helper.make_graph(graph.nodes, proto.name or "net", inputs, outputs, initializer=graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pixels-to-sentiment",
    )
    helper.set_model_props(model, metadata or {})
    checker.check_model(model, full_check=True)
    return model, graph.tensors


def largest_difference(net, model: ModelProto, tensors: dict[str, str], images: int = 2) -> float:
    """The largest difference between a blob in onnxruntime and in Caffe, as a fraction of the blob's largest value.

    ``model`` and ``tensors`` are what `export` returns for the caffe.Net. All blobs are compared on random images, as
    probabilities alone can hide differences; a `UserError` names the blob that differs by more than ``TOLERANCE``.
    """
    rng, fed = np.random.default_rng(0), {}
    for name in net.inputs:
        shape = (images, *net.blobs[name].data.shape[1:])
        net.blobs[name].reshape(*shape)
        fed[name] = rng.uniform(-120, 150, shape).astype(np.float32)  # pixels minus mean
    net.reshape()
    net.forward(**fed)

    every = ModelProto()  # the model with every blob as an output
    every.CopyFrom(model)
    names = sorted({*tensors.values()} - {*net.inputs})
    every.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in net.outputs)
    session = onnxruntime.InferenceSession(every.SerializeToString(), providers=["CPUExecutionProvider"])
    found = {**fed, **dict(zip(names, session.run(names, fed), strict=True))}

    def difference(blob):
        expected = net.blobs[blob].data
        largest = max(float(np.abs(expected).max()), np.finfo(np.float32).tiny)
        return float(np.nan_to_num(np.abs(found[tensors[blob]] - expected).max() / largest, nan=np.inf))

    largest, blob = max((difference(blob), blob) for blob in tensors if blob not in net.inputs)
    if largest > TOLERANCE:
        raise UserError(f"the exported net differs from Caffe's: blob {blob} by {largest:.2g} of its largest value")
    return largest


def state_dict(net) -> dict[str, np.ndarray]:
    """Weights and biases with the names and the shapes that they have in PyTorch's layers.

    They are ``<layer>.weight`` and ``<layer>.bias``, and for a BatchNorm ``<layer>.running_mean`` and
    ``<layer>.running_var``. Fully connected weights are outputs × inputs.
    """
    state = {}
    for layer in _definition(net).layer:
        kinds, blobs = ("weight", "bias"), _blobs(net, layer)
        if layer.type == "BatchNorm":
            kinds, blobs = ("running_mean", "running_var"), _statistics(blobs)
        elif layer.type == "InnerProduct" and layer.inner_product_param.transpose:
            blobs[0] = blobs[0].T
        state.update({f"{layer.name}.{kind}": np.array(blob, order="C") for kind, blob in zip(kinds, blobs)})
    return state


def _definition(net):
    """A net's definition in the current format, for the phase TEST, without weights."""
    from caffe.proto import caffe_pb2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.caffemodel"
        net.save(str(path))
        proto = caffe_pb2.NetParameter.FromString(path.read_bytes())
    for layer in proto.layer:
        layer.ClearField("blobs")
    return proto


def _blobs(net, layer):
    return [blob.data for blob in net.params.get(layer.name, [])]


class _Graph:
    """An ONNX graph that grows layer by layer."""

    def __init__(self, net):
        self.net = net
        self.nodes, self.constants = [], []
        self.tensors = {name: name for name in net.inputs}  # blob -> the tensor that holds it now
        self._used = {*net.inputs, *net.outputs}
        self._layer = ""

    def add(self, layer):
        """Add a layer's operators after those of its bottoms; a `UserError` says why it cannot be exported."""
        self._layer = layer.name
        bottoms = [self.tensors[blob] for blob in layer.bottom]
        made = self._operators(layer, bottoms)
        self.tensors.update(zip(layer.top, made) if isinstance(made, tuple) else dict.fromkeys(layer.top, made))

    def _operators(self, layer, bottoms):
        """Add a layer's operators; returns the last one's output, or a tuple with one for each top."""
        bottom = bottoms[0]
        shape = self.net.blobs[layer.bottom[0]].data.shape
        match layer.type:
            case "Dropout" | "Split":
                return bottom
            case "Convolution" | "ConvolutionDepthwise" | "DepthwiseConvolution":
                param = layer.convolution_param
                if len(shape) != 4 or param.axis != 1:
                    raise UserError("does not convolve images")
                _, stride, pad = window(layer)
                dilation = list(param.dilation) or [1]
                attributes = {"strides": stride, "pads": [*pad, *pad], "dilations": [dilation[0], dilation[-1]]}
                return self._node("Conv", bottom, *self._weights(layer), group=param.group, **attributes)
            case "InnerProduct":
                param = layer.inner_product_param
                if param.axis != 1:
                    raise UserError(f"has axis {param.axis}; only entire images (axis 1) can be exported")
                flat = self._node("Flatten", bottom, axis=1) if len(shape) > 2 else bottom
                return self._node("Gemm", flat, *self._weights(layer), transB=0 if param.transpose else 1)
            case "Pooling":
                return self._pooling(layer, bottom, shape)
            case "LRN":
                param = layer.lrn_param
                if param.norm_region:
                    raise UserError("normalises within channels; only across channels can be exported")
                attributes = {"size": param.local_size, "alpha": param.alpha, "beta": param.beta, "bias": param.k}
                return self._node("LRN", bottom, **attributes)
            case "ReLU":
                slope = layer.relu_param.negative_slope
                return self._node("LeakyRelu", bottom, alpha=slope) if slope else self._node("Relu", bottom)
            case "Clip":
                param = layer.clip_param
                limits = [self._constant(kind, np.float32(getattr(param, kind))) for kind in ("min", "max")]
                return self._node("Clip", bottom, *limits)
            case "Swish":
                scaled = self._node("Mul", bottom, self._constant("beta", np.float32(layer.swish_param.beta)))
                return self._node("Mul", bottom, self._node("Sigmoid", scaled))
            case "Threshold":
                above = self._node("Greater", bottom, self._constant("t", np.float32(layer.threshold_param.threshold)))
                return self._node("Cast", above, to=TensorProto.FLOAT)
            case "Tile":
                repeats = np.ones(len(shape), np.int64)
                repeats[layer.tile_param.axis] = layer.tile_param.tiles
                if repeats[0] != 1:
                    raise UserError("repeats images")
                return self._node("Tile", bottom, self._constant("repeats", repeats))
            case "Softmax":
                return self._node("Softmax", bottom, axis=layer.softmax_param.axis)
            case "Concat":
                param = layer.concat_param
                axis = param.concat_dim if param.HasField("concat_dim") else param.axis
                return self._node("Concat", *bottoms, axis=axis)
            case "Flatten":
                param = layer.flatten_param
                if param.axis != 1 or param.end_axis not in (-1, len(shape) - 1):
                    raise UserError("does not flatten all axes of an image")
                return self._node("Flatten", bottom, axis=1)
            case "BatchNorm":
                param = layer.batch_norm_param
                if param.HasField("use_global_stats") and not param.use_global_stats:
                    raise UserError("uses the mean of each batch, not the stored one")
                mean, variance = _statistics(_blobs(self.net, layer))
                values = {"ones": np.ones_like(mean), "zeros": np.zeros_like(mean)}
                values |= {"running_mean": mean, "running_var": variance}
                constants = [self._constant(kind, value) for kind, value in values.items()]
                return self._node("BatchNormalization", bottom, *constants, epsilon=param.eps)
            case "Scale":
                axis = layer.scale_param.axis % len(shape)
                if len(bottoms) != 1:
                    raise UserError("multiplies two blobs; only learned factors can be exported")
                if axis == 0:
                    raise UserError("has a factor for each image")
                for operator, kind, blob in zip(("Mul", "Add"), ("weight", "bias"), _blobs(self.net, layer)):
                    trailing = [1] * (len(shape) - axis - blob.ndim)
                    bottom = self._node(operator, bottom, self._constant(kind, blob.reshape(*blob.shape, *trailing)))
                return bottom
            case "Eltwise":
                param = layer.eltwise_param
                operator = {0: "Mul", 1: "Add", 2: "Max"}[param.operation]  # PROD, SUM, MAX
                if operator == "Add" and param.coeff:
                    factors = [self._constant("coeff", np.float32(coeff)) for coeff in param.coeff]
                    bottoms = [self._node("Mul", *pair) for pair in zip(bottoms, factors, strict=True)]
                return functools.reduce(functools.partial(self._node, operator), bottoms)
        return self._operators_of_forks(layer, bottoms, shape)

    def _operators_of_forks(self, layer, bottoms, shape):
        """The same for the layers of forks of Caffe."""
        bottom = bottoms[0]
        match layer.type:
            case "Permute":
                order = list(layer.permute_param.order)
                order += [axis for axis in range(len(shape)) if axis not in order]
                if order[0] != 0:
                    raise UserError("moves the axis of images")
                return self._node("Transpose", bottom, perm=order)
            case "Squeeze":
                axes = [axis % len(shape) for axis in layer.squeeze_param.axis]
                axes = axes or [axis for axis, size in enumerate(shape) if size == 1]
                if 0 in axes:
                    raise UserError("removes the axis of images")
                return self._node("Squeeze", bottom, self._constant("axes", np.array(axes, np.int64)))
            case "Normalize":
                param = layer.norm_param
                over = np.array(range(1, len(shape)) if param.across_spatial else [1], np.int64)
                total = self._node("ReduceSum", self._node("Mul", bottom, bottom), self._constant("axes", over))
                total = self._node("Add", total, self._constant("eps", np.float32(param.eps)))
                scale = _blobs(self.net, layer)[0].reshape(-1, *[1] * (len(shape) - 2))
                normal = self._node("Div", bottom, self._node("Sqrt", total))
                return self._node("Mul", normal, self._constant("scale", scale))
            case "PriorBox":  # depends on nothing but the sizes
                self.net.forward(start=layer.name, end=layer.name)
                return self._constant("boxes", self.net.blobs[layer.top[0]].data)
            case "BN":
                blobs = [blob.reshape(-1) for blob in _blobs(self.net, layer)]
                if len(blobs) == 4:  # PSPNet's
                    constants = [self._constant(*pair) for pair in zip(("slope", "bias", "mean", "variance"), blobs)]
                    return self._node("BatchNormalization", bottom, *constants, epsilon=layer.bn_param.eps)
                if not layer.bn_param.bn_mode:  # LEARN
                    raise UserError("uses the mean of each batch; write bn_mode: INFERENCE")
                scale, shift = (self._constant("blob", blob.reshape(-1, 1, 1)) for blob in blobs)
                return self._node("Add", self._node("Mul", bottom, scale), shift)
            case "Interp":
                param, size = layer.interp_param, self.net.blobs[layer.top[0]].data.shape[2:]
                ends = [n + param.pad_end for n in shape[2:]]
                limits = [("starts", [-param.pad_beg] * 2), ("ends", ends), ("axes", [2, 3])]
                cropped = self._node("Slice", bottom, *(self._constant(k, np.array(v, np.int64)) for k, v in limits))
                attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
                return self._node("Resize", cropped, "", "", self._shape(bottom, *size), **attributes)
            case "Upsample":
                size = self.net.blobs[layer.top[0]].data.shape[2:]
                flat = [self._reshape(tensor, 0, 0, -1) for tensor in bottoms]
                empty = self._node("ConstantOfShape", self._shape(bottom, size[0] * size[1]))
                places = self._node("Cast", flat[1], to=TensorProto.INT64)
                return self._reshape(self._node("ScatterElements", empty, places, flat[0], axis=2), 0, 0, *size)
            case "ShuffleChannel":
                parted = self._reshape(bottom, 0, layer.shuffle_channel_param.group, -1, *shape[2:])
                order = [0, 2, 1, *range(3, len(shape) + 1)]
                return self._reshape(self._node("Transpose", parted, perm=order), 0, *shape[1:])
            case "Axpy":
                rank = len(self.net.blobs[layer.bottom[1]].data.shape)
                factor = self._reshape(bottom, 0, shape[1], *[1] * (rank - 2))
                return self._node("Add", self._node("Mul", factor, bottoms[1]), bottoms[2])
        raise UserError("is of a type that cannot be exported")

    def _reshape(self, bottom, *shape):
        """Reshape a tensor; 0 copies a dimension."""
        return self._node("Reshape", bottom, self._constant("shape", np.array(shape, np.int64)))

    def _shape(self, bottom, *trailing):
        """The first two dimensions of a tensor, then these, as a tensor."""
        first = self._node("Shape", bottom, start=0, end=2)
        return self._node("Concat", first, self._constant("size", np.array(trailing, np.int64)), axis=0)

    def _pooling(self, layer, bottom, shape):
        kind = {0: "Max", 1: "Average"}.get(layer.pooling_param.pool)  # MAX, AVE
        if kind is None:
            raise UserError("pools stochastically")
        if pools_globally(layer):
            return self._node(f"Global{kind}Pool", bottom)
        kernel, stride, pad = window(layer)
        size, cells = shape[2:], self.net.blobs[layer.top[0]].data.shape[2:]
        if kind == "Average" and any(pad):
            # Caffe averages over its padding, but not over what the last window covers beyond it.
            pads = self._constant("pads", np.array([0, 0, *pad, 0, 0, *pad]))
            bottom = self._node("Pad", bottom, pads)
            size, pad = [s + 2 * p for s, p in zip(size, pad)], (0, 0)
        # Padding completes the last window, so that rounding down gives Caffe's number of windows.
        lacking = [max(0, (c - 1) * j + k - s - p) for c, j, k, s, p in zip(cells, stride, kernel, size, pad)]
        if any(lacks >= side for lacks, side in zip(lacking, kernel)):
            raise UserError("has a last window that lies outside its bottom")
        window_attributes = {"kernel_shape": kernel, "strides": stride, "pads": [*pad, *lacking]}
        pooled = self._node(f"{kind}Pool", bottom, **window_attributes)
        if len(layer.top) == 1:
            return pooled
        places = self._name(f"{layer.name}.places")  # counted over all images and channels; Caffe's mask is over a map
        self.nodes[-1].output.append(places)
        channel = self._constant("map", np.array(shape[2] * shape[3], np.int64))
        return pooled, self._node("Cast", self._node("Mod", places, channel), to=TensorProto.FLOAT)

    def _node(self, operator, *inputs, **attributes):
        """Add an operator; returns its output."""
        output = self._name(self._layer)
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def _weights(self, layer):
        """Add a layer's weights and, if it has one, its bias; returns their names."""
        return [self._constant(kind, blob) for kind, blob in zip(("weight", "bias"), _blobs(self.net, layer))]

    def _constant(self, kind, values):
        """Add an array; returns its name."""
        name = self._name(f"{self._layer}.{kind}")
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _name(self, wanted):
        name, number = wanted, 1
        while name in self._used:
            name, number = f"{wanted}_{number}", number + 1
        self._used.add(name)
        return name


def _statistics(blobs):
    """Mean and variance of a BatchNorm: the first two of its blobs, divided by the third."""
    mean, variance, factor = blobs
    scale = 0 if factor[0] == 0 else 1 / factor[0]
    return mean * scale, variance * scale
