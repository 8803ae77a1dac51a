"""Definitions written as Python."""

import copy
import os

import numpy as np
import pytest
from google.protobuf import text_format

from caffe import names
from caffe.net_spec import NetSpec, to_proto
from caffe.net_spec import layers as L
from caffe.net_spec import params as P
from caffe.proto import caffe_pb2


def parse(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


LENET = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
        dummy_data_param { shape { dim: 8 dim: 1 dim: 28 dim: 28 } shape { dim: 8 dim: 1 dim: 1 dim: 1 } }
        transform_param { scale: 0.00390625 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { kernel_size: 5 num_output: 20 weight_filler { type: "xavier" } }
        param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { kernel_size: 2 stride: 2 pool: MAX } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
        convolution_param { kernel_size: 5 num_output: 50 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
        pooling_param { kernel_size: 2 stride: 2 pool: AVE } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
        inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
        inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""


def data(**params):
    return L.DummyData(
        shape=[dict(dim=[8, 1, 28, 28]), dict(dim=[8, 1, 1, 1])], transform_param=dict(scale=1 / 256), ntop=2, **params
    )


def lenet():
    n = NetSpec()
    n.data, n.label = data()
    n.conv1 = L.Convolution(
        n.data,
        kernel_size=5,
        num_output=20,
        weight_filler=dict(type="xavier"),
        param=[dict(lr_mult=1), dict(lr_mult=2, decay_mult=0)],
    )
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(n.pool1, kernel_size=5, num_output=50, weight_filler=dict(type="xavier"))
    n["pool2"] = L.Pooling(n["conv2"], kernel_size=2, stride=2, pool=P.Pooling.AVE)
    n.ip1 = L.InnerProduct(n.pool2, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
    return n


def test_lenet():
    assert lenet().to_proto() == parse(LENET)


def test_spec_can_be_copied():
    assert copy.deepcopy(lenet()).to_proto() == lenet().to_proto()


def test_layers_without_a_spec_are_numbered_by_type():
    top, label = data()
    for kernel in (5, 3):
        top = L.Pooling(L.Convolution(top, kernel_size=kernel), kernel_size=2)
    net = to_proto(L.SoftmaxWithLoss(top, label))
    names = ["DummyData1", "Convolution1", "Pooling1", "Convolution2", "Pooling2", "SoftmaxWithLoss1"]
    assert sorted(layer.name for layer in net.layer) == sorted(names)
    assert net.layer[-1].name == "SoftmaxWithLoss1"
    assert list(net.layer[0].top) == ["DummyData1", "DummyData2"]
    made = set()
    for layer in net.layer:
        assert made.issuperset(layer.bottom)
        made.update(layer.top)
    assert len({bottom for layer in net.layer for bottom in layer.bottom}) == 6


def test_every_layer_on_the_way_is_written_once():
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1]))
    n.sum = L.Eltwise(L.ReLU(n.data), L.TanH(n.data))
    assert [layer.type for layer in n.to_proto().layer] == ["Input", "ReLU", "TanH", "Eltwise"]
    assert n.sum.to_proto().layer[-1].type == "Eltwise"


def test_zero_tops():
    n = NetSpec()
    n.data, n.label = data()
    n.silence = L.Silence(n.data, n.label, ntop=0)
    layer = n.to_proto().layer[-1]
    assert (layer.name, layer.type, list(layer.bottom), list(layer.top)) == (
        "silence",
        "Silence",
        ["data", "label"],
        [],
    )


def test_zero_tops_without_a_name():
    top, label = data()
    net = to_proto(L.Silence(top, ntop=0), L.Silence(label, ntop=0))
    assert [layer.name for layer in net.layer] == ["DummyData1", "Silence1", "Silence2"]


def test_inputs_must_be_tops():
    with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>\)$"):
        L.Silence(data(), ntop=0)
    with pytest.raises(TypeError, match="Eltwise input 1 is not a Top"):
        L.Eltwise(data()[0], "conv1")


