"""The generated definitions are the paper's nets: template, new layers, rates, fillers, parameter counts."""

import re
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2
from sentiment.networks import architectures
from sentiment.networks.choices import Choices
from sentiment.utils.errors import UserError

NET = caffe_pb2.NetParameter
MEANS = (104.0, 117.0, 123.0)
SOURCES = architectures.LastLayer("fc8", 1000)


def train_val(arch, **options):
    """A training definition over lists that need not exist."""
    lists = architectures.ImageLists("train.txt", "test.txt", "images", MEANS, 4, 2)
    return architectures.train_val(arch, lists, **{"last": SOURCES, **options})


def structure(net):
    """What a net computes, layer by layer, without rates, fillers and values that are defaults anyway."""
    described = []
    for layer in net.layer:
        bare = caffe_pb2.LayerParameter()
        bare.CopyFrom(layer)
        for field in ("param", "transform_param", "image_data_param", "include"):
            bare.ClearField(field)
        for own in (bare.convolution_param, bare.inner_product_param):
            own.ClearField("weight_filler")
            own.ClearField("bias_filler")
        conv = bare.convolution_param
        if list(conv.stride) == [1]:
            conv.ClearField("stride")
        if list(conv.pad) == [0]:
            conv.ClearField("pad")
        if conv.group == 1:
            conv.ClearField("group")
        for field in ("convolution_param", "inner_product_param"):
            if not getattr(bare, field).ListFields():
                bare.ClearField(field)
        described.append(str(bare))
    return described


def read(path):
    return text_format.Parse(path.read_text(), caffe_pb2.NetParameter())


