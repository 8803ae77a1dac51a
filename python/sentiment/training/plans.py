"""One fold's training before it runs: inputs checked, schedule known, definitions ready to be written."""

import functools
import math
import shlex
from pathlib import Path

from sentiment import paper
from sentiment.data import folds
from sentiment.data.means import mean_image
from sentiment.networks import architectures, weights_files
from sentiment.networks.choices import CHOICES, Choices
from sentiment.training import snapshots, solvers
from sentiment.training.configuration import Configuration
from sentiment.training.runs import Run, variant_name
from sentiment.utils.errors import UserError
from sentiment.utils.files import write_if_changed

FORWARD = 3  # an image's training over its forward pass
SECONDS_SETTING_UP = 2

# A source of 240 MB is read once for all folds.
inspected = functools.cache(weights_files.read)


def settings(pairs, options) -> dict[str, bool | int | float]:
    """Values of the schedule and of `Choices` by name, from the command line.

    Parameters
    ----------
    pairs : sequence of str
        ``NAME=VALUE``, as given to ``--set``.
    options : dict
        Options of the command line by name; None counts as not given.

    Raises
    ------
    UserError
        An unknown name, a value that is not a number, or a name given twice.
    """
    found = {name: options[name] for name in solvers.NAMES if options.get(name) is not None}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in (*solvers.NAMES, *CHOICES):
            known = ", ".join((*solvers.NAMES, *CHOICES))
            raise UserError(f"SET: unknown {pair!r}; write NAME=VALUE, NAME one of {known}")
        if name in found:
            raise UserError(f"SET: {pair!r} is given twice, as an option too or in SET; give it once")
        found[name] = _value(pair, value, isinstance(getattr(Choices, name, None), bool))
    return found


