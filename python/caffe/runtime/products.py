"""Products of matrices, by the faster of PyTorch's two libraries."""

import torch
import torch.nn.functional as F

_SMALL = 1 << 22  # multiply-adds below which oneDNN's overhead costs more than it saves


def _find_onednn():
    """The function that leads to oneDNN's products, of which torch has no public one; None where MKL is as fast.

    MKL uses AVX-512 on Intel's processors only. oneDNN does on all that have it, and there takes less than half the
    time. Without AVX-512 it is the slower for some shapes.
    """
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_onednn = _find_onednn()


def linear(x, weight, bias=None):
    """The rows of ``x``, shape (N, K), by those of ``weight``, shape (M, K), plus ``bias``: shape (N, M)."""
    large = x.numel() * weight.shape[0] >= _SMALL
    if _onednn and large and x.is_cpu and x.dtype == torch.float32:
        if not (weight.is_contiguous() or weight.t().is_contiguous()):
            weight = weight.contiguous()  # others take a thousand times as long
        return _onednn(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def product(a, b):
    """The product of two matrices."""
    return linear(a, b.t())
