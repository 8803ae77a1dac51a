"""The one exception the engine raises for what a user's file or definition got wrong, and words for its sentences."""


class CaffeError(RuntimeError):
    """One sentence: what is wrong, where (file, layer, line), and what to do.

    BVLC Caffe prints its message and aborts the process; here the same message is raised. It is a ``RuntimeError``
    because that is what pycaffe raises in the few places where it does raise.
    """


def by(shape):
    """A shape as a sentence gives it: ``3 x 227 x 227``."""
    return " x ".join(map(str, shape))
