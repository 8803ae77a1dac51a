"""The demo's networks, CaffeNets of a fraction of the channels, and their short trainings."""

from pathlib import Path

from sentiment import paper
from sentiment.demo import drawn
from sentiment.networks import architectures
from sentiment.training import loop, snapshots
from sentiment.utils.files import write_if_changed

SOURCE = "drawn_concepts.caffemodel"
"""The source model, in the demo's folder of models."""
DIVISOR = 8  # of the channels
SOURCE_BATCH = 16


def source_net(folder):
    """The net of the source task: the CaffeNet template with one class per concept.

    Differs from the template in what a training of two minutes needs: fillers that keep the scale of the signal from
    layer to layer (with the reference model's, the loss stays on a plateau for thousands of iterations).

    Parameters
    ----------
    folder : Path
        Of ``train.txt`` and ``images``.

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter
        Without layers for testing.
    """
    images, mean = folder / "images", paper.IMAGENET_MEANS_BGR
    net = template(folder / "train.txt", images, mean, len(drawn.CONCEPTS), SOURCE_BATCH, DIVISOR, scratch=True)
    net.name = "DrawnConcepts"
    layers = [layer for layer in net.layer if not any(rule.phase for rule in layer.include)]
    for layer in layers:
        for field in layer.convolution_param, layer.inner_product_param:
            if field.HasField("weight_filler"):
                field.weight_filler.Clear()
                field.weight_filler.type = "msra"
                field.bias_filler.value = 0
    by_name = {layer.name: layer for layer in layers}
    first, last = by_name["conv1"], by_name[paper.NEW_LAYER]
    # Pixels reach 255; what comes after conv1 should be about 1, and stay so.
    first.convolution_param.weight_filler.type, first.convolution_param.weight_filler.std = "gaussian", 0.001
    last.inner_product_param.weight_filler.type, last.inner_product_param.weight_filler.std = "gaussian", 0.01
    for layer, rates in (first, (0.1, 0.2)), (last, (1, 2)):
        for param, rate in zip(layer.param, rates, strict=True):
            param.lr_mult = rate
    last.name = last.top[0] = by_name["loss"].bottom[0] = "fc8"
    del net.layer[:]
    net.layer.extend(layers)
    return net


def template(listed, images, mean, classes, batch_size, divisor, scratch=False):
    """The CaffeNet template (§3.1) with a new last layer of any number of classes.

    Parameters
    ----------
    listed, images : Path
        The list of images for training and testing, and their folder.
    mean : Path or sequence of three float
    classes, batch_size : int
    divisor : int
        Divides the numbers of channels.
    scratch : bool
        Fill every layer; nothing will be loaded.

    Returns
    -------
    caffe.proto.caffe_pb2.NetParameter
    """
    listed, mean = str(listed.resolve()), str(mean.resolve()) if isinstance(mean, Path) else mean
    net = architectures.train_val(
        "finetune", listed, listed, images.resolve(), mean, batch_size, batch_size, divisor, scratch
    )
    last = next(layer for layer in net.layer if layer.name == paper.NEW_LAYER)
    last.inner_product_param.num_output = classes
    return net


def train(caffe, folder, title, net, gpu, source=None, **solver) -> Path:
    """Train a net by Adam in its folder, from the newest snapshot where there is one.

    Parameters
    ----------
    caffe : module
    folder : Path
    title : str
        Names the training in messages.
    net : NetParameter
    gpu : int or None
    source : Path, optional
        Weights to start from.
    **solver
        More fields of a SolverParameter.

    Returns
    -------
    Path
        The weights, in that folder.
    """
    definition = caffe.proto.caffe_pb2.SolverParameter(
        net="train_val.prototxt", type="Adam", momentum=0.9, display=10, snapshot_prefix="snapshot",
        solver_mode=int(gpu is not None), **solver,
    )  # fmt: skip
    changed = [
        write_if_changed(folder / "train_val.prototxt", str(net)),
        write_if_changed(folder / "solver.prototxt", str(definition)),
    ]
    training = loop.Training(folder, title, "make the demo with another --seed in another --out", source)
    if any(changed):
        snapshots.discard(training)
    return loop.train(caffe, training)
