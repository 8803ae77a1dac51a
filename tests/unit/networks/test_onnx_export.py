"""Nets as ONNX: every layer computes what Caffe does, blob for blob, whatever the number of images."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import caffe
from caffe import extension
from sentiment.networks import architectures, surgery
from sentiment.utils.errors import UserError

onnx_export = pytest.importorskip(
    "sentiment.networks.onnx_export", reason="exporting needs onnx and onnxruntime, of the optional extra `export`"
)

INPUT = 'name: "net" layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, %s] } } }\n'


def filled(definition, tmp_path):
    """A net with random weights of a size that lets every layer's output count."""
    path = tmp_path / "net.prototxt"
    path.write_text(str(definition))
    net = caffe.Net(str(path), caffe.TEST)
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = rng.normal(0, np.sqrt(2 / max(1, np.atleast_1d(blob.data)[0].size)), blob.data.shape)
    return net


def layer(kind, parameters="", bottoms=("data",), name="layer", top="layer"):
    lines = "".join(f'bottom: "{bottom}" ' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {lines} top: "{top}" {parameters} }}\n'


def one(tmp_path, *layers, shape="6, 9, 11"):
    return filled(INPUT % shape + "".join(layers), tmp_path)


def exported(net):
    model, tensors = onnx_export.export(net, "net.prototxt")
    onnx_export.largest_difference(net, model, tensors, images=3)  # raises where they differ
    return model


@pytest.mark.parametrize("arch", ["finetune", "fc6-2", "squeezenet", "googlenet"])
def test_the_papers_nets(tmp_path, arch):
    model = exported(filled(architectures.deploy(arch, 16), tmp_path))
    [data], [prob] = model.graph.input, model.graph.output
    assert (data.name, prob.name) == ("data", "prob")
    dims = [dim.dim_param or dim.dim_value for dim in data.type.tensor_type.shape.dim]
    assert dims == ["N", 3, *[architectures.ARCHITECTURES[arch].input_size] * 2]


def test_the_fully_convolutional_net(tmp_path):
    conversion = surgery.convert(architectures.deploy("finetune", 16))
    model = exported(filled(conversion.net, tmp_path))
    assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim][1:] == [2, 8, 8]


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"),
    [(3, 2, 0), (3, 2, 1), (2, 2, 1), (3, 3, 2), (4, 3, 1), (2, 4, 1), (5, 1, 2), (2, 3, 1)],
)
def test_pooling_of_every_size_of_image(tmp_path, pool, kernel, stride, pad):
    param = f"pooling_param {{ pool: {pool} kernel_size: {kernel} stride: {stride} pad: {pad} }}"
    for shape in ("2, 7, 8", "2, 9, 10", "2, 6, 11"):
        exported(one(tmp_path, layer("Pooling", param), shape=shape))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("Pooling", "pooling_param { pool: AVE global_pooling: true }"),
        ("Pooling", "pooling_param { pool: MAX global_pooling: true }"),
        ("Pooling", "pooling_param { kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0 pool: AVE }"),
        ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 group: 2 stride: 2 pad: 1 }"),
        ("Convolution", "convolution_param { num_output: 4 kernel_h: 1 kernel_w: 3 bias_term: false dilation: 2 }"),
        ("InnerProduct", "inner_product_param { num_output: 5 }"),
        ("InnerProduct", "inner_product_param { num_output: 5 bias_term: false transpose: true }"),
        ("LRN", "lrn_param { local_size: 3 alpha: 2 beta: 0.6 k: 1.5 }"),
        ("ReLU", ""),
        ("ReLU", "relu_param { negative_slope: 0.2 }"),
        ("Clip", "clip_param { min: -3.5 max: 20 }"),
        ("Swish", "swish_param { beta: 0.1 }"),
        ("Threshold", "threshold_param { threshold: 4 }"),
        ("Tile", "tile_param { axis: -2 tiles: 3 }"),
        ("Dropout", ""),
        ("Softmax", ""),
        ("Softmax", "softmax_param { axis: 2 }"),
        ("Flatten", ""),
        ("BatchNorm", ""),
        ("Scale", "scale_param { bias_term: true }"),
        ("Scale", "scale_param { axis: -2 num_axes: 2 }"),
    ],
)
def test_every_layer(tmp_path, kind, parameters):
    net = one(tmp_path, layer(kind, parameters))
    if kind == "BatchNorm":
        net.params["layer"][1].data[...] = np.abs(net.params["layer"][1].data) * 5000
        net.params["layer"][2].data[...] = 4
    exported(net)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("Concat", ""),
        ("Concat", "concat_param { axis: 2 }"),
        ("Eltwise", ""),
        ("Eltwise", "eltwise_param { operation: SUM coeff: 0.5 coeff: -2 }"),
        ("Eltwise", "eltwise_param { operation: MAX }"),
        ("Eltwise", "eltwise_param { operation: PROD }"),
    ],
)
def test_layers_of_two_bottoms_and_in_place_behind_them(tmp_path, kind, parameters):
    net = one(
        tmp_path,
        layer("Convolution", "convolution_param { num_output: 6 kernel_size: 1 }", name="conv", top="conv"),
        layer("ReLU", bottoms=("conv",), name="relu", top="conv"),
        layer(kind, parameters, bottoms=("conv", "data")),
        layer("ReLU", bottoms=("layer",), name="in place", top="layer"),
    )
    exported(net)


