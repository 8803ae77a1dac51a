"""Typed records read from JSON: a dataclass names each field, its type and its default in one place."""

from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from sentiment.utils.errors import UserError


def read(cls, values: dict, where) -> Any:
    """Make a dataclass from the JSON object it was written as; keys that are no fields of it are skipped.

    A field that may be None, or has a default, may be missing, as in files of earlier versions.

    Parameters
    ----------
    cls : type
        A dataclass whose fields are annotated with plain types, or unions of them such as ``str | None``.
    where : str or Path
        The file, for error messages.

    Raises
    ------
    UserError
        A value is missing or of the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object, not {values!r}")
    types, found = get_type_hints(cls), {}
    for field in fields(cls):
        allowed = get_args(types[field.name]) or (types[field.name],)
        if field.name in values:
            found[field.name] = _checked(values[field.name], allowed, f"{where}: {field.name}")
        elif type(None) in allowed and field.default is MISSING:
            found[field.name] = None
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{where}: {field.name} is missing")
    return cls(**found)


def _checked(value, allowed, what):
    if isinstance(value, list) and tuple in allowed:
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed:
        return value
    if type(value) not in allowed:
        names = " or ".join("null" if of is type(None) else of.__name__ for of in allowed)
        raise UserError(f"{what} must be {names}, not {value!r}")
    return value
