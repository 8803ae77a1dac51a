"""Read the weights in a PyTorch file, a state dict or a checkpoint that has one; needs torch."""

from collections.abc import Mapping
from pathlib import Path

from sentiment.sources.parameters import Content, Parameters
from sentiment.utils.errors import UserError

_STATES = ("state_dict", "model_state_dict", "model", "net")  # keys of a checkpoint that may have its state dict
_NOTE = (
    "a PyTorch file records neither the order of the input's channels nor their scale; here they are BGR, 0 to 255, "
    "minus the mean, so the accuracy is lower if the network was trained with others"
)


def read(path: Path) -> Content:
    """The convolutions and fully connected layers of a state dict, in its order, which is that of the modules.

    A `UserError` says that the file is not complete, holds more than tensors, or has another kind of layer.
    """
    try:
        import torch  # nothing else here needs it, and the Python of a real Caffe need not have it
    except ImportError as error:
        raise UserError(f"reading {path} needs PyTorch; `pip install torch`") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is raised for a damaged pickle can be of any type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "weights_only" in str(error).lower() or "weights only" in str(error).lower():
            reason = "it holds more than tensors, which could run any program; save `model.state_dict()` alone"
        raise UserError(f"{path} cannot be read as a PyTorch state dict: {reason}") from error
    state = next((content[key] for key in _STATES if key in content), content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"{path} is not a state dict, nor a checkpoint with one under {', '.join(_STATES)}")
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    arrays = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in tensors.items()
    }
    return Content("PyTorch", list(_layers(path, arrays)), [_NOTE])


def _layers(path, arrays):
    """Yield the layers whose arrays are named ``<layer>.weight`` and ``<layer>.bias``, in their order."""
    arrays = dict(arrays)
    for name in list(arrays):
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and arrays[name].ndim in (2, 4):
            own = layer.rpartition(".")[2]  # without the modules around it; a number alone is no name
            yield Parameters(layer if own.isdigit() else own, arrays.pop(name), arrays.pop(f"{layer}.bias", None))
    for name, array in arrays.items():
        raise UserError(f"{path}: {name} ({'×'.join(map(str, array.shape)) or 'a number'}) is of no layer here")
