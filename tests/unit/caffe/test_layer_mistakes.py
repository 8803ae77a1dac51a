"""Layers that cannot be as they are defined: one sentence that says why and names the layer, never a wrong number."""

import re

import pytest

from caffe.errors import CaffeError
from helpers.layer_checks import build, input_layer, layer

IMAGE = (2, 4, 6, 6)

# layer definition, shapes of its bottoms, what the sentence says
MISTAKES = [
    ("type: 'Convolution' convolution_param { kernel_size: 3 }", [IMAGE], "num_output must be positive"),
    ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 0 }", [IMAGE], "Filter dimensions"),
    ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 3 stride: 0 }", [IMAGE], "Stride dimensions"),
    ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 3 dilation: 0 }", [IMAGE], "Dilation"),
    ("type: 'Convolution' convolution_param { num_output: 6 kernel_size: 3 group: 3 }", [IMAGE], "multiple of group 3"),
    ("type: 'Convolution' convolution_param { num_output: 3 kernel_size: 3 group: 2 }", [IMAGE], "multiples of group"),
    ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 7 }", [IMAGE], "The kernel does not fit"),
    ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: [3, 3, 3] }", [IMAGE], "specified 3 times"),
    (
        "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 3 kernel_h: 3 kernel_w: 3 }",
        [IMAGE],
        "Either kernel_size or kernel_h/kernel_w",
    ),
    (
        "type: 'Convolution' convolution_param { num_output: 2 kernel_h: 3 kernel_w: 3 }",
        [(2, 4, 6)],
        "can only be used for 2D convolution",
    ),
    ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }", [(1, 1, 2, 2, 2, 2)], "3 spatial axes"),
    ("type: 'InnerProduct' inner_product_param { num_output: 0 }", [IMAGE], "num_output must be positive"),
    ("type: 'Pooling' pooling_param { global_pooling: true kernel_size: 2 }", [IMAGE], "With Global_pooling: true"),
    ("type: 'Pooling' pooling_param { global_pooling: true stride: 2 }", [IMAGE], "only pad = 0 and stride = 1"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 stride: 0 }", [IMAGE], "Stride dimensions must be nonzero"),
    ("type: 'Pooling' pooling_param { kernel_size: 0 }", [IMAGE], "Filter dimensions cannot be zero"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 pad: 2 }", [IMAGE], "must be smaller than the kernel"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 stride_h: 2 }", [IMAGE], "stride_h and stride_w must both"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1 }", [IMAGE], "pad OR pad_h and pad_w"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 }", [(2, 4)], "Input must have 4 axes"),
    ("type: 'LRN' lrn_param { norm_region: WITHIN_CHANNEL }", [(2, 4)], "Input must have 4 axes"),
    ("type: 'PReLU'", [(4,)], ">=2"),
    ("type: 'Exp' exp_param { base: -2 }", [IMAGE], "base must be strictly positive"),
    ("type: 'Log' log_param { base: 1 }", [IMAGE], "strictly positive and not 1"),
    ("type: 'Dropout' dropout_param { dropout_ratio: 1 }", [IMAGE], "less than 1, not 1"),
    ("type: 'Concat' concat_param { axis: 1 concat_dim: 1 }", [IMAGE, IMAGE], "Either axis or concat_dim"),
    ("type: 'Concat' concat_param { concat_dim: 7 }", [IMAGE, IMAGE], "axis 7 out of range"),
    ("type: 'Concat'", [IMAGE, (2, 4)], "same #axes"),
    ("type: 'Slice' slice_param { axis: 1 slice_dim: 1 }", [IMAGE], "Either axis or slice_dim"),
    ("type: 'Slice' slice_param { slice_point: [1, 2] }", [IMAGE], "1 tops take 0 slice points, not 2"),
    ("type: 'Eltwise' eltwise_param { operation: PROD coeff: [1, 2] }", [IMAGE, IMAGE], "coefficients for summation"),
    ("type: 'Flatten' flatten_param { axis: 3 end_axis: 1 }", [IMAGE], "end_axis 1 lies before axis 3"),
    ("type: 'Reshape' reshape_param { axis: 3 num_axes: 1 shape { dim: [1, 0] } }", [IMAGE], "cannot be made from"),
    ("type: 'Reshape' reshape_param { axis: 9 }", [IMAGE], "axis 9 out of range"),
    ("type: 'Reshape' reshape_param { axis: 1 num_axes: 9 }", [IMAGE], "num_axes 9 reaches beyond"),
    ("type: 'Reshape' reshape_param { shape { dim: [-1, -1] } }", [IMAGE], "multiple -1 dims"),
    ("type: 'Reshape' reshape_param { shape { dim: [-1, 5] } }", [IMAGE], "must be divisible"),
    ("type: 'Crop' crop_param { axis: 2 offset: [1, 1, 1] }", [IMAGE, IMAGE], "number of offset values"),
    ("type: 'Crop' crop_param { axis: 2 }", [IMAGE, (2, 4)], "has no axis 2 to crop to"),
    ("type: 'Scale' scale_param { num_axes: -2 }", [IMAGE], "num_axes must be non-negative"),
    ("type: 'Bias' bias_param { num_axes: 9 }", [IMAGE], "extends past"),
    ("type: 'ArgMax' argmax_param { top_k: 0 }", [IMAGE], "top k must not be less than 1"),
    ("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 2 pad: 1 }", [IMAGE], "Padding implemented only"),
    ("type: 'Im2col' convolution_param { kernel_size: [3, 3, 3] }", [IMAGE], "specified 3 times"),
    ("type: 'Im2col' convolution_param { kernel_size: 7 }", [IMAGE], "The kernel does not fit"),
    ("type: 'Im2col' convolution_param { kernel_size: 1 }", [(2, 4)], "at least one spatial axis"),
    ("type: 'SPP' spp_param { }", [IMAGE], "pyramid_height must be positive"),
    ("type: 'SPP' spp_param { pyramid_height: 1 }", [(2, 4)], "Input must have 4 axes"),
    ("type: 'SPP' spp_param { pyramid_height: 4 }", [(1, 1, 2, 8)], "must be smaller than the kernel"),
    ("type: 'MVN'", [(1, 1, 1, 1, 1)], "up to 4 axes"),
    ("type: 'Embed' embed_param { input_dim: 3 }", [(2,)], "num_output must be positive"),
    ("type: 'Embed' embed_param { num_output: 3 }", [(2,)], "input_dim must be positive"),
    ("type: 'Tile'", [IMAGE], "Number of tiles must be specified"),
    ("type: 'Tile' tile_param { tiles: 0 }", [IMAGE], "Number of tiles must be positive"),
    ("type: 'Tile' tile_param { tiles: 2 axis: 4 }", [IMAGE], "axis 4 out of range"),
    ("type: 'BatchReindex'", [IMAGE, (2, 1)], "must have one axis"),
    ("type: 'Filter'", [IMAGE, IMAGE, (2,)], "a top for each bottom but the selector"),
    ("type: 'Filter'", [IMAGE, (2, 2)], "must be singletons"),
    ("type: 'Filter'", [IMAGE, (3, 1)], "same 0th dimension"),
    ("type: 'InfogainLoss'", [(2, 4), (2,)], "Infogain matrix source must be specified"),
    ("type: 'InfogainLoss'", [(2, 4), (2,), (4, 3)], "H must be 4x4"),
    ("type: 'InfogainLoss' loss_param { normalize: true }", [(2, 4), (2,), (4, 4)], "normalize is deprecated"),
    ("type: 'InfogainLoss'", [(2, 4, 3), (2,), (4, 4)], "Number of labels must match"),
    ("type: 'InfogainLoss' infogain_loss_param { source: '/absent' }", [(2, 4), (2,)], "/absent"),
    ("type: 'MultinomialLogisticLoss'", [(2, 4), (2, 2)], "one label for each item"),
    ("type: 'ContrastiveLoss'", [(2, 4), (2, 3), (2,)], "the same channels"),
    ("type: 'ContrastiveLoss'", [(2, 4, 2), (2, 4, 2), (2,)], "must be vectors"),
    ("type: 'ContrastiveLoss'", [(2, 4), (2, 4), (3,)], "a number for each pair"),
    ("type: 'SigmoidCrossEntropyLoss'", [(2, 4), (2, 3)], "same count"),
    ("type: 'EuclideanLoss'", [(2, 4), (3, 4)], "same first dimension"),
]


