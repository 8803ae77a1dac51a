"""The paper's networks as Caffe definitions: the CaffeNet template (§3.1), its layer ablations
(§3.3), SqueezeNet and GoogLeNet.

Every architecture comes in two forms: ``train_val`` reads the fold's lists and ends in a loss, ``deploy`` reads a blob
and ends in probabilities. Layers loaded from a source have no filler, since its values would be overwritten; the new
layer always has one, and with ``scratch=True`` every layer has one.

An architecture is a record in ``ARCHITECTURES``, which names a function of `templates`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sentiment import names, paper
from sentiment.networks.choices import Choices
from sentiment.networks.definitions import weight_shapes
from sentiment.utils.errors import UserError

DEFAULT_INIT = "caffenet"
"""The source assumed where none is given; the committed definitions of ``ON_LAST_LAYER`` keep its last layer."""
SCRATCH = "scratch"
"""The INIT of a net that starts from random weights."""


@dataclass(frozen=True)
class LastLayer:
    """A source's own last layer: its name and number of classes; `weights_files.last_layer` finds it."""

    name: str
    outputs: int


@dataclass(frozen=True)
class ImageLists:
    """The lists of images that a training definition reads, and how it reads them."""

    train: str  # path of the list for training, with one line `image label` each
    test: str  # path of the list for testing
    images: str | Path  # folder of the images
    mean: str | Sequence[float]  # a mean file (.binaryproto), or the channel means, BGR, 0 to 255
    batch_size: int  # images per iteration
    test_batch_size: int


def _caffenet_filler(layer):
    """The reference model's filler; some biases start at 1, so that the rectifiers after them pass something on."""
    std = 0.005 if layer.type == "InnerProduct" else 0.01
    bias = 1.0 if layer.name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0
    return {"type": "gaussian", "std": std}, bias


def _squeezenet_filler(layer):
    """SqueezeNet's filler, biases at 0."""
    return {"type": "xavier"}, 0.0


def _googlenet_filler(layer):
    """GoogLeNet's filler, biases at 0.2."""
    return {"type": "xavier"}, 0.2


def _pcnn_filler(layer):
    """Small weights on the pixels, which reach 255; above, fillers that keep the scale of the signal."""
    return ({"type": "gaussian", "std": 0.001} if layer.name == "conv1" else {"type": "xavier"}), 0.0


@dataclass(frozen=True)
class Architecture:
    """An architecture: its names, and how it differs from the others."""

    name: str  # as ARCH and --arch name it
    net_name: str  # the net's name in its definitions
    new_layer: str  # name of the layer with two outputs that replaces the source's last layer, or follows it
    seconds_per_image: float  # training time at full width on two CPU cores; for estimates only
    template: str = "caffenet"  # the function of `templates` that adds its layers to a NetSpec
    input_size: int = paper.CROP  # height and width of its input, pixels
    filler: Callable = _caffenet_filler  # layer -> (weight filler, value of the biases), for training from scratch
    connected: int = 2  # how many of the CaffeNet template's fc6 and fc7 are kept (§4.3, Table 4)
    keeps_last: bool = False  # the source's own last layer stays below the new one (§4.5, Table 6)
    frozen: bool = False  # only the new layer learns
    fitted: bool = False  # a linear probe: the new layer is fitted (`analysis.probes`), and nothing is trained
    in_table2: bool = True  # whether Table 2 may list it: not CaffeNet with layers removed or added
    own_init: str | None = None  # what it starts from without INIT, if that is not DEFAULT_INIT
    epochs: float = paper.EPOCHS  # of its training
    step_epochs: float = paper.STEP_EPOCHS  # between two divisions of its learning rate
    rate_factor: float = 1  # its base learning rate divided by the default one (the paper's or a data set's)
    schedule: dict = field(default_factory=dict)  # values of `solvers.Schedule` that replace the paper's
    choices: Choices = field(default_factory=Choices)  # its defaults

    @property
    def of_caffenet(self) -> bool:
        """Whether it is built on the CaffeNet template, so that the paper's nine sources fit."""
        return self.template == "caffenet"

    def divisor(self, of_data_set: int) -> int:
        """Its channels_divisor: the data set's for a CaffeNet, as its source models are, and from scratch; else 1."""
        return of_data_set if self.of_caffenet or self.own_init == SCRATCH else 1

    def add_layers(self, n, divisor, last, choices):
        """Add its layers to a NetSpec; returns the top that holds the two scores."""
        from sentiment.networks import templates  # which imports Caffe

        return getattr(templates, self.template)(n, self, divisor, last, choices)


