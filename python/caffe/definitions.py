"""Nets and solvers as users write them: protobuf's text format (upgrade_proto.cpp, io.cpp)."""

import difflib
import os
import re

from google.protobuf import text_format

from .errors import CaffeError
from .proto import caffe_pb2
from .storage import read_text
from .upgrade import upgrade_net, upgrade_solver


def read_net(path):
    """The net definition in a .prototxt of any generation, upgraded to the current one.

    CaffeError, with file, line and column where there is one, for a file that cannot be opened, is no text, breaks the
    syntax, or uses what is not supported.
    """
    net = _parse(path, caffe_pb2.NetParameter())
    upgrade_net(net, os.fspath(path))
    return net


def read_solver(path):
    """The solver definition in a .prototxt; CaffeErrors as for `read_net`."""
    solver = _parse(path, caffe_pb2.SolverParameter())
    upgrade_solver(solver, os.fspath(path))
    return solver


def _parse(path, message):
    path = os.fspath(path)
    text = read_text(path)
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        place = "".join(f":{n}" for n in (error.GetLine(), error.GetColumn()) if n is not None)
        reason = _reason(error, text)
        raise CaffeError(f"{path}{place}: {reason}; {_advice(reason)}") from error
    except ValueError as error:  # escapes that make no UTF-8, numbers that fit no field
        raise CaffeError(f"{path}: {error}; write another value.") from error
    if not message.IsInitialized():
        missing = ", ".join(message.FindInitializationErrors())
        raise CaffeError(f"{path}: required fields are missing: {missing}; add them.")
    return message


def _reason(error, text):
    """The message of an error without its place, and without the line of the file it quotes."""
    reason = re.sub(r"^\d+:\d+ : ", "", str(error))
    line = text.split("\n")[error.GetLine() - 1] if error.GetLine() else ""
    return reason.removeprefix(f"'{line}': ").removeprefix("'': ").strip().rstrip(".")[:200]


def _advice(reason):
    """What to do about an error of the text format, from its message."""
    field = re.search(r'Message type "([\w.]+)" has no field named "(\w+)"', reason)
    if field:
        kind, name = field.groups()
        descriptor = caffe_pb2.DESCRIPTOR.pool.FindMessageTypeByName(kind)
        close = difflib.get_close_matches(name, [f.name for f in descriptor.fields], n=1)
        if close:
            return f"did you mean {close[0]}?"
        whole = {"caffe.NetParameter": "caffe.SolverParameter", "caffe.SolverParameter": "caffe.NetParameter"}
        if kind not in whole:
            return "check its spelling, and that no closing brace is missing before it."
        if name in caffe_pb2.DESCRIPTOR.pool.FindMessageTypeByName(whole[kind]).fields_by_name:
            return f"it is a field of {whole[kind]}, so check which file was named."
        return "check its spelling, or remove it."
    enum = re.search(r'Enum type "([\w.]+)" has no value', reason)
    if enum:
        values = caffe_pb2.DESCRIPTOR.pool.FindEnumTypeByName(enum[1]).values
        return "write one of " + ", ".join(value.name for value in values) + "."
    if "should not have multiple" in reason:
        return "keep one of them."
    return "correct the definition there."
