"""The authors' fold lists, from a folder that a user has."""

import shutil

import pytest

from sentiment import paper
from sentiment.data import folds
from sentiment.sources import deepsent
from sentiment.utils.errors import UserError


def test_published_lists_pass_and_changed_ones_do_not(shared, tmp_path):
    published = shared / "data" / "ground_truth"
    facts = folds.published_facts()
    for subset in paper.SUBSETS:
        for number in paper.FOLDS:
            fold = deepsent.published_fold(subset, number, published)
            for part, pairs in zip(folds.PARTS, fold, strict=True):
                known = facts[folds.relative_path(subset, number, part)]
                assert (len(pairs), folds.positives(pairs)) == (known["lines"], known["positives"])
    copy = shutil.copytree(published, tmp_path / "copy")
    path = copy / folds.relative_path(subset, number, "test")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(UserError, match=f"PUBLISHED: {path} is not the list the authors published"):
        deepsent.published_fold(subset, number, copy)
    path.unlink()
    with pytest.raises(UserError, match=f"PUBLISHED: {path} does not exist"):
        deepsent.published_fold(subset, number, copy)


def test_lists_written_before_are_used_again(shared, monkeypatch):
    monkeypatch.setattr(deepsent, "_FOLD_LINKS", ())
    published = shared / "data" / "ground_truth"
    assert deepsent.published_fold("five_agrees", 1, written=published).test
