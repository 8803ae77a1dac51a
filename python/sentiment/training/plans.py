"""The plan of a run: its inputs checked, its schedule, and the files to be written before it is trained."""

import functools
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sentiment.data import folds
from sentiment.data.dataset import Dataset
from sentiment.data.means import check_mean
from sentiment.engine import Environment
from sentiment.networks import architectures, weights_files
from sentiment.networks.choices import CHOICES, Choices
from sentiment.sources.cards import Source
from sentiment.training import snapshots, solvers
from sentiment.training.configuration import Configuration
from sentiment.training.loop import Training
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError
from sentiment.utils.files import write_if_changed

SECONDS_SETTING_UP, SECONDS_FITTING = 2, 10

_read_source = functools.cache(weights_files.read)  # a source of 240 MB is read once for all folds


def settings(pairs: Sequence[str], options: Mapping) -> dict[str, bool | int | float]:
    """Values of the schedule and of `Choices` by name, from the command line.

    ``pairs`` are the ``NAME=VALUE`` of ``--set``; ``options`` are all options by name, with None for those not given. A
    `UserError` names a pair whose name is unknown or given twice, or whose value is wrong.
    """
    found = {name: options[name] for name in solvers.NAMES if options.get(name) is not None}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in (*solvers.NAMES, *CHOICES):
            known = ", ".join((*solvers.NAMES, *CHOICES))
            raise UserError(f"SET: unknown {pair!r}; write NAME=VALUE, where NAME is one of {known}")
        if name in found:
            raise UserError(f"SET: {pair!r} is given twice, in SET or by its own option too; give it once")
        found[name] = _value(pair, value, isinstance(getattr(Choices, name, None), bool))
    return found


