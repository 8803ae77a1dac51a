"""A stand-in for another Caffe's python folder: this project's engine behind pycaffe's documented names alone.

Whatever BVLC's pycaffe of 2015 does not document is not here, so a tool that reaches for it fails. Every name used goes
to the file RECORD, a line each, and a line is written to file descriptor 2 whenever a net or solver is made, past
``sys.stderr``, as C++ does.
"""

import importlib.util
import os
import sys
from pathlib import Path

_FOLDER = Path(os.environ["ENGINE"])
_spec = importlib.util.spec_from_file_location(
    "recorded_engine", _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
)
_engine = sys.modules["recorded_engine"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_engine)

_PUBLIC = {
    "caffe": "Classifier Layer Net NetSpec SGDSolver NesterovSolver AdamSolver AdaGradSolver RMSPropSolver "
    "AdaDeltaSolver TEST TRAIN get_solver io layer_type_list layers params proto set_device set_mode_cpu "
    "set_mode_gpu to_proto",
    "caffe.io": "Transformer array_to_blobproto array_to_datum blobproto_to_array datum_to_array load_image oversample "
    "resize_image",
    "Net": "_layer_names backward blobs bottom_names copy_from forward forward_all forward_backward_all inputs layers "
    "load_hdf5 outputs params reshape save save_hdf5 share_with top_names",
    "Blob": "channels count data diff height num reshape shape width",
    "Layer": "blobs type",
    "Solver": "iter net restore snapshot solve step test_nets",
}
_record = open(os.environ["RECORD"], "a", buffering=1)  # noqa: SIM115 - open as long as the process


class _Limited:
    """An object of the engine of which only the documented names can be reached."""

    def __init__(self, wrapped, kind):
        object.__setattr__(self, "_wrapped", (wrapped, kind))

    def __getattr__(self, name):
        wrapped, kind = object.__getattribute__(self, "_wrapped")
        if name not in _PUBLIC[kind].split():
            raise AttributeError(f"{kind}.{name} is no documented name of pycaffe")
        _record.write(f"{kind}.{name}\n")
        return _shown(getattr(wrapped, name), name)

    def __setattr__(self, name, value):
        raise AttributeError(f"{self._wrapped[1]}.{name} cannot be set in pycaffe")


def _shown(value, name):
    """What comes out of an object: its nets, blobs and layers limited too."""
    if name == "net":
        return _Limited(value, "Net")
    if name == "blobs" and hasattr(value, "items"):
        return {key: _Limited(blob, "Blob") for key, blob in value.items()}
    if name == "params" and hasattr(value, "items"):
        return {key: [_Limited(blob, "Blob") for blob in blobs] for key, blobs in value.items()}
    if name == "blobs":
        return [_Limited(blob, "Blob") for blob in value]
    if name in ("layers", "test_nets") and not hasattr(value, "Convolution"):
        return [_Limited(one, "Layer" if name == "layers" else "Net") for one in value]
    return value


def _making(make, kind):
    def made(*arguments, **more):
        os.write(2, f"I1124 00:00:00.000000     1 recording.cpp:1] a {kind} is made\n".encode())
        return _Limited(make(*arguments, **more), kind)

    return made


def __getattr__(name):
    if name.startswith("__") or name not in _PUBLIC["caffe"].split():
        raise AttributeError(f"caffe.{name} is no documented name of pycaffe")
    _record.write(f"caffe.{name}\n")
    value = getattr(_engine, name)
    if name == "io":
        return _Limited(value, "caffe.io")
    if name == "Net":
        return _making(value, "Net")
    return _making(value, "Solver") if name.endswith("olver") else value


__version__ = "1.0.0-rc3"
proto = sys.modules[f"{__name__}.proto"] = _engine.proto
sys.modules[f"{__name__}.proto.caffe_pb2"] = _engine.proto.caffe_pb2
