"""Fast and Faster R-CNN (rbgirshick/caffe-fast-rcnn): roi_pooling, smooth_L1_loss and dropout_layer.cpp and .cu."""

import numpy as np
import torch

from ..extension import Fork
from ..layers.base import Layer
from ..layers.loss import Loss, refuse_labels
from ..layers.neuron import Dropout

ROI_POOLING = """
message ROIPoolingParameter {
  optional uint32 pooled_h = 1 [default = 0];
  optional uint32 pooled_w = 2 [default = 0];
  optional float spatial_scale = 3 [default = 1];
}
"""
PROTO = (
    ROI_POOLING
    + """
message LayerParameter {
  optional ROIPoolingParameter roi_pooling_param = 8266711;
  optional SmoothL1LossParameter smooth_l1_loss_param = 8266712;
}
message SmoothL1LossParameter { optional float sigma = 1 [default = 1]; }
message DropoutParameter { optional bool scale_train = 2 [default = true]; }
"""
)


def rounded(values):
    """The nearest integers, halves away from zero as in C, of float32 numbers."""
    values = np.asarray(values, np.float64)
    return np.copysign(np.floor(np.abs(values) + 0.5), values)


class OverRegions(Layer):
    """Base class: the first bottom N×C×H×W, the second R×5 regions: index of the image, x and y of two corners."""

    exact_bottom, exact_top = 2, 1

    def allow_force_backward(self, index):
        return index == 0

    def regions(self, rois, images):
        """The indices of the images (R) and the corners in pixels (R, 4) as arrays."""
        rois = rois.detach().cpu().numpy().reshape(len(rois), -1)
        index = rois[:, 0].astype(int)
        wrong = index[(index < 0) | (index >= images)]
        if len(wrong):
            self.fail(f"The image of a region must be from 0 to {images - 1}, not {wrong[0]}")
        return index, rois[:, 1:5].astype(np.float32)

    def backward(self, top, propagate_down, bottom):
        super().backward(top, [propagate_down[0], False], bottom)


class ROIPooling(OverRegions):
    """The maximum in each of ``pooled_h`` × ``pooled_w`` bins of each region, 0 in an empty bin: R×C×h×w."""

    def setup(self, bottom, top):
        p = self.param.roi_pooling_param
        if min(p.pooled_h, p.pooled_w) < 1:
            self.fail("pooled_h and pooled_w must be > 0")

    def reshape(self, bottom, top):
        p = self.param.roi_pooling_param
        top[0].reshape(bottom[1].shape[0], bottom[0].shape[1], p.pooled_h, p.pooled_w)

    def compute(self, x, rois):
        p = self.param.roi_pooling_param
        images, corners = self.regions(rois, len(x))
        corners = rounded(corners * np.float32(p.spatial_scale))
        maxima = [self._maxima(x.detach(), *region) for region in zip(images, corners)]
        if not maxima:
            return x.new_zeros(0, x.shape[1], p.pooled_h, p.pooled_w)
        index = torch.stack(maxima)
        return torch.where(index < 0, 0, x.reshape(-1)[index.clamp(min=0)])

    def _maxima(self, x, image, corners):
        """Where in the whole bottom the maximum of each bin is (C, h, w), −1 for an empty bin."""
        p = self.param.roi_pooling_param
        _, channels, height, width = x.shape
        columns = _bins(corners[0], corners[2], p.pooled_w, width, x.device)
        rows = _bins(corners[1], corners[3], p.pooled_h, height, x.device)
        if rows is None or columns is None:
            return torch.full((channels, p.pooled_h, p.pooled_w), -1, device=x.device)
        upper, lower = int(rows[0].min()), int(rows[0].max()) + 1
        by_column, column = x[image, :, upper:lower, columns[0]].max(-1)  # C × rows × w; of equal values the first
        row = by_column[:, rows[0] - upper].max(2)[1]  # C × h × w
        row = rows[0][:, None].expand(-1, p.pooled_w, -1).gather(2, row.movedim(0, -1)).movedim(-1, 0)
        column = columns[0].expand(*by_column.shape, -1).gather(3, column[..., None])[..., 0].gather(1, row - upper)
        first = (image * channels + torch.arange(channels, device=x.device)) * height * width
        index = first[:, None, None] + row * width + column
        return torch.where(rows[1][:, None] | columns[1], -1, index)


