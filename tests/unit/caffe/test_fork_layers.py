"""The layers of Caffe's forks against plain references, over random shapes and parameters, and what they refuse."""

import contextlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import caffe
from caffe import extension
from caffe.errors import CaffeError
from helpers import reference
from helpers.layer_checks import build, check, examples, input_layer, layer, layer_param, values
from helpers.reference_forks import REFERENCE

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 5)
images = st.tuples(st.integers(1, 3), st.integers(1, 4), sides, sides)


@contextlib.contextmanager
def on(*names):
    """In this context the forks are on, and ``check`` knows their layers."""
    usual = dict(reference.REFERENCE)
    try:
        caffe.forks(*names)
        for name in names:
            reference.REFERENCE.update(REFERENCE[name])
        yield
    finally:
        reference.REFERENCE.clear()
        reference.REFERENCE.update(usual)
        extension._switch({})


def refused(body, *shapes, tops="y", phase=caffe.TEST):
    """The message of the error that building a layer with these bottoms raises."""
    names = [f"b{i}" for i in range(len(shapes))]
    text = "".join(map(input_layer, names, shapes)) + layer("l", " ".join(names), tops, body)
    with pytest.raises(CaffeError) as error:
        build(text, phase)
    return str(error.value)


def test_every_layer_has_a_reference():
    has = {name: set(extension._find(name).layers) for name in extension.SHIPPED}
    has["fast-rcnn"].remove("Dropout")  # below: it is random
    assert has == {name: set(layers) for name, layers in REFERENCE.items()}


# SSD


@examples(20)
@given(seeds, st.integers(1, 4).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.integers(0, n))), st.data())
@on("ssd")
def test_permute(seed, order, data):
    axes, given = order
    x = values(seed, tuple(data.draw(sides) for _ in axes))
    check(f"type: 'Permute' permute_param {{ {''.join(f'order: {axis} ' for axis in axes[:given])} }}", [x])


@on("ssd")
def test_permute_refuses_axes_that_are_not_there_or_twice():
    assert "duplicate" in refused("type: 'Permute' permute_param { order: 1 order: 1 }", (2, 3))
    assert "less than" in refused("type: 'Permute' permute_param { order: 2 }", (2, 3))


@examples(20)
@given(seeds, images, st.booleans(), st.booleans())
@on("ssd")
def test_normalize(seed, shape, across, shared):
    body = f"across_spatial: {across} channel_shared: {shared} eps: 0.01".lower()
    check(f"type: 'Normalize' norm_param {{ {body} }}", [values(seed, shape)])


@on("ssd")
def test_normalize_begins_with_its_filler_or_one():
    for filler, value in (("", 1), ("scale_filler { type: 'constant' value: 20 }", 20)):
        body = f"type: 'Normalize' norm_param {{ channel_shared: false {filler} }}"
        net = build(input_layer("x", (1, 3, 2, 2)) + layer("l", "x", "y", body))
        np.testing.assert_array_equal(net.params["l"][0].data, [value] * 3)


@examples(30)
@given(
    st.lists(st.integers(1, 8).map(lambda n: n * 4.25), min_size=1, max_size=2),
    st.lists(st.sampled_from([1, 2, 3, 0.5]), max_size=3),
    st.booleans(),
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([(), (0.2,), (0.1, 0.1, 0.2, 0.3)])),
    st.sampled_from(["", "img_size: 32", "img_h: 20 img_w: 40"]),
    st.sampled_from(["", "step: 8", "step_h: 4 step_w: 6 offset: 0.25"]),
    st.tuples(sides, sides),
)
@on("ssd")
def test_prior_box(small, ratios, large, choices, image, step, size):
    flip, clip, variance = choices
    fields = "".join(f"min_size: {n} " for n in small) + "".join(f"aspect_ratio: {r} " for r in ratios)
    fields += "".join(f"max_size: {n + 5} " for n in small if large) + "".join(f"variance: {v} " for v in variance)
    body = f"{fields} flip: {flip} clip: {clip} {image} {step}".lower()
    shapes = (2, 3, *size), (2, 3, 24, 36)
    check(f"type: 'PriorBox' prior_box_param {{ {body} }}", [np.zeros(shape, np.float32) for shape in shapes])


