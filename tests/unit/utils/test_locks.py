"""One process at a time in a folder."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from sentiment.utils import locks
from sentiment.utils.errors import UserError

HOLDS = """
import sys; from sentiment.utils import locks
with locks.held(sys.argv[1], "training"):
    print("held", flush=True)
    {}
"""
COUNTS = """
import sys; from pathlib import Path; from sentiment.utils import locks
for _ in range(30):
    with locks.held(sys.argv[1], "counting"):
        total = Path(sys.argv[1]) / "total"
        total.write_text(str(int(total.read_text()) + 1))
"""


def start(program, folder):
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_second_process_says_so_and_waits(tmp_path):
    first = start(HOLDS.format("sys.stdin.read()"), tmp_path)
    assert first.stdout.readline() == "held\n"
    second = start(HOLDS.format("pass"), tmp_path)
    said = second.stderr.readline()
    assert said.startswith(f"{tmp_path} is in use (process {first.pid} on ")
    assert said.endswith(", training); waiting for it to end\n")
    assert second.poll() is None
    assert first.communicate("go on")[1] == ""
    out, err = second.communicate(timeout=300)
    assert (out, err, second.returncode) == ("held\n", "", 0)
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_no_lock_and_what_it_half_wrote_goes(tmp_path):
    first = start(HOLDS.format("sys.stdin.read()"), tmp_path)
    assert first.stdout.readline() == "held\n"
    second = start(HOLDS.format("pass"), tmp_path)
    assert "waiting" in second.stderr.readline()
    left = [".result.0123456789ab.part.json", ".snapshot_iter_30.caffemodel.0123456789ab.tmp", ".fetch.ab_d3f9h.part"]
    for name in left[:2]:
        (tmp_path / name).write_text("half")
    (tmp_path / left[2]).mkdir()
    (tmp_path / left[2] / "archive").write_text("half")
    for name in (".mine", ".mine.part", "notes.tmp"):
        (tmp_path / name).write_text("not ours")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.communicate(timeout=300)[0] == "held\n"
    assert sorted(os.listdir(tmp_path)) == [".mine", ".mine.part", "notes.tmp"]


def test_many_processes_exclude_each_other(tmp_path):
    (tmp_path / "total").write_text("0")
    processes = [start(COUNTS, tmp_path) for _ in range(4)]
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert (tmp_path / "total").read_text() == "120"


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    half = tmp_path / ".result.0123456789ab.part.json"
    half.write_text("perhaps another process is at it")
    with locks.held(tmp_path, "training"):
        assert half.is_file()
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and said.count("\n") == 1
    assert str(tmp_path / ".sentiment.lock") in said and "No locks available" in said


def test_a_folder_under_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(UserError, match=r"cannot write .*file/fold1/\.sentiment\.lock: Not a directory")
    with refused, locks.held(tmp_path / "file" / "fold1", "training"):
        pass


def test_an_error_in_the_block_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.held(tmp_path, "training"):
        raise ZeroDivisionError
    with locks.held(tmp_path, "testing"):
        assert "testing" in (tmp_path / ".sentiment.lock").read_text()
