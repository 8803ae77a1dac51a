"""The layout of an architecture, read from its definitions: stages, blob sizes, parameters, learning rates."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment.networks import definitions
from sentiment.utils.files import PROJECT

PROTOTXT = PROJECT / "prototxt"


@dataclass(frozen=True)
class Stage:
    """A layer with a blob of its own, and the layers that change that blob in place."""

    name: str
    type: str
    shape: tuple  # the shape of its blob for one image: (channels, height, width), or (units,)
    detail: str  # its window and the layers in place, in a few words
    parameters: int  # weights and biases
    rate: float | None  # lr_mult of its weights (1 if not given); None without weights


def read(folder: str | Path) -> list[Stage]:
    """The stages of an architecture, from input to output, read from the two definitions in its folder."""
    deploy, train_val = (definitions.read(Path(folder) / f"{name}.prototxt") for name in ("deploy", "train_val"))
    fields, shapes = definitions.fields(deploy, str(folder)), definitions.weight_shapes(deploy)
    rates = {layer.name: layer.param[0].lr_mult for layer in train_val.layer if len(layer.param)}
    stages: dict[str, Stage] = {}
    for layer in deploy.layer:
        top, words = layer.top[0], _words(layer)
        if top in layer.bottom:  # in place
            details = filter(None, (stages[top].detail, words))
            stages[top] = replace(stages[top], detail=", ".join(details))
            continue
        field, parameters = fields[top], sum(map(math.prod, shapes.get(layer.name, [])))
        shape = (field.channels,) if field.vector else (field.channels, *field.size)
        rate = rates.get(layer.name, 1.0) if parameters else None
        stages[top] = Stage(layer.name, layer.type, shape, words, parameters, rate)
    return list(stages.values())


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
