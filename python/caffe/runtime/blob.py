"""Blobs: N-d float32 arrays with a gradient beside them, numpy for users and torch for layers (blob.cpp)."""

import math
import weakref
from typing import Any

import torch

from ..errors import CaffeError
from . import mode


def from_array(array):
    """A float32 tensor with the numbers of a numpy array, in memory of its own.

    Torch's memory begins on a boundary of 64 bytes, numpy's need not, and with that MKL's last bits change: a resumed
    training must find its numbers aligned as the first run had them.
    """
    with torch.inference_mode(False):
        return torch.tensor(array, dtype=torch.float32, device="cpu")


def zeros(count, device="cpu"):
    """Memory of a blob: float32 whatever PyTorch's default is, and of use outside a ``torch.inference_mode`` too."""
    with torch.inference_mode(False):
        return torch.zeros(count, dtype=torch.float32, device=device)


def _is_plain(tensor):
    """Whether a tensor lies in memory as numpy's arrays do, in the order of its axes, and aligned as `from_array` says.

    ``is_contiguous`` takes any stride for an axis of one, but torch chooses kernels by it.
    """
    stride = 1
    for size, own in zip(reversed(tensor.shape), reversed(tensor.stride())):
        if own != stride:
            return False
        stride *= size
    return tensor.data_ptr() % 64 == 0


class Memory:
    """One float32 region: ``tensor`` is what the engine computes with, ``host`` what a user was handed as numpy.

    Where a tensor lies as numpy's arrays do, the two are one memory. Where it does not, say channels-last, each keeps
    its own: results are copied to ``host``, and what may have been written there is copied back, into the layout that
    was there, before the engine reads. So a look changes no layout or alignment, and with them no rounding. When the
    user has let go of the view, ``host`` goes too. No ``tensor`` means zeros, which cost nothing.
    """

    __slots__ = ("_view", "borrowed", "capacity", "host", "lent", "tensor")

    def __init__(self, capacity):
        self.capacity = capacity
        self.tensor: Any = None
        self.host: Any = None
        self.lent = False  # whether the user may have written to host; on a GPU only until the engine reads
        self.borrowed = False
        self._view: Any = None  # weak: the array that all handed-out views are based on

    def _settle(self):
        """Take in what was written to the view, and forget it where nobody holds it any more."""
        if self.host is None:
            return
        if self.lent:
            if self.tensor is None:
                self.tensor = self.host if self.host.any() else None
            elif self.tensor is not self.host:
                self.tensor.copy_(self.host[: self.tensor.numel()].view(self.tensor.shape))
        self._release()

    def _release(self):
        """Forget the view where nobody holds it; otherwise on the CPU it may be written to at any time."""
        if self._view() is None:
            self.host = None
        on_card = mode.is_gpu() or (self.tensor is not None and self.tensor.device.type != "cpu")
        self.lent = self.host is not None and not on_card

    def read(self, shape):
        """The values as a tensor of ``shape`` on the current device; an alias, not a copy."""
        self._settle()
        device = mode.device()
        if self.tensor is None:
            on_cpu = self.host is not None and device.type == "cpu"
            self.tensor = self.host if on_cpu else zeros(self.capacity, device)
        elif self.tensor.device != device:
            self.write(self.tensor.to(device))
        tensor = self.tensor
        if tensor.shape == shape:
            return tensor
        count = math.prod(shape)
        flat = tensor.reshape(-1)
        if flat.numel() < count:
            flat = torch.cat([flat, flat.new_zeros(self.capacity - flat.numel())])
        if flat.data_ptr() != tensor.data_ptr():
            self.tensor = flat
        return flat[:count].view(shape)

    def write(self, tensor):
        """Take ``tensor`` as the new values. The caller gives it up unless a view is held."""
        self.borrowed = False
        self.tensor = tensor
        if self.host is None:
            return
        self._release()
        if self.lent and tensor.device.type == "cpu":
            self.host[: tensor.numel()].copy_(tensor.reshape(-1))
            if _is_plain(tensor):
                self.tensor = self.host

    def borrow(self, tensor):
        """Show the values of a tensor that stays another's; it is copied before anyone may write here."""
        self.write(tensor)
        self.borrowed = self.tensor is tensor

    def change(self, shape):
        """The values as `read` gives them, but this memory's own, and for the engine to change in place."""
        if self.borrowed and self.tensor is not None:
            self.tensor = self.tensor.clone()
        self.borrowed = False
        values = self.read(shape)
        if self.lent and self.tensor is not self.host:
            self.tensor = self.host
            return self.read(shape)
        return values

    def zero(self):
        """Set everything to zero, at no cost where no view is held."""
        self.borrowed = False
        self.tensor = None
        if self.host is not None:
            self.host.zero_()
            self._release()

    def add(self, tensor):
        """Add ``tensor`` to the values; onto zeros it is simply taken."""
        if not _is_plain(tensor):
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._settle()
        if self.tensor is None:
            self.write(tensor)
        else:
            self.change(tensor.shape).add_(tensor)

    @torch.inference_mode(False)
    def numpy(self, shape):
        """A writable, C-contiguous numpy view; what is written there is what the engine sees next."""
        self._settle()
        if self.borrowed and self.tensor is not None:
            self.tensor = self.tensor.clone()
        self.borrowed = False
        view = None if self.host is None else self._view()
        if view is None:
            view = self._hand_out()
        elif not self.lent and self.tensor is not None:
            self.host[: self.tensor.numel()].copy_(self.tensor.reshape(-1))
        self.lent = True
        return view[: math.prod(shape)].reshape(shape)

    def _hand_out(self):
        """Make ``host``: the tensor's own memory where that is all of it and plain, else a copy."""
        tensor = self.tensor
        whole = tensor is not None and tensor.device.type == "cpu" and tensor.numel() == self.capacity
        if whole and _is_plain(tensor):
            self.host = self.tensor = tensor.detach().view(-1)
        else:
            self.host = zeros(self.capacity)
            if tensor is not None:
                self.host[: tensor.numel()].copy_(tensor.reshape(-1))
        view = self.host.numpy()
        self._view = weakref.ref(view)
        return view


