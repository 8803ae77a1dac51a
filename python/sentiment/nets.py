"""The paper's networks as Caffe definitions: the CaffeNet template (§3.1), its layer ablations (§3.3), and SqueezeNet.

Every architecture comes in two forms: ``train_val`` reads the fold's lists and ends in a loss, ``deploy`` reads a blob
and ends in probabilities. Layers that a source model brings carry no filler (nothing of it would be left after
loading); the new layer always does, and with ``scratch=True`` every layer does.
"""

from sentiment import paper

DEPLOY_BATCH = 10

# The fully connected layers of the CaffeNet template that an architecture keeps below its new layer (§4.3, Table 4).
_KEPT = {"finetune": ("fc6", "fc7"), "fc7-2": ("fc6",), "fc6-2": ()}
ARCHITECTURES = (*_KEPT, "squeezenet")


class _CaffeLayers:
    """``caffe.layers``, imported when a net is built: importing the engine takes a second, ``--help`` needs none."""

    def __getattr__(self, layer_type):
        import caffe

        return getattr(caffe.layers, layer_type)


L = _CaffeLayers()


class Learning:
    """What a layer's definition says about learning: rates and decays (bias ×2 and undecayed), fillers where needed.

    Parameters
    ----------
    scratch : bool
        Fill the template's layers too, as the reference models were.
    deploy : bool
        Say nothing: a deploy definition does not learn.
    """

    def __init__(self, scratch=False, deploy=False):
        self.scratch, self.deploy = scratch, deploy

    def kept(self, filler, bias=0.0):
        """A layer of the template, loaded from the source unless training from scratch."""
        return self._layer(paper.LR_MULT, paper.BIAS_LR_MULT, filler if self.scratch else None, bias)

    def new(self):
        """The new last layer: ten times the rate, weights N(0, 0.01), bias 0 (§3.2)."""
        filler = gaussian(paper.NEW_LAYER_STD)
        return self._layer(paper.NEW_LAYER_LR_MULT, paper.NEW_LAYER_BIAS_LR_MULT, filler, 0.0)

    def _layer(self, weight_rate, bias_rate, filler, bias):
        if self.deploy:
            return {}
        rates = [{"lr_mult": weight_rate, "decay_mult": 1}, {"lr_mult": bias_rate, "decay_mult": 0}]
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


def caffenet(n, arch, learning, divisor=1):
    """Add the CaffeNet template with the architecture's own top to NetSpec `n`; returns the two scores' top.

    Parameters
    ----------
    n : caffe.NetSpec
        With ``n.data`` (N×3×227×227, BGR minus mean).
    divisor : int
        Divides all channel counts but the last layer's.
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
    scores = n[paper.NEW_LAYERS[arch]] = L.InnerProduct(top, num_output=paper.CLASSES, **learning.new())
    return scores


def squeezenet(n, arch, learning, divisor=1):
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


def _template(arch):
    return squeezenet if arch == "squeezenet" else caffenet


def _name(arch):
    if arch == "squeezenet":
        return "SqueezeNet_Twitter"
    return paper.NET_NAME if arch == "finetune" else f"{paper.NET_NAME}_{arch}"


def image_data(source, images, batch_size, mean, train):
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
    """
    means = {"mean_file": str(mean)} if isinstance(mean, str) else {"mean_value": [float(value) for value in mean]}
    return L.ImageData(
        include={"phase": 0 if train else 1},  # TRAIN, TEST
        transform_param={"mirror": train, "crop_size": paper.CROP, **means},
        image_data_param={
            "source": str(source),
            "root_folder": str(images).rstrip("/") + "/",
            "batch_size": batch_size,
            "new_height": paper.IMAGE_SIZE,
            "new_width": paper.IMAGE_SIZE,
            "shuffle": train,
        },
        ntop=2,
    )


def train_val(arch, train_list, test_list, images, mean, batch_size, test_batch_size, divisor=1, scratch=False):
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
        Divides all channel counts but the last layer's.
    scratch : bool
        Fill every layer; nothing will be loaded.

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter
    """
    import caffe

    testing = caffe.NetSpec()
    testing.data, testing.label = image_data(test_list, images, test_batch_size, mean, train=False)
    n = caffe.NetSpec()
    n.data, n.label = image_data(train_list, images, batch_size, mean, train=True)
    scores = _template(arch)(n, arch, Learning(scratch=scratch), divisor)
    n.loss = L.SoftmaxWithLoss(scores, n.label)
    n.accuracy = L.Accuracy(scores, n.label, include={"phase": 1})  # TEST
    # A NetSpec holds one layer a name; the two phases' data layers share theirs, so they are joined here.
    data, *rest = n.to_proto().layer
    return _net(_name(arch), [data, *testing.to_proto().layer, *rest])


def deploy(arch, divisor=1):
    """The definition for use: a blob ``data`` (10×3×227×227, BGR minus mean) in, ``prob`` out.

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter
    """
    import caffe

    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [DEPLOY_BATCH, 3, paper.CROP, paper.CROP]})
    n.prob = L.Softmax(_template(arch)(n, arch, Learning(deploy=True), divisor))
    return _net(_name(arch), n.to_proto().layer)


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
