"""The ``caffe`` command against the logs that BVLC Caffe's own command wrote on the same files."""

import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe as pycaffe
from caffe import cli

FILES = Path(__file__).resolve().parent.parent / "conformance" / "files"
PREFIX = re.compile(r"^([IWEF])(?:\d{4})?\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ (\S+?:\d+)\] ")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def caffe(folder, *args, env=None):
    return subprocess.run(
        [sys.executable, "-m", "caffe.cli", *args], cwd=folder, capture_output=True, text=True, env=env, timeout=600
    )


def run(folder, monkeypatch, capfd, *args):
    """The command in this process; what it logged."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GLOG_minloglevel", raising=False)
    capfd.readouterr()
    assert cli.main([str(arg) for arg in args]) == 0
    return capfd.readouterr().err


def lines_of(log):
    """The lines of a log but for time, thread and speeds, and for waiting, which is chance; and this engine's own.

    Caffe's own keep their level and their place in its source.
    """
    ours = [line for line in log.splitlines() if re.match(r"[IWEF]\d+ \S+ +\d+ \w+\.py:\d+\] ", line)]
    kept = [PREFIX.sub(r"\1 \2] ", line) for line in log.splitlines() if line not in ours]
    kept = [line for line in kept if not line.endswith("Waiting for data")]
    speeds = [re.sub(r" \(\S+ iter/s, \S+s/(\d+ iters)\)", r" (\1)", line) for line in kept]
    return [re.sub(r" \S+ ms\.$", " ms.", line) for line in speeds], ours


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
    (ours, own), (theirs, _) = lines_of(done.stderr), lines_of((FILES / "caffe_train.log").read_text())
    same_lines(ours, theirs)
    assert len(own) == 1 and re.search(r"Computing with \d+ CPU threads, torch ", own[0])
    for start in ("I ", "name: ", "layer {", '  stage: ""', "I solver.cpp:239] Iteration 4 (2 iters), loss = "):
        assert any(line.startswith(start) for line in ours)
    assert "Waiting for data" in done.stderr
    for name in (
        "tiny_iter_6.caffemodel",
        "tiny_iter_6.solverstate",
        "tiny_iter_12.caffemodel",
        "tiny_iter_12.solverstate",
    ):
        assert (folder / name).stat().st_size == pytest.approx((FILES / name).stat().st_size, rel=0.01)


def test_the_whole_log_of_a_test_is_caffes(folder, monkeypatch, capfd):
    weights = ["-weights", "tiny_iter_12.caffemodel"]
    said = run(folder, monkeypatch, capfd, "test", "-model", "train_val.prototxt", *weights, "-iterations", 2)
    ours, own = lines_of(said)
    assert not own
    same_lines(ours, lines_of((FILES / "caffe_test.log").read_text())[0])


def test_the_whole_log_of_a_timing_is_caffes(folder, monkeypatch, capfd):
    said = run(folder, monkeypatch, capfd, "time", "-model", "train_val.prototxt", "-iterations", 5)

    def lines(log):  # nothing seeds the weights
        return [re.sub(r"(Initial loss:) \S+", r"\1", line) for line in lines_of(log)[0]]

    same_lines(lines(said), lines((FILES / "caffe_time.log").read_text()))


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize(
    ("net", "weights"), [("squeezenet", "squeezenet_v1.0"), ("caffenet_conv-fc6-2", "caffenet_conv")]
)
def test_the_log_of_a_fine_tuning_is_caffes_up_to_its_first_iteration(
    shared, tmp_path, net, weights, fold, monkeypatch, capfd
):
    for name in "ground_truth", "deepsent", "weights":
        (tmp_path / name).symlink_to(shared / "data" / name)
    reference = shared / "data" / "reference" / net / f"fold{fold}"
    folder = tmp_path / "reference" / net / f"fold{fold}"
    folder.mkdir(parents=True)
    (folder / "train_val.prototxt").write_bytes((reference / "train_val.prototxt").read_bytes())
    solver = (reference / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(re.sub(r"max_iter: \d+", "max_iter: 0 snapshot_after_train: false", solver))
    command = ["train", "-solver", "solver.prototxt", "-weights", f"../../../weights/{weights}.caffemodel"]
    said = run(folder, monkeypatch, capfd, *command)

    def head(log):  # but for the solver's own dump, whose max_iter is another, and the folder of the weights
        lines = lines_of(log)[0]
        first, last = (next(i for i, line in enumerate(lines) if text in line) for text in ("Creating tr", "Policy"))
        return [line.replace("../../../weights/", "") for line in (lines[0], *lines[first : last + 1])]

    theirs = head((reference / "train.log").read_text(errors="replace"))
    assert head(said) == theirs and sum("Finetuning from" in line for line in theirs) == 2


def test_the_log_without_speed_is_that_of_2015(folder):
    done = caffe(folder, "train", "-solver", "solver.prototxt", env={**os.environ, "CAFFE_LOG": "2015"})
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if "] " in line]
    assert all(re.match(r"[IW]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+:\d+\] ", line) for line in lines)
    shown = [line.split("] ", 1)[1] for line in lines if re.search(r"Iteration \d+, loss = \S+$", line)]
    assert shown[:2] == ["Iteration 0, loss = 0.715955", "Iteration 2, loss = 0.649614"]
    assert not any("iter/s" in line for line in lines)


def test_resumes_from_the_measured_state(folder, monkeypatch, capfd):
    for suffix in ("caffemodel", "solverstate"):
        shutil.copy(FILES / f"tiny_iter_6.{suffix}", folder)
    state = ["-snapshot", "tiny_iter_6.solverstate"]
    solver = (folder / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(solver + "\nweights: 'absent.caffemodel'")  # a snapshot has its own
    lines, own = lines_of(run(folder, monkeypatch, capfd, "train", "-solver", "solver.prototxt", *state))
    assert "random streams and data positions start again" in own[-1]
    at = lines.index("I caffe.cpp:235] Resuming from tiny_iter_6.solverstate")
    assert lines[at - 1 : at + 6] == [
        "I solver.cpp:57] Solver scaffolding done.",
        "I caffe.cpp:235] Resuming from tiny_iter_6.solverstate",
        "I sgd_solver.cpp:336] SGDSolver: restoring history",
        "I caffe.cpp:239] Starting Optimization",
        "I solver.cpp:289] Solving TinyCaffeNet",
        "I solver.cpp:290] Learning Rate Policy: step",
        lines[at + 5],
    ]
    assert lines[at + 5].startswith("I solver.cpp:239] Iteration 6 (")


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


LMDB = """
name: 'lmdb'
layer { name: 'data' type: 'Data' top: 'data' top: 'label' transform_param { scale: 0.001 }
  data_param { source: 'train_lmdb' batch_size: 10 backend: LMDB } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param { num_output: 2 } }
