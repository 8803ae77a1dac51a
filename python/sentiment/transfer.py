"""Taking a source model's layers over into a new net, by name (§3.2)."""

import math

from sentiment.console import UserError


def take_over(net, source, filled):
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
        A layer would stay all zeros: the source has none of its name, and the definition does not fill it.
    """
    # Caffe does not say what it copied, so each layer's first weight is marked before and looked at after.
    before = {name: float(blobs[0].data.flat[0]) for name, blobs in net.params.items()}
    for name in before:
        net.params[name][0].data.flat[0] = math.nan
    net.copy_from(source)
    new = [name for name in before if math.isnan(net.params[name][0].data.flat[0])]
    for name in new:
        net.params[name][0].data.flat[0] = before[name]
    if empty := [name for name in new if name not in filled]:
        raise UserError(
            f"{source} has no layer named {' or '.join(empty)}, and this architecture starts none of that name anew; "
            "choose a source that has it, another ARCH, or INIT=scratch"
        )
    return [name for name in before if name not in new], new
