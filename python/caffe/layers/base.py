"""The base class of layers: shapes, forward by torch, backward by autograd (layer.hpp, layer_factory.cpp)."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch

from ..errors import CaffeError
from ..formats.known_forks import on_type
from ..proto import caffe_pb2
from ..random.fillers import fill
from ..random.rng import global_stream
from ..runtime.blob import Blob, from_array
from ..runtime.glog import log
from ..runtime.mode import precision

_REGISTRY = {}
_OF_FORKS = {}  # the layer types of the forks that are on
TRAIN, TEST = caffe_pb2.TRAIN, caffe_pb2.TEST

FINITE = 1e38  # a value that is at most this by exact arithmetic is not infinite, in whatever order it was computed


# type -> the place of Caffe's log line about parameters that are in the definition itself
_GIVEN = {
    "BatchNorm": "batch_norm_layer.cpp:23",
    "Bias": "bias_layer.cpp:13",
    "Convolution": "base_conv_layer.cpp:157",
    "Deconvolution": "base_conv_layer.cpp:157",
    "Embed": "embed_layer.cpp:19",
    "InnerProduct": "inner_product_layer.cpp:24",
    "PReLU": "prelu_layer.cpp:20",
    "Parameter": "parameter_layer.hpp:18",
    "Scale": "scale_layer.cpp:16",
}


def register(*type_names):
    """Class decorator: make a layer available under type names of definitions."""

    def add(cls):
        for name in type_names:
            _REGISTRY[name] = cls
        return cls

    return add


def layer_type_list():
    """The names of the layer types, sorted."""
    return sorted(_REGISTRY.keys() | _OF_FORKS)


def use_forks(layers):
    """Make the layers of forks available, type -> class, and no others than these."""
    _OF_FORKS.clear()
    _OF_FORKS.update(layers)


def log_creation(name):
    """Log the creation of a layer; some of Caffe's layers create others inside, under their own names."""
    log("layer_factory.hpp:77", f"Creating layer {name}")


def create_layer(param):
    """The layer a ``LayerParameter`` (its ``phase`` set) describes, not yet set up."""
    log_creation(param.name)
    cls = _OF_FORKS.get(param.type) or _REGISTRY.get(param.type)
    if cls is None:
        known = layer_type_list()
        raise CaffeError(
            f"Unknown layer type: {param.type} (layer '{param.name}'; known types: {', '.join(known)}); "
            f"{on_type(param.type, known)}."
        )
    return cls(param)


