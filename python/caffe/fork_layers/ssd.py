"""SSD (weiliu89/caffe, branch ssd): permute, prior_box, normalize, detection_output and smooth_L1_loss_layer.cpp."""

import numpy as np
import torch

from ..extension import Fork
from ..layers.base import Layer
from ..layers.neuron import Elementwise
from ..runtime.glog import log
from .fast_rcnn import SmoothL1Loss

PROTO = """
message LayerParameter {
  optional DetectionOutputParameter detection_output_param = 204;
  optional NormalizeParameter norm_param = 206;
  optional PermuteParameter permute_param = 202;
  optional PriorBoxParameter prior_box_param = 203;
}
message PermuteParameter { repeated uint32 order = 1; }
message NormalizeParameter {
  optional bool across_spatial = 1 [default = true];
  optional FillerParameter scale_filler = 2;
  optional bool channel_shared = 3 [default = true];
  optional float eps = 4 [default = 1e-10];
}
message PriorBoxParameter {
  enum CodeType { CORNER = 1; CENTER_SIZE = 2; CORNER_SIZE = 3; }
  repeated float min_size = 1;
  repeated float max_size = 2;
  repeated float aspect_ratio = 3;
  optional bool flip = 4 [default = true];
  optional bool clip = 5 [default = false];
  repeated float variance = 6;
  optional uint32 img_size = 7;
  optional uint32 img_h = 8;
  optional uint32 img_w = 9;
  optional float step = 10;
  optional float step_h = 11;
  optional float step_w = 12;
  optional float offset = 13 [default = 0.5];
}
message DetectionOutputParameter {
  optional uint32 num_classes = 1;
  optional bool share_location = 2 [default = true];
  optional int32 background_label_id = 3 [default = 0];
  optional NonMaximumSuppressionParameter nms_param = 4;
  optional SaveOutputParameter save_output_param = 5;
  optional PriorBoxParameter.CodeType code_type = 6 [default = CORNER];
  optional bool variance_encoded_in_target = 8 [default = false];
  optional int32 keep_top_k = 7 [default = -1];
  optional float confidence_threshold = 9;
  optional bool visualize = 10 [default = false];
  optional float visualize_threshold = 11;
  optional string save_file = 12;
}
message NonMaximumSuppressionParameter {
  optional float nms_threshold = 1 [default = 0.3];
  optional int32 top_k = 2;
  optional float eta = 3 [default = 1.0];
}
message SaveOutputParameter {
  optional string output_directory = 1;
  optional string output_name_prefix = 2;
  optional string output_format = 3;
  optional string label_map_file = 4;
  optional string name_size_file = 5;
  optional uint32 num_test_image = 6;
  optional ResizeParameter resize_param = 7;
}
message ResizeParameter {
  enum Resize_mode { WARP = 1; FIT_SMALL_SIZE = 2; FIT_LARGE_SIZE_AND_PAD = 3; }
  enum Pad_mode { CONSTANT = 1; MIRRORED = 2; REPEAT_NEAREST = 3; }
  enum Interp_mode { LINEAR = 1; AREA = 2; NEAREST = 3; CUBIC = 4; LANCZOS4 = 5; }
  optional float prob = 1 [default = 1];
  optional Resize_mode resize_mode = 2 [default = WARP];
  optional uint32 height = 3 [default = 0];
  optional uint32 width = 4 [default = 0];
  optional uint32 height_scale = 8 [default = 0];
  optional uint32 width_scale = 9 [default = 0];
  optional Pad_mode pad_mode = 5 [default = CONSTANT];
  repeated float pad_value = 6;
  repeated Interp_mode interp_mode = 7;
}
"""
_CORNER, _CENTER_SIZE, _CORNER_SIZE = 1, 2, 3


class Permute(Layer):
    """The axes in another ``order``; those that it leaves out follow as they are."""

    exact_bottom = exact_top = 1

    def reshape(self, bottom, top):
        axes, order = len(bottom[0].shape), list(self.param.permute_param.order)
        if any(axis >= axes for axis in order):
            self.fail(f"order should be less than the input dimension, {axes}: {order}")
        if len(set(order)) < len(order):
            self.fail(f"there are duplicate orders: {order}")
        self.order = order + [axis for axis in range(axes) if axis not in order]
        top[0].reshape(*(bottom[0].shape[axis] for axis in self.order))

    def compute(self, x):
        return x.permute(self.order).contiguous()


