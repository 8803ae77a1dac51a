"""SENet (hujie-frank/SENet): axpy_layer.cpp."""

from ..extension import Fork
from ..layers.base import Layer


class Axpy(Layer):
    """a · x + y, with one factor a (N×C, or N×C×1×1) for each channel of x and y (N×C×H×W)."""

    exact_bottom, exact_top = 3, 1

    def reshape(self, bottom, top):
        a, x, y = (blob.shape for blob in bottom)
        if x != y or a[:2] != x[:2] or any(n != 1 for n in a[2:]):
            self.fail("The bottoms must be N×C (×1×1), N×C×H×W and N×C×H×W")
        top[0].reshape(*x)

    def compute(self, a, x, y):
        return a.reshape(*x.shape[:2], *[1] * (x.dim() - 2)) * x + y


FORK = Fork("senet", "", {"Axpy": Axpy})
