"""Files that are another network or mean than the one wanted, or a part of it, from servers that give them."""

import hashlib
import io

import numpy as np
import pytest
import yaml

from caffe.proto import caffe_pb2
from helpers.packed import tarred, zipped
from sentiment.data.means import binaryproto, mean_image
from sentiment.networks.architectures import ARCHITECTURES, deploy
from sentiment.networks.definitions import weight_shapes
from sentiment.sources import cards
from sentiment.utils.errors import UserError
from sentiment.utils.files import digests, read_json


def network(last="fc8", classes=1000, arch="finetune", net="CaffeNet", extra=()):
    """A file of weights, all zero, of an architecture with a sixteenth of CaffeNet's channels."""
    shapes = weight_shapes(deploy(arch, ARCHITECTURES[arch].divisor(16)))
    *_, inputs = (shape for shape in shapes.pop(ARCHITECTURES[arch].new_layer) if len(shape) > 1)
    shapes[last] = [(classes, *inputs[1:]), (classes,)]
    message = caffe_pb2.NetParameter(name=net)
    for name, of_layer in [*shapes.items(), *((name, [(2, 2)]) for name in extra)]:
        layer = message.layer.add(name=name, type="InnerProduct")
        for shape in of_layer:
            blob = layer.blobs.add(data=np.zeros(shape).ravel())
            blob.shape.dim.extend(shape)
    return message.SerializeToString()


RIGHT = network()
IMAGE = np.random.default_rng(0).uniform(0, 255, (3, 8, 8)).astype(np.float32)


@pytest.fixture
def pages():
    return {"/right": RIGHT}


@pytest.fixture
def card(tmp_path):
    """Write a card, by default one of CaffeNet, and give its folder."""

    def write(links=(), name="net", **keys):
        content = {
            "title": "The Net", "about": "x", "file": f"{name}.caffemodel", "mean": [1, 2, 3], "arch": "finetune",
            "last_layer": {"name": "fc8", "classes": 1000}, "links": list(links), "where": "its page",
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content | keys))
        return tmp_path

    return write


def failures(capsys):
    return [line.partition("failed: ")[2] for line in capsys.readouterr().out.splitlines() if "failed: " in line]


OTHERS = [
    {"name": "R-CNN's network", "sha1": hashlib.sha1(network(classes=200)).hexdigest()},
    {"name": "an older network", "md5": hashlib.md5(network(classes=7)).hexdigest()},
    {"name": "AlexNet", "net": "AlexNet"},
    {"name": "the net with attributes", "layer": "fc9"},
    {"name": "the hybrid net", "classes": 1183},
]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (network(classes=200), "R-CNN's network"),
        (network(classes=7), "an older network"),
        (network(net="AlexNet"), "AlexNet"),
        (network(extra=["fc9"]), "the net with attributes"),
        (network(classes=1183), "the hybrid net"),
        (b"known by another card", "Another One"),
    ],
)
def test_a_wrong_identity_is_named_and_the_next_link_taken(server, pages, card, capsys, content, name):
    pages["/wrong"] = content
    card(name="other", title="Another One", sha256=hashlib.sha256(b"known by another card").hexdigest())
    folder = card([f"{server}/wrong", f"{server}/right"], **{"not": OTHERS})
    assert cards.resolve("net", models=folder).path.read_bytes() == RIGHT
    assert failures(capsys) == [f"it is {name}, not The Net"]
    assert read_json(folder / "fetched.json")["files"]["net"]["link"] == f"{server}/right"

    (folder / "net.caffemodel").write_bytes(content)
    with pytest.raises(UserError, match=f"net.caffemodel is not the right file: it is {name}, not The Net; .*INIT="):
        cards.resolve("net", models=folder)


def test_an_identity_that_one_card_tells_counts_for_all(card, tmp_path):
    card(name="teller", **{"not": OTHERS})
    path = tmp_path / "x"
    path.write_bytes(network(classes=200))
    assert cards.identity(digests(path, "sha1", "md5"), tmp_path) == "R-CNN's network"
    path.write_bytes(RIGHT)
    assert cards.identity(digests(path, "sha1", "md5"), tmp_path) == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (RIGHT[: len(RIGHT) // 2], "less than the 243,860,896 of its weights, so it is cut short"),
        (b"<html>quota exceeded", "a web page"),
        (network("fc8_es", 2382), "its last layer is fc8_es with 2,382 outputs .like Spanish., not fc8 with 1,000"),
        (network("fc8", 5), "its last layer is fc8 with 5 outputs, not fc8 with 1,000"),
        (network("conv10", 1000, "squeezenet"), "there is no layer|conv1 is"),
        (RIGHT + b"\x0a\x00" * 6000, "bytes, more than the"),
    ],
)
def test_another_or_cut_file_without_a_published_checksum_is_refused(server, pages, card, capsys, content, words):
    pages["/wrong"] = content
    card(name="spanish", title="Spanish", last_layer={"classes": 2382})
    folder = card([f"{server}/wrong"])
    with pytest.raises(UserError, match=rf"net.caffemodel is missing, and no link gives it \(.*{words}"):
        cards.resolve("net", models=folder)
    assert len(failures(capsys)) == 1
    assert not (folder / "net.caffemodel").exists()


