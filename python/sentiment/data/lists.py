"""Lists of images with one line `name label` each: label files, fold lists, and what Caffe's ImageData layer reads."""

import logging
from pathlib import Path

from sentiment.paper import CLASSES
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text

log = logging.getLogger(__name__)


def read(path, classes: int = CLASSES, unique: bool = False) -> list[tuple[str, int]]:
    """The (image, label) pairs of a list; empty lines are skipped.

    The label follows the last blank of a line, so names may contain blanks. Labels are 0 to ``classes - 1``; of the
    paper's two, 0 is negative and 1 positive. With ``unique`` an image may be listed only once. A `UserError` names the
    file and the line.
    """
    labels = {str(label): label for label in range(classes)}
    pairs, lines = [], {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip()
        if not line:
            continue
        where = f"{path}, line {number}"
        name, _, label = line.rpartition(" ")
        name = name.strip()
        if not name or label not in labels:
            raise UserError(f"{where}: {_problem(line, name, label, classes)}")
        if unique and name in lines:
            raise UserError(f"{where}: {name} is already listed in line {lines[name]}; keep one of them")
        lines[name] = number
        pairs.append((name, labels[label]))
    if not pairs:
        raise UserError(f"{path} lists no image")
    log.info("read %s: %d images", path, len(pairs))
    return pairs


def text(pairs: list[tuple[str, int]]) -> str:
    """The lines of a list."""
    return "".join(f"{name} {label}\n" for name, label in pairs)


def _problem(line, name, label, classes):
    """What is wrong with a line, and what to do."""
    form = "a line is `name label`, with a blank before the label"
    if not name:
        return f"no label after the image name {line!r}; {form}"
    if line[:2] in ("0 ", "1 "):
        form = f"the name comes first, as in `{line[2:]} {line[0]}`"
    elif Path(label).suffix[1:].isalpha():
        form = f"is the label missing? {form}"
    expected = "0 (negative) or 1 (positive)" if classes == CLASSES else f"a class from 0 to {classes - 1}"
    return f"label {label!r} is not {expected}; {form}"
