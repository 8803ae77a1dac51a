"""A placeholder for pycaffe's drawings of nets: importing it raises an error that says what to use instead."""

from .errors import AbsentError, absent

raise AbsentError(absent("draw"))
