"""Layers and blobs from a definition, and forward and backward over them (net.cpp)."""

import contextlib
import math
from collections import OrderedDict

import torch

from ..errors import CaffeError
from ..layers import create_layer
from ..layers.python import BlobVec
from ..names import to_bytes
from ..proto import caffe_pb2
from ..runtime.blob import Blob, outside_inference_mode
from ..runtime.glog import definition, enabled, log, number
from ..runtime.heap import large_blocks_apart
from .splits import filter_net, insert_splits


def _log_size(where, what, values):
    """Log the mean of the absolute values."""
    log(where, f"    {what}: {number(values.abs().sum() / values.numel())}")


class Graph:
    """The layers of a definition, in order, with the blobs between them.

    ``Graph.from_param(param)`` takes a ``NetParameter`` of the current generation whose ``state`` is set. Raises
    CaffeError for errors in the definition.
    """

    @classmethod
    def from_param(cls, param):
        """A net from a ``NetParameter`` of the current generation, its ``state`` set."""
        net = cls.__new__(cls)
        net._build(param)
        return net

    def _build(self, param):
        filtered = filter_net(param)
        if enabled():
            log("net.cpp:53", "Initializing net from parameters: \n" + definition(filtered))
        param = insert_splits(filtered)
        self.name = param.name
        self._phase = param.state.phase
        self._definition = param
        self._layers = []
        self._layer_names = []
        self._blobs = []
        self._blob_names = []
        self._inputs = []
        self._bottoms, self._tops = [], []  # per layer: blob indices
        self._bottom_need_backward = []
        self._layer_need_backward = []
        self._loss_weights = []  # per layer: of its tops
        self._blob_loss_weights = []  # per blob: of the last layer that has it as a top
        self._blob_need_backward = []
        self._params = []  # all parameter blobs, shared ones repeatedly
        #: whether passes log the mean absolute values of blobs
        self.debug_info = param.debug_info
        self._param_owner = []  # index into _learnable, per parameter
        self._learnable = []
        self.params_lr, self.params_weight_decay = [], []
        self._explicit_lr, self._explicit_decay = [], []
        self._param_names = {}  # shared name -> (learnable index, layer name, param index)
        self._hooks = {name: [] for name in ("before_forward", "after_forward", "before_backward", "after_backward")}
        self._recording = True
        self._has_run_forward = self._has_run_backward = False
        #: whether backward also runs in layers that do not need it, for `caffe time`
        self.needless_backward = False
        available = {}
        self._memory = 0
        for layer_param in param.layer:
            self._add_layer(layer_param, param.state.phase, available)
        self._skip_needless_backward(param.force_backward)
        self._outputs = [available[name] for name in sorted(available, key=to_bytes)]
        for index in self._outputs:
            log("net.cpp:244", f"This network produces output {self._blob_names[index]}")
        log("net.cpp:257", "Network initialization done.")
        self._index()

    def _add_layer(self, layer_param, phase, available):
        if not layer_param.HasField("phase"):
            layer_param.phase = phase
        name = layer_param.name
        if len(layer_param.propagate_down) not in (0, len(layer_param.bottom)):
            raise CaffeError(f"propagate_down param must be specified either 0 or bottom_size times (layer '{name}').")
        layer = create_layer(layer_param)
        log("net.cpp:86", f"Creating Layer {name}")
        need_backward = False
        bottoms, tops, down = [], [], []
        for j, blob_name in enumerate(layer_param.bottom):
            index = available.pop(blob_name)
            log("net.cpp:408", f"{name} <- {blob_name}")
            bottoms.append(index)
            need_backward |= self._blob_need_backward[index]
            propagate = layer_param.propagate_down
            down.append(propagate[j] if propagate else self._blob_need_backward[index])
        for j, blob_name in enumerate(layer_param.top):
            tops.append(self._add_top(layer_param, j, blob_name, bottoms, available))
        while layer.auto_top and len(tops) < max(layer.min_top or 0, layer.exact_top or 0):
            log("net.cpp:382", f"{name} -> (automatic)")
            tops.append(self._new_blob("(automatic)"))
        if layer_param.type == "Input":
            self._inputs.extend(tops)
        bottom, top = [self._blobs[i] for i in bottoms], [self._blobs[i] for i in tops]
        layer.check_counts(bottom, top)
        given = len(layer_param.param)
        layer.setup(bottom, top)
        layer.fit(bottom, top)
        weights = self._set_up_loss_weights(layer, top)
        log("net.cpp:124", f"Setting up {name}")
        for i, blob, weight in zip(tops, top, weights):
            self._blob_loss_weights[i] = weight
            log("net.cpp:131", f"Top shape: {blob.shape_string()}")
            if weight:
                log("net.cpp:134", f"    with loss weight {number(weight)}")
        self._memory += 4 * sum(blob.count for blob in top)
        log("net.cpp:139", f"Memory required for data: {self._memory}")
        need_backward |= self._add_params(layer, given)
        for i in tops:
            self._blob_need_backward[i] |= need_backward
        self._layers.append(layer)
        self._layer_names.append(name)
        self._bottoms.append(bottoms)
        self._tops.append(tops)
        self._loss_weights.append(weights)
        self._bottom_need_backward.append(down)
        self._layer_need_backward.append(need_backward)

    def _new_blob(self, name):
        self._blobs.append(Blob())
        self._blob_names.append(name)
        self._blob_need_backward.append(False)
        self._blob_loss_weights.append(0.0)
        return len(self._blobs) - 1

    def _add_top(self, layer_param, j, name, bottoms, available):
        if j < len(layer_param.bottom) and layer_param.bottom[j] == name:
            log("net.cpp:369", f"{layer_param.name} -> {name} (in-place)")
            index = bottoms[j]
        elif name in self._blob_names:
            raise CaffeError(f"Top blob '{name}' produced by multiple sources (layer '{layer_param.name}').")
        else:
            log("net.cpp:382", f"{layer_param.name} -> {name}")
            index = self._new_blob(name)
        available[name] = index
        return index

    @staticmethod
    def _set_up_loss_weights(layer, top):
        """The weight of each top in the loss; weights that are not zero are also written to the tops' diffs."""
        given = layer.param.loss_weight
        if layer.is_loss and not given:
            given.append(1)
        elif len(given) not in (0, len(top)):
            layer.fail("loss_weight must be unspecified or specified once per top blob")
        weights = [*given, *[0.0] * (len(top) - len(given))]
        for blob, weight in zip(top, weights):
            if weight:
                blob.set_diff(torch.full(blob.shape, weight, dtype=torch.float32, device="cpu"))
        return weights

    def _add_params(self, layer, given):
        """Add the layer's parameters to the net's; returns whether one of them needs backward.

        This depends on the first ``given`` specs, those of the definition. Specs that a layer adds (BatchNorm does)
        only set rates, so that its statistics need backward although they are not learned.
        """
        specs = layer.param.param
        if len(specs) > len(layer.blobs):
            layer.fail(f"Too many params specified for layer {layer.name}: {len(specs)} for {len(layer.blobs)} blobs")
        default = caffe_pb2.ParamSpec()
        layer.param_propagate_down = []
        for i, blob in enumerate(layer.blobs):
            spec = specs[i] if i < len(specs) else default
            layer.param_propagate_down.append(i >= given or spec.lr_mult != 0)
            if spec.name in self._param_names:
                self._share_param(layer, i, blob, spec)
            else:
                if spec.name:
                    self._param_names[spec.name] = (len(self._learnable), layer.name, i)
                self._param_owner.append(len(self._learnable))
                self._learnable.append(blob)
                self.params_lr.append(spec.lr_mult)
                self.params_weight_decay.append(spec.decay_mult)
                self._explicit_lr.append(spec.HasField("lr_mult"))
                self._explicit_decay.append(spec.HasField("decay_mult"))
            self._params.append(blob)
        return any(layer.param_propagate_down)

    def _share_param(self, layer, i, blob, spec):
        owner, owner_layer, owner_index = self._param_names[spec.name]
        shared = self._learnable[owner]
        log(
            "net.cpp:467",
            f"Sharing parameters '{spec.name}' owned by layer '{owner_layer}', param index {owner_index}",
        )
        permissive = spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE
        if (blob.count != shared.count) if permissive else (blob.shape != shared.shape):
            layer.fail(
                f"Cannot share param '{spec.name}' owned by layer '{owner_layer}' with layer '{layer.name}'; "
                f"{'count' if permissive else 'shape'} mismatch.  Owner layer param shape is {shared.shape_string()}; "
                f"sharing layer {'param shape is' if permissive else 'expects shape'} {blob.shape_string()}"
            )
        for name, explicit, values in (
            ("lr_mult", self._explicit_lr, self.params_lr),
            ("decay_mult", self._explicit_decay, self.params_weight_decay),
        ):
            if spec.HasField(name):
                value = getattr(spec, name)
                if explicit[owner] and values[owner] != value:
                    layer.fail(f"Shared param '{spec.name}' has mismatched {name}")
                explicit[owner] = True
                values[owner] = value
        self._param_owner.append(owner)
        blob.share_data(shared)
        blob.share_diff(shared)

    def _skip_needless_backward(self, force):
        under_loss, skip = set(), set()
        for i in reversed(range(len(self._layers))):
            tops, bottoms = self._tops[i], self._bottoms[i]
            contributes = any(self._loss_weights[i]) or any(t in under_loss for t in tops)
            skipped = all(t in skip for t in tops)
            if self._layer_need_backward[i] and skipped:
                self._layer_need_backward[i] = False
                self._bottom_need_backward[i] = [False] * len(bottoms)
            if not contributes:
                self._layer_need_backward[i] = False
            line, verb = (200, "needs") if self._layer_need_backward[i] else (202, "does not need")
            log(f"net.cpp:{line}", f"{self._layer_names[i]} {verb} backward computation.")
            for j, b in enumerate(bottoms):
                if contributes:
                    under_loss.add(b)
                else:
                    self._bottom_need_backward[i][j] = False
                if not self._bottom_need_backward[i][j]:
                    skip.add(b)
        if force:
            for i, layer in enumerate(self._layers):
                self._layer_need_backward[i] = True
                for j, down in enumerate(self._bottom_need_backward[i]):
                    self._bottom_need_backward[i][j] = down or layer.allow_force_backward(j)
                layer.param_propagate_down = [True] * len(layer.blobs)

    def _index(self):
        self._bottom_blobs = [[self._blobs[i] for i in ids] for ids in self._bottoms]
        self._top_blobs = [[self._blobs[i] for i in ids] for ids in self._tops]
        # per layer: itself, its bottoms and tops, the tops that forward replaces, those that are part of the loss, and
        # whether the next layer rectifies its top in place
        self._steps = []
        self._replaced_diffs = []  # per layer: the bottoms whose diffs backward replaces
        for i, (layer, bottom, top) in enumerate(zip(self._layers, self._bottom_blobs, self._top_blobs)):
            apart = layer.overwrites and not set(bottom) & set(top)
            losses = [blob for blob, weight in zip(top, self._loss_weights[i]) if weight]
            own = [blob for blob in top if not any(map(blob.shares_data_with, bottom))] if apart and bottom else []
            self._steps.append((layer, bottom, top, own, losses, layer.can_rectify and self._is_rectified(i)))
            down = self._bottom_need_backward[i] if apart and layer.differentiable else []
            self._replaced_diffs.append([blob for blob, needed in zip(bottom, down) if needed])
        # blobs that somebody reads for whom channels-last is faster; the others may stay as convolutions leave them
        not_in_rows = {
            index
            for layer, bottoms, tops in zip(self._layers, self._bottoms, self._tops)
            if not (layer.in_rows or (layer.any_layout and bottoms == tops))
            for index in bottoms
        }
        for layer, tops in zip(self._layers, self._tops):
            layer.leaves_rows = not_in_rows.isdisjoint(tops)
        #: blob name -> Blob
        self.blobs = OrderedDict(zip(self._blob_names, self._blobs))
        #: layer name -> its parameter blobs, for the layers that have any
        self.params = OrderedDict(
            (name, BlobVec(layer.blobs)) for name, layer in zip(self._layer_names, self._layers) if layer.blobs
        )
        #: the layers; for a Python layer, the user's object
        self.layers = [layer.shown for layer in self._layers]
        #: layer name -> layer
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers))
        names = self._blob_names

        def named(lists):
            return OrderedDict((layer, [names[i] for i in ids]) for layer, ids in zip(self._layer_names, lists))

        #: layer name -> names of its bottoms, of its tops
        self.bottom_names, self.top_names = named(self._bottoms), named(self._tops)
        #: names of the input blobs, and of the blobs that are not a bottom of any layer
        self.inputs = [names[i] for i in self._inputs]
        self.outputs = [names[i] for i in self._outputs]

    def _is_rectified(self, i):
        """Whether the layer after this one only sets its top's negative values to zero, in place."""
        after = i + 1
        return (
            after < len(self._layers)
            and self._layers[after].rectifies
            and self._tops[i] == self._bottoms[after] == self._tops[after]
            and not any(self._loss_weights[i] + self._loss_weights[after])
        )

    @property
    def blob_loss_weights(self):
        """Blob name -> the weight of its value in the loss."""
        return OrderedDict(zip(self._blob_names, self._blob_loss_weights))

    # methods of pycaffe's compiled module, which users' programs call too

    def _bottom_ids(self, layer_index):
        return list(self._bottoms[layer_index])

    def _top_ids(self, layer_index):
        return list(self._tops[layer_index])

    def _forward(self, start, end):
        return float(self.run_forward(start, end))

    def _backward(self, start, end):
        self.run_backward(start, end)

    # running

    def reshape(self):
        """Set the shapes of all blobs from the inputs' shapes."""
        for layer, bottom, top in zip(self._layers, self._bottom_blobs, self._top_blobs):
            layer.fit(bottom, top)

    @outside_inference_mode
    def run_forward(self, start=0, end=None):
        """Run layers ``start`` … ``end`` (indices, inclusive); the weighted loss, as a float or a 0-d tensor."""
        if not self._has_run_forward:
            self._has_run_forward = True
            with large_blocks_apart():
                return self.run_forward(start, end)
        end = len(self._layers) - 1 if end is None else end
        loss: float | torch.Tensor = 0.0
        before, after = self._hooks["before_forward"], self._hooks["after_forward"]
        looked_at = any(self._hooks.values())
        steps = self._steps[start : end + 1]
        for layer, _, _, replaced, *_ in steps:
            layer.forget()
            for blob in () if looked_at else replaced:
                blob.release()
        done = False  # whether the layer before has done what this one is for
        for i, (layer, bottom, top, _, losses, rectified) in enumerate(steps, start):
            if done:
                done = False
                continue
            for hook in before:
                hook(i)
            layer.fit(bottom, top)
            if rectified:
                layer.rectify = i < end and not looked_at and not self.debug_info
            layer.forward(bottom, top, self._recording and self._runs_backward(i))
            done = rectified and layer.rectify
            for blob in losses:
                loss = loss + torch.dot(blob.tensor().reshape(-1), blob.diff_tensor().reshape(-1))
            if self.debug_info:
                self._log_forward(i)
            for hook in after:
                hook(i)
        return loss

    @outside_inference_mode
    def run_backward(self, start=None, end=0, once=False):
        """Run backward from layer ``start`` down to ``end`` (indices, inclusive), where it is needed.

        ``once`` is for `forward_backward`, which has released the diffs: it also releases what layers keep from the
        forward pass for backward, if they can compute it again.
        """
        if not self._has_run_backward:
            self._has_run_backward = True
            with large_blocks_apart():
                self.run_backward(start, end, once)
            return
        indices = range(len(self._layers) - 1 if start is None else start, end - 1, -1)
        if not once:
            self._release_diffs(indices)
        for i in indices:
            for hook in self._hooks["before_backward"]:
                hook(i)
            if self._runs_backward(i):
                self._layers[i].backward(self._top_blobs[i], self._bottom_need_backward[i], self._bottom_blobs[i])
                if once and self._layers[i].repeatable:
                    self._layers[i].forget()
                if self.debug_info:
                    self._log_backward(i)
            for hook in self._hooks["after_backward"]:
                hook(i)
        if self.debug_info and start is None:
            self._log_norms()

    def _release_diffs(self, indices):
        """Release the memory of diffs that backward through these layers will replace, unless hooks look at it."""
        for i in () if any(self._hooks.values()) else filter(self._runs_backward, indices):
            for blob in self._replaced_diffs[i]:
                blob.release_diff()

    def forward_backward(self):
        """Both passes, one after the other, with less memory than by themselves; returns the loss as `run_forward`."""
        self._release_diffs(range(len(self._layers)))
        loss = self.run_forward()
        self.run_backward(once=True)
        return loss

    def _log_forward(self, i):
        name, layer = self._layer_names[i], self._layers[i]
        for index, blob in zip(self._tops[i], self._top_blobs[i]):
            _log_size("net.cpp:593", f"[Forward] Layer {name}, top blob {self._blob_names[index]} data", blob.tensor())
        for j, blob in enumerate(layer.blobs):
            shown = (layer.param.param[j].name if j < len(layer.param.param) else "") or j
            _log_size("net.cpp:605", f"[Forward] Layer {name}, param blob {shown} data", blob.tensor())

    def _log_backward(self, i):
        name, layer = self._layer_names[i], self._layers[i]
        for index, blob, down in zip(self._bottoms[i], self._bottom_blobs[i], self._bottom_need_backward[i]):
            if down:
                bottom = self._blob_names[index]
                _log_size("net.cpp:621", f"[Backward] Layer {name}, bottom blob {bottom} diff", blob.diff_tensor())
        for j, (blob, down) in enumerate(zip(layer.blobs, layer.param_propagate_down)):
            if down:
                _log_size("net.cpp:632", f"[Backward] Layer {name}, param blob {j} diff", blob.diff_tensor())

    def _log_norms(self):
        arrays = [[blob.tensor() for blob in self._learnable], [blob.diff_tensor() for blob in self._learnable]]
        absolute = ", ".join(number(sum(float(x.abs().sum()) for x in side)) for side in arrays)
        norms = ", ".join(number(math.sqrt(sum(float(x.square().sum()) for x in side))) for side in arrays)
        log(
            "net.cpp:721",
            f"    [Backward] All net params (data, diff): L1 norm = ({absolute}); L2 norm = ({norms})",
            level=2,
        )

    def _runs_backward(self, index):
        return self._layer_need_backward[index] or self.needless_backward

    @contextlib.contextmanager
    def without_backward(self):
        """In this context forward passes keep nothing for backward."""
        self._recording = False
        try:
            yield self
        finally:
            self._recording = True

    # parameters

    @property
    def learnable_params(self):
        """The parameter blobs that a solver updates, shared ones once."""
        return self._learnable

    def clear_param_diffs(self):
        """Set the diffs of all learnable parameters to zero."""
        for blob in self._learnable:
            blob.zero_diff()

    def share_with(self, other):
        """Share the parameters of ``other``, by layer name."""
        named = self._first_named()
        for name, source in zip(other._layer_names, other._layers):
            layer = named.get(name)
            if layer is None:
                log("net.cpp:678", f"Ignoring source layer {name}")
                continue
            if len(source.blobs) != len(layer.blobs):
                raise CaffeError(f"Incompatible number of blobs for layer {name}.")
            for i, (theirs, ours) in enumerate(zip(source.blobs, layer.blobs)):
                if theirs.shape != ours.shape:
                    raise CaffeError(
                        f"Cannot share param {i} weights from layer '{name}'; shape mismatch.  Source param shape is "
                        f"{theirs.shape_string()}; target param shape is {ours.shape_string()}."
                    )
                ours.share_data(theirs)

    def _first_named(self):
        """Layer name -> the first layer of that name, to which parameters are copied by name as in Caffe."""
        return dict(zip(reversed(self._layer_names), reversed(self._layers)))

    def to_proto(self):
        """The net's name and layers, Split layers included, without blobs: the definition in a snapshot."""
        proto = caffe_pb2.NetParameter(name=self.name)
        for layer in self._layers:
            proto.layer.add().CopyFrom(layer.param)
            proto.layer[-1].ClearField("blobs")
        return proto
