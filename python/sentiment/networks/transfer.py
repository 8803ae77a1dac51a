"""Copy weights from a file into a net by the names of layers (§3.2)."""

import math
import shlex
from collections.abc import Collection
from pathlib import Path

from sentiment.utils.errors import UserError, sentence_of


def take_over(net, source: str, filled: Collection[str]) -> tuple[list[str], list[str]]:
    """Copy a source's layers into a caffe.Net that was just built.

    Returns the names of the layers copied, and of those that keep their fillers' values; ``filled`` names the layers
    that the net's definition fills. A `UserError` says that the file or a layer's shape does not fit, or that a layer
    would stay all zeros, because the source has no layer of its name and the definition does not fill it.
    """
    # Caffe does not report which layers it copied, so each one's first weight is marked before and checked after.
    before = {name: float(blobs[0].data.flat[0]) for name, blobs in net.params.items()}
    for name in before:
        net.params[name][0].data.flat[0] = math.nan
    try:
        net.copy_from(source)
    except RuntimeError as error:
        if (sentence := sentence_of(error)) is None:
            raise
        sentence = sentence.rstrip(".")
        if "Cannot copy param" in sentence:  # the name fits and the shape does not (net.cpp)
            sentence += f"; `make models FILE={shlex.quote(str(source))}` shows which ARCH it fits"
        raise UserError(sentence) from error
    new = [name for name in before if math.isnan(net.params[name][0].data.flat[0])]
    for name in new:
        net.params[name][0].data.flat[0] = before[name]
    if empty := [name for name in new if name not in filled]:
        raise UserError(
            f"{source} has no layer named {' or '.join(empty)}, which this architecture does not start from random "
            "weights; choose a source that has it, another ARCH, or INIT=scratch"
        )
    return [name for name in before if name not in new], new


def load(caffe, model: str | Path, weights: str | Path):
    """A caffe.Net for testing with every parameter from a .caffemodel.

    A `UserError` says that one of the files is missing, or that the weights lack a layer of the definition.
    """
    for path in (model, weights):
        if not Path(path).is_file():
            raise UserError(f"no file {path}")
    net = caffe.Net(str(model), caffe.TEST)
    _, missing = take_over(net, str(weights), filled=set(net.params))
    if missing:
        raise UserError(f"{weights} has no layer named {missing[0]}, which {model} needs; they do not belong together")
    return net
