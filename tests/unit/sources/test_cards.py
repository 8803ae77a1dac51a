"""Model cards: the nine there are, and what an INIT stands for."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from helpers.made_up import weights
from sentiment import paper
from sentiment.data import dataset
from sentiment.sources import cards, download
from sentiment.utils.errors import UserError

CARD = """
title: Mine
about: Trained here.
file: mine.caffemodel
mean: [1, 2, 3]
"""


@pytest.fixture
def models(tmp_path):
    """A folder with one card whose weights are there."""
    (tmp_path / "mine.yaml").write_text(CARD)
    (tmp_path / "mine.caffemodel").touch()
    return tmp_path


def test_every_initialisation_of_the_paper_has_a_card():
    assert set(cards.names()) > set(paper.INITIALISATIONS)


@pytest.mark.parametrize("name", paper.INITIALISATIONS)
def test_cards_are_complete(name):
    card = cards.read(name)
    assert card.title == paper.INITIALISATIONS[name]
    assert card.file.where
    assert card.citation
    assert card.last_layer["classes"] > 0
    expected = "places205CNN_mean.binaryproto" if name == "places" else "imagenet_mean.binaryproto"
    assert card.mean.path == cards.MODELS / expected


def test_every_cards_file_is_named_in_the_readme(root):
    text = (root / "models" / "README.md").read_text()
    for name in cards.names():
        assert f"`{name}`" in text
    for name in set(cards.names()) - {f"mvso_{language}" for language in ("fr", "it", "de", "zh")}:
        assert f"`{cards.read(name).file.path.name}`" in text


def test_a_card_is_resolved_to_its_file_and_mean(models):
    source = cards.resolve("mine", models=models)
    assert (source.name, source.path, source.mean) == ("mine", models / "mine.caffemodel", (1.0, 2.0, 3.0))
    assert source.card.title == "Mine"


def test_a_data_set_s_own_card_comes_first(models, tmp_path):
    own = tmp_path / "data" / "models"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(CARD.replace("Mine", "Stand-in"))
    (own / "mine.caffemodel").touch()
    assert cards.resolve("mine", models=models, own=own).path == own / "mine.caffemodel"
    (own / "mine.yaml").unlink()
    assert cards.resolve("mine", models=models, own=own).path == models / "mine.caffemodel"
    assert cards.resolve("mine", models=models, own=tmp_path / "absent").card.title == "Mine"


def test_drawn_images_take_stand_ins_only(tmp_path):
    data = dataset.Dataset(tmp_path, tmp_path / "images", "drawn", {}, demo=True)
    with pytest.raises(UserError, match=r"'places': no stand-in for it in .*--init places"):
        cards.of_data_set("places", None, data)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "places.yaml").write_text(CARD)
    (tmp_path / "models" / "mine.caffemodel").touch()
    assert cards.of_data_set("places", None, data).path == tmp_path / "models" / "mine.caffemodel"
    assert cards.of_data_set("scratch", None, data).path is None


def test_a_cards_mean_may_be_another_cards(models):
    (models / "child.yaml").write_text(CARD.replace("[1, 2, 3]", "mine"))
    assert cards.read("child", models).mean == (1.0, 2.0, 3.0)


def test_a_path_takes_the_imagenet_means_and_says_so(tmp_path, capsys):
    path = tmp_path / "my net.caffemodel"
    path.touch()
    source = cards.resolve(str(path))
    assert (source.name, source.path, source.mean, source.card) == ("my-net", path, paper.IMAGENET_MEANS_BGR, None)
    assert "no mean given, using the ImageNet means (b,g,r 104.007,116.669,122.679)" in capsys.readouterr().err
    assert cards.resolve(str(path), "1,2,3").mean == (1, 2, 3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("init", "name"),
    [
        ("/x/my net.caffemodel", "my-net"),
        ("net.caffemodel", "net"),
        ("x.caffemodel.h5", "x.caffemodel"),
        ("x.CAFFEMODEL", "x"),
        ("./net", "net"),
        ("~/nets/net", "net"),
        ("places", "places"),
        ("scratch", "scratch"),
        ("my.net", "my.net"),
        ("/x/places.caffemodel", "places-file"),
        ("./caffenet", "caffenet-file"),
        ("-mvso_en-.h5", "mvso_en-file"),
        ("x/scratch.caffemodel", "scratch-file"),
        ("/x/- -.caffemodel", "weights"),
    ],
)
def test_a_runs_name_follows_from_the_text_of_init_alone(init, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cards.run_name(init) == name
    for here in ("places", "scratch", "my.net", "net", "net.caffemodel"):
        (tmp_path / here).touch()
    assert cards.run_name(init) == name


def test_a_cards_name_is_the_card_even_where_a_file_has_that_name(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").touch()
    assert cards.resolve("mine", models=models).path == models / "mine.caffemodel"
    assert cards.resolve("./mine", models=models).path == tmp_path / "mine"
    with pytest.raises(UserError, match=r"INIT=\./other"):
        cards.resolve("other", models=models)


def test_a_source_is_known_by_its_content(models, tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "MODELS", models)
    monkeypatch.setattr(cards.resolve, "__defaults__", (None, models, None))
    monkeypatch.setattr(cards.known_as, "__defaults__", (models,))
    data = dataset.Dataset(tmp_path / "data", "data", tmp_path, {})
    content, other = weights(), weights() + b" "
    (models / "mine.caffemodel").write_bytes(content)
    (models / "mine.yaml").write_text(CARD + f"sha256: {hashlib.sha256(content).hexdigest()}\n")
    copy = tmp_path / "copy.caffemodel"
    copy.write_bytes(content)
    named = tmp_path / "x" / "mine.caffemodel"
    named.parent.mkdir()
    named.write_bytes(other)

    def known(init, data=data):
        source = cards.of_data_set(str(init), "1,2,3", data)
        return source.name, source.known_as

    assert known("mine") == ("mine", "mine")
    assert known(copy) == ("copy", "mine")
    assert known(named) == ("mine", "")
    assert known("scratch") == ("scratch", "")

    # Where no digest is published, the file that was first obtained under the card counts.
    (models / "mine.yaml").write_text(CARD + "where: its page\n")
    (models / "fetched.json").unlink()
    assert known(copy) == ("copy", "")
    assert known("mine") == ("mine", "mine")
    assert known(copy) == ("copy", "mine")
    assert known(named) == ("mine", "")

    # A data set's own card of that name counts for drawn images alone.
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / "mine.yaml").write_text(CARD)
    (tmp_path / "data" / "models" / "mine.caffemodel").write_bytes(other)
    assert known("mine") == ("mine", "")
    assert known("mine", dataclasses.replace(data, demo=True)) == ("mine", "mine")


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text(CARD)
    (tmp_path / "own" / "mine.caffemodel").touch()
    assert cards.resolve("mine", own=Path("own")).path == tmp_path / "own" / "mine.caffemodel"
    for name in ("net.caffemodel", "mean.binaryproto"):
        (tmp_path / name).touch()
    source = cards.resolve("net.caffemodel", mean="mean.binaryproto")
    assert (source.path, source.mean) == (tmp_path / "net.caffemodel", tmp_path / "mean.binaryproto")


def test_scratch_has_no_weights():
    assert cards.resolve("scratch").path is None


def test_given_mean_wins(models, tmp_path):
    mean = tmp_path / "mean.binaryproto"
    mean.touch()
    for init in ("mine", str(models / "mine.caffemodel"), "scratch"):
        assert cards.resolve(init, mean="4,5.5,6", models=models).mean == (4.0, 5.5, 6.0)
        assert cards.resolve(init, mean=mean, models=models).mean == mean


@pytest.mark.parametrize("mean", ["1,2", "1,2,3,4", "a,b,c", "absent.binaryproto", "1,2,999", "-1,2,3", "nan,1,2"])
def test_wrong_mean_is_a_sentence(mean):
    with pytest.raises(UserError, match="MEAN: "):
        cards.resolve("scratch", mean=mean)


def test_unknown_names_and_missing_files_are_sentences(models):
    with pytest.raises(UserError, match=r"unknown INIT 'mina': .* \(known: mine, scratch\)"):
        cards.resolve("mina", models=models)
    for missing in ("some/where", "absent.caffemodel"):
        with pytest.raises(UserError, match=f"INIT: no file {missing}"):
            cards.resolve(missing, models=models)


def test_missing_weights_say_which_file_to_put_where(models):
    (models / "mine.caffemodel").unlink()
    with pytest.raises(UserError, match=rf"no link to it is known\n.* put it at {models}/mine\.caffemodel"):
        cards.resolve("mine", models=models)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("title: Mine", "the key 'title'"),
        ("mean: [1, 2, 3]", "the key 'mean'"),
        ("mean: [1, 2, 3]|mean: [1, 2]", "mean: expected three channel means"),
        ("mean: [1, 2, 3]|mean: {links: []}", "mean: the key 'file'"),
        ("file: mine.caffemodel|file: ../mine", "file must be a name without folders, not '../mine'"),
        ("title: Mine|title: Mine\nurl: x", "unknown key 'url'"),
        ("title: Mine|title: Mine\nlinks: x", "links must be a list"),
        ("title: Mine|title: Mine\nlinks: [{member: x}]", "links: the key 'url'"),
        ("file: mine.caffemodel|file: fetched.json", "file must be a name without folders, not 'fetched.json'"),
        ("file: mine.caffemodel|file: mine.yaml", "file must be a name without folders"),
        ("file: mine.caffemodel|file: ..", "file must be a name without folders, not '..'"),
        ("title: Mine|title: [Mine]", "title must be text"),
        ("title: Mine|title: Mine\nlast_layer: fc8", "last_layer must be a mapping of name and classes"),
        ("title: Mine|title: Mine\nlinks: [{url: x, member: a/b}]", "links: member must be a name without folders"),
        ("title: Mine|title: Mine\nsize: 1,048,576", "size must be a number of bytes, not '1,048,576'"),
        ("title: Mine|title: Mine\nsize: true", "size must be a number of bytes"),
        ("title: Mine|title: Mine\nlast_layer: {classes: many}", "last_layer: classes must be a whole number"),
        ("title: Mine|title: Mine\narch: vgg", "arch must be one of finetune, "),
        ("title: Mine|title: Mine\nnot: [{name: y, sha1: x}]", "not: sha1 must be 40 hexadecimal digits"),
        ("title: Mine|title: Mine\nnot: [{layer: x}]", "not: the key 'name'"),
        ("title: Mine|title: Mine\nnot: [x]", "not: expected a mapping"),
        ("title: Mine|title: Mine\nsha1: 4c8d77", "sha1 must be 40 hexadecimal digits, not '4c8d77'"),
        ("title: Mine|title: Mine\nsha256: [x]", "sha256 must be 64 hexadecimal digits"),
        ("title: Mine|title: Mine\n5: x", "unknown key 5"),
        ("mean: [1, 2, 3]|mean: {file: m, sah1: x}", "mean: unknown key 'sah1'"),
        ("mean: [1, 2, 3]|mean: mine", "mean leads back to mine"),
        ("mean: [1, 2, 3]|mean: {file: m, where: 5}", "mean: where must be text, not 5"),
        ("title: Mine|title: [", "not valid YAML"),
        ("title: Mine|title: 2015-13-45", "not valid YAML"),
    ],
)
def test_wrong_cards_are_sentences(models, change, sentence):
    before, _, after = change.partition("|")
    (models / "mine.yaml").write_text(CARD.replace(before, after))
    with pytest.raises(UserError, match=rf"mine\.yaml: {sentence}"):
        cards.read("mine", models)


def test_keys_may_be_left_blank(models):
    (models / "mine.yaml").write_text(CARD + "where:\nlicence:\ncitation:\nlast_layer:\nlinks:\nsize:\nsha1:\n")
    card = cards.read("mine", models)
    assert (card.licence, card.citation, card.last_layer, card.file.where) == ("", "", {}, "")


def test_a_file_that_is_obtained_by_hand_only_is_checked_too(models):
    (models / "mine.yaml").write_text(CARD + "where: ask its authors\n")
    (models / "mine.caffemodel").write_bytes(b"<html>quota exceeded")
    with pytest.raises(UserError, match="not the right file: .* web page.*; move it away, .* INIT="):
        cards.resolve("mine", models=models)
    (models / "mine.caffemodel").write_bytes(weights())
    assert cards.resolve("mine", models=models).path == models / "mine.caffemodel"
    assert '"mine"' in (models / "fetched.json").read_text()


def test_digests_in_capitals_are_the_same_digests(models):
    (models / "mine.yaml").write_text(CARD + f"sha1: {'AB' * 20}\n")
    assert cards.read("mine", models).file.digests == {"sha1": "ab" * 20}


def test_two_cards_do_not_share_a_name_for_two_files(models):
    (models / "mine.caffemodel").unlink()
    (models / "mine.yaml").write_text(CARD + "links: [http://a/b]\n")
    (models / "other.yaml").write_text(CARD + "links: [http://c/d]\n")
    (models / "wrong.yaml").write_text("title: [")
    for name, another in ("mine", "other"), ("other", "mine"):
        with pytest.raises(
            UserError,
            match=rf"{name}\.yaml and {another}\.yaml describe different files by the same name, mine\.caffemodel",
        ):
            cards.resolve(name, models=models)
    (models / "other.yaml").write_text(CARD + "links: [http://a/b]\n")  # the same file of two cards
    (models / "mine.caffemodel").write_bytes(weights())
    assert cards.resolve("other", models=models).path == models / "mine.caffemodel"
    (models / "places.yaml").write_text(
        CARD + "links: [http://a/b]\n"
    )  # one of the nine, which is looked at more closely
    assert cards.resolve("mine", models=models).path == models / "mine.caffemodel"


def test_what_lies_where_a_card_has_links_must_be_weights(models):
    (models / "mine.yaml").write_text(CARD + "links: [http://127.0.0.1:9/b]\n")
    for content, words in ((b"", "empty"), (b"<p>Too many requests</p>", "web page")):
        (models / "mine.caffemodel").write_bytes(content)
        with pytest.raises(UserError, match=f"is not the right file: .*{words}.*INIT="):
            cards.resolve("mine", models=models)
    (models / "mine.caffemodel").write_bytes(weights())
    assert cards.resolve("mine", models=models).path == models / "mine.caffemodel"


def test_another_network_is_not_accepted_as_one_of_the_papers(models):
    (models / "places.yaml").write_text(CARD.replace("mine", "places") + "where: its page\n")
    (models / "places.caffemodel").write_bytes(weights())
    with pytest.raises(UserError, match="is not the right file: it is not Mine: there is no layer conv1; move it away"):
        cards.resolve("places", models=models)
    assert not (models / "fetched.json").exists()


def test_a_file_that_is_not_a_mean_image_is_refused(models):
    (models / "mine.yaml").write_text(CARD.replace("[1, 2, 3]", "{file: m.binaryproto, links: [http://127.0.0.1:9/m]}"))
    (models / "m.binaryproto").write_bytes(b"{}")
    with pytest.raises(UserError, match=r"m\.binaryproto is not the right file: .* not a mean image"):
        cards.resolve("mine", models=models)


def test_links_of_both_kinds(models):
    (models / "mine.yaml").write_text(CARD + "links: [http://a/b, {url: http://c/d.tar.gz, member: e}]\n")
    links = cards.read("mine", models).file.links
    assert links == (download.Link("http://a/b"), download.Link("http://c/d.tar.gz", "e"))
