"""Definitions as others write them: in any encoding, on Windows, of another generation, for a fork of Caffe."""

import os

import cv2
import h5py
import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe import CaffeError, cli, formats, names
from caffe.formats import known_forks
from caffe.layers.base import create_layer
from caffe.proto import caffe_pb2
from caffe.runtime import glog

GBK = "数据".encode("gbk")
LATIN = "Zoë".encode("latin-1")
SHIFT_JIS = "表示".encode("shift_jis")  # one of its bytes is a backslash


def read(tmp_path, text):
    path = tmp_path / "net.prototxt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return formats.read_net(path)


def refused(tmp_path, text):
    with pytest.raises(CaffeError) as error:
        read(tmp_path, text)
    said = str(error.value)
    assert "\n" not in said
    return said.removeprefix(str(tmp_path / "net.prototxt"))


# bytes that are not UTF-8


@pytest.mark.parametrize("name", [GBK, LATIN, bytes(range(0x80, 0x100)), "ä漢".encode()])
def test_names_are_the_same_bytes_again(name, tmp_path):
    net = read(tmp_path, b"# " + name + b"\nname: '" + name + b"'\nlayer { name: '" + name + b"' type: 'Silence' }")
    assert names.to_bytes(net.name) == names.to_bytes(net.layer[0].name) == name
    path = tmp_path / "net.caffemodel"
    for write in formats.write_weights, formats.write_weights_hdf5:
        write(path, net, [[np.ones(2, np.float32)]])
        assert name in path.read_bytes()
        (layer,) = formats.read_weights(path).layers
        assert layer.name == net.layer[0].name and layer.blobs[0].data.tolist() == [1, 1]


def test_escapes_are_bytes_as_any(tmp_path):
    octal = "".join(f"\\{byte:o}" for byte in GBK)
    net = read(tmp_path, f"name: '{octal}' input: 'a' input: '\\xff' input_shape {{ dim: 1 }} input_shape {{ dim: 1 }}")
    assert names.to_bytes(net.name) == GBK
    assert [names.to_bytes(top) for top in net.layer[0].top] == [b"a", b"\xff"]
    assert f'name: "{octal}"' in glog.definition(net)


def test_a_byte_outside_of_strings_and_comments_is_a_syntax_error(tmp_path):
    assert refused(tmp_path, b"name: 'x'\nlayer { " + GBK + b": 3 }").startswith(":2:9:")


