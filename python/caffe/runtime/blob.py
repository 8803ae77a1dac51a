"""Blobs: N-d float32 arrays with their gradients, numpy for users and torch for layers (blob.cpp)."""

import functools
import math
import weakref
from typing import Any

import torch

from ..errors import CaffeError
from . import mode


def outside_inference_mode(method):
    """Decorator: run outside of ``torch.inference_mode``, whose tensors could not be used later."""

    @functools.wraps(method)
    def run(*args, **kwargs):
        if not torch.is_inference_mode_enabled():
            return method(*args, **kwargs)
        with torch.inference_mode(False):
            return method(*args, **kwargs)

    return run


def from_array(array):
    """A float32 tensor with a copy of a numpy array's values.

    Torch aligns memory to 64 bytes, numpy need not, and MKL's last bits depend on the alignment: a resumed training
    must find its values aligned as they were in the first run.
    """
    with torch.inference_mode(False):
        return torch.tensor(array, dtype=torch.float32, device="cpu")


def zeros(count, device="cpu"):
    """Memory of a blob: float32 whatever PyTorch's default is, and usable outside of ``torch.inference_mode``."""
    with torch.inference_mode(False):
        return torch.zeros(count, dtype=torch.float32, device=device)


def _is_plain(tensor):
    """Whether a tensor has the memory layout of a C-contiguous numpy array and the alignment of `from_array`.

    ``is_contiguous`` accepts any stride for an axis of one, but torch chooses kernels by that stride.
    """
    stride = 1
    for size, own in zip(reversed(tensor.shape), reversed(tensor.stride())):
        if own != stride:
            return False
        stride *= size
    return tensor.data_ptr() % 64 == 0


