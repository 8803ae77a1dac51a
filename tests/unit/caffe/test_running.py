"""What surrounds a long step: its log, its progress, its interrupt."""

import io
import os
import pty
import signal
import sys
import time

import pytest

from sentiment.cli.command import set_verbose
from sentiment.utils import caffe_log, progress
from sentiment.utils.errors import UserError
from sentiment.utils.signals import postponed


def test_the_log_gets_what_any_code_writes_to_stderr(tmp_path, capfd):
    log = tmp_path / "train.log"
    log.write_text("before\n")
    with caffe_log.stderr_to(log) as terminal:
        os.write(2, b"from C++\n")
        print("from Python", file=sys.stderr)
        print("for the user", file=terminal)
    print("after", file=sys.stderr)
    os.write(2, b"after too\n")
    assert log.read_text() == "before\nfrom C++\nfrom Python\n"
    seen = capfd.readouterr().err
    assert "for the user\n" in seen
    assert "after too\n" in seen
    assert "from" not in seen


def test_stderr_comes_back_after_an_error(tmp_path, capfd):
    with pytest.raises(KeyError), caffe_log.stderr_to(tmp_path / "log"):
        raise KeyError
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="nowhere"), caffe_log.stderr_to(tmp_path / "nowhere" / "log"):
        pass


def test_ignored_layers_of_this_start(tmp_path):
    log = tmp_path / "log"
    log.write_text("I1 net.cpp:1] Ignoring source layer old\n")
    start = log.stat().st_size
    log.write_text(
        log.read_text()
        + "I1 net.cpp:1] Ignoring source layer fc8\nIteration 0\nI1 net.cpp:1] Ignoring source layer prob\n"
    )
    assert caffe_log.ignored_layers(log, start) == ["fc8", "prob"]


def test_lines_where_there_is_no_terminal(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    with progress.Progress("fold 1", 180, done=60, stream=stream) as bar:
        for _ in range(120):
            clock[0] += 10
            bar.advance(1, "loss 0.5")
    said = stream.getvalue().splitlines()
    assert said[0] == "fold 1: 63/180 it, loss 0.5, 20 min left"
    assert said[-1] == "fold 1: 180/180 it, loss 0.5"
    assert len(said) == 40


def test_what_takes_a_moment_says_nothing_and_what_takes_longer_one_line(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "SECONDS_UNTOLD", 3600)
    with progress.patience("reading", stream):
        pass
    monkeypatch.setattr(progress, "SECONDS_UNTOLD", 0)
    with progress.patience("computing", stream):
        while not stream.getvalue():
            time.sleep(0.001)
    assert stream.getvalue() == "computing …\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1, "1 s"), (89, "89 s"), (1500, "25 min"), (7500, "2 h 5 min"), (7200, "2 h 0 min")]
)
def test_durations(seconds, words):
    assert progress.duration(seconds) == words


def test_a_bar_gives_way_to_lines_where_more_is_said():
    master, slave = pty.openpty()
    set_verbose(True)
    try:
        with open(slave, "w") as terminal, progress.Progress("fold 1", 10, stream=terminal) as bar:
            bar.advance(10)
            shown = os.read(master, 4096).decode()
    finally:
        set_verbose(False)
        os.close(master)
    assert shown == "fold 1: 10/10 it\r\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_and_a_second_one_does_not(number, tmp_path):
    told = tmp_path / "told"
    before = signal.getsignal(number)
    with told.open("w") as stream, pytest.raises(KeyboardInterrupt), postponed("heard", stream) as received:
        assert not received
        os.kill(os.getpid(), number)
        assert received
        assert told.read_text() == "\nheard\n"
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_bar_where_there_is_a_terminal_even_one_without_a_width():
    master, slave = pty.openpty()
    with open(slave, "w") as terminal, progress.Progress("fold 1", 10, done=2, stream=terminal) as bar:
        bar.advance(1, "loss 0.5")
        shown = os.read(master, 4096).decode()
    os.close(master)
    assert "fold 1:" in shown
    assert " 2/10 " in shown


def test_a_line_that_was_cut_off_is_ended_before_more_is_logged(tmp_path):
    log = tmp_path / "log"
    log.write_text("whole\nIteration 3, loss = 0.9")
    for _ in range(2):
        with caffe_log.stderr_to(log):
            os.write(2, b"more\n")
    assert log.read_text().splitlines() == ["whole", "Iteration 3, loss = 0.9", "more", "more"]
