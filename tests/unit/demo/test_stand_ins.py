"""The demo's stand-ins differ in form as the real initialisations do."""

import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from sentiment import paper
from sentiment.data.means import binaryproto, channel_means
from sentiment.demo import stand_ins
from sentiment.demo.stand_ins import STAND_INS
from sentiment.networks import architectures
from sentiment.networks.weights_files import last_layer


def test_there_is_one_for_each_initialisation_after_its_parent():
    assert list(STAND_INS) == list(paper.INITIALISATIONS)
    for place, stand_in in enumerate(STAND_INS.values()):
        assert stand_in.parent is None or list(STAND_INS).index(stand_in.parent) < place


def test_they_differ_as_the_real_ones_do():
    assert len({stand_in.last for stand_in in STAND_INS.values()}) >= 7
    assert len({len(stand_in.concepts) for stand_in in STAND_INS.values()}) >= 6
    assert {(stand_in.v1, stand_in.legacy) for stand_in in STAND_INS.values()} == {
        (False, False), (False, True), (True, False), (True, True),
    }  # fmt: skip
    assert [name for name, stand_in in STAND_INS.items() if stand_in.own_mean] == ["places"]
    languages = [len(STAND_INS[f"mvso_{language}"].concepts) for language in ("en", "es", "it", "fr", "de", "zh")]
    assert languages == sorted(languages, reverse=True)


def test_its_images_are_those_of_its_concepts_labelled_among_them():
    stand_in = STAND_INS["places"]
    pairs = [(f"{label}.jpg", label) for label in range(len(STAND_INS["caffenet"].concepts))]
    chosen = stand_ins.own_images(stand_in, pairs)
    assert [label for _, label in chosen] == list(range(len(stand_in.concepts)))
    assert stand_ins.own_images(STAND_INS["caffenet"], pairs) == pairs


@pytest.mark.parametrize("name", STAND_INS)
def test_every_form_loads_to_the_same_weights(tmp_path, name):
    stand_in = STAND_INS[name]
    definition = str(architectures.deploy("finetune", 16))
    (tmp_path / "deploy.prototxt").write_text(definition)
    net = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = rng.standard_normal(blob.data.shape)
    net.save(str(tmp_path / "today.caffemodel"))
    today = caffe_pb2.NetParameter.FromString((tmp_path / "today.caffemodel").read_bytes())
    written = tmp_path / "stand_in"
    written.write_bytes(stand_ins.in_form(today, stand_in).SerializeToString())
    assert last_layer(written) == architectures.LastLayer(stand_in.last, 2)
    (tmp_path / "renamed.prototxt").write_text(definition.replace("fc8_twitter", stand_in.last))
    again = caffe.Net(str(tmp_path / "renamed.prototxt"), str(written), caffe.TEST)
    for (_, ours), (_, theirs) in zip(net.params.items(), again.params.items(), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.data, other.data)


def test_a_mean_image_is_read_as_any(tmp_path):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(binaryproto(stand_ins.even_image(paper.IMAGENET_MEANS_BGR)))
    np.testing.assert_allclose(channel_means(path), paper.IMAGENET_MEANS_BGR, atol=1e-5)
