"""What the commands' arguments have in common: how help looks, -v, and which run of tools/train.py is meant."""

import argparse
import shlex
import sys
from pathlib import Path

from sentiment import cards, engine, nets, paper, solvers, verbose
from sentiment.console import python
from sentiment.runs import Run, variant

STATUS = """exit status: 0 done; 2 something given is wrong or missing, said in one sentence; 130 stopped by Ctrl-C
(128 and its number by any other signal); the same command then goes on. See docs/howto/troubleshooting.md."""


_ALL_RUNS = "folder of all runs (default: %(default)s)"
_SUBSET = "(default: %(default)s)"
_ARCH = "architecture (default: %(default)s)"
_INIT = "as for train.py, or a run's own name, as caffenet-seed7 (default: %(default)s)"


def seed(text) -> int:
    """The value of a --seed: a word of Caffe's generator, so that no two are the same and none means chance."""
    if not text.isdecimal() or int(text) >= solvers.SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {solvers.SEEDS - 1:,}")
    return int(text)


class Parser(argparse.ArgumentParser):
    """A command's parser, made from its docstring, and those of its subcommands.

    Parameters
    ----------
    description : str, optional
        Shown as it stands.
    **more
        As ArgumentParser takes them.
    """

    def __init__(self, description=None, **more):
        look = argparse.RawDescriptionHelpFormatter
        if description:  # examples, to be called as this command was
            description = description.replace("    python tools/", f"    {python()} tools/")
        super().__init__(description=description, epilog=STATUS, formatter_class=look, **more)
        self.add_argument(
            "-v",
            "--verbose",
            action=_Verbose,
            help="say more, on stderr: versions, files read and written, Caffe's log as it grows, an error's traceback",
        )

    def error(self, message):
        """End with the sentence alone, as `console.run` does: the whole usage would bury it."""
        self.exit(2, f"{Path(self.prog).stem}: error: {message}; --help tells all options\n")


class _Verbose(argparse.Action):
    """Takes effect when met, and leaves nothing among the arguments: they are what a run is made from."""

    def __init__(self, option_strings, dest, **more):
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **more)

    def __call__(self, parser, namespace, values, option_string=None):
        verbose.enable()
        verbose.log.info("%s", shlex.join(sys.argv))
        verbose.log.info("%s", ", ".join(f"{name} {version}" for name, version in engine.versions().items()))


def run_options(option):
    """Add the options that name one run.

    Parameters
    ----------
    option : callable
        The ``add_argument`` of a parser or group.
    """
    option("--runs", type=Path, default=Path("runs"), help=_ALL_RUNS)
    option("--subset", choices=paper.SUBSETS, default="five_agrees", help=_SUBSET)
    option("--fold", type=int, choices=paper.FOLDS, default=1, help="(default: %(default)s)")
    option("--arch", choices=nets.ARCHITECTURES, default="finetune", help=_ARCH)
    option("--init", default="caffenet", help=_INIT)
    option("--variant", default="", metavar="WORD", help="as for train.py")
    option("--seed", type=seed, default=solvers.DEFAULT_SEED, help="as for train.py (default: %(default)s)")


def run_of(args) -> Run:
    """The run that `run_options` name."""
    word = variant(args.variant, args.seed)
    return Run(args.runs, args.subset, args.arch, cards.run_name(args.init), args.fold, word)


def runs_options(option, fold="1", archs=nets.ARCHITECTURES, init=None):
    """Add the options that name any number of runs; see `run_options`.

    Parameters
    ----------
    option : callable
    fold : str
        The default.
    archs : sequence of str
        What --arch may be.
    init : str, optional
        The help on --init, where it is another than a run's.
    """
    option("--runs", type=Path, default=Path("runs"), help=_ALL_RUNS)
    option(
        "--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["five_agrees"], help="(default: five_agrees)"
    )
    option("--fold", nargs="+", choices=[*map(str, paper.FOLDS), "all"], default=[fold], help=f"(default: {fold})")
    option("--arch", choices=archs, default="finetune", help=_ARCH)
    option("--init", default="caffenet", help=init or _INIT)


def subsets_of(args) -> tuple[str, ...]:
    """The subsets that --subset names, each once."""
    return tuple(paper.SUBSETS if "all" in args.subset else dict.fromkeys(args.subset))


def folds_of(args) -> tuple[int, ...]:
    """The folds that --fold names, each once."""
    return tuple(paper.FOLDS if "all" in args.fold else dict.fromkeys(map(int, args.fold)))


def runs_of(args):
    """The runs that `runs_options` name, by subset, then fold."""
    init = cards.run_name(args.init)
    for subset in subsets_of(args):
        for fold in folds_of(args):
            yield Run(args.runs, subset, args.arch, init, fold)
