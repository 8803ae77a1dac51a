"""What the commands' arguments have in common: how help looks, -v, and which run of tools/train.py is meant."""

import argparse
import shlex
import sys
from pathlib import Path

from sentiment import engine, paper
from sentiment.cli import command
from sentiment.networks import architectures
from sentiment.sources import cards
from sentiment.training import solvers
from sentiment.training.runs import Run, variant_name
from sentiment.utils.errors import python
from sentiment.utils.files import default

STATUS = """folders that are not given are the repository's, from wherever a command is called: data/deepsent, splits,
models, runs, results; a path that is given is relative to the current folder.

exit status: 0 done; 2 something given is wrong or missing, said in one sentence; 130 stopped by Ctrl-C
(128 and its number by any other signal); the same command then goes on. See docs/howto/troubleshooting.md."""


_NOT_GIVEN = object()


def seed(text) -> int:
    """The value of a --seed: a word of Caffe's generator, so that no two are the same and none means chance."""
    if not text.isdecimal() or int(text) >= solvers.SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {solvers.SEEDS - 1:,}")
    return int(text)


def positive(text) -> int:
    """The value of an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above zero")
    return int(text)


def gpu_number(text) -> int:
    """The value of a --gpu."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a GPU; they are counted from 0")
    return int(text)


def gpu_option(option):
    """Add --gpu.

    Parameters
    ----------
    option : callable
        The ``add_argument`` of a parser or group.
    """
    option("--gpu", type=gpu_number, metavar="N", help="GPU to use (default: CPU)")


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
        self.given = set()

    def parse_args(self, args=None, namespace=None):
        """As ArgumentParser does; ``given`` then has the names of the arguments that were given, as attributes."""
        options = [action for action in self._actions if action.default is not argparse.SUPPRESS]
        found = argparse.Namespace(**{action.dest: _NOT_GIVEN for action in options})
        super().parse_args(args, found)
        self.given = {name for name, value in vars(found).items() if value is not _NOT_GIVEN}
        for action in options:
            if getattr(found, action.dest) is _NOT_GIVEN:
                setattr(found, action.dest, action.default)
        return found

    def refuse(self, options, why):
        """End with a sentence where one of some options was given, which would mean nothing.

        Parameters
        ----------
        options : iterable of str, or a group of arguments
            Attributes' names.
        why : str
            Goes on from the options' name.
        """
        names = options if not hasattr(options, "_group_actions") else [of.dest for of in options._group_actions]
        if wrong := [f"--{name.replace('_', '-')}" for name in names if name in self.given]:
            self.error(f"{wrong[0]} {why}")

    def error(self, message):
        """End with the sentence alone, as `console.run` does: the whole usage would bury it."""
        self.exit(2, f"{Path(self.prog).stem}: error: {message}; --help tells all options\n")


class _Verbose(argparse.Action):
    """Takes effect when met, and leaves nothing among the arguments: they are what a run is made from."""

    def __init__(self, option_strings, dest, **more):
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **more)

    def __call__(self, parser, namespace, values, option_string=None):
        command.set_verbose(True)
        command.log.info("%s", shlex.join(sys.argv))
        command.log.info("%s", ", ".join(f"{name} {version}" for name, version in engine.versions().items()))


def _options_of_a_net(option, archs, init):
    """Add what names a net, on whatever subset and fold."""
    option("--runs", type=Path, default=default("runs"), help="folder of all runs (default: %(default)s)")
    option("--arch", choices=archs, default="finetune", help="architecture (default: %(default)s)")
    option("--init", default="caffenet", help=f"{init} (default: %(default)s)")
    option("--variant", default="", metavar="WORD", help="keep runs apart, in <arch>-<init>-WORD (default: none)")
    option(
        "--seed",
        type=seed,
        default=solvers.DEFAULT_SEED,
        help="of a training's random numbers, each fold's own is made of it (default: %(default)s)",
    )


_INIT = "what it starts from: a card's name, a .caffemodel, or scratch"
_SUBSET = "(default: five_agrees)"


def run_options(option):
    """Add the options that name one run.

    Parameters
    ----------
    option : callable
        The ``add_argument`` of a parser or group.
    """
    _options_of_a_net(option, architectures.ARCHITECTURES, _INIT)
    option("--subset", choices=paper.SUBSETS, default="five_agrees", help=_SUBSET)
    option("--fold", type=int, choices=paper.FOLDS, default=1, help="(default: %(default)s)")


def run_of(args) -> Run:
    """The run that `run_options` name."""
    return next(_runs(args, [args.subset], [args.fold]))


def runs_options(option, fold="1", archs=architectures.ARCHITECTURES, subsets=True):
    """Add the options that name any number of runs; see `run_options`.

    Parameters
    ----------
    option : callable
    fold : str
        The default.
    archs : sequence of str
        What --arch may be.
    subsets : bool
        Of several subsets.
    """
    _options_of_a_net(option, archs, _INIT)
    if subsets:
        option("--subset", nargs="+", choices=[*paper.SUBSETS, "all"], default=["five_agrees"], help=_SUBSET)
    else:
        option("--subset", choices=paper.SUBSETS, default="five_agrees", help=_SUBSET)
    option("--fold", nargs="+", choices=[*map(str, paper.FOLDS), "all"], default=[fold], help=f"(default: {fold})")


def subsets_of(args) -> tuple[str, ...]:
    """The subsets that --subset names, each once."""
    named = [args.subset] if isinstance(args.subset, str) else args.subset
    return tuple(paper.SUBSETS if "all" in named else dict.fromkeys(named))


def folds_of(args) -> tuple[int, ...]:
    """The folds that --fold names, each once."""
    return tuple(paper.FOLDS if "all" in args.fold else dict.fromkeys(map(int, args.fold)))


def runs_of(args):
    """The runs that `runs_options` name, by subset, then fold."""
    return _runs(args, subsets_of(args), folds_of(args))


def _runs(args, subsets, folds):
    init, which = cards.run_name(args.init), variant_name(args.variant, args.seed)
    for subset in subsets:
        for fold in folds:
            yield Run(args.runs, subset, args.arch, init, fold, which)


def other_net(parser, args, of_runs, of_net, needed=("weights",)):
    """Refuse what mixes a run of tools/train.py with --model, any other net.

    Parameters
    ----------
    parser : Parser
    args : Namespace
    of_runs, of_net : group of arguments
    needed : sequence of str
        What --model needs too.
    """
    if not args.model:
        return parser.refuse(of_net, "goes with --model, which is not given")
    parser.refuse(of_runs, "names a run of tools/train.py, and --model another net; give one of them")
    if missing := [name for name in needed if getattr(args, name) is None]:
        parser.error(f"--model needs --{' --'.join(missing)} too")
    return None
