"""Schedules (the paper's §3.2, §4.1), the folds' seeds, the test net's batches, and solver definitions."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sentiment import paper
from sentiment.networks.architectures import ARCHITECTURES
from sentiment.utils.errors import UserError

DEFAULT_SEED = 1701
SEEDS = 1 << 32  # number of different seeds that Caffe's random generator takes
SEED_STEP = 100_000_000
"""Difference between the seeds of consecutive folds: so large that repeats with other seeds share none of them."""
# Iterations between snapshots, of 456 MB for CaffeNet: a power cut loses at most some minutes, on a GPU some seconds.
SNAPSHOT_EVERY, SNAPSHOT_EVERY_ON_GPU = 30, 300
TEST_EVERY = (
    30  # iterations between tests, or more by `test_every`; the paper's take a hundredth of the training's time
)
MOST_TESTING = 0.1  # of a training's time
FORWARD = 3  # training on an image takes this many times as long as its forward pass

_ROUND_TO = 15  # the paper's 180, 225 and 255 iterations are 65 epochs, rounded to multiples of 15


@dataclass(frozen=True)
class Schedule:
    """What a training depends on besides net, data and seed; options and dataset.yaml have the same names."""

    batch_size: int
    iterations: int
    base_lr: float
    stepsize: int
    gamma: float = paper.GAMMA
    momentum: float = paper.MOMENTUM
    weight_decay: float = paper.WEIGHT_DECAY


NAMES = tuple(field.name for field in fields(Schedule))
NONE = Schedule(0, 0, 0, 0, 0, 0, 0)
"""The schedule of a run that is fitted."""


def fold_seed(seed: int, fold: int) -> int:
    """The ``random_seed`` of one fold's solver: seed + 100,000,000 · (fold − 1), modulo 2^32.

    With the same seed, all folds of a net would start from the same random values of its new layer.

    >>> fold_seed(1701, 1), fold_seed(1701, 2)
    (1701, 100001701)
    """
    return (seed + SEED_STEP * (fold - 1)) % SEEDS


def schedule(arch: str, train_images: int, data_set: Mapping | None = None, given: Mapping | None = None) -> Schedule:
    """The schedule of an architecture for a training list of ``train_images`` lines.

    The epochs are the paper's, or the architecture's own, and the iterations follow from the number of images and the
    batch size: the paper's 704, 892 and 1,012 training images in batches of 256 give its 180, 225 and 255 iterations,
    and steps of 17, 21 and 24.

    Values in ``data_set``, the data set's description, replace the architecture's own, and values that are ``given`` on
    the command line replace both; None counts as not given. A `UserError` names a value outside its range.

    The schedule of a probe, which is fitted, is `NONE`; a `UserError` names a value that is given for it.
    """
    architecture = ARCHITECTURES.get(arch, ARCHITECTURES["finetune"])  # another version's result may have another one
    if architecture.fitted:
        if refused := [name for name, value in (given or {}).items() if value is not None and name in NAMES]:
            raise UserError(f"ARCH={arch} is fitted, not trained in iterations; leave out {', '.join(refused)}")
        return NONE
    values: dict[str, Any] = {"batch_size": paper.BATCH_SIZE, "base_lr": paper.BASE_LR}
    values |= architecture.schedule | _values(data_set)
    # Rounded, because 0.003 * 0.1 is 0.00030000000000000003.
    values["base_lr"] = float(f"{values['base_lr'] * architecture.rate_factor:.6g}")
    values.update(_values(given))
    epoch = train_images / values["batch_size"] if values["batch_size"] > 0 else 0
    # Rounded to the nearest integer, halves up: 6 epochs of the paper are 16.5 iterations and make a step of 17.
    values.setdefault("iterations", _ROUND_TO * max(1, int(architecture.epochs * epoch / _ROUND_TO + 0.5)))
    values.setdefault("stepsize", max(1, int(architecture.step_epochs * epoch + 0.5)))
    found = Schedule(**values)
    for name, value in asdict(found).items():
        if name in ("batch_size", "iterations", "stepsize") and not float(value).is_integer():
            raise UserError(f"{name} is {value}; it has to be a whole number")
        if not 0 < value < math.inf and not (value == 0 and name in ("gamma", "momentum", "weight_decay")):
            raise UserError(f"{name} is {value}; it has to be greater than 0")
    return found


def _values(settings):
    return {name: value for name, value in (settings or {}).items() if name in NAMES and value is not None}


def covering_batches(test_images: int, largest: int) -> tuple[int, int]:
    """The size and number of batches that cover a test list.

    ``largest`` is a training batch's size, so that testing needs no more memory than training. If a size of at least
    an eighth of that divides the list, each image is tested once; otherwise the last batch repeats the first images.

    >>> covering_batches(176, largest=64)  # 4 · 44 = 176
    (44, 4)
    >>> covering_batches(179, largest=64)  # a prime number: the third batch ends with the first 13 images
    (64, 3)
    """
    divisors = [size for size in range(1, min(largest, test_images) + 1) if test_images % size == 0]
    if divisors[-1] * 8 >= min(largest, test_images):
        return divisors[-1], test_images // divisors[-1]
    return largest, -(-test_images // largest)


def test_every(test_images: int, batch_size: int) -> int:
    """The iterations between tests: `TEST_EVERY`, or as many as make tests take a tenth of the training's time.

    >>> test_every(254, batch_size=32), test_every(20_000, batch_size=256)
    (30, 261)
    """
    return max(TEST_EVERY, math.ceil(test_images / (FORWARD * batch_size * MOST_TESTING)))


def solver(
    values: Schedule,
    net: str,
    prefix: str,
    test_iter: int,
    seed: int = DEFAULT_SEED,
    gpu=False,
    test_interval: int = TEST_EVERY,
):
    """A solver definition, a ``SolverParameter``.

    ``net`` is the path of the train_val definition and ``prefix`` begins the paths of snapshots, both relative to the
    folder in which Caffe will run; ``test_iter`` batches cover the test list, every ``test_interval`` iterations;
    ``seed`` is as `fold_seed` gives it.
    """
    from caffe.proto import caffe_pb2

    return caffe_pb2.SolverParameter(
        net=net,
        test_iter=[test_iter],
        test_interval=test_interval,
        base_lr=values.base_lr,
        lr_policy="step",
        gamma=values.gamma,
        stepsize=values.stepsize,
        display=1,  # the log feeds the loss curves of Figure 6
        max_iter=values.iterations,
        momentum=values.momentum,
        weight_decay=values.weight_decay,
        snapshot=SNAPSHOT_EVERY_ON_GPU if gpu else SNAPSHOT_EVERY,
        snapshot_prefix=prefix,
        random_seed=seed,
        solver_mode=caffe_pb2.SolverParameter.GPU if gpu else caffe_pb2.SolverParameter.CPU,
    )
