"""Lists of image files with their labels, as ImageData and convert_imageset read them."""

import hashlib
import re

from .. import names
from ..errors import CaffeError
from ..formats.storage import refusal


def read_list(source):
    """The lines of a list as [(path, label)], and the file's digest.

    Raises CaffeError, with the number of the line, if one is not a path, a space and an integer.
    """
    try:
        with open(names.for_os(source), "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        raise refusal("Could not open the image list", source, error) from None
    text = content.decode("utf-8", "surrogateescape").rstrip()
    if not text:
        raise CaffeError(f"File is empty: {source} names no images.")
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        name, space, label = line.rpartition(" ")
        if not space:
            raise CaffeError(
                f"Line {number} of {source} has no label: it should be path, space, label, not '{line:.200}'."
            )
        if not re.fullmatch(r"[+-]?[0-9]{1,10}", label) or not -(2**31) <= int(label) < 2**31:
            raise CaffeError(f"Line {number} of {source}: the label '{label:.40}' is not an integer of 32 bits.")
        lines.append((name, int(label)))
    return lines, hashlib.sha256(content).hexdigest()
