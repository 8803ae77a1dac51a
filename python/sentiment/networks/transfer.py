"""Taking a source model's layers over into a new net, by name (§3.2)."""

import functools
import math
import shlex

from sentiment.networks import inspection
from sentiment.networks.architectures import LastLayer
from sentiment.utils.errors import UserError, sentence_of

OTHER_SHAPE = "Cannot copy param"
"""What Caffe says of a layer of the right name that does not fit (net.cpp); a damaged file fits nothing."""


def take_over(net, source, filled) -> tuple[list[str], list[str]]:
    """Copy a source's layers into a net that was just built.

    Parameters
    ----------
    net : caffe.Net
    source : str
        Path of the weights.
    filled : collection of str
        Layers that the net's definition fills.

    Returns
    -------
    taken, new : list of str
        The layers copied, and those left to their fillers.

    Raises
    ------
    UserError
        The file or a layer's shape does not fit, or a layer would stay all zeros: the source has none of its
        name, and the definition does not fill it.
    """
    # Caffe does not say what it copied, so each layer's first weight is marked before and looked at after.
    before = {name: float(blobs[0].data.flat[0]) for name, blobs in net.params.items()}
    for name in before:
        net.params[name][0].data.flat[0] = math.nan
    try:
        net.copy_from(source)
    except RuntimeError as error:
        if (sentence := sentence_of(error)) is None:
            raise
        advice = (
            f"; `make models FILE={shlex.quote(str(source))}` tells which ARCH it fits"
            if OTHER_SHAPE in sentence
            else ""
        )
        raise UserError(f"{sentence.rstrip('.')}{advice}") from error
    new = [name for name in before if math.isnan(net.params[name][0].data.flat[0])]
    for name in new:
        net.params[name][0].data.flat[0] = before[name]
    if empty := [name for name in new if name not in filled]:
        raise UserError(
            f"{source} has no layer named {' or '.join(empty)}, and this architecture starts none of that name anew; "
            "choose a source that has it, another ARCH, or INIT=scratch"
        )
    return [name for name in before if name not in new], new


@functools.cache
def last_layer(source) -> LastLayer:
    """A source model's own last layer, as its file has it: the last one with a matrix of weights, of any generation.

    Parameters
    ----------
    source : Path
        A .caffemodel.

    Returns
    -------
    nets.LastLayer

    Raises
    ------
    UserError
        The file is none, or its last layer is not fully connected with a bias.
    """
    last = inspection.read(source).last
    if last is None:
        raise UserError(f"{source} does not tell which of its layers is the last; a .caffemodel that is no HDF5 does")
    if len(last.shapes) != 2:
        raise UserError(f"{source}: its last layer {last.name} is not fully connected with a bias; it cannot be kept")
    return LastLayer(last.name, last.outputs)
