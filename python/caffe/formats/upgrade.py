"""Definitions of older generations in today's terms (upgrade_proto.cpp).

What Caffe ignores with a log line is logged and ignored here too. What Caffe ignores silently is refused, except for
superfluous input shapes.
"""

from ..errors import CaffeError
from ..proto import caffe_pb2
from ..runtime.glog import log, warn

_V1 = caffe_pb2.V1LayerParameter

# V0 type -> current type
V0_TYPES = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}

# V1 type (a number of its enum) -> current type
V1_TYPES = {
    _V1.NONE: "",
    _V1.ABSVAL: "AbsVal",
    _V1.ACCURACY: "Accuracy",
    _V1.ARGMAX: "ArgMax",
    _V1.BNLL: "BNLL",
    _V1.CONCAT: "Concat",
    _V1.CONTRASTIVE_LOSS: "ContrastiveLoss",
    _V1.CONVOLUTION: "Convolution",
    _V1.DATA: "Data",
    _V1.DECONVOLUTION: "Deconvolution",
    _V1.DROPOUT: "Dropout",
    _V1.DUMMY_DATA: "DummyData",
    _V1.ELTWISE: "Eltwise",
    _V1.EUCLIDEAN_LOSS: "EuclideanLoss",
    _V1.EXP: "Exp",
    _V1.FLATTEN: "Flatten",
    _V1.HDF5_DATA: "HDF5Data",
    _V1.HDF5_OUTPUT: "HDF5Output",
    _V1.HINGE_LOSS: "HingeLoss",
    _V1.IM2COL: "Im2col",
    _V1.IMAGE_DATA: "ImageData",
    _V1.INFOGAIN_LOSS: "InfogainLoss",
    _V1.INNER_PRODUCT: "InnerProduct",
    _V1.LRN: "LRN",
    _V1.MEMORY_DATA: "MemoryData",
    _V1.MULTINOMIAL_LOGISTIC_LOSS: "MultinomialLogisticLoss",
    _V1.MVN: "MVN",
    _V1.POOLING: "Pooling",
    _V1.POWER: "Power",
    _V1.RELU: "ReLU",
    _V1.SIGMOID: "Sigmoid",
    _V1.SIGMOID_CROSS_ENTROPY_LOSS: "SigmoidCrossEntropyLoss",
    _V1.SILENCE: "Silence",
    _V1.SLICE: "Slice",
    _V1.SOFTMAX: "Softmax",
    _V1.SOFTMAX_LOSS: "SoftmaxWithLoss",
    _V1.SPLIT: "Split",
    _V1.TANH: "TanH",
    _V1.THRESHOLD: "Threshold",
    _V1.WINDOW_DATA: "WindowData",
}

SOLVER_TYPES = {
    caffe_pb2.SolverParameter.SGD: "SGD",
    caffe_pb2.SolverParameter.NESTEROV: "Nesterov",
    caffe_pb2.SolverParameter.ADAGRAD: "AdaGrad",
    caffe_pb2.SolverParameter.RMSPROP: "RMSProp",
    caffe_pb2.SolverParameter.ADADELTA: "AdaDelta",
    caffe_pb2.SolverParameter.ADAM: "Adam",
}

# V0 type -> the message that holds its parameters now
_V0_PARAMS = {
    "concat": "concat_param",
    "conv": "convolution_param",
    "data": "data_param",
    "dropout": "dropout_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "infogain_loss": "infogain_loss_param",
    "innerproduct": "inner_product_param",
    "lrn": "lrn_param",
    "pool": "pooling_param",
    "window_data": "window_data_param",
}

