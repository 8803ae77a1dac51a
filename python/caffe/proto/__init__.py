"""Caffe's messages: caffe.proto, the module generated from it, and variants of other types with the same bytes."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from . import caffe_pb2

_OWN = {name: getattr(caffe_pb2, name) for name in ("DESCRIPTOR", *caffe_pb2.DESCRIPTOR.message_types_by_name)}


def variant(change):
    """A function from a message's name to its class, made after ``change`` has edited each message's description."""
    file = described(caffe_pb2.DESCRIPTOR)
    for message in file.message_type:
        change(message)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))


def described(descriptor):
    """A file's messages as a FileDescriptorProto."""
    file = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


def replace(file):
    """Let caffe_pb2 have the messages that a FileDescriptorProto describes, or with None those of BVLC Caffe.

    Their classes are new, so messages that were made before do not go into new ones.
    """
    new = _OWN
    if file is not None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        made = pool.FindFileByName(file.name)
        new = {name: message_factory.GetMessageClass(m) for name, m in made.message_types_by_name.items()}
        new["DESCRIPTOR"] = made
    for name in set(caffe_pb2.DESCRIPTOR.message_types_by_name) - set(new):
        delattr(caffe_pb2, name)
    for name, value in new.items():
        setattr(caffe_pb2, name, value)