def test_the_name_of_a_download_does_not_matter(server, pages, card):
    pages["/squeezenet_v9.zip"] = RIGHT
    assert cards.resolve("net", models=card([f"{server}/squeezenet_v9.zip"])).path.read_bytes() == RIGHT


@pytest.mark.parametrize("arch", ["squeezenet", "googlenet"])
def test_a_card_s_architecture_decides_which_layers_are_right(server, pages, card, arch, capsys):
    pages["/own"] = own = network("last", 1000, arch, extra=["loss1/classifier"])
    folder = card([f"{server}/right", f"{server}/own"], arch=arch, last_layer={"name": "last", "classes": 1000})
    assert cards.resolve("net", models=folder).path.read_bytes() == own
    assert len(failures(capsys)) == 1


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha1", "md5", "git_blob"])
def test_every_kind_of_checksum_is_required(server, pages, card, tmp_path, algorithm, capsys):
    if algorithm == "git_blob":
        digest = hashlib.sha1(b"blob %d\0" % len(RIGHT) + RIGHT).hexdigest()
    else:
        digest = hashlib.new(algorithm, RIGHT).hexdigest()
    pages["/wrong"] = network(net="The same layers")
    folder = card([f"{server}/wrong", f"{server}/right"], **{algorithm: digest})
    assert cards.resolve("net", models=folder).path.read_bytes() == RIGHT
    assert failures(capsys) == [
        f"{algorithm} {digests(copy(tmp_path, pages), algorithm)[algorithm]} instead of {digest}"
    ]


def copy(folder, pages):
    (folder / "copy").write_bytes(pages["/wrong"])
    return folder / "copy"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_has_its_own_checksum(server, pages, card, pack, capsys):
    archive = pack([("models/all/NET.caffemodel", RIGHT), ("readme", b"x")])
    pages |= {"/changed": pack([("net.caffemodel", RIGHT), ("readme", b"y")]), "/archive": archive}
    sha1 = hashlib.sha1(archive).hexdigest()
    links = [{"url": f"{server}/{page}", "member": "net.caffemodel", "sha1": sha1} for page in ("changed", "archive")]
    assert cards.resolve("net", models=card(links)).path.read_bytes() == RIGHT
    (reason,) = failures(capsys)
    assert " has sha1 " in reason and reason.endswith(f" instead of {sha1}")


def test_a_host_that_cannot_be_reached_is_tried_once(server, card, capsys):
    links = ["http://127.0.0.1:9/a", f"{server}/absent", "http://127.0.0.1:9/b", f"{server}/gone"]
    with pytest.raises(
        UserError, match=r"none of its 4 links gives it \(2 times no connection; 2 times HTTP status 404"
    ):
        cards.resolve("net", models=card(links))
    assert len(failures(capsys)) == 3


def test_weights_and_mean_that_are_both_missing_are_both_named(card):
    folder = card(mean={"file": "m.binaryproto", "links": ["http://127.0.0.1:9/m"]})
    with pytest.raises(UserError, match=r"(?s)put it at \S*/net.caffemodel\n.*put it at \S*/m.binaryproto\n.*MEAN="):
        cards.resolve("net", models=folder)


def saved(image):
    """The bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()


def test_a_mean_may_be_a_numpy_file_of_the_same_numbers(server, pages, card, capsys):
    mean = binaryproto(IMAGE)
    pages |= {"/rgb.npy": saved(IMAGE[::-1]), "/bad.npy": saved(IMAGE[0]), "/mean.npy": saved(IMAGE.astype(float))}
    links = [f"{server}/{page}" for page in ("rgb.npy", "bad.npy", "mean.npy")]
    wanted = {"file": "m.binaryproto", "links": links, "sha256": hashlib.sha256(mean).hexdigest(), "size": len(mean)}
    folder = card([f"{server}/right"], mean=wanted)
    assert cards.resolve("net", models=folder).mean.read_bytes() == mean
    first, second = failures(capsys)
    assert first.startswith("sha256 ") and "not a mean image" in second
    np.testing.assert_array_equal(mean_image(folder / "m.binaryproto"), IMAGE)


def test_another_cards_mean_is_named(server, card, tmp_path):
    (tmp_path / "mean.binaryproto").write_bytes(binaryproto(IMAGE))
    known = hashlib.sha256(binaryproto(IMAGE)).hexdigest()
    card(name="caffenet", mean={"file": "imagenet_mean.binaryproto", "sha256": known})
    folder = card([f"{server}/right"], mean={"file": "mean.binaryproto", "where": "its page"})
    with pytest.raises(UserError, match="it is imagenet_mean.binaryproto, not mean.binaryproto; .*MEAN="):
        cards.resolve("net", models=folder)
