"""A Caffe net as an ONNX model, and its weights under PyTorch's names.

Each layer becomes the ONNX operators that compute the same. Where the two round differently (Caffe's pooling rounds up
and averages over its padding), the paddings are worked out from the sizes that the net's blobs have, so only the number
of images stays free.
"""

import tempfile
from pathlib import Path

import numpy as np

from sentiment.networks.definitions import pools_globally, window
from sentiment.utils.errors import UserError

OPSET, IR_VERSION = 17, 8  # of 2022: readers of today know them
TOLERANCE = 1e-4  # of a blob's largest value
BATCH = "N"


class _Unsupported(Exception):
    """Why a layer has no counterpart in ONNX."""


def export(net, where, metadata=None):
    """The ONNX model of a net.

    Parameters
    ----------
    net : caffe.Net
        A deploy net with its weights.
    where : str
        Names it in messages.
    metadata : dict of str to str, optional
        Kept in the model.

    Returns
    -------
    model : onnx.ModelProto
        Inputs and outputs have the blobs' names and shapes, float32, for any number of images.
    tensors : dict of str to str
        Blob -> the tensor that is its counterpart.

    Raises
    ------
    UserError
        A layer has no counterpart here.
    """
    from onnx import TensorProto, checker, helper

    graph, proto = _Graph(net), _definition(net)
    for layer in proto.layer:
        if layer.type == "Input":
            continue
        try:
            graph.add(layer)
        except _Unsupported as reason:
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


def largest_difference(net, model, tensors, images=2) -> float:
    """How far any blob is from Caffe's when onnxruntime runs the model on random images.

    All blobs are compared, since probabilities hide much.

    Parameters
    ----------
    net : caffe.Net
    model, tensors
        As `export` gives them.
    images : int

    Returns
    -------
    float
        As a fraction of the blob's largest value.

    Raises
    ------
    UserError
        More than ``TOLERANCE``.
    """
    import onnxruntime
    from onnx import ModelProto, helper

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


def state_dict(net):
    """Weights and biases by the names and in the shapes that PyTorch's layers have.

    Returns
    -------
    dict of str to ndarray
        ``<layer>.weight`` and ``<layer>.bias``; of a BatchNorm ``<layer>.running_mean`` and ``<layer>.running_var``.
        Fully connected weights are outputs × inputs.
    """
    state = {}
    for layer in _definition(net).layer:
        kinds, blobs = ("weight", "bias"), _blobs(net, layer)
        if layer.type == "BatchNorm":
            kinds, blobs = ("running_mean", "running_var"), _statistics(blobs)
        elif layer.type == "InnerProduct" and layer.inner_product_param.transpose:
            blobs[0] = blobs[0].T
        state.update({f"{layer.name}.{kind}": np.ascontiguousarray(blob) for kind, blob in zip(kinds, blobs)})
    return state


def _definition(net):
    """A net's definition as it runs: in the current format, of the phase TEST, without weights."""
    from caffe.proto import caffe_pb2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.caffemodel"
        net.save(str(path))
        proto = caffe_pb2.NetParameter.FromString(path.read_bytes())
    for layer in proto.layer:
        layer.ClearField("blobs")
    return proto


def _blobs(net, layer):
    return [blob.data.copy() for blob in net.params[layer.name]] if layer.name in net.params else []


class _Graph:
    """An ONNX graph that grows layer by layer."""

    def __init__(self, net):
        self.net = net
        self.nodes, self.constants = [], []
        self.tensors = {name: name for name in net.inputs}  # blob -> the tensor that holds it now
        self._used = {*net.inputs, *net.outputs}
        self._layer = ""

    def add(self, layer):
        """Add a layer's operators behind those of its bottoms."""
        if layer.type not in _LAYERS:
            raise _Unsupported(f"is of none of the types that can be exported ({', '.join(_LAYERS)})")
        self._layer = layer.name
        shapes = [self.net.blobs[blob].data.shape for blob in layer.bottom]
        tensors = _LAYERS[layer.type](self, layer, [self.tensors[blob] for blob in layer.bottom], shapes)
        self.tensors.update(zip(layer.top, tensors if isinstance(tensors, list) else [tensors], strict=True))

    def node(self, operator, *inputs, **attributes):
        """Add an operator; returns its output."""
        from onnx import helper

        output = self._name(self._layer)
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, kind, values):
        """Add an array; returns its name."""
        from onnx import numpy_helper

        name = self._name(f"{self._layer}.{kind}")
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weights(self, layer):
        """Add a layer's weights and bias, where it has one; returns their names."""
        return [self.constant(kind, blob) for kind, blob in zip(("weight", "bias"), _blobs(self.net, layer))]

    def _name(self, wanted):
        name, number = wanted, 1
        while name in self._used:
            name, number = f"{wanted}_{number}", number + 1
        self._used.add(name)
        return name


def _convolution(graph, layer, bottoms, shapes):
    param = layer.convolution_param
    if len(shapes[0]) != 4 or param.axis != 1:
        raise _Unsupported("does not go over images")
    _, stride, pad = window(layer)
    dilation = list(param.dilation) or [1]
    return graph.node(
        "Conv",
        bottoms[0],
        *graph.weights(layer),
        group=param.group,
        strides=stride,
        pads=[*pad, *pad],
        dilations=[dilation[0], dilation[-1]],
    )


