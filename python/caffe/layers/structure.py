"""Layers that copy, join, cut, select, combine or reshape blobs."""

import math
from typing import Any

import torch

from ..proto import caffe_pb2
from .base import Layer, check_range, register


@register("Split")
class Split(Layer):
    """Copies of a blob that share its data; their diffs add up (split_layer.cpp)."""

    exact_bottom = 1
    min_top = 1
    by_shape = False

    def reshape(self, bottom, top):
        for blob in top:
            if blob is bottom[0]:
                self.fail("Split Layer does not allow in-place computation")
            blob.reshape(*bottom[0].shape)
            blob.share_data(bottom[0])

    def forward(self, bottom, top, record):
        pass

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            total = top[0].diff_tensor()
            total = total + top[1].diff_tensor() if len(top) > 1 else total.clone()
            for blob in top[2:]:
                total.add_(blob.diff_tensor())
            bottom[0].set_diff(total)


@register("Silence")
class Silence(Layer):
    """Consumes blobs so that they are not outputs; their diffs become zero (silence_layer.cpp)."""

    min_bottom = 1
    exact_top = 0

    def reshape(self, bottom, top):
        pass

    def compute(self, *tensors):
        return []


@register("Concat")
class Concat(Layer):
    """Bottoms joined along ``axis`` (concat_layer.cpp)."""

    min_bottom = exact_top = 1

    def reshape(self, bottom, top):
        p = self.param.concat_param
        if p.HasField("concat_dim"):
            if p.HasField("axis"):
                self.fail("Either axis or concat_dim should be specified; not both")
            self.axis = p.concat_dim
            if self.axis >= 32:
                self.fail("concat_dim out of range")
            self.axis = self.axis_of(bottom[0], self.axis)
        else:
            self.axis = self.axis_of(bottom[0], p.axis)
        shape = list(bottom[0].shape)
        for blob in bottom[1:]:
            if len(blob.shape) != len(shape):
                self.fail("All inputs must have the same #axes")
            if any(a != b for i, (a, b) in enumerate(zip(blob.shape, shape)) if i != self.axis):
                self.fail("All inputs must have the same shape, except at concat_axis")
            shape[self.axis] += blob.shape[self.axis]
        top[0].reshape(*shape)

    def forward(self, bottom, top, record):
        y = torch.cat([blob.tensor() for blob in bottom], self.axis)
        top[0].lend(y, list(zip(bottom, self._parts(y, bottom))))

    def backward(self, top, propagate_down, bottom):
        parts = self._parts(top[0].diff_tensor(), bottom)
        top[0].lend_diff([(blob, part) for blob, part, down in zip(bottom, parts, propagate_down) if down])

    def _parts(self, tensor, bottom):
        return tensor.split([blob.shape[self.axis] for blob in bottom], self.axis)


