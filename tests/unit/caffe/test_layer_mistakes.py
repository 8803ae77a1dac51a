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
