"""Looking at blobs changes no number: views of every blob, at any time, held or not, at one thread and at two."""

import numpy as np
import pytest
import torch

import caffe
from caffe.proto import caffe_pb2
from caffe.runtime.blob import Blob, from_array
from helpers.layer_checks import FORCED, build, input_layer, layer, values


def conv(name, bottom, outputs, kernel, more=""):
    """A Convolution with Gaussian weights."""
    filler = "weight_filler { type: 'gaussian' std: 0.1 } bias_filler { type: 'gaussian' std: 0.1 }"
    p = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} {filler} }}"
    return layer(name, bottom, name, f"type: 'Convolution' {p}")


def pool(name, bottom, kind, size=3, stride=2):
    """A Pooling layer."""
    p = f"pooling_param {{ pool: {kind} kernel_size: {size} stride: {stride} }}"
    return layer(name, bottom, name, f"type: 'Pooling' {p}")


def dense(name, bottom, outputs):
    """An InnerProduct with Gaussian weights."""
    filler = "weight_filler { type: 'gaussian' std: 0.1 } bias_filler { type: 'gaussian' std: 0.1 }"
    return layer(name, bottom, name, f"type: 'InnerProduct' inner_product_param {{ num_output: {outputs} {filler} }}")


def plain(kind, name, bottom, top=None, more=""):
    """A layer of this type."""
    return layer(name, bottom, top or name, f"type: '{kind}' {more}")


# channels-last from the convolutions on, NCHW where BatchNorm, Slice and Crop make it; every layer sees one or both
BODY = "".join(
    [
        conv("conv1", "data", 13, 5, "stride: 2"),
        plain("ReLU", "relu1", "conv1", "conv1"),
        plain("LRN", "norm1", "conv1", more="lrn_param { local_size: 5 alpha: 0.3 beta: 0.75 }"),
        pool("pool1", "norm1", "MAX"),
        conv("one", "pool1", 11, 1),
        plain("PReLU", "prelu", "one", "one"),
        conv("three", "pool1", 11, 3, "pad: 1"),
        plain("ELU", "elu", "three", "three"),
        plain("Concat", "cat", "one three"),
        conv("groups", "cat", 12, 3, "group: 2 pad: 1"),
        plain("BatchNorm", "bn", "groups"),
        plain("Scale", "scale", "bn", "bn", "scale_param { bias_term: true }"),
        plain("TanH", "tanh", "bn"),
        conv("skip", "cat", 12, 1, "bias_term: false"),
        plain("Sigmoid", "sigmoid", "skip", "skip"),
        plain("Eltwise", "sum", "tanh skip", more="eltwise_param { coeff: 1 coeff: -0.5 }"),
        plain("LRN", "within", "sum", more="lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL alpha: 0.2 }"),
        pool("ave", "within", "AVE", 2, 1),
        plain("Slice", "slice", "ave", "a b", "slice_param { slice_point: 5 }"),
        plain("BNLL", "bnll", "a"),
        plain("Power", "power", "b", more="power_param { power: 2 shift: 1 }"),
        plain("Concat", "again", "bnll power"),
        plain("Deconvolution", "up", "again", more="convolution_param { num_output: 6 kernel_size: 2 stride: 2 "
              "weight_filler { type: 'gaussian' std: 0.1 } }"),
        plain("Crop", "crop", "up within", more="crop_param { offset: 1 }"),
        plain("Exp", "exp", "crop", more="exp_param { scale: 0.1 }"),
        plain("Bias", "bias", "exp", "exp"),
        plain("Softmax", "map", "exp"),
        plain("Flatten", "flat", "map"),
        plain("Reduction", "reduced", "exp", more="reduction_param { axis: 2 operation: SUMSQ coeff: 0.1 }"),
        dense("fc", "exp", 17),
        plain("Dropout", "drop", "fc", "fc"),
        dense("fc_flat", "flat", 17),
        dense("fc_reduced", "reduced", 17),
        plain("Eltwise", "last", "fc fc_flat fc_reduced"),
        dense("score", "last", 5),
        layer("loss", "score label", "loss", "type: 'SoftmaxWithLoss'"),
        layer("prob", "score", "prob", "type: 'Softmax'"),
        layer("accuracy", "score label", "accuracy", "type: 'Accuracy'"),
    ]
)  # fmt: skip
SHAPE = (2, 3, 19, 23)
DATA = """layer { name: 'data' type: 'DummyData' top: 'data' top: 'label' dummy_data_param {
  shape { dim: 2 dim: 3 dim: 19 dim: 23 } shape { dim: 2 }
  data_filler { type: 'gaussian' std: 1 } data_filler { type: 'constant' value: 3 } } }
"""


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def views(net, index=None):
    """A view of values and gradient of each blob and parameter, or of those around one layer."""
    if index is None:
        blobs = [*net.blobs.values(), *(blob for blobs in net.params.values() for blob in blobs)]
    else:
        blobs = [net._blobs[i] for i in (*net._bottom_ids(index), *net._top_ids(index))]
        blobs += net.layers[index].blobs
    return [view for blob in blobs for view in (blob.data, blob.diff)]


def glance(seen, held):
    """Look and let go."""
    for view in seen:
        view.sum()


def hold(seen, held):
    """Look and keep what was seen, as variables of a script do."""
    held.extend(seen)


def rewrite(seen, held):
    """Write what is there already."""
    for view in seen:
        view[...] = view.copy()


def bits(net):
    """The bytes of all blobs and parameters."""
    return [view.tobytes() for view in views(net)]


