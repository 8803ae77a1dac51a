"""The pycaffe interface of solvers: steps, snapshots, exact resume, what is displayed."""

import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2
from caffe.solvers.solver import NONE, SNAPSHOT, STOP

NET = """
name: 'testnet'
layer { type: 'DummyData' name: 'data' top: 'data' top: 'label'
  dummy_data_param { num: 5 channels: 2 height: 3 width: 4 num: 5 channels: 1 height: 1 width: 1
    data_filler { type: 'gaussian' std: 1 } data_filler { type: 'constant' value: 3 } } }
layer { type: 'InnerProduct' name: 'ip' bottom: 'data' top: 'ip'
  inner_product_param { num_output: 13 weight_filler { type: 'xavier' } } }
layer { type: 'Dropout' name: 'drop' bottom: 'ip' top: 'ip' }
layer { type: 'SoftmaxWithLoss' name: 'loss' bottom: 'ip' bottom: 'label' top: 'loss' }
"""

SOLVER = """
net: '{net}' test_iter: 2 test_interval: 10 base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005
lr_policy: 'inv' gamma: 0.1 power: 0.75
display: 100 max_iter: 20 snapshot_after_train: false snapshot_prefix: '{prefix}' random_seed: 5
"""


@pytest.fixture
def solver_file(tmp_path):
    def make(more="", net=NET):
        (tmp_path / "net.prototxt").write_text(net)
        param = caffe_pb2.SolverParameter()
        text_format.Merge(SOLVER.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "snap"), param)
        text_format.Merge(more, param)  # may say a field anew
        path = tmp_path / "solver.prototxt"
        path.write_text(str(param))
        return str(path)

    return make


def weights(solver):
    return [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]


def test_solve_counts_iterations(solver_file):
    solver = caffe.get_solver(solver_file())
    assert solver.iter == 0
    solver.step(3)
    assert solver.iter == 3
    solver.solve()
    assert solver.iter == 20
    assert len(solver.test_nets) == 1 and solver.param.max_iter == 20


def test_nets_of_training_and_testing_may_be_files_of_their_own(solver_file, tmp_path):
    for more in "", "train_net: '{0}' test_net: '{0}'", "train_net: '{0}' test_net: '{0}' test_net: '{0}' test_iter: 3":
        param = caffe_pb2.SolverParameter()
        text_format.Merge(Path(solver_file()).read_text(), param)
        if more:
            param.ClearField("net")
            text_format.Merge(more.format(tmp_path / "net.prototxt"), param)
        (tmp_path / "own.prototxt").write_text(str(param))
        solver = caffe.get_solver(str(tmp_path / "own.prototxt"))
        assert len(solver.test_nets) == max(1, more.count("test_net"))
        solver.step(11)


def test_test_nets_use_the_train_nets_weights(solver_file):
    solver = caffe.get_solver(solver_file())
    solver.step(1)
    solver.net.params["ip"][0].data[...] = 4
    np.testing.assert_array_equal(solver.test_nets[0].params["ip"][0].data, 4)


def test_apply_update_subtracts_rate_times_gradient(solver_file):
    solver = caffe.SGDSolver(solver_file("weight_decay: 0"))
    blob = solver.net.params["ip"][0]
    blob.data[...] = 0
    solver.net.clear_param_diffs()
    blob.diff[...] = 1
    solver.apply_update()
    np.testing.assert_allclose(blob.data, np.full_like(blob.data, -0.01), rtol=1e-6)
    np.testing.assert_allclose(blob.diff, np.full_like(blob.diff, 0.01), rtol=1e-6)  # what was subtracted
    assert solver.iter == 1 and solver.lr == pytest.approx(0.01 * 1.1**-0.75)


