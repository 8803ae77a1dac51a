"""The demo's stand-ins for the paper's nine initialisations: small networks in the forms of the real files.

The real files differ in more than their weights: in the name and width of the last layer, in the generation of the
format (`layers` or `layer`), in how a blob gives its shape (four legacy numbers or a list), and in whether they come
with a mean of their own. What reads them must not care, so the stand-ins differ in all of this. What they are trained
on follows the real ones: objects alone, sentiment concepts, and for each of six languages its own choice of those, the
more the larger the language's ontology.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from sentiment import paper
from sentiment.demo import drawn

_SENTIMENT = [name for name, (_, mood) in drawn.CONCEPTS.items() if mood]
_OTHER = [name for name, (_, mood) in drawn.CONCEPTS.items() if not mood]
ITERATIONS = 30
BASE_LR = 0.0003

_V1_TYPES = {"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT"}


@dataclass(frozen=True)
class StandIn:
    """What one stand-in is."""

    concepts: list  # its classes, names in drawn.CONCEPTS
    last: str  # the name of its last layer
    parent: str | None = None  # the stand-in that its training starts from; None: the demo's source model
    v1: bool = False  # in the format of 2014, with `layers`
    legacy: bool = False  # its blobs give num, channels, height and width
    own_mean: bool = False  # with the mean of its own images, instead of caffenet's


STAND_INS = {
    "caffenet": StandIn(list(drawn.CONCEPTS), "fc8", v1=True, legacy=True),
    "places": StandIn(_OTHER, "fc8", v1=True, legacy=True, own_mean=True),
    "deepsentibank": StandIn(_SENTIMENT, "fc8-t", v1=True, legacy=True),
    "mvso_en": StandIn(_SENTIMENT + _OTHER, "fc8_mvso_en", "deepsentibank"),
    "mvso_es": StandIn(_SENTIMENT + _OTHER[::2], "fc8-es", "deepsentibank", legacy=True),
    "mvso_fr": StandIn(_SENTIMENT[:8], "fc8_twitter_fr", "deepsentibank"),
    "mvso_it": StandIn(_SENTIMENT, "fc8-mvso-it", "deepsentibank", v1=True),
    "mvso_de": StandIn(_SENTIMENT[:6], "fc8_de", "deepsentibank"),
    "mvso_zh": StandIn(_SENTIMENT[:4], "class_zh", "deepsentibank"),
}
"""By the name of the model card they stand in for, each after its parent."""


def own_images(stand_in: StandIn, pairs) -> list[tuple[str, int]]:
    """The source task's (image, label) pairs that show a stand-in's concepts, labelled by their place among these."""
    names = list(drawn.CONCEPTS)
    place = {names.index(concept): label for label, concept in enumerate(stand_in.concepts)}
    return [(image, place[label]) for image, label in pairs if label in place]


def in_form(model, stand_in: StandIn):
    """The layers with weights of a NetParameter, in a stand-in's form, the last one by its name; a NetParameter."""
    from caffe.proto import caffe_pb2

    written = caffe_pb2.NetParameter(name=model.name)
    learned = [layer for layer in model.layer if layer.blobs]
    for layer in learned:
        name = stand_in.last if layer is learned[-1] else layer.name
        if stand_in.v1:
            kind = caffe_pb2.V1LayerParameter.LayerType.Value(_V1_TYPES[layer.type])
            blobs = written.layers.add(name=name, type=kind).blobs
        else:
            blobs = written.layer.add(name=name, type=layer.type).blobs
        blobs.extend(layer.blobs)
        for blob in blobs if stand_in.legacy else ():
            shape = list(blob.shape.dim)
            blob.num, blob.channels, blob.height, blob.width = [1] * (4 - len(shape)) + shape
            blob.ClearField("shape")
    return written


def mean_image(paths) -> np.ndarray:
    """The mean of images of one size: (3, height, width) float32, BGR, 0 to 255."""
    total = sum((np.asarray(cv2.imread(str(path)), np.float64) for path in paths), np.zeros(()))
    return (total / len(paths)).transpose(2, 0, 1).astype(np.float32)


def even_image(means) -> np.ndarray:
    """A mean image of the same three channel means, BGR, everywhere."""
    return np.broadcast_to(np.reshape(np.float32(means), (3, 1, 1)), (3, paper.IMAGE_SIZE, paper.IMAGE_SIZE))