def _value(pair, text, is_bool):
    """The value behind the = of a pair: 0 or 1 for a bool, else a finite number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if is_bool and number not in (0, 1):
        raise UserError(f"SET: {pair!r} needs 0 (no) or 1 (yes) after the =")
    if not math.isfinite(number):
        raise UserError(f"SET: {pair!r} needs a number after the =")
    if is_bool:
        return bool(number)
    return int(number) if number.is_integer() else number


class Plan:
    """What one run will be made from and do.

    Parameters
    ----------
    data : dataset.Dataset
    source : cards.Source
    arch, subset : str
    fold : int
    splits, runs : Path
        Folder of all fold lists, folder of all runs.
    seed : int
        The seed of all folds; `solvers.fold_seed` derives this one's own.
    given : dict, optional
        Values of the schedule and of `Choices` from the command line; None counts as not given.
    variant : str
        The user's own name for a run with other choices than the default.

    Attributes
    ----------
    run : runs.Run
    fold_seed : int
    schedule : solvers.Schedule
    choices : Choices
    title : str

    Raises
    ------
    UserError
        A fold list or an image that it names is missing or wrong, or a value cannot be trained with.
    """

    def __init__(
        self, data, source, arch, subset, fold, splits, runs, seed=solvers.DEFAULT_SEED, given=None, variant=""
    ):
        self.data, self.source, self.seed, self.variant = data, source, seed, variant
        self.run = Run(Path(runs).resolve(), subset, arch, source.name, fold, variant_name(variant, seed))
        self.title, self.fold_seed = self.run.title, solvers.fold_seed(seed, fold)
        self.lists = folds.read(splits, data.name, subset, fold)
        self.paths = [folds.list_path(splits, data.name, subset, fold, part).resolve() for part in folds.PARTS]
        for path, pairs in zip(self.paths, self.lists, strict=True):
            if missing := data.missing([image for image, _ in pairs]):
                raise UserError(f"{path}: {missing[0]} is not in {data.images} ({len(missing)} such lines)")
        of_data = {name: data.setting(name, subset) for name in solvers.NAMES}
        self.schedule = solvers.schedule(arch, len(self.lists.train), of_data, given)
        self.choices = Choices(**{name: value for name, value in (given or {}).items() if name in CHOICES})
        self.divisor = architectures.ARCHITECTURES[arch].divisor(data.setting("channels_divisor", subset, 1))

    @functools.cached_property
    def last(self):
        """The source's last layer, where the architecture keeps it."""
        keeps = self.run.arch in architectures.ON_LAST_LAYER and self.source.path is not None
        return weights_files.last_layer(self.source.path) if keeps else None

    @functools.cached_property
    def configuration(self):
        """The run's `Configuration`; reads the source and the fold lists for their checksums."""
        return Configuration.of(self)

    def check_source(self):
        """Refuse a source or a mean that does not fit this architecture, before anything is made.

        Raises
        ------
        UserError
            Names the layer that is missing or of another shape; or the mean image's size.
        """
        if isinstance(self.source.mean, Path):
            *_, height, width = mean_image(self.source.mean).shape
            if (height, width) != (paper.IMAGE_SIZE, paper.IMAGE_SIZE):
                raise UserError(
                    f"MEAN: {self.source.mean} has {width}×{height} pixels, and images have {paper.IMAGE_SIZE}×"
                    f"{paper.IMAGE_SIZE}; give another mean image, or channel means b,g,r"
                )
        path, arch, described = self.source.path, self.run.arch, self.data.folder / "dataset.yaml"
        model = inspected(path) if path is not None else None
        if model and (problem := weights_files.misfit(model, arch, self.divisor)):
            own = model.divisor
            width = f" with a channels_divisor of {self.divisor} ({described})" * (self.divisor > 1)
            advice = f"`make models FILE={shlex.quote(str(path))}` shows which ARCH it fits"
            fitting = architectures.ARCHITECTURES[arch].divisor(own)
            if fitting != self.divisor and not weights_files.misfit(model, arch, fitting):
                advice = f"its channels are 1/{own} of the paper's: write `channels_divisor: {own}` into {described}"
            raise UserError(f"INIT: {path} does not fit ARCH={arch}{width}: {problem}; {advice}")

    def done(self):
        """Whether the last iteration's weights are there and complete.

        Raises
        ------
        UserError
            The folder holds a run of another configuration.
        """
        return self.run.is_of(self.configuration) and snapshots.is_whole(self.run.weights(self.schedule.iterations))

    @property
    def seconds_an_image(self):
        """About how many seconds an image takes in an iteration, on two CPU cores."""
        # Arithmetic falls with nearly the divisor's square, reading an image does not.
        return architectures.ARCHITECTURES[self.run.arch].seconds_per_image / self.divisor**1.4

    def estimate(self):
        """About how many seconds of training and its tests are to go, on two CPU cores."""
        left = self.schedule.iterations - (snapshots.newest(self.run) or 0)
        tests = (1 + left // solvers.TEST_EVERY) * len(self.lists.test)
        passes = self.schedule.batch_size * left + tests / FORWARD
        return SECONDS_SETTING_UP + self.seconds_an_image * passes

    def train_val(self):
        """The training definition, with this fold's lists (a NetParameter)."""
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

    def write(self, environment, gpu=False):
        """Write the run's record and its definitions; the solver's paths are relative, so that the folder can be moved.

        Parameters
        ----------
        environment : engine.Environment
        """
        self.run.claim(self.configuration)
        self.run.record_environment(snapshots.newest(self.run) or 0, environment)
        names = self.run.train_val.name, self.run.snapshot_prefix.name
        solver = solvers.solver(self.schedule, *names, self._test_batches[1], self.fold_seed, gpu)
        write_if_changed(self.run.train_val, str(self.train_val()))
        write_if_changed(
            self.run.deploy, str(architectures.deploy(self.run.arch, self.divisor, self.last, self.choices))
        )
        write_if_changed(self.run.solver, str(solver))

    @property
    def _test_batches(self):
        return solvers.covering_batches(len(self.lists.test), self.schedule.batch_size)