class Memory:
    """One float32 region: ``tensor`` is what the engine computes with, ``host`` what a user has as a numpy view.

    If the tensor is laid out like a numpy array, the two share memory. Otherwise, for example in channels-last, each
    has its own: results are copied to ``host``, and what may have been written there is copied back, into the tensor's
    layout, before the engine reads. So looking at a blob changes neither layout nor alignment, and hence no rounding.
    When the user's view is gone, ``host`` is released. ``tensor`` None stands for zeros, which take no memory.

    A tensor is ``shared`` if somebody else reads its memory too: another blob, or what a layer keeps for backward. It
    is copied before anything is written to it.
    """

    __slots__ = ("_view", "capacity", "common", "host", "lent", "limit", "shared", "tensor")

    def __init__(self, capacity):
        self.capacity = capacity
        self.tensor: Any = None
        self.host: Any = None
        self.lent = False  # whether the user may have written to host; on a GPU only until the engine reads
        self.shared = False
        self.common = False  # whether several blobs have this object
        self.limit = math.inf  # no value is larger in absolute value, or NaN, unless it is infinite
        self._view: Any = None  # weak: the array that all handed-out views are based on

    def _settle(self):
        """Copy what was written to the view, and release it where it is no longer referenced."""
        if self.host is None:
            return
        self.limit = math.inf
        if self.lent:
            if self.tensor is None:
                self.tensor = self.host if self.host.any() else None
            elif self.tensor is not self.host:
                self._own()
                self.tensor.copy_(self.host[: self.tensor.numel()].view(self.tensor.shape))
        self._release()

    def _release(self):
        """Release the view where it is not referenced any more; else, on the CPU, it may be written to at any time."""
        if self._view() is None:
            self.host = None
        on_gpu = mode.is_gpu() or (self.tensor is not None and self.tensor.device.type != "cpu")
        self.lent = self.host is not None and not on_gpu

    def _own(self):
        """Copy a tensor that is shared."""
        if self.shared:
            if self.tensor is not None:
                self.tensor = self.tensor.clone()
            self.shared = False

    def read(self, shape):
        """The values as a tensor of ``shape`` on the current device; an alias, not a copy."""
        if self.host is not None:
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
            self.tensor, self.shared = flat, False
        return flat[:count].view(shape)

    def write(self, tensor, shared=False, limit=math.inf):
        """Make ``tensor`` the new values. The caller must not use it any more, unless it is ``shared``."""
        self.limit = limit
        self.shared = shared or (self.shared and tensor is self.tensor)
        self.tensor = tensor
        if self.host is None:
            return
        self._release()
        if self.lent and tensor.device.type == "cpu":
            self.host[: tensor.numel()].copy_(tensor.reshape(-1))
            if _is_plain(tensor):
                self.tensor, self.shared = self.host, False

    @property
    def writable(self):
        """Whether the engine may write to the tensor: nobody else reads it."""
        return self.host is None and not self.shared

    def release(self):
        """Forget values that will be replaced, so that the new ones take their place in memory."""
        if self.host is None:
            self.tensor, self.shared = None, False

    def change(self, shape):
        """The values as in `read`, but owned by this memory, so that the engine may change them in place."""
        self._own()
        self.limit = math.inf
        values = self.read(shape)
        if self.lent and self.tensor is not self.host:
            self.tensor = self.host
            return self.read(shape)
        return values

    def zero(self):
        """Set everything to zero, at no cost where there is no view."""
        self.tensor, self.shared = None, False
        if self.host is not None:
            self.host.zero_()
            self._release()

    def add(self, tensor):
        """Add ``tensor`` to the values; if these are zeros it becomes the values."""
        if not _is_plain(tensor):
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._settle()
        if self.tensor is None:
            self.write(tensor)
        else:
            self.change(tensor.shape).add_(tensor)

    @outside_inference_mode
    def numpy(self, shape):
        """A writable, C-contiguous numpy view; the engine reads what is written to it."""
        self._settle()
        view = None if self.host is None else self._view()
        if view is None:
            view = self._hand_out()
        elif not self.lent and self.tensor is not None:
            self.host[: self.tensor.numel()].copy_(self.tensor.reshape(-1))
        self.lent = True
        return view[: math.prod(shape)].reshape(shape)

    def _hand_out(self):
        """Make ``host``: the tensor's own memory if that is complete and laid out like numpy's, else a copy."""
        tensor = self.tensor
        complete = tensor is not None and tensor.device.type == "cpu" and tensor.numel() == self.capacity
        if complete and not self.shared and _is_plain(tensor):
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

    ``Blob(shape)`` is filled with zeros. ``data`` and ``diff`` are writable float32 numpy views that outlive the net.
    Growing the blob allocates new memory, shrinking keeps the old.
    """

    def __init__(self, shape=()):
        self._shape: tuple[int, ...] = ()
        self._data = Memory(0)
        self._diff = Memory(0)
        self.reshape(*shape)

    def reshape(self, *shape):
        """Change the shape; memory that is too small is replaced, by zeros, and otherwise kept."""
        shape = tuple(int(n) for n in shape)
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
        return self._shape

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

    def set_tensor(self, tensor, shared=False, limit=math.inf):
        """Make a tensor of this blob's shape its values.

        If ``shared``, it is copied before it is written to. ``limit``: see the property.
        """
        self._data.write(tensor, shared, limit)

    @property
    def limit(self):
        """A number that no absolute value exceeds; infinity if none is known, or where a value is infinite or NaN."""
        return self._data.limit if self._data.host is None else math.inf

    def diff_tensor(self):
        """The gradient as a torch tensor on the current device; not to be written to."""
        return self._diff.read(self._shape)

    def own_diff_tensor(self):
        """The gradient as a torch tensor that may be changed in place."""
        return self._diff.change(self._shape)

    def set_diff(self, tensor, shared=False):
        """Make a tensor of this blob's shape its gradient; if ``shared``, it is copied before it is written to."""
        self._diff.write(tensor, shared)

    def add_diff(self, tensor):
        """Add to the gradient."""
        self._diff.add(tensor)

    def zero_diff(self):
        """Set the gradient to zero."""
        self._diff.zero()

    def share_data(self, other):
        """Use the memory of ``other``, a blob of the same count, for the values."""
        self._data = other._data
        self._data.common = True

    def share_diff(self, other):
        """Use the memory of ``other`` for the gradient."""
        self._diff = other._diff
        self._diff.common = True

    @property
    def writable(self):
        """Whether the engine may overwrite the values: neither a user nor a layer looks at their memory."""
        return self._data.writable

    def release(self):
        """Forget the values, which will be replaced, also those of blobs that share them; a user's view stays."""
        self._data.release()

    def release_diff(self):
        """Forget the gradient, which will be replaced, unless another blob has it too or a user looks at it."""
        if not self._diff.common:
            self._diff.release()

    def lay_out(self, tensor):
        """Keep the values in the layout of ``tensor``, which are the same, unless somebody else looks at them."""
        if self._data.writable and not self._data.common:
            self._data.write(tensor, limit=self._data.limit)

    @property
    def diff_writable(self):
        """Whether the engine may overwrite the gradient."""
        return self._diff.writable

    def lend(self, tensor, parts):
        """Make ``tensor`` the values, and views of it the values of other blobs, which release their own memory.

        ``parts`` are pairs of a blob and a view. Blobs that share their memory with others, or at which a user looks,
        keep theirs.
        """
        limit = max(blob.limit for blob, _ in parts)
        lent = [(blob, view) for blob, view in parts if blob._data.writable and not blob._data.common]
        for blob, view in lent:
            blob._data.write(view, shared=True)
        self._data.write(tensor, bool(lent), limit)

    def lend_diff(self, parts):
        """Make views of this blob's gradient the gradients of other blobs, in pairs of a blob and a view."""
        apart = self._diff.host is not None
        for blob, view in parts:
            blob.set_diff(view.clone() if apart else view, shared=not apart)
        self._diff.shared |= not apart

    def shares_data_with(self, other):
        """Whether both blobs use the same memory for their values."""
        return self._data is other._data

    @property
    def handed_out(self):
        """Whether a user may have a numpy view of the values' memory, which new values will overwrite."""
        return self._data.host is not None and self._data.tensor is self._data.host

    def axis(self, index):
        """The non-negative index of an axis that may be counted from the end; CaffeError if it is out of range."""
        if not -len(self._shape) <= index < len(self._shape):
            raise CaffeError(
                f"axis {index} out of range for {len(self._shape)}-D Blob with shape {self.shape_string()}"
            )
        return index % len(self._shape)

    def shape_string(self):
        """The shape in Caffe's notation, e.g. ``6 3 115 115 (238050)``."""
        return "".join(f"{n} " for n in self._shape) + f"({self.count})"