layer { name: 'scale' type: 'Scale' bottom: 'ip' top: 'ip' scale_param { bias_term: true } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' }
"""


def test_the_lines_that_the_measured_logs_lack(folder, monkeypatch, capfd):
    (folder / "lmdb.prototxt").write_text(LMDB)
    (folder / "s.prototxt").write_text(
        "net: 'lmdb.prototxt' base_lr: 0.01 lr_policy: 'multistep' stepvalue: 2 gamma: 0.1 max_iter: 4 display: 2 "
        "solver_mode: CPU solver_type: NESTEROV snapshot_format: HDF5"
    )
    lines = lines_of(run(folder, monkeypatch, capfd, "train", "-solver", "s.prototxt"))[0]
    assert lines[:5] == [
        "I upgrade_proto.cpp:1084] Attempting to upgrade input file specified using deprecated 'solver_type' field "
        "(enum)': s.prototxt",
        "I upgrade_proto.cpp:1091] Successfully upgraded file specified using deprecated 'solver_type' field (enum) to "
        "'type' field (string).",
        "W upgrade_proto.cpp:1093] Note that future Caffe releases will only support 'type' field (string) for a "
        "solver's type.",
        "I upgrade_proto.cpp:1108] snapshot_prefix was not specified and is set to s",
        "I caffe.cpp:197] Use CPU.",
    ]

    def following(start, count):
        at = lines.index(start)
        return [line.split("] ", 1)[1] for line in lines[at : at + count]]

    assert following("I layer_factory.hpp:77] Creating layer data", 6) == [
        "Creating layer data",
        "Opened lmdb train_lmdb",
        "Creating Layer data",
        "data -> data",
        "data -> label",
        "output data size: 10,3,128,128",
    ]
    assert following("I net.cpp:369] scale -> ip (in-place)", 3)[1:] == ["Creating layer scale", "Setting up scale"]
    assert following("I net.cpp:382] loss -> (automatic)", 3)[1:] == ["Creating layer loss", "Setting up loss"]
    assert "I data_layer.cpp:45] output data size: 10,3,128,128" in lines
    # 24 records: the end is met in the third, fifth … batch, by a thread that is ahead of the training
    assert 1 <= lines.count("I data_layer.cpp:73] Restarting data prefetching from start.") <= 2
    assert following("I sgd_solver.cpp:50] MultiStep Status: Iteration 2, step = 1", 2)[1] == "Iteration 2, lr = 0.001"
    assert "I solver.cpp:474] Snapshotting to HDF5 file s_iter_4.caffemodel.h5" in lines
    assert "I sgd_solver.cpp:296] Snapshotting solver state to HDF5 file s_iter_4.solverstate.h5" in lines
    (folder / "to").mkdir()
    (folder / "s.prototxt").write_text((folder / "s.prototxt").read_text() + " snapshot_prefix: 'to'")
    lines = lines_of(run(folder, monkeypatch, capfd, "train", "-solver", "s.prototxt"))[0]
    assert lines[3] == "I upgrade_proto.cpp:1113] snapshot_prefix was a directory and is replaced to to/s"
    assert (folder / "to" / "s_iter_4.streams").is_file()


def test_a_solver_of_a_named_type_adds_nothing_to_its_dump(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    capfd.readouterr()
    pycaffe.SGDSolver("solver.prototxt")
    assert 'type: "SGD"' not in capfd.readouterr().err.split("Creating training net")[0]


DEBUG = """
layer { name: 'd' type: 'DummyData' top: 'x' top: 'label' dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 } data_filler { value: 1 } data_filler { value: 0 } } }
layer { name: 'a' type: 'InnerProduct' bottom: 'x' top: 'a' param { name: 'w' } param { lr_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { value: -0.5 } bias_filler { value: 0.25 } } }
layer { name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b' param { name: 'w' } param { lr_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { value: 1 } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'b' bottom: 'label' top: 'loss' include { phase: TRAIN } }
"""


def test_debug_info_of_a_net_is_logged_but_where_layers_are_timed(tmp_path, monkeypatch, capfd):
    (tmp_path / "n.prototxt").write_text(DEBUG + "debug_info: true")
    said = run(tmp_path, monkeypatch, capfd, "time", "-model", "n.prototxt", "-iterations", 2)
    before, timed = said.split("*** Benchmark begins ***")
    assert before.count("Layer a, top blob a data") == before.count("Layer a, param blob 0 diff") == 1
    assert "top blob" not in timed and "param blob" not in timed and "a\tbackward" in timed


def test_debug_info_logs_the_size_of_what_is_computed(tmp_path, monkeypatch, capfd):
    (tmp_path / "n.prototxt").write_text(DEBUG)
    (tmp_path / "s.prototxt").write_text(
        "net: 'n.prototxt' base_lr: 0 lr_policy: 'fixed' max_iter: 2 display: 2 solver_mode: CPU debug_info: true "
        "snapshot_after_train: false test_iter: 1 test_interval: 1"
    )
    lines = lines_of(run(tmp_path, monkeypatch, capfd, "train", "-solver", "s.prototxt"))[0]
    shown = [line for line in lines if "[Forward]" in line or "[Backward]" in line]
    forward = [
        "Layer d, top blob x data: 1",
        "Layer d, top blob label data: 0",
        "Layer a, top blob a data: 1.25",  # 3 · -0.5 + 0.25
        "Layer a, param blob w data: 0.5",
        "Layer a, param blob 1 data: 0.25",
        "Layer b, top blob b data: 1.875",
        "Layer b, param blob w data: 0.5",
        "Layer b, param blob 1 data: 0",
        "Layer loss, top blob loss data: 1.09861",
    ]
    top, param = "I net.cpp:593]     [Forward] ", "I net.cpp:605]     [Forward] "
    forward = [(top if "top blob" in text else param) + text for text in forward]
    bottom, blob = "I net.cpp:621]     [Backward] ", "I net.cpp:632]     [Backward] "
    backward = [
        bottom + "Layer loss, bottom blob b diff: 0.222222",  # |p - 1| / 2 and twice p / 2, p = 1/3
        bottom + "Layer b, bottom blob a diff: 0",
        blob + "Layer b, param blob 0 diff: 0.555556",  # 1.25 times the sum of those over the batch
        blob + "Layer a, param blob 0 diff: 0.555556",  # shared: as it stands
        "E net.cpp:721]     [Backward] All net params (data, diff): L1 norm = (5.25, 5); L2 norm = (1.56125, 1.76777)",
    ]
    test = [line for line in forward if "loss" not in line]
    # the net is tested at 0, 1 and 2, and shows its own passes where it displays, at 0 and, forward only, at the end
    at_0 = [*test, *forward, *backward]
    same_lines(shown[: len(at_0)], at_0)
    assert [line.split(":")[0] for line in shown[len(at_0) :]] == [line.split(":")[0] for line in test * 2]


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_iterations_are_a_number_from_one_on(count, capfd):
    assert cli.main(["time", "-model", "train_val.prototxt", f"-iterations={count}"]) == 2
    said = capfd.readouterr().err
    assert "iterations" in said and count in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("gpu", ["0", "all", "0,1"])
def test_a_gpu_that_is_not_there_is_said(gpu, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for command in (["train", "-solver", "solver.prototxt"], ["time", "-model", "train_val.prototxt"]):
        assert cli.main([*command, "-gpu", gpu]) == 2
        said = capfd.readouterr().err.splitlines()[-1]
        assert "torch sees no CUDA device" in said and "-gpu" in said
    assert cli.main(["device_query", "-gpu", gpu]) == 2
    assert "torch sees none here" in capfd.readouterr().err


@pytest.mark.parametrize(("gpu", "count", "used"), [("1", 2, 1), ("all", 2, None), ("all", 1, 0), ("0,1", 2, None)])
def test_a_training_runs_on_the_one_gpu_that_is_named(gpu, count, used, folder, monkeypatch, capfd):
    """With cards made up: which is chosen, before anything is computed."""
    chosen = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(name="a card"))
    monkeypatch.setattr("caffe.runtime.mode.set_device", chosen.append)
    monkeypatch.setattr("caffe.runtime.mode.set_mode_gpu", lambda: None)
    solver = (folder / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(solver.replace("max_iter: 12", "max_iter: 0 test_initialization: false"))
    status = cli.main(["train", "-solver", "solver.prototxt", "-gpu", gpu])
    lines = lines_of(capfd.readouterr().err)[0]
    if used is None:
        assert status == 2 and "one GPU" in lines[-1]
    else:
        assert status == 0 and chosen == [used]
        assert lines[:2] == [f"I caffe.cpp:204] Using GPUs {used}", f"I caffe.cpp:209] GPU {used}: a card"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_definition_that_asks_for_a_gpu_is_named(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    text = (folder / "solver.prototxt").read_text().replace("CPU", "GPU")
    (folder / "solver.prototxt").write_text(text)
    assert cli.main(["train", "-solver", "solver.prototxt"]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert (
        all(part in said for part in ("solver_mode: GPU", "solver_mode: CPU", "solver.prototxt")) and "-gpu" not in said
    )
    assert (
        cli.main(["train", "-solver", "solver.prototxt", "-gpu", "0"]) == 2
    )  # both ask for it, both are to be changed
    said = capfd.readouterr().err.splitlines()[-1]
    assert all(part in said for part in ("-gpu", "solver_mode: CPU", "solver.prototxt"))
    assert pycaffe.get_solver("solver.prototxt").iter == 0  # only the command heeds it, as in Caffe
    (folder / "solver.prototxt").write_text(text.replace("GPU", "CPU"))
    assert cli.main(["train", "-solver", "solver.prototxt"]) == 0


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
        (["train", "-solver", "solver.prototxt", "-sigint_effect", "wait"], "sigint_effect"),
        (["train", "solver.prototxt"], "solver.prototxt"),
        (["time", "-model", "train_val.prototxt", "-phase", "VAL"], "VAL"),
        (["compute_image_mean", "-backend=leveldb", "train_lmdb"], "choose the backend lmdb"),
        (["compute_image_mean", "-backend=rocksdb", "train_lmdb"], "rocksdb"),
        (["convert_imageset", "-gray", "train.txt"], "ROOTFOLDER"),
        (["tarin", "-solver", "solver.prototxt"], "device_query"),
        (["train", "-solver", "train_val.prototxt"], "caffe.NetParameter"),
        (["train", "-solver", "solver.prototxt", "-snapshot", "tiny_iter_12.caffemodel"], "tiny_iter_12.caffemodel"),
    ],
)
def test_errors_are_one_sentence_and_status_2(folder, args, said, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    assert cli.main(args) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("caffe") and " error: " in last and said in last


def test_an_error_is_the_commands_exit_status(folder):
    done = caffe(folder, "train", "-solver", "absent.prototxt")
    assert done.returncode == 2
    assert "error:" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_without_a_command_it_lists_them(folder):
    done = caffe(folder)
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("train", "test", "time", "device_query", "compute_image_mean"))
