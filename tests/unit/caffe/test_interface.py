"""The names of pycaffe: what is there, what is absent, and the layer types in scope."""

import importlib
import subprocess
import sys
import time

import numpy as np
import pytest

import caffe
from caffe.errors import CaffeError
from helpers.layer_checks import build, input_layer, layer

IN_SCOPE = """
Input Data ImageData WindowData MemoryData HDF5Data HDF5Output DummyData Convolution Deconvolution Im2col Pooling SPP
LRN MVN InnerProduct Embed ReLU PReLU ELU Clip Sigmoid TanH AbsVal BNLL Exp Log Power Swish Threshold Dropout
Softmax SoftmaxWithLoss InfogainLoss MultinomialLogisticLoss EuclideanLoss ContrastiveLoss HingeLoss
SigmoidCrossEntropyLoss Accuracy ArgMax RNN LSTM LSTMUnit Concat Slice Split Tile Filter BatchReindex Eltwise Flatten
Reshape Crop Reduction Scale Bias BatchNorm Parameter Silence Python
"""

# what BVLC Caffe 1.0's own __init__ imports, less what is absent
PYCAFFE = """
Net SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver Timer init_log log set_mode_cpu
set_mode_gpu set_device Layer get_solver layer_type_list set_random_seed solver_count set_solver_count solver_rank
set_solver_rank set_multiprocess has_nccl TRAIN TEST Classifier Detector io layers params NetSpec to_proto proto
net_spec
"""

# where scripts import them from besides
MODULES = {
    "detector": "Detector Net",
    "pycaffe": "Net SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver Timer",
    "_caffe": "Net Blob Layer Solver BlobVec LayerParameter get_solver layer_type_list set_random_seed log",
}

IO = """
blobproto_to_array array_to_blobproto arraylist_to_blobprotovector_str blobprotovector_str_to_arraylist array_to_datum
datum_to_array Transformer load_image resize_image oversample
"""


def test_importing_loads_only_what_most_programs_need():
    shown = "import sys, caffe; print(*sys.modules.keys() & {'cv2', 'h5py', 'scipy', 'skimage'})"
    assert subprocess.run([sys.executable, "-c", shown], check=True, capture_output=True, text=True).stdout == "\n"


def test_the_layer_types_are_those_in_scope():
    assert sorted(caffe.layer_type_list()) == sorted(IN_SCOPE.split())


@pytest.mark.parametrize("name", PYCAFFE.split())
def test_pycaffes_names_are_there(name):
    assert hasattr(caffe, name)


@pytest.mark.parametrize("module", MODULES)
def test_the_names_of_pycaffes_modules_are_there(module):
    found = importlib.import_module(f"caffe.{module}")
    assert [name for name in MODULES[module].split() if not hasattr(found, name)] == []
    assert found is getattr(caffe, module) and found.Net is caffe.Net


@pytest.mark.parametrize("name", IO.split())
def test_the_names_of_io_are_there(name):
    assert callable(getattr(caffe.io, name))


def test_nccl_is_absent_and_says_so():
    assert not hasattr(caffe, "NCCL")
    with pytest.raises(AttributeError, match=r"caffe\.NCCL is absent: .+ one device here"):
        _ = caffe.NCCL
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = caffe.Nonsense


def test_one_solver_trains_in_one_process():
    assert (caffe.has_nccl(), caffe.solver_count(), caffe.solver_rank()) == (False, 1, 0)
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    caffe.set_multiprocess(False)
    for refused in (
        lambda: caffe.set_solver_count(2),
        lambda: caffe.set_solver_rank(1),
        lambda: caffe.set_multiprocess(True),
    ):
        with pytest.raises(CaffeError, match="one process on one device"):
            refused()


def test_log_lines_of_ones_own_follow_the_level(monkeypatch, capsys):
    monkeypatch.setattr("caffe.runtime.glog._minimum", 2)
    caffe.log("hidden")
    caffe.init_log(0)
    caffe.log("shown")
    said = capsys.readouterr().err
    assert "hidden" not in said and said.startswith("I") and said.endswith("] shown\n")


def test_the_timer_counts_milliseconds():
    timer, outside = caffe.Timer(), time.perf_counter()
    timer.start()
    inside = time.perf_counter()
    time.sleep(0.002)
    inside = time.perf_counter() - inside
    timer.stop()
    assert 1000 * inside <= timer.ms <= 1000 * (time.perf_counter() - outside)


