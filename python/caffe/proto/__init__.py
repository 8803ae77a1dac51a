"""The protobuf messages of Caffe's files: ``from caffe.proto import caffe_pb2``."""
