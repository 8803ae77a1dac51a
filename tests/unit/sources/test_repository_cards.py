"""The cards in models/: valid, complete, and with every published checksum that is known."""

import re
import shutil

import pytest

from sentiment import paper
from sentiment.data import folds
from sentiment.data.means import channel_means
from sentiment.networks import weights_files
from sentiment.networks.architectures import ARCHITECTURES
from sentiment.sources import cards
from sentiment.sources.download import DIGITS
from sentiment.utils.errors import UserError
from sentiment.utils.files import digests

NAMES = cards.names()


def test_links_are_addresses_and_each_stands_once_in_its_list():
    for card in map(cards.read, NAMES):
        for file in card.files:
            assert len({link.url for link in file.links}) == len(file.links)
            assert all(re.fullmatch(r"https?://[\w.-]+/\S+", link.url) for link in file.links)
            assert not any(host in link.url for link in file.links for host in ("mega.nz", "pan.baidu"))


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_how_its_network_is_recognised(name):
    card = cards.read(name)
    assert card.arch in ARCHITECTURES and card.last_layer["classes"]
    assert card.file.where
    for other in card.others:
        assert other.keys() - {"name"}
        assert all(cards.identity({of: other[of]}) == other["name"] for of in DIGITS if of in other)


def test_the_size_of_caffenet_follows_from_its_shapes():
    size = cards.read("caffenet").file.size
    assert cards._payload("finetune", 1000) == 4 * (56_868_224 + 1000 * 4097) == 243_860_896
    assert 0 <= size - 243_860_896 <= cards.OVERHEAD
    assert cards._payload("finetune", paper.CLASSES) == 227_505_672
    assert cards._payload("squeezenet", 1000) == 4 * 1_248_424


def test_every_published_checksum_of_the_survey_is_in_a_card(shared):
    rows = [line for line in (shared / "spec" / "sources.md").read_text().splitlines() if line.startswith("|")]
    known = "".join(path.read_text() for path in cards.MODELS.glob("*.yaml"))
    told = 0
    for row in rows:
        found = re.findall(
            r"\b(?:[0-9a-f]{96}|[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})\b", re.sub(r"@\w+|/\w{40}/", "", row)
        )
        if found and not row.startswith("| caffenet-8/-9/-12.tar.gz"):  # archives of the files above
            assert any(digest in known for digest in found), row
            told += 1
    assert told >= 15


def test_real_files_of_other_origin_are_told_from_the_published_ones(shared, tmp_path):
    weights = shared / "data" / "weights"
    for path in cards.MODELS.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    for name, file, words in (
        ("squeezenet", "squeezenet_v1.0.caffemodel", "git_blob .* instead of a381d848"),
        ("googlenet", "bvlc_googlenet.caffemodel", "28,014,768 bytes instead of 53,533,754"),
        ("places", "caffenet_conv.caffemodel", "there is no layer fc6"),
        ("authors", "squeezenet_v1.0.caffemodel", "is not The authors' network of fold 4: "),
    ):
        card = cards.read(name, tmp_path)
        shutil.copy(weights / file, card.file.path)
        with pytest.raises(UserError, match=rf"not the right file: .*{words}.*INIT=path"):
            cards.resolve(name, mean="1,2,3", models=tmp_path)
        assert cards.resolve(str(weights / file), mean="1,2,3").path == weights / file
    for name in "squeezenet", "googlenet":
        card = cards.read(name)
        assert weights_files.misfit(weights_files.read(weights / card.file.path.name), card.arch, 1) == ""


def test_the_imagenet_mean_is_the_published_one(shared, tmp_path):
    mean = shared / "data" / "weights" / "ilsvrc_2012_mean.binaryproto"
    wanted = cards.read("caffenet").mean
    assert mean.stat().st_size == wanted.size
    assert digests(mean, *wanted.digests) == wanted.digests
    assert cards.identity(digests(mean, "sha256")) == "imagenet_mean.binaryproto"
    shutil.copy(cards.MODELS / "caffenet.yaml", tmp_path)
    shutil.copy(cards.MODELS / "places.yaml", tmp_path)
    shutil.copy(mean, tmp_path / "places205CNN_mean.binaryproto")
    with pytest.raises(UserError, match="it is imagenet_mean.binaryproto, not places205CNN_mean.binaryproto"):
        cards.download.obtain(cards.read("places", tmp_path).mean)
    for name, means in ("caffenet", channel_means(mean)), ("caffenet", paper.IMAGENET_MEANS_BGR):
        shown = re.search(r"channel means are ([\d.,]+\d)", cards.read(name).mean.where)[1]
        assert tuple(map(float, shown.split(","))) == pytest.approx(tuple(means), abs=1e-5)


def test_the_authors_network_is_tested_on_the_fold_it_has_not_seen(root):
    card = cards.read("authors")
    number = int(re.search(r"test(\d)_iter_(\d+)", card.file.path.name)[1])
    assert f"splits/deepsent/{folds.relative_path('five_agrees', number, 'test')}" in card.next
    assert f"_iter_{paper.ITERATIONS['five_agrees']}." in card.file.path.name
    assert card.last_layer == {"name": paper.NEW_LAYER, "classes": paper.CLASSES}
    for mean, deviation in paper.TABLE5["mvso_en"].values():
        assert f"{mean:.3f} ± {deviation:.3f}".replace("0.", ".") in card.next.replace("\n", " ")
    assert (root / "prototxt" / "finetune" / "deploy.prototxt").is_file()
