"""Caffe's messages: caffe.proto, the module generated from it, and variants of other types with the same bytes."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from . import caffe_pb2


def variant(change):
    """A function from a message's name to its class, made after ``change`` has edited each message's description."""
    file = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        change(message)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