@on("ssd")
def test_prior_boxes_follow_the_image():
    body = "type: 'PriorBox' prior_box_param { min_size: 4 }"
    net = build(input_layer("x", (1, 1, 2, 3)) + input_layer("i", (1, 3, 8, 12)) + layer("l", "x i", "y", body))
    first = net.forward()["y"].copy()
    net.blobs["i"].reshape(1, 3, 16, 24)
    np.testing.assert_allclose(net.forward()["y"][0, 0, 2], first[0, 0, 2] - 2 / 24, rtol=1e-5)
    net.blobs["x"].reshape(1, 1, 4, 3)
    assert net.forward()["y"].shape == (1, 2, 48)


@on("ssd")
def test_prior_box_refuses():
    shapes = (1, 1, 2, 2), (1, 3, 9, 9)
    for body, says in (
        ("", "min_size"),
        ("min_size: 4 max_size: 3", "max_size"),
        ("min_size: 4 variance: 1 variance: 2", "variance"),
        ("min_size: 4 img_size: 3 img_w: 4", "img_size or img_h/img_w"),
        ("min_size: 4 step: 0", "step should be larger"),
    ):
        assert says in refused(f"type: 'PriorBox' prior_box_param {{ {body} }}", *shapes)


DETECTIONS = st.fixed_dictionaries(
    {
        "code_type": st.sampled_from(["CORNER", "CENTER_SIZE", "CORNER_SIZE"]),
        "share_location": st.booleans(),
        "background_label_id": st.sampled_from([0, 1, 9]),
        "variance_encoded_in_target": st.booleans(),
        "keep_top_k": st.sampled_from([-1, 0, 2, 5, 100]),
        "confidence_threshold": st.sampled_from([None, 0.25, 0.5, 2]),
        "nms": st.sampled_from(["", "nms_threshold: 0.6 eta: 0.8", "nms_threshold: 0 top_k: 3", "top_k: 4"]),
    }
)


def detections(given, classes):
    """The inside of a DetectionOutput with the parameters that `DETECTIONS` draws."""
    fields = "".join(f" {name}: {value}" for name, value in given.items() if name != "nms" and value is not None)
    fields = fields.replace("True", "true").replace("False", "false")
    return (
        f"type: 'DetectionOutput' detection_output_param {{ num_classes: {classes} {fields} "
        f"nms_param {{ {given['nms']} }} }}"
    )


@examples(60)
@given(seeds, st.integers(1, 3), st.integers(1, 8), st.integers(1, 4), DETECTIONS)
@on("ssd")
def test_detection_output(seed, num, priors, classes, given):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 0.5, (priors, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.2, 0.6, (priors, 2))], 1)
    prior = np.stack([boxes.ravel(), np.full(priors * 4, 0.1)])[None]
    locations = 1 if given["share_location"] else classes
    places = rng.normal(0, 0.5, (num, priors * locations * 4))
    scores = rng.permutation(num * priors * classes).reshape(num, -1) / (num * priors * classes)  # no two the same
    bottoms = [x.astype(np.float32) for x in (places, scores, prior)]
    # an overlap that is equal to the threshold but for rounding may be decided otherwise; none of these is
    expected = reference.run(layer_param(detections(given, classes)), bottoms)[0][0]
    net = build(
        "".join(input_layer(name, x.shape) for name, x in zip("abc", bottoms))
        + layer("l", "a b c", "y", detections(given, classes))
    )
    for name, x in zip("abc", bottoms):
        net.blobs[name].data[...] = x
    np.testing.assert_allclose(net.forward()["y"], expected, rtol=1e-5, atol=1e-6)


