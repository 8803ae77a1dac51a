"""What -v adds, and that nothing of it stays without."""

import logging
import os
import sys

import pytest

from sentiment.cli import arguments
from sentiment.cli.command import run, set_verbose
from sentiment.utils import caffe_log, files
from sentiment.utils.errors import UserError


@pytest.fixture(autouse=True)
def as_usual_again():
    yield
    set_verbose(False)


def command(*act):
    """A main with the usual parser that does one thing, and gives its arguments back by ``seen``."""

    def main(argv=None):
        seen.append(arguments.Parser("Does it.").parse_args(argv))
        for one in act:
            one()

    seen = []
    main.seen = seen
    return main


def test_files_versions_and_arguments_are_said_with_v_only(tmp_path, capfd):
    path = tmp_path / "it.txt"
    main = command(lambda: files.write_whole(path, "what"))
    assert run(main, ["-v"]) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert f"wrote {path} (4 bytes)" in said.err
    assert "torch " in said.err
    assert run(main, []) == 0
    assert capfd.readouterr().err == ""


def test_v_leaves_nothing_among_the_arguments():
    main = command()
    run(main, ["--verbose"])
    assert vars(main.seen[0]) == {}


def test_an_error_keeps_its_sentence_last_and_gets_its_traceback(capfd):
    def fail():
        raise UserError("no such fold")

    assert run(command(fail), ["-v"]) == 2
    said = capfd.readouterr().err
    assert "Traceback" in said
    assert said.endswith(": error: no such fold\n")
    assert run(command(fail), []) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_a_log_is_shown_as_it_grows_and_is_the_same_as_without(tmp_path, capfd):
    log = tmp_path / "train.log"
    log.write_text("of an earlier start\n")

    def train():
        with caffe_log.stderr_to(log) as terminal:
            os.write(2, b"from C++\n")
            print("from Python", file=sys.stderr)
            logging.getLogger("sentiment.tool").info("from a tool")
            print("progress", file=terminal)

    run(command(train), ["-v"])
    said = capfd.readouterr().err
    for words in ("from C++\n", "from Python\n", "from a tool\n", "progress\n"):
        assert words in said
    assert "earlier" not in said
    assert log.read_text() == "of an earlier start\nfrom C++\nfrom Python\n"


def test_what_goes_to_no_file_is_shown_too(capfd):
    def load():
        with caffe_log.stderr_to(os.devnull):
            os.write(2, b"from C++\n")

    run(command(load), [])
    assert "C++" not in capfd.readouterr().err
    run(command(load), ["-v"])
    assert "from C++\n" in capfd.readouterr().err


def test_help_tells_the_statuses(capsys):
    with pytest.raises(SystemExit) as stop:
        run(command(), ["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for word in ("Does it.", "--verbose", "0 done", "2 something", "130", "troubleshooting.md"):
        assert word in said


def test_a_subcommand_takes_v_on_either_side():
    parser = arguments.Parser()
    parser.add_subparsers(dest="what").add_parser("data", help="some")
    for words in (["-v", "data"], ["data", "-v"]):
        set_verbose(False)
        parser.parse_args(words)
        assert logging.getLogger("sentiment").level == logging.INFO
