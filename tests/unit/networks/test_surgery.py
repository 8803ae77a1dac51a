"""Fully convolutional nets: the paper's Table 1, the classifier's own numbers, and what cannot be converted."""

import cv2
import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2
from sentiment import paper
from sentiment.evaluation import maps
from sentiment.networks import architectures, definitions, surgery, transfer
from sentiment.report import paper_tables
from sentiment.utils.errors import UserError

DIVISOR = 16
CROP = paper.CROP
ARCHITECTURES = ["finetune", "fc7-2", "fc6-2", "stacked", "squeezenet", "pooled"]


POOLED = """
name: "pooled"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 227 dim: 227 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 8 kernel_size: 11 stride: 8 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "all" type: "Pooling" bottom: "pool1" top: "all" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "all" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def definition(arch, divisor=DIVISOR, pads=True):
    """A deploy net; ``stacked`` has two fully connected layers with nothing between them, as fc9 does."""
    if arch == "pooled":
        return text_format.Parse(POOLED, caffe_pb2.NetParameter())
    net = architectures.deploy("finetune" if arch == "stacked" else arch, divisor)
    if arch == "stacked":
        kept, prob = net.layer[-2:]
        kept.name = kept.top[0] = "fc8-t"
        kept.inner_product_param.num_output = 7
        prob.bottom[0] = "fc9_twitter"
        last = {"name": "fc9_twitter", "type": "InnerProduct", "bottom": ["fc8-t"], "top": ["fc9_twitter"]}
        net.layer.insert(-1, caffe_pb2.LayerParameter(**last, inner_product_param={"num_output": 2}))
    for layer in net.layer:
        if not pads:
            layer.convolution_param.ClearField("pad")
    return net


def built(folder, net, seed=0):
    """The net with random weights, the last layer's such that its probabilities spread."""
    path = folder / "deploy.prototxt"
    path.write_text(str(net))
    net = caffe.Net(str(path), caffe.TEST)
    rng = np.random.default_rng(seed)
    for blobs in net.params.values():
        blobs[0].data[...] = rng.normal(0, np.sqrt(2 / blobs[0].data[0].size), blobs[0].data.shape)
    first, last = (list(net.params)[index] for index in (0, -1))
    net.params[first][0].data[...] /= 50
    answers = list(maps.forward(net, random_images(10, *net.blobs["data"].data.shape[2:]), batch=10))
    scores = net.blobs[net.top_names[last][0]].data[:, 0].reshape(len(answers), -1).mean(1)
    weights, *biases = net.params[last]
    weights.data[0] /= scores.std()
    weights.data[1] = -weights.data[0]
    for bias in biases:
        bias.data[...] = np.array([-1, 1]) * scores.mean() / scores.std()
    return net


def pair(folder, net, size):
    """Conversion, fully convolutional net and classifier."""
    conversion = surgery.convert(net, (size, size) if isinstance(size, int) else size)
    classifier = built(folder, net)
    return conversion, surgery.build(caffe, conversion, classifier), classifier


def random_images(count, height, width=None, seed=1):
    """Random images, (3, height, width), each with structure at scales of its own."""
    rng = np.random.default_rng(seed)

    def layer(cells):
        return cv2.resize(rng.normal(0, rng.exponential(40), (cells, cells, 3)), (width or height, height))

    return [sum(layer(cells) for cells in (1, 4, 16, 64)).transpose(2, 0, 1).astype(np.float32) for _ in range(count)]


