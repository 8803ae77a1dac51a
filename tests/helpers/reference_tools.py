"""What the plain references of layers share."""

import numpy as np

FLT_MIN = float(np.finfo(np.float32).tiny)
FLT_MAX = float(np.finfo(np.float32).max)


class Replaced(np.ndarray):
    """A parameter diff that takes the place of what was there; all others add to it."""

    @classmethod
    def of(cls, array):
        """``array``, marked."""
        return np.asarray(array).view(cls)


def canonical(axis, axes):
    """``axis`` counted from the front."""
    return axis + axes if axis < 0 else axis
