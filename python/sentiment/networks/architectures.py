"""The paper's networks as Caffe definitions: the CaffeNet template (§3.1), its layer ablations (§3.3), and SqueezeNet.

Every architecture comes in two forms: ``train_val`` reads the fold's lists and ends in a loss, ``deploy`` reads a blob
and ends in probabilities. Layers that a source model brings carry no filler (its values would be overwritten); the new
layer always does, and with ``scratch=True`` every layer does.

An architecture is a function that adds its layers to a NetSpec, and a record in ``ARCHITECTURES``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from sentiment import paper
from sentiment.networks.choices import Choices, Learning, gaussian
from sentiment.networks.definitions import weight_shapes
from sentiment.utils.errors import UserError

DEPLOY_BATCH = 10
EXAMPLE_INIT = "caffenet"
"""Whose last layer the committed definitions of ``ON_LAST_LAYER`` keep."""


@dataclass(frozen=True)
class LastLayer:
    """A source's own last layer: its name and number of classes; `weights_files.last_layer` finds it."""

    name: str
    outputs: int


class _CaffeLayers:
    """``caffe.layers``, imported when a net is built: importing the engine takes a second, ``--help`` needs none."""

    def __getattr__(self, layer_type):
        import caffe

        return getattr(caffe.layers, layer_type)


L = _CaffeLayers()
XAVIER = {"type": "xavier"}


def conv_relu(bottom, num_output, kernel_size, **options):
    """A convolution and its rectifier."""
    conv = L.Convolution(bottom, num_output=num_output, kernel_size=kernel_size, **options)
    return conv, L.ReLU(conv, in_place=True)


def fc_relu_drop(bottom, num_output, **learning):
    """A fully connected layer, its rectifier and its dropout."""
    fc = L.InnerProduct(bottom, num_output=num_output, **learning)
    relu = L.ReLU(fc, in_place=True)
    return fc, relu, L.Dropout(relu, in_place=True, dropout_ratio=0.5)


def max_pool(bottom):
    """Overlapping max pooling: windows of three, two apart."""
    return L.Pooling(bottom, pool=0, kernel_size=3, stride=2)  # pool: MAX


def norm(bottom):
    """Local response normalisation across five channels."""
    return L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)


