"""A tiny experiment: 25 pictures, fold lists, and a source CaffeNet with a sixteenth of the channels."""

import importlib.util
from types import SimpleNamespace

import pytest

from helpers import toy
from sentiment import paper
from sentiment.cli import command
from sentiment.data import folds
from sentiment.networks import architectures


@pytest.fixture(scope="session")
def tool(root):
    """Call a command of tools/ as its console script does: ``tool("train", "--fold", 1)`` gives the exit status."""
    modules = {}

    def call(name, *arguments):
        if name not in modules:
            spec = importlib.util.spec_from_file_location(name, root / "tools" / f"{name}.py")
            modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[name])
        return command.run(modules[name].main, [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Weights of a source model: the CaffeNet template with five classes in ``fc8``."""
    folder = tmp_path_factory.mktemp("source")
    definition = (
        str(architectures.deploy("finetune", toy.DIVISOR))
        .replace("fc8_twitter", "fc8")
        .replace("num_output: 2\n", "num_output: 5\n")
    )
    toy.weights(definition, folder / "source.caffemodel")
    return folder / "source.caffemodel"


@pytest.fixture
def tiny(tmp_path, source):
    """The experiment's paths, and the options that select it, in a folder of its own."""
    data, splits, runs = tmp_path / "data", tmp_path / "splits", tmp_path / "runs"
    pairs = toy.data_set(data)
    folds.write(splits, "tiny", paper.SUBSETS[0], folds.make(pairs, 1))
    options = ["--data", data, "--splits", splits, "--runs", runs, "--init", source]
    return SimpleNamespace(
        data=data, splits=splits, runs=runs, source=source, options=options,
        folder=lambda fold=1, arch="finetune", init="source": runs / "five_agrees" / f"{arch}-{init}" / f"fold{fold}",
        list=lambda part, fold=1: folds.list_path(splits, "tiny", "five_agrees", fold, part),
    )  # fmt: skip