def test_table_1_is_the_paper_s():
    conversion = surgery.convert(architectures.deploy("finetune"))
    rows = {kernel.layer: (kernel.number, (kernel.width, kernel.height, kernel.depth)) for kernel in conversion.kernels}
    assert rows == paper.TABLE1
    assert {kernel.stride for kernel in conversion.kernels} == {1}
    assert (conversion.net.name, conversion.input) == ("Twitter_finetuned_conv", (451, 451))
    assert (conversion.map, conversion.patch, conversion.step) == ((8, 8), (227, 227), (32, 32))
    table = paper_tables.fcn_table(conversion)
    assert [row[0] for row in table.rows] == list(paper.TABLE1)
    for row in table.rows:
        assert row[1] == row[2] and row[3] == row[4]
    assert "| fc6-conv         | 4,096         | 4,096          | 6 × 6 × 256" in table.markdown()
    assert "8×8" in table.markdown() and "355×355" in table.markdown()


def test_the_committed_definition_is_the_one_made(root):
    committed = text_format.Parse((root / "prototxt" / "fcn" / "deploy.prototxt").read_text(), caffe_pb2.NetParameter())
    assert committed == surgery.convert(architectures.deploy("finetune")).net


def test_layers_and_blobs_have_the_paper_s_names(tmp_path):
    _, fcn, _ = pair(tmp_path, definition("finetune"), 451)
    assert [name for name in fcn.params if name.startswith("fc")] == ["fc6-conv", "fc7-conv", "fc8_twitter-conv"]
    assert fcn.blobs["prob"].data.shape == (1, 2, 8, 8)
    assert fcn.blobs["fc6-conv"].data.shape == (1, 4096 // DIVISOR, 8, 8)


def test_stacked_layers_keep_their_order():
    conversion = surgery.convert(definition("stacked"))
    assert list(conversion.renamed) == ["fc6", "fc7", "fc8-t", "fc9_twitter"]
    assert [(k.height, k.width, k.depth) for k in conversion.kernels] == [
        (6, 6, 16), (1, 1, 256), (1, 1, 256), (1, 1, 7),
    ]  # fmt: skip


def test_the_map_of_googlenet_has_the_paper_s_size_and_step():
    conversion = surgery.convert(architectures.deploy("googlenet"))
    assert (conversion.input, conversion.map) == ((448, 448), (8, 8))
    assert (conversion.patch, conversion.step) == ((224, 224), (32, 32))


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "googlenet"])
def test_at_its_own_size_it_is_the_classifier(tmp_path, arch):
    crop = 224 if arch == "googlenet" else CROP
    conversion, fcn, classifier = pair(tmp_path, definition(arch, 4 if arch == "googlenet" else DIVISOR), crop)
    images = random_images(4, crop)
    maps_of, answers = (np.stack(list(maps.forward(net, images))) for net in (fcn, classifier))
    assert conversion.map == (1, 1)
    assert np.ptp(answers[:, 1]) > 0.01
    np.testing.assert_allclose(maps_of.reshape(4, 2), answers.reshape(4, 2), atol=1e-5)


@pytest.mark.parametrize("arch", ["finetune", "fc6-2", "stacked", "pooled"])
def test_without_pads_a_map_is_the_predictions_of_its_patches(tmp_path, arch):
    net = definition(arch, pads=False)
    conversion, fcn, classifier = pair(tmp_path, net, CROP + 2 * (16 if arch == "pooled" else 32))
    assert conversion.map == (3, 3) and conversion.reach == conversion.patch
    if arch == "finetune":
        assert (conversion.kernels[0].height, conversion.kernels[0].width) == (2, 2)
    mapped, patched = maps.patch_differences(fcn, classifier, conversion, random_images(2, conversion.input[0]))
    assert mapped.shape == (2, 3, 3) and np.ptp(mapped) > 0.01
    np.testing.assert_allclose(mapped, patched, atol=1e-5)


def test_with_pads_maps_differ_from_patches_but_not_by_much(tmp_path):
    mapped, patched = maps.patch_differences(*reversed_pair(tmp_path), random_images(2, 291))
    difference = np.abs(mapped - patched)
    assert 1e-4 < np.median(difference) < 0.2
    found = maps.difference_summary(mapped, patched)
    assert (found["maps"], found["places"]) == (2, 9)
    assert found["50"] == pytest.approx(np.median(difference)) and found["100"] == pytest.approx(difference.max())
    assert found["same"] == np.mean((mapped > 0.5) == (patched > 0.5))