class Normalize(Elementwise):
    """scale · x / √(Σ x² + eps), the sum over each image, or over the channels of each place.

    The scale is learned, one number or with ``channel_shared: false`` one for each channel. As in the fork, the
    gradient is multiplied by the scale last, which is the derivative only if all channels have one.
    """

    def setup(self, bottom, top):
        p = self.param.norm_param
        if len(bottom[0].shape) < 2:
            self.fail("Number of axes of bottom blob must be >=2")
        filler = p.scale_filler
        if not p.HasField("scale_filler"):
            filler = type(filler)(type="constant", value=1)
        self.add_blob(() if p.channel_shared else bottom[0].shape[1:2], filler)

    def _normal(self, x):
        """The bottom divided by its norms, these, and the axes that they are over."""
        p = self.param.norm_param
        over = tuple(range(1, x.dim())) if p.across_spatial else (1,)
        norm = (x.square().sum(over, keepdim=True) + p.eps).sqrt()
        return x / norm, norm, over

    def _scale(self, x):
        return self.blobs[0].tensor().reshape(-1, *[1] * (x.dim() - 2))

    def forward(self, bottom, top, record):
        x = bottom[0].tensor()
        top[0].set_tensor(self._normal(x)[0] * self._scale(x))

    def backward(self, top, propagate_down, bottom):
        x, dy = bottom[0].tensor(), top[0].diff_tensor()
        y, norm, over = self._normal(x)
        if self.param_propagate_down[0]:
            of_channels = (y * dy).sum((0, *range(2, x.dim())))
            self.blobs[0].add_diff(of_channels.sum() if self.param.norm_param.channel_shared else of_channels)
        if propagate_down[0]:
            bottom[0].set_diff((dy - y * (y * dy).sum(over, keepdim=True)) / norm * self._scale(x))


class PriorBox(Layer):
    """Boxes around each place of the first bottom: 1 × 2 × D, with their corners and their variances.

    The corners (x and y of the upper left, then of the lower right) are fractions of the image's size, that of the
    second bottom unless given. Boxes' sizes are in pixels and cut to integers.
    """

    exact_bottom, exact_top = 2, 1
    differentiable = False

    def setup(self, bottom, top):
        p = self.param.prior_box_param
        if not p.min_size or min(p.min_size) <= 0:
            self.fail("must provide min_size, which must be positive")
        if p.max_size and (len(p.max_size) != len(p.min_size) or any(a >= b for a, b in zip(p.min_size, p.max_size))):
            self.fail("there must be a max_size for each min_size, and greater than it")
        if len(p.variance) not in (0, 1, 4) or any(v <= 0 for v in p.variance):
            self.fail("Must provide 1 or 4 positive values of variance")
        self.size = self._pair(p, "img_size", "img")
        self.step = self._pair(p, "step", "step")
        ratios = [1.0]
        for ratio in p.aspect_ratio:
            if all(abs(ratio - known) >= 1e-6 for known in ratios):
                ratios += [ratio, 1 / ratio] if p.flip else [ratio]
        boxes = []  # width, height in pixels
        for i, small in enumerate(map(int, p.min_size)):
            boxes.append((small, small))
            if p.max_size:
                boxes.append((np.sqrt(small * int(p.max_size[i])),) * 2)
            boxes += [(small * np.sqrt(r), small / np.sqrt(r)) for r in ratios if abs(r - 1) >= 1e-6]
        self.boxes = np.array(boxes, np.float32)

    def _pair(self, p, both, stem):
        """Width and height of a parameter that is given for both or for each; None where it is not."""
        each = f"{stem}_w", f"{stem}_h"
        given = [p.HasField(name) for name in each]
        if any(given) and p.HasField(both):
            self.fail(f"Either {both} or {each[1]}/{each[0]} should be specified; not both")
        if not any(given) and not p.HasField(both):
            return None
        pair = [getattr(p, name) for name in each] if any(given) else [getattr(p, both)] * 2
        if min(pair) <= 0:
            self.fail(f"{both} should be larger than 0")
        return pair

    def reshape(self, bottom, top):
        places = bottom[0].shape[2] * bottom[0].shape[3]
        top[0].reshape(1, 2, places * len(self.boxes) * 4)

    def compute(self, features, image):
        p = self.param.prior_box_param
        cells = np.array(features.shape[:1:-1])  # width, height
        size = np.array(self.size or image.shape[:1:-1], np.float32)
        step = size / cells.astype(np.float32) if self.step is None else np.array(self.step, np.float32)
        places = np.stack(np.meshgrid(*map(np.arange, cells)), -1).astype(np.float32)  # height × width × (x, y)
        centres = ((places + np.float32(p.offset)) * step)[:, :, None]
        corners = np.concatenate([centres - self.boxes / 2.0, centres + self.boxes / 2.0], -1) / np.tile(size, 2)
        if p.clip:
            corners = corners.clip(0, 1)
        variance = np.broadcast_to(np.array(p.variance or [0.1], np.float32), corners.shape)
        values = np.stack([corners.reshape(-1), variance.reshape(-1)])[None].astype(np.float32)
        return torch.from_numpy(values).to(features.device)


