"""Names and paths as Caffe's files hold them, bytes, in the Unicode that protobuf's Python messages insist on.

Every byte that is not valid UTF-8 is represented in a message by a private character, U+10FF80 to U+10FFFF. It becomes
that byte again in weights and solver states, and when a file of that name is opened.
"""

import functools
import os

from .proto import caffe_pb2, variant

_SURROGATES = range(0xDC80, 0xDD00)  # Python's characters for bytes that are not UTF-8
_PRIVATE = range(0x10FF80, 0x110000)  # ours
_ESCAPED = dict(zip(_SURROGATES, _PRIVATE, strict=True))
_RAW = dict(zip(_PRIVATE, _SURROGATES, strict=True))
_MARKS = b"\xf4\x8f\xbe", b"\xf4\x8f\xbf"  # how private characters begin in UTF-8


def of_bytes(content):
    """The text of a name's or a file's bytes, whatever their encoding."""
    return content.decode("utf-8", "surrogateescape").translate(_ESCAPED)


def to_bytes(text):
    """The bytes that `of_bytes` took."""
    return for_os(text).encode("utf-8", "surrogateescape")


def printable(text):
    r"""The text with every byte that is not UTF-8 written as ``\xd6``, for messages."""
    return to_bytes(text).decode("utf-8", "backslashreplace")


def of_path(given):
    """A path from the operating system, a command line or a caller (str, bytes or path-like) as text for a message."""
    return os.fsdecode(given).translate(_ESCAPED)


def for_os(text):
    """The path in a message as the operating system takes it; any other path is returned unchanged."""
    return os.fsdecode(text).translate(_RAW)


@functools.lru_cache(maxsize=1)
def _of_bytes(_):
    """The messages of caffe_pb2, whose file's descriptor is given, with bytes for strings."""

    def change(message):
        for field in message.field:
            if field.type == field.TYPE_STRING:
                field.type = field.TYPE_BYTES

    return variant(change)


def empty_of_bytes(message):
    """An empty message of the same type and the same fields, whose strings are bytes."""
    return _of_bytes(caffe_pb2.DESCRIPTOR)(message.DESCRIPTOR.name)()


def take(message, raw):
    """Fill a message with the content of ``raw``, one whose strings are bytes."""
    _map(raw, lambda value: of_bytes(value).encode())
    message.ParseFromString(raw.SerializePartialToString())


def raw_of(message):
    """The message as it is written to files: itself where its strings are UTF-8, else one whose strings are bytes."""
    content = message.SerializePartialToString()
    if not any(mark in content for mark in _MARKS):
        return message
    raw = empty_of_bytes(message)
    raw.ParseFromString(content)
    _map(raw, lambda value: to_bytes(value.decode()))
    return raw


def _map(raw, function):
    """Replace every string of a message whose strings are bytes by ``function`` of it."""
    for field, value in raw.ListFields():
        if field.message_type is not None:
            for part in value if hasattr(value, "extend") else [value]:
                _map(part, function)
        elif field.type == field.TYPE_BYTES and hasattr(value, "extend"):
            value[:] = [function(one) for one in value]
        elif field.type == field.TYPE_BYTES:
            setattr(raw, field.name, function(value))
