"""Where pycaffe detects by windows: absent here, and says so to whoever imports it."""

from .errors import AbsentError, absent

raise AbsentError(absent("detector"))
