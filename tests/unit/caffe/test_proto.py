"""The committed schema and its generated module."""

import math
import pickle

import numpy as np
import pytest
from google.protobuf import text_format

from caffe.proto import caffe_pb2


def find(name):
    """The descriptor of a message or enum by its full name in the schema table."""
    first, *rest = name.removeprefix("caffe.").split(".")
    descriptor = caffe_pb2.DESCRIPTOR.message_types_by_name.get(first) or caffe_pb2.DESCRIPTOR.enum_types_by_name[first]
    for part in rest:
        descriptor = descriptor.nested_types_by_name.get(part) or descriptor.enum_types_by_name[part]
    return descriptor


@pytest.fixture(scope="module")
def rows(shared):
    lines = (shared / "spec" / "caffe-schema.tsv").read_text().splitlines()[1:]
    return [(line.split("\t") + [""] * 7)[:7] for line in lines]


def test_schema_is_that_of_caffe(rows):
    for message, number, name, label, kind, default, options in rows:
        if message.startswith("enum "):
            assert find(message.removeprefix("enum ")).values_by_name[name].number == int(number), (message, name)
            continue
        field = find(message).fields_by_name[name]
        assert field.number == int(number), (message, name)
        if field.message_type or field.enum_type:
            assert (field.message_type or field.enum_type).full_name == kind, (message, name)
        else:
            assert field.type == getattr(field, f"TYPE_{kind.upper()}"), (message, name)
        assert field.GetOptions().packed == (options == "packed"), (message, name)
        repeated = hasattr(getattr(find(message)._concrete_class(), name), "extend")
        assert repeated == (label == "repeated"), (message, name)
        if default and not repeated:
            assert same(field, default), (message, name, field.default_value)


def same(field, default):
    """Whether a default is the one of the table."""
    value = field.default_value
    if field.enum_type:
        return field.enum_type.values_by_number[value].name == default
    if isinstance(value, str):
        return value == default.strip("'")
    if isinstance(value, bool):
        return value == (default == "true")
    return math.isclose(np.float32(value), np.float32(default), rel_tol=1e-7)


def test_nothing_beyond_the_schema(rows):
    def size(message):
        values = sum(len(enum.values) for enum in message.enum_types)
        return len(message.fields) + values + sum(map(size, message.nested_types))

    total = sum(map(size, caffe_pb2.DESCRIPTOR.message_types_by_name.values()))
    assert total + len(caffe_pb2.Phase.items()) == len(rows)


def test_generated_module_belongs_to_the_schema_file(root):
    text = (root / "python" / "caffe" / "proto" / "caffe.proto").read_text()
    for name in caffe_pb2.DESCRIPTOR.message_types_by_name:
        assert f"message {name} {{" in text
    assert "package caffe;" in text


def test_messages_pickle():
    net = text_format.Parse("name: 'n' layer { name: 'x' }", caffe_pb2.NetParameter())
    assert pickle.loads(pickle.dumps(net)) == net
