"""How commands end."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from sentiment.cli.command import OneByOne, run
from sentiment.utils.errors import UserError


@pytest.fixture(autouse=True)
def tool_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/train.py"])


def raising(error):
    def main(argv=None):
        raise error

    return main


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_status_is_what_main_returns(returned, status):
    assert run(lambda argv: returned) == status


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_paths_of_any_bytes_are_printed_to_any_terminal(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(lambda argv: print(os.fsdecode(b"a\xe9"), "3×4")) == 0
    assert stream.buffer.getvalue().startswith(rb"a\udce9 3")


def test_what_is_wrong_with_one_thing_does_not_end_the_others(capsys):
    each, done = OneByOne(), []
    for thing in "a", UserError("b is wrong"), "c", FileNotFoundError(errno.ENOENT, "No such file", "d"):
        with each:
            if isinstance(thing, Exception):
                raise thing
            done.append(thing)
    assert (done, each.status) == (["a", "c"], 2)
    assert capsys.readouterr().err == "train: error: b is wrong\ntrain: error: d: No such file\n"
    for ours in ZeroDivisionError, KeyboardInterrupt, BrokenPipeError:
        with pytest.raises(ours), OneByOne():
            raise ours


def test_arguments_reach_main():
    seen = []
    run(seen.extend, ["--fold", "1"])
    assert seen == ["--fold", "1"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("no such fold"), "no such fold"),
        (PermissionError(errno.EACCES, "Permission denied", "/out"), "/out: Permission denied"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/out/a.csv"),
            "/out/a.csv: No space left on device; the disk is full: free some space, then the same command resumes",
        ),
        (OSError(errno.EIO, "Input/output error"), "writing the output: Input/output error"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_status_2(error, sentence, capsys):
    assert run(raising(error)) == 2
    printed = capsys.readouterr()
    assert printed.err == f"train: error: {sentence}\n"
    assert printed.out == ""


def test_the_engines_error_is_a_sentence_too(capsys, monkeypatch):
    engine = types.ModuleType("caffe.errors")
    engine.CaffeError = type("CaffeError", (RuntimeError,), {})
    monkeypatch.setitem(sys.modules, "caffe.errors", engine)
    assert run(raising(engine.CaffeError("Unknown layer type: Foo"))) == 2
    assert capsys.readouterr().err == "train: error: Unknown layer type: Foo\n"


@pytest.mark.parametrize("error", [RuntimeError("ours"), ValueError("ours"), OSError("ours"), KeyError("ours")])
def test_our_own_faults_keep_their_traceback(error):
    with pytest.raises(type(error)):
        run(raising(error))


def test_interrupt_is_130(capsys):
    assert run(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "train: interrupted; finished work is kept, the same command does the rest\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_end_it_with_their_status(number, status, capsys):
    before = signal.getsignal(number)
    assert run(lambda argv: os.kill(os.getpid(), number) or time.sleep(60)) == status
    said = capsys.readouterr().err
    assert said == f"train: interrupted by {number.name}; finished work is kept, the same command does the rest\n"
    assert signal.getsignal(number) is before


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(lambda argv: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EFBIG, "ulimit -f")])
def test_advice_follows_what_another_error_was_raised_from(number, words, capsys):
    def main(argv):
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise UserError(f"cannot write a.csv: {error.strerror}.") from error

    assert run(main) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"train: error: cannot write a.csv: {os.strerror(number)}; ")
    assert words in said
    assert said.count("\n") == 1


def test_a_full_standard_output_is_a_sentence(tmp_path):
    program = "import sys; from sentiment.cli import command; sys.exit(command.run(lambda argv: print('table')))"
    with open("/dev/full", "w") as full:
        ended = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    assert ": error: writing the output: No space left on device; the disk is full" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_interrupt_may_say_how_to_go_on(capsys):
    run(raising(KeyboardInterrupt("stopped at iteration 20; the same command goes on")))
    assert capsys.readouterr().err == "train: stopped at iteration 20; the same command goes on\n"