def test_a_backslash_within_a_character_is_an_escape(tmp_path):
    assert b"\\" in SHIFT_JIS
    assert refused(tmp_path, b"name: '" + SHIFT_JIS + b"'").startswith(":1:9: Invalid escape")


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_training_whose_names_and_paths_are_gbk(hdf5, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = bytes(tmp_path) + b"/" + GBK
    os.mkdir(folder)
    os.chdir(folder)
    picture = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    with open(GBK + b".png", "wb") as file:
        file.write(cv2.imencode(".png", picture)[1].tobytes())
    with open(GBK + b".txt", "wb") as file:
        file.write(GBK + b".png 1\n")
    formats.write_blob(os.fsdecode(GBK) + ".binaryproto", picture.transpose(2, 0, 1)[None].astype(np.float32) - 1)
    with open(GBK + b".prototxt", "wb") as file:
        file.write(
            b"""name: "NAME" # NAME
            layer { name: "NAME" type: "ImageData" top: "NAME" top: "label" image_data_param { source: "DIR/NAME.txt"
                    root_folder: "DIR/" } transform_param { mean_file: "DIR/NAME.binaryproto" } }
            layer { name: "NAME2" type: "InnerProduct" bottom: "NAME" top: "y" inner_product_param { num_output: 2
                    weight_filler { type: "gaussian" std: 0.1 } } }
            layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }""".replace(
                b"DIR", folder
            ).replace(b"NAME", GBK)
        )
    with open(b"solver" + GBK, "wb") as file:
        file.write(
            b'net: "DIR/NAME.prototxt" snapshot_prefix: "DIR/NAME" base_lr: 0.1 lr_policy: "fixed" max_iter: 2'.replace(
                b"DIR", folder
            ).replace(b"NAME", GBK)
            + (b" snapshot_format: HDF5" if hdf5 else b"")
        )
    solver = caffe.get_solver(os.fsdecode(b"solver" + GBK))
    solver.step(1)
    assert (next(iter(solver.net.blobs.values())).data == 1).all()
    solver.snapshot()
    end = b".h5" if hdf5 else b""
    assert {GBK + b"_iter_1.caffemodel" + end, GBK + b"_iter_1.solverstate" + end} <= set(os.listdir(b"."))
    with open(GBK + b"_iter_1.caffemodel" + end, "rb") as file:
        content = file.read()
    assert GBK + b"2" in content and (hdf5 or content.startswith(b"\n" + bytes([len(GBK)]) + GBK))
    learned = solver.net.params[names.of_bytes(GBK + b"2")][0].data.copy()
    again = caffe.get_solver(os.fsdecode(b"solver" + GBK))
    again.restore(os.fsdecode(GBK + b"_iter_1.solverstate" + end))
    np.testing.assert_array_equal(again.net.params[names.of_bytes(GBK + b"2")][0].data, learned)
    solver.step(1)
    again.step(1)
    for one, other in zip(solver.net.params.values(), again.net.params.values(), strict=True):
        np.testing.assert_array_equal(one[0].data, other[0].data)


def test_a_prefix_taken_from_a_solver_of_a_gbk_name(tmp_path):
    path = bytes(tmp_path) + b"/" + GBK + b".prototxt"
    with open(path, "wb") as file:
        file.write(
            b"net_param { layer { name: 'p' type: 'Parameter' top: 'p' parameter_param { shape { dim: 1 } } } } "
            b"base_lr: 1 lr_policy: 'fixed'"
        )
    caffe.get_solver(os.fsdecode(path)).snapshot()
    assert GBK + b"_iter_0.caffemodel" in os.listdir(bytes(tmp_path))


def test_stages_data_sets_databases_and_states_of_gbk_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in (GBK + b".jpg", GBK + b".txt", GBK + b".h5.txt", GBK + b".prototxt"):
        with open(name, "wb") as file:
            file.write(
                {
                    b".jpg": cv2.imencode(".png", np.full((2, 3, 3), 7, np.uint8))[1].tobytes(),
                    b".txt": GBK + b".jpg 5\n" if name == GBK + b".txt" else GBK + b".h5\n",
                    b".prototxt": b"""
                        layer { name: "d" type: "Data" top: "picture" top: "label" include { stage: "NAME" }
                                data_param { source: "NAME" backend: LMDB batch_size: 1 } }
                        layer { name: "h" type: "HDF5Data" top: "NAME"
                                hdf5_data_param { source: "NAME.h5.txt" batch_size: 2 } }
                        layer { name: "ip" type: "InnerProduct" bottom: "NAME" top: "y"
                                inner_product_param { num_output: 1 } }""".replace(b"NAME", GBK),
                }[os.path.splitext(name)[1]]
            )
    with h5py.File(GBK + b".h5", "w") as file:
        file[GBK] = np.array([[3], [4]], np.float32)
    name = os.fsdecode(GBK)
    assert cli.main(["convert_imageset", "./", f"{name}.txt", name]) == 0
    assert cli.main(["compute_image_mean", name, f"{name}.binaryproto"]) == 0
    assert (formats.read_blob(f"{name}.binaryproto") == 7).all()
    for stage in (GBK, name):
        net = caffe.Net(GBK + b".prototxt", caffe.TRAIN, stages=[stage])
        net.forward()
        assert net.blobs["picture"].data.ravel().tolist() == [7] * 18 and net.blobs["label"].data.tolist() == [5]
        assert net.blobs[names.of_bytes(GBK)].data.tolist() == [[3], [4]]
    assert "picture" not in caffe.Net(GBK + b".prototxt", caffe.TRAIN).blobs
    net.save(GBK + b".caffemodel")
    flags = ["-model", f"{name}.prototxt", "-weights", f"{name}.caffemodel", "-stage", name, "-iterations", "1"]
    assert cli.main(["test", *flags]) == 0
    assert "label = 5" in capsys.readouterr().err
    assert cli.main(["train", "-solver", f"none{name}", "-log_dir", f"none{name}"]) == 2
    said = capsys.readouterr().err
    assert r"none\xca\xfd\xbe\xdd" in said and said.isascii()
    with open(b"solver" + GBK, "wb") as file:
        file.write(b'net: "NAME.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1'.replace(b"NAME", GBK))
    assert cli.main(["train", "-solver", os.fsdecode(b"solver" + GBK), "-weights", f"{name}.caffemodel"]) == 0
    solver = caffe.get_solver(b"solver" + GBK)
    solver.restore(b"solver" + GBK + b"_iter_1.solverstate")
    assert solver.iter == 1


# paths of Windows


@pytest.mark.parametrize(
    ("path", "column", "advised"),
    [
        (r"C:\data\new", 10, "C:/data/new"),
        (r"C:\Users\me\train.txt", 10, "C:/Users/me/train.txt"),
        (r"C:\xyz", 10, "C:/xyz"),
        (r"D:\new\pictures", 14, "D:/new/pictures"),
        (r"\\server\share", 16, "//server/share"),
        (r"a\u12", 9, "a/u12"),
    ],
)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_path_with_backslashes_is_refused_where_it_stands(path, column, advised, quote, tmp_path):
    said = refused(tmp_path, f"# it's C:\\data\nname: {quote}{path}{quote} # as in \\q")
    assert said.startswith(f":2:{column}: ")
    assert "forward slashes" in said and advised in said


@pytest.mark.parametrize("behind", ["", " }", "\nlayer { }"])
def test_a_backslash_at_the_end_of_a_path(behind, tmp_path):
    said = refused(tmp_path, f'force_backward: true\nname: "data\\"{behind}')
    assert said.startswith(":2:7: ") and "forward slashes" in said


def test_backslashes_outside_of_strings_are_no_escapes(tmp_path):
    assert read(tmp_path, 'name: "a" # C:\\data "\\d"\nlayer { name: \'it"s\' } # \\').layer[0].name == 'it"s'


@pytest.mark.parametrize(
    "data",
    [
        r"type: 'ImageData' image_data_param { source: 'C:\new\train.txt' }",
        r"type: 'ImageData' image_data_param { source: 'list.txt' root_folder: 'C:\new\train/' }",
        r"type: 'Data' data_param { source: 'C:\new\train' backend: LMDB }",
        r"type: 'HDF5Data' hdf5_data_param { source: 'C:\new\train.txt' batch_size: 1 }",
    ],
)
def test_a_path_that_became_control_characters(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("a.jpg 1\n")
    net = read(tmp_path, f"layer {{ name: 'd' top: 'x' top: 'y' {data} }}")
    with pytest.raises(CaffeError, match="forward slashes") as error:
        caffe.Net.from_param(net)
    assert "\n" not in str(error.value) and "\t" not in str(error.value)


def test_escapes_of_caffe(tmp_path):
    assert read(tmp_path, r'name: "\a\b\f\n\r\t\v\\\'\"\101\x41\u00e4\U0001F600"').name == (
        "\a\b\f\n\r\t\v\\'\"AA\u00e4\U0001f600"
    )


# types of another generation


@pytest.mark.parametrize("value", ['"ReLU"', '"Convolution"', "ReLU", '"Python"'])
def test_a_current_type_in_an_old_entry(value, tmp_path):
    said = refused(tmp_path, f"layers {{ name: 'r' type: {value} }}")
    assert said.startswith(":1:") and "rename 'layers' to 'layer'" in said and "ABSVAL" not in said


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("layer { type: CONVOLUTION }", 'type: "Convolution"'),
        ("layer { type: SOFTMAX_LOSS }", 'type: "SoftmaxWithLoss"'),
        ("layer { type: Convolution }", 'quotes: "Convolution"'),
        ("layers { layer { type: conv } }", 'quotes: "conv"'),
        ('layers { type: "RELU" }', "RELU, an enum value, without quotes"),
        ('layer { pooling_param { pool: "MAX" } }', "MAX, an enum value, without quotes"),
    ],
)
def test_types_with_and_without_quotes(text, advice, tmp_path):
    assert advice in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CONVOLUTION", '"Convolution"'),
        ("innerproduct", '"InnerProduct"'),
        ("Convolutoin", '"Convolution"'),
        ("softmaxwithloss", '"SoftmaxWithLoss"'),
        ("PriorBox", "a fork of Caffe, SSD"),
        ("ROIPooling", "a fork of Caffe, Fast R-CNN"),
        ("ROIAlign", "several forks of Caffe"),
        *((name, "probably written for a fork") for name in ("Nonsense", "UnPooling", "CReLU", "Convolution2", "LCN")),
    ],
)
def test_layer_types_that_are_none(name, says):
    with pytest.raises(CaffeError) as error:
        create_layer(caffe_pb2.LayerParameter(name="it", type=name))
    said = str(error.value)
    assert said.startswith(f"Unknown layer type: {name} (layer 'it'") and says in said.split(");")[1]


