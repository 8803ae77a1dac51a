"""tools/demo_sources.py: nine stand-ins that the tools take as they take the real files."""

import os
import signal

import cv2
import numpy as np
import pytest

import caffe
from sentiment import paper
from sentiment.data import lists
from sentiment.data.means import channel_means
from sentiment.demo import drawn
from sentiment.demo.stand_ins import STAND_INS
from sentiment.networks import architectures
from sentiment.networks.weights_files import last_layer
from sentiment.sources import cards
from sentiment.utils.progress import Progress


@pytest.fixture
def demo(tiny, monkeypatch):
    """The tiny data with a source task, an image per concept, and a source model of them."""
    source = tiny.data / "source"
    (source / "images").mkdir(parents=True)
    pairs = [(f"{label}.jpg", label) for label in range(len(drawn.CONCEPTS))]
    rng = np.random.default_rng(0)
    for name, _ in pairs:
        cv2.imwrite(str(source / "images" / name), rng.integers(0, 255, (256, 256, 3), np.uint8))
    (source / "train.txt").write_text(lists.text(pairs))
    (tiny.data / "models").mkdir()
    model = caffe.proto.caffe_pb2.NetParameter.FromString(tiny.source.read_bytes())
    (tiny.data / "models" / "drawn_concepts.caffemodel").write_bytes(model.SerializeToString())
    return tiny


def test_nine_stand_ins_that_differ_in_form(tool, demo, capfd, monkeypatch):
    monkeypatch.setattr("sentiment.demo.stand_ins.ITERATIONS", 1)
    assert tool("demo_sources", "--data", demo.data) == 0
    models = demo.data / "models"
    kinds = set()
    for name, stand_in in STAND_INS.items():
        found = cards.resolve(name, own=models)
        assert found.path.parent == models
        assert found.path.name == cards.read(name).file.path.name
        assert last_layer(found.path) == architectures.LastLayer(stand_in.last, len(stand_in.concepts))
        assert (found.mean.name == "places205CNN_mean.binaryproto") == (name == "places")
        assert channel_means(found.mean).shape == (3,)
        file = caffe.proto.caffe_pb2.NetParameter.FromString(found.path.read_bytes())
        blob = (file.layers or file.layer)[0].blobs[0]
        kinds.add((len(file.layers) > 0, blob.HasField("num")))
    assert len(kinds) == 4
    means = [channel_means(cards.resolve(name, own=models).mean) for name in ("caffenet", "places")]
    np.testing.assert_allclose(means[0], paper.IMAGENET_MEANS_BGR, atol=1e-4)
    assert np.abs(means[0] - means[1]).max() > 1

    before = {path: path.stat().st_mtime_ns for path in models.iterdir()}
    capfd.readouterr()
    assert tool("demo_sources", "--data", demo.data) == 0
    assert "9 stand-ins, all there" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in models.iterdir()} == before

    which = ["--data", demo.data, "--splits", demo.splits, "--runs", demo.runs, "--iterations", 1]
    for arch, init in ("finetune", "places"), ("fc9", "mvso_es"):
        assert tool("train", *which, "--arch", arch, "--init", init) == 0
    said = capfd.readouterr().out
    assert "five_agrees fold 1, fc9 from mvso_es" in said
    assert "fc6 fc7 fc8-es\n" in said
    assert "places205CNN_mean.binaryproto" in (demo.folder(init="places") / "train_val.prototxt").read_text()


def test_one_of_them_brings_what_it_is_made_from(tool, demo, monkeypatch):
    monkeypatch.setattr("sentiment.demo.stand_ins.ITERATIONS", 1)
    monkeypatch.chdir(demo.data)
    assert tool("demo_sources", "--data", ".", "--init", "mvso_zh") == 0
    made = {path.stem for path in (demo.data / "models").glob("*.json")}
    assert made == {"caffenet", "deepsentibank", "mvso_zh"}


def test_a_stopped_one_of_other_definitions_starts_again(tool, demo, monkeypatch, capfd):
    monkeypatch.setattr("sentiment.demo.stand_ins.ITERATIONS", 3)
    advance = Progress.advance

    def advance_and_interrupt(self, count, note=""):
        advance(self, count, note)
        if self.done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "advance", advance_and_interrupt)
        assert tool("demo_sources", "--data", demo.data, "--init", "caffenet") == 143
    assert list((demo.data / "source" / "caffenet").glob("snapshot_iter_1.*"))
    monkeypatch.setattr("sentiment.demo.stand_ins.BASE_LR", 0.0001)
    capfd.readouterr()
    assert tool("demo_sources", "--data", demo.data, "--init", "caffenet") == 0
    assert "resumes" not in capfd.readouterr().out
    assert not list((demo.data / "source" / "caffenet").glob("snapshot*"))


def test_without_a_source_model_it_says_what_makes_one(tool, tiny, capfd):
    assert tool("demo_sources", "--data", tiny.data) == 2
    assert "tools/demo.py makes it" in capfd.readouterr().err
