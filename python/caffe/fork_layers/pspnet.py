"""PSPNet (hszhao/PSPNet), and ICNet on it: bn_layer.cpp and interp_layer.cpp."""

from ..extension import Fork
from ..layers.base import TEST, Layer
from .deeplab import INTERP, Interp

PROTO = (
    INTERP
    + """
message LayerParameter {
  optional BNParameter bn_param = 152;
  optional InterpParameter interp_param = 143;
}
message BNParameter {
  enum Engine { DEFAULT = 0; CAFFE = 1; CUDNN = 2; }
  optional FillerParameter slope_filler = 1;
  optional FillerParameter bias_filler = 2;
  optional float momentum = 3 [default = 0.9];
  optional float eps = 4 [default = 1e-5];
  optional bool frozen = 5 [default = false];
  optional Engine engine = 6 [default = DEFAULT];
}
"""
)


class BN(Layer):
    """Slope · (x − mean) / √(variance + eps) + bias by channel, of each batch in TRAIN, of moving averages in TEST.

    The blobs are slope, bias, mean and variance. ``frozen`` uses the averages in TRAIN too, and learns nothing. The
    gradient in TEST is the derivative of this; the fork's is that of TRAIN.
    """

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        p = self.param.bn_param
        self.channels = self.image_shape(bottom[0])[1]
        one = type(p.slope_filler)(type="constant", value=p.frozen)
        for filler in (p.slope_filler, p.bias_filler, None, one):
            self.add_blob((1, self.channels, 1, 1), filler)
        specs = self.param.param
        while len(specs) < 4:
            specs.add()
        for spec in specs[0 if p.frozen else 2 :]:
            spec.lr_mult = spec.decay_mult = 0

    def reshape(self, bottom, top):
        if self.image_shape(bottom[0])[1] != self.channels:
            self.fail(f"The bottom has no {self.channels} channels, for which there are parameters")
        top[0].reshape(*bottom[0].shape)

    def compute(self, x, slope, bias, mean, variance):
        p, shape = self.param.bn_param, x.shape
        x = x.reshape(self.image_shape(x))
        if p.frozen:
            slope, bias = slope.detach(), bias.detach()
        if p.frozen or self.phase == TEST:
            mean, variance = mean.detach(), variance.detach()
        else:
            mean, variance = x.mean((0, 2, 3), True), x.var((0, 2, 3), correction=0, keepdim=True)
            for blob, value in zip(self.blobs[2:], (mean.detach(), variance.detach())):
                blob.set_tensor(blob.tensor() * p.momentum + value * (1 - p.momentum))
        return ((x - mean) / (variance + p.eps).sqrt() * slope + bias).reshape(shape)


FORK = Fork("pspnet", PROTO, {"BN": BN, "Interp": Interp})
