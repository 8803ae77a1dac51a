"""What the paper leaves open about a definition, and what a definition's layers say about learning (§3.2)."""

from dataclasses import dataclass, fields

from sentiment import paper


@dataclass(frozen=True)
class Choices:
    """What the paper leaves open about a definition (the ? of docs/protocol.md); `--set` changes any of it."""

    random_crops: bool = paper.RANDOM_CROPS
    mirror: bool = paper.MIRROR
    shuffle: bool = paper.SHUFFLE
    bias_lr_mult: float = paper.BIAS_LR_MULT
    bias_decay_mult: float = paper.BIAS_DECAY_MULT
    new_bias_lr_mult: float = paper.NEW_LAYER_BIAS_LR_MULT
    fc9_kept_lr_mult: float = paper.LR_MULT
    fc9_relu: bool = paper.FC9_RELU
    fc9_dropout: bool = paper.FC9_DROPOUT


CHOICES = tuple(field.name for field in fields(Choices))


@dataclass(frozen=True)
class Learning:
    """What the layers of a definition say about learning: rates, decays and fillers."""

    choices: Choices
    scratch: bool = False  # fill every layer, as the reference models were
    frozen: bool = False  # only the new layer learns
    deploy: bool = False  # say nothing: a deploy definition does not learn

    def kept(self, filler=None, bias=0.0, rate=paper.LR_MULT):
        """Parameters of a layer of the template or the source, loaded unless training from scratch."""
        rate = 0 if self.frozen else rate
        return self._layer(rate, rate * self.choices.bias_lr_mult, filler if self.scratch else None, bias)

    def new(self):
        """Parameters of the new last layer: ten times the rate, weights N(0, 0.01), bias 0 (§3.2)."""
        return self._layer(paper.NEW_LAYER_LR_MULT, self.choices.new_bias_lr_mult, gaussian(paper.NEW_LAYER_STD), 0.0)

    def _layer(self, weight_rate, bias_rate, filler, bias):
        if self.deploy:
            return {}
        bias_decay = self.choices.bias_decay_mult
        rates = [{"lr_mult": weight_rate, "decay_mult": 1}, {"lr_mult": bias_rate, "decay_mult": bias_decay}]
        fillers = {"weight_filler": filler, "bias_filler": {"type": "constant", "value": bias}} if filler else {}
        return {"param": rates, **fillers}


def gaussian(std):
    """A gaussian weight filler of mean 0."""
    return {"type": "gaussian", "std": std}
