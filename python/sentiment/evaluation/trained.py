"""Trained networks that are there to be used: finished runs, and any other two-way net with its weights."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment import names
from sentiment.data.means import channel_means
from sentiment.evaluation import results
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json

NEEDED = ("subset", "arch", "init", "fold", "iterations", "mean", "dataset", "demo")  # fields of a configuration


@dataclass(frozen=True)
class Trained:
    """A net that tells sentiment."""

    key: str  # unique: the run's folder below the folder of runs, or the weights' path
    title: str  # which net, for readers
    group: str  # what it was trained on, for readers
    deploy: Path
    weights: Path
    means: tuple  # BGR, 0 to 255
    run: Run | None = None
    dataset: str = ""  # the data set a run was trained on
    demo: bool = False  # trained on drawn images

    @property
    def accuracy(self):
        """The accuracy of ten crops on the run's test images, or None where it is not tested."""
        if self.run is None or not self.run.result.is_file():
            return None
        return results.read(self.run.result).accuracy["oversampled"]

    def summary(self):
        """What someone who chooses among nets needs, as a dict of plain values."""
        shown = {"key": self.key, "title": self.title, "group": self.group, "accuracy": self.accuracy}
        return {**shown, "demo": self.demo}


def of_run(run, key="") -> Trained:
    """The net that a run of tools/train.py ended with.

    Raises
    ------
    UserError
        The run is not there, or not finished.
    """
    config = run.configuration(*NEEDED) if run.record.is_file() else None
    if config is None or not (weights := run.weights(config.schedule.iterations)).is_file():
        raise UserError(
            f"{run.folder} holds no finished training; run tools/train.py with the same options, "
            "or name another by --runs, --init, --arch, --subset and --fold (those of `make demo`: --runs runs/demo)"
        )
    demo = ", drawn demo data" if config.demo else ""
    words = f" ({run.variant})" if run.variant else ""
    return Trained(
        key=key or str(run.folder),
        title=f"{names.net_title(run.arch, names.source_name(config.init, config.card))}{words}, fold {run.fold}",
        group=f"{config.dataset}, {names.SUBSET_TITLES[run.subset]}{demo}",
        deploy=run.deploy,
        weights=weights,
        means=config.mean,
        run=run,
        dataset=config.dataset,
        demo=config.demo,
    )


def of_files(model: Path, weights: Path, mean) -> Trained:
    """Any deploy definition and its weights.

    Parameters
    ----------
    mean : Path or (3,) tuple of float
        As `means.parse_mean` gives it.
    """
    for path in (model, weights):
        if not path.is_file():
            raise UserError(f"no file {path}")
    means = tuple(channel_means(mean).tolist())
    return Trained(str(weights), f"{weights.name}, {model}", "given by --model", model, weights, means)


def find(root) -> list[Trained]:
    """Every finished run below a folder, runs of the demo too, by subset, architecture, initialisation and fold.

    Parameters
    ----------
    root : str or Path

    Returns
    -------
    list of Trained
        Their keys are the runs' folders relative to ``root``. Where two would look alike, their groups say which
        folder of runs they are in.
    """
    root, found = Path(root), []
    for path in sorted(root.rglob("run.json")):
        folder, values = path.parent, read_json(path)
        if not values.keys() >= set(NEEDED):  # of an earlier version: the tools that are asked for this run say so
            continue
        of_net = f"{values['arch']}-{values['init']}"
        variant = folder.parent.name.removeprefix(of_net).removeprefix("-")
        run = Run(folder.parents[2], values["subset"], values["arch"], values["init"], values["fold"], variant)
        # A copy under another name would be shown as the net it no longer is.
        if run.folder == folder and run.weights(values["iterations"]).is_file():
            found.append(of_run(run, folder.relative_to(root).as_posix()))
    looks = Counter((one.title, one.group) for one in found)
    alike = [looks[one.title, one.group] > 1 for one in found]
    return [
        replace(one, group=f"{one.group}, in {one.run.root}") if one.run and other else one
        for one, other in zip(found, alike, strict=True)
    ]
