"""The networks layer by layer: the CaffeNet template (§3.1) with its ablations (§3.3), SqueezeNet and GoogLeNet.

Each of `caffenet`, `squeezenet` and `googlenet` adds the layers of a network to a NetSpec; rates and fillers follow in
`architectures.train_val`. Importing this module imports Caffe.
"""

from caffe import layers as L
from sentiment import paper
from sentiment.networks.choices import Choices
from sentiment.utils.errors import UserError


def _conv_relu(bottom, num_output, kernel_size, **window):
    """A convolution and its rectifier."""
    conv = L.Convolution(bottom, num_output=num_output, kernel_size=kernel_size, **window)
    return conv, L.ReLU(conv, in_place=True)


def _fc_relu_drop(bottom, num_output):
    """A fully connected layer, its rectifier and its dropout."""
    fc = L.InnerProduct(bottom, num_output=num_output)
    relu = L.ReLU(fc, in_place=True)
    return fc, relu, L.Dropout(relu, in_place=True, dropout_ratio=0.5)


def _max_pool(bottom):
    """Overlapping max pooling: windows of 3×3 cells, stride 2."""
    return L.Pooling(bottom, pool=0, kernel_size=3, stride=2)  # pool: MAX


def _norm(bottom):
    """Local response normalisation across five channels."""
    return L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)


