"""Architectures as their definitions describe them: stages, blob sizes, parameters, learning rates."""

import math
from dataclasses import dataclass
from pathlib import Path

from sentiment.networks import definitions
from sentiment.utils.files import PROJECT

PROTOTXT = PROJECT / "prototxt"


@dataclass(frozen=True)
class Stage:
    """A layer with a blob of its own, and the layers that change that blob in place."""

    name: str
    type: str
    shape: tuple  # of its blob, for one image: (channels, height, width), or (units,)
    detail: str  # its window and the layers in place, in a few words
    parameters: int  # weights and biases
    rate: float | None  # of its weights over the solver's; None without weights


def read(folder) -> list[Stage]:
    """The stages of an architecture, from input to output.

    Parameters
    ----------
    folder : path
        With ``deploy.prototxt``, which gives the shapes, and ``train_val.prototxt``, which gives the rates.
    """
    deploy, train_val = (definitions.read(Path(folder) / f"{name}.prototxt") for name in ("deploy", "train_val"))
    fields, shapes = definitions.fields(deploy, str(folder)), definitions.weight_shapes(deploy)
    learning = {layer.name: layer for layer in train_val.layer}
    found, words = [], {}
    for layer in deploy.layer:
        top = layer.top[0]
        if top in layer.bottom:
            words[top].append(_words(layer))
            continue
        words[top] = [_words(layer)]
        found.append(layer)

    def stage(layer):
        top, parameters = layer.top[0], sum(map(math.prod, shapes.get(layer.name, [])))
        field = fields[top]
        shape = (field.channels,) if field.vector else (field.channels, *field.size)
        rate = _rate(learning.get(layer.name)) if parameters else None
        return Stage(layer.name, layer.type, shape, ", ".join(filter(None, words[top])), parameters, rate)

    return [stage(layer) for layer in found]


def _rate(layer):
    """The factor of a layer's first rate; 1 where its definition does not give one."""
    return layer.param[0].lr_mult if layer is not None and len(layer.param) else 1.0


def _words(layer):
    """What a layer does, in a few words."""
    if layer.type == "Convolution":
        (height, width), (stride, _), (pad, _) = definitions.window(layer)
        groups = layer.convolution_param.group
        words = [f"{height}×{width}"]
        words += [f"stride {stride}"] if stride > 1 else []
        words += [f"pad {pad}"] if pad else []
        words += [f"{groups} groups"] if groups > 1 else []
        return ", ".join(words)
    if layer.type == "Pooling":
        param = layer.pooling_param
        way = param.PoolMethod.Name(param.pool).lower()
        return f"{way} {param.kernel_size}×{param.kernel_size}, stride {param.stride}"
    if layer.type == "Dropout":
        return f"dropout {layer.dropout_param.dropout_ratio:g}"
    return {"LRN": "local response", "InnerProduct": "", "Input": ""}.get(layer.type, layer.type)
