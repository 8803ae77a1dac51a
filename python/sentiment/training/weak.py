"""Training on weakly labelled pictures by the progressive scheme of You et al. (AAAI 2015).

A network is trained from scratch on all pictures and scores them; each is dropped with a probability that falls as its
two scores move apart; the network is trained on with those that are kept. tools/train_weak.py takes these steps in a
folder ``<runs>/weak/<name>/``, and trainings on a fold start from its weights, of either step.
"""

import math
import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sentiment import engine, paper
from sentiment.data import dataset, lists
from sentiment.data.dataset import Dataset
from sentiment.data.means import channel_means, check_mean
from sentiment.networks import architectures
from sentiment.training import loop, snapshots, solvers
from sentiment.training.loop import Training
from sentiment.training.solvers import DEFAULT_SEED, Schedule
from sentiment.utils import records
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, sha256, write_if_changed, write_json

PLAIN, PROGRESSIVE = "plain", "progressive"
"""The steps: trained on all pictures; trained on with the kept ones."""
ARCH = "pcnn"
PASSES_SCORING = 4  # scoring a picture (ten crops forward) takes as long as training four for an iteration
SUFFIX = ".weak.json"
"""The end of the name of the record beside a step's weights."""

Pairs = list[tuple[str, int]]


@dataclass(frozen=True)
class WeakSource:
    """What weights from weakly labelled pictures were trained on: the record beside them."""

    name: str  # the data set's name
    pictures: int  # in its list
    kept: int | None  # pictures that the progressive step kept; None for the plain step
    list: str  # checksum of its list


def source_of(weights: Path | None) -> WeakSource | None:
    """The record of weights that `WeakTraining` made; None for any others."""
    path = weights.with_suffix(SUFFIX) if weights else None
    return records.read(WeakSource, read_json(path), path) if path and path.is_file() else None


def drop_probability(positive: float) -> float:
    """With which probability a picture is dropped, given its P(positive): max(0, 2 - exp(abs(s1 - s2))).

    s1 and s2 are its two scores, P(negative) and P(positive).

    >>> drop_probability(0.5), drop_probability(0.9)
    (1.0, 0.0)
    """
    return max(0.0, 2 - math.exp(abs(2 * positive - 1)))


def kept(positives: list[float], seed: int) -> list[int]:
    """The indices of the pictures that are kept, given the P(positive) of each; the same seed keeps the same."""
    draw = random.Random(seed)
    return [index for index, positive in enumerate(positives) if draw.random() >= drop_probability(positive)]