@pytest.mark.parametrize(("body", "bottoms", "said"), MISTAKES, ids=[said for *_, said in MISTAKES])
def test_a_wrong_definition_is_a_sentence_with_the_layers_name(body, bottoms, said):
    names = [f"b{number}" for number in range(len(bottoms))]
    inputs = "".join(input_layer(name, shape) for name, shape in zip(names, bottoms))
    with pytest.raises(CaffeError, match=f"{re.escape(said)}.*'culprit'"):
        build(inputs + layer("culprit", " ".join(names), "top", body))


@pytest.mark.parametrize(
    ("body", "shape", "other", "said"),
    [
        ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }", IMAGE, (2, 5, 6, 6), "5 channels"),
        ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }", IMAGE, (2, 4), "num_axes"),
        ("type: 'InnerProduct' inner_product_param { num_output: 2 }", IMAGE, (2, 4, 6, 7), "Input size incompatible"),
        ("type: 'PReLU'", IMAGE, (2, 5, 6, 6), "5 channels.*4"),
        ("type: 'BatchNorm'", IMAGE, (2, 5, 6, 6), "5 channels.*4"),
    ],
)
def test_an_input_that_no_longer_fits_the_weights(body, shape, other, said):
    net = build(input_layer("b", shape) + layer("culprit", "b", "top", body))
    net.blobs["b"].reshape(*other)
    with pytest.raises(CaffeError, match=f"{said}.*'culprit'"):
        net.forward()


