"""The options that several commands have."""

import argparse

import pytest

from sentiment import paper
from sentiment.cli import arguments
from sentiment.training import solvers
from sentiment.utils.files import PROJECT


@pytest.mark.parametrize(
    ("given", "value"),
    [([], ("a", "b", "c")), (["c", "a", "c"], ("c", "a")), (["all"], ("a", "b", "c")), (["b", "all"], ("a", "b", "c"))],
)
def test_an_option_of_several_values_has_each_once(given, value):
    parser = arguments.Parser()
    arguments.several_option(parser.add_argument, "part", ("a", "b", "c"), "parts")
    assert parser.parse_args(["--part", *given] if given else []).part == value


@pytest.mark.parametrize("several", [(), ("subset", "fold")])
def test_runs_are_named_by_subset_then_fold(several):
    parser = arguments.Parser()
    arguments.runs_options(parser.add_argument, several=several)
    (run,) = arguments.runs_of(parser.parse_args(["--fold", "3", "--seed", "7"]))
    assert (run.subset, run.fold, run.folder.parent.name) == ("five_agrees", 3, "finetune-caffenet-seed7")
    if several:
        runs = arguments.runs_of(parser.parse_args(["--subset", "all", "--fold", "2", "1"]))
        assert [(run.subset, run.fold) for run in runs] == [
            (subset, fold) for subset in paper.SUBSETS for fold in (2, 1)
        ]


def test_folders_are_in_the_repository_wherever_a_command_is_called_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = arguments.Parser()
    arguments.folder_options(parser.add_argument, "data", out="results/predictions")
    args = parser.parse_args([])
    assert (args.data, args.out) == (PROJECT / "data" / "deepsent", PROJECT / "results" / "predictions")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_a_count_is_a_whole_number_above_zero(text):
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.positive(text)
    assert arguments.positive("1") == 1


def test_a_seed_is_what_caffe_takes():
    assert arguments.seed("0") == 0 and arguments.seed(str(solvers.SEEDS - 1)) == solvers.SEEDS - 1
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.seed(str(solvers.SEEDS))
