"""R-FCN (daijifeng001/caffe-rfcn): psroi_pooling_layer.cu and roi_pooling_layer.cpp."""

import numpy as np
import torch
import torch.nn.functional as F

from ..extension import Fork
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
        # sums over the rectangles from the first place to each, of which four give the sum over a bin
        sums = F.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
        sums = sums.reshape(len(x), p.output_dim, p.group_size, p.group_size, *sums.shape[2:])
        columns, rows = (self._bins(starts[:, i], starts[:, i + 2], x.shape[3 - i], x.device) for i in range(2))
        image = torch.from_numpy(images).to(x.device)[:, None, None, None]
        output, i, j = torch.meshgrid(*(torch.arange(n, device=x.device) for n in sums.shape[1:4]), indexing="ij")

        def until(row, column):
            return sums[image, output, i, j, row[:, None, :, None], column[:, None, None, :]]

        total = until(rows[1], columns[1]) - until(rows[0], columns[1]) - until(rows[1], columns[0])
        areas = (rows[1] - rows[0])[:, None, :, None] * (columns[1] - columns[0])[:, None, None, :]
        return ((total + until(rows[0], columns[0])) / areas.clamp(min=1)).to(x.dtype)

    def _bins(self, start, end, size, device):
        """The first place in each bin along an axis, and the first after it (regions, bins), computed in float32."""
        bins = self.param.psroi_pooling_param.group_size
        each = (np.maximum(end - start, np.float32(0.1)) / np.float32(bins))[:, None]
        n = np.arange(bins, dtype=np.float32)
        first = np.floor(n * each + start[:, None])
        last = np.ceil((n + 1) * each + start[:, None])
        return [torch.from_numpy(places.clip(0, size).astype(int)).to(device) for places in (first, last)]


FORK = Fork("r-fcn", PROTO, {"PSROIPooling": PSROIPooling, "ROIPooling": ROIPooling})