# fields of forks


@pytest.mark.parametrize(
    ("text", "fork"),
    [
        ("layer { norm_param { } }", "SSD"),
        ("layer { roi_pooling_param { pooled_w: 6 } }", "Fast R-CNN"),
        ("layer { psroi_pooling_param { } }", "R-FCN"),
        ("layer { interp_param { } }", "DeepLab"),
        ("layer { convolution_param { hole: 2 } }", "DeepLab"),
        ("layer { upsample_param { } }", "SegNet"),
        ("layer { multi_stage_meanfield_param { } }", "CRF-RNN"),
        ("layer { bn_param { } }", "PSPNet"),
        ("default_forward_type: FLOAT16", "NVCaffe"),
        ("layer { batch_norm_param { bn_stats_batch_size: 3 } }", "Intel"),
        ("layer { center_loss_param { } }", "ydwen"),
        ("layer { relu6_param { } }", "MobileNet"),
    ],
)
def test_a_forks_field_is_called_so(text, fork, tmp_path):
    said = refused(tmp_path, text)
    assert "fork of Caffe" in said and fork in said and "did you mean" not in said


def test_ceil_mode_is_round_mode_in_caffe(tmp_path):
    said = refused(tmp_path, "layer { pooling_param { ceil_mode: false } }")
    assert "forks of Caffe" in said and "round_mode: FLOOR" in said