def trained(tmp_path, rule, look=None, first=0):
    """The bits after three iterations, looked at around every layer from the iteration ``first`` on."""
    param = caffe_pb2.SolverParameter(base_lr=0.05, lr_policy="fixed", type=rule, iter_size=2, random_seed=3)
    param.weight_decay, param.momentum, param.snapshot_after_train = 0.01, 0.9 * (rule == "SGD"), False
    (tmp_path / "net.prototxt").write_text(FORCED + DATA + BODY)
    param.train_net = str(tmp_path / "net.prototxt")
    solver = caffe.get_solver(param)
    net, held = solver.net, []

    def see(index=None):
        if look and solver.iter >= first:
            look(views(net, index), held)

    see()
    for register in (net.before_forward, net.after_forward, net.before_backward, net.after_backward):
        register(see)
    solver.add_callback(see, see)
    for _ in range(3):
        solver.step(1)
        see()
    return bits(net)


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_a_training_gives_the_same_bits_however_it_is_looked_at(threads, tmp_path, rule):
    unseen = trained(tmp_path, rule)
    assert unseen == trained(tmp_path, rule)
    for look, first in [(hold, 0)] if rule == "Adam" else [(glance, 0), (hold, 1), (rewrite, 0)]:
        assert unseen == trained(tmp_path, rule, look, first), look.__name__


def test_passes_over_given_numbers_give_the_same_bits_however_they_are_looked_at(threads):
    def run(look):
        caffe.set_random_seed(7)
        net = build(FORCED + input_layer("data", SHAPE) + input_layer("label", SHAPE[:1]) + BODY, caffe.TRAIN)
        held = []

        def see():
            if look:
                look(views(net), held)

        for i in range(2):
            see()
            net.blobs["data"].data[...] = values(i, SHAPE)
            net.blobs["label"].data[...] = i
            see()
            net.forward(end="sum")
            see()
            net.forward(start="within")
            see()
            net.backward(end="power")
            see()
            net.backward(start="slice")
        return bits(net)

    unseen = run(None)
    for look in (glance, hold, rewrite):
        assert unseen == run(look), look.__name__


@pytest.mark.parametrize("name", ["data", "conv1", "pool1", "cat", "tanh", "ave", "a"])
def test_what_is_written_into_a_view_is_what_the_next_layer_computes_with(name):
    caffe.set_random_seed(7)
    net = build(input_layer("data", SHAPE) + input_layer("label", SHAPE[:1]) + BODY)
    net.blobs["data"].data[...] = values(0, SHAPE)
    net.forward()
    reached = [layer for layer, tops in net.top_names.items() if name in tops][-1]
    following = list(net._layer_names)[list(net._layer_names).index(reached) + 1]
    view = net.blobs[name].data
    score = net.blobs["score"].data.copy()
    kept = view.copy()
    view *= 2
    net.forward(start=following)
    np.testing.assert_array_equal(view, 2 * kept)
    changed = net.blobs["score"].data.copy()
    assert np.abs(changed - score).max() > 1e-4
    view[...] = kept
    net.forward(start=following)
    assert net.blobs["score"].data.tobytes() == score.tobytes()
    del view
    net.blobs[name].data[...] = 2 * kept
    net.forward(start=following)
    assert net.blobs["score"].data.tobytes() == changed.tobytes()


def test_what_is_written_between_the_passes_is_what_backward_computes_with():
    net = build(FORCED + input_layer("x", (2, 3, 4, 5)) + conv("y", "x", 4, 3) + conv("z", "y", 2, 1))
    net.blobs["x"].data[...] = values(0, (2, 3, 4, 5))
    net.forward()
    net.blobs["z"].diff[...] = values(1, (2, 2, 2, 3))
    net.blobs["y"].data[...] = 0
    net.backward()
    assert not net.params["z"][0].diff.any() and net.params["z"][1].diff.any()
    assert net.params["y"][0].diff.any()


def test_a_view_that_is_held_shows_every_result_in_any_layout():
    net = build(FORCED + input_layer("x", (2, 3, 7, 8)) + conv("y", "x", 5, 3) + plain("ReLU", "r", "y", "y"))
    held = net.blobs["y"].data, net.blobs["y"].diff, net.blobs["x"].diff
    for i in range(3):
        net.blobs["x"].data[...] = values(i, (2, 3, 7, 8))
        net.forward()
        net.blobs["y"].diff[...] = values(i, (2, 5, 5, 6))
        net.backward()
        fresh = net.blobs["y"].data, net.blobs["y"].diff, net.blobs["x"].diff
        for old, new in zip(held, fresh):
            assert np.shares_memory(old, new)
            assert old.any()
    assert (held[0] >= 0).all()


def test_a_gradient_written_to_zero_is_taken_and_one_written_otherwise_is_added_to():
    blob = Blob((3,))
    one = from_array(np.float32([-0.0, 1, 2]))
    held = blob.diff
    blob.add_diff(one.clone())
    assert np.signbit(held[0])
    blob.add_diff(one.clone())
    np.testing.assert_array_equal(held, [0, 2, 4])
    blob.zero_diff()
    held[...] = [5, 6, 7]
    blob.add_diff(one.clone())
    np.testing.assert_array_equal(held, [5, 7, 9])


def test_a_view_outlives_its_blob_and_its_growth():
    blob = Blob((2, 2))
    blob.data[...] = 3
    held = blob.data
    blob.reshape(1, 2)
    blob.data[...] = 4
    np.testing.assert_array_equal(held, [[4, 4], [3, 3]])
    blob.reshape(3, 3)
    assert not blob.data.any()
    del blob
    np.testing.assert_array_equal(held, [[4, 4], [3, 3]])
