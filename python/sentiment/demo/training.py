"""The demo's networks, CaffeNets of a fraction of the channels, and their short trainings."""

from pathlib import Path

from sentiment import paper
from sentiment.demo import drawn
from sentiment.networks import architectures
from sentiment.training import loop, snapshots
from sentiment.utils.files import write_if_changed

SOURCE = "drawn_concepts.caffemodel"  # the source model, in the demo's folder of models
DIVISOR = 8  # of the paper's numbers of channels


def template(listed: Path, images: Path, mean, classes: int, batch: int, divisor: int, scratch=False):
    """The CaffeNet template (§3.1) with a new last layer of any number of classes, a NetParameter.

    It trains and tests on one list of images, in a folder, minus a mean (a Path or three floats, BGR). With ``scratch``
    every layer has a filler, since nothing will be loaded.
    """
    source, mean = str(listed.resolve()), str(mean.resolve()) if isinstance(mean, Path) else mean
    lists = architectures.ImageLists(source, source, images.resolve(), mean, batch, batch)
    net = architectures.train_val("finetune", lists, divisor, scratch)
    last = next(layer for layer in net.layer if layer.name == paper.NEW_LAYER)
    last.inner_product_param.num_output = classes
    return net


def source_net(folder: Path):
    """The net of the source task, with the list ``train.txt`` and the ``images`` of a folder; a NetParameter.

    Differs from the template in what a training of two minutes needs: fillers that keep the scale of the signal from
    layer to layer (with the reference model's, the loss stays on a plateau for thousands of iterations). It has no
    layers for testing.
    """
    images, means = folder / "images", paper.IMAGENET_MEANS_BGR
    net = template(folder / "train.txt", images, means, len(drawn.CONCEPTS), 16, DIVISOR, scratch=True)
    net.name = "DrawnConcepts"
    layers = {layer.name: layer for layer in net.layer if not any(rule.phase for rule in layer.include)}
    for layer in layers.values():
        for field in layer.convolution_param, layer.inner_product_param:
            if field.HasField("weight_filler"):
                field.weight_filler.Clear()
                field.weight_filler.type = "msra"
                field.bias_filler.value = 0
    first, last = layers["conv1"], layers[paper.NEW_LAYER]
    # Pixels reach 255; what comes after conv1 should be about 1, and stay so.
    first.convolution_param.weight_filler.type, first.convolution_param.weight_filler.std = "gaussian", 0.001
    last.inner_product_param.weight_filler.type, last.inner_product_param.weight_filler.std = "gaussian", 0.01
    for param, rate in zip((*first.param, *last.param), (0.1, 0.2, 1, 2), strict=True):
        param.lr_mult = rate
    last.name = last.top[0] = layers["loss"].bottom[0] = "fc8"
    del net.layer[:]
    net.layer.extend(layers.values())
    return net


def train(caffe, folder: Path, title: str, net, gpu: int | None, source=None, **solver) -> Path:
    """Train a net in its folder by Adam, resuming from a snapshot of the same definitions; returns its weights' path.

    ``title``, ``source`` and the errors are those of `loop.Training`; ``solver`` are more fields of the solver.
    """
    definition = caffe.proto.caffe_pb2.SolverParameter(
        net="train_val.prototxt", type="Adam", momentum=0.9, display=10, snapshot_prefix=snapshots.PREFIX,
        solver_mode=int(gpu is not None), **solver,
    )  # fmt: skip
    texts = {"train_val.prototxt": str(net), loop.SOLVER: str(definition)}
    changed = [write_if_changed(folder / name, text) for name, text in texts.items()]
    training = loop.Training(folder, title, "make the demo with another --seed in another --out", source)
    if any(changed):
        snapshots.keep_only(folder, None)
    return loop.train(caffe, training)
