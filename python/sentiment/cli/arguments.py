"""The parser of the commands in tools/, and the options that several of them have."""

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from sentiment import engine, paper
from sentiment.cli import command
from sentiment.data import dataset
from sentiment.networks import architectures
from sentiment.networks.choices import CHOICES
from sentiment.sources import cards
from sentiment.training import solvers, weak
from sentiment.training.runs import Run, variant_name
from sentiment.training.weak import WeakTraining
from sentiment.utils.errors import UserError, python
from sentiment.utils.files import default

EPILOG = """default folders (data/deepsent, splits, models, runs, results) are in the repository, wherever a command is
called from; a path that is given is relative to the current folder.

exit status: 0 done; 2 something is wrong or missing, and one sentence says what; 130 stopped by Ctrl-C (128 plus the
number of any other signal), and the same command resumes. See docs/howto/troubleshooting.md."""

_NOT_GIVEN = object()


def whole_number(least: int, most: int = sys.maxsize):
    """The type of an option whose value is a whole number in a range."""
    limits = f"from {least} to {most:,}" if most < sys.maxsize else f"of at least {least}"

    def value(text):
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}")
        return int(text)

    return value


positive = whole_number(1)
gpu_number = whole_number(0)
seed = whole_number(0, solvers.SEEDS - 1)  # what Caffe's random generator takes, without its -1 for a random seed


class Parser(argparse.ArgumentParser):
    """A command's parser, made from its docstring, and those of its subcommands.

    The description is shown as it is, with the examples' ``python`` replaced by the one in use.
    """

    def __init__(self, description: str | None = None, **more):
        if description:
            description = description.replace("    python tools/", f"    {python()} tools/")
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, epilog=EPILOG, formatter_class=layout, **more)
        use = "also print on stderr: versions, files read and written, Caffe's log as it grows, errors' tracebacks"
        self.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=use)
        self.given: set[str] = set()  # after `parse_args`, the attributes of the arguments that were given

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

    def refuse(self, options, why: str):
        """End with a sentence, "--option why", if one of some options was given, which would have no effect.

        ``options`` are attributes' names, or a group of arguments.
        """
        if isinstance(options, argparse._ArgumentGroup):
            options = [action.dest for action in options._group_actions]
        if wrong := [name for name in options if name in self.given]:
            self.error(f"--{wrong[0].replace('_', '-')} {why}")

    def error(self, message):
        """End with the sentence alone, as `command.run` does: the complete usage would bury it."""
        self.exit(2, f"{Path(self.prog).stem}: error: {message}; --help shows all options\n")


# The functions below add options by the ``add_argument`` of a parser or group.

_FOLDERS = {  # option -> its default, in the repository, and what it is
    "data": ("data/deepsent", "folder of images and labels"),
    "splits": ("splits", "folder of fold lists"),
    "runs": ("runs", "folder of all runs"),
    "out": ("results", "folder to write to"),
    "models": ("models", "folder of model cards and their files"),
    "prototxt": ("prototxt", "folder of network definitions"),
}


def folder_options(option, *names: str, **defaults: str):
    """Add options for folders, by their names, or with another default in the repository (``out="prototxt"``)."""
    for name in (*names, *defaults):
        folder, use = _FOLDERS[name]
        path = default(defaults.get(name, folder))
        option(f"--{name}", type=Path, default=path, metavar="FOLDER", help=f"{use} (default: %(default)s)")


def gpu_option(option):
    """Add --gpu."""
    option("--gpu", type=gpu_number, metavar="N", help="GPU to use (default: CPU)")


def input_size_option(option):
    """Add --input-size."""
    use = "height and width of the fully convolutional net's input, pixels (default: 224 more than the net's own)"
    count_option(option, "input-size", use)


def seed_option(option, use="random seed of the training", value: int = solvers.DEFAULT_SEED):
    """Add --seed."""
    option("--seed", type=seed, default=value, metavar="N", help=f"{use} (default: %(default)s)")


def count_option(option, name: str, use: str, value: int | None = None):
    """Add an option for a whole number above zero; ``use`` says what the default is where it is not a value."""
    use = use if value is None else f"{use} (default: %(default)s)"
    option(f"--{name}", type=positive, default=value, metavar="N", help=use)


def schedule_options(option, rates=True):
    """Add the options of a training's batch size and iterations and, with ``rates``, of its learning rate."""
    own = "a data set or an architecture may have its own"
    count_option(option, "batch-size", f"images per iteration (default: {paper.BATCH_SIZE}; {own})")
    count_option(option, "iterations", f"iterations (default: {paper.EPOCHS} epochs; {own})")
    if rates:
        use = f"learning rate at the start (default: {paper.BASE_LR}; {own})"
        option("--base-lr", type=float, metavar="RATE", help=use)
        use = f"iterations between drops of the rate (default: {paper.STEP_EPOCHS} epochs; {own})"
        count_option(option, "stepsize", use)