# V0 field -> its name in that message, and the types that may have it
_V0_FIELDS = {
    "num_output": ("num_output", ("conv", "innerproduct")),
    "biasterm": ("bias_term", ("conv", "innerproduct")),
    "weight_filler": ("weight_filler", ("conv", "innerproduct")),
    "bias_filler": ("bias_filler", ("conv", "innerproduct")),
    "pad": ("pad", ("conv", "pool")),
    "kernelsize": ("kernel_size", ("conv", "pool")),
    "stride": ("stride", ("conv", "pool")),
    "group": ("group", ("conv",)),
    "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)),
    "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)),
    "k": ("k", ("lrn",)),
    "source": ("source", ("data", "hdf5_data", "images", "window_data", "infogain_loss")),
    "batchsize": ("batch_size", ("data", "hdf5_data", "images", "window_data")),
    "rand_skip": ("rand_skip", ("data", "images")),
    "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)),
    "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", ("window_data",)),
    "det_bg_threshold": ("bg_threshold", ("window_data",)),
    "det_fg_fraction": ("fg_fraction", ("window_data",)),
    "det_context_pad": ("context_pad", ("window_data",)),
    "det_crop_mode": ("crop_mode", ("window_data",)),
}
_V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}

# type -> the parameters that contained the transformation's fields in older generations
DATA_PARAMS = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")


# what was upgraded -> Caffe's log lines about it: their places in upgrade_proto.cpp and their texts
_NOTES = {
    "V0": (28, "V0LayerParameter", 36, "file specified using deprecated V0LayerParameter", 39,
           "not support V0NetParameter; use ./build/tools/upgrade_net_proto_text for prototxt and "
           "./build/tools/upgrade_net_proto_binary for model weights upgrade this and any other net protos to the new "
           "format."),
    "data": (46, "transformation parameters", 49, "file specified using deprecated data transformation parameters.", 51,
             "only support transform_param messages for transformation fields."),
    "V1": (55, "V1LayerParameter", 63, "file specified using deprecated V1LayerParameter", 0, ""),
    "input": (69, "input fields", 72, "file specified using deprecated input fields.", 74,
              "only support input layers and not input fields."),
    "BatchNorm": (79, "params", 82, "batch norm layers using deprecated params.", 0, ""),
}  # fmt: skip


def note_upgrades(kinds, where, problems=()):
    """Log, as Caffe does, that ``where`` was upgraded, for each of ``kinds``.

    V0: layers inside layers, data: transformation fields outside transform_param, V1: ``layers``, input: ``input``
    fields, BatchNorm: three ``param`` in a BatchNorm. ``problems`` are messages on V0 fields that were left out.
    """
    for kind, (begin, what, end, done, future, promise) in _NOTES.items():
        if kind in kinds:
            file = "batch norm layers using" if kind == "BatchNorm" else "input file specified using"
            log(f"upgrade_proto.cpp:{begin}", f"Attempting to upgrade {file} deprecated {what}: {where}")
            if kind == "V0" and problems:
                for problem in problems:
                    log("upgrade_proto.cpp:662", problem, 2)
                summary = "Warning: had one or more problems upgrading V0NetParameter to NetParameter (see above)"
                log("upgrade_proto.cpp:33", f"{summary}; continuing anyway.", 2)
            else:
                log(f"upgrade_proto.cpp:{end}", f"Successfully upgraded {done}")
            if promise:
                warn(f"upgrade_proto.cpp:{future}", f"Note that future Caffe releases will {promise}")


def generations(net):
    """The old forms in a NetParameter, which `upgrade_net` would change: V0, V1, data, input, BatchNorm."""
    kinds = {"V1"} if net.layers else set()
    if any(layer.HasField("layer") for layer in net.layers):
        kinds.add("V0")
    elif any(_old_transform(layer, DATA_PARAMS.get(V1_TYPES.get(layer.type, ""))) for layer in net.layers):
        kinds.add("data")
    if net.input:
        kinds.add("input")
    if any(layer.type == "BatchNorm" and len(layer.param) == 3 for layer in net.layer):
        kinds.add("BatchNorm")
    return kinds


def _old_transform(layer, param):
    return param and [name for name in TRANSFORM_FIELDS if getattr(layer, param).HasField(name)]