class Blob:
    """Values (``data``) and gradient (``diff``) of one shape.

    ``Blob(shape)`` is zero. ``data`` and ``diff`` are writable float32 numpy views that outlive the net; growing the
    blob allocates anew, shrinking keeps the storage.
    """

    def __init__(self, shape=()):
        self._shape: tuple[int, ...] = ()
        self._data = Memory(0)
        self._diff = Memory(0)
        self.reshape(*shape)

    def reshape(self, *shape):
        """Give the blob another shape; storage is replaced, zeroed, only where it is too small."""
        shape = torch.Size(int(n) for n in shape)
        if any(n < 0 for n in shape):
            raise CaffeError(f"Check failed: shape[i] >= 0: a blob cannot have the shape {tuple(shape)}.")
        if len(shape) > 32:
            raise CaffeError(f"A blob has at most 32 axes, not {len(shape)}.")
        self._shape = shape
        count = math.prod(shape)
        if count > self._data.capacity:
            self._data = Memory(count)
        if count > self._diff.capacity:
            self._diff = Memory(count)

    @property
    def shape(self):
        """The shape, slowest axis first (for images: number, channels, height, width)."""
        return tuple(self._shape)

    @property
    def count(self):
        """Number of values."""
        return math.prod(self._shape)

    def _legacy(self, axis):
        if len(self._shape) > 4:
            raise CaffeError(f"Cannot use legacy accessors on Blobs with > 4 axes (this one has {len(self._shape)}).")
        return self._shape[axis] if axis < len(self._shape) else 1

    num = property(lambda self: self._legacy(0), doc="First axis, 1 where absent.")
    channels = property(lambda self: self._legacy(1), doc="Second axis, 1 where absent.")
    height = property(lambda self: self._legacy(2), doc="Third axis, 1 where absent.")
    width = property(lambda self: self._legacy(3), doc="Fourth axis, 1 where absent.")

    @property
    def data(self):
        """The values as a writable numpy view."""
        return self._data.numpy(self._shape)

    @property
    def diff(self):
        """The gradient as a writable numpy view."""
        return self._diff.numpy(self._shape)

    def tensor(self):
        """The values as a torch tensor on the current device, without history."""
        return self._data.read(self._shape)

    def own_tensor(self):
        """The values as a torch tensor that may be changed in place."""
        return self._data.change(self._shape)

    def set_tensor(self, tensor):
        """Take a tensor of this blob's shape as its values (the engine's way of writing)."""
        self._data.write(tensor)

    def diff_tensor(self):
        """The gradient as a torch tensor on the current device; not to be written to."""
        return self._diff.read(self._shape)

    def own_diff_tensor(self):
        """The gradient as a torch tensor that may be changed in place."""
        return self._diff.change(self._shape)

    def set_diff(self, tensor):
        """Overwrite the gradient."""
        self._diff.write(tensor)

    def add_diff(self, tensor):
        """Add to the gradient."""
        self._diff.add(tensor)

    def show_diff(self, tensor):
        """Let the gradient read as ``tensor``, which stays its owner's."""
        self._diff.borrow(tensor)

    def zero_diff(self):
        """Clear the gradient."""
        self._diff.zero()

    def share_data(self, other):
        """Let this blob's values be those of ``other``, whose count must be the same."""
        self._data = other._data

    def share_diff(self, other):
        """Let this blob's gradient be that of ``other``."""
        self._diff = other._diff

    def shares_data_with(self, other):
        """Whether both blobs' values are one and the same memory."""
        return self._data is other._data

    @property
    def handed_out(self):
        """Whether the values lie where a user may hold a numpy view of them, and new ones will overwrite them there."""
        return self._data.host is not None and self._data.tensor is self._data.host

    def axis(self, index):
        """A non-negative axis index from one that may count from the end; CaffeError where out of range."""
        if not -len(self._shape) <= index < len(self._shape):
            raise CaffeError(
                f"axis {index} out of range for {len(self._shape)}-D Blob with shape {self.shape_string()}"
            )
        return index % len(self._shape)

    def shape_string(self):
        """The shape in Caffe's notation, e.g. ``6 3 115 115 (238050)``."""
        return "".join(f"{n} " for n in self._shape) + f"({self.count})"
