"""One fold's training before it runs: inputs checked, schedule settled, definitions ready to write."""

import functools
from dataclasses import asdict
from pathlib import Path

from sentiment import folds, nets, snapshots, solvers, testing
from sentiment.console import UserError
from sentiment.files import sha256, write_if_changed
from sentiment.runs import Run

# Seconds an image and iteration at full width on two CPU cores; for estimates only.
SECONDS_PER_IMAGE = {"finetune": 0.033, "fc7-2": 0.030, "fc6-2": 0.027, "squeezenet": 0.060}

digest = functools.cache(sha256)  # a source of 240 MB is read once for all folds


class Plan:
    """What one training is made from and what it will do.

    Parameters
    ----------
    data : dataset.Dataset
    source : cards.Source
    arch, subset : str
    fold : int
    splits, runs : Path
        Folder of all fold lists, folder of all runs.
    seed : int
    overrides : dict
        Values of the schedule from the command line; None counts as not given.

    Attributes
    ----------
    run : runs.Run
    schedule : solvers.Schedule
    title : str

    Raises
    ------
    UserError
        A fold list that is missing or wrong, an image it names that is not there, a value nothing trains with.
    """

    def __init__(self, data, source, arch, subset, fold, splits, runs, seed=solvers.DEFAULT_SEED, overrides=None):
        self.data, self.source, self.seed = data, source, seed
        self.run = Run(Path(runs).resolve(), subset, arch, source.name, fold)
        self.title = f"{subset} fold {fold}, {arch} from {source.name}"
        self.lists = folds.read(splits, data.name, subset, fold)
        self.paths = [folds.list_path(splits, data.name, subset, fold, part).resolve() for part in folds.PARTS]
        for path, pairs in zip(self.paths, self.lists, strict=True):
            if missing := data.missing([image for image, _ in pairs]):
                raise UserError(f"{path}: {missing[0]} is not in {data.images} ({len(missing)} such lines)")
        settings = {name: data.setting(name, subset) for name in solvers.NAMES}
        self.schedule = solvers.schedule(arch, len(self.lists.train), settings, overrides or {})
        # The data set's divisor suits its own source models, which are CaffeNets.
        self.divisor = 1 if arch == "squeezenet" else data.setting("channels_divisor", subset, 1)

    @functools.cached_property
    def fingerprint(self):
        """What the run is made from, as its run.json says."""
        return {
            "dataset": self.data.name,
            "demo": self.data.demo,
            "subset": self.run.subset,
            "arch": self.run.arch,
            "init": self.run.init,
            "fold": self.run.fold,
            "seed": self.seed,
            **asdict(self.schedule),
            "channels_divisor": self.divisor,
            "mean": testing.channel_means(self.source.mean).tolist(),
            "mean_image": isinstance(self.source.mean, Path),
            "source": self.source.path and digest(self.source.path),
            "train_list": sha256(self.paths[0]),
            "test_list": sha256(self.paths[1]),
        }

    def done(self):
        """Whether the last iteration's weights are there and whole.

        Raises
        ------
        UserError
            The folder holds a run made from something else.
        """
        if not self.run.identity.is_file():
            return False
        self.run.claim(self.fingerprint)
        return snapshots.is_whole(self.run.weights(self.schedule.iterations))

    def estimate(self):
        """About how many seconds are to go, on two CPU cores."""
        step = SECONDS_PER_IMAGE[self.run.arch] * self.schedule.batch_size / self.divisor
        return step * (self.schedule.iterations - (snapshots.newest(self.run) or 0))

    def train_val(self):
        """The training definition, with this fold's lists (a NetParameter)."""
        mean = self.source.mean
        return nets.train_val(
            self.run.arch,
            *map(str, self.paths),
            images=self.data.images.resolve(),
            mean=str(mean.resolve()) if isinstance(mean, Path) else mean,
            batch_size=self.schedule.batch_size,
            test_batch_size=self._test_batches[0],
            divisor=self.divisor,
            scratch=self.source.path is None,
        )

    def write(self, gpu=False):
        """Make the run's folder: what it is made from, and its three definitions.

        Paths in the solver are relative to the folder, where Caffe runs, so that the folder can be moved.
        """
        self.run.claim(self.fingerprint)
        names = self.run.train_val.name, self.run.snapshot_prefix.name
        solver = solvers.solver(self.schedule, *names, self._test_batches[1], self.seed, gpu)
        write_if_changed(self.run.train_val, str(self.train_val()))
        write_if_changed(self.run.deploy, str(nets.deploy(self.run.arch, self.divisor)))
        write_if_changed(self.run.solver, str(solver))

    @property
    def _test_batches(self):
        return solvers.covering_batches(len(self.lists.test), self.schedule.batch_size)
