"""The paper's networks as Caffe definitions: the CaffeNet template (§3.1), its layer ablations (§3.3), and SqueezeNet.

Every architecture comes in two forms: ``train_val`` reads the fold's lists and ends in a loss, ``deploy`` reads a blob
and ends in probabilities. Layers that a source model brings carry no filler (nothing of it would be left after
loading); the new layer always does, and with ``scratch=True`` every layer does.
"""

import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from sentiment import paper
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError

DEPLOY_BATCH = 10

# The fully connected layers of the CaffeNet template that an architecture keeps below its new layer (§4.3, Table 4).
_KEPT = {
    "finetune": ("fc6", "fc7"),
    "fc7-2": ("fc6",),
    "fc6-2": (),
    "fc9": ("fc6", "fc7"),
    "fc9-frozen": ("fc6", "fc7"),
}
ON_LAST_LAYER = ("fc9", "fc9-frozen")
"""Architectures that keep the source's own last layer below the new one (§4.5, Table 6)."""
EXAMPLE_INIT = "caffenet"
"""Whose last layer the committed definitions of ``ON_LAST_LAYER`` keep."""
ARCHITECTURES = (*_KEPT, "squeezenet")
TEMPLATE_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
"""The CaffeNet template's layers with weights, below the last one."""


def check_init(arch, init):
    """Refuse what can never fit, before it is fetched: SqueezeNet from one of the paper's nine, which are CaffeNets."""
    if arch == "squeezenet" and init in paper.INITIALISATIONS:
        raise UserError(f"ARCH=squeezenet cannot start from {init}, a CaffeNet; give SqueezeNet's weights by INIT=path")


@dataclass(frozen=True)
class LastLayer:
    """A source's own last layer: its name and how many classes it tells apart; `transfer.last_layer` finds it."""

    name: str
    outputs: int


@dataclass(frozen=True)
class Choices:
    """What the paper leaves open about a definition (the ? of docs/protocol.md); `--set` changes any of it."""

    random_crops: bool = paper.RANDOM_CROPS
    mirror: bool = paper.MIRROR
    shuffle: bool = paper.SHUFFLE
    bias_lr_mult: float = paper.BIAS_LR_MULT
    bias_decay_mult: float = paper.BIAS_DECAY_MULT
    new_bias_lr_mult: float = paper.NEW_LAYER_BIAS_LR_MULT
    fc9_kept_lr_mult: float = paper.LR_MULT
    fc9_relu: bool = paper.FC9_RELU
    fc9_dropout: bool = paper.FC9_DROPOUT


CHOICES = tuple(field.name for field in fields(Choices))


class _CaffeLayers:
    """``caffe.layers``, imported when a net is built: importing the engine takes a second, ``--help`` needs none."""

    def __getattr__(self, layer_type):
        import caffe

        return getattr(caffe.layers, layer_type)


L = _CaffeLayers()


class Learning:
    """What a layer's definition says about learning: rates and decays, fillers where needed.

    Parameters
    ----------
    choices : Choices
        The rates of the biases.
    scratch : bool
        Fill the template's layers too, as the reference models were.
    frozen : bool
        Only the new layer learns.
    deploy : bool
        Say nothing: a deploy definition does not learn.
    """

    def __init__(self, choices=None, scratch=False, frozen=False, deploy=False):
        self.choices, self.scratch, self.frozen, self.deploy = choices or Choices(), scratch, frozen, deploy

    def kept(self, filler=None, bias=0.0, rate=paper.LR_MULT):
        """A layer of the template or the source, loaded unless training from scratch."""
        rate = 0 if self.frozen else rate
        return self._layer(rate, rate * self.choices.bias_lr_mult, filler if self.scratch else None, bias)

    def new(self):
        """The new last layer: ten times the rate, weights N(0, 0.01), bias 0 (§3.2)."""
        filler = gaussian(paper.NEW_LAYER_STD)
        return self._layer(paper.NEW_LAYER_LR_MULT, self.choices.new_bias_lr_mult, filler, 0.0)

    def _layer(self, weight_rate, bias_rate, filler, bias):
        if self.deploy:
            return {}
        bias_decay = self.choices.bias_decay_mult
        rates = [{"lr_mult": weight_rate, "decay_mult": 1}, {"lr_mult": bias_rate, "decay_mult": bias_decay}]
        fillers = {"weight_filler": filler, "bias_filler": {"type": "constant", "value": bias}} if filler else {}
        return {"param": rates, **fillers}


