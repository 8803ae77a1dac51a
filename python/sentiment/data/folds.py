"""The lists of the five folds: shuffled and cut, or published by the authors.

The paper's folds were shuffled once without a recorded seed and cannot be made again, so on the DeepSent images the
authors' published lists are used, checked by their checksums. `make` cuts the folds of other images in the same way
from a seed. Lists lie at ``splits/<dataset>/<subset>/test<k>/{train,test}.txt``.
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
"""Of each of the 30 published lists: lines, positives, SHA-256."""
PARTS = ("train", "test")
NO_DUPLICATES = "no-duplicates"
"""Below the folder of all lists, the folder of those without duplicates of test images among the training images."""


class Fold(NamedTuple):
    """One fold's lists of (image, label)."""

    train: list[tuple[str, int]]
    test: list[tuple[str, int]]


def make(labels: list[tuple[str, int]], seed: int) -> list[Fold]:
    """Shuffle once, cut into five equal blocks; test k is block k, train k the others in order.

    Not stratified, as in the paper. What a division by five leaves over is dropped (882 images make 880). The same seed
    and labels give the same folds on every machine and Python. Fewer than five images are a `UserError`.

    >>> labels = [("a.jpg", 1), ("b.jpg", 0), ("c.jpg", 1), ("d.jpg", 0), ("e.jpg", 1)]
    >>> [fold.test for fold in make(labels, seed=1701)]
    [[('e.jpg', 1)], [('d.jpg', 0)], [('b.jpg', 0)], [('a.jpg', 1)], [('c.jpg', 1)]]
    """
    size = len(labels) // len(FOLDS)
    if size == 0:
        raise UserError(f"{len(labels)} images are too few for {len(FOLDS)} folds")
    # Sorting by random() keys, since Python promises the same random() forever but not the same shuffle().
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
    """``<subset>/test<fold>/<part>.txt``, a list's place in the authors' folder too."""
    return f"{subset}/test{fold}/{part}.txt"


def write(root, dataset: str, subset: str, folds: list[Fold]) -> int:
    """Write the lists of a subset's folds; unchanged files stay untouched. Returns how many were written."""
    written = 0
    for number, fold in zip(FOLDS, folds, strict=True):
        for part, pairs in zip(PARTS, fold, strict=True):
            written += write_if_changed(list_path(root, dataset, subset, number, part), lists.text(pairs))
    return written


def read(root, dataset: str, subset: str, fold: int) -> Fold:
    """One fold's `Fold` from its lists; a `UserError` when `tools/split_folds.py` has not written them."""
    paths = [list_path(root, dataset, subset, fold, part) for part in PARTS]
    for path in paths:
        if not path.is_file():
            raise UserError(f"no fold list {path}; run `make splits`")
    return Fold(*map(lists.read, paths))


def existing(root, dataset: str, subset: str, labels: list[tuple[str, int]]) -> list[Fold] | None:
    """The five folds written before, if they are of just these labelled images; else None."""
    paths = [list_path(root, dataset, subset, fold, part) for fold in FOLDS for part in PARTS]
    if not all(path.is_file() for path in paths):
        return None
    found = [read(root, dataset, subset, fold) for fold in FOLDS]
    tested = {pair for fold in found for pair in fold.test}
    complete = len(tested) == len(labels) // len(FOLDS) * len(FOLDS)
    return found if complete and tested <= set(labels) else None


def published_facts() -> dict[str, dict]:
    """What is known of the published lists, by their paths in the authors' folder: `lines`, `positives`, `sha256`."""
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
    """Duplicates (images of the same digest, image -> digest) that are labelled differently: a negative, a positive."""
    alike: dict[str, list] = {}
    for name, label in pairs:
        alike.setdefault(digests[name], []).append((name, label))
    groups = (sorted(group, key=lambda pair: pair[1]) for group in alike.values())
    return [(group[0][0], group[-1][0]) for group in groups if group[0][1] != group[-1][1]]