@register("Slice")
class Slice(Layer):
    """A bottom cut along ``axis``, at ``slice_point`` or into equal parts (slice_layer.cpp).

    The last point may be the axis's size, which leaves the last top empty.
    """

    exact_bottom = min_top = 1

    def reshape(self, bottom, top):
        p = self.param.slice_param
        if p.HasField("axis") and p.HasField("slice_dim"):
            self.fail("Either axis or slice_dim should be specified; not both")
        self.axis = self.axis_of(bottom[0], p.slice_dim if p.HasField("slice_dim") else p.axis)
        size = bottom[0].shape[self.axis]
        points = list(p.slice_point)
        if points:
            if len(points) != len(top) - 1:
                self.fail(f"{len(top)} tops take {len(top) - 1} slice points, not {len(points)}")
            if len(top) > size or points[-1] > size or any(b <= a for a, b in zip([0, *points], points)):
                self.fail(f"Slice points {points} must rise between 0 and the axis's {size}")
        else:
            if size % len(top):
                self.fail(f"Number of top blobs ({len(top)}) should evenly divide input slice axis ({size})")
            points = [size // len(top) * i for i in range(1, len(top))]
        self.sizes = [b - a for a, b in zip([0, *points], [*points, size])]
        for blob, n in zip(top, self.sizes):
            blob.reshape(*bottom[0].shape[: self.axis], n, *bottom[0].shape[self.axis + 1 :])

    def compute(self, x):
        # copies, because a top's data must not share memory with its bottom's
        return [piece.clone(memory_format=torch.contiguous_format) for piece in torch.split(x, self.sizes, self.axis)]


@register("Tile")
class Tile(Layer):
    """A bottom repeated ``tiles`` times along ``axis`` (tile_layer.cpp)."""

    exact_bottom = exact_top = 1

    def reshape(self, bottom, top):
        p = self.param.tile_param
        self.axis = self.axis_of(bottom[0], p.axis)
        if not p.HasField("tiles"):
            self.fail("Number of tiles must be specified")
        if p.tiles < 1:
            self.fail("Number of tiles must be positive")
        shape = list(bottom[0].shape)
        shape[self.axis] *= p.tiles
        top[0].reshape(*shape)

    def compute(self, x):
        return torch.cat([x] * self.param.tile_param.tiles, self.axis)


@register("BatchReindex")
class BatchReindex(Layer):
    """Those items of the first bottom whose indices are in the second (batch_reindex_layer.cpp)."""

    exact_bottom = 2
    exact_top = 1

    def reshape(self, bottom, top):
        if len(bottom[1].shape) != 1:
            self.fail(f"The second bottom must have one axis, of indices: {bottom[1].shape_string()}")
        if not bottom[0].shape:
            self.fail("The first bottom has no axis of items")
        top[0].reshape(bottom[1].count, *bottom[0].shape[1:])

    def compute(self, x, index):
        check_range(self, index, len(x), "Index specified for reindex layer")
        return x.index_select(0, index.long())

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            self.fail("Cannot backprop to index")
        super().backward(top, propagate_down, bottom)


@register("Filter")
class Filter(Layer):
    """Those items of all bottoms but the last for which the last, the selector, is not zero (filter_layer.cpp).

    The tops have as many items as the selector chooses, except at setup, when its values are not known.
    """

    min_bottom = 2
    min_top = 1
    by_shape = False
    index: Any = None  # of the selected items

    def setup(self, bottom, top):
        if len(top) != len(bottom) - 1:
            self.fail(f"Filter Layer has a top for each bottom but the selector: {len(bottom) - 1}, not {len(top)}")

    def reshape(self, bottom, top):
        *filtered, selector = bottom
        if any(n != 1 for n in selector.shape[1:]):
            self.fail("Selector blob dimensions must be singletons (1), except the first")
        if any(blob.shape[:1] != selector.shape[:1] or not blob.shape for blob in filtered):
            self.fail("Each bottom should have the same 0th dimension as the selector blob")
        first = self.index is None
        self.index = selector.tensor().reshape(-1).nonzero()[:, 0]
        for blob, source in zip(top, filtered):
            blob.reshape(source.shape[0] if first else len(self.index), *source.shape[1:])

    def compute(self, *tensors):
        return [x.index_select(0, self.index) for x in tensors[:-1]]

    def backward(self, top, propagate_down, bottom):
        if propagate_down[-1]:
            self.fail("FilterLayer cannot backpropagate to filter index inputs")
        super().backward(top, propagate_down, bottom)


@register("Eltwise")
class Eltwise(Layer):
    """Element-wise product, weighted sum or maximum of bottoms of one shape (eltwise_layer.cpp)."""

    min_bottom = 2
    exact_top = 1

    def setup(self, bottom, top):
        if top[0] is bottom[0]:
            self.fail("Eltwise Layer does not allow in-place computation (Caffe's would lose its first bottom)")
        p = self.param.eltwise_param
        if len(p.coeff) not in (0, len(bottom)):
            self.fail("Eltwise Layer takes one coefficient per bottom blob")
        if p.operation == p.PROD and len(p.coeff):
            self.fail("Eltwise layer only takes coefficients for summation")

    def reshape(self, bottom, top):
        for blob in bottom[1:]:
            if blob.shape != bottom[0].shape:
                self.fail(f"All bottoms must have one shape: {bottom[0].shape_string()} against {blob.shape_string()}")
        top[0].reshape(*bottom[0].shape)

    def compute(self, *tensors):
        p = self.param.eltwise_param
        if p.operation == p.SUM:
            # a term with coefficient 0 is left out, even if it is NaN, as in Caffe's BLAS libraries
            terms = [c * x for c, x in zip(p.coeff, tensors) if c] if len(p.coeff) else tensors
            return sum(terms[1:], terms[0]) if terms else torch.zeros_like(tensors[0])
        if p.operation == p.PROD:
            return math.prod(tensors[1:], start=tensors[0])
        # the second bottom wins a tie with the first; later ones win only if they are greater
        y = torch.where(tensors[0] > tensors[1], tensors[0], tensors[1])
        for x in tensors[2:]:
            y = torch.where(x > y, x, y)
        return y

    def backward(self, top, propagate_down, bottom):
        p = self.param.eltwise_param
        if p.operation != p.PROD or p.stable_prod_grad:
            super().backward(top, propagate_down, bottom)
            return
        for blob, down in zip(bottom, propagate_down):
            if down:  # the product of the others is computed from the top, and is 0 / 0 where this factor is 0
                blob.set_diff(top[0].tensor() / blob.tensor() * top[0].diff_tensor())


class _View(Layer):
    """A top with the bottom's values in another shape, sharing its memory."""

    exact_bottom = exact_top = 1
    by_shape = False

    def out_shape(self, shape, bottom):
        raise NotImplementedError

    def reshape(self, bottom, top):
        if top[0] is bottom[0]:
            self.fail(f"{self.type} Layer does not allow in-place computation")
        top[0].reshape(*self.out_shape(bottom[0].shape, bottom[0]))
        if top[0].count != bottom[0].count:
            self.fail(f"output count must match input count: {top[0].shape_string()} from {bottom[0].shape_string()}")
        top[0].share_data(bottom[0])

    def forward(self, bottom, top, record):
        pass


@register("Flatten")
class Flatten(_View):
    """Axes ``axis`` … ``end_axis`` merged into one (flatten_layer.cpp); in backward the bottom shares the top's diff.

    If ``end_axis`` is the axis before ``axis``, an axis of one is inserted.
    """

    def backward(self, top, propagate_down, bottom):
        bottom[0].share_diff(top[0])

    def out_shape(self, shape, bottom):
        p = self.param.flatten_param
        first, last = self.axis_of(bottom, p.axis), self.axis_of(bottom, p.end_axis)
        if last < first - 1:
            self.fail(f"end_axis {p.end_axis} lies before axis {p.axis}")
        return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


@register("Reshape")
class Reshape(_View):
    """Another shape, in which 0 copies a dimension and −1 is inferred (reshape_layer.cpp).

    The top shares the bottom's diff after every reshape, and backward does nothing. So a Flatten above it, which gives
    this layer's top another diff, cuts off the gradient. This is what BVLC Caffe does, as measured.
    """

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        top[0].share_diff(bottom[0])

    def backward(self, top, propagate_down, bottom):
        pass

    def out_shape(self, shape, bottom):
        p = self.param.reshape_param
        start = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
        end = len(shape) if p.num_axes == -1 else start + p.num_axes
        if not 0 <= start <= len(shape):
            self.fail(f"axis {p.axis} out of range for a bottom of {len(shape)} axes")
        if p.num_axes < -1 or end > len(shape):
            self.fail(f"num_axes {p.num_axes} reaches beyond the bottom's {len(shape)} axes")
        dims = list(p.shape.dim)
        if dims.count(-1) > 1:
            self.fail("new shape contains multiple -1 dims; at most a single (1) value of -1 may be specified")
        if any(d < -1 for d in dims) or any(d == 0 and start + i >= len(shape) for i, d in enumerate(dims)):
            self.fail(f"new shape {dims} cannot be made from the bottom's {shape}")
        dims = [shape[start + i] if d == 0 else d for i, d in enumerate(dims)]
        if -1 in dims:
            known = math.prod(shape[:start]) * math.prod(shape[end:]) * -math.prod(dims)
            if known == 0 or bottom.count % known:
                self.fail(
                    f"bottom count ({bottom.count}) must be divisible by the product of "
                    f"the specified dimensions ({known})"
                )
            dims[dims.index(-1)] = bottom.count // known
        return (*shape[:start], *dims, *shape[end:])


@register("Crop")
class Crop(Layer):
    """The first bottom cropped, from ``axis`` on, to the second's size, at an offset (crop_layer.cpp)."""

    exact_bottom = 2
    exact_top = 1

    def setup(self, bottom, top):
        axis = self.axis_of(bottom[0], self.param.crop_param.axis)
        offsets = len(self.param.crop_param.offset)
        if offsets > 1 and axis + offsets != len(bottom[0].shape):
            self.fail("number of offset values specified must be equal to the number of dimensions following axis")

    def reshape(self, bottom, top):
        p = self.param.crop_param
        axis = self.axis_of(bottom[0], p.axis)
        self.windows = []
        shape = list(bottom[0].shape)
        for i in range(axis, len(shape)):
            if i >= len(bottom[1].shape):
                self.fail(f"The second bottom has no axis {i} to crop to")
            offset = 0 if not p.offset else p.offset[i - axis if len(p.offset) > 1 else 0]
            size = bottom[1].shape[i]
            if shape[i] - offset < size:
                self.fail(f"the crop for dimension {i} is out-of-bounds with size {size} and offset {offset}")
            self.windows.append((i, offset, size))
            shape[i] = size
        top[0].reshape(*shape)

    def allow_force_backward(self, index):
        return index == 0

    def compute(self, x, reference):
        for window in self.windows:
            x = x.narrow(*window)
        return x.clone(memory_format=torch.contiguous_format)

    def backward(self, top, propagate_down, bottom):
        super().backward(top, [*propagate_down[:1], False], bottom)


@register("Reduction")
class Reduction(Layer):
    """SUM, ASUM, SUMSQ or MEAN over the axes from ``axis`` on, times ``coeff`` (reduction_layer.cpp)."""

    exact_bottom = exact_top = 1

    def reshape(self, bottom, top):
        self.axis = self.axis_of(bottom[0], self.param.reduction_param.axis)
        top[0].reshape(*bottom[0].shape[: self.axis])

    def compute(self, x):
        p = self.param.reduction_param
        kind = caffe_pb2.ReductionParameter
        lead = x.shape[: self.axis]
        x = x.reshape(*lead, -1)
        if p.operation == kind.ASUM:
            x = x.abs()
        elif p.operation == kind.SUMSQ:
            x = x.square()
        total = x.mean(-1) if p.operation == kind.MEAN else x.sum(-1)
        return total * p.coeff
