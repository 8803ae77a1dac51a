"""What each table and figure of the paper is made from: which nets, on which subset, on which folds.

An experiment that several of them need is one experiment: the five-agree CaffeNet is in Tables 2 to 5 and in Figure 6.
"""

from dataclasses import dataclass, replace

from sentiment import paper
from sentiment.networks import architectures

FIVE = "five_agrees"


@dataclass(frozen=True)
class Experiment:
    """A net fine-tuned and tested on some folds."""

    subset: str
    arch: str
    init: str
    folds: tuple = paper.FOLDS
    full_rate: bool = False  # as a variant, at the other architectures' base rate, where this one has a lower one


CAFFENET = Experiment(FIVE, "finetune", "caffenet")

PARTS = {
    "table1": (),
    "table2": tuple(replace(CAFFENET, subset=subset) for subset in paper.SUBSETS),
    "table3": (CAFFENET,),
    # The paper says of fc6-2 that it does not converge at the rate of the others; one fold shows whether that is so.
    "table4": (
        CAFFENET,
        *(replace(CAFFENET, arch=arch) for arch in paper.TABLE4),
        replace(CAFFENET, arch="fc6-2", folds=(1,), full_rate=True),
    ),
    "table5": tuple(replace(CAFFENET, init=init) for init in paper.TABLE5),
    "table6": tuple(
        replace(CAFFENET, arch=arch, init=init) for arch in architectures.ON_LAST_LAYER for init in paper.TABLE6
    ),
    "figure2": (),
    "figure4": (),
    "figure5": (),
    "figure6": tuple(replace(CAFFENET, init=init, folds=(1,)) for init in paper.INITIALISATIONS),
    "figure7": (replace(CAFFENET, init="mvso_en"),),
}
"""Part of the paper -> its experiments."""
LAPTOP = "laptop"
"""Not a part of the paper: a net that two CPU cores train in minutes, beside its linear probe."""
OF_ONE_NET = ("table2", "table3", "figure7")
"""Parts that can be made of another architecture or initialisation than the paper's."""


def experiments_of(part: str, arch: str | None = None, init: str | None = None) -> tuple[Experiment, ...]:
    """The experiments of one part, with another architecture or initialisation where the part is ``OF_ONE_NET``."""
    if part == LAPTOP:
        arch = arch or "squeezenet"
        net = Experiment(FIVE, arch, init or architectures.default_init(arch))
        return replace(net, arch=architectures.PROBES[net.arch]), net
    of_paper = PARTS.get(part, ())
    if part not in OF_ONE_NET:
        return of_paper
    init = init or (architectures.ARCHITECTURES[arch].own_init if arch else None)
    return tuple(replace(one, arch=arch or one.arch, init=init or one.init) for one in of_paper)


def experiments(parts, arch: str | None = None, init: str | None = None) -> list[Experiment]:
    """The experiments of some parts, as `experiments_of`, each once and on all the folds that any part needs."""
    found: dict[Experiment, tuple] = {}
    for part in parts:
        for experiment in experiments_of(part, arch, init):
            key = replace(experiment, folds=())
            found[key] = tuple(sorted({*found.get(key, ()), *experiment.folds}))
    return [replace(key, folds=folds) for key, folds in found.items()]