@examples(40)
@given(seeds, st.tuples(st.integers(1, 4), sides, sides), st.integers(2, 4), st.sampled_from(["ssd", "fast-rcnn"]))
def test_smooth_l1_loss(seed, shape, bottoms, fork):
    assume(bottoms < 4 or fork == "fast-rcnn")
    sigma = "smooth_l1_loss_param { sigma: 1.5 }" if fork == "fast-rcnn" and seed % 2 else ""
    blobs = [values(seed + i, shape) * 2 for i in range(2)]
    blobs += [values(seed + i, shape, "positive") for i in range(2, bottoms)]
    with on(fork):
        check(f"type: 'SmoothL1Loss' {sigma}", blobs, fixed=range(2, bottoms))


# Fast R-CNN and R-FCN


def regions(rng, count, num, size):
    """Regions of ``size`` pixels and beyond: the index of an image, and two corners."""
    corners = rng.uniform(-4, size + 4, (count, 2, 2))
    corners = np.sort(corners, 1) if rng.random() < 0.8 else corners  # also such of no size
    return np.concatenate([rng.integers(0, num, (count, 1)), corners.reshape(count, 4)], 1).astype(np.float32)


@examples(40)
@given(seeds, images, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 0.5, 0.0625]))
def test_roi_pooling(seed, shape, count, height, width, scale):
    rng = np.random.default_rng(seed)
    rois = regions(rng, count, shape[0], max(shape[2:]) / scale)
    body = f"roi_pooling_param {{ pooled_h: {height} pooled_w: {width} spatial_scale: {scale} }}"
    kind = "ties" if seed % 2 else "normal"
    with on("fast-rcnn"):
        check(f"type: 'ROIPooling' {body}", [values(seed, shape, kind), rois], fixed=[1])


@on("fast-rcnn")
def test_regions_of_a_whole_map_and_of_none_and_of_an_image_that_is_not_there():
    body = "type: 'ROIPooling' roi_pooling_param { pooled_h: 1 pooled_w: 1 }"
    net = build(input_layer("x", (2, 3, 4, 5)) + input_layer("r", (2, 5)) + layer("l", "x r", "y", body))
    x = values(0, (2, 3, 4, 5))
    net.blobs["x"].data[...] = x
    net.blobs["r"].data[...] = [[0, 0, 0, 4, 3], [1, 90, 90, 99, 99]]
    y = net.forward()["y"]
    np.testing.assert_array_equal(y[0].ravel(), x[0].max((1, 2)))
    assert not y[1].any()
    net.blobs["r"].data[1, 0] = 2
    with pytest.raises(CaffeError, match="from 0 to 1, not 2"):
        net.forward()


@examples(40)
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), sides, sides, st.sampled_from([1, 0.25]))
def test_psroi_pooling(seed, num, outputs, group, height, width, scale):
    rng = np.random.default_rng(seed)
    rois = regions(rng, 3, num, max(height, width) / scale)
    body = f"psroi_pooling_param {{ output_dim: {outputs} group_size: {group} spatial_scale: {scale} }}"
    x = values(seed, (num, outputs * group**2, height, width))
    with on("r-fcn"):
        check(f"type: 'PSROIPooling' {body}", [x, rois], fixed=[1])


@on("r-fcn")
def test_psroi_pooling_has_channels_for_each_bin():
    body = "type: 'PSROIPooling' psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 1 }"
    assert "input channel number 17" in refused(body, (1, 17, 4, 4), (1, 5))


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@on("fast-rcnn")
def test_dropout_scales_in_training_or_in_testing(phase):
    outs = {}
    for scale in ("true", "false"):
        body = f"type: 'Dropout' dropout_param {{ dropout_ratio: 0.75 scale_train: {scale} }}"
        net = build("force_backward: true " + input_layer("x", (4, 50)) + layer("l", "x", "y", body), phase)
        net.blobs["x"].data[...] = 1
        caffe.set_random_seed(3)
        net.forward()
        net.blobs["y"].diff[...] = 1
        net.backward()
        np.testing.assert_allclose(net.blobs["x"].diff, net.blobs["y"].data)
        outs[scale] = net.blobs["y"].data.copy()
    np.testing.assert_allclose(outs["false"], outs["true"] * 0.25)
    assert set(np.unique(outs["false"])) == ({0, 1} if phase == caffe.TRAIN else {0.25})


