"""Old definitions in today's terms, against BVLC Caffe's own upgrades and rules."""

import re

import pytest
from google.protobuf import text_format

from caffe import CaffeError
from caffe.formats import read_net, read_weights
from caffe.formats.upgrade import V0_TYPES, V1_TYPES, upgrade_net, upgrade_solver
from caffe.proto import caffe_pb2


def net(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def upgraded(text):
    message = net(text)
    upgrade_net(message, "a.prototxt")
    return message


def refused(text):
    """The message of the error that an upgrade ends in, after the name of the file."""
    with pytest.raises(CaffeError) as caught:
        upgraded(text)
    where, _, message = str(caught.value).partition(": ")
    assert where == "a.prototxt"
    return message


@pytest.mark.parametrize("generation", ["v0", "v1"])
def test_equals_caffes_own_upgrade(root, generation):
    files = root / "tests/conformance" / "files"
    measured = net((files / f"legacy_{generation}_train.upgraded.prototxt").read_text())
    assert upgraded((files / f"legacy_{generation}_train.prototxt").read_text()) == measured


@pytest.mark.parametrize("file", ["legacy_v0_train", "legacy_v1_train", "train_val", "deploy"])
def test_a_second_upgrade_changes_nothing(root, file):
    once = upgraded((root / "tests/conformance" / "files" / f"{file}.prototxt").read_text())
    twice = caffe_pb2.NetParameter.FromString(once.SerializeToString())
    upgrade_net(twice, "again")
    assert twice == once


def test_every_v1_type_has_a_name_and_v0_uses_no_other():
    values = caffe_pb2.V1LayerParameter.LayerType.values()
    assert set(V1_TYPES) == set(values)
    assert len(set(V1_TYPES.values())) == len(values)
    assert set(V0_TYPES.values()) <= set(V1_TYPES.values())


def test_v1_lists_become_params():
    layer = upgraded(
        "layers { name: 'a' type: CONVOLUTION param: 'w' blobs_lr: 1 blobs_lr: 2 weight_decay: 0.5"
        " blob_share_mode: STRICT blob_share_mode: PERMISSIVE loss_weight: 3 include { phase: TEST } }"
    ).layer[0]
    today = net(
        "layer { name: 'a' type: 'Convolution' param { name: 'w' lr_mult: 1 decay_mult: 0.5 share_mode: STRICT }"
        " param { lr_mult: 2 share_mode: PERMISSIVE } loss_weight: 3 include { phase: TEST } }"
    )
    assert layer == today.layer[0]


def test_v1_transformation_moves_out_of_the_data_parameters():
    layer = upgraded(
        "layers { name: 'd' type: DATA data_param { source: 's' scale: 2 mean_file: 'm' crop_size: 4 mirror: true } }"
    ).layer[0]
    today = net(
        "layer { name: 'd' type: 'Data' data_param { source: 's' }"
        " transform_param { scale: 2 mean_file: 'm' crop_size: 4 mirror: true } }"
    )
    assert layer == today.layer[0]


@pytest.mark.parametrize("param", ["data_param", "image_data_param", "window_data_param"])
@pytest.mark.parametrize("field", ["scale: 2", "mean_file: 'm'", "crop_size: 4", "mirror: true"])
def test_current_layer_with_transformation_in_data_param_is_refused(param, field):
    if (param, field) == ("window_data_param", "scale: 2"):  # which WindowData reads
        assert upgraded(f"layer {{ {param} {{ {field} }} }}").layer[0].window_data_param.scale == 2
        return
    message = refused(f"layer {{ name: 'dd' {param} {{ {field} }} }}")
    assert "'dd'" in message
    assert param in message
    assert field.split(":")[0] in message
    assert "transform_param" in message


def test_v0_padding_layer_folds_into_the_next_one():
    result = upgraded(
        """input: 'x' input_dim: [1, 1, 5, 5]
        layers { layer { name: 'p' type: 'padding' pad: 2 } bottom: 'x' top: 'padded' }
        layers { layer { name: 'c' type: 'conv' kernelsize: 5 stride: 1 num_output: 3 } bottom: 'padded' top: 'c' }
        layers { layer { name: 'q' type: 'pool' kernelsize: 3 pool: AVE } bottom: 'padded' top: 'q' }"""
    )
    assert result == net(
        """layer { name: 'input' type: 'Input' top: 'x' input_param { shape { dim: [1, 1, 5, 5] } } }
        layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c'
                convolution_param { pad: 2 kernel_size: 5 stride: 1 num_output: 3 } }
        layer { name: 'q' type: 'Pooling' bottom: 'x' top: 'q' pooling_param { pad: 2 kernel_size: 3 pool: AVE } }"""
    )


def test_v0_parameters_go_to_their_types():
    result = upgraded(
        """layers { layer { name: 'i' type: 'images' source: 's' batchsize: 3 new_height: 8 new_width: 9 rand_skip: 1
                            shuffle_images: true meanfile: 'm' cropsize: 7 mirror: true scale: 0.5 } top: 'a' top: 'b' }
        layers { layer { name: 'f' type: 'innerproduct' num_output: 2 biasterm: false weight_filler { type: 'xavier' }
                         blobs_lr: 1 weight_decay: 0 } bottom: 'a' top: 'f' }
        layers { layer { name: 'd' type: 'dropout' dropout_ratio: 0.25 } bottom: 'f' top: 'f' }
        layers { layer { name: 'c' type: 'concat' concat_dim: 0 } bottom: 'f' bottom: 'a' top: 'c' }
        layers { layer { name: 'l' type: 'softmax_loss' } bottom: 'c' bottom: 'b' top: 'l' }"""
    )
    assert result == net(
        """layer { name: 'i' type: 'ImageData' top: 'a' top: 'b'
                   image_data_param { source: 's' batch_size: 3 new_height: 8 new_width: 9 rand_skip: 1 shuffle: true }
                   transform_param { mean_file: 'm' crop_size: 7 mirror: true scale: 0.5 } }
        layer { name: 'f' type: 'InnerProduct' bottom: 'a' top: 'f' param { lr_mult: 1 decay_mult: 0 }
                inner_product_param { num_output: 2 bias_term: false weight_filler { type: 'xavier' } } }
        layer { name: 'd' type: 'Dropout' bottom: 'f' top: 'f' dropout_param { dropout_ratio: 0.25 } }
        layer { name: 'c' type: 'Concat' bottom: 'f' bottom: 'a' top: 'c' concat_param { concat_dim: 0 } }
        layer { name: 'l' type: 'SoftmaxWithLoss' bottom: 'c' bottom: 'b' top: 'l' }"""
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layer { name: 'a' } layers { name: 'b' type: RELU }", "'layers'"),
        ("layers { layer { name: 'a' type: 'convolution' } }", "Unknown layer name: convolution"),
        ("layers { layer { name: 'a' type: 'relu' } bottom: 'x' }", "Unknown blob input x"),
        ("layers { layer { name: 'a' type: 'data' } blobs_lr: 1 }", "blobs_lr"),
        (
            "input: 'x' layers { layer { name: 'p' type: 'padding' } bottom: 'x' top: 'p' }"
            " layers { layer { name: 'r' type: 'relu' } bottom: 'p' top: 'r' }",
            "non-convolutional",
        ),
        (
            "input: 'x' layers { layer { name: 'p' type: 'padding' } bottom: 'x' bottom: 'x' top: 'p' }"
            " layers { layer { name: 'r' type: 'conv' } bottom: 'p' top: 'r' }",
            "single blob",
        ),
        ("input: 'x' input: 'y' input_shape { dim: 1 }", "input_shape"),
        ("input: 'x' input_dim: [1, 2, 3]", "input_dim"),
    ],
)
def test_what_has_no_counterpart_is_refused(text, says):
    assert says in refused(text)


