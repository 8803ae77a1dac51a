"""tools/extract_features.py and tools/analyze_layers.py as a user runs them."""

import json
import shutil

import numpy as np
import pytest

import caffe
from helpers.commands import refused
from sentiment import paper
from sentiment.analysis import features

LAYERS = [layer.replace("fc8", "fc8_twitter") for layer in paper.TABLE3]


@pytest.fixture
def trained(tool, tiny):
    assert tool("train", *tiny.options, "--fold", 1, 2, "--iterations", 2) == 0
    return tiny


def analysing(tiny, *more):
    return ["--runs", tiny.runs, "--init", tiny.source, *more]


def test_layers_of_each_fold_s_own_net(tool, trained, capfd):
    assert tool("extract_features", *trained.options, "--fold", 1, 2) == 0
    said = capfd.readouterr()
    assert "25 images, 13 layers" in said.out and "GB" in said.out
    for fold in 1, 2:
        folder = trained.folder(fold)
        grams = features.read(folder / "grams.npz")
        assert list(grams.layers) == LAYERS
        for part, rows in zip(("train", "test"), grams.folds[fold], strict=True):
            listed = trained.list(part, fold).read_text()
            assert "".join(f"{grams.images[row]} {grams.labels[row]}\n" for row in rows) == listed
        classifier = caffe.Classifier(
            str(folder / "deploy.prototxt"), str(folder / "snapshot_iter_2.caffemodel"), image_dims=(256, 256),
            mean=np.array(paper.IMAGENET_MEANS_BGR), raw_scale=255, channel_swap=(2, 1, 0),
        )  # fmt: skip
        rows = []
        for image in grams.images[:3]:
            classifier.predict([caffe.io.load_image(str(trained.data / "images" / image))], oversample=False)
            rows.append({layer: classifier.blobs[layer].data[0].ravel().copy() for layer in ("fc8_twitter", "norm1")})
        for layer in rows[0]:
            expected = np.array([[float(a[layer] @ b[layer]) for a in rows] for b in rows])
            np.testing.assert_allclose(grams.gram(layer)[:3, :3], expected, rtol=1e-4)
    assert {path.name for path in folder.iterdir()} >= {"grams.npz", "features.log"}
    assert not [path for path in folder.iterdir() if path.name.startswith((".", "tmp"))]

    assert tool("analyze_layers", *analysing(trained, "--fold", 1, 2)) == 0
    said = capfd.readouterr().out
    for words in "(the paper's way)", "(nested)", "Folds 1 2 only", "| conv1 ", "| fc8_twitter ", ".667±.049":
        assert words in said
    summary = json.loads((trained.folder().parent / "layers.json").read_text())
    assert list(summary["layers"]) == LAYERS
    assert np.shape(summary["layers"]["conv1"]["softmax"]["accuracy"]["2"]) == (12,)

    assert tool("analyze_layers", *analysing(trained, "--fold", 2)) == 0  # what is analysed already stays
    assert json.loads((trained.folder().parent / "layers.json").read_text()) == summary
    assert "Folds 1 2 only" in capfd.readouterr().out


def test_what_is_done_stays_and_another_training_is_extracted_again(tool, trained, capfd):
    extract, analyse = (
        ["extract_features", *trained.options, "--fold", 1],
        ["analyze_layers", *analysing(trained, "--fold", 1, "--selection", "paper")],
    )
    assert tool(*extract) == tool(*analyse) == 0
    files = [trained.folder() / "grams.npz", trained.folder().parent / "layers.json"]
    before, table = [path.stat().st_mtime_ns for path in files], capfd.readouterr().out.split("**Table 3")[1]
    assert tool(*extract) == tool(*analyse) == 0
    said = capfd.readouterr().out
    assert said.count("already done") == 2
    assert said.split("**Table 3")[1] == table
    assert [path.stat().st_mtime_ns for path in files] == before

    (trained.folder() / "snapshot_iter_2.caffemodel").rename(trained.runs / "kept")
    assert tool(*extract) == 0
    assert "already done" in capfd.readouterr().out
    shutil.copy(trained.folder(2) / "snapshot_iter_2.caffemodel", trained.folder(1))
    assert tool(*extract) == tool(*analyse) == 0
    assert "already done" not in capfd.readouterr().out
    assert files[0].stat().st_mtime_ns > before[0]


def test_a_source_as_it_is(tool, tiny, capfd, mean_file):
    options = [*tiny.options, "--source", "--mean", mean_file]
    assert tool("extract_features", *options) == 0
    folder = tiny.runs / "five_agrees" / "source-source"
    grams = features.read(folder / "grams.npz")
    assert list(grams.layers) == LAYERS[1:]  # its fc8 is of other classes
    assert (list(grams.folds), len(grams.images), grams.about.mean_way) == ([1, 2, 3, 4, 5], 25, "image")
    assert tool("analyze_layers", *analysing(tiny, "--arch", "source", "--selection", "paper")) == 0
    said = capfd.readouterr().out
    assert "source as it is, not fine-tuned" in said
    assert "Folds" not in said
    assert tool("extract_features", *options) == 0
    assert "already done" in capfd.readouterr().out
    assert tool("extract_features", *options, "--mean-way", "channels") == 0
    assert features.read(folder / "grams.npz").about.mean_way == "channels"


