"""What the commands' arguments have in common: help, -v, and the options that name runs of tools/train.py."""

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

EPILOG = """default folders (data/deepsent, splits, models, runs, results) are in the repository, wherever a command is
called from; a path that is given is relative to the current folder.

exit status: 0 done; 2 something is wrong or missing, and one sentence says what; 130 stopped by Ctrl-C (128 plus the
number of any other signal), and the same command resumes. See docs/howto/troubleshooting.md."""

_NOT_GIVEN = object()


def seed(text) -> int:
    """The value of a --seed: what Caffe's random generator takes, without its -1 for a random seed."""
    if not text.isdecimal() or int(text) >= solvers.SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {solvers.SEEDS - 1:,}")
    return int(text)


def positive(text) -> int:
    """The value of an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def gpu_number(text) -> int:
    """The value of a --gpu."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a GPU; they are counted from 0")
    return int(text)


class Parser(argparse.ArgumentParser):
    """A command's parser, made from its docstring, and those of its subcommands.

    Parameters
    ----------
    description : str, optional
        Shown as it is, with the examples' ``python`` replaced by the one in use.
    **more
        As for ArgumentParser.

    Attributes
    ----------
    given : set of str
        The attributes' names of the arguments that were given, after `parse_args`.
    """

    def __init__(self, description=None, **more):
        if description:
            description = description.replace("    python tools/", f"    {python()} tools/")
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, epilog=EPILOG, formatter_class=layout, **more)
        self.add_argument(
            "-v",
            "--verbose",
            action="store_true",
            default=argparse.SUPPRESS,
            help="also print on stderr: versions, files read and written, Caffe's log as it grows, errors' tracebacks",
        )
        self.given = set()

    def parse_args(self, args=None, namespace=None):
        """As ArgumentParser does, but for -v, which takes effect at once and is no attribute."""
        defaults = {action.dest: action.default for action in self._actions if action.default is not argparse.SUPPRESS}
        found = argparse.Namespace(**dict.fromkeys(defaults, _NOT_GIVEN))
        super().parse_args(args, found)
        self.given = {name for name, value in vars(found).items() if value is not _NOT_GIVEN}
        for name in defaults.keys() - self.given:
            setattr(found, name, defaults[name])
        if "verbose" in self.given:
            del found.verbose
            command.set_verbose(True)
            command.log.info("%s", shlex.join(sys.argv))
            command.log.info("%s", ", ".join(f"{name} {version}" for name, version in engine.versions().items()))
        return found

    def refuse(self, options, why):
        """End with a sentence if one of some options was given, which would have no effect.

        Parameters
        ----------
        options : iterable of str, or a group of arguments
            Attributes' names.
        why : str
            Continues the sentence after the option's name.
        """
        if isinstance(options, argparse._ArgumentGroup):
            options = [action.dest for action in options._group_actions]
        if wrong := [name for name in options if name in self.given]:
            self.error(f"--{wrong[0].replace('_', '-')} {why}")

    def error(self, message):
        """End with the sentence alone, as `command.run` does: the complete usage would bury it."""
        self.exit(2, f"{Path(self.prog).stem}: error: {message}; --help shows all options\n")


def gpu_option(option):
    """Add --gpu by the ``add_argument`` of a parser or group."""
    option("--gpu", type=gpu_number, metavar="N", help="GPU to use (default: CPU)")


def runs_options(option, fold="1", archs=architectures.ARCHITECTURES, several=("subset", "fold")):
    """Add the options that name runs of tools/train.py; see `runs_of` and, if none of them takes several, `run_of`.

    Parameters
    ----------
    option : callable
        The ``add_argument`` of a parser or group.
    fold : str
        The default of --fold.
    archs : sequence of str
        What --arch may be.
    several : sequence of str
        The options that take several values, or all.
    """
    use = "folder of all runs (default: %(default)s)"
    option("--runs", type=Path, default=default("runs"), metavar="FOLDER", help=use)
    option("--arch", choices=archs, default="finetune", help="architecture (default: %(default)s)")
    source = "a model card's name, a .caffemodel, or scratch"
    option("--init", default="caffenet", help=f"weights to start from: {source} (default: %(default)s)")
    use = "keep runs with other choices than the default apart, in <arch>-<init>-NAME (default: none)"
    option("--variant", default="", metavar="NAME", help=use)
    use = "random seed of the training (default: %(default)s)"
    option("--seed", type=seed, default=solvers.DEFAULT_SEED, metavar="N", help=use)
    for name, choices, first, use in (
        ("subset", paper.SUBSETS, "five_agrees", "images to use, by how many of five annotators agree"),
        ("fold", tuple(map(str, paper.FOLDS)), fold, "fold to use"),
    ):
        if name in several:
            more = {"nargs": "+", "choices": [*choices, "all"], "default": [first]}
        else:
            more = {"choices": choices, "default": first}
        option(f"--{name}", help=f"{use} (default: {first})", **more)


def run_of(args) -> Run:
    """The run that `runs_options` name where none takes several values."""
    return next(runs_of(args))


def runs_of(args):
    """The runs that `runs_options` name, by subset, then fold."""
    init, which = cards.run_name(args.init), variant_name(args.variant, args.seed)
    for subset in subsets_of(args):
        for fold in folds_of(args):
            yield Run(args.runs, subset, args.arch, init, fold, which)


def subsets_of(args) -> tuple[str, ...]:
    """The subsets that --subset names, each once."""
    return _named(args.subset, paper.SUBSETS)


def folds_of(args) -> tuple[int, ...]:
    """The folds that --fold names, each once."""
    return tuple(map(int, _named(args.fold, paper.FOLDS)))


def _named(given, known):
    """The values of an option that takes one or several, each once."""
    given = [given] if isinstance(given, str) else given
    return tuple(known if "all" in given else dict.fromkeys(given))


def other_net(parser: Parser, args, of_runs, of_net, needed=("weights",)):
    """Refuse a mix of options for runs of tools/train.py and for --model, any other net.

    Parameters
    ----------
    args : Namespace
    of_runs, of_net : group of arguments
    needed : sequence of str
        What --model needs too.
    """
    if not args.model:
        parser.refuse(of_net, "needs --model too")
        return
    parser.refuse(of_runs, "is for runs of tools/train.py and --model for any other net; give one of them")
    if missing := [name for name in needed if getattr(args, name) is None]:
        parser.error(f"--model needs --{' --'.join(missing)} too")
