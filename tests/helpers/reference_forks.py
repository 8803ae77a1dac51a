"""The layers of Caffe's forks, slow and plain, as helpers.reference has those of BVLC Caffe, from the forks' sources.

``REFERENCE[fork][type]`` has the arguments and results of ``reference.REFERENCE[type]``. What was read, in each fork's
src/caffe/layers unless named: weiliu89/caffe, branch ssd (permute_layer, normalize_layer, prior_box_layer,
detection_output_layer, smooth_L1_loss_layer .cpp and util/bbox_util.cpp); rbgirshick/caffe-fast-rcnn, branch
faster-rcnn (roi_pooling_layer.cpp and .cu, smooth_L1_loss_layer.cu); daijifeng001/caffe-rfcn (psroi_pooling_layer.cu);
alexgkendall/caffe-segnet (upsample_layer.cpp, bn_layer.cpp); hszhao/PSPNet (bn_layer.cpp, interp_layer.cpp,
util/interp.cpp); xmyqsh/deeplab-v2 (interp_layer.cpp); farmingyard/ShuffleNet (shuffle_channel_layer.cpp); BVLC/caffe
pull request 5665 (conv_dw_layer.cpp); hujie-frank/SENet (axpy_layer.cpp); foss-for-synopsys-dwc-arc-processors/
synopsys-caffe (squeeze_layer.cpp).
"""

import itertools
import math

import numpy as np

from helpers import reference
from helpers.reference import FLT_MAX, Replaced

f32 = np.float32


def c_round(x):
    """C's round, halves away from zero."""
    return int(math.copysign(math.floor(abs(float(x)) + 0.5), x))


def within(n, size):
    return min(max(int(n), 0), size)


