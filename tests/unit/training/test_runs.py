"""A run's folder: names, snapshots, what it was made from."""

import shlex

import pytest

from helpers import made_up
from sentiment.engine import Environment
from sentiment.training import runs
from sentiment.training.configuration import Configuration
from sentiment.training.runs import Run
from sentiment.utils import records
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json


def configuration(**changes):
    values = {**made_up.result(1, 0.8), **made_up.CHOICES, **made_up.result(1, 0.8)["hashes"], **changes}
    return records.read(Configuration, values, "made up")


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, "five_agrees", "fc7-2", "mvso_en", 3)


def test_all_files_are_in_the_run_s_own_folder(run, tmp_path):
    assert run.folder == tmp_path / "five_agrees" / "fc7-2-mvso_en" / "fold3"
    files = [
        run.train_val,
        run.deploy,
        run.solver,
        run.log,
        run.predictions,
        run.result,
        run.record,
        run.weights(180),
    ]
    assert {file.parent for file in files} == {run.folder}
    assert len(set(files)) == len(files)


def test_a_variant_and_a_seed_have_folders_of_their_own(tmp_path):
    assert runs.variant_name() == runs.variant_name("", 1701) == ""
    variant = runs.variant_name("lr0.001", 7)
    assert Run(tmp_path, "five_agrees", "fc6-2", "caffenet", 1, variant).folder == (
        tmp_path / "five_agrees" / "fc6-2-caffenet-lr0.001-seed7" / "fold1"
    )
    with pytest.raises(UserError, match="VARIANT: 'a/b' names a folder"):
        runs.variant_name("a/b")


@pytest.mark.parametrize("variant", ["seed7", "plain-seed1701"])
def test_a_variant_is_not_named_like_a_seed(variant):
    with pytest.raises(UserError, match=f"VARIANT: '{variant}'.*SEED="):
        runs.variant_name(variant)
    assert runs.variant_name("seedless") == "seedless"


def test_how_a_tool_is_called_for_a_run(tmp_path):
    for variant, seed in (("", 1701), ("lr0.001", 1701), ("", 0), ("a-b", 7)):
        run = Run(tmp_path, "five_agrees", "fc6-2", "my net", 2, runs.variant_name(variant, seed))
        run.claim(configuration(init="my net", seed=seed, variant=variant))
        python, tool, *words = shlex.split(run.command("evaluate", "my photographs"))
        given = dict(zip(words[::2], words[1::2], strict=True))
        assert (python.rpartition("/")[2], tool) == ("python", "tools/evaluate.py")
        assert given.pop("--data") == "my photographs"
        named = runs.variant_name(given.pop("--variant", ""), int(given.pop("--seed", 1701)))
        assert Run(tmp_path, given["--subset"], given["--arch"], given["--init"], int(given["--fold"]), named) == run


def test_weights_are_named_as_caffe_names_them(run):
    assert run.weights(180).name == "snapshot_iter_180.caffemodel"


def test_a_run_belongs_to_what_it_was_made_from(run):
    made_from, other = configuration(seed=1), configuration(seed=2, stepsize=3)
    assert not run.is_of(made_from)
    run.claim(made_from)
    run.claim(configuration(seed=1, card="another"))
    assert run.is_of(made_from)
    run.weights(30).touch()
    for call in run.is_of, run.claim:
        with pytest.raises(UserError, match=r"fold3 holds a run with another seed, stepsize; .* VARIANT=<name> or "):
            call(other)


def test_a_run_without_a_snapshot_is_replaced(run):
    made_from, other = configuration(seed=1), configuration(seed=2)
    run.claim(made_from)
    run.log.write_text("a net that could not be built\n")
    run.claim(made_from)
    assert run.log.exists()
    assert not run.is_of(other)
    run.claim(other)
    assert run.is_of(other) and not run.log.exists()


def test_the_error_about_other_fold_lists_says_how_to_restore_them(run):
    run.claim(configuration(test_list="a"))
    run.result.touch()
    with pytest.raises(UserError, match=r"another test_list; restore its fold lists \(shuffled ones by `make splits"):
        run.is_of(configuration(test_list="b"))


def test_only_the_stretches_that_count_are_recorded(run):
    run.claim(configuration(seed=1))
    for iteration, device in ((0, "a"), (30, "a"), (60, "b"), (60, "c"), (90, "a"), (90, "a")):
        run.record_environment(iteration, Environment(device=device))
    recorded = read_json(run.record)
    assert recorded["seed"] == 1
    assert [(one["from_iteration"], one["device"]) for one in recorded["training"]] == [(0, "a"), (60, "c"), (90, "a")]
    assert run.is_of(configuration(seed=1))
    run.record_environment(30, Environment(device="a"))  # the later snapshots were gone
    assert [one["from_iteration"] for one in read_json(run.record)["training"]] == [0]
