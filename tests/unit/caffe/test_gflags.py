"""Command lines are read as gflags reads them, and log files written as glog writes them."""

import importlib
import os
import re

import pytest

from caffe import cli
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2
from caffe.runtime import gflags, glog


def given(*words, program="caffe"):
    flags, rest = gflags.parse(program, words)
    return vars(flags), rest


@pytest.mark.parametrize(
    "word", ["-shuffle", "--shuffle", *(f"--shuffle={t}" for t in ["1", "t", "T", "true", "True", "YES", "y"])]
)
def test_booleans_that_are_set(word):
    assert given(word)[0]["shuffle"] is True


@pytest.mark.parametrize(
    "word", ["--noshuffle", "-noshuffle", *(f"-shuffle={t}" for t in ["0", "f", "F", "false", "NO", "n"])]
)
def test_booleans_that_are_taken_back(word):
    assert given("-shuffle", word)[0]["shuffle"] is False


def test_a_boolean_takes_no_second_word():
    assert given("--gray", "false") == ({**given()[0], "gray": True}, ["false"])


@pytest.mark.parametrize("words", [["-gpu", "1"], ["--gpu", "1"], ["-gpu=1"], ["--gpu=1"], ["--gpu=2", "-gpu=1"]])
def test_values_follow_or_stand_behind_an_equals_sign(words):
    assert given(*words)[0]["gpu"] == "1"


def test_flags_stand_before_between_and_behind_arguments():
    flags, rest = given("-gray", "a/", "--backend", "lmdb", "list", "-", "-resize-width=-3", "--", "-x", "--gray=no")
    assert rest == ["a/", "list", "-", "-x", "--gray=no"]
    assert (flags["gray"], flags["backend"], flags["resize_width"]) == (True, "lmdb", -3)
    assert given("-gpu", "--", "-level", "0x10")[0]["gpu"] == "--"
    assert given("-level", "0x10")[0]["level"] == 16
    assert given("-weights=a=b,c")[0]["weights"] == "a=b,c"
    assert given("-stage=")[0]["stage"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-nosuch"], "nosuch"),
        (["---gpu"], "-gpu"),
        (["train", "-gpu"], "-gpu.*argument"),
        (["-level=two"], "two.*int32.*level"),
        (["-level="], "int32.*level"),
        (["-level=1.5"], "1.5.*level"),
        (["-level=4294967296"], "4294967296"),
        (["-gray=maybe"], "maybe.*bool.*gray"),
        (["-nogpu"], "nogpu"),
        (["-fromenv=solver"], "FLAGS_solver"),
        (["-flagfile=absent"], "absent"),
        (["-what", "-which"], "what.*which"),
        (["-undefok=gray", "-gray=maybe"], "maybe"),
    ],
)
def test_what_is_wrong_is_one_sentence(words, said, capfd):
    with pytest.raises(CaffeError, match=said):
        given(*words)
    assert cli.main(words) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("caffe: error: ")


def test_flags_that_may_be_unknown():
    assert given("-undefok=cudnn,engine", "-cudnn", "--noengine", "-cudnn=3", "x")[1] == ["x"]


def test_flags_from_files_and_the_environment(tmp_path, monkeypatch):
    (tmp_path / "flags").write_text("# ours\n-gpu=3\n\n--noshuffle\ncompute_* other\n-level=7\ncaffe\n-iterations=9\n")
    found = given("-shuffle", f"-flagfile={tmp_path / 'flags'}", "-gpu=1")[0]
    assert (found["gpu"], found["shuffle"], found["level"], found["iterations"]) == ("1", False, 0, 9)
    monkeypatch.setenv("FLAGS_solver", "s.prototxt")
    assert given("-fromenv=solver", "-tryfromenv=model,solver")[0]["solver"] == "s.prototxt"


@pytest.mark.parametrize("command", ["train", "test", "time", "convert_imageset", "compute_image_mean"])
def test_every_command_takes_all_flags(command, capfd):
    tools = "-solver= -model= -phase=TEST -encoded=True --shuffle -backend lmdb -check_size --resize_height=0 -gpu="
    glogs = (
        "-logtostderr -alsologtostderr -log_dir= -minloglevel 0 --stderrthreshold=1 -v 2 -vmodule=a=1 -max_log_size=5"
    )
    assert cli.main([*tools.split(), command, *glogs.split()]) == 2  # what it lacks: a definition, or arguments
    said = capfd.readouterr().err
    assert said.startswith(f"caffe {command}: error: ") and ("model" in said or "solver" in said or "takes" in said)


@pytest.mark.parametrize(("tool", "arguments"), [("convert_imageset", "abc"), ("compute_image_mean", "ab")])
def test_the_tools_are_programs_of_their_own(tool, arguments, capfd):
    assert getattr(cli, tool)(["--shuffle=true", "-backend=rocksdb", *arguments]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"{tool}: error: ") and "rocksdb" in said
    assert getattr(cli, tool)([]) == 2