def caffenet(n, architecture, learning, divisor, last):
    """Add the CaffeNet template with the architecture's own top to NetSpec `n`; returns the two scores' top.

    Parameters
    ----------
    n : caffe.NetSpec
        With ``n.data`` (N×3×227×227, BGR minus mean).
    architecture : Architecture
    learning : Learning
    divisor : int
        Divides all channel counts but the last layers'.
    last : LastLayer or None
        The source's layer to keep, where the architecture keeps it.
    """
    # Biases of the reference model: some start at 1, so that the rectifiers there pass something on.
    bias0, bias1 = learning.kept(gaussian(0.01), 0.0), learning.kept(gaussian(0.01), 1.0)
    n.conv1, n.relu1 = conv_relu(n.data, 96 // divisor, 11, stride=4, **bias0)
    n.pool1 = max_pool(n.relu1)
    n.norm1 = norm(n.pool1)
    n.conv2, n.relu2 = conv_relu(n.norm1, 256 // divisor, 5, pad=2, group=2, **bias1)
    n.pool2 = max_pool(n.relu2)
    n.norm2 = norm(n.pool2)
    n.conv3, n.relu3 = conv_relu(n.norm2, 384 // divisor, 3, pad=1, **bias0)
    n.conv4, n.relu4 = conv_relu(n.relu3, 384 // divisor, 3, pad=1, group=2, **bias1)
    n.conv5, n.relu5 = conv_relu(n.relu4, 256 // divisor, 3, pad=1, group=2, **bias1)
    top = n.pool5 = max_pool(n.relu5)
    fc = learning.kept(gaussian(0.005), 1.0)
    if architecture.connected >= 1:
        n.fc6, n.relu6, n.drop6 = fc_relu_drop(top, 4096 // divisor, **fc)
        top = n.drop6
    if architecture.connected >= 2:
        n.fc7, n.relu7, n.drop7 = fc_relu_drop(top, 4096 // divisor, **fc)
        top = n.drop7
    if architecture.keeps_last:
        if last is None or learning.scratch:
            raise UserError(
                f"ARCH={architecture.name} keeps the source's last layer, and there is no source; name one with INIT"
            )
        if last.name in (*n.keys(), architecture.new_layer):
            raise UserError(
                f"the source's last layer is {last.name}; ARCH={architecture.name} needs one after fc7 that is not "
                f"named {architecture.new_layer}"
            )
        kept = learning.kept(rate=learning.choices.fc9_kept_lr_mult)
        top = n[last.name] = L.InnerProduct(top, num_output=last.outputs, **kept)
        if learning.choices.fc9_relu:
            top = n.relu8 = L.ReLU(top, in_place=True)
        if learning.choices.fc9_dropout:
            top = n.drop8 = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    n[architecture.new_layer] = L.InnerProduct(top, num_output=paper.CLASSES, **learning.new())
    return n[architecture.new_layer]


def squeezenet(n, architecture, learning, divisor, last):
    """Add SqueezeNet v1.0 with a new 2-way ``conv10_twitter`` to NetSpec `n`; parameters are `caffenet`'s.

    The original's rectifier after conv10 is left out: with two classes both scores can fall below zero in the first
    steps, and nothing is learnt from then on.
    """
    kept = learning.kept(XAVIER)

    def fire(name, bottom, squeeze, expand):
        n[f"{name}/squeeze1x1"], n[f"{name}/squeeze1x1/relu"] = conv_relu(bottom, squeeze // divisor, 1, **kept)
        squeezed = n[f"{name}/squeeze1x1/relu"]
        n[f"{name}/expand1x1"], n[f"{name}/expand1x1/relu"] = conv_relu(squeezed, expand // divisor, 1, **kept)
        n[f"{name}/expand3x3"], n[f"{name}/expand3x3/relu"] = conv_relu(squeezed, expand // divisor, 3, pad=1, **kept)
        n[f"{name}/concat"] = L.Concat(n[f"{name}/expand1x1/relu"], n[f"{name}/expand3x3/relu"])
        return n[f"{name}/concat"]

    n.conv1, n["conv1/relu"] = conv_relu(n.data, 96 // divisor, 7, stride=2, **kept)
    n.pool1 = max_pool(n["conv1/relu"])
    top = fire("fire2", n.pool1, 16, 64)
    top = fire("fire3", top, 16, 64)
    n.pool4 = max_pool(fire("fire4", top, 32, 128))
    top = fire("fire5", n.pool4, 32, 128)
    top = fire("fire6", top, 48, 192)
    top = fire("fire7", top, 48, 192)
    n.pool8 = max_pool(fire("fire8", top, 64, 256))
    top = fire("fire9", n.pool8, 64, 256)
    n.drop9 = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    n.conv10_twitter = L.Convolution(n.drop9, num_output=paper.CLASSES, kernel_size=1, **learning.new())
    n.pool10 = L.Pooling(n.conv10_twitter, pool=1, global_pooling=True)  # pool: AVE
    return n.pool10


@dataclass(frozen=True)
class Architecture:
    """What is particular to an architecture.

    Attributes
    ----------
    name : str
        As ARCH and --arch name it.
    add_layers : callable
        Adds its layers to a NetSpec; `caffenet` has the parameters.
    net_name : str
        Of its definitions.
    new_layer : str
        The layer with two outputs that replaces or follows the source's last one.
    seconds_per_image : float
        Of training at full width, on two CPU cores; for estimates only.
    table : str
        The paper's table that compares it with others.
    connected : int
        Of the CaffeNet template's fc6 and fc7, how many are kept below the new layer (§4.3, Table 4).
    keeps_last : bool
        The source's own last layer stays below the new one (§4.5, Table 6).
    frozen : bool
        Only the new layer learns.
    rate_factor : float
        Its base rate over the default one, be that the paper's or a data set's.
    schedule : dict
        Values of `solvers.Schedule` that replace the paper's.
    """

    name: str
    add_layers: Callable
    net_name: str
    new_layer: str
    seconds_per_image: float
    table: str = "table2"
    connected: int = 2
    keeps_last: bool = False
    frozen: bool = False
    rate_factor: float = 1
    schedule: dict = field(default_factory=dict)

    @property
    def of_caffenet(self):
        """Whether it is built on the CaffeNet template, so that the paper's nine sources fit."""
        return self.add_layers is caffenet

    def divisor(self, of_data_set):
        """Its channels_divisor: a data set's suits the data set's own source models, which are CaffeNets."""
        return of_data_set if self.of_caffenet else 1


# The name of finetune's new layer is the authors' own (A); those of the others are not published (?).
# SqueezeNet's schedule is not the paper's: found to converge at a batch that two cores train in minutes.
_RECORDS = (
    Architecture("finetune", caffenet, paper.NET_NAME, "fc8_twitter", 0.033),
    Architecture("fc7-2", caffenet, f"{paper.NET_NAME}_fc7-2", "fc7_twitter", 0.030, "table4", connected=1),
    Architecture(
        "fc6-2", caffenet, f"{paper.NET_NAME}_fc6-2", "fc6_twitter", 0.027, "table4", connected=0,
        rate_factor=paper.BASE_LR_FC6_2 / paper.BASE_LR,
    ),
    Architecture("fc9", caffenet, f"{paper.NET_NAME}_fc9", "fc9_twitter", 0.034, "table6", keeps_last=True),
    Architecture(
        "fc9-frozen", caffenet, f"{paper.NET_NAME}_fc9-frozen", "fc9_twitter", 0.015, "table6", keeps_last=True,
        frozen=True,
    ),
    Architecture(
        "squeezenet", squeezenet, "SqueezeNet_Twitter", "conv10_twitter", 0.060,
        schedule={"batch_size": 32, "iterations": 120, "base_lr": 0.0001, "stepsize": 80},
    ),
)  # fmt: skip
ARCHITECTURES = {architecture.name: architecture for architecture in _RECORDS}
NETWORKS = tuple(name for name, architecture in ARCHITECTURES.items() if architecture.table == "table2")
"""Architectures that are networks of their own, and not a fine-tuned CaffeNet with layers removed or added."""
ON_LAST_LAYER = tuple(name for name, architecture in ARCHITECTURES.items() if architecture.keeps_last)
"""Architectures that keep the source's own last layer below the new one."""


def check_init(arch, init):
    """Refuse one of the paper's nine sources, which are CaffeNets, for another net, before it is downloaded."""
    if init in paper.INITIALISATIONS and not ARCHITECTURES[arch].of_caffenet:
        raise UserError(f"ARCH={arch} cannot start from {init}, a CaffeNet; give weights of its own by INIT=path")


def folder_name(arch, init=EXAMPLE_INIT) -> str:
    """The name of an architecture's folder in prototxt/."""
    return f"{arch}-{init}" if arch in ON_LAST_LAYER else arch


def train_val(
    arch,
    train_list,
    test_list,
    images,
    mean,
    batch_size,
    test_batch_size,
    divisor=1,
    scratch=False,
    last=None,
    choices=None,
):
    """The training definition: lists in, loss out, accuracy at TEST.

    Parameters
    ----------
    arch : str
        One of ``ARCHITECTURES``.
    train_list, test_list : str
        The lists: one ``<image> <label>`` a line.
    images : str or Path
        The images' folder.
    mean : str or sequence of 3 float
        A mean file (.binaryproto), or the channels' means, BGR, 0 to 255.
    batch_size, test_batch_size : int
        Images an iteration, in training and in testing.
    divisor : int
        Divides all channel counts but the last layers'.
    scratch : bool
        Fill every layer; nothing will be loaded.
    last : LastLayer, optional
        For ``ON_LAST_LAYER``: the source's layer to keep.
    choices : Choices, optional

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter

    Raises
    ------
    UserError
        An architecture that keeps the source's last layer, without such a layer.
    """
    import caffe

    architecture, choices = ARCHITECTURES[arch], choices or Choices()
    testing = caffe.NetSpec()
    testing.data, testing.label = _image_data(test_list, images, test_batch_size, mean)
    n = caffe.NetSpec()
    n.data, n.label = _image_data(train_list, images, batch_size, mean, choices)
    learning = Learning(choices, scratch, architecture.frozen)
    scores = architecture.add_layers(n, architecture, learning, divisor, last)
    n.loss = L.SoftmaxWithLoss(scores, n.label)
    n.accuracy = L.Accuracy(scores, n.label, include={"phase": 1})  # TEST
    # A NetSpec holds one layer a name; the two phases' data layers share theirs, so they are joined here.
    data, *rest = n.to_proto().layer
    layers = [data, *testing.to_proto().layer, *rest]
    return caffe.proto.caffe_pb2.NetParameter(name=architecture.net_name, layer=layers)


def _image_data(source, images, batch_size, mean, choices=None):
    """The ImageData layer over a fold's list: of TRAIN with choices, of TEST (centre crops in order) without."""
    cropped = choices is None or choices.random_crops  # or else warped to the net's input
    size = paper.IMAGE_SIZE if cropped else paper.CROP
    means = {"mean_file": str(mean)} if isinstance(mean, str) else {"mean_value": [float(value) for value in mean]}
    return L.ImageData(
        include={"phase": 1 if choices is None else 0},  # TEST, TRAIN
        transform_param={"mirror": choices is not None and choices.mirror, "crop_size": paper.CROP, **means},
        image_data_param={
            "source": str(source),
            "root_folder": str(images).rstrip("/") + "/",  # the layer puts it before each name as it is
            "batch_size": batch_size,
            "new_height": size,
            "new_width": size,
            "shuffle": choices is not None and choices.shuffle,
        },
        ntop=2,
    )


def deploy(arch, divisor=1, last=None, choices=None):
    """The definition for use: a blob ``data`` (10×3×227×227, BGR minus mean) in, ``prob`` out.

    Parameters are `train_val`'s.

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter
    """
    import caffe

    architecture = ARCHITECTURES[arch]
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [DEPLOY_BATCH, 3, paper.CROP, paper.CROP]})
    learning = Learning(choices or Choices(), deploy=True)
    n.prob = L.Softmax(architecture.add_layers(n, architecture, learning, divisor, last))
    return caffe.proto.caffe_pb2.NetParameter(name=architecture.net_name, layer=n.to_proto().layer)


def parameters(arch, divisor=1, last=None) -> int:
    """The number of an architecture's weights and biases (Table 4)."""
    shapes = weight_shapes(deploy(arch, divisor, last)).values()
    return sum(math.prod(shape) for of_layer in shapes for shape in of_layer)


def filled_layers(net):
    """The names of a NetParameter's layers that fill their weights themselves."""

    def fills(layer):
        return any(
            parameter.name in ("weight_filler", "filler")
            for field, value in layer.ListFields()
            if field.name.endswith("_param") and hasattr(value, "ListFields")
            for parameter, _ in value.ListFields()
        )

    return {layer.name for layer in net.layer if fills(layer)}