@pytest.mark.parametrize(
    ("body", "shapes", "given", "said"),
    [
        ("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 2 }", [IMAGE], 0, "Not Implemented Yet"),
        ("type: 'SPP' spp_param { pyramid_height: 2 pool: STOCHASTIC }", [IMAGE], 0, "Not Implemented Yet"),
        ("type: 'BatchReindex'", [(2, 3), (4,)], 2, "reindex layer 2 is not below 2"),
        ("type: 'BatchReindex'", [(2, 3), (4,)], -0.5, "reindex layer -0.5 is negative"),
        ("type: 'Embed' embed_param { input_dim: 3 num_output: 2 }", [(2,)], 3, "3 is not below 3"),
        ("type: 'MultinomialLogisticLoss'", [(2, 3), (2,)], 3, "Label 3 is outside"),
        ("type: 'InfogainLoss'", [(2, 3), (2,), (3, 3)], -1, "Label -1 is outside"),
    ],
)
def test_what_only_forward_can_refuse(body, shapes, given, said):
    names = [f"b{number}" for number in range(len(shapes))]
    inputs = "".join(map(input_layer, names, shapes))
    net = build(inputs + layer("culprit", " ".join(names), "top", body))
    for name in names[:2][-1:]:
        net.blobs[name].data[...] = given
    with pytest.raises(CaffeError, match=f"{said}.*'culprit'"):
        net.forward()


@pytest.mark.parametrize(
    ("body", "shapes", "said"),
    [
        ("type: 'Threshold'", [(2, 3)], "Not Implemented Yet"),
        ("type: 'BatchReindex'", [(2, 3), (4,)], "Cannot backprop to index"),
        ("type: 'Embed' embed_param { input_dim: 3 num_output: 2 }", [(2,)], "Can't backpropagate to EmbedLayer input"),
        ("type: 'Filter'", [(2, 3), (2,)], "cannot backpropagate to filter index"),
        ("type: 'InfogainLoss'", [(2, 3), (2,), (3, 3)], "cannot backpropagate to infogain inputs"),
    ],
)
def test_a_gradient_that_there_is_not(body, shapes, said):
    names = [f"b{number}" for number in range(len(shapes))]
    inputs = "force_backward: true " + "".join(map(input_layer, names, shapes))
    net = build(inputs + layer("culprit", " ".join(names), "top", body))
    net.forward()
    with pytest.raises(CaffeError, match=f"{said}.*'culprit'"):
        net.backward()