def upgrade_net(net, where):
    """Bring a NetParameter of any generation to the current one, in place.

    ``layers`` entries (V0 and V1) become ``layer`` entries, V0 ``padding`` layers the padding of what follows them,
    and ``input`` fields with shapes an Input layer named ``input`` in front; without any they are dropped. A BatchNorm
    with three ``param`` gets their multipliers set to 0.

    Parameters
    ----------
    net : NetParameter
    where : str
        Path or description for messages.

    Returns
    -------
    list of str
        What could not be upgraded and is left out; it is logged too.

    Raises
    ------
    CaffeError
        For mixed generations, unknown V0 types, too few shapes for the inputs, and transformation fields inside the
        data parameters of a current ``layer``, which Caffe would ignore silently.
    """
    kinds = generations(net)
    problems: list[str] = []
    if net.layers:
        if net.layer:
            raise CaffeError(f"{where}: it has both 'layer' and old 'layers' entries; write all of them as 'layer'.")
        is_v0 = any(layer.HasField("layer") for layer in net.layers)
        upgraded = _upgrade_v0(net, where, problems.append) if is_v0 else [_upgrade_v1(layer) for layer in net.layers]
        net.ClearField("layers")
        net.layer.extend(upgraded)
    for layer in net.layer:
        _refuse_old_transform(layer, where)
    if net.input:
        _upgrade_input(net, where)
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    note_upgrades(kinds, where, problems)
    return problems


def upgrade_solver(solver, where):
    """Turn the enum ``solver_type`` of a SolverParameter into ``type``, in place; CaffeError where both are given."""
    if not solver.HasField("solver_type"):
        return
    if solver.HasField("type"):
        raise CaffeError(f"{where}: solver_type and type cannot both be given; remove solver_type.")
    solver.type = SOLVER_TYPES[solver.solver_type]
    solver.ClearField("solver_type")
    log(
        "upgrade_proto.cpp:1084",
        f"Attempting to upgrade input file specified using deprecated 'solver_type' field (enum)': {where}",
    )
    log(
        "upgrade_proto.cpp:1091",
        "Successfully upgraded file specified using deprecated 'solver_type' field (enum) to 'type' field (string).",
    )
    warn(
        "upgrade_proto.cpp:1093",
        "Note that future Caffe releases will only support 'type' field (string) for a solver's type.",
    )


def _put(message, name, value):
    """Set a field of any kind; a repeated one is extended by a value or by several."""
    field = getattr(message, name)
    if hasattr(field, "extend"):
        field.extend(value if hasattr(value, "extend") else [value])
    elif hasattr(field, "CopyFrom"):
        field.CopyFrom(value)
    else:
        setattr(message, name, value)


def _upgrade_v0(net, where, report):
    """The layers of a V0 net in the current form; ``report`` is called with a message on each field left out."""
    upgraded = []
    producer = dict.fromkeys(net.input)  # blob -> the last V0 entry that produced it, None for an input
    for entry in net.layers:
        name = entry.layer.name
        for descriptor, _ in entry.ListFields():
            if descriptor.name not in ("layer", "bottom", "top"):
                raise CaffeError(
                    f"{where}: layer '{name}' mixes V0 and V1; move {descriptor.name} into its inner 'layer', or write "
                    "all layers in the current form."
                )
        bottoms, pad = list(entry.bottom), None
        for i, blob in enumerate(entry.bottom):
            if blob not in producer:
                raise CaffeError(
                    f"{where}: Unknown blob input {blob} to layer {name}; give an earlier layer this top, or "
                    "correct the name."
                )
            source = producer[blob]
            if source is not None and source.layer.type == "padding":
                if entry.layer.type not in ("conv", "pool"):
                    raise CaffeError(
                        f"{where}: Padding layer input to non-convolutional / non-pooling layer type "
                        f"{entry.layer.type} (layer '{name}'); remove the padding layer."
                    )
                if not len(entry.bottom) == len(source.bottom) == len(source.top) == 1:
                    raise CaffeError(
                        f"{where}: padding layer '{source.layer.name}' and layer '{name}' above it must take a single "
                        "blob, and the padding layer produce one; write pad in the layer instead."
                    )
                bottoms[i], pad = source.bottom[0], source.layer.pad
        if entry.layer.type != "padding":
            upgraded.append(_upgrade_v0_layer(entry, bottoms, pad, where, report))
        producer.update(dict.fromkeys(entry.top, entry))
    return upgraded