def caffenet(n, architecture, divisor: int, last, choices: Choices):
    """Add the CaffeNet template with the architecture's last layers to NetSpec `n`; returns the top with the scores.

    ``n.data`` (N×3×227×227, BGR minus mean) must exist already. ``divisor`` divides all channel counts but the last
    layers'; ``last`` is the source's `LastLayer`, for an architecture that keeps it.
    """
    n.conv1, n.relu1 = _conv_relu(n.data, 96 // divisor, 11, stride=4)
    n.pool1 = _max_pool(n.relu1)
    n.norm1 = _norm(n.pool1)
    n.conv2, n.relu2 = _conv_relu(n.norm1, 256 // divisor, 5, pad=2, group=2)
    n.pool2 = _max_pool(n.relu2)
    n.norm2 = _norm(n.pool2)
    n.conv3, n.relu3 = _conv_relu(n.norm2, 384 // divisor, 3, pad=1)
    n.conv4, n.relu4 = _conv_relu(n.relu3, 384 // divisor, 3, pad=1, group=2)
    n.conv5, n.relu5 = _conv_relu(n.relu4, 256 // divisor, 3, pad=1, group=2)
    top = n.pool5 = _max_pool(n.relu5)
    if architecture.connected >= 1:
        n.fc6, n.relu6, n.drop6 = _fc_relu_drop(top, 4096 // divisor)
        top = n.drop6
    if architecture.connected >= 2:
        n.fc7, n.relu7, n.drop7 = _fc_relu_drop(top, 4096 // divisor)
        top = n.drop7
    if architecture.keeps_last:
        if last is None:
            raise UserError(
                f"ARCH={architecture.name} keeps the source's last layer, and there is no source; name one with INIT"
            )
        if last.name in (*n.keys(), architecture.new_layer):
            raise UserError(
                f"the source's last layer is {last.name}; ARCH={architecture.name} needs one after fc7 that is not "
                f"named {architecture.new_layer}"
            )
        top = n[last.name] = L.InnerProduct(top, num_output=last.outputs)
        if choices.fc9_relu:
            top = n.relu8 = L.ReLU(top, in_place=True)
        if choices.fc9_dropout:
            top = n.drop8 = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    n[architecture.new_layer] = L.InnerProduct(top, num_output=paper.CLASSES)
    return n[architecture.new_layer]


def pcnn(n, architecture, divisor: int, last, choices: Choices):
    """Add the network of You et al. (AAAI 2015) to NetSpec `n`; parameters as in `caffenet`.

    The units of fc5 stand for emotions, so ``divisor`` leaves their number.
    """
    conv1, conv2 = paper.PCNN_CONV
    fc3, fc4 = paper.PCNN_CONNECTED
    n.conv1, n.relu1 = _conv_relu(n.data, conv1 // divisor, 11, stride=4)
    n.pool1 = _max_pool(n.relu1)
    n.norm1 = _norm(n.pool1)
    n.conv2, n.relu2 = _conv_relu(n.norm1, conv2 // divisor, 5, pad=2, stride=2)
    n.pool2 = _max_pool(n.relu2)
    n.norm2 = _norm(n.pool2)
    n.fc3, n.relu3, n.drop3 = _fc_relu_drop(n.norm2, fc3 // divisor)
    n.fc4, n.relu4, n.drop4 = _fc_relu_drop(n.drop3, fc4 // divisor)
    n.fc5 = L.InnerProduct(n.drop4, num_output=paper.PCNN_EMOTIONS)
    n.relu5 = L.ReLU(n.fc5, in_place=True)
    n[architecture.new_layer] = L.InnerProduct(n.relu5, num_output=paper.CLASSES)
    return n[architecture.new_layer]


def squeezenet(n, architecture, divisor: int, last, choices: Choices):
    """Add SqueezeNet v1.0 with a new last convolution of two outputs to NetSpec `n`; parameters as in `caffenet`.

    The original's rectifier after conv10 is left out: with two classes both scores can fall below zero in the first
    steps, and nothing is learnt from then on.
    """

    def fire(name, bottom, squeeze, expand):
        n[f"{name}/squeeze1x1"], n[f"{name}/squeeze1x1/relu"] = _conv_relu(bottom, squeeze // divisor, 1)
        squeezed = n[f"{name}/squeeze1x1/relu"]
        n[f"{name}/expand1x1"], n[f"{name}/expand1x1/relu"] = _conv_relu(squeezed, expand // divisor, 1)
        n[f"{name}/expand3x3"], n[f"{name}/expand3x3/relu"] = _conv_relu(squeezed, expand // divisor, 3, pad=1)
        n[f"{name}/concat"] = L.Concat(n[f"{name}/expand1x1/relu"], n[f"{name}/expand3x3/relu"])
        return n[f"{name}/concat"]

    n.conv1, n["conv1/relu"] = _conv_relu(n.data, 96 // divisor, 7, stride=2)
    n.pool1 = _max_pool(n["conv1/relu"])
    top = fire("fire2", n.pool1, 16, 64)
    top = fire("fire3", top, 16, 64)
    n.pool4 = _max_pool(fire("fire4", top, 32, 128))
    top = fire("fire5", n.pool4, 32, 128)
    top = fire("fire6", top, 48, 192)
    top = fire("fire7", top, 48, 192)
    n.pool8 = _max_pool(fire("fire8", top, 64, 256))
    top = fire("fire9", n.pool8, 64, 256)
    n.drop9 = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    n[architecture.new_layer] = L.Convolution(n.drop9, num_output=paper.CLASSES, kernel_size=1)
    n.pool10 = L.Pooling(n[architecture.new_layer], pool=1, global_pooling=True)  # pool: AVE
    return n.pool10


def googlenet(n, architecture, divisor: int, last, choices: Choices):
    """Add BVLC's GoogLeNet with a new classifier of two outputs to NetSpec `n`; parameters as in `caffenet`.

    ``n.data`` is N×3×224×224. With the choice ``auxiliary_heads``, which is for training only, the two classifiers on
    inner layers are added, with their losses at weight 0.3; they need ``n.label``.
    """

    def convolution(name, suffix, bottom, num_output, kernel_size, **window):
        relu = f"{name}/relu_{suffix.removesuffix('_s2')}"
        n[f"{name}/{suffix}"], n[relu] = _conv_relu(bottom, num_output // divisor, kernel_size, **window)
        return n[relu]

    def inception(name, bottom, of_1x1, reduce_3x3, of_3x3, reduce_5x5, of_5x5, of_pool):
        name = f"inception_{name}"
        single = convolution(name, "1x1", bottom, of_1x1, 1)
        reduced = convolution(name, "3x3_reduce", bottom, reduce_3x3, 1)
        triple = convolution(name, "3x3", reduced, of_3x3, 3, pad=1)
        reduced = convolution(name, "5x5_reduce", bottom, reduce_5x5, 1)
        quintuple = convolution(name, "5x5", reduced, of_5x5, 5, pad=2)
        pool = n[f"{name}/pool"] = L.Pooling(bottom, pool=0, kernel_size=3, stride=1, pad=1)  # pool: MAX
        pooled = convolution(name, "pool_proj", pool, of_pool, 1)
        n[f"{name}/output"] = L.Concat(single, triple, quintuple, pooled)
        return n[f"{name}/output"]

    def classifier(name, bottom):
        pool = n[f"{name}/ave_pool"] = L.Pooling(bottom, pool=1, kernel_size=5, stride=3)  # pool: AVE
        top = convolution(name, "conv", pool, 128, 1)
        fc = n[f"{name}/fc"] = L.InnerProduct(top, num_output=1024 // divisor)
        relu = n[f"{name}/relu_fc"] = L.ReLU(fc, in_place=True)
        drop = n[f"{name}/drop_fc"] = L.Dropout(relu, in_place=True, dropout_ratio=0.7)
        scores = n[f"{name}/classifier_twitter"] = L.InnerProduct(drop, num_output=paper.CLASSES)
        n[f"{name}/loss"] = L.SoftmaxWithLoss(scores, n.label, loss_weight=0.3)

    top = convolution("conv1", "7x7_s2", n.data, 64, 7, stride=2, pad=3)
    n["pool1/3x3_s2"] = _max_pool(top)
    n["pool1/norm1"] = _norm(n["pool1/3x3_s2"])
    top = convolution("conv2", "3x3_reduce", n["pool1/norm1"], 64, 1)
    top = convolution("conv2", "3x3", top, 192, 3, pad=1)
    n["conv2/norm2"] = _norm(top)
    top = n["pool2/3x3_s2"] = _max_pool(n["conv2/norm2"])
    top = inception("3a", top, 64, 96, 128, 16, 32, 32)
    top = inception("3b", top, 128, 128, 192, 32, 96, 64)
    top = n["pool3/3x3_s2"] = _max_pool(top)
    top = inception("4a", top, 192, 96, 208, 16, 48, 64)
    if choices.auxiliary_heads:
        classifier("loss1", top)
    top = inception("4b", top, 160, 112, 224, 24, 64, 64)
    top = inception("4c", top, 128, 128, 256, 24, 64, 64)
    top = inception("4d", top, 112, 144, 288, 32, 64, 64)
    if choices.auxiliary_heads:
        classifier("loss2", top)
    top = inception("4e", top, 256, 160, 320, 32, 128, 128)
    top = n["pool4/3x3_s2"] = _max_pool(top)
    top = inception("5a", top, 256, 160, 320, 32, 128, 128)
    top = inception("5b", top, 384, 192, 384, 48, 128, 128)
    n["pool5/7x7_s1"] = L.Pooling(top, pool=1, kernel_size=7, stride=1)  # pool: AVE
    n["pool5/drop_7x7_s1"] = L.Dropout(n["pool5/7x7_s1"], in_place=True, dropout_ratio=0.4)
    n[architecture.new_layer] = L.InnerProduct(n["pool5/drop_7x7_s1"], num_output=paper.CLASSES)
    return n[architecture.new_layer]
