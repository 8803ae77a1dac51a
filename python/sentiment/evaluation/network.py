"""Trained networks: those of finished runs, and any other given by its files."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sentiment import names
from sentiment.data.means import channel_means
from sentiment.evaluation import results
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json

_NEEDED = ("subset", "arch", "init", "fold", "iterations", "mean", "dataset", "demo")  # keys of run.json


@dataclass(frozen=True)
class Network:
    """A trained network that predicts the sentiment of images."""

    key: str  # identifies it: the run's folder, relative to the folder of runs in `find`, or the path of the weights
    title: str  # architecture, source and fold, for readers
    group: str  # data set and subset, for readers
    deploy: Path
    weights: Path
    means: tuple  # BGR, 0 to 255
    run: Run | None = None  # the run that trained it; None if it is given by its files
    dataset: str = ""  # name of the run's data set
    demo: bool = False  # whether it was trained on the demo's drawn images

    @classmethod
    def of_run(cls, run: Run, key: str = "") -> "Network":
        """The network of a run of tools/train.py; a `UserError` if the run is missing or not finished."""
        config = run.configuration(*_NEEDED) if run.record.is_file() else None
        if config is None or not (weights := run.weights(config.schedule.iterations)).is_file():
            raise UserError(
                f"{run.folder} holds no finished training; run tools/train.py with the same options, or name another "
                "by --runs, --init, --arch, --subset and --fold (those of `make demo`: --runs runs/demo)"
            )
        demo = ", drawn demo data" if config.demo else ""
        variant = f" ({run.variant})" if run.variant else ""
        return cls(
            key=key or str(run.folder),
            title=f"{names.net_title(run.arch, names.source_name(config.init, config.card))}{variant}, fold {run.fold}",
            group=f"{config.dataset}, {names.SUBSET_TITLES[run.subset]}{demo}",
            deploy=run.deploy,
            weights=weights,
            means=config.mean or (),
            run=run,
            dataset=config.dataset,
            demo=config.demo,
        )

    @classmethod
    def of_files(cls, model: Path, weights: Path, mean: Path | tuple[float, ...]) -> "Network":
        """The network of a deploy definition and weights; ``mean`` is as `means.parse_mean` returns it."""
        for path in (model, weights):
            if not path.is_file():
                raise UserError(f"no file {path}")
        means = tuple(channel_means(mean).tolist())
        return cls(str(weights), f"{weights.name}, {model}", "given by --model", model, weights, means)

    @property
    def accuracy(self) -> float | None:
        """The accuracy on the run's test images, with ten crops; None if the run is not tested."""
        if self.run is None or not self.run.result.is_file():
            return None
        return results.read(self.run.result).accuracy["oversampled"]

    def summary(self) -> dict[str, Any]:
        """The fields by which a user chooses a network, as JSON values."""
        return {name: getattr(self, name) for name in ("key", "title", "group", "accuracy", "demo")}


def find(root: str | Path) -> list[Network]:
    """The networks of all finished runs below a folder, sorted by subset, architecture, initialisation and fold.

    Their keys are the runs' folders relative to ``root``. If two networks have the same title and group, the group also
    names the folder of runs.
    """
    root, found = Path(root), []
    for path in sorted(root.rglob("run.json")):
        folder, values = path.parent, read_json(path)
        if not values.keys() >= set(_NEEDED):  # of an earlier version: a tool that is given this run says so
            continue
        net = f"{values['arch']}-{values['init']}"
        variant = folder.parent.name.removeprefix(net).removeprefix("-")
        run = Run(folder.parents[2], values["subset"], values["arch"], values["init"], values["fold"], variant)
        # A folder that was copied or renamed is skipped: its run.json names another run.
        if run.folder == folder and run.weights(values["iterations"]).is_file():
            found.append(Network.of_run(run, folder.relative_to(root).as_posix()))
    looks = Counter((one.title, one.group) for one in found)
    return [
        replace(one, group=f"{one.group}, in {one.run.root}") if one.run and looks[one.title, one.group] > 1 else one
        for one in found
    ]
