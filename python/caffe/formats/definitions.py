"""Definitions of nets and solvers in protobuf's text format (upgrade_proto.cpp, io.cpp)."""

import os
import re

from google.protobuf import text_format

from .. import names
from ..errors import CaffeError
from ..proto import caffe_pb2
from . import known_forks
from .storage import read_text
from .upgrade import upgrade_net, upgrade_solver

refusal: str | None = None  # why the forks that the environment asks for are not on

_V1_TYPE = "caffe.V1LayerParameter.LayerType"
_QUOTES = "'\""
_STRINGS = re.compile(r"""#[^\n]*|"(?:[^"\\\n]|\\.)*("?)|'(?:[^'\\\n]|\\.)*('?)""")
# an escape that protobuf's C++ tokenizer accepts, or else a backslash
_ESCAPES = re.compile(
    r"""\\(?:[abfnrtv\\?'"]|[0-3]?[0-7]{1,2}|[xX][0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}"""
    r"""|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})|\\"""
)


def read_net(path):
    """The net definition in a .prototxt of any generation, upgraded to the current one.

    Raises CaffeError, with file, line and column if known, for a file that cannot be opened, is not text, has a syntax
    error, or uses what is not supported.
    """
    net = parse(path, caffe_pb2.NetParameter())
    upgrade_net(net, os.fspath(path))
    return net


def read_solver(path):
    """The solver definition in a .prototxt; CaffeErrors as for `read_net`."""
    solver = parse(path, caffe_pb2.SolverParameter())
    upgrade_solver(solver, os.fspath(path))
    return solver


def parse(path, message):
    """The message, filled from a definition of any generation as it is; CaffeErrors as for `read_net`."""
    path = os.fspath(path)
    if refusal:
        raise CaffeError(refusal)
    text = read_text(path)
    _check_escapes(path, text)
    raw = names.empty_of_bytes(message)
    try:
        text_format.Parse(text, raw)
    except text_format.ParseError as error:
        place = "".join(f":{n}" for n in (error.GetLine(), error.GetColumn()) if n is not None)
        reason = _reason(error, text)
        raise CaffeError(f"{path}{place}: {reason}; {_advice(reason)}") from error
    except ValueError as error:  # a number out of its field's range
        raise CaffeError(f"{path}: {error}; write another value.") from error
    names.take(message, raw)
    if not message.IsInitialized():
        missing = ", ".join(message.FindInitializationErrors())
        raise CaffeError(f"{path}: required fields are missing: {missing}; add them.")
    return message


def _check_escapes(path, text):
    """Raise CaffeError for an escape in a string that Caffe refuses, some of which protobuf's Python accepts."""
    for token in _STRINGS.finditer(text):
        if token[0].startswith("#"):
            continue
        bad = next((escape for escape in _ESCAPES.finditer(text, *token.span()) if escape[0] == "\\"), None)
        if bad:
            reason = f"Invalid escape sequence in string literal, {text[bad.start() : bad.start() + 2]}"
        elif not (token[1] or token[2]) and "\\" in token[0]:
            reason = "String literals cannot cross line boundaries, and this one has no end before it"
        else:
            continue
        place = (bad or token).start()
        line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
        instead = token[0].strip(_QUOTES).replace("\\", "/")
        raise CaffeError(
            f"{path}:{line}:{column}: {reason}; a backslash begins an escape, so write a path with forward slashes: "
            f"{instead}."
        )


def _reason(error, text):
    """The message of an error without its place and without the quoted line of the file."""
    reason = re.sub(r"^\d+:\d+ : ", "", str(error))
    line = text.split("\n")[error.GetLine() - 1] if error.GetLine() else ""
    return reason.removeprefix(f"'{line}': ").removeprefix("'': ").strip().rstrip(".")[:200]


def _advice(reason):
    """What to do about an error of the text format, from its message."""
    field = re.search(r'Message type "([\w.]+)" has no field named "(\w+)"', reason)
    if field:
        return known_forks.on_field(*field.groups())
    enum = re.search(r'Enum type "([\w.]+)" has no value named (.*)', reason)
    if enum:
        kind, value = enum.groups()
        names_of = caffe_pb2.DESCRIPTOR.pool.FindEnumTypeByName(kind).values_by_name
        if kind == _V1_TYPE and value.strip(_QUOTES) not in names_of:
            return known_forks.on_old_type(value, names_of)
        if value.strip(_QUOTES) in names_of:
            return f"write {value.strip(_QUOTES)}, an enum value, without quotes."
        return "write one of " + ", ".join(names_of) + "."
    word = re.search(r"Expected string but found: '(\w+)'", reason)
    if word:
        if word[1] in caffe_pb2.V1LayerParameter.LayerType.keys():  # noqa: SIM118
            return (
                f"{word[1]} is a type of the old form: rename 'layer' to 'layers' if all layers have it, or write "
                f'type: "{known_forks.OLD_TYPES[word[1]]}".'
            )
        return f'put it in quotes: "{word[1]}".'
    if "should not have multiple" in reason:
        return "keep one of them."
    return "correct the definition there."
