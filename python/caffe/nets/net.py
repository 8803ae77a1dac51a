"""pycaffe's Net: forward and backward by names, hooks, weights files (pycaffe.py, _caffe.cpp)."""

import math
import os

import numpy as np

from ..errors import CaffeError
from ..formats import is_hdf5, read_net, read_weights, read_weights_hdf5, write_weights, write_weights_hdf5
from ..names import of_path
from ..proto import caffe_pb2
from ..runtime.blob import from_array
from ..runtime.glog import log
from .graph import Graph


class Net(Graph):
    """A network of layers.

    Parameters
    ----------
    network_file : str
        Definition (prototxt) of any generation.
    phase : int
        ``caffe.TRAIN`` or ``caffe.TEST``.
    level : int
        Level for include/exclude rules.
    stages : list of str
        Stages for include/exclude rules.
    weights : str
        Weights to load (caffemodel of any generation, or HDF5).

    ``Net(network_file, weights, phase)`` works as well.
    """

    def __init__(self, network_file, *args, phase=None, level=0, stages=None, weights=None):
        if len(args) == 2 and not isinstance(args[0], int):
            weights, phase = args
        elif args:
            given = [phase, level, stages, weights]
            given[: len(args)] = args
            phase, level, stages, weights = given
        if phase not in (caffe_pb2.TRAIN, caffe_pb2.TEST):
            raise CaffeError(f"A net needs a phase, caffe.TRAIN or caffe.TEST, not {phase!r}.")
        param = read_net(os.fspath(network_file))
        param.state.phase = phase
        param.state.level = level
        param.state.stage.extend(map(of_path, stages or []))
        self._build(param)
        if weights is not None:
            self.copy_from(weights)

    def _layer_index(self, name):
        if name not in self._layer_names:
            raise ValueError(f"'{name}' is not in list of layers: {', '.join(self._layer_names)}")
        return self._layer_names.index(name)

    def _fill(self, arrays, expected, attribute, mismatch, not_batch):
        if not arrays:
            return
        if set(arrays) != set(expected):
            raise Exception(f"{mismatch} Got {sorted(arrays)}, the net has {sorted(expected)}.")
        for name, array in arrays.items():
            if array.shape[0] != self.blobs[name].shape[0]:
                size = self.blobs[name].shape[0]
                raise Exception(f"{not_batch}: '{name}' is {array.shape[0]} long, the net's batch {size}.")
            getattr(self.blobs[name], attribute)[...] = array

    def forward(self, blobs=None, start=None, end=None, **kwargs):
        """Forward pass from inputs, given as keyword arguments or already in their blobs, to output blobs.

        Parameters
        ----------
        blobs : list of str
            Blobs to return besides the outputs.
        start, end : str
            Names of the first and the last layer to run.
        kwargs : ndarray
            Input blob name -> array of the blob's shape.

        Returns
        -------
        dict
            Blob name -> float32 array that aliases the blob.
        """
        first = 0 if start is None else self._layer_index(start)
        last = len(self._layers) - 1 if end is None else self._layer_index(end)
        wanted = (self.outputs if end is None else self.top_names[end]) + list(blobs or [])
        mismatch = "Input blob arguments do not match net inputs."
        self._fill(kwargs, self.inputs, "data", mismatch, "Input is not batch sized")
        self.run_forward(first, last)
        return {name: self.blobs[name].data for name in wanted}

    def backward(self, diffs=None, start=None, end=None, **kwargs):
        """Backward pass from output diffs, given as keyword arguments or already in their blobs, to input diffs.

        Parameters
        ----------
        diffs : list of str
            Blobs whose diffs to return besides those of the inputs.
        start, end : str
            Names of the first and the last layer to run.
        kwargs : ndarray
            Output blob name -> diff of the blob's shape.

        Returns
        -------
        dict
            Blob name -> float32 array that aliases the blob's diff.
        """
        first = len(self._layers) - 1 if start is None else self._layer_index(start)
        last = 0 if end is None else self._layer_index(end)
        wanted = (self.inputs if end is None else self.bottom_names[end]) + list(diffs or [])
        mismatch = "Top diff arguments do not match net outputs."
        self._fill(kwargs, self.outputs, "diff", mismatch, "Diff is not batch sized")
        self.run_backward(first, last)
        return {name: self.blobs[name].diff for name in wanted}

    def forward_all(self, blobs=None, **kwargs):
        """Forward in batches: from arrays of any common length to output arrays of that length (dict of ndarray)."""
        collected = {}
        for batch in self._batch(kwargs):
            for name, values in self.forward(blobs=blobs, **batch).items():
                collected.setdefault(name, []).append(np.array(values))
        return self._trimmed(collected, kwargs)

    def forward_backward_all(self, blobs=None, diffs=None, **kwargs):
        """Forward and backward in batches, from inputs and output diffs (not needed for a loss) to (outputs, diffs)."""
        outs, grads = {}, {}
        tops = [name for name in kwargs if name in self.outputs]
        if not {*kwargs} <= {*self.inputs, *self.outputs}:
            raise Exception(f"Arguments are neither inputs {self.inputs} nor outputs {self.outputs}: {sorted(kwargs)}")
        for batch in self._batch(kwargs):
            top_batch = {name: batch.pop(name) for name in tops}
            for name, values in self.forward(blobs=blobs, **batch).items():
                outs.setdefault(name, []).append(np.array(values))
            for name, values in self.backward(diffs=diffs, **top_batch).items():
                grads.setdefault(name, []).append(np.array(values))
        return self._trimmed(outs, kwargs), self._trimmed(grads, kwargs)

    def _batch(self, arrays):
        """Yield the arrays batch by batch as a dict; the last batch is padded with zeros."""
        size = self.blobs[(self.inputs or self._blob_names)[0]].shape[0]
        length = len(next(iter(arrays.values())))
        for start in range(0, length, size):
            batch = {name: np.asarray(a[start : start + size]) for name, a in arrays.items()}
            missing = size - min(size, length - start)
            if missing:
                batch = {n: np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for n, a in batch.items()}
            yield batch

    @staticmethod
    def _trimmed(collected, given):
        length = len(next(iter(given.values())))
        return {name: np.concatenate(parts)[:length] for name, parts in collected.items()}

    def before_forward(self, hook):
        """Call ``hook(layer_index)`` before each layer's forward."""
        self._hooks["before_forward"].append(hook)

    def after_forward(self, hook):
        """Call ``hook(layer_index)`` after each layer's forward."""
        self._hooks["after_forward"].append(hook)

    def before_backward(self, hook):
        """Call ``hook(layer_index)`` before each layer's backward."""
        self._hooks["before_backward"].append(hook)

    def after_backward(self, hook):
        """Call ``hook(layer_index)`` after each layer's backward."""
        self._hooks["after_backward"].append(hook)

    def set_input_arrays(self, data, labels):
        """Let the first layer, a MemoryData, read float32 arrays, N×C×H×W and N labels; they are not copied."""
        if not self._layers or self._layers[0].type != "MemoryData":
            raise CaffeError("set_input_arrays may only be called if the first layer is a MemoryDataLayer")
        self._layers[0].set_input_arrays(data, labels)

    _set_input_arrays = set_input_arrays  # its name in pycaffe's compiled module

    # parameters

    def copy_from(self, path):
        """Load parameters by layer name from a caffemodel of any generation or an HDF5 file.

        The format is recognised by the content. Layers of the file that the net does not have are ignored and logged.
        If several layers have the same name, the first gets the parameters, or with HDF5 the last, as in Caffe. Raises
        CaffeError if a layer of the same name has another number of blobs or another shape.
        """
        path = os.fspath(path)
        self._take(path, read_weights(path), is_hdf5(path))

    def _take(self, path, weights, hdf5):
        named = dict(zip(self._layer_names, self._layers)) if hdf5 else self._first_named()
        for source in weights.layers:
            layer = named.get(source.name)
            if layer is None:
                log(f"net.cpp:{801 if hdf5 else 746}", f"Ignoring source layer {source.name}")
                continue
            if len(source.blobs) != len(layer.blobs) and not (hdf5 and self._shares(layer)):
                raise CaffeError(
                    f"Incompatible number of blobs for layer {source.name}: "
                    f"{path} has {len(source.blobs)}, the net {len(layer.blobs)}."
                )
            for i, (array, blob) in enumerate(zip(source.blobs, layer.blobs)):
                if array is None:
                    continue
                if not array.fits(blob.shape):
                    shape = "".join(f"{n} " for n in array.shape) + f"({math.prod(array.shape)})"
                    raise CaffeError(
                        f"Cannot copy param {i} weights from layer '{source.name}'; shape mismatch.  "
                        f"Source param shape is {shape}; target param shape is {blob.shape_string()}. "
                        "To learn this layer's parameters from scratch rather than copying from a saved net, "
                        f"rename the layer. ({path})"
                    )
                blob.set_tensor(from_array(array.data.reshape(blob.shape)))
                if array.diff is not None:
                    blob.set_diff(from_array(array.diff.reshape(blob.shape)))

    def _shares(self, layer):
        return any(spec.name for spec in layer.param.param)

    def load_hdf5(self, path):
        """Load parameters from an HDF5 file, with the rules and errors of `copy_from`."""
        path = os.fspath(path)
        self._take(path, read_weights_hdf5(path), True)

    def save(self, path, write_diff=False):
        """Write the parameters to a caffemodel; the file appears completely or not at all."""
        self._write(write_weights, path, write_diff)

    def save_hdf5(self, path, write_diff=False):
        """Write the parameters to an HDF5 file: shared ones once, with their owner, but gradients for every layer."""
        self._write(write_weights_hdf5, path, write_diff, {id(blob) for blob in self._learnable})

    def _write(self, write, path, write_diff, owners=None):
        def array(tensor):
            return tensor.cpu().contiguous().numpy()

        def values(blob):
            return array(blob.tensor()) if owners is None or id(blob) in owners else None

        data = [[values(blob) for blob in layer.blobs] for layer in self._layers]
        diffs = [[array(blob.diff_tensor()) for blob in layer.blobs] for layer in self._layers] if write_diff else None
        write(os.fspath(path), self.to_proto(), data, diffs)