@pytest.mark.parametrize(
    "field", ["my_pooling_param", "rnn_param", "crf_param", "elu6_param", "unpooling2_param", "gn_param"]
)
def test_an_unknown_field_is_probably_a_forks(field, tmp_path):
    said = refused(tmp_path, f"layer {{ {field} {{ }} }}")
    assert "fork" in said and "did you mean" not in said


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("layer { convolution_param { num_ouput: 3 } }", "num_output"),
        ("layer { inner_prodcut_param { } }", "inner_product_param"),
        ("layer { botom: 'x' }", "bottom"),
        ("layer { convolution_param { kernal_size: 3 } }", "kernel_size"),
        ("layer { pooling_params { } }", "pooling_param"),
        ("layers { type: CONVOLUTON }", "CONVOLUTION"),
        ("layers { type: softmaxloss }", "SOFTMAX_LOSS"),
    ],
)
def test_a_slip_is_told(text, meant, tmp_path):
    assert f"did you mean {meant}?" in refused(tmp_path, text)


@pytest.mark.parametrize("field", ["kernel", "kernel_hw", "pad_t"])
def test_what_may_be_meant_for_two_is_no_slip(field, tmp_path):
    assert "did you mean" not in refused(tmp_path, f"layer {{ pooling_param {{ {field}: 3 }} }}")


@pytest.mark.parametrize(("value", "told"), [("BN", "a fork of Caffe"), ("WARP", "a fork"), ("conv", '"Convolution"')])
def test_old_entries_of_types_that_caffe_has_not(value, told, tmp_path):
    said = refused(tmp_path, f"layers {{ type: {value} }}")
    assert told in said and ("rename" in said) == (value == "conv")


def test_types_by_their_old_words():
    for word, meant in (("Conv", "Convolution"), ("SoftmaxLoss", "SoftmaxWithLoss"), ("Innerproduct", "InnerProduct")):
        assert f'"{meant}"' in known_forks.on_type(word, caffe.layer_type_list())


def test_a_field_of_another_message(tmp_path):
    assert "caffe.NetState," in (said := refused(tmp_path, "stage: 'x'")) and "did you mean" not in said
    assert "which file" not in refused(tmp_path, "lr_mult: 1")
    path = tmp_path / "solver.prototxt"
    path.write_text("name: 'CaffeNet' layer { name: 'x' }")
    with pytest.raises(CaffeError, match="NetParameter, so check which file"):
        formats.read_solver(path)
    assert "caffe.ConvolutionParameter" in refused(tmp_path, "layer { kernel_size: 3 }")
    assert "caffe.SolverParameter" in refused(tmp_path, "base_lr: 1")


def test_no_name_of_a_fork_is_caffes_own():
    known = {field.name for message in caffe_pb2.DESCRIPTOR.message_types_by_name.values() for field in message.fields}
    assert not known & set(known_forks._FORK)
    assert not {*caffe.layer_type_list(), *known_forks.OLD_TYPES.values()} & set(known_forks._FORK)


def test_private_characters_do_not_change_text_formats(tmp_path):
    net = read(tmp_path, b"name: '" + LATIN + b"'")
    assert text_format.Parse(str(net), caffe_pb2.NetParameter()) == net