def test_help_and_version(capfd):
    for words in (["-help"], ["train", "--help"], ["-helpfull", "-nosuch"], ["-h"]):
        assert cli.main(words) == 0
        said = capfd.readouterr().out
        assert all(word in said for word in ("device_query", "-sigint_effect", "-encode_type", "-log_dir", "-flagfile"))
    assert cli.main(["convert_imageset", "-helpshort"]) == 0
    said = capfd.readouterr().out
    assert "-encode_type" in said and "-log_dir" not in said and "-sigint_effect" not in said
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == "caffe version 1.0.0\n"


# log files


@pytest.fixture
def logged(tmp_path, capfd):
    """Log a line of each level as the command would, with these flags; what stands on standard error then."""

    def write(*words):
        flags, _ = gflags.parse("caffe", [f"-log_dir={tmp_path}", *words])
        with glog.command("caffe", flags):
            for level, text in enumerate(("told", "warned", "failed")):
                glog.log("solver.cpp:1", text, level)
        return re.findall(r"\] (\w+)", capfd.readouterr().err)

    return write


def test_log_files_have_glogs_names_and_header(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("USER", "someone")
    assert logged() == ["told", "warned", "failed"]
    for severity, count in (("INFO", 3), ("WARNING", 2), ("ERROR", 1)):
        link = tmp_path / f"caffe.{severity}"
        name = os.readlink(link)
        assert re.fullmatch(rf"caffe\..+\.someone\.log\.{severity}\.\d{{8}}-\d{{6}}\.{os.getpid()}", name)
        head, lines = (link).read_text().splitlines()[:3], link.read_text().splitlines()[3:]
        assert re.fullmatch(r"Log file created at: \d{4}/\d\d/\d\d \d\d:\d\d:\d\d", head[0])
        assert head[1].startswith("Running on machine: ")
        assert head[2] == "Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg"
        assert len(lines) == count and re.match(r"E\d{4} [\d:.]+ +\d+ solver.cpp:1\] failed$", lines[-1])


@pytest.mark.parametrize(
    ("flags", "shown", "in_files"),
    [
        (["-alsologtostderr=false"], ["failed"], 3),
        (["-noalsologtostderr", "-stderrthreshold", "1"], ["warned", "failed"], 3),
        (["-logtostderr"], ["told", "warned", "failed"], None),
        (["-minloglevel=1"], ["warned", "failed"], 2),
        (["-minloglevel=2", "-logtostderr=1"], ["failed"], None),
    ],
)
def test_what_goes_where(logged, tmp_path, flags, shown, in_files):
    assert logged(*flags) == shown
    lowest = next((tmp_path / f"caffe.{s}" for s in ("INFO", "WARNING") if (tmp_path / f"caffe.{s}").exists()), None)
    assert (lowest and len(lowest.read_text().splitlines()) - 3) == in_files


def test_the_environment_sets_glogs_flags(logged, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    monkeypatch.setenv("GLOG_stderrthreshold", "2")
    assert logged() == ["warned", "failed"]
    assert logged("-minloglevel=0", "-alsologtostderr=false") == ["failed"]
    monkeypatch.setenv("GLOG_logtostderr", "yes")
    monkeypatch.setenv("GLOG_minloglevel", "all")
    assert logged() == ["told", "warned", "failed"]


def test_a_log_folder_that_is_not_there_ends_nothing(tmp_path, capfd):
    assert cli.main(["train", f"-log_dir={tmp_path / 'absent'}", "-solver", "absent.prototxt"]) == 2
    said = capfd.readouterr().err
    assert "absent.prototxt" in said.splitlines()[-1] and str(tmp_path / "absent") in said


def test_the_log_file_says_why_a_command_ended(tmp_path, capfd):
    assert cli.main(["train", f"-log_dir={tmp_path}", "-solver", "absent.prototxt"]) == 2
    assert "absent.prototxt" in (tmp_path / "caffe.FATAL").read_text()
    assert capfd.readouterr().err.count("absent.prototxt") == 1


def test_the_year_is_there_on_request(logged, tmp_path):
    logged("-log_year_in_prefix")
    text = (tmp_path / "caffe.INFO").read_text()
    assert "[IWEF]yyyymmdd " in text and re.search(r"(?m)^I20\d{6} [\d:.]{15} ", text)


def test_whole_numbers_and_long_ones_are_dumped_as_cpp_prints_them():
    values = {100000: "100000", 1e6: "1e+06", 0.1: "0.1", 104.00698793: "104.006989", 1e-5: "1e-05", 0: "0", -2: "-2"}
    param = caffe_pb2.TransformationParameter(mean_value=list(values), mean_file="a: 1.0")
    shown = ['mean_file: "a: 1.0"', *(f"mean_value: {text}" for text in values.values())]
    assert sorted(glog.definition(param).splitlines()) == sorted(shown)


def test_the_programs_of_the_package_are_there(root):
    section = re.search(r"(?s)\[project.scripts\](.*?)\n\[", (root / "pyproject.toml").read_text())
    scripts = re.findall(r'(?m)^"?([\w.]+)"? = "([\w.]+):(\w+)"$', section[1])
    assert {"caffe", "convert_imageset", "compute_image_mean"} <= {name for name, *_ in scripts}
    for _, module, function in scripts:
        assert callable(getattr(importlib.import_module(module), function))
