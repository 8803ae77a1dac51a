"""What a reader of a foreign format finds in a file: the weights and biases of its layers, in Caffe's layout."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Parameters:
    """The weights and biases of a convolution or a fully connected layer."""

    name: str  # as the file has it
    weights: np.ndarray  # outputs × inputs of a group × height × width, or outputs × inputs
    bias: np.ndarray | None = None  # outputs; None counts as zeros
    # Whether the inputs of a fully connected layer that sees a map are in the order height, width, channels; Caffe's
    # are in the order channels, height, width.
    channels_last: bool = False

    @property
    def type(self) -> str:
        """The type of Caffe's layer."""
        return "Convolution" if self.weights.ndim == 4 else "InnerProduct"


@dataclass(frozen=True)
class Content:
    """A file's layers, from the input to the output unless its format has no order, and what the user should know."""

    format: str
    layers: list[Parameters]
    notes: list[str] = field(default_factory=list)
