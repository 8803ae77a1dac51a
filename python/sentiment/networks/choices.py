"""Settings of the definitions of networks that the paper leaves open."""

from dataclasses import dataclass, fields

from sentiment import paper


@dataclass(frozen=True)
class Choices:
    """Settings of a definition that the paper leaves open (? in docs/protocol.md); `--set` changes any of them."""

    random_crops: bool = paper.RANDOM_CROPS
    mirror: bool = paper.MIRROR
    shuffle: bool = paper.SHUFFLE
    bias_lr_mult: float = paper.BIAS_LR_MULT
    bias_decay_mult: float = paper.BIAS_DECAY_MULT
    new_lr_mult: float = paper.NEW_LAYER_LR_MULT
    new_bias_lr_mult: float = paper.NEW_LAYER_BIAS_LR_MULT
    fc9_kept_lr_mult: float = paper.LR_MULT
    fc9_relu: bool = paper.FC9_RELU
    fc9_dropout: bool = paper.FC9_DROPOUT
    auxiliary_heads: bool = False  # of GoogLeNet; `plans.Plan` adds those that a source has


CHOICES = tuple(field.name for field in fields(Choices))