def _upgrade_v0_layer(entry, bottoms, pad, where, report):
    v0 = caffe_pb2.V0LayerParameter()
    v0.CopyFrom(entry.layer)
    if pad is not None:
        v0.pad = pad
    layer = caffe_pb2.LayerParameter(bottom=bottoms, top=entry.top)
    for descriptor, value in v0.ListFields():
        name = descriptor.name
        if name == "name":
            layer.name = value
        elif name == "type":
            if value not in V0_TYPES:
                raise CaffeError(
                    f"{where}: Unknown layer name: {value}, the type of layer '{v0.name}'; the types of V0 are "
                    f"{', '.join(V0_TYPES)}."
                )
            layer.type = V0_TYPES[value]
        elif name == "blobs":
            layer.blobs.extend(value)
        elif name in ("blobs_lr", "weight_decay"):
            _set_param(layer, {"blobs_lr": "lr_mult", "weight_decay": "decay_mult"}[name], value)
        elif name in _V0_TRANSFORM:
            setattr(layer.transform_param, _V0_TRANSFORM[name], value)
        elif name == "hdf5_output_param" and v0.type == "hdf5_output":
            layer.hdf5_output_param.CopyFrom(value)
        elif v0.type in _V0_FIELDS.get(name, ("", ()))[1]:
            _put(getattr(layer, _V0_PARAMS[v0.type]), _V0_FIELDS[name][0], value)
        else:
            report(f"Unknown parameter {name} for layer type {v0.type} (layer '{v0.name}' of {where})")
    return layer


def _upgrade_v1(v1):
    """One V1 layer in the current form."""
    layer = caffe_pb2.LayerParameter()
    specs = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}
    for descriptor, value in v1.ListFields():
        name = descriptor.name
        if name == "type":
            layer.type = V1_TYPES[value]
        elif name in specs:
            _set_param(layer, specs[name], value)
        else:
            _put(layer, name, value)
    data = DATA_PARAMS.get(layer.type)
    if data:
        for name in TRANSFORM_FIELDS:
            if getattr(layer, data).HasField(name):
                setattr(layer.transform_param, name, getattr(getattr(layer, data), name))
                getattr(layer, data).ClearField(name)
    return layer


def _set_param(layer, field, values):
    """Distribute a list with a value for each blob of a layer, as in V0 and V1, over the layer's ``param`` messages."""
    for i, value in enumerate(values):
        if len(layer.param) <= i:
            layer.param.add()
        setattr(layer.param[i], field, value)


def _refuse_old_transform(layer, where):
    for param in DATA_PARAMS.values():
        if not layer.HasField(param):
            continue
        for name in TRANSFORM_FIELDS:
            if getattr(layer, param).HasField(name) and (param, name) != ("window_data_param", "scale"):
                raise CaffeError(
                    f"{where}: layer '{layer.name}' has {name} in {param}, where Caffe ignores it; move it to "
                    "transform_param."
                )


def _upgrade_input(net, where):
    names, shapes, dims = list(net.input), list(net.input_shape), list(net.input_dim)
    if shapes and len(shapes) < len(names):
        raise CaffeError(f"{where}: {len(shapes)} input_shape for {len(names)} input; give one for each.")
    if dims and not shapes:
        if len(dims) < 4 * len(names):
            raise CaffeError(
                f"{where}: {len(dims)} input_dim for {len(names)} input; give four for each: number, "
                "channels, height, width."
            )
        shapes = [caffe_pb2.BlobShape(dim=dims[i : i + 4]) for i in range(0, len(dims), 4)]
    if shapes:
        layer = caffe_pb2.LayerParameter(name="input", type="Input", top=names)
        layer.input_param.shape.extend(shapes[: len(names)])
        net.layer.insert(0, layer)
    else:
        warn("upgrade_proto.cpp:999", f"{where}: input {', '.join(names)} has no input_shape and is dropped")
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