class DetectionOutput(Layer):
    """Boxes that non-maximum suppression keeps: 1 × 1 × boxes × (image, label, score, x, y, x, y).

    Bottoms are predictions of locations and of confidences (N × D) and the prior boxes. Where no box is kept there is
    one row of −1 for each image. Detections are not written to files, and not drawn.
    """

    min_bottom, max_bottom, exact_top = 3, 4, 1
    differentiable = False

    def setup(self, bottom, top):
        p = self.param.detection_output_param
        if not p.HasField("num_classes"):
            self.fail("Must specify num_classes")
        if p.nms_param.nms_threshold < 0 or not 0 < p.nms_param.eta <= 1:
            self.fail("nms_threshold must be non negative, and eta greater than 0 and at most 1")
        if p.save_output_param.output_directory or p.visualize:
            log("ssd.py:1", f"{self.name} writes no files and draws nothing; read its top", level=1)

    def reshape(self, bottom, top):
        p = self.param.detection_output_param
        self.priors = bottom[2].shape[2] // 4
        self.locations = 1 if p.share_location else p.num_classes
        if bottom[0].shape[1] != self.priors * self.locations * 4:
            self.fail("Number of priors must match number of location predictions")
        if bottom[1].shape[1] != self.priors * p.num_classes:
            self.fail("Number of priors must match number of confidence predictions")
        top[0].reshape(1, 1, 1, 7)  # until forward knows the boxes

    def forward(self, bottom, top, record):
        places, scores, priors = (blob.tensor().cpu().numpy() for blob in bottom[:3])
        num = len(places)
        boxes = self._decoded(places.reshape(num, self.priors, self.locations, 4), *priors.reshape(2, self.priors, 4))
        rows = [row for i in range(num) for row in self._kept(i, boxes[i], scores[i].reshape(self.priors, -1))]
        values = np.array(rows or [[i, *[-1] * 6] for i in range(num)], np.float32).reshape(1, 1, -1, 7)
        top[0].reshape(*values.shape)
        top[0].set_tensor(torch.from_numpy(values).to(bottom[0].tensor().device))

    def _decoded(self, places, priors, variances):
        """Corners of the predicted boxes (N, priors, locations, 4)."""
        p = self.param.detection_output_param
        priors, variances = priors[:, None], variances[:, None]
        offsets = places if p.variance_encoded_in_target else places * variances
        size = np.tile(priors[..., 2:] - priors[..., :2], 2)
        if p.code_type == _CORNER:
            return priors + offsets
        if p.code_type == _CORNER_SIZE:
            return priors + offsets * size
        centre = (priors[..., :2] + priors[..., 2:]) / 2 + offsets[..., :2] * size[..., :2]
        half = np.exp(offsets[..., 2:]) * size[..., 2:] / 2
        return np.concatenate([centre - half, centre + half], -1)

    def _kept(self, image, boxes, scores):
        """Rows of the top for one image: labels rise, and scores of a label fall."""
        p = self.param.detection_output_param
        least = p.confidence_threshold if p.HasField("confidence_threshold") else np.finfo(np.float32).min
        found = []  # label, score, box
        for label in range(p.num_classes):
            if label != p.background_label_id:
                mine = boxes[:, 0 if p.share_location else label]
                found += [(label, scores[i, label], mine[i]) for i in self._suppressed(mine, scores[:, label], least)]
        if -1 < p.keep_top_k < len(found):
            best = sorted(found, key=lambda one: -one[1])[: p.keep_top_k]
            found = sorted(best, key=lambda one: one[0])
        return [[image, label, score, *box] for label, score, box in found]

    def _suppressed(self, boxes, scores, least):
        """Indices of the boxes that do not overlap with a better one, best first."""
        p = self.param.detection_output_param.nms_param
        order = np.flatnonzero(scores > np.float32(least))
        order = order[np.argsort(-scores[order], kind="stable")]
        if p.HasField("top_k") and p.top_k > -1:
            order = order[: p.top_k]
        kept, boxes, threshold = [], boxes[order], p.nms_threshold
        overlap = np.zeros(len(order), np.float32)  # the largest with a box that is kept
        for i in range(len(order)):
            if overlap[i] <= np.float32(threshold):
                kept.append(order[i])
                overlap[i + 1 :] = np.maximum(overlap[i + 1 :], _overlaps(boxes[i], boxes[i + 1 :]))
                if p.eta < 1 and threshold > 0.5:
                    threshold *= p.eta
        return kept


def _overlaps(box, others):
    """The intersection over the union of a box with others, of corners x, y, x, y."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.where((sides > 0).all(1), sides.prod(1), 0)
    areas = [np.where((b[:, 2:] < b[:, :2]).any(1), 0, (b[:, 2:] - b[:, :2]).prod(1)) for b in (box[None], others)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(common > 0, common / (areas[0] + areas[1] - common), 0)


FORK = Fork("ssd", PROTO, {cls.__name__: cls for cls in (Permute, Normalize, PriorBox, DetectionOutput, SmoothL1Loss)})
