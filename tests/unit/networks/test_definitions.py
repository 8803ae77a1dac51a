"""Definitions as they are read, and the shapes of the weights they give."""

import pytest

import caffe
from sentiment.networks import architectures, definitions
from sentiment.utils.errors import UserError


def test_a_file_that_is_no_definition(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("layer { nmae: 1 }")
    with pytest.raises(UserError, match=r"net\.prototxt is not a net definition: 1:"):
        definitions.read(path)


def test_comments_of_a_definition_may_be_in_any_encoding(tmp_path):
    path = tmp_path / "deploy.prototxt"
    path.write_bytes("# 数据\nname: 'it' # ë\n".encode("gbk", "replace"))
    assert definitions.read(path).name == "it"
    path.write_bytes("name: '数据'".encode("gbk"))
    with pytest.raises(UserError, match=r"deploy\.prototxt is not a net definition"):
        definitions.read(path)
    path.write_bytes(b"\0\1\2")
    with pytest.raises(UserError, match=r"deploy\.prototxt is not a text file"):
        definitions.read(path)


@pytest.mark.parametrize("arch", architectures.ARCHITECTURES)
def test_expected_shapes_are_those_of_the_net(tmp_path, arch):
    definition = architectures.deploy(arch, 16, architectures.LastLayer("fc8", 7))
    path = tmp_path / "net.prototxt"
    path.write_text(str(definition))
    net = caffe.Net(str(path), caffe.TEST)
    expected = {name: [blob.data.shape for blob in blobs] for name, blobs in net.params.items()}
    assert definitions.weight_shapes(definition) == expected
    assert list(definitions.weight_shapes(definition)) == list(expected)


def test_shapes_of_windows_that_are_not_square_and_of_layers_without_bias(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        """input: "data" input_dim: 2 input_dim: 4 input_dim: 20 input_dim: 30
           layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
                   convolution_param { num_output: 6 kernel_h: 3 kernel_w: 1 group: 2 dilation: 2 bias_term: false } }
           layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }"""
    )
    net = caffe.Net(str(path), caffe.TEST)
    expected = {name: [blob.data.shape for blob in blobs] for name, blobs in net.params.items()}
    assert definitions.weight_shapes(definitions.read(path)) == expected
