"""SegNet (alexgkendall/caffe-segnet): upsample_layer.cpp and bn_layer.cpp."""

from ..extension import Fork
from ..layers.base import Layer, check_range

PROTO = """
message LayerParameter {
  optional BNParameter bn_param = 45;
  optional UpsampleParameter upsample_param = 137;
}
message BNParameter {
  enum BNMode { LEARN = 0; INFERENCE = 1; }
  optional FillerParameter scale_filler = 1;
  optional FillerParameter shift_filler = 2;
  optional BNMode bn_mode = 3 [default = LEARN];
}
message UpsampleParameter {
  optional uint32 scale = 1 [default = 2];
  optional uint32 scale_h = 2;
  optional uint32 scale_w = 3;
  optional bool pad_out_h = 4 [default = false];
  optional bool pad_out_w = 5 [default = false];
  optional uint32 upsample_h = 6;
  optional uint32 upsample_w = 7;
}
"""
_EPS = 1e-9  # var_eps_
_INFERENCE = 1


class Upsample(Layer):
    """Values of a smaller map at the places, h·W+w, that the second bottom holds (MAX pooling's second top), else 0."""

    exact_bottom, exact_top = 2, 1

    def setup(self, bottom, top):
        p = self.param.upsample_param
        self.given = p.HasField("upsample_h") and p.HasField("upsample_w")
        if not self.given and p.HasField("scale_h") != p.HasField("scale_w"):
            self.fail("upsample_h & upsample_w are required, else scale OR scale_h & scale_w")
        self.scale = (p.scale_h, p.scale_w) if p.HasField("scale_h") else (p.scale, p.scale)
        if min((p.upsample_h, p.upsample_w) if self.given else self.scale) < 2:
            self.fail("The size of the top, or the scale, must be greater than 1")
        if not self.given and any(pad and s != 2 for pad, s in zip((p.pad_out_h, p.pad_out_w), self.scale)):
            self.fail("pad_out_h and pad_out_w require a scale of 2")

    def reshape(self, bottom, top):
        p, shape = self.param.upsample_param, bottom[0].shape
        if len(shape) != 4 or bottom[1].shape != shape:
            self.fail("Input and its mask must have the same 4 axes, (num, channels, height, width)")
        self.size = (p.upsample_h, p.upsample_w)
        if not self.given:
            pads = p.pad_out_h, p.pad_out_w
            self.size = tuple(n * s - pad for n, s, pad in zip(shape[2:], self.scale, pads))
        top[0].reshape(*shape[:2], *self.size)

    def allow_force_backward(self, index):
        return index == 0

    def compute(self, x, mask):
        height, width = self.size
        check_range(self, mask, height * width, "upsample top index")
        y = x.new_zeros(*x.shape[:2], height * width).scatter(2, mask.long().flatten(2), x.flatten(2))
        return y.reshape(*x.shape[:2], height, width)

    def backward(self, top, propagate_down, bottom):
        super().backward(top, [propagate_down[0], False], bottom)


class BN(Layer):
    """Scale · (x − mean) / √(variance + 1e-9) + shift by channel, in either phase with the batch's statistics.

    ``bn_mode: INFERENCE`` is scale · x + shift. Further tops are the mean and the variance. As in the fork, gradients
    of scale and shift replace what their diffs hold, so that ``iter_size`` above 1 loses gradients.
    """

    exact_bottom, min_top, max_top = 1, 1, 3

    def setup(self, bottom, top):
        p = self.param.bn_param
        self.channels = self.image_shape(bottom[0])[1]
        for filler in (p.scale_filler, p.shift_filler):
            self.add_blob((1, self.channels, 1, 1), filler)

    def reshape(self, bottom, top):
        shape = self.image_shape(bottom[0])
        if shape[1] != self.channels:
            self.fail(f"The bottom has {shape[1]} channels, but there are parameters for {self.channels}")
        top[0].reshape(*shape)
        for blob in top[1:]:
            blob.reshape(1, self.channels, 1, 1)

    def compute(self, x, scale, shift):
        x = x.reshape(self.image_shape(x))
        mean, variance = x.mean((0, 2, 3), True), x.var((0, 2, 3), correction=0, keepdim=True)
        if self.param.bn_param.bn_mode != _INFERENCE:
            x = (x - mean) / (variance + _EPS).sqrt()
        return [x * scale + shift, mean.detach(), variance.detach()]

    def backward(self, top, propagate_down, bottom):
        for blob, wanted in zip(self.blobs, self.param_propagate_down):
            if wanted:
                blob.zero_diff()
        super().backward(top[:1], propagate_down, bottom)


FORK = Fork("segnet", PROTO, {"Upsample": Upsample, "BN": BN})