def _bins(start, end, bins, size, device):
    """The places in each bin of a region along an axis (bins, most), the last repeated, and which bins are empty.

    None if all are. Bins are computed in float32, as in the fork.
    """
    each = np.float32(max(end - start + 1, 1)) / np.float32(bins)
    n = np.arange(bins, dtype=np.float32)
    first = (np.floor(n * each) + start).clip(0, size).astype(int)
    last = (np.ceil((n + 1) * each) + start).clip(0, size).astype(int) - 1
    if (last < first).all():
        return None
    places = np.minimum(first[:, None] + np.arange((last - first).max() + 1), last[:, None]).clip(0, size - 1)
    return torch.from_numpy(places).to(device), torch.from_numpy(last < first).to(device)


class SmoothL1Loss(Loss):
    """Σ f(a − b) / N with f(x) = (σx)² / 2 where |x| < 1 / σ², |x| − 1 / 2σ² elsewhere.

    A third bottom is a weight of a − b, with which SSD and the first Fast R-CNN do not multiply the gradient. With a
    fourth, a weight of f, they are Faster R-CNN's weights "inside" and "outside", with both of which it is multiplied.
    """

    exact_bottom = None
    min_bottom, max_bottom = 2, 4

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        for blob in bottom[1:]:
            if self.image_shape(blob)[1:] != self.image_shape(bottom[0])[1:]:
                self.fail(f"Inputs must have the same shape: {bottom[0].shape_string()} against {blob.shape_string()}")

    def allow_force_backward(self, index):
        return index < 2

    def _parts(self, bottom):
        """Weighted differences, σ², where f is quadratic, and the weights of the gradient."""
        a, *others = [blob.tensor() for blob in bottom]
        b, *weights = [other.reshape(a.shape) for other in others]
        p = getattr(self.param, "smooth_l1_loss_param", None)  # SSD has no such field
        square = p.sigma**2 if p else 1.0
        x = (a - b) * weights[0] if weights else a - b
        return x, square, x.abs() < 1 / square, weights if len(weights) == 2 else []

    def forward(self, bottom, top, record):
        x, square, near, weights = self._parts(bottom)
        loss = torch.where(near, x.square() * (square / 2), x.abs() - 0.5 / square)
        top[0].set_tensor((loss * weights[1] if weights else loss).sum() / bottom[0].shape[0])

    def backward(self, top, propagate_down, bottom):
        for i in range(2, len(bottom)):
            refuse_labels(self, propagate_down, "weight", i)
        x, square, near, weights = self._parts(bottom)
        slope = torch.where(near, x * square, x.sign()) * (top[0].diff_tensor() / bottom[0].shape[0])
        for weight in weights:
            slope = slope * weight
        for blob, down, sign in zip(bottom, propagate_down, (1, -1)):
            if down:
                blob.set_diff((sign * slope).reshape(blob.shape))


class DropoutOrScale(Dropout):
    """BVLC's Dropout; with ``scale_train: false`` it scales in TEST, by 1 − ratio, and not in TRAIN."""

    def _scaled(self, values):
        return values if self.param.dropout_param.scale_train else values * (1 - self.ratio)

    def compute(self, x):
        return self._scaled(super().compute(x))

    def gradient(self, dy, x, y):
        return self._scaled(super().gradient(dy, x, y))


FORK = Fork("fast-rcnn", PROTO, {"ROIPooling": ROIPooling, "SmoothL1Loss": SmoothL1Loss, "Dropout": DropoutOrScale})