@dataclass(frozen=True)
class WeakTraining:
    """The trainings on a folder of weakly labelled pictures, and the files they leave."""

    data: Dataset  # as `dataset.load_weak` reads it
    runs: Path  # the folder of all runs
    mean: Path | tuple[float, ...] = paper.IMAGENET_MEANS_BGR  # as `means.parse_mean` returns it
    seed: int = DEFAULT_SEED

    @property
    def folder(self) -> Path:
        """The folder of all steps; another seed has a folder of its own."""
        seed = f"-seed{self.seed}" if self.seed != DEFAULT_SEED else ""
        return self.runs / dataset.WEAK / f"{self.data.name}{seed}"

    def weights(self, step: str) -> Path:
        """The weights of a step, `PLAIN` or `PROGRESSIVE`."""
        return self.folder / f"{self.data.name}-{step}.caffemodel"

    @property
    def predictions(self) -> Path:
        """The scores of all pictures after the plain step: a predictions.csv."""
        return self.folder / "predictions.csv"

    @property
    def list_path(self) -> Path:
        """The list of all pictures."""
        return self.data.folder / dataset.WEAK_LIST

    @property
    def pairs(self) -> Pairs:
        """The (image, label) of all pictures."""
        return self.data.labels[dataset.WEAK]

    def deploy(self, step: str) -> Path:
        """The definition of a step's network for testing."""
        return self.folder / step / "deploy.prototxt"

    def schedule(self, step: str) -> Schedule:
        """A step's schedule: that for the number of all pictures, and for the progressive step a third of it."""
        given = {name: self.data.setting(name, None) for name in solvers.NAMES}
        found = solvers.schedule(ARCH, len(self.pairs), given)
        if step == PLAIN:
            return found
        part = {name: math.ceil(getattr(found, name) / paper.PCNN_TRAIN_ON) for name in ("iterations", "stepsize")}
        return replace(found, **part)

    def prepare(self, step: str, pairs: Pairs, gpu: int | None = None) -> Training:
        """Write the list, the definitions and the solver of a step that trains on some (image, label) pairs.

        A `UserError` says that there are too few of them, or none of one label.
        """
        if len({label for _, label in pairs}) < paper.CLASSES:
            raise UserError(
                f"{self.data.folder}: the {step} step has {len(pairs)} pictures and not both labels to train on; give "
                f"more pictures, or in dataset.yaml more iterations, so that the scores of the plain step differ"
            )
        folder, values, divisor = self.folder / step, self.schedule(step), self._divisor
        listed = folder / "train.txt"
        write_if_changed(listed, lists.text(pairs))
        mean, images = self.mean, self.data.images.resolve()
        lists_of = architectures.ImageLists(
            str(listed.resolve()), str(listed.resolve()), images,
            mean=str(mean.resolve()) if isinstance(mean, Path) else mean,
            batch_size=values.batch_size, test_batch_size=1,
        )  # fmt: skip
        net = architectures.train_val(ARCH, lists_of, divisor, scratch=step == PLAIN)
        learning = [layer for layer in net.layer if not any(rule.phase for rule in layer.include)]  # no test layers
        del net.layer[:]
        net.layer.extend(learning)
        solver = solvers.solver(values, "train_val.prototxt", snapshots.PREFIX, 1, self.seed, gpu is not None)
        solver.ClearField("test_iter")
        solver.ClearField("test_interval")
        write_if_changed(folder / "train_val.prototxt", str(net))
        write_if_changed(folder / loop.SOLVER, str(solver))
        write_if_changed(self.deploy(step), str(architectures.deploy(ARCH, divisor)))
        advice = f"write a lower base_lr than {values.base_lr:g} into {self.data.folder / 'dataset.yaml'}"
        source = None if step == PLAIN else self.weights(PLAIN)
        return Training(folder, f"{self.data.name}, {step} step", advice, source)

    def done(self, step: str) -> bool:
        """Whether a step is trained."""
        return self.weights(step).is_file()

    def finish(self, step: str, trained: Path, pictures: int):
        """Move the weights of a step, trained on so many pictures, to `weights`, and write their record beside them."""
        kept_pictures = None if step == PLAIN else pictures
        record = WeakSource(self.data.name, len(self.pairs), kept_pictures, sha256(self.list_path))
        write_json(self.weights(step).with_suffix(SUFFIX), asdict(record))
        trained.replace(self.weights(step))

    def estimate(self) -> float:
        """The approximate seconds that all steps take on two CPU cores."""
        plain = self.schedule(PLAIN)
        images = plain.batch_size * plain.iterations * (1 + 1 / paper.PCNN_TRAIN_ON)
        each = architectures.ARCHITECTURES[ARCH].seconds_per_image / self._divisor**1.4
        return each * (images + PASSES_SCORING * len(self.pairs))

    def claim(self):
        """Record in weak.json what the trainings are made from.

        A `UserError` says that a picture is missing, that the mean image has another size than pictures have, or that
        the folder holds trainings made from anything else.
        """
        if missing := self.data.missing([image for image, _ in self.pairs]):
            raise UserError(f"{self.list_path}: {missing[0]} is not in {self.data.images}")
        path, mean = self.folder / "weak.json", self.mean
        check_mean(mean)
        recipe = {
            "weak_set": self.data.name,
            "weak_list": sha256(self.list_path),
            "arch": ARCH,
            "seed": self.seed,
            "precision": engine.precision(),
            "mean": channel_means(mean).tolist(),
            "mean_file": sha256(mean) if isinstance(mean, Path) else None,
            "channels_divisor": self._divisor,
            **asdict(self.schedule(PLAIN)),
        }
        before = read_json(path) if path.is_file() else {}
        if changed := [name for name, value in recipe.items() if before.get(name, value) != value]:
            raise UserError(
                f"{self.folder} holds a training with another {', '.join(changed)}; remove that folder to start again, "
                "or give another RUNS=<folder>"
            )
        write_json(path, recipe)

    @property
    def _divisor(self):
        of_data_set = self.data.setting("channels_divisor", None, 1)
        return architectures.ARCHITECTURES[ARCH].divisor(of_data_set)