# The authors published the name of finetune's new layer (A in docs/protocol.md), but not those of the others (?).
_RECORDS = (
    Architecture("finetune", paper.NET_NAME, paper.NEW_LAYER, 0.033),
    Architecture("fc7-2", f"{paper.NET_NAME}_fc7-2", "fc7_twitter", 0.030, connected=1, in_table2=False),
    Architecture(
        "fc6-2", f"{paper.NET_NAME}_fc6-2", "fc6_twitter", 0.027, connected=0, in_table2=False,
        rate_factor=paper.BASE_LR_FC6_2 / paper.BASE_LR,
    ),
    Architecture("fc9", f"{paper.NET_NAME}_fc9", "fc9_twitter", 0.034, keeps_last=True, in_table2=False),
    Architecture(
        "fc9-frozen", f"{paper.NET_NAME}_fc9-frozen", "fc9_twitter", 0.015, keeps_last=True, frozen=True,
        in_table2=False,
    ),
    Architecture(
        "pcnn", "PCNN_Twitter", "fc6_twitter", 0.006, "pcnn", filler=_pcnn_filler, own_init=SCRATCH, in_table2=False,
        epochs=paper.PCNN_EPOCHS, step_epochs=paper.PCNN_STEP_EPOCHS,
        schedule={"batch_size": paper.PCNN_BATCH_SIZE, "base_lr": paper.PCNN_BASE_LR},
        choices=Choices(new_lr_mult=1, new_bias_lr_mult=2),  # from scratch no layer is newer than others
    ),
    Architecture(
        "squeezenet", "SqueezeNet_Twitter", "conv10_twitter", 0.060, "squeezenet", filler=_squeezenet_filler,
        own_init="squeezenet",
        schedule={"batch_size": 32, "iterations": 135, "base_lr": 0.00002, "stepsize": 90},
        choices=Choices(new_lr_mult=3, new_bias_lr_mult=6),
    ),
    Architecture(
        "googlenet", "GoogLeNet_Twitter", "loss3/classifier_twitter", 0.10, "googlenet", 224, _googlenet_filler,
        own_init="googlenet",
        schedule={"batch_size": 32, "iterations": 84, "base_lr": 0.0005, "stepsize": 56},
        choices=Choices(new_lr_mult=3, new_bias_lr_mult=6),
    ),
)  # fmt: skip
PROBES = {
    "finetune": names.PROBE,
    "squeezenet": f"squeezenet-{names.PROBE}",
    "googlenet": f"googlenet-{names.PROBE}",
}
"""Architecture -> the name of its linear probe."""
_PROBES = tuple(
    replace(one, name=PROBES[one.name], fitted=True, schedule={}, choices=Choices())
    for one in _RECORDS
    if one.name in PROBES
)
ARCHITECTURES = {architecture.name: architecture for architecture in (*_RECORDS, *_PROBES)}
TRAINED = tuple(name for name, architecture in ARCHITECTURES.items() if not architecture.fitted)
"""Architectures that a solver trains, so that they have definitions in prototxt/ and solvers/: all but the probes."""
AUXILIARY = ("loss1/classifier_twitter", "loss2/classifier_twitter")
"""New layers of GoogLeNet's auxiliary heads."""
ON_LAST_LAYER = tuple(name for name, architecture in ARCHITECTURES.items() if architecture.keeps_last)
"""Architectures that keep the source's own last layer below the new one."""


def check_init(arch: str, init: str):
    """Refuse to start another net from one of the paper's nine sources, which are CaffeNets, before any download."""
    if init in paper.INITIALISATIONS and not ARCHITECTURES[arch].of_caffenet:
        raise UserError(f"ARCH={arch} cannot start from {init}, a CaffeNet; give weights of its own by INIT=path")


def default_init(arch: str) -> str:
    """The INIT of an architecture where none is given."""
    return (ARCHITECTURES[arch].own_init if arch in ARCHITECTURES else None) or DEFAULT_INIT


def folder_name(arch: str, init: str = DEFAULT_INIT) -> str:
    """The name of an architecture's folder in prototxt/."""
    return f"{arch}-{init}" if arch in ON_LAST_LAYER else arch