def gaussian(std):
    """A gaussian weight filler of mean 0."""
    return {"type": "gaussian", "std": std}


XAVIER = {"type": "xavier"}


def conv_relu(bottom, num_output, kernel_size, stride=1, pad=0, group=1, **learning):
    """A convolution and its rectifier."""
    shape = {"num_output": num_output, "kernel_size": kernel_size, "stride": stride, "pad": pad, "group": group}
    usual = {"stride": 1, "pad": 0, "group": 1}
    conv = L.Convolution(bottom, **{name: v for name, v in shape.items() if usual.get(name) != v}, **learning)
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


def caffenet(n, arch, learning, divisor=1, last=None):
    """Add the CaffeNet template with the architecture's own top to NetSpec `n`; returns the two scores' top.

    Parameters
    ----------
    n : caffe.NetSpec
        With ``n.data`` (N×3×227×227, BGR minus mean).
    divisor : int
        Divides all channel counts but the last layers'.
    last : LastLayer, optional
        For ``ON_LAST_LAYER``: the source's layer to keep.
    """
    # Fillers of the reference model: some biases start at 1, so that the rectifiers there pass something on.
    conv0, conv1 = learning.kept(gaussian(0.01), 0.0), learning.kept(gaussian(0.01), 1.0)
    n.conv1, n.relu1 = conv_relu(n.data, 96 // divisor, 11, stride=4, **conv0)
    n.pool1 = max_pool(n.relu1)
    n.norm1 = norm(n.pool1)
    n.conv2, n.relu2 = conv_relu(n.norm1, 256 // divisor, 5, pad=2, group=2, **conv1)
    n.pool2 = max_pool(n.relu2)
    n.norm2 = norm(n.pool2)
    n.conv3, n.relu3 = conv_relu(n.norm2, 384 // divisor, 3, pad=1, **conv0)
    n.conv4, n.relu4 = conv_relu(n.relu3, 384 // divisor, 3, pad=1, group=2, **conv1)
    n.conv5, n.relu5 = conv_relu(n.relu4, 256 // divisor, 3, pad=1, group=2, **conv1)
    n.pool5 = max_pool(n.relu5)
    top = n.pool5
    for name in _KEPT[arch]:
        fc, relu, drop = fc_relu_drop(top, 4096 // divisor, **learning.kept(gaussian(0.005), 1.0))
        n[name], n[name.replace("fc", "relu")], n[name.replace("fc", "drop")] = fc, relu, drop
        top = drop
    if arch in ON_LAST_LAYER:
        top = _source_layer(n, top, last, learning)
    scores = n[paper.NEW_LAYERS[arch]] = L.InnerProduct(top, num_output=paper.CLASSES, **learning.new())
    return scores


def _source_layer(n, bottom, last, learning):
    """Add the source's last layer as it was, its scores raw unless chosen otherwise; returns its top."""
    top = n[last.name] = L.InnerProduct(
        bottom, num_output=last.outputs, **learning.kept(rate=learning.choices.fc9_kept_lr_mult)
    )
    if learning.choices.fc9_relu:
        top = n.relu8 = L.ReLU(top, in_place=True)
    if learning.choices.fc9_dropout:
        top = n.drop8 = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    return top


def squeezenet(n, arch, learning, divisor=1, last=None):
    """Add SqueezeNet v1.0 with a new 2-way ``conv10_twitter`` to NetSpec `n`; returns the two scores' top.

    The original's rectifier after conv10 is left out: with two classes both scores can fall below zero in the first
    steps, and nothing is learnt from then on.
    """

    def fire(name, bottom, squeeze, expand):
        n[f"{name}/squeeze1x1"], n[f"{name}/squeeze1x1/relu"] = conv_relu(bottom, squeeze // divisor, 1, **kept)
        squeezed = n[f"{name}/squeeze1x1/relu"]
        n[f"{name}/expand1x1"], n[f"{name}/expand1x1/relu"] = conv_relu(squeezed, expand // divisor, 1, **kept)
        n[f"{name}/expand3x3"], n[f"{name}/expand3x3/relu"] = conv_relu(squeezed, expand // divisor, 3, pad=1, **kept)
        n[f"{name}/concat"] = L.Concat(n[f"{name}/expand1x1/relu"], n[f"{name}/expand3x3/relu"])
        return n[f"{name}/concat"]

    kept = learning.kept(XAVIER)
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


def _template(arch, last, scratch=False):
    """The function that adds an architecture's layers."""
    if arch in ON_LAST_LAYER and (last is None or scratch):
        raise UserError(f"ARCH={arch} keeps the source's last layer, and there is no source; name one with INIT")
    if arch in ON_LAST_LAYER and last.name in (*TEMPLATE_LAYERS, paper.NEW_LAYERS[arch]):
        raise UserError(
            f"the source's last layer is {last.name}; ARCH={arch} needs one after fc7, of another name than "
            f"{paper.NEW_LAYERS[arch]}"
        )
    return squeezenet if arch == "squeezenet" else caffenet


def folder_name(arch, init=EXAMPLE_INIT) -> str:
    """What an architecture's folder in prototxt/ is called."""
    return f"{arch}-{init}" if arch in ON_LAST_LAYER else arch


def _name(arch):
    if arch == "squeezenet":
        return "SqueezeNet_Twitter"
    return paper.NET_NAME if arch == "finetune" else f"{paper.NET_NAME}_{arch}"


def image_data(source, images, batch_size, mean, train, choices=None):
    """An ImageData layer over a fold's list, with its (data, label) tops.

    Parameters
    ----------
    source : str
        The list: one ``<image> <label>`` a line.
    images : str
        The images' folder; the layer puts it before each name as it stands, so it ends in a slash here.
    mean : str or sequence of 3 float
        A mean file (.binaryproto), or the channels' means, BGR, 0-255.
    train : bool
        Random crops and mirrors in shuffled order, or the centre crops in the list's order.
    choices : Choices, optional
        Whether cropped, mirrored and shuffled, in training; not cropped, an image is warped to the net's input.
    """
    choices = choices or Choices()
    size = paper.CROP if train and not choices.random_crops else paper.IMAGE_SIZE
    means = {"mean_file": str(mean)} if isinstance(mean, str) else {"mean_value": [float(value) for value in mean]}
    return L.ImageData(
        include={"phase": 0 if train else 1},  # TRAIN, TEST
        transform_param={"mirror": train and choices.mirror, "crop_size": paper.CROP, **means},
        image_data_param={
            "source": str(source),
            "root_folder": str(images).rstrip("/") + "/",
            "batch_size": batch_size,
            "new_height": size,
            "new_width": size,
            "shuffle": train and choices.shuffle,
        },
        ntop=2,
    )


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
    train_list, test_list, images, mean
        As in `image_data`.
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

    template = _template(arch, last, scratch)
    learning = Learning(choices, scratch=scratch, frozen=arch == "fc9-frozen")
    testing = caffe.NetSpec()
    testing.data, testing.label = image_data(test_list, images, test_batch_size, mean, train=False)
    n = caffe.NetSpec()
    n.data, n.label = image_data(train_list, images, batch_size, mean, True, choices)
    scores = template(n, arch, learning, divisor, last)
    n.loss = L.SoftmaxWithLoss(scores, n.label)
    n.accuracy = L.Accuracy(scores, n.label, include={"phase": 1})  # TEST
    # A NetSpec holds one layer a name; the two phases' data layers share theirs, so they are joined here.
    data, *rest = n.to_proto().layer
    return _net(_name(arch), [data, *testing.to_proto().layer, *rest])


def deploy(arch, divisor=1, last=None, choices=None):
    """The definition for use: a blob ``data`` (10×3×227×227, BGR minus mean) in, ``prob`` out.

    Parameters are `train_val`'s.

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter
    """
    import caffe

    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [DEPLOY_BATCH, 3, paper.CROP, paper.CROP]})
    n.prob = L.Softmax(_template(arch, last)(n, arch, Learning(choices, deploy=True), divisor, last))
    return _net(_name(arch), n.to_proto().layer)


def parameters(arch, divisor=1, last=None) -> int:
    """How many numbers an architecture learns or keeps: all weights and biases (Table 4).

    Returns
    -------
    int
    """
    import caffe

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deploy.prototxt"
        path.write_text(str(deploy(arch, divisor, last)))
        with stderr_to(os.devnull):
            net = caffe.Net(str(path), caffe.TEST)
    return sum(blob.data.size for blobs in net.params.values() for blob in blobs)


def _net(name, layers):
    from caffe.proto import caffe_pb2

    net = caffe_pb2.NetParameter(name=name)
    net.layer.extend(layers)
    return net


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
