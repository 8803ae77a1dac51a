"""Architectures as their definitions describe them: stages, blob sizes, parameters, learning rates."""

import os
from dataclasses import dataclass
from pathlib import Path

from sentiment import engine
from sentiment.networks import surgery
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.files import PROJECT

PROTOTXT = PROJECT / "prototxt"


@dataclass(frozen=True)
class Stage:
    """A layer that gives a blob of its own, and what is done to that blob in place.

    Attributes
    ----------
    name, type : str
    shape : tuple of int
        Of its blob, for one image: channels, height, width; or units alone.
    detail : str
        Its window and what follows in place, in a few words.
    parameters : int
    rate : float or None
        The rate of its weights over the solver's; None without weights.
    """

    name: str
    type: str
    shape: tuple
    detail: str
    parameters: int
    rate: float | None


def read(folder) -> list[Stage]:
    """The stages of an architecture, from input to output.

    Parameters
    ----------
    folder : path
        With ``deploy.prototxt``, which shapes are from, and ``train_val.prototxt``, which rates are from.

    Returns
    -------
    list of Stage
    """
    deploy = Path(folder) / "deploy.prototxt"
    net = _net(deploy)
    counts = _counts(net)
    learning = {layer.name: layer for layer in surgery.read_definition(Path(folder) / "train_val.prototxt").layer}
    found, words = [], {}
    for layer in surgery.read_definition(deploy).layer:
        top = layer.top[0]
        if top in layer.bottom:  # in place: said of the stage that gave the blob
            words[top].append(_words(layer))
            continue
        words[top] = [_words(layer)]
        found.append(layer)
    return [
        Stage(
            name=layer.name,
            type=layer.type,
            shape=tuple(net.blobs[layer.top[0]].data.shape[1:]),
            detail=", ".join(filter(None, words[layer.top[0]])),
            parameters=counts.get(layer.name, 0),
            rate=_rate(learning.get(layer.name)) if layer.name in counts else None,
        )
        for layer in found
    ]


def _net(path):
    caffe = engine.start()
    with stderr_to(os.devnull):
        return caffe.Net(str(path), caffe.TEST)


def _counts(net):
    return {name: sum(blob.count for blob in blobs) for name, blobs in net.params.items()}


def _rate(layer):
    """The factor of a layer's first rate; 1 where its definition says nothing."""
    return layer.param[0].lr_mult if layer is not None and len(layer.param) else 1.0


def _words(layer):
    """What a layer does, in a few words."""
    if layer.type == "Convolution":
        param = layer.convolution_param
        words = ["×".join(str(param.kernel_size[-1 if axis else 0]) for axis in (0, 1))]
        words += [f"stride {param.stride[0]}"] if len(param.stride) and param.stride[0] > 1 else []
        words += [f"pad {param.pad[0]}"] if len(param.pad) and param.pad[0] else []
        words += [f"{param.group} groups"] if param.group > 1 else []
        return ", ".join(words)
    if layer.type == "Pooling":
        param = layer.pooling_param
        way = param.PoolMethod.Name(param.pool).lower()
        return f"{way} {param.kernel_size}×{param.kernel_size}, stride {param.stride}"
    if layer.type == "Dropout":
        return f"dropout {layer.dropout_param.dropout_ratio:g}"
    return {"LRN": "local response", "InnerProduct": "", "Input": ""}.get(layer.type, layer.type)
