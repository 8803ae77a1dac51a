"""Command lines as gflags parses them: every command of Caffe accepts the same flags (gflags.cc, logging.cc).

Flags are global: each command accepts those of all commands, of glog and of gflags, before or after its name, with one
dash or two, as ``-flag value`` or ``-flag=value``. A boolean takes a value only after ``=``, and ``-noflag`` sets it to
false. ``--`` ends the flags.
"""

import collections
import fnmatch
import os
import re
import types

from ..errors import CaffeError

Flag = collections.namedtuple("Flag", "name default help")

_TRUE, _FALSE = ("1", "t", "true", "y", "yes"), ("0", "f", "false", "n", "no")

_BACKEND = Flag("backend", "lmdb", "type of the database: lmdb or leveldb")
_TOOLS = {
    "caffe": (
        Flag("solver", "", "solver definition (prototxt)"),
        Flag("model", "", "net definition (prototxt)"),
        Flag("snapshot", "", "solver state to resume from"),
        Flag("weights", "", "comma-separated weights to fine-tune from or to score"),
        Flag("iterations", 50, "how many batches to test or time"),
        Flag("gpu", "", "GPU to use, or all (default: CPU)"),
        Flag("phase", "", "TRAIN or TEST, for the command time (default: TRAIN)"),
        Flag("level", 0, "level for include/exclude rules"),
        Flag("stage", "", "comma-separated stages for include/exclude rules"),
        Flag("sigint_effect", "stop", "what Ctrl-C and SIGTERM do: snapshot, stop or none"),
        Flag("sighup_effect", "snapshot", "what SIGHUP does: snapshot, stop or none"),
    ),
    "convert_imageset": (
        Flag("gray", False, "convert the images to greyscale"),
        Flag("shuffle", False, "shuffle the list first"),
        _BACKEND,
        Flag("resize_width", 0, "width in pixels to resize the images to; 0 does not resize them"),
        Flag("resize_height", 0, "height in pixels to resize the images to; 0 does not resize them"),
        Flag("check_size", False, "refuse images of different sizes"),
        Flag("encoded", False, "store the images encoded"),
        Flag("encode_type", "", "format to encode the images in, as png or jpg (default: by each file's extension)"),
    ),
    "compute_image_mean": (_BACKEND,),
    "convert_mnist_data": (_BACKEND,),
}

_GLOG = (
    Flag("alsologtostderr", False, "log to standard error as well as to files; the commands here set it by default"),
    Flag("log_dir", "", "folder to write log files to"),
    Flag("log_prefix", True, "begin each line with level, time, thread and place in the source"),
    Flag("log_year_in_prefix", False, "include the year in each line, as glog does since 0.5"),
    Flag("logtostderr", False, "log to standard error only, not to files"),
    Flag("minloglevel", 0, "lowest level to log: 0 information, 1 warnings, 2 errors"),
    Flag("stderrthreshold", 2, "lowest level to log to standard error in any case"),
)

_GFLAGS = (
    Flag("flagfile", "", "comma-separated files to read flags from, one per line"),
    Flag("fromenv", "", "comma-separated flags to take from the environment (FLAGS_name)"),
    Flag("tryfromenv", "", "comma-separated flags to take from the environment if they are set there"),
    Flag("undefok", "", "comma-separated flags that may be unknown"),
    Flag("help", False, "show this help"),
    Flag("helpshort", False, "show help on this command's flags"),
    Flag("version", False, "show the version"),
)

# accepted and ignored: they have no meaning here
_IGNORED = tuple(
    Flag(name, default, "")
    for name, default in {
        "alsologtoemail": "",
        "colorlogtostderr": False,
        "drop_log_memory": True,
        "log_backtrace_at": "",
        "log_link": "",
        "log_utc_time": False,
        "logbuflevel": 0,
        "logbufsecs": 30,
        "logemaillevel": 999,
        "logfile_mode": 0o664,
        "logmailer": "/bin/mail",
        "max_log_size": 1800,
        "stop_logging_if_full_disk": False,
        "symbolize_stacktrace": True,
        "tab_completion_columns": 80,
        "tab_completion_word": "",
        "timestamp_in_logfile_name": True,
        "v": 0,
        "vmodule": "",
    }.items()
)
_HELPS = (
    Flag("helpfull", False, ""),
    Flag("helpmatch", "", ""),
    Flag("helpon", "", ""),
    Flag("helppackage", False, ""),
    Flag("helpxml", False, ""),
)

_FLAGS = {flag.name: flag for group in (*_TOOLS.values(), _GLOG, _GFLAGS, _HELPS, _IGNORED) for flag in group}


def glog_defaults():
    """The flags of glog as the environment sets them (``GLOG_minloglevel`` …), by name."""
    return {flag.name: _of_environment(flag) for flag in _GLOG}


def _of_environment(flag):
    text = os.environ.get(f"GLOG_{flag.name}")
    if text is None:
        return flag.default
    if isinstance(flag.default, bool):
        return text[:1] in ("", *"tTyY1")
    if isinstance(flag.default, int):
        number = re.match(r"\s*[+-]?\d+", text)
        return int(number[0]) if number else 0
    return text