def train_val(
    arch: str,
    lists: ImageLists,
    divisor: int = 1,
    scratch: bool = False,
    last: LastLayer | None = None,
    choices: Choices | None = None,
):
    """The training definition, a NetParameter: lists in, loss out, and the accuracy in the phase TEST.

    ``divisor`` divides all channel counts but the last layers'. With ``scratch`` every layer is filled, because nothing
    will be loaded. ``last`` is the source's last layer; a `UserError` if one of ``ON_LAST_LAYER`` lacks it.
    """
    import caffe

    architecture = ARCHITECTURES[arch]
    choices = choices or architecture.choices
    testing, n = caffe.NetSpec(), caffe.NetSpec()
    size, in_testing = architecture.input_size, Choices(random_crops=True, mirror=False, shuffle=False)
    testing.data, testing.label = _image_data(caffe.TEST, lists.test, lists.test_batch_size, size, lists, in_testing)
    n.data, n.label = _image_data(caffe.TRAIN, lists.train, lists.batch_size, size, lists, choices)
    scores = architecture.add_layers(n, divisor, None if scratch else last, choices)
    n.loss = caffe.layers.SoftmaxWithLoss(scores, n.label)
    n.accuracy = caffe.layers.Accuracy(scores, n.label, include={"phase": 1})  # TEST
    # A NetSpec holds one layer per name; the data layers of both phases have the same name, so they are joined here.
    data, *rest = n.to_proto().layer
    for layer in rest:
        if layer.type in ("Convolution", "InnerProduct"):
            _let_learn(layer, architecture, scratch, last, choices)
    layers = [data, *testing.to_proto().layer, *rest]
    return caffe.proto.caffe_pb2.NetParameter(name=architecture.net_name, layer=layers)


def _let_learn(layer, architecture, scratch, last, choices):
    """Set the learning rates of a layer with weights, and its fillers if nothing will be loaded into it (§3.2)."""
    filler, bias = architecture.filler(layer)
    is_new = layer.name in (architecture.new_layer, *AUXILIARY)
    if is_new:
        rate, bias_rate = choices.new_lr_mult, choices.new_bias_lr_mult
        filler, bias = {"type": "gaussian", "std": paper.NEW_LAYER_STD}, 0.0
    else:
        rate = choices.fc9_kept_lr_mult if last and layer.name == last.name else paper.LR_MULT
        rate = 0 if architecture.frozen else rate
        bias_rate = rate * choices.bias_lr_mult
    layer.param.add(lr_mult=rate, decay_mult=1)
    layer.param.add(lr_mult=bias_rate, decay_mult=choices.bias_decay_mult)
    if scratch or is_new:
        param = layer.convolution_param if layer.type == "Convolution" else layer.inner_product_param
        fillers = {"weight_filler": filler, "bias_filler": {"type": "constant", "value": bias}}
        param.MergeFrom(type(param)(**fillers))


def _image_data(phase, source, batch_size, crop, lists, choices):
    """The ImageData layer that reads a list; it crops at random places in training, and the centre in testing."""
    import caffe

    size, mean = paper.IMAGE_SIZE if choices.random_crops else crop, lists.mean
    means = {"mean_file": mean} if isinstance(mean, str) else {"mean_value": [float(value) for value in mean]}
    return caffe.layers.ImageData(
        include={"phase": phase},
        transform_param={"mirror": choices.mirror, "crop_size": crop, **means},
        image_data_param={
            "source": source,
            "root_folder": str(lists.images).rstrip("/") + "/",  # the layer prepends it to each name unchanged
            "batch_size": batch_size,
            "new_height": size,
            "new_width": size,
            "shuffle": choices.shuffle,
        },
        ntop=2,
    )


def deploy(arch: str, divisor: int = 1, last: LastLayer | None = None, choices: Choices | None = None):
    """The deploy definition, a NetParameter: a blob ``data`` (10×3×height×width, BGR minus mean) in, ``prob`` out.

    The parameters are those of `train_val`.
    """
    import caffe

    architecture, n = ARCHITECTURES[arch], caffe.NetSpec()
    choices = replace(choices or architecture.choices, auxiliary_heads=False)
    n.data = caffe.layers.Input(shape={"dim": [10, 3, architecture.input_size, architecture.input_size]})
    n.prob = caffe.layers.Softmax(architecture.add_layers(n, divisor, last, choices))
    return caffe.proto.caffe_pb2.NetParameter(name=architecture.net_name, layer=n.to_proto().layer)


def parameters(arch: str, divisor: int = 1, last: LastLayer | None = None) -> int:
    """The number of an architecture's weights and biases (Table 4)."""
    shapes = weight_shapes(deploy(arch, divisor, last)).values()
    return sum(math.prod(shape) for of_layer in shapes for shape in of_layer)


def filled_layers(net) -> set[str]:
    """The names of the layers of a `train_val` definition that fill their weights."""
    params = {layer.name: (layer.convolution_param, layer.inner_product_param) for layer in net.layer}
    return {name for name, pair in params.items() if any(param.HasField("weight_filler") for param in pair)}