def wrong(body, *shapes, tops=1):
    """The definition of one layer over inputs of these shapes."""
    names = [f"b{i}" for i in range(len(shapes))]
    text = "".join(input_layer(n, s) for n, s in zip(names, shapes))
    return text + layer("culprit", " ".join(names), " ".join(f"t{i}" for i in range(tops)), body)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (wrong("type: 'Convolusion'", (1, 1, 3, 3)), "Unknown layer type: Convolusion"),
        (wrong("type: 'ReLU'", (1, 2), (1, 2)), "ReLU Layer takes 1 bottom blob(s) as input"),
        (wrong("type: 'Eltwise'", (1, 2)), "Eltwise Layer takes at least 2 bottom blob(s) as input"),
        (wrong("type: 'Softmax'", (1, 2), tops=2), "Softmax Layer produces 1 top blob(s) as output"),
        (wrong("type: 'Accuracy'", (1, 2), (1,), tops=3), "Accuracy Layer produces at most 2 top blob(s) as output"),
        (
            wrong("type: 'Convolution' convolution_param { num_output: 1 kernel_size: 1 }", (1, 1, 2, 2), tops=2),
            "one top blob as output for each bottom blob input",
        ),
        (wrong("type: 'Convolution' convolution_param { num_output: 1 kernel_size: 5 }", (1, 1, 3, 3)), "kernel"),
        (
            wrong("type: 'Convolution' convolution_param { num_output: 3 kernel_size: 1 group: 2 }", (1, 4, 3, 3)),
            "multiples",
        ),
        (wrong("type: 'Convolution' convolution_param { num_output: 1 }", (1, 1, 3, 3)), "kernel_size"),
        (wrong("type: 'Convolution' convolution_param { kernel_size: 1 }", (1, 1, 3, 3)), "num_output"),
        (wrong("type: 'Pooling' pooling_param { kernel_size: 2 pad: 2 }", (1, 1, 3, 3)), "Padding"),
        (wrong("type: 'Pooling' pooling_param { kernel_size: 5 }", (1, 1, 3, 3)), "window"),
        (wrong("type: 'Pooling' pooling_param { }", (1, 1, 3, 3)), "kernel_size OR kernel_h and kernel_w"),
        (wrong("type: 'Pooling' pooling_param { kernel_size: 1 }", (1, 3)), "4 axes"),
        (wrong("type: 'LRN' lrn_param { local_size: 4 }", (1, 1, 3, 3)), "odd"),
        (wrong("type: 'InnerProduct' inner_product_param { num_output: 1 axis: 3 }", (1, 3)), "out of range"),
        (wrong("type: 'Eltwise'", (1, 2), (2, 1)), "shape"),
        (wrong("type: 'Eltwise' eltwise_param { coeff: 1 }", (1, 2), (1, 2)), "one coefficient per bottom"),
        (wrong("type: 'Concat'", (1, 2, 3), (1, 2, 4)), "same shape, except at concat_axis"),
        (wrong("type: 'Slice'", (1, 3), tops=2), "evenly divide"),
        (wrong("type: 'Slice' slice_param { slice_point: 4 }", (1, 3), tops=2), "Slice points"),
        (wrong("type: 'Slice' slice_param { slice_point: 1 }", (2, 1), tops=2), "Slice points"),
        (wrong("type: 'Reshape' reshape_param { shape { dim: 4 dim: -1 } }", (1, 6)), "divisible"),
        (wrong("type: 'Reshape' reshape_param { shape { dim: 5 } }", (1, 6)), "count"),
        (wrong("type: 'Crop' crop_param { axis: 1 }", (1, 2), (1, 3)), "out-of-bounds"),
        (wrong("type: 'Scale'", (2, 3), (2,)), "dimension mismatch"),
        (wrong("type: 'BatchNorm' param { lr_mult: 1 }", (2, 3)), "batch normalization statistics"),
        (wrong("type: 'Accuracy' accuracy_param { top_k: 4 }", (2, 3), (2,)), "top_k"),
        (wrong("type: 'ArgMax' argmax_param { top_k: 4 }", (2, 3)), "top_k"),
        (wrong("type: 'SoftmaxWithLoss'", (2, 3), (3,)), "same first dimension"),
        (wrong("type: 'SoftmaxWithLoss'", (2, 3, 2), (2, 3)), "Number of labels must match number of predictions"),
        (wrong("type: 'SoftmaxWithLoss' loss_weight: 1 loss_weight: 1", (2, 3), (2,)), "loss_weight"),
        (wrong("type: 'EuclideanLoss'", (2, 3), (2, 4)), "same dimension"),
        (wrong("type: 'ReLU' param { lr_mult: 1 }", (2, 3)), "Too many params"),
        (wrong("type: 'ReLU' propagate_down: true propagate_down: true", (2, 3)), "propagate_down"),
        (wrong("type: 'AbsVal'", (2, 3)).replace("t0", "b0"), "in-place"),
        (wrong("type: 'Python' python_param { module: 'no_such_module' layer: 'X' }", (2, 3)), "no_such_module"),
    ],
)
def test_a_definitions_error_names_the_layer(text, said):
    with pytest.raises(CaffeError) as error:
        build(text)
    assert said in str(error.value)
    assert "culprit" in str(error.value)


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "HingeLoss", "Accuracy"])
@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range_is_named(kind, label):
    net = build(wrong(f"type: '{kind}'", (2, 3), (2,)))
    net.blobs["b1"].data[1] = label
    with pytest.raises(CaffeError, match=f"{label}.*culprit"):
        net.forward()


def test_a_changed_input_that_no_longer_fits_is_named():
    net = build(wrong("type: 'InnerProduct' inner_product_param { num_output: 2 }", (2, 3)))
    net.blobs["b0"].reshape(2, 4)
    with pytest.raises(CaffeError, match="culprit"):
        net.forward()