@pytest.mark.parametrize("snapshot_format", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_resumed_training_is_bit_identical(solver_file, tmp_path, kind, snapshot_format):
    text = f"type: '{kind}' snapshot_format: {snapshot_format}"
    whole = caffe.get_solver(solver_file(text))
    whole.step(12)

    first = caffe.get_solver(solver_file(text))
    first.step(7)
    first.snapshot()
    h5 = ".h5" if snapshot_format == "HDF5" else ""
    state = tmp_path / f"snap_iter_7.solverstate{h5}"
    assert state.exists() and (tmp_path / f"snap_iter_7.caffemodel{h5}").exists()

    second = caffe.get_solver(solver_file(text))
    caffe.set_random_seed(1234)  # the streams come from the snapshot, not from here
    second.restore(str(state))
    assert second.iter == 7
    second.step(5)
    for ours, theirs in zip(weights(second), weights(whole)):
        np.testing.assert_array_equal(ours, theirs)


def test_restore_refuses_another_solver_types_state(solver_file, tmp_path):
    adam = caffe.get_solver(solver_file("type: 'Adam'"))
    adam.step(1)
    adam.snapshot()
    sgd = caffe.get_solver(solver_file())
    with pytest.raises(caffe.CaffeError, match="Incorrect length of history blobs"):
        sgd.restore(str(tmp_path / "snap_iter_1.solverstate"))


def test_callbacks_surround_the_gradient(solver_file):
    solver = caffe.get_solver(solver_file())
    seen = []
    solver.add_callback(lambda: seen.append("start"), lambda: seen.append("ready"))
    solver.step(2)
    assert seen == ["start", "ready"] * 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("type: 'Nonsense'", "Unknown solver type: Nonsense"),
        ("train_net: 'x'", "exactly one"),
        ("snapshot: 5 snapshot_prefix: '/nonexistent/folder/snap'", "Cannot write to snapshot prefix"),
        ("lr_policy: 'nonsense'", "Unknown learning rate policy: nonsense"),
        ("regularization_type: 'L3'", "Unknown regularization type: L3"),
        ("type: 'AdaGrad'", "Momentum cannot be used with AdaGrad"),
        ("net_param { }", "net_param"),
        ("test_net: 'a' test_net: 'b'", "test_iter must be specified for each test network"),
        ("test_state { } test_state { }", "test_state must be unspecified or specified once per test net"),
        ("test_interval: 0", "test_interval must be positive"),
        ("test_interval: -2", "test_interval must be positive"),
        ("average_loss: 0", "average_loss"),
        ("iter_size: 0", "iter_size"),
        ("iter_size: -1", "iter_size"),
        ("type: 'Adam' momentum: 1", "momentum"),
        ("type: 'Adam' momentum: -0.1", "momentum"),
        ("type: 'Adam' momentum2: 1.5", "momentum2"),
        ("type: 'RMSProp' momentum: 0 rms_decay: 1", "rms_decay"),
        ("lr_policy: 'step' stepsize: 0", "stepsize"),
        ("gamma: -1", "gamma"),
    ],
)
def test_wrong_definitions_are_one_sentence(solver_file, more, said):
    with pytest.raises(caffe.CaffeError, match=said):
        caffe.get_solver(solver_file(more)).step(1)


@pytest.mark.parametrize(
    "more",
    [
        "max_iter: 0",
        "max_iter: -3",
        "display: -1",
        "snapshot: -1",
        "test_iter: 0 test_compute_loss: true",
        "test_iter: -1",
        "clip_gradients: 0",
        "lr_policy: 'multistep' stepvalue: 5 stepvalue: 2",
        "momentum: 1",
        "momentum: -0.5",
        "type: 'Nesterov' momentum: 1.5",
        "type: 'AdaDelta' momentum: 1.5",
        "type: 'Adam' delta: 0",
        "type: 'Adam' momentum: 0 momentum2: 0",
        "random_seed: 5000000000",
    ],
)
def test_definitions_that_caffe_runs_are_run_however_odd(solver_file, more):
    solver = caffe.get_solver(solver_file("max_iter: 3 test_interval: 2 " + more))
    solver.solve()
    assert solver.iter == max(solver.param.max_iter, 0)


def test_clipping_to_nothing_leaves_the_weights_alone(solver_file):
    solver = caffe.get_solver(solver_file("clip_gradients: 0 weight_decay: 0"))
    before = weights(solver)
    solver.step(2)
    for ours, was in zip(weights(solver), before):
        np.testing.assert_array_equal(ours, was)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov"])
def test_at_rate_zero_a_gradient_that_is_no_number_does_no_harm(solver_file, kind):
    solver = caffe.get_solver(solver_file(f"type: '{kind}' base_lr: 0 weight_decay: 0"))
    before = weights(solver)
    solver.net.clear_param_diffs()
    solver.net.params["ip"][0].diff[...] = np.nan
    solver.apply_update()
    for ours, was in zip(weights(solver), before):
        np.testing.assert_array_equal(ours, was)


def test_gradients_whose_norm_overflows_a_float_are_clipped_to_nothing(solver_file):
    solver = caffe.get_solver(solver_file("clip_gradients: 1 weight_decay: 0"))
    before = weights(solver)
    solver.net.params["ip"][0].diff[...] = 1e30
    solver.apply_update()
    for ours, was in zip(weights(solver), before):
        np.testing.assert_array_equal(ours, was)


