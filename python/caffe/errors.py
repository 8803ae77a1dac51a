"""The exception for mistakes in a user's file, definition or call, and parts of its messages."""

import contextlib


class CaffeError(RuntimeError):
    """One sentence: what is wrong, where (file, layer, line), and what to do.

    BVLC Caffe prints its message and aborts the process; here the same message is raised. It is a ``RuntimeError``
    because that is what pycaffe raises in the few places where it does raise.
    """


class AbsentError(CaffeError, ImportError):
    """A library that only a part of pycaffe needs is not installed; also an ImportError, which some scripts catch."""


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
