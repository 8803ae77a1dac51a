"""Typed records as JSON: a dataclass names each field, its type and its default in one place.

A field's type is a plain one (``str``, ``int``, ``float``, ``bool``, ``dict``, ``list``, ``tuple``), another record,
``tuple[X, ...]`` or ``dict[key, X]`` of any of these, or a union of one of these with ``None`` or plain types.
"""

from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sentiment.utils.errors import UserError

FLAT = {"flat": True}
"""Metadata of a field that holds a record whose keys are written into the surrounding JSON object."""


def names(cls) -> list[str]:
    """A record's keys in JSON, but for those of fields that `to_json` may leave out."""
    types = get_type_hints(cls)
    found = []
    for field in fields(cls):
        if field.metadata == FLAT:
            found += names(types[field.name])
        elif field.default is not None:
            found.append(field.name)
    return found


def to_json(value) -> Any:
    """A record, or a value in one, as JSON values; a field whose default is None is left out if it is None."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if not is_dataclass(value):
        return value
    found: dict[str, Any] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if field.metadata == FLAT:
            found |= to_json(item)
        elif item is not None or field.default is not None:
            found[field.name] = to_json(item)
    return found


def read(cls, values: dict, where) -> Any:
    """Make a record from its JSON values in the file ``where``; keys that are not fields of it are skipped.

    A field that may be None, or has a default, may be missing, as in files of earlier versions. A `UserError` names a
    value that is missing or of the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object, not {values!r}")
    types, found = get_type_hints(cls), {}
    for field in fields(cls):
        of = types[field.name]
        if field.metadata == FLAT:
            found[field.name] = read(of, values, where)
        elif field.name in values:
            found[field.name] = _value(of, values[field.name], f"{where}: {field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            if NoneType not in get_args(of):
                raise UserError(f"{where}: {field.name} is missing")
            found[field.name] = None
    return cls(**found)


def _value(of, value, where):
    """A field's value from JSON, of type ``of``."""
    if isinstance(of, UnionType):
        first, *others = get_args(of)
        return value if type(value) in others else _value(first, value, where)
    if is_dataclass(of):
        return read(of, value, where)
    kind, parts = get_origin(of) or of, get_args(of)
    if isinstance(value, list) and kind is tuple:
        return tuple(_value(parts[0], item, where) for item in value) if parts else tuple(value)
    if type(value) is int and kind is float:
        return value
    if type(value) is not kind:
        raise UserError(f"{where} must be {kind.__name__}, not {value!r}")
    if kind is not dict or not parts:
        return value
    key, item = parts
    try:
        return {key(name): _value(item, one, f"{where} {name}") for name, one in value.items()}
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