def test_a_source_of_convolutions_only(tool, tiny, tmp_path):
    definition, _, _ = (tiny.source.parent / "deploy.prototxt").read_text().partition('layer {\n  name: "fc6"')
    (tmp_path / "conv.prototxt").write_text(definition)
    path = tmp_path / "conv.caffemodel"
    caffe.Net(str(tmp_path / "conv.prototxt"), str(tiny.source), caffe.TEST).save(str(path))
    assert tool("extract_features", *tiny.options[:-1], path, "--source") == 0
    found = features.read(tiny.runs / "five_agrees" / "source-conv" / "grams.npz")
    assert list(found.layers) == LAYERS[3:]
    options = [*tiny.options, "--source", "--model", tmp_path / "conv.prototxt"]
    assert tool("extract_features", *options) == 0
    own = features.read(tiny.runs / "five_agrees" / "source-source" / "grams.npz")
    assert list(own.layers) == LAYERS[3:]
    for layer in LAYERS[3:]:
        np.testing.assert_array_equal(own.gram(layer), found.gram(layer))


@pytest.fixture
def mean_file(tmp_path):
    image = np.random.default_rng(0).uniform(90, 130, (1, 3, 256, 256))
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(caffe.io.array_to_blobproto(image).SerializeToString())
    return path


def test_the_mean_image_of_the_training(tool, tiny, capfd, mean_file):
    options = [*tiny.options, "--mean", mean_file]
    assert tool("train", *options, "--iterations", 1) == 0
    extract = ["extract_features", *tiny.options, "--fold", 1]
    assert tool(*extract) == 0
    about = features.read(tiny.folder() / "grams.npz").about
    assert about.mean_way == "image"
    (tiny.folder() / "grams.npz").unlink()
    moved = mean_file.rename(mean_file.with_name("moved"))
    sentence = refused(tool, capfd, *extract)
    assert str(mean_file) in sentence and "--mean FILE" in sentence
    assert not (tiny.folder() / "grams.npz").exists()
    assert tool(*extract, "--mean", moved) == 0
    assert features.read(tiny.folder() / "grams.npz").about == about
    assert tool(*extract, "--mean-way", "channels") == 0
    assert features.read(tiny.folder() / "grams.npz").about.mean_way == "channels"


def test_what_is_wrong_is_said_in_a_sentence(tool, trained, capfd, tmp_path):
    extract, analyse = ["extract_features", *trained.options], ["analyze_layers", *analysing(trained)]
    assert "fold3 holds no training" in refused(tool, capfd, *extract, "--fold", 3)
    assert "extract_features" in refused(tool, capfd, *analyse)
    assert "--mean FILE" in refused(tool, capfd, *extract, "--fold", 1, "--mean-way", "image")
    assert "nowhere" in refused(tool, capfd, *extract, "--scratch", tmp_path / "nowhere")
    assert "no weights" in refused(tool, capfd, *extract[:-1], "scratch", "--source")
    assert "none of the layers" in refused(tool, capfd, *extract, "--source", "--model", other_definition(tmp_path))
    assert not list(trained.runs.rglob("grams.npz"))

    grams = trained.folder() / "grams.npz"
    grams.write_bytes(b"PK")
    assert "grams.npz" in refused(tool, capfd, *analyse)
    grams.unlink()
    (trained.folder() / "snapshot_iter_2.caffemodel").unlink()
    assert "not finished" in refused(tool, capfd, *extract, "--fold", 1)
    name = trained.list("test", 2).read_text().splitlines()[0].rsplit(" ", 1)[0]
    image = trained.data / "images" / name
    image.write_text("no image")
    assert name in refused(tool, capfd, *extract, "--fold", 2)
    image.unlink()
    assert name in refused(tool, capfd, *extract, "--fold", 2)
    trained.list("test", 2).write_text("other.jpg 1\n")
    assert "test.txt" in refused(tool, capfd, *extract, "--fold", 2)


def other_definition(folder):
    path = folder / "other.prototxt"
    path.write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 227 dim: 227 } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }\n'
    )
    return path


@pytest.mark.parametrize("name", ["extract_features", "analyze_layers"])
def test_help(tool, name, capfd):
    with pytest.raises(SystemExit) as stop:
        tool(name, "--help")
    assert stop.value.code == 0
    assert "usage:" in capfd.readouterr().out


@pytest.mark.slow
def test_real_filters_on_the_real_images(tool, shared, tmp_path, capfd):
    """Convolutions of an ImageNet CaffeNet, not fine-tuned, are where the paper's first layers are."""
    data = shared / "data"
    weights = data / "weights" / "caffenet_conv.caffemodel"
    mean = data / "weights" / "ilsvrc_2012_mean.binaryproto"
    lists = tmp_path / "splits" / "deepsent"
    shutil.copytree(data / "ground_truth", lists)
    options = ["--runs", tmp_path / "runs", "--init", weights]
    assert tool("extract_features", *options, "--source", "--mean", mean, "--data", data / "deepsent",
                "--splits", tmp_path / "splits") == 0  # fmt: skip
    assert tool("analyze_layers", *options, "--arch", "source", "--selection", "paper") == 0
    summary = json.loads((tmp_path / "runs" / "five_agrees" / "source-caffenet_conv" / "layers.json").read_text())
    assert summary["images"] == 880
    for layer in LAYERS[6:]:
        for classifier in "svm", "softmax":
            entry = summary["layers"][layer][classifier]
            assert entry["not_converged"] == 0
            mean = np.mean(list(entry["paper"]["accuracy"].values()))
            assert mean == pytest.approx(paper.TABLE3[layer][classifier][0], abs=0.03)