# SegNet, PSPNet, DeepLab

UPSAMPLES = st.sampled_from(
    ["", "scale: 3", "scale_h: 2 scale_w: 4", "pad_out_h: true", "upsample_h: 11 upsample_w: 12"]
)


@examples(30)
@given(seeds, images, UPSAMPLES)
@on("segnet")
def test_upsample(seed, shape, body):
    assume("pad_out" not in body or shape[2] > 1)
    rng = np.random.default_rng(seed)
    places = 4 * shape[2] * shape[3] - (2 * shape[3] if "pad_out" in body else 0)
    each = [rng.permutation(places)[: shape[2] * shape[3]] for _ in range(shape[0] * shape[1])]
    mask = np.array(each, np.float32).reshape(shape)
    check(f"type: 'Upsample' upsample_param {{ {body} }}", [values(seed, shape), mask], fixed=[1])


@on("segnet")
def test_upsample_undoes_pooling_and_refuses_other_masks():
    pool = "type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }"
    text = input_layer("x", (1, 2, 6, 4)) + layer("p", "x", "p mask", pool)
    net = build(text + layer("u", "p mask", "y", "type: 'Upsample' upsample_param { scale: 2 }"))
    x = values(0, (1, 2, 6, 4))
    net.blobs["x"].data[...] = x
    y = net.forward()["y"]
    assert y.shape == x.shape and (y != 0).sum() == x.size // 4
    np.testing.assert_array_equal(y[y != 0], x[y != 0])
    net = build(text + layer("u", "p mask", "y", "type: 'Upsample' upsample_param { upsample_h: 3 upsample_w: 4 }"))
    net.blobs["x"].data[...] = np.arange(48).reshape(1, 2, 6, 4)
    with pytest.raises(CaffeError, match="upsample top index 13 is not below 12"):
        net.forward()
    assert "same 4 axes" in refused("type: 'Upsample'", (1, 2, 3, 3), (1, 2, 3, 4))


varied = st.tuples(st.integers(2, 3), st.integers(1, 4), st.integers(2, 4), st.integers(2, 4))


@examples(30)
@given(
    seeds,
    varied,
    st.sampled_from(["LEARN", "INFERENCE"]),
    st.integers(1, 3),
    st.sampled_from([caffe.TRAIN, caffe.TEST]),
)
@on("segnet")
def test_bn_of_segnet(seed, shape, mode, tops, phase):
    body = f"type: 'BN' bn_param {{ bn_mode: {mode} }}"
    x = values(seed, shape)
    if tops == 1:
        check(body, [x], phase=phase, rtol=1e-4, in_place=mode == "LEARN" and seed % 2 == 0)
        return
    names = " ".join("yms"[:tops])
    net = build(input_layer("x", shape) + layer("l", "x", names, body), phase)
    net.blobs["x"].data[...] = x
    blobs = [blob.data.astype(float) for blob in net.params["l"]]
    expected = reference.run(layer_param(body), [x], blobs, tops)[0]
    net.forward()
    for name, value in zip("yms", expected):
        np.testing.assert_allclose(net.blobs[name].data, value, rtol=1e-4, atol=1e-5)


@examples(30)
@given(seeds, varied, st.booleans(), st.sampled_from([caffe.TRAIN, caffe.TEST]))
@on("pspnet")
def test_bn_of_pspnet(seed, shape, frozen, phase):
    blobs = [values(seed + i, (1, shape[1], 1, 1), "positive") for i in range(4)]
    body = f"type: 'BN' bn_param {{ frozen: {frozen} momentum: 0.75 eps: 0.001 }}".lower().replace("'bn'", "'BN'")
    check(body, [values(seed, shape)], phase=phase, blobs=blobs, rtol=1e-4, in_place=seed % 2 == 0)


