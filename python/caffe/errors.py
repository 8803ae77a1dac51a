"""The one exception the engine raises for what a user's file or definition got wrong, and words for its sentences."""

import contextlib


class CaffeError(RuntimeError):
    """One sentence: what is wrong, where (file, layer, line), and what to do.

    BVLC Caffe prints its message and aborts the process; here the same message is raised. It is a ``RuntimeError``
    because that is what pycaffe raises in the few places where it does raise.
    """


#: What pycaffe has and this engine leaves out: why, and what to do instead.
ABSENT = {
    **dict.fromkeys(
        ("Detector", "detector"),
        "detection by windows (R-CNN) is not part of this engine; crop the windows and use caffe.Classifier instead",
    ),
    "draw": "drawing nets takes pydot and graphviz, which are not part of this engine; use a viewer of definitions, "
    "such as Netron, instead",
    "NCCL": "one training runs on one device here; start a process per device for several trainings instead",
}


def absent(name):
    """The sentence for one of these."""
    return f"caffe.{name} is absent: {ABSENT[name]}."


class AbsentError(CaffeError, ImportError):
    """A module of pycaffe's that this engine leaves out; an ImportError, which scripts that can do without look for."""


def by(shape):
    """A shape as a sentence gives it: ``3 x 227 x 227``."""
    return " x ".join(map(str, shape))


@contextlib.contextmanager
def at(where):
    """Add to an error's message where it happened."""
    try:
        yield
    except CaffeError as error:
        raise CaffeError(f"{error} ({where}).") from None