def _value(pair, text, is_bool):
    """The value of a pair: a bool, given as 0 or 1, or a finite number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (is_bool and number not in (0, 1)):
        needed = "0 (no) or 1 (yes)" if is_bool else "a number"
        raise UserError(f"SET: {pair!r} needs {needed} after the =")
    if is_bool:
        return bool(number)
    return int(number) if number.is_integer() else number


@dataclass(eq=False)
class Plan:
    """A run that is to be trained, and what it is made from.

    A `UserError` names a fold list, or an image in one, that is missing or wrong, or a value outside its range.
    """

    run: Run
    data: Dataset
    source: Source
    splits: Path  # folder of all fold lists
    seed: int = solvers.DEFAULT_SEED  # of all folds; `solvers.fold_seed` derives the seed of this one
    variant: str = ""  # the user's own name for a run with other choices than the default
    given: Mapping = field(default_factory=dict)  # values of the schedule and of `Choices` by name, see `settings`

    def __post_init__(self):
        arch, subset = self.run.arch, self.run.subset
        self.fitted = architectures.ARCHITECTURES[arch].fitted
        self._check_fitted()
        which = self.splits, self.data.name, subset, self.run.fold
        self.lists = folds.read(*which)
        self.paths = [folds.list_path(*which, part).resolve() for part in folds.PARTS]
        for path, pairs in zip(self.paths, self.lists, strict=True):
            if missing := self.data.missing([image for image, _ in pairs]):
                raise UserError(f"{path}: {missing[0]} is not in {self.data.images} ({len(missing)} such lines)")
        of_data = {name: self.data.setting(name, subset) for name in solvers.NAMES}
        self.schedule = solvers.schedule(arch, len(self.lists.train), of_data, self.given)
        self.choices = self._choices({name: value for name, value in self.given.items() if name in CHOICES})
        self.divisor = architectures.ARCHITECTURES[arch].divisor(self.data.setting("channels_divisor", subset, 1))

    def _choices(self, given):
        """The architecture's choices but those given; GoogLeNet has auxiliary heads if its source has them."""
        architecture, path = architectures.ARCHITECTURES[self.run.arch], self.source.path
        if architecture.template == "googlenet" and path is not None:
            heads = {layer.name for layer in _read_source(path).learned} >= {"loss1/fc", "loss2/fc"}
            given = {"auxiliary_heads": heads, **given}
        return replace(architecture.choices, **given)

    def _check_fitted(self):
        """Refuse what has no meaning for a probe: random numbers, choices of a training, and no source."""
        if not self.fitted:
            return
        refused = [name for name in self.given if name in CHOICES]
        refused += ["SEED"] if self.seed != solvers.DEFAULT_SEED else []
        if refused:
            raise UserError(f"ARCH={self.run.arch} is fitted to the centre crops; leave out {', '.join(refused)}")
        if self.source.path is None:
            raise UserError(f"ARCH={self.run.arch} is fitted to the features of a source; name one by INIT")

    @functools.cached_property
    def last(self) -> architectures.LastLayer | None:
        """The source's last layer; None if the architecture replaces it or there is no source."""
        path = self.source.path if self.run.arch in architectures.ON_LAST_LAYER else None
        return weights_files.last_layer(path) if path else None

    @functools.cached_property
    def configuration(self) -> Configuration:
        """The run's `Configuration`; reads all of the source and of the fold lists, for their checksums."""
        return Configuration.of(self)

    def check_source(self):
        """Refuse a source or a mean image that does not fit this architecture, before anything is written.

        The `UserError` names the layer that is missing or of another shape, or the mean image's size.
        """
        check_mean(self.source.mean)
        path, arch, described = self.source.path, self.run.arch, self.data.folder / "dataset.yaml"
        model = _read_source(path) if path is not None else None
        if model and (problem := weights_files.misfit(model, arch, self.divisor)):
            own = model.divisor
            width = f" with a channels_divisor of {self.divisor} ({described})" * (self.divisor > 1)
            advice = f"`make models FILE={shlex.quote(str(path))}` shows which ARCH it fits"
            fitting = architectures.ARCHITECTURES[arch].divisor(own)
            if fitting != self.divisor and not weights_files.misfit(model, arch, fitting):
                advice = f"its channels are 1/{own} of the paper's: write `channels_divisor: {own}` into {described}"
            raise UserError(f"INIT: {path} does not fit ARCH={arch}{width}: {problem}; {advice}")

    @property
    def weights(self) -> Path:
        """The weights of the last iteration."""
        return self.run.weights(self.schedule.iterations)

    def done(self) -> bool:
        """Refuse a folder of another run, as `Run.is_of` does, and return whether this one is trained to the end."""
        return self.run.is_of(self.configuration) and snapshots.is_complete(self.weights)

    @property
    def seconds_an_image(self) -> float:
        """The approximate seconds that an iteration takes per image, on two CPU cores."""
        # The time of the arithmetic falls with nearly the divisor's square; that of reading an image does not fall.
        return architectures.ARCHITECTURES[self.run.arch].seconds_per_image / self.divisor**1.4

    def estimate(self) -> float:
        """The approximate seconds that the rest of the training takes, with its tests, on two CPU cores."""
        if self.fitted:
            passes = len(self.lists.train) / solvers.FORWARD
            return SECONDS_SETTING_UP + SECONDS_FITTING + self.seconds_an_image * passes
        left = self.schedule.iterations - (snapshots.newest(self.run.folder) or 0)
        tests = (1 + left // self._test_every) * len(self.lists.test)
        passes = self.schedule.batch_size * left + tests / solvers.FORWARD
        return SECONDS_SETTING_UP + self.seconds_an_image * passes

    def train_val(self):
        """The definition to train with, on this fold's lists: a ``NetParameter``."""
        mean, (train_list, test_list) = self.source.mean, self.paths
        lists = architectures.ImageLists(
            str(train_list),
            str(test_list),
            images=self.data.images.resolve(),
            mean=str(mean.resolve()) if isinstance(mean, Path) else mean,
            batch_size=self.schedule.batch_size,
            test_batch_size=self._test_batches[0],
        )
        scratch = self.source.path is None
        return architectures.train_val(self.run.arch, lists, self.divisor, scratch, self.last, self.choices)

    def write(self, environment: Environment, gpu=False):
        """Write run.json and the definitions; the solver's paths are relative, so that the folder can be moved.

        A probe has neither a training definition nor a solver.
        """
        run = self.run
        run.claim(self.configuration)
        run.record_environment(snapshots.newest(run.folder) or 0, environment)
        deploy = architectures.deploy(run.arch, self.divisor, self.last, self.choices)
        write_if_changed(run.deploy, str(deploy))
        if self.fitted:
            return
        fold_seed, (_, test_batches) = solvers.fold_seed(self.seed, run.fold), self._test_batches
        named = run.train_val.name, snapshots.PREFIX
        solver = solvers.solver(self.schedule, *named, test_batches, fold_seed, gpu, self._test_every)
        for path, definition in ((run.train_val, self.train_val()), (run.solver, solver)):
            write_if_changed(path, str(definition))

    def training(self, keep_diverged=False) -> Training:
        """The training to give to `loop.train`; call `write` first."""
        tenth = f"{self.schedule.base_lr / 10:g}"
        advice = (
            f"try a lower rate, as SET='base_lr={tenth}' VARIANT=lr{tenth}, and check that the mean is that of the "
            "source's training images"
        )
        return Training(self.run.folder, self.run.title, advice, self.source.path, keep_diverged)

    @property
    def _test_every(self):
        return solvers.test_every(len(self.lists.test), self.schedule.batch_size)

    @property
    def _test_batches(self):
        return solvers.covering_batches(len(self.lists.test), self.schedule.batch_size)
