"""The ``caffe`` command against the logs that BVLC Caffe's own command wrote on the same files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe as pycaffe
from caffe import cli

FILES = Path(__file__).resolve().parent.parent / "conformance" / "files"
PREFIX = re.compile(r"^[IWEF]\d{8} \d\d:\d\d:\d\d\.\d{6} +\d+ (\S+?):\d+\] ")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def caffe(folder, *args, env=None):
    return subprocess.run(
        [sys.executable, "-m", "caffe.cli", *args], cwd=folder, capture_output=True, text=True, env=env, timeout=600
    )


def run(folder, monkeypatch, capfd, *args):
    """The command in this process; what it logged."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("caffe.glog._minimum", 0)
    capfd.readouterr()
    assert cli.main([str(arg) for arg in args]) == 0
    return capfd.readouterr().err


def lines_from(log, start):
    """Messages from the first that contains ``start``, without prefix, speeds and waiting."""
    messages = [PREFIX.sub("", line) for line in log.splitlines() if PREFIX.match(line)]
    first = next(i for i, message in enumerate(messages) if start in message)
    kept = (m for m in messages[first:] if "Waiting for data" not in m)
    return [re.sub(r" \(\S+ iter/s, \S+s/\d+ iters\)", "", message) for message in kept]


def same_lines(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, reference in zip(ours, theirs):
        assert NUMBER.sub("#", mine) == NUMBER.sub("#", reference)
        np.testing.assert_allclose(
            [float(n) for n in NUMBER.findall(mine)],
            [float(n) for n in NUMBER.findall(reference)],
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.fixture
def folder(tmp_path):
    """A copy of the measured files without the snapshots training is to make."""
    shutil.copytree(FILES, tmp_path / "files")
    for path in (tmp_path / "files").glob("tiny_iter_6.*"):
        path.unlink()
    return tmp_path / "files"


def test_the_whole_log_of_a_training_is_caffes(folder):
    done = caffe(folder, "train", "-solver", "solver.prototxt")
    assert done.returncode == 0, done.stderr[-2000:]
    # an empty -stage counts as a stage there; a softmax loss makes its softmax through the factory; waiting is chance
    extra = re.compile(r' +stage: ""$|.*Waiting for data|.*Computing with \d+ CPU threads, torch ')
    twice = "layer_factory.hpp:77] Creating layer loss"

    def lines(log):
        speeds = re.sub(r" \(\S+ iter/s, \S+s/\d+ iters\)", "", log)
        kept = [re.sub(r"^([IWE])\d{8} \S+ +\d+ ", r"\1 ", line) for line in speeds.splitlines()]
        return [line for line in kept if not extra.match(line) and not line.endswith(twice)]

    ours, theirs = lines(done.stderr), lines((FILES / "caffe_train.log").read_text())
    same_lines(ours, theirs)
    for start in ("I ", "name: ", "layer {", "I solver.cpp:239] Iteration 4, loss = "):
        assert any(line.startswith(start) for line in ours)
    for name in (
        "tiny_iter_6.caffemodel",
        "tiny_iter_6.solverstate",
        "tiny_iter_12.caffemodel",
        "tiny_iter_12.solverstate",
    ):
        assert (folder / name).stat().st_size == pytest.approx((FILES / name).stat().st_size, rel=0.01)


def test_the_log_of_2015_has_no_year_and_no_speed(folder):
    done = caffe(folder, "train", "-solver", "solver.prototxt", env={**os.environ, "CAFFE_LOG": "2015"})
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if "] " in line]
    assert all(re.match(r"[IW]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+:\d+\] ", line) for line in lines)
    shown = [line.split("] ", 1)[1] for line in lines if re.search(r"Iteration \d+, loss = \S+$", line)]
    assert shown[:2] == ["Iteration 0, loss = 0.715955", "Iteration 2, loss = 0.649614"]
    assert not any("iter/s" in line for line in lines)


def test_test_follows_the_measured_log(folder, monkeypatch, capfd):
    weights = ["-weights", "tiny_iter_12.caffemodel"]
    said = run(folder, monkeypatch, capfd, "test", "-model", "train_val.prototxt", *weights, "-iterations", 2)
    theirs = lines_from((FILES / "caffe_test.log").read_text(), "Running for")
    same_lines(lines_from(said, "Running for"), theirs)


def test_time_prints_the_lines_of_the_measured_log(folder, monkeypatch, capfd):
    said = run(folder, monkeypatch, capfd, "time", "-model", "train_val.prototxt", "-iterations", 5)

    def shape(log):
        return [NUMBER.sub("#", line) for line in lines_from(log, "Benchmark begins")]

    assert shape(said) == shape((FILES / "caffe_time.log").read_text())


def test_resumes_from_the_measured_state(folder, monkeypatch, capfd):
    for suffix in ("caffemodel", "solverstate"):
        shutil.copy(FILES / f"tiny_iter_6.{suffix}", folder)
    state = ["-snapshot", "tiny_iter_6.solverstate"]
    said = run(folder, monkeypatch, capfd, "train", "-solver", "solver.prototxt", *state)
    assert "random streams and data positions start anew" in said
    assert "Iteration 6, loss" in "\n".join(lines_from(said, "Resuming from"))


TINY = """
layer {{ name: 'x' type: 'DummyData' top: 'x'
  dummy_data_param {{ shape {{ dim: 1 dim: 1 }} data_filler {{ value: 1 }} }} }}
layer {{ name: 'a' type: 'InnerProduct' bottom: 'x' top: 'a' inner_product_param {{ num_output: 1 bias_term: false }} }}
layer {{ name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b' inner_product_param {{ num_output: 1 bias_term: false }} }}
{}
layer {{ name: 'sum' type: 'Reduction' bottom: 'b' top: 'sum' loss_weight: 1 }}
"""


def tiny(folder, more=""):
    """A definition of two factors, and a file of weights for each."""
    (folder / "tiny.prototxt").write_text(TINY.format(more))
    for name, value in (("a", 3), ("b", 5)):
        net = pycaffe.Net(str(folder / "tiny.prototxt"), pycaffe.TEST)
        net.params[name][0].data[...] = value
        message = pycaffe.proto.caffe_pb2.NetParameter()
        net.save(str(folder / "all"))
        message.ParseFromString((folder / "all").read_bytes())
        kept = [layer for layer in message.layer if layer.name == name]
        del message.layer[:]
        message.layer.extend(kept)
        (folder / f"{name}.caffemodel").write_bytes(message.SerializeToString())


def test_weights_come_from_several_files(tmp_path, monkeypatch, capfd):
    tiny(tmp_path)
    both = ["-weights", "a.caffemodel,b.caffemodel"]
    said = run(tmp_path, monkeypatch, capfd, "test", "-model", "tiny.prototxt", *both, "-iterations", 1)
    assert "] sum = 15 (* 1 = 15 loss)\n" in said
    (tmp_path / "s.prototxt").write_text(
        "net: 'tiny.prototxt' base_lr: 0 lr_policy: 'fixed' max_iter: 1 display: 1 solver_mode: CPU"
    )
    said = run(tmp_path, monkeypatch, capfd, "train", "--solver=s.prototxt", *both)
    assert re.search(r"\] Iteration 0 .*, loss = 15\n", said)
    assert (tmp_path / "s_iter_1.caffemodel").is_file()


@pytest.mark.parametrize(
    ("flags", "layers"),
    [
        ([], "not_deep"),
        (["-level", "1"], "deep not_deep"),
        (["-stage", "more,other"], "more"),
        (["-stage", "deeper", "-level", "2"], "deep not_deep"),
    ],
)
def test_level_and_stage_choose_layers(flags, layers, tmp_path, monkeypatch, capfd):
    rules = {"deep": "include { min_level: 1 }", "more": "include { stage: 'more' stage: 'other' }",
             "not_deep": "include { not_stage: 'more' }"}  # fmt: skip
    tiny(tmp_path, "".join(f"layer {{ name: '{n}' type: 'Silence' bottom: 'x' {r} }}\n" for n, r in rules.items()))
    (tmp_path / "s.prototxt").write_text(
        "net: 'tiny.prototxt' base_lr: 0 lr_policy: 'fixed' max_iter: 1 solver_mode: CPU snapshot_prefix: 's'"
    )
    for command in (
        ["train", "-solver", "s.prototxt"],
        ["test", "-model", "tiny.prototxt", "-weights", "a.caffemodel", "-iterations", "1"],
        ["time", "-model", "tiny.prototxt", "-iterations", "1"],
    ):
        said = run(tmp_path, monkeypatch, capfd, *command, *flags)
        made = re.findall(r"Creating Layer (deep|more|not_deep)\n", said)
        assert made == layers.split()


def test_time_runs_the_phase_that_is_named(tmp_path, monkeypatch, capfd):
    tiny(tmp_path, "layer { name: 'tested' type: 'Silence' bottom: 'x' include { phase: TEST } }")
    command = ["time", "-model", "tiny.prototxt", "-iterations", "2"]
    assert "tested\tforward" not in run(tmp_path, monkeypatch, capfd, *command)
    assert "tested\tforward" in run(tmp_path, monkeypatch, capfd, *command, "-phase", "TEST")
    assert "tested\tforward" not in run(tmp_path, monkeypatch, capfd, *command, "-phase", "train")


def test_a_snapshot_is_gone_on_from(tmp_path, monkeypatch, capfd):
    tiny(tmp_path)
    (tmp_path / "s.prototxt").write_text(
        "net: 'tiny.prototxt' base_lr: 0.5 lr_policy: 'fixed' max_iter: 4 snapshot: 2 solver_mode: CPU display: 1"
    )
    whole = run(tmp_path, monkeypatch, capfd, "train", "-solver", "s.prototxt")
    assert "Snapshotting to binary proto file s_iter_2.caffemodel" in whole
    (tmp_path / "s_iter_4.caffemodel").unlink()
    said = run(tmp_path, monkeypatch, capfd, "train", "-solver", "s.prototxt", "-snapshot", "s_iter_2.solverstate")
    assert "Resuming from s_iter_2.solverstate" in said
    shown = re.findall(r"Iteration (\d+) .*loss = (\S+)", whole)
    assert re.findall(r"Iteration (\d+) .*loss = (\S+)", said) == shown[2:4]
    assert (tmp_path / "s_iter_4.caffemodel").is_file()


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_iterations_are_a_number_from_one_on(count, capfd):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["time", "-model", "train_val.prototxt", f"-iterations={count}"])
    assert f"a number from 1 on, not '{count}'" in capfd.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    assert cli.main(["train", "-solver", "solver.prototxt", "-gpu", "0"]) == 2
    assert "torch sees no CUDA device" in capfd.readouterr().err.splitlines()[-1]
    assert cli.main(["device_query"]) == 2
    assert "torch sees none here" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["train"], "solver"),
        (["train", "-solver", "absent.prototxt"], "absent.prototxt"),
        (["train", "-solver", "solver.prototxt", "-weights", "absent.caffemodel"], "absent.caffemodel"),
        (["train", "-solver", "solver.prototxt", "-weights", "a", "-snapshot", "b"], "not both"),
        (["test", "-model", "train_val.prototxt"], "weights"),
        (["test", "-model", "train.txt", "-weights", "tiny_iter_12.caffemodel"], "train.txt"),
        (["train", "-solver", "solver.prototxt", "-gpu", "zero"], "device numbers or 'all'"),
        (["train", "-solver", "solver.prototxt", "-gpu", "0,1"], "one GPU"),
        (["train", "-solver", "train_val.prototxt"], "caffe.NetParameter"),
        (["train", "-solver", "solver.prototxt", "-snapshot", "tiny_iter_12.caffemodel"], "tiny_iter_12.caffemodel"),
    ],
)
def test_errors_are_one_sentence_and_status_2(folder, args, said, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    assert cli.main(args) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"caffe {args[0]}: error: ") and said in last


def test_an_error_is_the_commands_exit_status(folder):
    done = caffe(folder, "train", "-solver", "absent.prototxt")
    assert done.returncode == 2
    assert "error:" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_without_a_command_it_lists_them(folder):
    done = caffe(folder)
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("train", "test", "time", "device_query", "compute_image_mean"))