@pytest.mark.parametrize("arch", architectures.TRAINED)
def test_committed_definitions_are_the_generated_ones(root, arch, tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_prototxt", root / "tools" / "make_prototxt.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(["--arch", arch, "--out", str(tmp_path)])
    for name in ("train_val.prototxt", "deploy.prototxt"):
        folder = architectures.folder_name(arch)
        assert (tmp_path / folder / name).read_text() == (root / "prototxt" / folder / name).read_text()


@pytest.mark.parametrize(("arch", "reference"), [("squeezenet", "squeezenet"), ("fc6-2", "caffenet_conv-fc6-2")])
def test_nets_are_those_bvlc_caffe_trained(shared, arch, reference):
    folder = shared / "data" / "reference" / reference / "fold1"
    assert structure(architectures.deploy(arch)) == structure(read(folder / "deploy.prototxt"))
    assert structure(train_val(arch)) == structure(read(folder / "train_val.prototxt"))


def test_googlenet_is_bvlc_s_but_for_its_classifier(shared):
    text = (shared / "data" / "weights" / "bvlc_googlenet_deploy.prototxt").read_text()
    bvlc = text_format.Parse(text.replace("loss3/classifier", "loss3/classifier_twitter").replace("1000", "2"), NET())
    assert structure(architectures.deploy("googlenet")) == structure(bvlc)
    assert architectures.parameters("googlenet") == 5_975_602


def test_googlenet_has_auxiliary_heads_in_training_where_they_are_chosen():
    chosen = replace(architectures.ARCHITECTURES["googlenet"].choices, auxiliary_heads=True)
    net = train_val("googlenet", choices=chosen)
    weights = {layer.name: list(layer.loss_weight) for layer in net.layer if layer.type == "SoftmaxWithLoss"}
    assert weights == {"loss1/loss": [pytest.approx(0.3)], "loss2/loss": [pytest.approx(0.3)], "loss": []}
    new = {"loss1/classifier_twitter", "loss2/classifier_twitter", "loss3/classifier_twitter"}
    assert architectures.filled_layers(net) == new
    bottoms = {layer.name: layer.bottom[0] for layer in net.layer if layer.name.endswith("ave_pool")}
    assert bottoms == {"loss1/ave_pool": "inception_4a/output", "loss2/ave_pool": "inception_4d/output"}
    assert architectures.deploy("googlenet", choices=chosen) == architectures.deploy("googlenet")


@pytest.mark.parametrize("arch", architectures.TRAINED)
def test_only_the_new_layer_is_filled_and_learns_faster(arch):
    net = train_val(arch)
    new = architectures.ARCHITECTURES[arch].new_layer
    assert architectures.filled_layers(net) == {new}
    learning = {layer.name: [(p.lr_mult, p.decay_mult) for p in layer.param] for layer in net.layer if layer.param}
    choices = architectures.ARCHITECTURES[arch].choices
    faster = {"squeezenet": 3, "googlenet": 3, "pcnn": 1}.get(arch, 10)
    assert (choices.new_lr_mult, choices.new_bias_lr_mult) == (faster, 2 * faster)
    assert learning.pop(new) == [(choices.new_lr_mult, 1), (choices.new_bias_lr_mult, 0)]
    assert learning
    assert set(map(tuple, learning.values())) == {((0, 1), (0, 0)) if arch == "fc9-frozen" else ((1, 1), (2, 0))}


@pytest.mark.parametrize("arch", architectures.ON_LAST_LAYER)
@pytest.mark.parametrize("last", [architectures.LastLayer("fc8-t", 2089), architectures.LastLayer("class8_zh", 243)])
def test_fc9_stands_on_the_source_s_own_last_layer_with_nothing_between(arch, last):
    for net in train_val(arch, last=last), architectures.deploy(arch, last=last):
        drop7, kept, new, *_ = net.layer[[layer.name for layer in net.layer].index("drop7") :]
        assert (kept.name, kept.inner_product_param.num_output) == (last.name, last.outputs)
        assert (list(kept.bottom), list(new.bottom)) == (list(drop7.top), [last.name])
        assert (new.name, new.inner_product_param.num_output) == ("fc9_twitter", 2)


def test_fc9_needs_a_source_with_a_last_layer_of_its_own():
    with pytest.raises(UserError, match=r"ARCH=fc9 keeps the source's last layer, and there is no source"):
        train_val("fc9", scratch=True)
    for name in ("fc7", "fc9_twitter"):
        with pytest.raises(UserError, match=f"the source's last layer is {name}"):
            train_val("fc9", last=architectures.LastLayer(name, 4096))


def test_what_the_paper_leaves_open_can_be_chosen():
    chosen = Choices(
        random_crops=False, mirror=False, shuffle=False, bias_lr_mult=1, bias_decay_mult=1, new_bias_lr_mult=10,
        fc9_kept_lr_mult=3, fc9_relu=True, fc9_dropout=True,
    )  # fmt: skip
    net = train_val("fc9", choices=chosen)
    data = net.layer[0]
    assert not data.transform_param.mirror
    assert data.image_data_param.new_height == data.image_data_param.new_width == data.transform_param.crop_size
    assert net.layer[1].image_data_param.new_height == 256
    assert not data.image_data_param.shuffle
    learning = {layer.name: [(p.lr_mult, p.decay_mult) for p in layer.param] for layer in net.layer if layer.param}
    assert learning.pop("fc9_twitter") == [(10, 1), (10, 1)]
    assert learning.pop("fc8") == [(3, 1), (3, 1)]
    assert set(map(tuple, learning.values())) == {((1, 1), (1, 1))}
    assert [layer.type for layer in architectures.deploy("fc9", last=SOURCES, choices=chosen).layer][-5:] == [
        "InnerProduct", "ReLU", "Dropout", "InnerProduct", "Softmax",
    ]  # fmt: skip


@pytest.mark.parametrize("arch", set(architectures.ARCHITECTURES) - set(architectures.ON_LAST_LAYER))
def test_from_scratch_every_layer_with_weights_is_filled(arch):
    net = train_val(arch, scratch=True)
    assert architectures.filled_layers(net) == {layer.name for layer in net.layer if layer.param}


def build(net, folder):
    path = folder / "net.prototxt"
    path.write_text(str(net))
    return caffe.Net(str(path), caffe.TEST)


def test_parameters_that_the_ablations_drop():
    """Table 4: more than 16 and 54 million fewer."""
    whole = architectures.parameters("finetune")
    assert whole == 56_876_418
    assert whole - architectures.parameters("fc7-2") == 16_781_312
    assert whole - architectures.parameters("fc6-2") == 54_523_904
    assert architectures.parameters("fc9", last=SOURCES) == whole - 2 * 4097 + 1000 * 4097 + 2 * 1001


def test_shapes_of_the_template(tmp_path):
    net = build(architectures.deploy("finetune", divisor=8), tmp_path)
    shapes = {name: blob.data.shape for name, blob in net.blobs.items()}
    assert shapes["data"] == (10, 3, 227, 227)
    assert shapes["pool1"] == (10, 12, 27, 27)
    assert shapes["pool2"] == (10, 32, 13, 13)
    assert shapes["pool5"] == (10, 32, 6, 6)
    assert shapes["fc6"] == shapes["fc7"] == (10, 512)
    assert shapes["prob"] == (10, 2)
    assert np.allclose(net.forward()["prob"].sum(1), 1)


def test_data_layers_read_the_fold_in_both_phases():
    train, test = train_val("finetune").layer[:2]
    assert (train.name, test.name) == ("data", "data")
    assert (train.include[0].phase, test.include[0].phase) == (caffe.TRAIN, caffe.TEST)
    for layer, source, batch, learns in (train, "train.txt", 4, True), (test, "test.txt", 2, False):
        reader, transform = layer.image_data_param, layer.transform_param
        assert (reader.source, reader.root_folder, reader.batch_size) == (source, "images/", batch)
        assert (reader.new_height, reader.new_width, transform.crop_size) == (256, 256, 227)
        assert (reader.shuffle, transform.mirror) == (learns, learns)
        assert tuple(transform.mean_value) == MEANS
    lists = architectures.ImageLists("a", "b", "images/", "mean.binaryproto", 1, 1)
    with_file = architectures.train_val("finetune", lists)
    assert with_file.layer[0].transform_param.mean_file == "mean.binaryproto"
    assert not with_file.layer[0].transform_param.mean_value


def test_deploy_definitions_have_no_rates_and_fillers():
    for arch in architectures.ARCHITECTURES:
        assert not re.search("filler|lr_mult|Loss", str(architectures.deploy(arch, last=SOURCES)))