def parse(program, argv):
    """The flags of a command line, as attributes, and its other arguments, as a list.

    ``program`` is the name by which a flagfile may limit its lines. Raises CaffeError for unknown flags, values of the
    wrong type, and files that cannot be read.
    """
    parser = _Parser(program)
    rest = parser.read(argv)
    unknown_allowed = parser.values["undefok"].split(",")
    allowed = {*unknown_allowed, *(f"no{name}" for name in unknown_allowed)}
    errors = [text for name, text in parser.errors.items() if name not in allowed or name in parser.known_wrong]
    if errors and not wants_help(parser.values):
        raise CaffeError(f"{'; '.join(errors)} (-help lists the flags).")
    return types.SimpleNamespace(**parser.values), rest


def wants_help(values):
    """Whether one of gflags' ways of asking for help was used."""
    return any(value for name, value in values.items() if name.startswith("help"))


class _Parser:
    def __init__(self, program):
        self.program = program
        self.values = {flag.name: flag.default for flag in _FLAGS.values()}
        self.values.update(glog_defaults(), alsologtostderr=True)
        self.errors = {}  # the last error by the flag's name
        self.known_wrong = set()  # the known flags among these

    def read(self, words):
        """Set the flags among the words, and return the other words."""
        rest, words = [], collections.deque(words)
        while words:
            word = words.popleft()
            if word == "--":
                return rest + list(words)
            if word.startswith("-") and word != "-":
                self._assign(word[2:] if word.startswith("--") else word[1:], words)
            else:
                rest.append(word)
        return rest

    def _assign(self, word, following):
        name, equals, text = word.partition("=")
        flag = _find(name)
        if flag is None and name.startswith("no"):
            flag, equals, text = _find(name[2:]), "=", "0"
            if flag and not isinstance(flag.default, bool):
                self._wrong(flag, f"boolean value ({name}) specified for {_kind(flag)} command line flag")
                return
        if flag is None:
            self.errors[name] = f"unknown command line flag '{name}'"
        elif equals or isinstance(flag.default, bool):
            self._set(flag, text if equals else "1")
        elif following:
            self._set(flag, following.popleft())
        else:
            self._wrong(flag, f"flag '-{name}' is missing its argument")

    def _wrong(self, flag, text):
        self.errors[flag.name] = text
        self.known_wrong.add(flag.name)

    def _set(self, flag, text):
        value = _value(flag, text)
        if value is None:
            self._wrong(flag, f"illegal value '{text}' specified for {_kind(flag)} flag '{flag.name}'")
            return
        self.values[flag.name] = value
        if flag.name == "flagfile":
            for path in filter(None, text.split(",")):
                self._read_file(path)
        elif flag.name in ("fromenv", "tryfromenv"):
            for name in filter(None, text.split(",")):
                given = os.environ.get(f"FLAGS_{name}")
                if given is not None:
                    self._assign(f"{name}={given}", ())
                elif flag.name == "fromenv":
                    self._wrong(flag, f"FLAGS_{name} not found in environment")

    def _read_file(self, path):
        """Read flags, one per line; other lines limit those below them to the programs they name."""
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = [line.strip() for line in file]
        except (OSError, ValueError) as error:
            raise CaffeError(f"Could not open the flagfile {path}: {getattr(error, 'strerror', error)}.") from None
        ours, flags_before = True, True
        for line in lines:
            if line.startswith("-"):
                flags_before = True
                if ours:
                    self._assign(line.lstrip("-"), ())
            elif line and not line.startswith("#"):
                ours = (ours and not flags_before) or any(fnmatch.fnmatch(self.program, p) for p in line.split())
                flags_before = False


def _find(name):
    if name == "h":
        name = "help"
    return _FLAGS.get(name.replace("-", "_"))


def _kind(flag):
    return {bool: "bool", int: "int32", str: "string"}[type(flag.default)]


def _value(flag, text):
    """The text as a value of the flag's type, or None if it is not one."""
    if isinstance(flag.default, bool):
        if text.lower() in _TRUE:
            return True
        return False if text.lower() in _FALSE else None
    if isinstance(flag.default, int):
        if not re.fullmatch(r"\s*[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)", text, re.ASCII):
            return None
        value = int(text, 16 if "x" in text.lower() else 10)
        return value if -(2**31) <= value < 2**31 else None
    return text


def describe(command=None):
    """The help text on all flags, or on those of one command only."""
    groups = {**_TOOLS, "glog, also as GLOG_<flag> in the environment": _GLOG, "gflags": _GFLAGS}
    if command:
        tool = command if command in _TOOLS else "caffe"
        groups = {tool: _TOOLS[tool]}
    return "\n".join(
        f"\n  flags of {name}:\n" + "\n".join(_line(flag) for flag in group) for name, group in groups.items()
    )


def _line(flag):
    default = str(flag.default).lower() if isinstance(flag.default, bool) else flag.default
    shown = f" ({default})" if default not in ("", 0) else ""
    return f"    -{flag.name:<26}{flag.help}{shown}"