def test_given_layer_name_wins():
    n = NetSpec()
    n.score = L.InnerProduct(data()[0], name="fc8")
    layer = n.to_proto().layer[-1]
    assert (layer.name, list(layer.top)) == ("fc8", ["score"])


def test_values_become_messages_and_repeated_fields():
    top = L.Convolution(
        data()[0],
        kernel_size=(3, np.int64(5)),
        pad=1,
        include=dict(phase=caffe_pb2.TEST),
        param=dict(name="w"),
        loss_weight=1,
    )
    expected = parse("""layer {
        name: "Convolution1" type: "Convolution" bottom: "DummyData1" top: "Convolution1"
        include { phase: TEST } param { name: "w" } loss_weight: 1
        convolution_param { kernel_size: [3, 5] pad: 1 } }""")
    assert top.to_proto().layer[-1] == expected.layer[0]


def test_empty_lists_are_allowed():
    assert not L.Reshape(data()[0], param=[]).to_proto().layer[-1].param


def test_every_type_with_parameters_takes_them_directly():
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields
    own = {
        field.message_type.name.removesuffix("Parameter"): field
        for field in fields
        if field.name.endswith("_param") and field.name not in ("transform_param", "loss_param")
    }
    assert {"Convolution", "InnerProduct", "HDF5Data", "ImageData", "ELU", "BatchNorm", "Python"} <= own.keys()
    for type_name, field in own.items():
        for inner in field.message_type.fields:
            if inner.type == inner.TYPE_BOOL:
                layer = getattr(L, type_name)(**{inner.name: True}).to_proto().layer[0]
                assert getattr(getattr(layer, field.name), inner.name) is True


def test_types_that_share_or_lack_a_message():
    top = L.Deconvolution(data()[0], convolution_param=dict(num_output=2, kernel_size=4))
    assert top.to_proto().layer[-1].convolution_param.num_output == 2
    assert L.AbsVal(data()[0], propagate_down=False).to_proto().layer[-1].propagate_down == [False]


def test_unknown_parameters_name_the_layer():
    n = NetSpec()
    n.conv1 = L.Convolution(data()[0], kernal_size=3)
    with pytest.raises(AttributeError, match="Convolution layer 'conv1' has no parameter 'kernal_size'"):
        n.to_proto()
    with pytest.raises(AttributeError, match="FillerParameter has no field 'typ'"):
        L.Convolution(data()[0], weight_filler=dict(typ="xavier")).to_proto()


def test_values_of_the_wrong_type_name_the_layer():
    with pytest.raises(TypeError, match="Convolution layer 'Convolution1', num_output='many'"):
        L.Convolution(data()[0], num_output="many").to_proto()


def test_names_that_are_not_there():
    n = NetSpec()
    assert not hasattr(n, "conv1")
    with pytest.raises(KeyError):
        n["conv1"]
    with pytest.raises(AttributeError, match="no NopeParameter"):
        P.Nope.MAX  # noqa: B018
    with pytest.raises(AttributeError):
        P.Pooling.NOPE  # noqa: B018


def test_names_can_be_listed_and_deleted():
    n = lenet()
    assert n.keys()[:3] == ["data", "label", "conv1"]
    assert n.vals()[2] is n.conv1
    del n.loss
    del n["ip2"]
    assert n.to_proto() == parse(LENET[: LENET.index('layer { name: "ip2"')])


def test_paths_and_names_of_any_bytes():
    path = os.fsdecode(b"p\xe9")
    spec = NetSpec()
    spec[path] = L.Python(module=path, layer="x", param=[{"name": b"\xe9"}])
    (layer,) = spec.to_proto().layer
    given = layer.name, layer.top[0], layer.python_param.module, layer.param[0].name
    assert [names.to_bytes(text) for text in given] == [b"p\xe9", b"p\xe9", b"p\xe9", b"\xe9"]