def permute(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    order = list(p.permute_param.order)
    order += [axis for axis in range(x.ndim) if axis not in order]
    y = np.zeros([x.shape[axis] for axis in order])
    source = {index: tuple(index[order.index(axis)] for axis in range(x.ndim)) for index in np.ndindex(y.shape)}
    for index, place in source.items():
        y[index] = x[place]

    def backward(dys):
        dx = np.zeros_like(x)
        for index, place in source.items():
            dx[place] = dys[0][index]
        return [dx], []

    return [y], backward


def normalize(p, bottoms, blobs, train, tops):
    (x,), (scale,) = bottoms, blobs
    p = p.norm_param
    places = x.reshape(*x.shape[:2], -1)
    y, dx_of = np.zeros_like(places), np.zeros_like(places)
    factors = np.broadcast_to(scale, (x.shape[1],)).reshape(-1, 1)
    groups = [(n, slice(None)) for n in range(len(x))]
    if not p.across_spatial:
        groups = [(n, [s]) for n in range(len(x)) for s in range(places.shape[2])]
    norms = {}
    for k, (n, s) in enumerate(groups):
        norms[k] = math.sqrt((places[n][:, s] ** 2).sum() + p.eps)
        y[n][:, s] = places[n][:, s] / norms[k] * factors

    def backward(dys):
        dy = dys[0].reshape(places.shape)
        of_channel = (y / factors * dy).sum((0, 2))
        for k, (n, s) in enumerate(groups):
            # the fork multiplies by the scale at last, which is right for one scale but not for one of each channel
            along = (places[n][:, s] * dy[n][:, s]).sum() / norms[k] ** 2
            dx_of[n][:, s] = (dy[n][:, s] - places[n][:, s] * along) / norms[k] * factors
        return [dx_of.reshape(x.shape)], [of_channel if scale.ndim else of_channel.sum()]

    return [y.reshape(x.shape)], backward


def prior_box(p, bottoms, blobs, train, tops):
    p = p.prior_box_param
    height, width = bottoms[0].shape[2:]
    image_h, image_w = bottoms[1].shape[2:]
    if p.HasField("img_size"):
        image_h = image_w = p.img_size
    elif p.HasField("img_h"):
        image_h, image_w = p.img_h, p.img_w
    step_h, step_w = image_h / height, image_w / width
    if p.HasField("step"):
        step_h = step_w = p.step
    elif p.HasField("step_h"):
        step_h, step_w = p.step_h, p.step_w
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if not any(abs(ratio - other) < 1e-6 for other in ratios):
            ratios.append(ratio)
            if p.flip:
                ratios.append(1 / ratio)
    corners, variances = [], []
    for h, w in itertools.product(range(height), range(width)):
        for s, size in enumerate(p.min_size):
            sides = [(int(size), int(size))]
            if p.max_size:
                sides.append((math.sqrt(int(size) * int(p.max_size[s])),) * 2)
            sides += [(int(size) * math.sqrt(r), int(size) / math.sqrt(r)) for r in ratios if abs(r - 1) >= 1e-6]
            for box_w, box_h in sides:
                x, y = (w + p.offset) * step_w, (h + p.offset) * step_h
                corners += [(x - box_w / 2) / image_w, (y - box_h / 2) / image_h]
                corners += [(x + box_w / 2) / image_w, (y + box_h / 2) / image_h]
                variances += list(p.variance) if len(p.variance) == 4 else [p.variance[0] if p.variance else 0.1] * 4
    if p.clip:
        corners = [min(max(c, 0), 1) for c in corners]
    return [np.array([[corners, variances]])], None


def overlap(a, b):
    """bbox_util.cpp's JaccardOverlap of normalized boxes."""

    def size(box):
        return 0 if box[2] < box[0] or box[3] < box[1] else (box[2] - box[0]) * (box[3] - box[1])

    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height / (size(a) + size(b) - width * height) if width > 0 and height > 0 else 0


def decoded(p, prior, variance, at):
    """bbox_util.cpp's DecodeBBox without clipping."""
    if p.variance_encoded_in_target:
        variance = [1] * 4
    at = [a * v for a, v in zip(at, variance)]
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    if p.code_type == 1:  # CORNER
        return [c + a for c, a in zip(prior, at)]
    if p.code_type == 3:  # CORNER_SIZE
        return [c + a * side for c, a, side in zip(prior, at, (width, height, width, height))]
    x, y = at[0] * width + (prior[0] + prior[2]) / 2, at[1] * height + (prior[1] + prior[3]) / 2
    half_w, half_h = math.exp(at[2]) * width / 2, math.exp(at[3]) * height / 2
    return [x - half_w, y - half_h, x + half_w, y + half_h]


def detection_output(p, bottoms, blobs, train, tops):
    p = p.detection_output_param
    places, scores, (priors, variances) = bottoms[0], bottoms[1], bottoms[2][0].reshape(2, -1, 4)
    locations = 1 if p.share_location else p.num_classes
    places = places.reshape(len(places), -1, locations, 4)
    scores = scores.reshape(len(scores), -1, p.num_classes)
    rows = []
    for i in range(len(places)):
        found = []
        for label in range(p.num_classes):
            if label == p.background_label_id:
                continue
            at = 0 if p.share_location else label
            boxes = [decoded(p, *each, places[i, k, at]) for k, each in enumerate(zip(priors, variances))]
            least = p.confidence_threshold if p.HasField("confidence_threshold") else -FLT_MAX
            queue = [k for k in range(len(boxes)) if scores[i, k, label] > least]
            queue.sort(key=lambda k: -scores[i, k, label])
            if p.nms_param.HasField("top_k") and p.nms_param.top_k > -1:
                queue = queue[: p.nms_param.top_k]
            kept, threshold = [], p.nms_param.nms_threshold
            for k in queue:
                if all(overlap(boxes[k], boxes[other]) <= threshold for other in kept):
                    kept.append(k)
                    if p.nms_param.eta < 1 and threshold > 0.5:
                        threshold *= p.nms_param.eta
            found += [[i, label, scores[i, k, label], *boxes[k]] for k in kept]
        if -1 < p.keep_top_k < len(found):
            found.sort(key=lambda row: -row[2])
            found = sorted(found[: p.keep_top_k], key=lambda row: row[1])
        rows += found
    return [np.array(rows or [[i] + [-1] * 6 for i in range(len(places))], float)[None, None]], None


def smooth_l1_loss(p, bottoms, blobs, train, tops):
    a, b, *weights = bottoms
    square = p.smooth_l1_loss_param.sigma**2 if hasattr(p, "smooth_l1_loss_param") else 1
    x = (a - b) * weights[0] if weights else a - b
    loss, slope = np.zeros_like(x), np.zeros_like(x)
    for i, value in np.ndenumerate(x):
        if abs(value) < 1 / square:
            loss[i], slope[i] = 0.5 * value * value * square, value * square
        else:
            loss[i], slope[i] = abs(value) - 0.5 / square, np.sign(value)
    if len(weights) == 2:
        loss, slope = loss * weights[1], slope * weights[0] * weights[1]

    def backward(dys):
        each = slope * dys[0] / len(a)
        return [each, -each, *[None] * len(weights)], []

    return [np.array(loss.sum() / len(a))], backward


def roi_pooling(p, bottoms, blobs, train, tops):
    x, rois = bottoms
    p = p.roi_pooling_param
    height, width = x.shape[2:]
    y = np.zeros((len(rois), x.shape[1], p.pooled_h, p.pooled_w))
    where = {}
    for r, roi in enumerate(rois.reshape(len(rois), -1)):
        left, upper, right, lower = (c_round(f32(f32(c) * f32(p.spatial_scale))) for c in roi[1:5])
        bin_h = f32(max(lower - upper + 1, 1)) / f32(p.pooled_h)
        bin_w = f32(max(right - left + 1, 1)) / f32(p.pooled_w)
        for c, i, j in np.ndindex(y.shape[1:]):
            rows = range(
                within(math.floor(f32(i) * bin_h) + upper, height),
                within(math.ceil(f32(i + 1) * bin_h) + upper, height),
            )
            columns = range(
                within(math.floor(f32(j) * bin_w) + left, width), within(math.ceil(f32(j + 1) * bin_w) + left, width)
            )
            best = -FLT_MAX
            for h, w in itertools.product(rows, columns):
                if x[int(roi[0]), c, h, w] > best:
                    best = x[int(roi[0]), c, h, w]
                    where[r, c, i, j] = (int(roi[0]), c, h, w)
            y[r, c, i, j] = best if rows and columns else 0

    def backward(dys):
        dx = np.zeros_like(x)
        for index, place in where.items():
            dx[place] += dys[0][index]
        return [dx, None], []

    return [y], backward


def psroi_pooling(p, bottoms, blobs, train, tops):
    x, rois = bottoms
    p = p.psroi_pooling_param
    height, width = x.shape[2:]
    y = np.zeros((len(rois), p.output_dim, p.group_size, p.group_size))
    areas = {}
    for r, roi in enumerate(rois.reshape(len(rois), -1)):
        scale = f32(p.spatial_scale)
        left, upper = (f32(c_round(c)) * scale for c in roi[1:3])
        right, lower = (f32(c_round(c) + 1) * scale for c in roi[3:5])
        bin_w = f32(max(right - left, 0.1)) / f32(p.group_size)
        bin_h = f32(max(lower - upper, 0.1)) / f32(p.group_size)
        for d, i, j in np.ndindex(y.shape[1:]):
            rows = slice(
                within(math.floor(f32(i) * bin_h + upper), height),
                within(math.ceil(f32(i + 1) * bin_h + upper), height),
            )
            columns = slice(
                within(math.floor(f32(j) * bin_w + left), width), within(math.ceil(f32(j + 1) * bin_w + left), width)
            )
            place = (int(roi[0]), (d * p.group_size + i) * p.group_size + j, rows, columns)
            if x[place].size:
                y[r, d, i, j] = x[place].mean()
                areas[r, d, i, j] = place

    def backward(dys):
        dx = np.zeros_like(x)
        for index, place in areas.items():
            dx[place] += dys[0][index] / x[place].size
        return [dx, None], []

    return [y], backward


def upsample(p, bottoms, blobs, train, tops):
    x, mask = bottoms
    p = p.upsample_param
    if p.HasField("upsample_h"):
        height, width = p.upsample_h, p.upsample_w
    else:
        scale_h, scale_w = (p.scale_h, p.scale_w) if p.HasField("scale_h") else (p.scale, p.scale)
        height, width = x.shape[2] * scale_h - p.pad_out_h, x.shape[3] * scale_w - p.pad_out_w
    y = np.zeros((*x.shape[:2], height * width))
    for n, c, h, w in np.ndindex(x.shape):
        y[n, c, int(mask[n, c, h, w])] = x[n, c, h, w]

    def backward(dys):
        dy, dx = dys[0].reshape(y.shape), np.zeros_like(x)
        for n, c, h, w in np.ndindex(x.shape):
            dx[n, c, h, w] = dy[n, c, int(mask[n, c, h, w])]
        return [dx, None], []

    return [y.reshape(*x.shape[:2], height, width)], backward


def _statistics(x):
    count = x.size / x.shape[1]
    mean = x.sum((0, 2, 3), keepdims=True) / count
    return mean, ((x - mean) ** 2).sum((0, 2, 3), keepdims=True) / count


def _of_batch(normal, deviation, scale, dy):
    """Gradients of the bottom, of the scale and of the shift, where mean and deviation are the batch's."""
    over, count = (0, 2, 3), dy.size / dy.shape[1]
    dn = dy * scale
    sums = dn.sum(over, keepdims=True), (dn * normal).sum(over, keepdims=True)
    dx = (dn - (sums[0] + normal * sums[1]) / count) / deviation
    return dx, (dy * normal).sum(over, keepdims=True), dy.sum(over, keepdims=True)


def segnet_bn(p, bottoms, blobs, train, tops):
    (x,), (scale, shift) = bottoms, blobs
    mean, variance = _statistics(x)
    inference = p.bn_param.bn_mode == 1
    deviation = np.ones_like(mean) if inference else np.sqrt(variance + 1e-9)
    normal = x if inference else (x - mean) / deviation

    def backward(dys):
        dx, dscale, dshift = _of_batch(normal, deviation, scale, dys[0])
        return [dys[0] * scale if inference else dx], [Replaced.of(dscale), Replaced.of(dshift)]

    return [normal * scale + shift, mean, variance][:tops], backward


def pspnet_bn(p, bottoms, blobs, train, tops):
    (x,), (slope, bias, mean_blob, variance_blob) = bottoms, blobs
    p = p.bn_param
    fixed = p.frozen or not train
    mean, variance = (mean_blob.copy(), variance_blob.copy()) if fixed else _statistics(x)
    if not fixed:
        for blob, value in ((mean_blob, mean), (variance_blob, variance)):
            blob[...] = p.momentum * blob + (1 - p.momentum) * value
    deviation = np.sqrt(variance + p.eps)
    normal = (x - mean) / deviation

    def backward(dys):
        dx, dslope, dbias = _of_batch(normal, deviation, slope, dys[0])
        if p.frozen:
            return [dys[0] * slope / deviation], [None] * 4
        return [dys[0] * slope / deviation if fixed else dx], [dslope, dbias, None, None]

    return [normal * slope + bias], backward


def interp(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    p = p.interp_param
    sizes = []
    for n, given in zip(x.shape[2:], ("height", "width")):
        inside = n + p.pad_beg + p.pad_end
        zoom, shrink = p.HasField("zoom_factor"), p.HasField("shrink_factor")
        if zoom != shrink or not p.HasField(given):
            out = (inside - 1) // p.shrink_factor + 1 if shrink else inside
            out = out + (out - 1) * (p.zoom_factor - 1) if zoom else out
        else:
            out = getattr(p, given)
        sizes.append((inside, out))
    y, shares = np.zeros((*x.shape[:2], sizes[0][1], sizes[1][1])), []
    for i, j in np.ndindex(y.shape[2:]):
        near = []
        for at, (inside, out) in zip((i, j), sizes):
            place = at * (inside - 1) / (out - 1) if out > 1 else 0
            first = min(int(place + 1e-9), inside - 1)
            second = min(first + 1, inside - 1)
            near.append([(first - p.pad_beg, 1 - (place - first)), (second - p.pad_beg, place - first)])
        for (h, a), (w, b) in itertools.product(*near):
            shares.append(((..., i, j), (..., h, w), a * b))
    for index, place, share in shares:
        y[index] += x[place] * share

    def backward(dys):
        dx = np.zeros_like(x)
        for index, place, share in shares:
            dx[place] += dys[0][index] * share
        return [dx], []

    return [y], backward


def shuffle_channel(p, bottoms, blobs, train, tops):
    (x,), group = bottoms, p.shuffle_channel_param.group
    each = x.shape[1] // group
    source = [row * each + column for column in range(each) for row in range(group)]

    def backward(dys):
        dx = np.zeros_like(x)
        for channel, place in enumerate(source):
            dx[:, place] = dys[0][:, channel]
        return [dx], []

    return [x[:, source]], backward


def convolution_depthwise(p, bottoms, blobs, train, tops):
    same = type(p)()
    same.CopyFrom(p)
    same.convolution_param.group = same.convolution_param.num_output = bottoms[0].shape[1]
    return reference.convolution(same, bottoms, blobs, train, tops)


def axpy(p, bottoms, blobs, train, tops):
    a, x, y = bottoms
    out = y.copy()
    for n, c in np.ndindex(x.shape[:2]):
        out[n, c] += a[n, c].item() * x[n, c]

    def backward(dys):
        da, dx = np.zeros_like(a), np.zeros_like(x)
        for n, c in np.ndindex(x.shape[:2]):
            da[n, c] = (dys[0][n, c] * x[n, c]).sum()
            dx[n, c] = a[n, c].item() * dys[0][n, c]
        return [da, dx, dys[0]], []

    return [out], backward


def squeeze(p, bottoms, blobs, train, tops):
    (x,) = bottoms
    axes = {axis % x.ndim for axis in p.squeeze_param.axis} or {*range(x.ndim)}
    shape = [n for axis, n in enumerate(x.shape) if n != 1 or axis not in axes]
    return [x.reshape(shape)], lambda dys: ([dys[0].reshape(x.shape)], [])


def ceil_pooling(p, bottoms, blobs, train, tops):
    same = type(p)()
    same.CopyFrom(p)
    if not p.pooling_param.ceil_mode:
        same.pooling_param.round_mode = p.pooling_param.FLOOR
    return reference.pooling(same, bottoms, blobs, train, tops)


REFERENCE = {
    "ssd": {
        "Permute": permute,
        "Normalize": normalize,
        "PriorBox": prior_box,
        "DetectionOutput": detection_output,
        "SmoothL1Loss": smooth_l1_loss,
    },
    "fast-rcnn": {"ROIPooling": roi_pooling, "SmoothL1Loss": smooth_l1_loss},
    "r-fcn": {"PSROIPooling": psroi_pooling, "ROIPooling": roi_pooling},
    "segnet": {"Upsample": upsample, "BN": segnet_bn},
    "pspnet": {"BN": pspnet_bn, "Interp": interp},
    "deeplab": {"Interp": interp},
    "shufflenet": {"ShuffleChannel": shuffle_channel},
    "mobilenet": {"ConvolutionDepthwise": convolution_depthwise, "DepthwiseConvolution": reference.convolution},
    "senet": {"Axpy": axpy},
    "synopsys": {"Squeeze": squeeze, "Pooling": ceil_pooling},
    "ceil-mode": {"Pooling": ceil_pooling},
}
