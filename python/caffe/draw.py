"""Where pycaffe draws nets: absent here, and says so to whoever imports it."""

from .errors import AbsentError, absent

raise AbsentError(absent("draw"))
