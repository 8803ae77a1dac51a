"""CaffeNet, SqueezeNet and GoogLeNet as a PyTorch user would write them, with every trick that pays.

The same arithmetic as the engine's: float32, pooling that rounds up, local response normalisation across channels with
its constants divided by the window, dropout, momentum, and weight decay on weights only.
"""

import torch
import torch.nn.functional as F
from torch import nn

from caffe.runtime import products


class _LRN(torch.autograd.Function):
    """Normalisation across 5 channels as a convolution with a band, which beats F.local_response_norm."""

    @staticmethod
    def forward(ctx, x, band):
        scale = F.conv2d(x * x, band).mul_(1e-4 / 5).add_(1)
        factor = scale.pow(-0.75)
        y = x * factor if ctx.needs_input_grad[0] else factor.mul_(x)
        ctx.save_for_backward(x, y, scale, factor, band)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y, scale, factor, band = ctx.saved_tensors
        ratio = F.conv2d((grad * y).div_(scale), band)
        return ratio.mul_(x).mul_(-2 * 0.75 * 1e-4 / 5).addcmul_(grad, factor), None


class LRN(nn.Module):
    """`_LRN` with its band."""

    def __init__(self, channels):
        super().__init__()
        index = torch.arange(channels)
        band = ((index[:, None] - index).abs() <= 2).float().reshape(channels, channels, 1, 1)
        self.register_buffer("band", band)

    def forward(self, x):
        """(N, C, H, W) to the same, in float32."""
        with torch.autocast(x.device.type, enabled=False):
            return _LRN.apply(x.float(), self.band)


class _Linear(torch.autograd.Function):
    """The products of nn.Linear by the engine's choice of library."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return products.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return products.product(grad, weight), products.product(grad.t(), x), grad.sum(0)


class Linear(nn.Linear):
    """nn.Linear as fast as the engine's InnerProduct, which takes a function of PyTorch that is not public."""

    def forward(self, x):
        """(N, inputs) to (N, outputs)."""
        return _Linear.apply(x, self.weight, self.bias)


def pool():
    """Overlapping maximum, its output's size rounded up."""
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def relu():
    """In place, as the engine's definitions have it."""
    return nn.ReLU(inplace=True)


def caffenet(classes=2, linear=nn.Linear):
    """Images (N, 3, 227, 227) to scores (N, classes)."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), relu(), pool(), LRN(96),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), relu(), pool(), LRN(256),
        nn.Conv2d(256, 384, 3, padding=1), relu(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), relu(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), relu(), pool(),
        nn.Flatten(),
        linear(9216, 4096), relu(), nn.Dropout(0.5),
        linear(4096, 4096), relu(), nn.Dropout(0.5),
        linear(4096, classes),
    )  # fmt: skip


class Branches(nn.Module):
    """Nets on one input, their outputs joined along the channels."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        """(N, C, H, W) to (N, sum of the branches' channels, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def squeezenet(classes=2):
    """SqueezeNet v1.0, images (N, 3, 227, 227) to scores (N, classes)."""

    def fire(channels, squeeze, expand):
        return nn.Sequential(
            nn.Conv2d(channels, squeeze, 1), relu(),
            Branches(
                nn.Sequential(nn.Conv2d(squeeze, expand, 1), relu()),
                nn.Sequential(nn.Conv2d(squeeze, expand, 3, padding=1), relu()),
            ),
        )  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(3, 96, 7, 2), relu(), pool(),
        fire(96, 16, 64), fire(128, 16, 64), fire(128, 32, 128), pool(),
        fire(256, 32, 128), fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), pool(),
        fire(512, 64, 256), nn.Dropout(0.5),
        nn.Conv2d(512, classes, 1), relu(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def googlenet(classes=2):
    """BVLC's GoogLeNet without auxiliary heads, images (N, 3, 224, 224) to scores (N, classes)."""

    def conv(*sizes, **options):
        return nn.Sequential(nn.Conv2d(*sizes, **options), relu())

    def inception(channels, ones, reduce3, threes, reduce5, fives, pooled):
        return Branches(
            conv(channels, ones, 1),
            nn.Sequential(conv(channels, reduce3, 1), conv(reduce3, threes, 3, padding=1)),
            nn.Sequential(conv(channels, reduce5, 1), conv(reduce5, fives, 5, padding=2)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(channels, pooled, 1)),
        )

    return nn.Sequential(
        conv(3, 64, 7, stride=2, padding=3), pool(), LRN(64),
        conv(64, 64, 1), conv(64, 192, 3, padding=1), LRN(192), pool(),
        inception(192, 64, 96, 128, 16, 32, 32), inception(256, 128, 128, 192, 32, 96, 64), pool(),
        inception(480, 192, 96, 208, 16, 48, 64), inception(512, 160, 112, 224, 24, 64, 64),
        inception(512, 128, 128, 256, 24, 64, 64), inception(512, 112, 144, 288, 32, 64, 64),
        inception(528, 256, 160, 320, 32, 128, 128), pool(),
        inception(832, 256, 160, 320, 32, 128, 128), inception(832, 384, 192, 384, 48, 128, 128),
        nn.AvgPool2d(7), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, classes),
    )  # fmt: skip


#: architecture of the engine -> the same net by hand
NETS = {"finetune": caffenet, "squeezenet": squeezenet, "googlenet": googlenet}


class Trainer:
    """One step of stochastic gradient descent a call, on images and labels that stay.

    ``half`` computes convolutions and inner products in bfloat16, as torch.autocast does.
    """

    def __init__(self, net, images, labels, layout=torch.channels_last, half=False):
        self.net = net.to(images.device, memory_format=layout).train()
        self.images, self.labels = images.to(memory_format=layout), labels
        self.half = half
        weights = [p for p in self.net.parameters() if p.dim() > 1]
        biases = [p for p in self.net.parameters() if p.dim() == 1]
        groups = [dict(params=weights, weight_decay=5e-4), dict(params=biases, lr=2e-6)]
        self.optimizer = torch.optim.SGD(groups, lr=1e-6, momentum=0.9, fused=True)

    def __call__(self):
        """Forward, backward, update."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.half):
            loss = F.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        self.optimizer.step()


class Predictor:
    """Probabilities of images that stay, in rows, as a loader gives them."""

    def __init__(self, net, images):
        self.net = net.to(images.device, memory_format=torch.channels_last).eval()
        self.images = images

    def __call__(self):
        """One forward pass."""
        with torch.inference_mode():
            return torch.softmax(self.net(self.images.contiguous(memory_format=torch.channels_last)), 1)
