"""How commands end."""

import errno
import sys
import types

import pytest

from sentiment.console import UserError, run


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


def test_arguments_reach_main():
    seen = []
    run(seen.extend, ["--fold", "1"])
    assert seen == ["--fold", "1"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("no such fold"), "no such fold"),
        (PermissionError(errno.EACCES, "Permission denied", "/out"), "/out: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
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
    assert capsys.readouterr().err == "train: interrupted\n"


def test_an_interrupt_may_say_how_to_go_on(capsys):
    run(raising(KeyboardInterrupt("stopped at iteration 20; the same command goes on")))
    assert capsys.readouterr().err == "train: stopped at iteration 20; the same command goes on\n"
