"""The image lists of the five folds: published by the authors, or shuffled and cut here.

The paper's folds were shuffled once without a recorded seed and cannot be made again, so on the DeepSent images the
authors' published lists are used and checked by their checksums. For other images, `make` shuffles and cuts in the same
way with a seed. The lists are ``splits/<dataset>/<subset>/test<k>/{train,test}.txt``.
"""

import random
from pathlib import Path
from typing import NamedTuple

from sentiment.data import lists
from sentiment.data.dataset import facts
from sentiment.paper import FOLDS, POSITIVE
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, write_if_changed

SPLITS = PROJECT / "splits"
PUBLISHED_FACTS = SPLITS / "published_folds.tsv"
"""A table of the 30 published lists: numbers of lines and positives, SHA-256."""
PARTS = ("train", "test")
NO_DUPLICATES = "no-duplicates"
"""The subfolder of ``splits/`` for lists whose training images include no duplicates of test images."""


class Fold(NamedTuple):
    """One fold's lists of (image, label)."""

    train: list[tuple[str, int]]
    test: list[tuple[str, int]]


def make(labels: list[tuple[str, int]], seed: int) -> list[Fold]:
    """Shuffle once and cut into five equal blocks; test k is block k, train k the other blocks in order.

    The folds are not stratified, as in the paper. The remainder of the division by five is dropped (882 images make
    880). The same seed and labels give the same folds everywhere. Fewer than five images are a `UserError`.

    >>> labels = [("a.jpg", 1), ("b.jpg", 0), ("c.jpg", 1), ("d.jpg", 0), ("e.jpg", 1)]
    >>> [fold.test for fold in make(labels, seed=1701)]
    [[('e.jpg', 1)], [('d.jpg', 0)], [('b.jpg', 0)], [('a.jpg', 1)], [('c.jpg', 1)]]
    """
    size = len(labels) // len(FOLDS)
    if size == 0:
        raise UserError(f"{len(labels)} images are too few for {len(FOLDS)} folds")
    # Sorted by random() keys, since Python guarantees that a seed gives the same random() forever, but not shuffle().
    draw = random.Random(seed)
    shuffled = sorted(labels, key=lambda _: draw.random())
    blocks = [shuffled[start : start + size] for start in range(0, size * len(FOLDS), size)]
    return [
        Fold(train=[pair for other in blocks if other is not block for pair in other], test=block) for block in blocks
    ]


def list_path(root, dataset: str, subset: str, fold: int, part: str) -> Path:
    """``root/<dataset>/<subset>/test<fold>/<part>.txt``; part is ``train`` or ``test``."""
    return Path(root) / dataset / relative_path(subset, fold, part)


def relative_path(subset: str, fold: int, part: str) -> str:
    """``<subset>/test<fold>/<part>.txt``, which is also a list's path in the authors' folder."""
    return f"{subset}/test{fold}/{part}.txt"


def write(root, dataset: str, subset: str, folds: list[Fold]) -> int:
    """Write the lists of a subset's folds; unchanged lists are not written. Returns how many were."""
    written = 0
    for number, fold in zip(FOLDS, folds, strict=True):
        for part, pairs in zip(PARTS, fold, strict=True):
            written += write_if_changed(list_path(root, dataset, subset, number, part), lists.text(pairs))
    return written


def read(root, dataset: str, subset: str, fold: int) -> Fold:
    """Read the lists of one fold; a `UserError` if `tools/split_folds.py` has not written them."""
    paths = [list_path(root, dataset, subset, fold, part) for part in PARTS]
    for path in paths:
        if not path.is_file():
            raise UserError(f"no fold list {path}; run `make splits`")
    return Fold(*map(lists.read, paths))


def existing(root, dataset: str, subset: str, labels: list[tuple[str, int]]) -> list[Fold] | None:
    """The five folds written before, or None if their test images and labels are not those given."""
    paths = [list_path(root, dataset, subset, fold, part) for fold in FOLDS for part in PARTS]
    if not all(path.is_file() for path in paths):
        return None
    found = [read(root, dataset, subset, fold) for fold in FOLDS]
    tested = {pair for fold in found for pair in fold.test}
    complete = len(tested) == len(labels) // len(FOLDS) * len(FOLDS)
    return found if complete and tested <= set(labels) else None


def published_facts() -> dict[str, dict]:
    """Facts about the published lists by their paths in the authors' folder: `lines`, `positives`, `sha256`."""
    return facts(PUBLISHED_FACTS, "list")


def positives(pairs: list[tuple[str, int]]) -> int:
    """How many of the pairs are positive."""
    return sum(label == POSITIVE for _, label in pairs)


def duplicates(fold: Fold, digests: dict[str, str]) -> int:
    """How many test images have a duplicate, an image of the same digest (image -> digest), in the training list."""
    trained = {digests[name] for name, _ in fold.train}
    return sum(digests[name] in trained for name, _ in fold.test)


def without_duplicates(fold: Fold, digests: dict[str, str]) -> Fold:
    """The fold without the training images that are duplicates of a test image."""
    tested = {digests[name] for name, _ in fold.test}
    return Fold([pair for pair in fold.train if digests[pair[0]] not in tested], fold.test)


def contrary(pairs: list[tuple[str, int]], digests: dict[str, str]) -> list[tuple[str, str]]:
    """Duplicates (same digest, image -> digest) that differ in their labels, as pairs: the negative, the positive."""
    alike: dict[str, list] = {}
    for name, label in pairs:
        alike.setdefault(digests[name], []).append((name, label))
    groups = (sorted(group, key=lambda pair: pair[1]) for group in alike.values())
    return [(group[0][0], group[-1][0]) for group in groups if group[0][1] != group[-1][1]]
