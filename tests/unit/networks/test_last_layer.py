"""A source's last layer is what its file says, in any generation of the format."""

import pytest

from caffe.proto import caffe_pb2
from sentiment.networks.architectures import LastLayer
from sentiment.networks.weights_files import last_layer
from sentiment.utils.errors import UserError


def blobs(layer, outputs, inputs, legacy):
    """Weights and bias of a fully connected layer."""
    for values, shape in ([0.5] * outputs * inputs, (outputs, inputs)), ([0.0] * outputs, (outputs,)):
        blob = layer.blobs.add(data=values)
        if legacy:
            padded = (1,) * (4 - len(shape)) + shape
            blob.num, blob.channels, blob.height, blob.width = padded
        else:
            blob.shape.dim.extend(shape)


def current(net, name, outputs, legacy):
    blobs(net.layer.add(name=name, type="InnerProduct"), outputs, 3, legacy)
    net.layer.add(name="prob", type="Softmax")


def v1(net, name, outputs, legacy):
    blobs(net.layers.add(name=name, type=caffe_pb2.V1LayerParameter.INNER_PRODUCT), outputs, 3, legacy)
    net.layers.add(name="prob", type=caffe_pb2.V1LayerParameter.SOFTMAX)


def v0(net, name, outputs, legacy):
    layer = net.layers.add()
    layer.layer.name, layer.layer.type = name, "innerproduct"
    blobs(layer.layer, outputs, 3, legacy)


@pytest.mark.parametrize("generation", [current, v1, v0])
@pytest.mark.parametrize("legacy", [False, True])
def test_name_and_width_come_from_the_file(tmp_path, generation, legacy):
    net = caffe_pb2.NetParameter()
    generation(net, "fc7", 4, legacy)
    generation(net, "fc8-t", 7, legacy)
    path = tmp_path / "any_name_without_suffix"
    path.write_bytes(net.SerializeToString())
    assert last_layer(path) == LastLayer("fc8-t", 7)


def test_what_has_no_last_layer_is_a_sentence(tmp_path):
    path = tmp_path / "empty.caffemodel"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.caffemodel is not a \.caffemodel: it is empty"):
        last_layer(path)
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(b"\x89HDF\r\n")
    with pytest.raises(UserError, match=r"cut\.caffemodel is not a \.caffemodel: it is incomplete"):
        last_layer(path)
    net = caffe_pb2.NetParameter()
    blob = net.layer.add(name="conv10").blobs.add(data=[1.0, 2.0])
    blob.shape.dim.extend((1, 2, 1, 1))
    path = tmp_path / "bare.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match="its last layer conv10 is not fully connected with a bias;"):
        last_layer(path)