def _pooling(graph, layer, bottoms, shapes):
    kinds = {0: "Max", 1: "Average"}  # MAX, AVE
    kind = kinds.get(layer.pooling_param.pool)
    if kind is None:
        raise _Unsupported("draws at random")
    if pools_globally(layer):
        return graph.node(f"Global{kind}Pool", bottoms[0])
    (kernel, stride, pad), data = window(layer), bottoms[0]
    size, cells = shapes[0][2:], graph.net.blobs[layer.top[0]].data.shape[2:]
    if kind == "Average" and any(pad):
        # Caffe counts its padding, but not what a last window reaches beyond it.
        pads = graph.constant("pads", np.array([0, 0, *pad, 0, 0, *pad]))
        data = graph.node("Pad", data, pads)
        size, pad = [s + 2 * p for s, p in zip(size, pad)], (0, 0)
    # What the last window lacks is padding, so rounding down gives Caffe's number of windows.
    lacking = [max(0, (c - 1) * j + k - s - p) for c, j, k, s, p in zip(cells, stride, kernel, size, pad)]
    if any(lacks >= side for lacks, side in zip(lacking, kernel)):
        raise _Unsupported("has a last window that looks at nothing")
    return graph.node(f"{kind}Pool", data, kernel_shape=kernel, strides=stride, pads=[*pad, *lacking])


def _lrn(graph, layer, bottoms, shapes):
    param = layer.lrn_param
    if param.norm_region:
        raise _Unsupported("normalises within channels; only across channels has a counterpart")
    return graph.node("LRN", bottoms[0], size=param.local_size, alpha=param.alpha, beta=param.beta, bias=param.k)


def _inner_product(graph, layer, bottoms, shapes):
    param = layer.inner_product_param
    if param.axis != 1:
        raise _Unsupported(f"has axis {param.axis}; only whole images (axis 1) can be exported")
    flat = graph.node("Flatten", bottoms[0], axis=1) if len(shapes[0]) > 2 else bottoms[0]
    return graph.node("Gemm", flat, *graph.weights(layer), transB=0 if param.transpose else 1)


def _relu(graph, layer, bottoms, shapes):
    slope = layer.relu_param.negative_slope
    return graph.node("LeakyRelu", bottoms[0], alpha=slope) if slope else graph.node("Relu", bottoms[0])


def _same(graph, layer, bottoms, shapes):
    return bottoms * len(layer.top)


def _softmax(graph, layer, bottoms, shapes):
    return graph.node("Softmax", bottoms[0], axis=layer.softmax_param.axis)


def _concat(graph, layer, bottoms, shapes):
    param = layer.concat_param
    return graph.node("Concat", *bottoms, axis=param.concat_dim if param.HasField("concat_dim") else param.axis)


def _flatten(graph, layer, bottoms, shapes):
    param = layer.flatten_param
    if param.axis != 1 or param.end_axis not in (-1, len(shapes[0]) - 1):
        raise _Unsupported("flattens other than all axes of an image")
    return graph.node("Flatten", bottoms[0], axis=1)


def _scale(graph, layer, bottoms, shapes):
    if len(bottoms) != 1:
        raise _Unsupported("multiplies two blobs; only learned factors can be exported")
    blobs = _blobs(graph.net, layer)
    axis = layer.scale_param.axis % len(shapes[0])
    if axis == 0:
        raise _Unsupported("has a factor for each image")
    trailing = [1] * (len(shapes[0]) - axis - blobs[0].ndim)
    tensor = bottoms[0]
    for operator, kind, blob in zip(("Mul", "Add"), ("weight", "bias"), blobs):
        tensor = graph.node(operator, tensor, graph.constant(kind, blob.reshape(*blob.shape, *trailing)))
    return tensor


def _statistics(blobs):
    """Mean and variance from a BatchNorm's three blobs, the last of which both are to be divided by."""
    mean, variance, factor = blobs
    scale = 0 if factor[0] == 0 else 1 / factor[0]
    return mean * scale, variance * scale


def _batch_norm(graph, layer, bottoms, shapes):
    param = layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise _Unsupported("takes the mean of each batch")
    mean, variance = _statistics(_blobs(graph.net, layer))
    values = {"ones": np.ones_like(mean), "zeros": np.zeros_like(mean), "running_mean": mean, "running_var": variance}
    constants = [graph.constant(kind, value) for kind, value in values.items()]
    return graph.node("BatchNormalization", bottoms[0], *constants, epsilon=param.eps)


def _eltwise(graph, layer, bottoms, shapes):
    param = layer.eltwise_param
    operator = {0: "Mul", 1: "Add", 2: "Max"}[param.operation]  # PROD, SUM, MAX
    if operator == "Add" and param.coeff:
        factors = [graph.constant("coeff", np.float32(coeff)) for coeff in param.coeff]
        bottoms = [graph.node("Mul", bottom, factor) for bottom, factor in zip(bottoms, factors, strict=True)]
    tensor = bottoms[0]
    for bottom in bottoms[1:]:
        tensor = graph.node(operator, tensor, bottom)
    return tensor


_LAYERS = {
    "Convolution": _convolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "ReLU": _relu,
    "Dropout": _same,
    "Softmax": _softmax,
    "Concat": _concat,
    "Flatten": _flatten,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Eltwise": _eltwise,
    "Split": _same,
}