class Layer:
    """A node of the net between its bottom and top blobs.

    A subclass defines ``setup`` (check parameters and make parameter blobs, once), ``reshape`` (top shapes from bottom
    shapes) and ``compute`` (tops from the tensors of bottoms and parameters). Layers whose backward is not the
    derivative of ``compute``, or should take less time and memory than autograd, override ``forward`` and
    ``backward``.
    """

    exact_bottom: int | None = None
    min_bottom: int | None = None
    max_bottom: int | None = None
    exact_top: int | None = None
    min_top: int | None = None
    max_top: int | None = None
    equal_bottom_top = False
    auto_top = False  # missing required tops are added, as "(automatic)"
    is_loss = False
    differentiable = True  # False: no backward at all (data, Accuracy, ArgMax)
    by_shape = True  # whether reshape depends on the blobs' shapes only
    shrinks = False  # whether no value of the first top is larger in absolute value than the largest of the bottoms
    repeatable = False  # whether backward can do again what `forget` releases, from the blobs alone
    any_layout = False  # whether it is as fast in NCHW as in channels-last, and leaves the layout as it is
    in_rows = False  # whether it reads its bottoms in NCHW
    leaves_rows = False  # whether all that read its tops do so; set by the net
    rectifies = False  # whether it only sets negative values to zero
    can_rectify = False  # whether forward can do so to its top, as fast as without
    rectify = False  # whether forward may do so this time, and then whether it has
    overwrites = True  # whether what tops held before forward, and diffs of bottoms before backward, is never read

    def __init__(self, param):
        self.param = param
        self.name = param.name
        self.type = param.type
        self.phase = param.phase
        self.blobs = []
        self.param_propagate_down = []
        self.precision = precision()
        self._graph: Any = None  # (leaves, parameters, outputs) of the last recorded forward
        self._fitted: list | None = None  # of bottoms and tops after the last reshape

    # defined by subclasses

    def setup(self, bottom, top):
        """Check the parameters and make the parameter blobs; called once, before the first ``reshape``."""

    def reshape(self, bottom, top):
        """Set the shapes of the tops; called before every forward."""
        raise NotImplementedError

    def compute(self, *tensors):
        """The tops, a tensor or a list, from the tensors of the bottoms followed by those of the parameters."""
        raise NotImplementedError

    def allow_force_backward(self, index):
        """Whether this bottom has a gradient, so that ``force_backward`` applies to it; labels have none."""
        return not (self.is_loss and index == 1)

    # called by the net

    def fit(self, bottom, top):
        """Reshape, unless the blobs have the shapes that the last reshape left, and nothing else matters."""
        if not bottom or not self.by_shape or self._fitted != [blob.shape for blob in (*bottom, *top)]:
            self.reshape(bottom, top)
            self._fitted = [blob.shape for blob in (*bottom, *top)]

    def forward(self, bottom, top, record):
        """Compute the tops; ``record`` keeps the graph for ``backward``."""
        inputs = [blob.tensor() for blob in bottom]
        if record:
            outputs = self._record(bottom, top, inputs)
        else:
            outputs = self._outputs(inputs, [b.tensor() for b in self.blobs])
        for blob, value in zip(top, outputs):
            for source, x in zip(bottom, inputs):
                if value.data_ptr() == x.data_ptr() and not blob.shares_data_with(source):
                    value = value.clone()
            limit = max(source.limit for source in bottom) if self.shrinks and blob is top[0] else math.inf
            blob.set_tensor(value, shared=record, limit=limit)  # shared with what autograd keeps

    def _outputs(self, inputs, params):
        outputs = self.compute(*inputs, *params)
        return outputs if isinstance(outputs, (list, tuple)) else [outputs]

    def _record(self, bottom, top, inputs):
        # .data, not detach(): a user may write to a view before backward, which Caffe allows
        overwritten = _in_place(bottom, top) and bottom[0].handed_out
        leaves = [x.clone() if overwritten else x.data for x in inputs]
        params = [blob.tensor().data for blob in self.blobs]
        for i, leaf in enumerate(leaves):
            leaf.requires_grad_(self.allow_force_backward(i))
        for leaf, wanted in zip(params, self.param_propagate_down):
            leaf.requires_grad_(wanted)
        with torch.enable_grad():
            outputs = self._outputs(leaves, params)
        self._graph = (leaves, params, outputs)
        return [y.data for y in outputs]

    def backward(self, top, propagate_down, bottom):
        """Compute the diffs of bottoms with ``propagate_down`` and add to those of parameters, from the tops' diffs."""
        if not self.differentiable:
            return
        if self._graph is None:
            self._record(bottom, top, [blob.tensor() for blob in bottom])
        leaves, params, outputs = self._graph
        for blob, leaf in [*zip(bottom, leaves), *zip(self.blobs, params)]:
            if not (blob in bottom and _in_place(bottom, top)):  # in which case the bottom holds the result
                _refresh(leaf, blob.tensor())
        wanted = [i for i, down in enumerate(propagate_down) if down]
        for i in wanted:
            if not leaves[i].requires_grad:
                self.fail(f"{self.type} Layer cannot backpropagate to {'label' if i == 1 else 'these'} inputs")
        needed = [leaves[i] for i in wanted] + [p for p in params if p.requires_grad]
        tops = [(y, blob) for y, blob in zip(outputs, top) if y.requires_grad]
        if not needed:
            return
        grads: Sequence[torch.Tensor | None] = [None] * len(needed)
        if tops:
            grads = torch.autograd.grad(
                [y for y, _ in tops],
                needed,
                [blob.diff_tensor() for _, blob in tops],
                retain_graph=True,
                allow_unused=True,
            )
        # all are owned before any is written, because in place the bottom's diff is the top's
        grads = [None if grad is None else _owned(grad, top) for grad in grads]
        for i, grad in zip(wanted, grads):
            bottom[i].set_diff(torch.zeros_like(leaves[i]) if grad is None else grad)
        rest = iter(grads[len(wanted) :])
        for blob, leaf in zip(self.blobs, params):
            if leaf.requires_grad:
                grad = next(rest)
                if grad is not None:
                    blob.add_diff(grad)

    def forget(self):
        """Release what the last forward kept for backward; called before the next one."""
        self._graph = None

    @property
    def shown(self):
        """The object in ``net.layers``."""
        return self

    # helpers for subclasses

    def add_blob(self, shape, filler=None):
        """Add a parameter blob, with the values in the definition or else those of the filler."""
        blob = Blob(shape)
        if self.param.blobs:
            if not self.blobs and self.type in _GIVEN:
                log(_GIVEN[self.type], "Skipping parameter initialization")
            blob.set_tensor(self._given(len(self.blobs), blob))
        elif filler is not None and (filler.type != "constant" or filler.value):  # a new blob is zero
            blob.set_tensor(from_array(fill(filler, tuple(shape), global_stream())))
        self.blobs.append(blob)
        return blob

    def _given(self, index, blob):
        """The values of a parameter in the definition itself (``blobs``)."""
        given = self.param.blobs[index] if index < len(self.param.blobs) else None
        values = np.array(given.data if given else (), np.float32)
        if values.size != blob.count:
            self.fail(
                f"Incorrect weight shape: the definition's blobs have {values.size} values for parameter {index}, "
                f"whose shape is {blob.shape_string()}"
            )
        return from_array(values.reshape(blob.shape))

    def rounded(self, *operands):
        """The operands of products, tensors or None, in the precision that the net was made for."""
        if self.precision != "bf16":
            return operands
        return tuple(None if operand is None else operand.bfloat16() for operand in operands)

    def products(self, function, *operands):
        """The float32 result of ``function(*operands)``, computed in that precision."""
        return function(*self.rounded(*operands)).float()

    def axis_of(self, blob, index):
        """The non-negative index of an axis that may be counted from the end; CaffeError if it is out of range."""
        try:
            return blob.axis(index)
        except CaffeError as error:
            self.fail(str(error))

    def image_shape(self, blob):
        """The shape as (num, channels, height, width), ones where absent; CaffeError if there are more axes."""
        if len(blob.shape) > 4:
            self.fail(f"{self.type} Layer works on up to 4 axes, not those of {blob.shape_string()}")
        return (*blob.shape, 1, 1, 1, 1)[:4]

    def check_counts(self, bottom, top):
        """Raise CaffeError unless this type of layer takes these numbers of bottoms and tops."""
        for kind, verb, blobs in (("bottom", "takes", bottom), ("top", "produces", top)):
            exact, low, high = (getattr(self, f"{bound}_{kind}") for bound in ("exact", "min", "max"))
            noun = f"{kind} blob(s) as {'input' if kind == 'bottom' else 'output'}"
            count, wanted = len(blobs), None
            if exact is not None and count != exact:
                wanted = str(exact)
            elif low is not None and count < low:
                wanted = f"at least {low}"
            elif high is not None and count > high:
                wanted = f"at most {high}"
            if wanted:
                self.fail(f"{self.type} Layer {verb} {wanted} {noun}, not {count}")
        if self.equal_bottom_top and len(bottom) != len(top):
            self.fail(f"{self.type} Layer produces one top blob as output for each bottom blob input")

    def fail(self, message) -> NoReturn:
        """Raise CaffeError with this message and the layer's name."""
        raise CaffeError(f"{message} (layer '{self.name}').")


