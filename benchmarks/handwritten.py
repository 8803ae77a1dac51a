"""CaffeNet as a PyTorch user would write it by hand, with every trick that pays: what python/caffe is held against.

The same arithmetic as the engine's: float32, pooling that rounds up, local response normalisation across channels with
its constants divided by the window, dropout, momentum, and weight decay on weights only.
"""

import torch
import torch.nn.functional as F
from torch import nn


class _LRN(torch.autograd.Function):
    """Normalisation across 5 channels as a convolution with a band, which beats F.local_response_norm."""

    @staticmethod
    def forward(ctx, x, band):
        scale = F.conv2d(x * x, band).mul_(1e-4 / 5).add_(1)
        factor = scale.pow(-0.75)
        y = x * factor
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


def pool():
    """Overlapping maximum, its output's size rounded up."""
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def caffenet(classes=2, layout=torch.channels_last):
    """The network, images (N, 3, 227, 227) to scores (N, classes)."""
    net = nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(inplace=True), pool(), LRN(96),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), pool(), LRN(256),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(inplace=True), pool(),
        nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, classes),
    )  # fmt: skip
    return net.to(memory_format=layout)


class Trainer:
    """One step of stochastic gradient descent a call, on images and labels that stay.

    ``half`` computes convolutions and inner products in bfloat16, as torch.autocast does.
    """

    def __init__(self, images, labels, layout=torch.channels_last, half=False):
        self.net = caffenet(layout=layout).to(images.device).train()
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
    """Probabilities of images that stay."""

    def __init__(self, images):
        self.net = caffenet().to(images.device).eval()
        self.images = images.to(memory_format=torch.channels_last)

    def __call__(self):
        """One forward pass."""
        with torch.inference_mode():
            return torch.softmax(self.net(self.images), 1)