@pytest.mark.parametrize(
    ("kind", "parameters", "reason"),
    [
        ("Power", "power_param { power: 2 }", "layer (Power) is of a type"),
        ("Pooling", "pooling_param { kernel_size: 2 stride: 7 }", "layer (Pooling) has a last window"),
        ("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }", "layer (LRN) normalises within channels"),
        ("InnerProduct", "inner_product_param { num_output: 5 axis: 2 }", "layer (InnerProduct) has axis 2"),
        ("Tile", "tile_param { axis: 0 tiles: 2 }", "layer (Tile) repeats images"),
        ("Flatten", "flatten_param { axis: 2 }", "layer (Flatten) does not flatten"),
        ("BatchNorm", "batch_norm_param { use_global_stats: false }", "layer (BatchNorm) uses the mean of each batch"),
    ],
)
def test_a_layer_without_counterpart_is_named(tmp_path, kind, parameters, reason):
    with pytest.raises(UserError) as error:
        onnx_export.export(one(tmp_path, layer(kind, parameters)), "my.prototxt")
    assert str(error.value).startswith(f"my.prototxt: layer {reason}")


def test_other_values_are_refused(tmp_path):
    net = filled(architectures.deploy("fc6-2", 16), tmp_path)
    model, tensors = onnx_export.export(net, "net.prototxt")
    net.params["conv3"][0].data[0] *= 1.01
    with pytest.raises(UserError, match="conv3"):
        onnx_export.largest_difference(net, model, tensors)
    net.params["conv3"][0].data[0] = np.nan
    with pytest.raises(UserError, match="differs from Caffe"):
        onnx_export.largest_difference(net, model, tensors)


def test_weights_have_pytorchs_names_and_shapes(tmp_path):
    net = one(
        tmp_path,
        layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", name="conv", top="conv"),
        layer("BatchNorm", bottoms=("conv",), name="bn", top="bn"),
        layer("Scale", "scale_param { bias_term: true }", bottoms=("bn",), name="scale", top="scale"),
        layer("InnerProduct", "inner_product_param { num_output: 5 transpose: true }", ("scale",), "fc", "fc"),
    )
    net.params["bn"][1].data[...] = 3, 4, 5, 6
    net.params["bn"][2].data[...] = 2
    net.blobs["data"].data[...] = data = np.random.default_rng(1).normal(size=(2, 6, 9, 11)).astype(np.float32)
    state = {name: torch.from_numpy(values) for name, values in onnx_export.state_dict(net).items()}
    found = functional.conv2d(torch.from_numpy(data), state["conv.weight"], state["conv.bias"])
    statistics = state["bn.running_mean"], state["bn.running_var"], state["scale.weight"], state["scale.bias"]
    found = functional.batch_norm(found, *statistics)
    found = functional.linear(found.flatten(1), state["fc.weight"], state["fc.bias"])
    np.testing.assert_allclose(found.numpy(), net.forward()["fc"], atol=1e-4)
    assert len(state) == 8


@pytest.fixture
def forks():
    """Switch on forks until the test ends."""
    yield caffe.forks
    extension._switch({})


@pytest.mark.parametrize(
    ("fork", "kind", "parameters"),
    [
        ("ssd", "Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
        ("ssd", "Normalize", "norm_param { across_spatial: false channel_shared: false }"),
        ("ssd", "Normalize", "norm_param { eps: 0.1 }"),
        ("segnet", "BN", "bn_param { bn_mode: INFERENCE }"),
        ("pspnet", "BN", ""),
        ("pspnet", "Interp", "interp_param { zoom_factor: 4 pad_beg: -1 }"),
        ("deeplab", "Interp", "interp_param { height: 7 width: 31 pad_end: -2 }"),
        ("shufflenet", "ShuffleChannel", "shuffle_channel_param { group: 3 }"),
        ("mobilenet", "ConvolutionDepthwise", "convolution_param { num_output: 1 kernel_size: 3 stride: 2 }"),
        ("mobilenet", "DepthwiseConvolution", "convolution_param { num_output: 6 group: 6 kernel_size: 3 }"),
        ("ceil-mode", "Pooling", "pooling_param { kernel_size: 2 stride: 2 ceil_mode: false }"),
    ],
)
def test_layers_of_forks(forks, tmp_path, fork, kind, parameters):
    forks(fork)
    net = one(tmp_path, layer(kind, parameters))
    if (fork, kind) == ("pspnet", "BN"):
        net.params["layer"][3].data[...] = 2  # a variance
    exported(net)


def test_a_net_of_ssds_form_without_its_last_layer(forks, tmp_path):
    forks("ssd")
    box = "prior_box_param { min_size: 4 aspect_ratio: 2 variance: 0.1 }"
    exported(one(tmp_path, layer("PriorBox", box, bottoms=("data", "data"))))


def test_upsampling_with_the_places_of_pooling(forks, tmp_path):
    forks("segnet")
    pool = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" top: "mask" '
    pool += "pooling_param { kernel_size: 3 stride: 2 } }"
    exported(one(tmp_path, pool, layer("Upsample", "upsample_param { upsample_h: 9 upsample_w: 11 }", ("p", "mask"))))


def test_axpy_and_squeeze(forks, tmp_path):
    forks("senet", "synopsys")
    pool = layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", name="p", top="p")
    axpy = layer("Axpy", bottoms=("p", "data", "data"))
    exported(one(tmp_path, pool, axpy, layer("Squeeze", "squeeze_param { axis: 2 axis: -1 }", ("p",), "s", "s")))


@pytest.mark.parametrize(
    ("fork", "kind", "parameters"),
    [
        ("ssd", "Permute", "permute_param { order: 1 }"),
        ("segnet", "BN", ""),
    ],
)
def test_layers_of_forks_that_onnx_cannot_say(forks, tmp_path, fork, kind, parameters):
    forks(fork)
    with pytest.raises(UserError, match=f"net.prototxt: layer layer .{kind}."):
        onnx_export.export(one(tmp_path, layer(kind, parameters)), "net.prototxt")
