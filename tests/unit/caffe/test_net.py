"""The pycaffe interface of nets."""

import gc

import numpy as np
import pytest

import caffe

SIMPLE = """
name: 'testnet' force_backward: true
layer { type: 'DummyData' name: 'data' top: 'data' top: 'label'
  dummy_data_param { num: 5 channels: 2 height: 3 width: 4 num: 5 channels: 1 height: 1 width: 1
    data_filler { type: 'gaussian' std: 1 } data_filler { type: 'constant' } } }
layer { type: 'Convolution' name: 'conv' bottom: 'data' top: 'conv'
  convolution_param { num_output: 11 kernel_size: 2 pad: 3 weight_filler { type: 'gaussian' std: 1 }
    bias_filler { type: 'constant' value: 2 } }
  param { decay_mult: 1 } param { decay_mult: 0 } }
layer { type: 'InnerProduct' name: 'ip' bottom: 'conv' top: 'ip_blob'
  inner_product_param { num_output: 13 weight_filler { type: 'gaussian' std: 2.5 }
    bias_filler { type: 'constant' value: -3 } } }
layer { type: 'SoftmaxWithLoss' name: 'loss' bottom: 'ip_blob' bottom: 'label' top: 'loss' }
"""

STAGES = """
layer { name: 'data' type: 'DummyData' top: 'data' dummy_data_param { shape { dim: 1 dim: 1 dim: 10 dim: 10 } } }
layer { name: 'a' type: 'InnerProduct' bottom: 'data' top: 'a' include { stage: 'A' }
  inner_product_param { num_output: 1 } }
layer { name: 'b' type: 'InnerProduct' bottom: 'data' top: 'b' include { not_stage: 'B' }
  inner_product_param { num_output: 1 } }
layer { name: 'deep' type: 'InnerProduct' bottom: 'data' top: 'deep' include { min_level: 2 }
  inner_product_param { num_output: 1 } }
layer { name: 'train' type: 'InnerProduct' bottom: 'data' top: 'train' include { phase: TRAIN }
  inner_product_param { num_output: 1 } }
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="net.prototxt"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def net(write):
    net = caffe.Net(write(SIMPLE), caffe.TRAIN)
    net.blobs["label"].data[...] = np.random.RandomState(0).randint(13, size=net.blobs["label"].data.shape)
    return net


def test_names_inputs_and_outputs(net):
    assert net.inputs == []
    assert net.outputs == ["loss"]
    assert list(net.blobs) == ["data", "label", "conv", "ip_blob", "loss"]
    assert list(net.params) == ["conv", "ip"]
    assert net.top_names["data"] == ["data", "label"]
    assert net.bottom_names["loss"] == ["ip_blob", "label"]
    assert list(net.layer_dict) == ["data", "conv", "ip", "loss"]
    assert net.layer_dict["conv"].type == "Convolution"
    assert [len(layer.blobs) for layer in net.layers] == [0, 2, 2, 0]


def test_arrays_outlive_the_net(net):
    net.forward()
    arrays = [blob.data for blob in net.blobs.values()] + [b.data for bs in net.params.values() for b in bs]
    copies = [array.copy() for array in arrays]
    del net
    gc.collect()
    for array, copy in zip(arrays, copies):
        np.testing.assert_array_equal(array, copy)


def test_a_view_follows_the_blob_and_writes_reach_the_net(net):
    view = net.blobs["conv"].data
    net.forward()
    first = view.copy()
    assert np.any(first)
    net.params["conv"][0].data[...] = 0
    net.forward()
    np.testing.assert_array_equal(view, np.full_like(view, 2))  # the bias alone, seen through the older view
    assert view is not first and net.blobs["conv"].data.base is not None


def test_forward_and_backward_stop_and_start_where_told(net):
    net.forward(end="conv")
    assert not np.any(net.blobs["ip_blob"].data)
    net.forward(start="ip")
    assert np.any(net.blobs["ip_blob"].data)
    net.clear_param_diffs()
    assert set(net.backward(end="ip")) == {"conv"}
    assert np.any(net.params["ip"][0].diff) and not np.any(net.params["conv"][0].diff)
    net.backward(start="conv")
    assert np.any(net.params["conv"][0].diff)


def test_clear_param_diffs_and_accumulation(net):
    net.forward()
    net.clear_param_diffs()
    net.backward()
    once = net.params["ip"][0].diff.copy()
    net.backward()
    np.testing.assert_allclose(net.params["ip"][0].diff, 2 * once, rtol=1e-6)
    net.clear_param_diffs()
    assert not any(np.any(b.diff) for bs in net.params.values() for b in bs)


def test_wrong_arguments_are_refused(write):
    net = caffe.Net(
        write("layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }"), caffe.TEST
    )
    with pytest.raises(Exception, match="do not match net inputs"):
        net.forward(y=np.zeros((2, 3)))
    with pytest.raises(Exception, match="not batch sized"):
        net.forward(x=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="nowhere"):
        net.forward(end="nowhere")


def test_forward_all_takes_any_number(write):
    net = caffe.Net(
        write(
            "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 4 dim: 3 } } }"
            "layer { name: 'y' type: 'Power' bottom: 'x' top: 'y' power_param { scale: 2 } }"
        ),
        caffe.TEST,
    )
    values = np.random.RandomState(1).rand(10, 3).astype(np.float32)
    np.testing.assert_allclose(net.forward_all(x=values)["y"], 2 * values)


SQUARED = """
layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 4 dim: 3 } } }
layer { name: 'y' type: 'Power' bottom: 'x' top: 'y' power_param { power: 2 } }
force_backward: true
"""


def test_forward_backward_all_takes_any_number(write):
    net = caffe.Net(write(SQUARED), caffe.TRAIN)
    x, dy = np.random.RandomState(1).rand(2, 10, 3).astype(np.float32)
    outputs, gradients = net.forward_backward_all(diffs=["x"], x=x, y=dy)
    np.testing.assert_allclose(outputs["y"], x**2, rtol=1e-5)
    np.testing.assert_allclose(gradients["x"], 2 * x * dy, rtol=1e-5)
    with pytest.raises(Exception, match="neither inputs"):
        net.forward_backward_all(x=x, z=dy)


def test_forward_backward_all_of_a_loss_needs_no_diffs_of_outputs(write):
    loss = "layer { name: 'l' type: 'Reduction' bottom: 'y' top: 'l' loss_weight: 1 reduction_param { axis: 1 } }"
    net = caffe.Net(write(SQUARED + loss), caffe.TRAIN)
    x = np.random.RandomState(1).rand(8, 3).astype(np.float32)
    _, gradients = net.forward_backward_all(diffs=["x"], x=x)
    np.testing.assert_allclose(gradients["x"], 2 * x, rtol=1e-5)


@pytest.mark.parametrize("hdf5", [False, True])
def test_save_and_load(net, write, tmp_path, hdf5):
    path = str(tmp_path / ("w.caffemodel.h5" if hdf5 else "w.caffemodel"))
    (net.save_hdf5 if hdf5 else net.save)(path)
    other = caffe.Net(write(SIMPLE), caffe.TEST)
    (other.load_hdf5 if hdf5 else other.copy_from)(path)
    third = caffe.Net(write(SIMPLE), caffe.TEST, weights=path)
    old_form = caffe.Net(write(SIMPLE), path, caffe.TEST)
    for name in net.params:
        for i in range(2):
            for loaded in (other, third, old_form):
                np.testing.assert_array_equal(loaded.params[name][i].data, net.params[name][i].data)


def test_hdf5_files_may_have_any_name(net, write, tmp_path):
    net.save_hdf5(str(tmp_path / "weights"))
    net.save(str(tmp_path / "binary.h5"))
    for load, name in (("load_hdf5", "weights"), ("copy_from", "weights"), ("copy_from", "binary.h5")):
        other = caffe.Net(write(SIMPLE), caffe.TEST)
        getattr(other, load)(str(tmp_path / name))
        np.testing.assert_array_equal(other.params["ip"][0].data, net.params["ip"][0].data)
    net.save(str(tmp_path / "binary"))
    with pytest.raises(caffe.CaffeError, match="binary is not a complete HDF5 weights file"):
        other.load_hdf5(str(tmp_path / "binary"))


ALL_IN_ONE = """
layer { name: 'train' type: 'DummyData' top: 'data' top: 'label' include { phase: TRAIN }
  dummy_data_param { shape { dim: 1 dim: 1 dim: 10 dim: 10 } shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: 'val' type: 'DummyData' top: 'data' top: 'label' include { phase: TEST not_stage: 'deploy' }
  dummy_data_param { shape { dim: 1 dim: 1 dim: 10 dim: 10 } shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: 'deploy' type: 'Input' top: 'data' include { stage: 'deploy' }
  input_param { shape { dim: 1 dim: 1 dim: 10 dim: 10 } } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param { num_output: 2 } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss'
  include { phase: TRAIN } include { phase: TEST not_stage: 'deploy' } }
layer { name: 'pred' type: 'Softmax' bottom: 'ip' top: 'pred' include { stage: 'deploy' } }
"""


@pytest.mark.parametrize(
    ("phase", "stages", "outputs"),
    [(caffe.TRAIN, [], ["loss"]), (caffe.TEST, [], ["loss"]), (caffe.TEST, ["deploy"], ["pred"])],
)
def test_training_validation_and_deployment_in_one_file(write, phase, stages, outputs):
    net = caffe.Net(write(ALL_IN_ONE), phase, stages=stages)
    assert list(net.blobs["data"].shape) == [1, 1, 10, 10]
    assert net.outputs == outputs
    assert set(net.forward()) == set(outputs)


def test_a_part_computes_what_it_says(net):
    conv, ip = net.blobs["conv"], net.blobs["ip_blob"]
    weight, bias = (blob.data for blob in net.params["ip"])
    conv.data[...] = np.random.RandomState(1).uniform(size=conv.data.shape)
    out = net.forward(start="ip", end="ip")
    assert set(out) == {"ip_blob"}
    np.testing.assert_allclose(out["ip_blob"], conv.data.reshape(5, -1) @ weight.T + bias, rtol=1e-4, atol=1e-4)
    ip.diff[...] = np.random.RandomState(2).uniform(size=ip.diff.shape)
    grads = net.backward(start="ip", end="ip")
    assert set(grads) == {"conv"}
    np.testing.assert_allclose(grads["conv"].reshape(5, -1), ip.diff @ weight, rtol=1e-4, atol=1e-4)


def test_copy_from_refuses_other_shapes_and_counts(net, write, tmp_path):
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    wider = caffe.Net(write(SIMPLE.replace("num_output: 13", "num_output: 14")), caffe.TEST)
    with pytest.raises(caffe.CaffeError, match=r"'ip'; shape mismatch.*13 792 \(10296\).*14 792 .*rename the layer"):
        wider.copy_from(path)
    unbiased = caffe.Net(write(SIMPLE.replace("num_output: 13", "num_output: 13 bias_term: false")), caffe.TEST)
    with pytest.raises(caffe.CaffeError, match="Incompatible number of blobs for layer ip"):
        unbiased.copy_from(path)


def test_share_with_is_one_memory(net, write):
    other = caffe.Net(write(SIMPLE), caffe.TEST)
    other.share_with(net)
    net.params["ip"][0].data[...] = 7
    np.testing.assert_array_equal(other.params["ip"][0].data, net.params["ip"][0].data)


@pytest.mark.parametrize(
    ("kwargs", "layers"),
    [
        ({"phase": caffe.TEST}, ["data", "b"]),
        ({"phase": caffe.TRAIN}, ["data", "b", "train"]),
        ({"phase": caffe.TEST, "stages": ["A"]}, ["data", "a", "b"]),
        ({"phase": caffe.TEST, "stages": ["A", "B"]}, ["data", "a"]),
        ({"phase": caffe.TEST, "level": 2}, ["data", "b", "deep"]),
        ({"phase": caffe.TRAIN, "level": 3, "stages": ["A"]}, ["data", "a", "b", "deep", "train"]),
    ],
)
def test_levels_and_stages(write, kwargs, layers):
    net = caffe.Net(write(STAGES), **kwargs)
    assert [name for name in net.layer_dict if not name.endswith("split")] == layers


def test_hooks_see_every_layer(net):
    seen = []
    for when in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, when)(lambda i, when=when: seen.append((when, i)))
    net.forward()
    net.backward()
    ways = {"forward": range(4), "backward": (3, 2, 1, 0)}
    assert seen == [(f"{when}_{way}", i) for way, order in ways.items() for i in order for when in ("before", "after")]


def test_a_split_joins_the_uses_of_a_blob(write):
    net = caffe.Net(
        write(
            "force_backward: true layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }"
            "layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }"
            "layer { name: 's' type: 'Eltwise' bottom: 'x' bottom: 'x' top: 's' }"
        ),
        caffe.TEST,
    )
    assert "x_r_0_split" in net.layer_dict
    assert net.bottom_names["s"] == ["x_r_0_split_0", "x_r_0_split_1"]
    net.blobs["x"].data[...] = 1
    net.forward()
    net.blobs["s"].diff[...] = 1
    net.backward()
    np.testing.assert_array_equal(net.blobs["x"].diff, np.full((2, 3), 2))


def test_reshape_resizes_everything(write):
    net = caffe.Net(
        write(
            "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }"
            "layer { name: 'p' type: 'Pooling' bottom: 'x' top: 'p' pooling_param { kernel_size: 2 stride: 2 } }"
        ),
        caffe.TEST,
    )
    net.blobs["x"].reshape(2, 3, 12, 10)
    net.reshape()
    assert net.blobs["p"].shape == (2, 3, 6, 5)
    assert net.forward()["p"].shape == (2, 3, 6, 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layer { name: 'a' type: 'Nonsense' }", "Unknown layer type: Nonsense"),
        (
            "layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'y' }",
            r"Unknown bottom blob 'x' \(layer 'a', bottom index 0\)",
        ),
        (
            "layer { name: 'x' type: 'Input' top: 'x' } layer { name: 'y' type: 'Input' top: 'x' }",
            "Top blob 'x' produced by multiple sources",
        ),
        (
            "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 } } }"
            "layer { name: 'y' type: 'ReLU' bottom: 'x' top: 'y' top: 'z' }",
            "ReLU Layer produces 1 top blob",
        ),
    ],
)
def test_wrong_definitions_are_one_sentence(write, text, said):
    with pytest.raises(caffe.CaffeError, match=said):
        caffe.Net(write(text), caffe.TEST)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RuntimeError, match="absent.prototxt"):
        caffe.Net(str(tmp_path / "absent.prototxt"), caffe.TEST)


def test_parameters_in_the_definition_are_taken_and_logged(write, capfd):
    text = """
layer { name: 'x' type: 'DummyData' top: 'x' dummy_data_param { shape { dim: 1 dim: 1 } data_filler { value: 1 } } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 1 }
  blobs { shape { dim: 1 dim: 1 } data: 3 } blobs { shape { dim: 1 } data: 4 } }
"""
    assert caffe.Net(write(text), caffe.TEST).forward()["y"] == 7
    assert capfd.readouterr().err.count("inner_product_layer.cpp:24] Skipping parameter initialization\n") == 1


def test_hooks_are_called_for_layers_without_backward_too(net):
    order = []
    net.before_backward(lambda i: order.append(("before", i)))
    net.after_backward(lambda i: order.append(("after", i)))
    net.forward()
    net.backward()
    assert order == [(when, i) for i in reversed(range(len(net.layers))) for when in ("before", "after")]


def test_a_definition_with_debug_info_logs_its_passes(write, capfd):
    net = caffe.Net(write("debug_info: true\n" + SIMPLE), caffe.TRAIN)
    net.forward()
    net.backward()
    said = capfd.readouterr().err
    assert "[Forward] Layer conv, top blob conv data: " in said and "[Backward] Layer conv, param blob 1 diff: " in said
    assert "All net params" not in said  # a part of a pass, which is what pycaffe runs, has no such line
