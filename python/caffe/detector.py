"""A placeholder for pycaffe's detection by windows: importing it raises an error that says what to use instead."""

from .errors import AbsentError, absent

raise AbsentError(absent("detector"))
