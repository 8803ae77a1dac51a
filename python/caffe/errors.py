"""The exception for mistakes in a user's file, definition or call, and parts of its messages."""

import contextlib


class CaffeError(RuntimeError):
    """One sentence: what is wrong, where (file, layer, line), and what to do.

    BVLC Caffe prints its message and aborts the process; here the same message is raised. It is a ``RuntimeError``
    because that is what pycaffe raises in the few places where it does raise.
    """


_DETECTION = (
    "detection by windows (R-CNN) is not part of this engine; crop the windows and use caffe.Classifier instead"
)
#: What pycaffe has and this engine does not: why, and what to use instead.
ABSENT = {
    "Detector": _DETECTION,
    "detector": _DETECTION,
    "draw": "drawing nets requires pydot and graphviz, which this engine does not use; use a viewer for definitions, "
    "for example Netron, instead",
    "NCCL": "a training runs on one device here; start one process per device for several trainings instead",
}


def absent(name):
    """The message for one of the names in `ABSENT`."""
    return f"caffe.{name} is absent: {ABSENT[name]}."


class AbsentError(CaffeError, ImportError):
    """A module of pycaffe that this engine does not have; also an ImportError, which some scripts catch."""


def shape_text(shape):
    """A shape as text, for example ``3 x 227 x 227``."""
    return " x ".join(map(str, shape))


@contextlib.contextmanager
def at(where):
    """Append the place of an error, in parentheses, to the message of a CaffeError raised in this context."""
    try:
        yield
    except CaffeError as error:
        raise CaffeError(f"{error} ({where}).") from None