def reversed_pair(folder):
    conversion, fcn, classifier = pair(folder, definition("finetune"), 291)
    return fcn, classifier, conversion


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("size", [(227, 227), (300, 451), (333, 260)])
def test_sizes_are_those_the_engine_finds(tmp_path, arch, size):
    conversion, fcn, _ = pair(tmp_path, definition(arch), size)
    blobs = {"data": definitions.Field(3, size)}
    for layer in conversion.net.layer[1:]:
        field = definitions.above(layer, [blobs[bottom] for bottom in layer.bottom])
        blobs.update(dict.fromkeys(layer.top, field))
    for name, field in blobs.items():
        assert fcn.blobs[name].data.shape[1:] == (field.channels, *field.size), name
    assert fcn.blobs["prob"].data.shape[2:] == conversion.map


@pytest.mark.parametrize("pads", [True, False])
def test_a_cell_sees_its_reach_and_no_further(tmp_path, pads):
    conversion, fcn, _ = pair(tmp_path, definition("finetune", pads=pads), 451)
    image = random_images(1, 451)[0]
    before = next(iter(maps.forward(fcn, [image])))
    cell = 4
    begin = cell * 32 - (conversion.reach[0] - CROP) // 2
    end = begin + conversion.reach[0]
    seen = np.zeros((451, 451), bool)
    seen[max(begin, 0) : end, max(begin, 0) : end] = True
    for change, same in (np.where(seen, 0, 100), True), (np.where(seen, 100, 0), False):
        answer = next(iter(maps.forward(fcn, [(image + change).astype(np.float32)])))
        assert (np.abs(answer - before)[:, cell, cell].max() < 1e-5) == same
    if not pads:
        assert (begin, end) == (128, 128 + CROP)


def test_weights_are_only_rearranged(tmp_path):
    conversion, fcn, classifier = pair(tmp_path, definition("stacked"), 451)
    assert set(fcn.params) == {conversion.renamed.get(name, name) for name in classifier.params}
    for name, blobs in classifier.params.items():
        for old, new in zip(blobs, fcn.params[conversion.renamed.get(name, name)], strict=True):
            assert old.data.tobytes() == new.data.tobytes()


def test_images_that_are_not_square_and_layers_without_bias(tmp_path):
    net = definition("finetune")
    net.layer[0].input_param.shape[0].dim[3] = 259
    net.layer[-2].inner_product_param.bias_term = False
    conversion = surgery.convert(net, (259, 291))
    assert (conversion.kernels[0].height, conversion.kernels[0].width) == (6, 7)
    assert (conversion.map, conversion.patch) == ((2, 2), (227, 259))
    classifier = built(tmp_path, net)
    fcn = surgery.build(caffe, surgery.convert(net, (227, 259)), classifier)
    (image,) = random_images(1, 227, 259)
    both = [next(iter(maps.forward(net, [image]))).ravel() for net in (fcn, classifier)]
    np.testing.assert_allclose(*both, atol=1e-5)


def test_any_way_to_write_the_input():
    expected = surgery.convert(definition("finetune"))
    for words in (
        'input: "data" input_dim: 10 input_dim: 3 input_dim: 227 input_dim: 227',
        'input: "data" input_shape { dim: 10 dim: 3 dim: 227 dim: 227 }',
    ):
        net = definition("finetune")
        del net.layer[0]
        text_format.Merge(words, net)
        assert surgery.convert(net) == expected


def test_arithmetic_of_a_map(tmp_path):
    """Of the published net at full size: 8.7 times one prediction."""
    net = architectures.deploy("finetune")
    net.layer[0].input_param.shape[0].dim[0] = 1
    sums = []
    for definition in net, surgery.convert(net).net:
        path = tmp_path / "net.prototxt"
        path.write_text(str(definition))
        sums.append(definitions.multiply_adds(caffe.Net(str(path), caffe.TEST)))
    assert sums[0] == 724_406_816 - 4096 * (1000 - 2)  # CaffeNet's, with two classes
    assert sums[1] / sums[0] == pytest.approx(8.7, abs=0.05)


