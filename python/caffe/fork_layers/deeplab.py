"""DeepLab v2 (xmyqsh/deeplab-v2, a copy of the authors' code on Caffe 1.0): interp_layer.cpp and interp.cpp."""

import torch.nn.functional as F

from ..extension import Fork
from ..layers.base import Layer

INTERP = """
message InterpParameter {
  optional int32 height = 1 [default = 0];
  optional int32 width = 2 [default = 0];
  optional int32 zoom_factor = 3 [default = 1];
  optional int32 shrink_factor = 4 [default = 1];
  optional int32 pad_beg = 5 [default = 0];
  optional int32 pad_end = 6 [default = 0];
}
"""
PROTO = INTERP + "message LayerParameter { optional InterpParameter interp_param = 153; }"


class Interp(Layer):
    """N×C×H×W resized by bilinear interpolation in which corners stay corners; negative pads crop it first."""

    exact_bottom = exact_top = 1

    def reshape(self, bottom, top):
        p = self.param.interp_param
        if max(p.pad_beg, p.pad_end) > 0:
            self.fail("Only supports non-pos padding (cropping) for now")
        zooms, shrinks = p.HasField("zoom_factor"), p.HasField("shrink_factor")
        if min(p.zoom_factor, p.shrink_factor) < 1:
            self.fail("Zoom and shrink factor must be positive")
        cropped = [n + p.pad_beg + p.pad_end for n in self.image_shape(bottom[0])[2:]]
        size = [(n - 1) // p.shrink_factor * p.zoom_factor + 1 for n in cropped]
        if p.HasField("height") and p.HasField("width") and zooms == shrinks:
            size = [p.height, p.width]
        elif not (zooms or shrinks):
            self.fail("A size is needed: height and width, zoom_factor or shrink_factor")
        if min(*cropped, *size) < 1:
            self.fail("height and width should be positive")
        self.size = tuple(size)
        top[0].reshape(*self.image_shape(bottom[0])[:2], *size)

    def compute(self, x):
        p = self.param.interp_param
        x = x.reshape(self.image_shape(x))
        x = x[:, :, -p.pad_beg : x.shape[2] + p.pad_end, -p.pad_beg : x.shape[3] + p.pad_end]
        return F.interpolate(x, self.size, mode="bilinear", align_corners=True)


FORK = Fork("deeplab", PROTO, {"Interp": Interp})
