"""Drawings of definitions: what is in the graph, and what is missing."""

import importlib
import sys

import pytest
from google.protobuf import text_format

import caffe
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2

NET = r"""
name: 'a "net"'
layer { name: 'data' type: 'Data' top: 'x' top: 'y' include { phase: TRAIN } data_param { batch_size: 7 } }
layer { name: 'c{1}' type: 'Convolution' bottom: 'x' top: 'c' param { lr_mult: 2 }
  convolution_param { num_output: 5 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: 'relu' type: 'ReLU' bottom: 'c' top: 'c' }
layer { name: 'pool' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { pool: AVE kernel_size: 2 stride: 4 } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'p' bottom: 'y' top: 'l' exclude { phase: TEST } }
"""


@pytest.fixture
def net():
    return text_format.Parse(NET, caffe_pb2.NetParameter())


@pytest.fixture
def draw():
    pytest.importorskip("pydot", reason="pydot, the extra for drawings, is not installed")
    return importlib.import_module("caffe.draw")


def labels(graph):
    return {node.get_label().strip('"'): node.get_fillcolor() for node in graph.get_nodes()}


def test_layers_and_blobs_are_nodes(draw, net):
    graph = draw.get_pydot_graph(net, "TB", display_lrm=True)
    found = labels(graph)
    assert [name for name in found if "(" not in name] == ["x", "y", "c", "p", "l"]
    assert {name for name in found if "(" in name} == {
        "data (Data)",
        r"c\{1\} (Convolution) kernel size: 3 stride: 2 pad: 1 lr mult: 2.0, 1.0",
        "relu (ReLU)",
        "pool (Pooling AVE) kernel size: 2 stride: 4 pad: 0",
        "loss (SoftmaxWithLoss)",
    }
    assert found["relu (ReLU)"] != found["loss (SoftmaxWithLoss)"]
    assert r"pool\n(Pooling AVE)\nkernel size: 2\nstride: 4\npad: 0" in labels(draw.get_pydot_graph(net, "LR"))


def test_arrows_join_layers_with_their_blobs(draw, net):
    graph = draw.get_pydot_graph(net, "LR")
    texts = [edge.get_label().strip('"') for edge in graph.get_edges()]
    assert sorted(filter(None, texts)) == ["5", "Batch 7", "Batch 7"] and len(texts) == 11
    assert not any(edge.get_label().strip('"') for edge in draw.get_pydot_graph(net, "LR", False).get_edges())


def test_a_phase_leaves_out_the_layers_of_the_other(draw, net):
    assert not [name for name in labels(draw.get_pydot_graph(net, "LR", phase=caffe.TEST)) if name.startswith("loss")]
    names = [name.split("\\n")[0] for name in labels(draw.get_pydot_graph(net, "LR", phase=caffe.TRAIN))]
    assert {"data", "loss", "relu"} <= {*names}
    net.layer[0].exclude.add().phase = caffe.TEST
    with pytest.raises(CaffeError, match="'data' has both include and exclude"):
        draw.get_pydot_graph(net, "LR", phase=caffe.TEST)


def test_graphvizs_input_is_written_without_graphviz(draw, net, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    draw.draw_net_to_file(net, tmp_path / "net.raw")
    text = (tmp_path / "net.raw").read_text()
    assert text.startswith(r'digraph "a \"net\"" {') and text.count("->") == 11
    with pytest.raises(CaffeError, match="dot, which is not installed"):
        draw.draw_net_to_file(net, str(tmp_path / "net.png"))
    assert not (tmp_path / "net.png").exists()


def test_without_pydot_an_import_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    monkeypatch.delitem(sys.modules, "caffe.draw", raising=False)
    for kind in ImportError, CaffeError:
        with pytest.raises(kind, match="requires pydot"):
            importlib.import_module("caffe.draw")