def without(name):
    def change(net):
        (index,) = [index for index, layer in enumerate(net.layer) if layer.name == name]
        del net.layer[index]

    return change


def merged(index, text):
    return lambda net: text_format.Merge(text, net.layer[index])


def v1(net):
    net.layers.add(name="fc")


def no_connected(net):
    del net.layer[-10:]


def second_input(net):
    net.layer.add(name="more", type="Input", top=["more"]).input_param.shape.add(dim=[1, 3, 9, 9])


def added(text):
    return lambda net: text_format.Merge(text, net)


REFUSED = {
    "first generation": (v1, "old format"),
    "nothing to convert": (no_connected, "nothing to convert"),
    "no input": (without("data"), "not a deploy net"),
    "two inputs": (second_input, "not a deploy net"),
    "missing bottom": (without("conv3"), "no layer before relu3 gives its bottom conv3"),
    "axis": (merged(-2, "inner_product_param { axis: 2 }"), "fc8_twitter .*axis 2"),
    "transposed": (merged(-2, "inner_product_param { transpose: true }"), "fc8_twitter .*transposed"),
    "softmax over rows": (merged(-1, "softmax_param { axis: 2 }"), "prob .*axis"),
    "name taken": (added('layer { name: "fc7-conv" type: "ReLU" bottom: "prob" top: "prob" }'), "fc7-conv already"),
    "unknown type": (added('layer { name: "last" type: "ArgMax" bottom: "prob" top: "x" }'), r"last \(ArgMax\)"),
    "accuracy": (added('layer { name: "last" type: "Silence" bottom: "prob" }'), r"last \(Silence\)"),
    "no bottom": (added('layer { name: "p" type: "Parameter" top: "p" }'), "p .Parameter. is not part"),
    "sizes that differ": (
        added('layer { name: "sum" type: "Eltwise" bottom: "pool5" bottom: "conv5" top: "sum" }'), "different sizes",
    ),
    "a window on a vector": (
        added('layer { name: "p" type: "Pooling" bottom: "prob" top: "p" pooling_param { kernel_size: 1 stride: 2 } }'),
        "single cell",
    ),
    "within channels": (
        added('layer { name: "n" type: "LRN" bottom: "pool5" top: "n" lrn_param { norm_region: 1 } }'),
        "within channels",
    ),
    "a window too large": (
        added('layer { name: "w" type: "Pooling" bottom: "pool5" top: "w" pooling_param { kernel_size: 9 } }'),
        "window of layer w is larger",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_converted_is_refused(change, words):
    net = definition("finetune")
    change(net)
    with pytest.raises(UserError, match=words) as error:
        surgery.convert(net, where="my.prototxt")
    assert str(error.value).startswith("my.prototxt")


def test_an_input_smaller_than_the_net_s_own_is_refused():
    with pytest.raises(UserError, match=r"200×300 pixels is smaller than the net's own, 227×227"):
        surgery.convert(definition("finetune"), (200, 300))


def test_weights_of_another_net(tmp_path):
    built(tmp_path, definition("fc6-2")).save(str(tmp_path / "other.caffemodel"))
    (tmp_path / "finetune.prototxt").write_text(str(definition("fc7-2")))
    with pytest.raises(UserError, match=r"other\.caffemodel has no layer named fc6, which .*finetune\.prototxt"):
        transfer.load(caffe, tmp_path / "finetune.prototxt", tmp_path / "other.caffemodel")
    with pytest.raises(UserError, match=r"no file .*nowhere"):
        transfer.load(caffe, tmp_path / "finetune.prototxt", tmp_path / "nowhere")
