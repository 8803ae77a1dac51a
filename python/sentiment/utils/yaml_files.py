"""YAML files that users write: a mapping whose values are checked against a table of keys."""

import re

import yaml

from sentiment.utils.errors import UserError
from sentiment.utils.files import read_text

# Kinds of values: the type, a pattern for the complete text, and a description for messages.
ANYTHING = (object, r".*", "anything")
TEXT = (str, r".*", "text")
YES_OR_NO = (bool, r".*", "true or false")
COUNT = (int, r"[1-9]\d*", "a whole number above zero")
POSITIVE = ((int, float), r"(?!0(\.0)?$)\d.*", "a number above zero")
LIST = (list, r".*", "a list")


def read_mapping(path) -> dict:
    """The keys and values of a YAML file; a `UserError` says that it cannot be read or is not a mapping."""
    try:
        content = yaml.safe_load(read_text(path)) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected `key: value` lines")
    return content


def checked(mapping: dict, keys: dict[str, tuple], where, required=()) -> dict:
    """Check a mapping against a table of keys (key -> kind of its value), and return it without keys that are blank.

    A `UserError` begins with ``where``, which says where the mapping is from, and names the key that is unknown,
    missing or has a wrong value.
    """
    for key, value in mapping.items():
        if key not in keys:
            raise UserError(f"{where}: unknown key {key!r}; known are {', '.join(keys)}")
        kind, pattern, words = keys[key]
        right = isinstance(value, kind) and re.fullmatch(pattern, str(value), re.DOTALL)
        if value is not None and not right:
            raise UserError(f"{where}: {key} must be {words}, not {value!r}")
    for key in required:
        if mapping.get(key) is None:
            raise UserError(f"{where}: the key {key!r} is missing")
    return {key: value for key, value in mapping.items() if value is not None}
