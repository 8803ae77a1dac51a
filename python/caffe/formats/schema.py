"""Additions to caffe.proto at run time, from text in the language of .proto files (proto2, what Caffe's forks use)."""

import re

from google.protobuf import descriptor_pb2

from ..errors import CaffeError
from ..proto import caffe_pb2, described

_Field = descriptor_pb2.FieldDescriptorProto
_LABELS = {"optional": _Field.LABEL_OPTIONAL, "required": _Field.LABEL_REQUIRED, "repeated": _Field.LABEL_REPEATED}
_SCALARS = "double float int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64 bool string bytes"
_TYPES = {name: getattr(_Field, f"TYPE_{name.upper()}") for name in _SCALARS.split()}
_TOKENS = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\w.+-]+|[^\s\w]""", re.DOTALL)
_MOVED = 1_000_000  # added to the number of a field of BVLC Caffe that a fork uses for another
_OWN = caffe_pb2.DESCRIPTOR


def combined(texts):
    """The description of BVLC Caffe's messages with those of forks; ``texts`` maps a fork's name to its .proto text.

    A message that BVLC Caffe has too is extended by the fields and enum values that it lacks. A field's number is the
    fork's, and a field of BVLC's with that number gets another one. CaffeError if a text cannot be read or if two forks
    do not agree.
    """
    file, own = described(_OWN), described(_OWN).message_type
    owners = {}  # (message, number or name of a field) -> fork, and its field as text
    for fork, text in texts.items():
        try:
            added = _Reader(text).file()
        except _Unreadable as error:
            raise CaffeError(f"The .proto of the fork '{fork}' cannot be read: {error}.") from None
        _add_enums(file, added, fork)
        for message in added.message_type:
            _add_message(file, message, _named(own, message.name), fork, owners)
    return file


def _named(items, name):
    return next((item for item in items if item.name == name), None)


def _add_message(file, message, own, fork, owners):
    known = _named(file.message_type, message.name)
    if known is None:
        known = file.message_type.add(name=message.name)
    _add_enums(known, message, fork)
    for nested in message.nested_type:
        if _named(known.nested_type, nested.name) is None:
            known.nested_type.add().CopyFrom(nested)
    for field in message.field:
        bvlc = _named(own.field, field.name) if own else None
        if bvlc and bvlc.number == field.number:
            continue  # BVLC Caffe's has every value of an older one, as `repeated uint32 pad` has of `optional`
        for key in (field.name, field.number):
            other, described_as = owners.setdefault((message.name, key), (fork, _text(field)))
            if described_as != _text(field):
                raise CaffeError(
                    f"The forks '{other}' and '{fork}' cannot both be on, because they do not agree on a field of "
                    f"{message.name}: {described_as} in '{other}', {_text(field)} in '{fork}'."
                )
        for taken in known.field:
            if taken.number == field.number and taken.name != field.name:
                taken.number += _MOVED
        _set(known, field)


def _set(message, field):
    known = _named(message.field, field.name)
    if known is None:
        known = message.field.add()
    known.CopyFrom(field)


def _text(field):
    kind = field.type_name or next(name for name, number in _TYPES.items() if number == field.type)
    return f"{kind} {field.name} = {field.number}"


def _add_enums(known, added, fork):
    for enum in added.enum_type:
        mine = _named(known.enum_type, enum.name)
        if mine is None:
            known.enum_type.add().CopyFrom(enum)
            continue
        for value in enum.value:
            taken = next((other for other in mine.value if other.number == value.number), None)
            if taken is None and _named(mine.value, value.name) is None:
                mine.value.add().CopyFrom(value)
            elif taken is None or taken.name != value.name:
                raise CaffeError(
                    f"The fork '{fork}' cannot be on: {value.name} = {value.number} in {known.name}.{enum.name} is not "
                    "what BVLC Caffe or another fork has under this name or number; leave it out of its .proto."
                )


class _Unreadable(Exception):
    pass


class _Reader:
    """Descriptions of the messages in a .proto text."""

    def __init__(self, text):
        self.text = text
        self.tokens = [t for t in _TOKENS.finditer(text) if not t[0].startswith(("//", "/*"))]
        self.place = 0

    def file(self):
        out = descriptor_pb2.FileDescriptorProto()
        while self.place < len(self.tokens):
            word = self.take()
            if word == "message":
                self.message(out.message_type.add(name=self.take()))
            elif word == "enum":
                self.enum(out.enum_type.add(name=self.take()))
            elif word in ("syntax", "package", "import", "option"):
                self.statement()
            else:
                self.fail("message or enum", word)
        return out

    def message(self, out):
        self.expect("{")
        while (word := self.take()) != "}":
            if word == "message":
                self.message(out.nested_type.add(name=self.take()))
            elif word == "enum":
                self.enum(out.enum_type.add(name=self.take()))
            elif word in ("reserved", "extensions", "option"):
                self.statement()
            elif word in _LABELS:
                self.field(out.field.add(label=_LABELS[word]))
            elif word != ";":
                self.fail("a field", word)

    def field(self, out):
        kind = self.take()
        if kind in _TYPES:
            out.type = _TYPES[kind]
        else:  # a message or an enum, as is found when all are there
            out.type_name = kind
        out.name = self.take()
        self.expect("=")
        out.number = self.number()
        if (word := self.take()) == "[":
            while word != "]":
                option, _, value = self.take(), self.expect("="), self.take()
                if option == "default":
                    out.default_value = value[1:-1] if value[0] in "'\"" else value
                elif option in ("packed", "deprecated"):
                    setattr(out.options, option, value == "true")
                word = self.take()
            word = self.take()
        if word != ";":
            self.fail("';'", word)

    def enum(self, out):
        self.expect("{")
        while (word := self.take()) != "}":
            if word == "option":
                self.statement()
            elif word != ";":
                self.expect("=")
                out.value.add(name=word, number=self.number())
                self.statement()

    def statement(self):
        while self.take() != ";":
            pass

    def number(self):
        word = self.take()
        try:
            return int(word, 0)
        except ValueError:
            self.fail("a number", word)

    def expect(self, word):
        found = self.take()
        if found != word:
            self.fail(f"'{word}'", found)

    def take(self):
        if self.place == len(self.tokens):
            raise _Unreadable("it ends in the middle of a message")
        self.place += 1
        return self.tokens[self.place - 1][0]

    def fail(self, wanted, found):
        line = self.text.count("\n", 0, self.tokens[self.place - 1].start()) + 1
        raise _Unreadable(f"line {line} has {found} where {wanted} should be")
