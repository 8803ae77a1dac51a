"""Five-fold lists: shuffled and cut, or the authors' own.

The paper's folds were shuffled once without a recorded seed, so they cannot be made again: on the DeepSent images the
authors' published lists are used, held against their known checksums. Elsewhere `make` cuts folds the same way from a
seed. Lists lie at ``splits/<dataset>/<subset>/test<k>/{train,test}.txt``.
"""

import hashlib
import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sentiment.data.dataset import read_labels
from sentiment.paper import FOLDS, POSITIVE
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, read_text, write_if_changed

SPLITS = PROJECT / "splits"
PUBLISHED_FACTS = SPLITS / "published_folds.tsv"
"""Of each of the 30 published lists: lines, positives, SHA-256."""
PARTS = ("train", "test")
NO_TWINS = "no-twins"
"""The folder, below that of all lists, of those whose training lists have no image of their test list."""


class Fold(NamedTuple):
    """One fold's lists of (image, label)."""

    train: list
    test: list


def make(labels, seed) -> list[Fold]:
    """Shuffle once, cut into five equal blocks; test k is block k, train k the others in order.

    Not stratified, as in the paper. What a division by five leaves over is dropped (882 images make 880).

    Parameters
    ----------
    labels : list of (str, int)
    seed : int
        The same seed and labels give the same folds on every machine and Python.

    Returns
    -------
    list of Fold
        For folds 1 to 5.

    Raises
    ------
    UserError
        Fewer than five images.

    Examples
    --------
    >>> labels = [("a.jpg", 1), ("b.jpg", 0), ("c.jpg", 1), ("d.jpg", 0), ("e.jpg", 1)]
    >>> [fold.test for fold in make(labels, seed=1701)]
    [[('e.jpg', 1)], [('d.jpg', 0)], [('b.jpg', 0)], [('a.jpg', 1)], [('c.jpg', 1)]]
    """
    size = len(labels) // len(FOLDS)
    if size == 0:
        raise UserError(f"{len(labels)} images are too few for {len(FOLDS)} folds")
    # Sorting by random() keys, since Python promises the same random() for ever but not the same shuffle().
    draw = random.Random(seed)
    keys = [draw.random() for _ in labels]
    shuffled = [labels[index] for index in sorted(range(len(labels)), key=keys.__getitem__)]
    blocks = [shuffled[block * size : (block + 1) * size] for block in range(len(FOLDS))]
    return [
        Fold(train=[pair for other in blocks if other is not block for pair in other], test=block) for block in blocks
    ]


def list_path(root, dataset, subset, fold, part) -> Path:
    """``root/<dataset>/<subset>/test<fold>/<part>.txt``; part is ``train`` or ``test``."""
    return Path(root) / dataset / relative_path(subset, fold, part)


def relative_path(subset, fold, part):
    """``<subset>/test<fold>/<part>.txt``, a list's place in the authors' folder too."""
    return f"{subset}/test{fold}/{part}.txt"


def read_list(path) -> list[tuple[str, int]]:
    """The (image, label) pairs of a fold list; what is wrong with a line is a `UserError` with file and line."""
    return read_labels(path)


def list_text(pairs) -> str:
    """A list as Caffe reads it: ``name label`` lines."""
    return "".join(f"{name} {label}\n" for name, label in pairs)


def write(root, dataset, subset, folds) -> int:
    """Write the lists of a subset's folds; unchanged files stay untouched. Returns how many were written."""
    written = 0
    for number, fold in zip(FOLDS, folds, strict=True):
        for part, pairs in zip(PARTS, fold, strict=True):
            written += write_if_changed(list_path(root, dataset, subset, number, part), list_text(pairs))
    return written


def read(root, dataset, subset, fold) -> Fold:
    """One fold's `Fold` from its lists; a `UserError` when `tools/split_folds.py` has not written them."""
    paths = [list_path(root, dataset, subset, fold, part) for part in PARTS]
    for path in paths:
        if not path.is_file():
            raise UserError(f"no fold list {path}; `make splits` writes it")
    return Fold(*map(read_list, paths))


@cache
def published_facts(path=PUBLISHED_FACTS):
    """What is known of the published lists: relative path -> (lines, positives, SHA-256)."""
    facts = {}
    for line in read_text(path).splitlines()[1:]:
        name, lines, positives, digest = line.split("\t")
        facts[name] = int(lines), int(positives), digest
    return facts


def check_published(name, content, where):
    """Hold one published list against its facts.

    Parameters
    ----------
    name : str
        Its path in the authors' folder, ``five_agrees/test1/train.txt``.
    content : bytes
    where : str or Path
        Where the content is from, for the message.

    Raises
    ------
    UserError
        Says what differs.
    """
    lines, positives, digest = published_facts()[name]
    found = hashlib.sha256(content).hexdigest()
    if found == digest:
        return
    rows = content.split(b"\n")[:-1]
    got = len(rows), sum(row.rstrip().endswith(b" 1") for row in rows)
    detail = f"{got[0]} lines with {got[1]} positives instead of {lines} with {positives}"
    if got == (lines, positives):
        detail = f"SHA-256 {found} instead of {digest}; the counts agree, so names, order or line ends differ"
    raise UserError(f"{where} is not the list the authors published: {detail}")


def positives(pairs):
    """How many of the pairs are positive."""
    return sum(label == POSITIVE for _, label in pairs)


def twins(fold, digests):
    """How many test images have a byte-identical one in the training list.

    Parameters
    ----------
    fold : Fold
    digests : dict of str to str
        Image -> digest of its file.
    """
    seen = {digests[name] for name, _ in fold.train}
    return sum(digests[name] in seen for name, _ in fold.test)


def without_twins(fold, digests) -> Fold:
    """The fold without the training images that are byte-identical to a test image.

    Returns
    -------
    Fold
    """
    tested = {digests[name] for name, _ in fold.test}
    return Fold([pair for pair in fold.train if digests[pair[0]] not in tested], fold.test)


def contrary(pairs, digests):
    """Byte-identical images that are labelled differently.

    Parameters
    ----------
    pairs : list of (str, int)
    digests : dict of str to str
        Image -> digest of its file.

    Returns
    -------
    list of (str, str)
    """
    alike = {}
    for name, label in pairs:
        alike.setdefault(digests[name], []).append((name, label))
    groups = (sorted(group, key=lambda pair: pair[1]) for group in alike.values())
    return [(group[0][0], group[-1][0]) for group in groups if group[0][1] != group[-1][1]]
