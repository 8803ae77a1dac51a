"""R-FCN (daijifeng001/caffe-rfcn): psroi_pooling_layer.cu and roi_pooling_layer.cpp."""

import numpy as np
import torch

from ...extension import Fork
from .fast_rcnn import ROI_POOLING, OverRegions, ROIPooling, rounded

PROTO = (
    ROI_POOLING
    + """
message LayerParameter {
  optional PSROIPoolingParameter psroi_pooling_param = 10001;
  optional ROIPoolingParameter roi_pooling_param = 8266711;
}
message PSROIPoolingParameter {
  required float spatial_scale = 1;
  required int32 output_dim = 2;
  required int32 group_size = 3;
}
"""
)


class PSROIPooling(OverRegions):
    """The mean in each of g×g bins of each region, for each bin of other channels: N×(D·g·g)×H×W to R×D×g×g."""

    def setup(self, bottom, top):
        p = self.param.psroi_pooling_param
        if min(p.output_dim, p.group_size) < 1:
            self.fail("output_dim and group_size must be > 0")

    def reshape(self, bottom, top):
        p = self.param.psroi_pooling_param
        if bottom[0].shape[1] != p.output_dim * p.group_size**2:
            self.fail(f"input channel number {bottom[0].shape[1]} does not match layer parameters")
        top[0].reshape(bottom[1].shape[0], p.output_dim, p.group_size, p.group_size)

    def compute(self, x, rois):
        p = self.param.psroi_pooling_param
        images, corners = self.regions(rois, len(x))
        starts = rounded(corners).astype(np.float32)
        starts[:, 2:] += 1
        starts *= np.float32(p.spatial_scale)
        maps = x.reshape(len(x), p.output_dim, p.group_size, p.group_size, *x.shape[2:])
        means = []
        for image, (left, upper, right, lower) in zip(images, starts):
            rows = self._weights(upper, lower, x.shape[2]).to(x)
            columns = self._weights(left, right, x.shape[3]).to(x)
            means.append(torch.einsum("dpqhw,ph,qw->dpq", maps[image], rows, columns))
        return torch.stack(means) if means else x.new_zeros(0, *maps.shape[1:4])

    def _weights(self, start, end, size):
        """The weight of each place in the mean of each bin along an axis (bins, size); 0 in an empty bin."""
        bins = self.param.psroi_pooling_param.group_size
        each = np.float32(max(end - start, 0.1)) / np.float32(bins)
        n, place = np.arange(bins, dtype=np.float32), np.arange(size)
        first = np.floor(n * each + start).clip(0, size)
        last = np.ceil((n + 1) * each + start).clip(0, size)
        inside = (place >= first[:, None]) & (place < last[:, None])
        return torch.from_numpy(inside / np.maximum(last - first, 1)[:, None])


FORK = Fork("r-fcn", PROTO, {"PSROIPooling": PSROIPooling, "ROIPooling": ROIPooling})