def training_options(option):
    """Add the other choices of a training, --mean and --set."""
    option("--mean", help="mean file, or b,g,r (default: the model card's; for a file, the ImageNet means)")
    names = ", ".join(("gamma", "momentum", "weight_decay", *CHOICES))
    use = f"any other choice of docs/protocol.md: {names}"
    option("--set", nargs="+", default=[], metavar="NAME=VALUE", help=use)


def net_options(option, mean=True):
    """Add the options that name any net by its files, --model, --weights and, with ``mean``, --mean."""
    option("--model", type=Path, metavar="FILE", help="deploy definition of the net")
    option("--weights", type=Path, metavar="FILE", help=".caffemodel of --model")
    if mean:
        option("--mean", help="mean file of --model, or b,g,r (default: the ImageNet means)")


class _Several(argparse.Action):
    """Stores the values of an option as a tuple, each once; ``all`` stands for all of them."""

    def __call__(self, parser, namespace, values, option_string=None):
        known = {str(choice): choice for choice in self.const}
        chosen = known if "all" in values else dict.fromkeys(values)
        setattr(namespace, self.dest, tuple(known[name] for name in chosen))


def several_option(option, name: str, choices: Iterable, use: str, values: tuple = (), several=True):
    """Add an option whose value is a tuple of some of the choices, or of one of them if ``several`` is False.

    ``values`` is the default; if it is empty, that is all of them.
    """
    names = [str(choice) for choice in choices]
    more = {"nargs": "+", "choices": [*names, "all"]} if several else {"nargs": 1, "choices": names}
    use = f"{use} (default: {' '.join(map(str, values)) or 'all'})"
    option(f"--{name}", action=_Several, const=choices, default=values or tuple(choices), help=use, **more)


def runs_options(
    option, fold="1", archs: Iterable[str] = architectures.ARCHITECTURES, several: Iterable[str] = ("subset", "fold")
):
    """Add the options that name runs of tools/train.py; see `runs_of` and, if none of them takes several, `run_of`.

    ``fold`` is the default of --fold, and ``archs`` what --arch may be. The options in ``several`` take several values.
    The values of --subset and --fold are tuples.
    """
    folder_options(option, "runs")
    option("--arch", choices=archs, default="finetune", help="architecture (default: %(default)s)")
    source = "a model card's name, a .caffemodel (or .onnx, .mlmodel, .npy, .pth), or scratch"
    own = ", ".join(f"{one.own_init} for {name}" for name, one in architectures.ARCHITECTURES.items() if one.own_init)
    use = f"what the training starts from: {source} (default: {architectures.DEFAULT_INIT}; {own})"
    option("--init", help=use)
    use = "start from the weights that tools/train_weak.py made of this folder of weakly labelled pictures"
    option("--weak", type=Path, metavar="FOLDER", help=use)
    use = "keep runs with other choices than the default apart, in <arch>-<init>-NAME (default: none)"
    option("--variant", default="", metavar="NAME", help=use)
    seed_option(option)
    use = "images to use, by how many of five annotators agree"
    several_option(option, "subset", paper.SUBSETS, use, ("five_agrees",), "subset" in several)
    folds = () if fold == "all" else (int(fold),)
    several_option(option, "fold", paper.FOLDS, "fold to use", folds, "fold" in several)


def init_of(args) -> str:
    """The init that `runs_options` name: --init, the weights made from --weak, or the architecture's default."""
    if not args.weak:
        return args.init or architectures.default_init(args.arch)
    if args.init:
        raise UserError("WEAK names the weights to start from, and so does INIT; give one of them")
    if args.arch != weak.ARCH:
        raise UserError(f"WEAK is for ARCH={weak.ARCH}, not ARCH={args.arch}")
    weights = WeakTraining(dataset.load_weak(args.weak), args.runs, seed=args.seed).weights(weak.PROGRESSIVE)
    if not weights.is_file():
        raise UserError(
            f"WEAK: no file {weights}; run tools/train_weak.py with the same --weak, --runs and --seed first"
        )
    return str(weights)


def run_of(args) -> Run:
    """The run that `runs_options` name where none takes several values."""
    return next(runs_of(args))


def runs_of(args) -> Iterator[Run]:
    """The runs that `runs_options` name, by subset, then fold."""
    init, which = cards.run_name(init_of(args)), variant_name(args.variant, args.seed)
    for subset in args.subset:
        for fold in args.fold:
            yield Run(args.runs, subset, args.arch, init, fold, which)


def other_net(parser: Parser, args, of_runs, of_net, needed: Iterable[str] = ("weights",)):
    """Refuse a mix of options for runs of tools/train.py and for --model, any other net, which has needs of its own.

    ``of_runs`` and ``of_net`` are as for `Parser.refuse`.
    """
    if not args.model:
        parser.refuse(of_net, "needs --model too")
        return
    parser.refuse(of_runs, "is for runs of tools/train.py and --model for any other net; give one of them")
    if missing := [name for name in needed if getattr(args, name) is None]:
        parser.error(f"--model needs --{' --'.join(missing)} too")
