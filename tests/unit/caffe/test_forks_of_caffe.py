"""Forks of Caffe, switched on by name: those that come along, one of a user's own, and what is said without them."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import caffe
from caffe import extension
from caffe.errors import CaffeError
from caffe.formats import known_forks
from caffe.layers import Layer
from caffe.proto import caffe_pb2
from helpers.layer_checks import build, close, input_layer, layer

BVLC = {name: getattr(caffe_pb2, name) for name in caffe_pb2.DESCRIPTOR.message_types_by_name}


@pytest.fixture(autouse=True)
def off_again():
    yield
    extension._switch({})
    assert all(getattr(caffe_pb2, name) is cls for name, cls in BVLC.items())


def refused(text, phase=caffe.TRAIN):
    """The message of the error that a definition raises."""
    with pytest.raises(CaffeError) as error:
        build(text, phase)
    return str(error.value)


# nets of the form in which the forks' authors published theirs

CONVOLUTION = """
layer { name: '%(name)s' type: 'Convolution' bottom: '%(bottom)s' top: '%(name)s'
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: %(outputs)d pad: 1 kernel_size: 3 weight_filler { type: 'xavier' } } }
"""


def convolution(name, bottom, outputs):
    return CONVOLUTION % {"name": name, "bottom": bottom, "outputs": outputs}


def relu(name, blob):
    return layer(name, blob, blob, "type: 'ReLU'")


def input_of(name, *shape):
    return input_layer(name, shape)


def ssd_head(source, priors, size):
    """Predictions of places and confidences at a map, flattened as DetectionOutput takes them, and its priors."""
    text = ""
    for kind, outputs in (("loc", 4 * priors), ("conf", 3 * priors)):
        name = f"{source}_mbox_{kind}"
        text += convolution(name, source, outputs)
        text += layer(
            f"{name}_perm",
            name,
            f"{name}_perm",
            "type: 'Permute' permute_param { order: 0 order: 2 order: 3 order: 1 }",
        )
        text += layer(f"{name}_flat", f"{name}_perm", f"{name}_flat", "type: 'Flatten' flatten_param { axis: 1 }")
    body = f"min_size: {size} max_size: {size + 8} aspect_ratio: 2 flip: true clip: false step: 4 offset: 0.5 "
    body += " ".join(f"variance: {variance}" for variance in (0.1, 0.1, 0.2, 0.2))
    return text + layer(
        f"{source}_mbox_priorbox",
        f"{source} data",
        f"{source}_mbox_priorbox",
        f"type: 'PriorBox' prior_box_param {{ {body} }}",
    )


SSD = (
    input_of("data", 2, 3, 16, 16)
    + convolution("conv4_3", "data", 6)
    + relu("relu4_3", "conv4_3")
    + layer("pool4", "conv4_3", "pool4", "type: 'Pooling' pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + layer(
        "conv4_3_norm",
        "conv4_3",
        "conv4_3_norm",
        "type: 'Normalize' norm_param { across_spatial: false channel_shared: false "
        "scale_filler { type: 'constant' value: 20 } }",
    )
    + convolution("fc7", "pool4", 8)
    + relu("relu7", "fc7")
    + ssd_head("conv4_3_norm", 4, 4)
    + ssd_head("fc7", 4, 8)
    + "".join(
        layer(
            f"mbox_{kind}",
            f"conv4_3_norm_mbox_{kind}{flat} fc7_mbox_{kind}{flat}",
            f"mbox_{kind}",
            f"type: 'Concat' concat_param {{ axis: {axis} }}",
        )
        for kind, flat, axis in (("loc", "_flat", 1), ("conf", "_flat", 1), ("priorbox", "", 2))
    )
    + layer(
        "reshape", "mbox_conf", "mbox_conf_reshape", "type: 'Reshape' reshape_param { shape { dim: 0 dim: -1 dim: 3 } }"
    )
    + layer("softmax", "mbox_conf_reshape", "mbox_conf_softmax", "type: 'Softmax' softmax_param { axis: 2 }")
    + layer("flatten", "mbox_conf_softmax", "mbox_conf_flatten", "type: 'Flatten' flatten_param { axis: 1 }")
    + layer(
        "detection_out",
        "mbox_loc mbox_conf_flatten mbox_priorbox",
        "detection_out",
        """type: 'DetectionOutput' include { phase: TEST } detection_output_param { num_classes: 3 share_location: true
        background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 20
        confidence_threshold: 0.01 save_output_param { output_directory: 'results' output_format: 'VOC' } }""",
    )
)
SSD_PRIORS = (256 + 64) * 4
SSD_LOSS = (
    input_of("places", 2, SSD_PRIORS * 4)
    + input_of("labels", 2, SSD_PRIORS)
    + layer("loss_loc", "mbox_loc places", "loss_loc", "type: 'SmoothL1Loss' loss_weight: 0.0002")
    + layer("loss_conf", "mbox_conf_reshape labels", "loss_conf", "type: 'SoftmaxWithLoss' softmax_param { axis: 2 }")
    + layer("quiet", "mbox_priorbox mbox_conf_flatten", "", "type: 'Silence'")
)

FAST_RCNN = (
    input_of("data", 1, 3, 32, 32)
    + input_of("rois", 5, 5)
    + convolution("conv1", "data", 6)
    + relu("relu1", "conv1")
    + layer("pool1", "conv1", "pool1", "type: 'Pooling' pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + convolution("conv5", "pool1", 8)
    + relu("relu5", "conv5")
    + layer(
        "roi_pool5",
        "conv5 rois",
        "pool5",
        "type: 'ROIPooling' roi_pooling_param { pooled_w: 3 pooled_h: 3 spatial_scale: 0.5 }",
    )
    + layer(
        "fc6",
        "pool5",
        "fc6",
        "type: 'InnerProduct' inner_product_param { num_output: 12 weight_filler { type: 'xavier' } }",
    )
    + relu("relu6", "fc6")
    + layer("drop6", "fc6", "fc6", "type: 'Dropout' dropout_param { dropout_ratio: 0.5 scale_train: false }")
    + "".join(
        layer(
            name,
            "fc6",
            name,
            f"type: 'InnerProduct' inner_product_param {{ num_output: {n} weight_filler {{ type: 'xavier' }} }}",
        )
        for name, n in (("cls_score", 4), ("bbox_pred", 16))
    )
    + layer("cls_prob", "cls_score", "cls_prob", "type: 'Softmax' include { phase: TEST }")
)
FAST_RCNN_LOSS = (
    input_of("labels", 5)
    + "".join(input_of(f"bbox_{kind}", 5, 16) for kind in ("targets", "inside_weights", "outside_weights"))
    + layer("loss_cls", "cls_score labels", "loss_cls", "type: 'SoftmaxWithLoss' loss_weight: 1")
    + layer(
        "loss_bbox",
        "bbox_pred bbox_targets bbox_inside_weights bbox_outside_weights",
        "loss_bbox",
        "type: 'SmoothL1Loss' loss_weight: 1 smooth_l1_loss_param { sigma: 3.0 }",
    )
)


def segnet_block(name, bottom, outputs):
    params = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 1 decay_mult: 0 }"
    fillers = "scale_filler { type: 'constant' value: 1 } shift_filler { type: 'constant' value: 0.001 }"
    return (
        convolution(name, bottom, outputs)
        + layer(
            f"{name}_bn",
            name,
            name,
            f"type: 'BN' {params} bn_param {{ {fillers} }}",
        )
        + relu(f"{name}_relu", name)
    )


POOL = "type: 'Pooling' pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
SEGNET = (
    input_of("data", 2, 3, 18, 12)
    + segnet_block("conv1", "data", 6)
    + layer("pool1", "conv1", "pool1 pool1_mask", POOL)
    + segnet_block("conv2", "pool1", 8)
    + layer("pool2", "conv2", "pool2 pool2_mask", POOL)
    + layer("upsample2", "pool2 pool2_mask", "pool2_D", "type: 'Upsample' upsample_param { scale: 2 pad_out_h: true }")
    + segnet_block("conv2_D", "pool2_D", 6)
    + layer(
        "upsample1",
        "conv2_D pool1_mask",
        "pool1_D",
        "type: 'Upsample' upsample_param { upsample_w: 12 upsample_h: 18 }",
    )
    + convolution("conv1_D", "pool1_D", 4)
    + layer("prob", "conv1_D", "prob", "type: 'Softmax' include { phase: TEST }")
)
SEGNET_LOSS = input_of("label", 2, 1, 18, 12) + layer(
    "loss", "conv1_D label", "loss", "type: 'SoftmaxWithLoss' loss_param { ignore_label: 3 }"
)

# deploy form, what is added to train it, base_lr, the fork's first name
NETS = {
    "ssd": (SSD, SSD_LOSS, 0.002, "norm_param"),
    "fast-rcnn": (FAST_RCNN, FAST_RCNN_LOSS, 0.01, "roi_pooling_param"),
    "segnet": (SEGNET, SEGNET_LOSS, 0.01, "bn_param"),
}


def filled(net, seed=0):
    """Random numbers in the inputs, labels and regions among them being such."""
    rng = np.random.default_rng(seed)
    for name in net.inputs:
        shape = net.blobs[name].data.shape
        if name.startswith("label"):
            values = rng.integers(0, 3, shape)
        elif name == "rois":
            corners = np.sort(rng.uniform(0, 31, (shape[0], 2, 2)), 1).reshape(-1, 4)
            values = np.concatenate([np.zeros((shape[0], 1)), corners], 1)
        else:
            values = rng.random(shape)
        net.blobs[name].data[...] = values


@pytest.mark.parametrize("kind", NETS)
def test_a_forks_net_is_built_run_and_trained(kind, tmp_path):
    deploy, loss, rate, _ = NETS[kind]
    caffe.forks(kind)
    caffe.set_random_seed(1)
    net = build(deploy, caffe.TEST)
    filled(net)
    for values in net.forward().values():
        assert np.isfinite(values).all() and values.any()

    (tmp_path / "train.prototxt").write_text(deploy + loss)
    (tmp_path / "solver.prototxt").write_text(
        f"train_net: '{tmp_path}/train.prototxt' base_lr: {rate} momentum: 0.9 weight_decay: 0.0005 lr_policy: 'fixed' "
        f"snapshot_prefix: '{tmp_path}/s' random_seed: 5"
    )
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    filled(solver.net)
    before = {name: blobs[0].data.copy() for name, blobs in solver.net.params.items()}
    losses = []
    for _ in range(30):
        solver.step(1)
        weights = solver.net.blob_loss_weights.items()
        losses.append(sum(weight * float(solver.net.blobs[name].data) for name, weight in weights if weight))
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    for name, weights in before.items():
        assert np.isfinite(solver.net.params[name][0].data).all()
        assert not np.array_equal(weights, solver.net.params[name][0].data), name

    solver.snapshot()
    net.copy_from(str(tmp_path / "s_iter_30.caffemodel"))
    name = next(iter(before))
    np.testing.assert_array_equal(net.params[name][0].data, solver.net.params[name][0].data)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", NETS)
def test_a_forks_net_computes_the_same_on_a_gpu(kind, on_gpu):
    deploy, loss, _, _ = NETS[kind]
    caffe.forks(kind)
    diffs = []
    for choose in (lambda: None, on_gpu):
        choose()
        caffe.set_random_seed(1)
        net = build(deploy.replace("ratio: 0.5", "ratio: 0") + loss, caffe.TRAIN)
        filled(net)
        net.forward()
        net.backward()
        diffs.append({name: blobs[0].diff.copy() for name, blobs in net.params.items()})
    for name, diff in diffs[0].items():
        close(diffs[1][name], diff, 1e-3, name)


@pytest.mark.parametrize("kind", NETS)
def test_a_forks_net_without_it_names_the_fork(kind):
    deploy, _, _, name = NETS[kind]
    said = refused(deploy)
    assert name in said and f'caffe.forks("{kind}")' in said
    assert "CAFFE_FORKS=" in said and said.count(". ") <= 1


def test_several_forks_at_once_read_each_others_layers():
    assert caffe.forks("ssd", "fast-rcnn", "segnet") == ["ssd", "fast-rcnn", "segnet"]
    for deploy in (SSD, FAST_RCNN, SEGNET):
        build(deploy, caffe.TEST)


# names


def test_the_names_of_forks_here_are_theirs():
    for name, listed in known_forks.SHIPPED.items():
        fork = extension._find(name)
        caffe.forks(name)
        fields = {
            field.name
            for message, cls in BVLC.items()
            for field in getattr(caffe_pb2, message).DESCRIPTOR.fields
            if field.name not in cls.DESCRIPTOR.fields_by_name
        }
        assert set(listed.split()) == fields | set(fork.layers), name
        extension._switch({})


@pytest.mark.parametrize("name", sorted({name for listed in known_forks.SHIPPED.values() for name in listed.split()}))
def test_a_name_of_a_fork_says_how_to_switch_it_on(name):
    if name in ("Dropout", "Pooling"):
        pytest.skip("BVLC Caffe has this type too")
    field = name.islower()
    parent = {"ceil_mode": "pooling_param", "scale_train": "dropout_param"}.get(name)
    text = f"{parent} {{ {name}: false }}" if parent else f"{name} {{ }}"
    said = refused(f"layer {{ name: 'x' {text} }}" if field else layer("x", "", "", f"type: '{name}'"))
    for fork, listed in known_forks.SHIPPED.items():
        assert (f'caffe.forks("{fork}")' in said) == (name in listed.split())


def test_a_field_in_the_wrong_place_is_not_blamed_on_a_fork_that_is_on():
    caffe.forks("ssd")
    said = refused("layer { name: 'x' pooling_param { permute_param { } } }")
    assert "caffe.LayerParameter" in said and "caffe.forks" not in said


def test_switching_on_lists_the_types_and_twice_is_once():
    assert "Permute" not in caffe.layer_type_list()
    assert caffe.forks() == []
    assert caffe.forks("ssd") == ["ssd"]
    messages = caffe_pb2.LayerParameter
    assert caffe.forks("ssd") == ["ssd"] and caffe_pb2.LayerParameter is messages
    assert {"Permute", "ReLU"} < set(caffe.layer_type_list())


def test_an_unknown_fork_is_told_and_nothing_is_switched_on():
    for name, says in (
        ("sgnet", "did you mean segnet"),
        ("nonsense", "fast-rcnn"),
        ("json", "no caffe.Fork called FORK"),
    ):
        with pytest.raises(CaffeError, match=says):
            caffe.forks("segnet", name)
    assert caffe.forks() == []


# a fork of one's own


class Shift(Layer):
    """The bottom plus ``shift_param.by``, times a factor that is learned."""

    exact_bottom = exact_top = 1

    def setup(self, bottom, top):
        self.add_blob((1,), self.param.shift_param.filler)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def compute(self, x, factor):
        return (x + self.param.shift_param.by) * factor


SHIFT = """
syntax = "proto2";
package caffe;
message LayerParameter {
  reserved 300 to 400;
  optional ShiftParameter shift_param = 901; // of type Shift
}
/* the parameters of Shift */
message ShiftParameter {
  enum Way { UP = 0; DOWN = 0x1; }
  message Inner { repeated float at = 1 [packed = true, deprecated = true]; }
  optional float by = 1 [default = -1.5e0];
  optional FillerParameter filler = 2;
  optional Way way = 3 [default = DOWN];
  optional Inner inner = 4;
  optional string name = 5 [default = "a;b"];
  repeated PoolingParameter.PoolMethod pools = 6;
}
message PoolingParameter { enum PoolMethod { MAX = 0; MEDIAN = 7; } }
"""
FORK = caffe.Fork("shift", SHIFT, {"Shift": Shift})


def test_a_fork_of_ones_own(tmp_path):
    caffe.forks(FORK)
    body = "type: 'Shift' shift_param { by: 2 filler { type: 'constant' value: 3 } pools: MEDIAN inner { at: 1 } }"
    net = build("force_backward: true " + input_layer("x", (2, 2)) + layer("l", "x", "y", body))
    net.blobs["x"].data[...] = 5
    assert (net.forward()["y"] == 21).all()
    net.blobs["y"].diff[...] = 1
    net.backward()
    assert (net.blobs["x"].diff == 3).all() and net.params["l"][0].diff == 28

    p = caffe_pb2.LayerParameter().shift_param
    assert (p.by, p.way, p.name) == (-1.5, type(p).DOWN, "a;b")

    net.save(str(tmp_path / "w.caffemodel"))
    read = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    assert read.layer[1].shift_param.by == 2 and list(read.layer[1].shift_param.pools) == [7]

    spec = caffe.NetSpec()
    spec.x = caffe.layers.Input(shape={"dim": [1]})
    spec.y = caffe.layers.Shift(spec.x, by=4, filler={"type": "constant", "value": 2})
    assert spec.to_proto().layer[1].shift_param.by == 4 and caffe.params.Shift.DOWN == 1
    (tmp_path / "net.prototxt").write_text(str(spec.to_proto()))
    assert caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward()["y"] == 8


def test_a_fork_may_use_numbers_of_bvlcs_fields(tmp_path):
    caffe.forks("segnet")  # whose upsample_param has the number of BVLC Caffe's embed_param
    param = caffe_pb2.LayerParameter(embed_param={"num_output": 3}, upsample_param={"scale": 4})
    assert caffe_pb2.LayerParameter.FromString(param.SerializeToString()) == param
    extension._switch({})
    assert caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name["embed_param"].number == 137


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("segnet", "pspnet", "BNParameter bn_param = 45 in 'segnet', BNParameter bn_param = 152"),
        (caffe.Fork("one", "", {"Shift": Shift}), caffe.Fork("two", "", {"Shift": Layer}), "type Shift"),
        ("deeplab", "pspnet", "InterpParameter interp_param = 153 in 'deeplab', .*interp_param = 143 in 'pspnet'"),
        ("synopsys", "ceil-mode", "ceil_mode = 14 in 'synopsys'"),
        (FORK, caffe.Fork("other", "message LayerParameter { optional string mine = 901; }"), "string mine = 901"),
    ],
)
def test_forks_that_do_not_agree_refuse_each_other(one, other, says):
    caffe.forks(one)
    on, types = caffe.forks(), caffe.layer_type_list()
    with pytest.raises(CaffeError, match=f"cannot both be on.*{says}"):
        caffe.forks(other)
    assert caffe.forks() == on and caffe.layer_type_list() == types


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        ("message A { optional int32 x = 1", "ends in the middle"),
        ("message A {\n optional int32 x = one; }", "line 2 has one where a number"),
        ("message A { optional int32 x 1; }", "has 1 where '='"),
        ("message A { map<string, int32> x = 1; }", "has map where a field"),
        ("service A { }", "has service where message or enum"),
        ("message A { optional int32 x = 1 }", "has } where ';'"),
        ("message LayerParameter { optional Absent x = 900; }", "Absent"),
        ("message LossParameter { enum NormalizationMode { PRE_FIXED = 3; } }", "PRE_FIXED = 3"),
    ],
)
def test_a_proto_that_cannot_be_read_is_refused(proto, says):
    with pytest.raises(CaffeError, match=says) as error:
        caffe.forks(caffe.Fork("mine", proto))
    assert "'mine'" in str(error.value) and caffe.forks() == []


def test_a_class_that_is_no_layer_is_refused():
    with pytest.raises(CaffeError, match=r"derive from caffe\.layers\.Layer"):
        caffe.forks(caffe.Fork("mine", "", {"Mine": caffe.Layer}))


# the environment


def run(code, forks, *path):
    """The result of a Python program with CAFFE_FORKS set."""
    environment = {**os.environ, "CAFFE_FORKS": forks, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, *code] if isinstance(code, list) else [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_environment_switches_forks_on_for_the_command_too(tmp_path):
    (tmp_path / "shift_fork.py").write_text(
        textwrap.dedent(
            """
            import caffe
            class Twice(caffe.layers.Layer):
                def reshape(self, bottom, top):
                    top[0].reshape(*bottom[0].shape)
                def compute(self, x):
                    return 2 * x
            FORK = caffe.Fork("twice", "", {"Twice": Twice})
            """
        )
    )
    definition = input_layer("x", (1, 4, 3, 3)) + layer("t", "x", "y", "type: 'Twice'")
    definition += layer("p", "y", "z", "type: 'Permute' permute_param { order: 0 order: 2 }")
    (tmp_path / "net.prototxt").write_text(definition)
    time = ["-m", "caffe.cli", "time", "-model", str(tmp_path / "net.prototxt"), "-iterations", "1"]
    done = run(time, "ssd, shift_fork", tmp_path)
    assert done.returncode == 0 and "Top shape: 1 3 4 3" in done.stderr, done.stderr
    off = run(time, "", tmp_path)
    assert off.returncode == 2 and "Traceback" not in off.stderr and "CAFFE_FORKS=ssd" in off.stderr


def test_a_wrong_environment_is_one_sentence(tmp_path):
    (tmp_path / "net.prototxt").write_text(input_layer("x", (1,)))
    done = run(["-m", "caffe.cli", "time", "-model", str(tmp_path / "net.prototxt")], "ssd,sgnet", tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "CAFFE_FORKS: There is no fork 'sgnet'; did you mean segnet?" in done.stderr
