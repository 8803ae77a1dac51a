"""A run's configuration: the record of what it is made from.

run.json holds it from the start of a training, result.json once the run is tested. To add a field, add it at the end of
`Configuration`, with a default that says what earlier versions did, so that their runs still count, and set its value
in `Configuration.of`. The hardware and software that computed a run are not part of it: see `Stretch`.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiment import engine
from sentiment.data.means import channel_means
from sentiment.engine import Environment
from sentiment.networks.choices import Choices
from sentiment.training.solvers import Schedule, fold_seed
from sentiment.training.weak import WeakSource, source_of
from sentiment.utils import records
from sentiment.utils.files import sha256

IDENTITY = ("dataset", "demo", "subset", "arch", "init", "fold", "seed", "fold_seed", "train_images", "card")
"""Fields that name a run and its images; result.json has them at its top level."""
CHECKSUMS = ("source", "mean_file", "train_list", "test_list")
"""Fields that are SHA-256 checksums of the inputs; all but these, IDENTITY and weak are `Configuration.settings`."""

_checksum = functools.cache(sha256)  # a source of 240 MB is read once for all folds


@dataclass(frozen=True)
class Configuration:
    """What a run is made from; a field is None where a file of an earlier version does not record it."""

    dataset: str
    demo: bool  # whether the images are the demo's drawn ones
    subset: str
    arch: str
    init: str
    fold: int
    seed: int  # as given by the user
    fold_seed: int | None  # the solver's seed: `solvers.fold_seed` of ``seed`` and ``fold``
    variant: str | None  # the user's own name for a run with other choices than the default
    precision: str | None  # one of `engine.PRECISIONS`
    mean: tuple | None  # channel means, BGR, 0 to 255
    mean_image: bool | None  # whether training subtracts a mean image; ``mean`` then holds its channel means
    channels_divisor: int | None  # the network has 1/divisor of the paper's channels
    choices: Choices = field(metadata=records.FLAT)
    schedule: Schedule = field(metadata=records.FLAT)
    card: str | None  # model card whose file has the source's checksum, "" if none has; runs are compared without it
    source: str | None  # checksum of the source's weights; None from scratch
    mean_file: str | None  # checksum of the mean image; None without one
    train_images: int | None
    train_list: str | None  # checksum of the training list
    test_list: str | None  # checksum of the test list
    weak: WeakSource | None = None  # what the source's weights were trained on, if those are weakly labelled pictures

    @classmethod
    def of(cls, plan):
        """The configuration of a `plans.Plan`."""
        source, run = plan.source, plan.run
        mean_file = source.mean if isinstance(source.mean, Path) else None
        return cls(
            dataset=plan.data.name,
            demo=plan.data.demo,
            subset=run.subset,
            arch=run.arch,
            init=run.init,
            fold=run.fold,
            seed=plan.seed,
            fold_seed=fold_seed(plan.seed, run.fold),
            variant=plan.variant,
            precision=engine.precision(),
            mean=tuple(channel_means(source.mean).tolist()),
            mean_image=mean_file is not None and not plan.fitted,  # a probe subtracts what its tests do
            channels_divisor=plan.divisor,
            choices=plan.choices,
            schedule=plan.schedule,
            card=source.known_as,
            source=_checksum(source.path) if source.path else None,
            mean_file=_checksum(mean_file) if mean_file else None,
            train_images=len(plan.lists.train),
            train_list=sha256(plan.paths[0]),
            test_list=sha256(plan.paths[1]),
            weak=source_of(source.path),
        )

    def settings(self) -> dict[str, Any]:
        """What the paper leaves open or a user can change, by name: all but `IDENTITY`, `CHECKSUMS` and weak."""
        fields = records.to_json(self)
        return {name: value for name, value in fields.items() if name not in (*IDENTITY, *CHECKSUMS, "weak")}


@dataclass(frozen=True)
class Stretch:
    """Consecutive iterations of a training, computed in one environment: until the next stretch or the end."""

    from_iteration: int
    environment: Environment = field(metadata=records.FLAT)