@pytest.mark.parametrize(
    "shapes",
    ["input_dim: [1, 3, 4, 5, 2, 1, 1, 1]", "input_shape { dim: [1, 3, 4, 5] } input_shape { dim: [2, 1, 1, 1] }"],
)
def test_inputs_become_one_layer_in_front(shapes):
    assert upgraded(f"input: 'a' input: 'b' {shapes} layer {{ name: 'r' }}") == net(
        "layer { name: 'input' type: 'Input' top: 'a' top: 'b'"
        " input_param { shape { dim: [1, 3, 4, 5] } shape { dim: [2, 1, 1, 1] } } } layer { name: 'r' }"
    )


@pytest.mark.parametrize(
    "text",
    [
        "input: 'a' input_shape { dim: 7 } input_dim: [1, 3, 4, 5]",
        "input: 'a' input_shape { dim: 7 } input_dim: 9",
        "input: 'a' input_shape { dim: 7 } input_shape { dim: 8 }",
    ],
)
def test_input_shape_wins_and_superfluous_shapes_are_ignored(text):
    assert upgraded(f"{text} layer {{ name: 'r' }}") == net(
        "layer { name: 'input' type: 'Input' top: 'a' input_param { shape { dim: 7 } } } layer { name: 'r' }"
    )


def test_superfluous_dimensions_are_ignored():
    assert upgraded("input: 'a' input_dim: [1, 2, 3, 4, 5, 6]") == net(
        "layer { name: 'input' type: 'Input' top: 'a' input_param { shape { dim: [1, 2, 3, 4] } } }"
    )


@pytest.mark.parametrize("fields", ["input: 'data'", "input: 'data' input: 'label'"])
def test_inputs_without_shapes_are_dropped(fields):
    layer = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 } } }"
    assert upgraded(f"{fields} {layer}") == net(layer)