def test_a_loss_that_was_nan_once_stays_in_the_displayed_mean(solver_file, capfd):
    solver = caffe.get_solver(solver_file("average_loss: 2 display: 1 test_interval: 100 base_lr: 0"))
    kept = solver.net.params["ip"][0].data.copy()
    solver.net.params["ip"][0].data[...] = np.nan
    fix = iter([lambda: None, lambda: solver.net.params["ip"][0].data.__setitem__(..., kept)] + [lambda: None] * 9)
    solver.add_callback(lambda: next(fix)(), lambda: solver.net.clear_param_diffs())
    solver.step(5)
    shown = re.findall(r"Iteration \d+ \(.*\), loss = (\S+)", capfd.readouterr().err)
    assert shown == ["nan"] * 5


KINDS = ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_solver_is_of_the_class_of_its_type(solver_file, kind):
    momentum = "momentum: 0" if kind in ("AdaGrad", "RMSProp") else ""
    solver = caffe.get_solver(solver_file(f"type: '{kind}' {momentum}"))
    assert type(solver) is getattr(caffe, f"{kind}Solver")
    assert isinstance(solver, caffe.SGDSolver) and isinstance(solver, caffe.Solver)
    solver.step(1)


def test_a_class_keeps_its_rule_whatever_type_the_definition_names(solver_file):
    def stepped(make, kind):
        solver = make(solver_file(f"type: '{kind}'"))
        solver.step(2)
        return solver

    adam, plain = stepped(caffe.get_solver, "Adam"), stepped(caffe.SGDSolver, "Adam")
    named = stepped(caffe.SGDSolver, "SGD")
    assert plain.param.type == "Adam"
    for ours, same, other in zip(weights(plain), weights(named), weights(adam)):
        np.testing.assert_array_equal(ours, same)
        assert not np.array_equal(ours, other)


def test_a_test_can_be_interrupted_and_a_snapshot_asked_for_in_it(solver_file, tmp_path, capfd):
    solver = caffe.get_solver(solver_file("test_interval: 2"))
    before_it = [NONE] * (2 + 2)  # two batches of the first test, two iterations
    requests = iter([*before_it, SNAPSHOT, STOP])
    solver.action = lambda: next(requests)
    solver.solve()
    assert solver.stopped_early
    assert solver.iter == 2
    assert (tmp_path / "snap_iter_2.solverstate").is_file()
    assert "Test interrupted." in capfd.readouterr().err


def test_display_averages_the_last_losses(solver_file, capfd):
    solver = caffe.get_solver(solver_file("average_loss: 3 display: 1 test_interval: 100"))
    solver.step(5)
    log = capfd.readouterr().err
    raw = [float(n) for n in re.findall(r"Train net output #0: loss = (\S+)", log)]
    shown = [float(n) for n in re.findall(r"Iteration \d+ \(.*\), loss = (\S+)", log)]
    np.testing.assert_allclose(shown, [np.mean(raw[max(0, i - 2) : i + 1]) for i in range(5)], rtol=1e-4)


def test_parameters_without_gradient_stay(solver_file):
    net = NET.replace("name: 'ip'", "name: 'ip' param { lr_mult: 0 } param { lr_mult: 1 }")
    solver = caffe.get_solver(solver_file(net=net))
    before = solver.net.params["ip"][0].data.copy()
    bias = solver.net.params["ip"][1].data.copy()
    solver.step(3)
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, before)
    assert np.any(solver.net.params["ip"][1].data != bias)


def test_solver_definitions_may_be_messages(solver_file):
    param = caffe_pb2.SolverParameter()
    with open(solver_file()) as file:
        text_format.Parse(file.read(), param)
    assert caffe.Solver(param).iter == 0


def test_the_rate_in_the_log_counts_from_display_to_display_whatever_the_steps(tmp_path, capfd):
    net = (
        'layer {name: "data" type: "DummyData" top: "data" dummy_data_param {shape {dim: 2 dim: 3} '
        'data_filler {type: "constant" value: 1}}} '
        'layer {name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {num_output: 1}} '
        'layer {name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1}'
    )
    (tmp_path / "net.prototxt").write_text(net)
    definition = tmp_path / "solver.prototxt"
    definition.write_text(f'net: "{tmp_path / "net.prototxt"}" base_lr: 0.1 lr_policy: "fixed" display: 2')
    solver = caffe.get_solver(str(definition))
    for _ in range(5):
        solver.step(1)
    logged = re.findall(r"Iteration (\d+) \((\S+) iter/s, (\S+)s/2 iters\)", capfd.readouterr().err)
    assert [int(iteration) for iteration, _, _ in logged] == [0, 2, 4]
    for _, rate, seconds in logged[1:]:
        assert float(rate) * float(seconds) == pytest.approx(2, rel=1e-3)
