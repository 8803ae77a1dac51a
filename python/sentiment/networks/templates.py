"""The networks layer by layer: the CaffeNet template (§3.1) with its ablations (§3.3), and SqueezeNet.

Each of `caffenet` and `squeezenet` adds the layers of a network to a NetSpec; rates and fillers follow in
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