def test_the_lists_under_pycaffes_python():
    net = build(
        "name: 'n' "
        + input_layer("x", (2, 3))
        + layer("a", "x", "y", "type: 'InnerProduct' inner_product_param { num_output: 2 }")
        + layer("r", "y", "r", "type: 'Reduction' loss_weight: 2")
    )
    assert net.name == "n"
    assert list(net._layer_names) == ["x", "a", "r"] and list(net._blob_names) == ["x", "y", "r"]
    assert (net._inputs, net._outputs) == ([0], [2])
    assert net._blob_loss_weights == [0, 0, 2]
    assert list(net.blob_loss_weights.items()) == [("x", 0), ("y", 0), ("r", 2)]
    assert (net._bottom_ids(1), net._top_ids(1)) == ([0], [1])
    net.blobs["x"].data[...] = 1
    net.params["a"][0].data[...] = 1
    assert net._forward(0, 2) == 2 * 12
    net._backward(2, 0)
    np.testing.assert_array_equal(net.params["a"][0].diff, np.full((2, 3), 4))


def test_a_batch_at_a_time_the_last_filled_up():
    net = build(input_layer("x", (3, 1)) + layer("r", "x", "r", "type: 'Reduction'"))
    batches = list(net._batch({"x": np.arange(1, 6, dtype=np.float32)[:, np.newaxis]}))
    assert [batch["x"].ravel().tolist() for batch in batches] == [[1, 2, 3], [4, 5, 0]]


def test_input_arrays_by_the_compiled_modules_name():
    shape = "batch_size: 2 channels: 1 height: 1 width: 1"
    net = build(f"layer {{ name: 'm' type: 'MemoryData' top: 'x' top: 'y' memory_data_param {{ {shape} }} }}")
    net._set_input_arrays(np.float32([1, 2]).reshape(2, 1, 1, 1), np.float32([3, 4]).reshape(2, 1, 1, 1))
    assert [blob.ravel().tolist() for blob in net.forward().values()] == [[1, 2], [3, 4]]
    with pytest.raises(CaffeError, match="may only be called if the first layer is a MemoryDataLayer"):
        build(input_layer("x", (1, 1)))._set_input_arrays(np.zeros(1), np.zeros(1))


def test_parameters_may_stand_in_the_definition(tmp_path):
    body = "type: 'InnerProduct' inner_product_param {{ num_output: 2 }} "
    body += "blobs {{ shape {{ dim: 2 dim: 1 }} data: [3, {}] }}"
    bias = " blobs { shape { dim: 2 } data: [1, 2] }"
    net = build(input_layer("x", (1, 1)) + layer("a", "x", "y", body.format(4) + bias))
    np.testing.assert_array_equal(net.params["a"][0].data, [[3], [4]])
    np.testing.assert_array_equal(net.params["a"][1].data, [1, 2])
    net.params["a"][0].data[...] = 7
    net.save(str(tmp_path / "w"))
    saved = caffe.proto.caffe_pb2.NetParameter.FromString((tmp_path / "w").read_bytes())
    assert [list(b.data) for b in saved.layer[1].blobs] == [[7, 7], [1, 2]]
    with pytest.raises(CaffeError, match=r"Incorrect weight shape.*3 values.*layer 'a'"):
        build(input_layer("x", (1, 1)) + layer("a", "x", "y", body.format("4, 5") + bias))
    with pytest.raises(CaffeError, match=r"0 values for parameter 1.*layer 'a'"):
        build(input_layer("x", (1, 1)) + layer("a", "x", "y", body.format(4)))


def test_the_snapshots_folder_matters_only_where_one_is_due(tmp_path):
    net = "layer { name: 'd' type: 'DummyData' top: 'd' dummy_data_param { shape { dim: 1 } } }"
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f"net_param {{ {net} }} base_lr: 1 lr_policy: 'fixed' max_iter: 2 snapshot_prefix: '/absent/s'")
    found = caffe.get_solver(str(solver))
    found.step(1)
    with pytest.raises(CaffeError, match="Cannot write to snapshot prefix '/absent/s'"):
        found.solve()
    assert found.iter == 1
    solver.write_text(solver.read_text() + " snapshot: 1")
    with pytest.raises(CaffeError, match="Cannot write to snapshot prefix '/absent/s'"):
        caffe.get_solver(str(solver))