def below(x, bound):
    """Whether a value of ``x`` is NaN or not above ``bound``; False on a GPU, which would have to wait for the answer.

    This check is fast. If it finds rare values, layers use a slower way that treats them as Caffe does.
    """
    return x.is_cpu and x.numel() > 0 and not x.detach().amin().item() > bound


def check_range(layer, values, end, noun):
    """Raise CaffeError for an index that is not in [0, end); a GPU, which would have to wait, is not asked."""
    if values.device.type == "cpu":
        wrong = values[~((values >= 0) & (values < end))]
        if wrong.numel():
            layer.fail(f"{noun} {wrong[0]:g} is {'negative' if wrong[0] < 0 else f'not below {end}'}")


def _in_place(bottom, top):
    return bool(bottom) and bool(top) and top[0].shares_data_with(bottom[0])


def _refresh(leaf, values):
    """Make a leaf of the recorded forward hold the blob's current values, if these have changed since."""
    if leaf.data_ptr() != values.data_ptr() and leaf.shape == values.shape:
        leaf.data = torch.empty_like(leaf).copy_(values)


def _owned(grad, top):
    """The gradient, copied if it is a view of a top's diff (diffs must not share memory) or is not dense."""
    views = {blob.diff_tensor().untyped_storage().data_ptr() for blob in top}
    if grad.untyped_storage().data_ptr() in views:
        return grad.clone(memory_format=torch.contiguous_format)
    if grad.dim() == 4 and grad.is_contiguous(memory_format=torch.channels_last):
        return grad
    return grad.contiguous()