def test_shapes_without_an_input_mean_nothing():
    layers = upgraded("input_dim: [1, 2, 3, 4] input_shape { dim: 5 } layer { name: 'r' }").layer
    assert [layer.name for layer in layers] == ["r"]


V0_FIELDS = {
    **dict.fromkeys(
        ("num_output", "pad", "kernelsize", "group", "stride", "local_size", "batchsize", "rand_skip"), "2"
    ),
    **dict.fromkeys(("new_height", "new_width", "concat_dim", "det_context_pad", "new_num", "new_channels"), "2"),
    **dict.fromkeys(("dropout_ratio", "alpha", "beta", "k", "det_fg_threshold", "det_bg_threshold"), "0.5"),
    **dict.fromkeys(("biasterm", "shuffle_images"), "true"),
    **dict.fromkeys(("source", "det_crop_mode"), "'square'"),
    **dict.fromkeys(("weight_filler", "bias_filler"), "{ type: 'xavier' }"),
    "pool": "AVE",
    "det_fg_fraction": "0.5",
    "hdf5_output_param": "{ file_name: 'f' }",
}


@pytest.mark.parametrize("field", V0_FIELDS)
def test_v0_parameters_of_another_type_are_logged_and_dropped(field, capfd):
    layer = f"layers {{ layer {{ name: 'a' type: 'relu' {field}: {V0_FIELDS[field]} }} }}"
    assert upgraded(layer) == net("layer { name: 'a' type: 'ReLU' }")
    begin, *errors, note, _, _ = lines = capfd.readouterr().err.splitlines()
    assert "Attempting" in begin and "future" in note and [line[0] for line in lines] == list("IEEWII")
    assert f"Unknown parameter {field} for layer type relu" in errors[0] and "'a'" in errors[0]
    assert "continuing anyway" in errors[1]


def test_every_v0_parameter_was_tried():
    common = {"name", "type", "blobs", "blobs_lr", "weight_decay", "scale", "meanfile", "cropsize", "mirror"}
    assert common | set(V0_FIELDS) == {field.name for field in caffe_pb2.V0LayerParameter.DESCRIPTOR.fields}


def test_batch_norm_with_three_params_learns_none_of_them():
    layer = upgraded("layer { type: 'BatchNorm' param { name: 'm' } param { lr_mult: 2 } param { } }").layer[0]
    assert [(p.name, p.lr_mult, p.decay_mult) for p in layer.param] == [("m", 0, 0), ("", 0, 0), ("", 0, 0)]
    assert upgraded("layer { type: 'BatchNorm' param { lr_mult: 2 } }").layer[0].param[0].lr_mult == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
    ],
)
def test_solver_type_becomes_type(old, new):
    solver = text_format.Parse(f"solver_type: {old}", caffe_pb2.SolverParameter())
    upgrade_solver(solver, "s.prototxt")
    assert solver == caffe_pb2.SolverParameter(type=new)


def test_solver_with_both_types_is_refused():
    solver = text_format.Parse("solver_type: SGD type: 'Adam'", caffe_pb2.SolverParameter())
    with pytest.raises(CaffeError, match="solver_type"):
        upgrade_solver(solver, "s.prototxt")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("legacy_v0_train.prototxt", [28, 36, 39, 55, 63]),
        ("legacy_v0.caffemodel", [28, 36, 39, 55, 63]),
        ("legacy_v1_train.prototxt", [46, 49, 51, 55, 63]),
        ("legacy_v1.caffemodel", [46, 49, 51, 55, 63]),
        ("tiny_iter_12.caffemodel", []),
        ("train_val.prototxt", []),
    ],
)
def test_upgrades_are_logged_in_caffes_lines(name, lines, root, capfd):
    path = root / "tests" / "conformance" / "files" / name
    (read_weights if name.endswith("model") else read_net)(str(path))
    said = re.findall(r"(?m)^([IW])\S+ \S+ +\d+ upgrade_proto.cpp:(\d+)\] (.*)$", capfd.readouterr().err)
    assert [int(line) for _, line, _ in said] == lines
    for level, line, text in said:
        assert level == ("W" if line in ("39", "51") else "I")
        begins = text.startswith("Attempting to upgrade input file specified using deprecated ")
        assert text.endswith(f": {path}") == begins


def test_upgrades_of_inputs_and_batch_norms_are_logged(tmp_path, capfd):
    text = """
        input: 'x' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4
        layer { name: 'n' type: 'BatchNorm' bottom: 'x' top: 'y' param {} param {} param {} }
    """
    (tmp_path / "n.prototxt").write_text(text)
    (tmp_path / "n.caffemodel").write_bytes(text_format.Parse(text, caffe_pb2.NetParameter()).SerializeToString())
    for read, name in ((read_net, "n.prototxt"), (read_weights, "n.caffemodel")):
        read(str(tmp_path / name))
        said = re.findall(r"upgrade_proto.cpp:(\d+)\]", capfd.readouterr().err)
        assert said == ["69", "72", "74", "79", "82"]