INTERPS = [
    "zoom_factor: 3",
    "shrink_factor: 2",
    "height: 7 width: 4",
    "zoom_factor: 2 shrink_factor: 2",
    "height: 1 width: 9",
]


@pytest.mark.parametrize("fork", ["pspnet", "deeplab"])
@examples(30)
@given(seeds, images, st.sampled_from(INTERPS), st.sampled_from(["", "pad_beg: -1", "pad_beg: -1 pad_end: -2"]))
def test_interp(fork, seed, shape, size, pad):
    assume(min(shape[2:]) > (3 if "end" in pad else 1))
    with on(fork):
        check(f"type: 'Interp' interp_param {{ {size} {pad} }}", [values(seed, shape)], rtol=1e-4)


@on("deeplab")
def test_interp_needs_a_size():
    assert "A size is needed" in refused("type: 'Interp'", (1, 1, 3, 3))
    assert "cropping" in refused("type: 'Interp' interp_param { zoom_factor: 2 pad_beg: 1 }", (1, 1, 3, 3))


# others


@examples(20)
@given(seeds, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.tuples(sides, sides))
@on("shufflenet")
def test_shuffle_channel(seed, num, group, each, size):
    check(
        f"type: 'ShuffleChannel' shuffle_channel_param {{ group: {group} }}", [values(seed, (num, group * each, *size))]
    )


@examples(20)
@given(seeds, images, st.sampled_from(["", "stride: 2", "pad: 2 bias_term: false", "dilation: 2 pad: 2"]))
@on("mobilenet")
def test_depthwise_convolutions(seed, shape, more):
    assume(min(shape[2:]) > 1)
    x = values(seed, shape)
    check(f"type: 'ConvolutionDepthwise' convolution_param {{ num_output: 7 kernel_size: 2 {more} }}", [x])
    group = f"num_output: {shape[1]} group: {shape[1]} kernel_size: 2 {more}"
    check(f"type: 'DepthwiseConvolution' convolution_param {{ {group} }}", [x])


@examples(20)
@given(seeds, images, st.booleans())
@on("senet")
def test_axpy(seed, shape, long):
    factors = values(seed, shape[:2] + ((1, 1) if long else ()))
    check("type: 'Axpy'", [factors, values(seed + 1, shape), values(seed + 2, shape)])


@examples(20)
@given(seeds, st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=5), st.data())
@on("synopsys")
def test_squeeze(seed, shape, data):
    ones = [axis for axis, n in enumerate(shape) if n == 1]
    axes = data.draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    axes = [axis - len(shape) * data.draw(st.booleans()) for axis in axes]
    check(f"type: 'Squeeze' squeeze_param {{ {''.join(f'axis: {axis} ' for axis in axes)} }}", [values(seed, shape)])


@pytest.mark.parametrize("fork", ["synopsys", "ceil-mode"])
@examples(30)
@given(seeds, images, st.integers(1, 3), st.integers(1, 3), st.sampled_from(["true", "false"]))
def test_ceil_mode(fork, seed, shape, kernel, stride, ceil):
    assume(min(shape[2:]) >= kernel >= stride)
    body = f"type: 'Pooling' pooling_param {{ kernel_size: {kernel} stride: {stride} ceil_mode: {ceil} }}"
    with on(fork):
        check(body, [values(seed, shape)])


def test_a_fork_that_is_off_changes_nothing():
    before = caffe.layer_type_list()
    with on("fast-rcnn", "synopsys"):
        pass
    assert caffe.layer_type_list() == before
    assert (
        type(build(input_layer("x", (1, 1)) + layer("l", "x", "y", "type: 'Dropout'")).layers[1]).__name__ == "Dropout"
    )
