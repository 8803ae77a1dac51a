"""One file from several links: the right content wins, what is there is checked."""

import concurrent.futures
import hashlib
import json

import pytest

from helpers.bad_server import Page
from helpers.packed import tarred, zipped
from sentiment.sources import download, http_files
from sentiment.sources.download import Link, Wanted
from sentiment.utils.errors import UserError
from sentiment.utils.files import digests, read_json

WEIGHTS = bytes(range(256)) * 50
SHA1 = hashlib.sha1(WEIGHTS).hexdigest()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def pages():
    return {
        "/weights": WEIGHTS,
        "/gone": b"<!DOCTYPE html><title>Sorry</title>",
        "/empty": b"",
        "/half": Page(WEIGHTS, stop=5000, etag=None),
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models" / "net.caffemodel"


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def entry(path, key="net"):
    return read_json(path.parent / "fetched.json")["files"][key]


def test_the_first_link_with_the_right_content_wins(server, path, capsys):
    links = [Link(f"{server}/{name}") for name in ("absent", "gone", "empty", "half", "weights")]
    assert download.obtain(Wanted(path, "net", tuple(links), size=len(WEIGHTS), digests={"sha1": SHA1})) == [path]
    assert path.read_bytes() == WEIGHTS
    reasons = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert reasons[0] == "failed: HTTP status 404"
    assert len(reasons) == 4
    assert names(path.parent) == ["fetched.json", "net.caffemodel"]


@pytest.mark.parametrize(
    ("page", "known", "reason"),
    [
        ("absent", {}, "HTTP status 404"),
        ("half", {}, "the connection broke off"),
        ("weights", {"size": 5}, "12,800 bytes, more than the 5 expected"),
        ("weights", {"size": 50_000}, "12,800 bytes instead of 50,000"),
        ("weights", {"digests": {"sha1": "0" * 40}}, f"sha1 {SHA1} instead of {'0' * 40}"),
        ("weights", {"digests": {"sha256": "0" * 64}}, "sha256 .* instead of 0+"),
    ],
)
def test_no_link_is_one_sentence_with_file_and_place(server, path, page, known, reason):
    wanted = Wanted(path, "net", (Link(f"{server}/{page}"),), where="the authors' page", **known)
    text = rf"net\.caffemodel is missing, and no link gives it \({reason}\)\n.* put it at {path}\n.*the authors' page"
    with pytest.raises(UserError, match=text):
        download.obtain(wanted)
    assert list(path.parent.iterdir()) == []


def test_a_download_that_was_stopped_is_resumed_by_the_next_command(server, pages, path):
    pages["/weights"] = page = Page(WEIGHTS * 100, stop=[819_200, 0, 8_192, 0, 8_192])
    wanted = Wanted(path, "net", (Link(f"{server}/weights"),))
    with pytest.raises(UserError, match="the connection broke off"):
        download.obtain(wanted)
    assert not path.exists()
    assert download.obtain(wanted)[0].read_bytes() == WEIGHTS * 100
    assert page.asked[-1] == "bytes=835584-"
    assert names(path.parent) == ["fetched.json", "net.caffemodel"]


def test_a_partial_download_is_removed_when_another_link_gives_the_file(server, pages, path):
    pages["/half"] = Page(WEIGHTS * 10, stop=20_000)
    links = Link(f"{server}/half"), Link(f"{server}/weights")
    assert download.obtain(Wanted(path, "net", links))[0].read_bytes() == WEIGHTS
    assert names(path.parent) == ["fetched.json", "net.caffemodel"]


def test_a_file_that_cannot_be_read_as_its_kind_is_refused(server, path):
    def read(path):
        raise UserError(f"{path} has no weights; look elsewhere")

    with pytest.raises(UserError, match=r"no link gives it .it has no weights."):
        download.obtain(Wanted(path, "net", (Link(f"{server}/weights"),), read=read))
    assert list(path.parent.iterdir()) == []


def put(path, content=WEIGHTS):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def test_what_is_there_is_not_fetched(path):
    put(path)
    assert download.obtain(Wanted(path, "net", (Link("http://127.0.0.1:9/x"),))) == [path]
    assert entry(path)["sha256"] == SHA256 and entry(path)["link"] is None


@pytest.mark.parametrize(
    "known", [{"digests": {"sha1": SHA1}}, {"digests": {"sha256": SHA256}}, {"size": len(WEIGHTS)}]
)
def test_what_is_there_is_checked_against_what_is_published(path, known):
    wanted = Wanted(path, "net", (Link("http://127.0.0.1:9/x"),), **known)
    put(path, b"<html>")
    with pytest.raises(UserError, match=rf"{path} is not the right file: .*; move it away"):
        download.obtain(wanted)
    put(path)
    assert download.obtain(wanted) == [path]


def test_a_file_is_read_once_and_again_when_it_changed(path, monkeypatch):
    wanted = Wanted(path, "net", (Link("http://127.0.0.1:9/x"),))
    put(path)
    download.obtain(wanted)
    with monkeypatch.context() as patched:
        patched.setattr(download, "check", None)
        assert download.obtain(wanted) == [path]
    put(path, b"something else")
    with pytest.raises(UserError, match=rf"sha256 .* instead of {SHA256}.*fetched\.json \(remove its entry 'net'"):
        download.obtain(wanted)
    put(path)
    assert download.obtain(wanted) == [path]


def test_a_size_that_is_published_later_counts(path):
    put(path)
    assert download.obtain(Wanted(path, "net", (Link("x"),))) == [path]
    with pytest.raises(UserError, match="12,800 bytes instead of 5"):
        download.obtain(Wanted(path, "net", (Link("x"),), size=5))


def test_a_partial_download_is_removed_when_the_file_is_put_there_by_hand(server, pages, path):
    pages["/weights"] = Page(WEIGHTS * 100, stop=[81_920, 0, 8_192, 0, 8_192])
    wanted = Wanted(path, "net", (Link(f"{server}/weights"),))
    with pytest.raises(UserError, match="put it at"):
        download.obtain(wanted)
    assert len(names(path.parent)) == 1
    put(path)
    assert download.obtain(wanted) == [path]
    assert names(path.parent) == ["fetched.json", path.name]


def test_many_at_once_lose_no_entry(path):
    paths = [path.with_name(f"net{number}") for number in range(8)]
    for one in paths:
        put(one)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: download.obtain(Wanted(one, one.name, (Link("x"),))), paths))
    assert set(json.loads((path.parent / "fetched.json").read_text())["files"]) == {one.name for one in paths}


def test_a_users_own_file_is_not_recorded(path):
    put(path)
    assert download.obtain(Wanted(path, "net")) == [path]
    assert names(path.parent) == [path.name]


def test_a_folder_that_cannot_be_written_to_goes_without_a_checksum_file(path, monkeypatch):
    put(path)
    (path.parent / "fetched.json").mkdir()  # root may write anywhere, but not a file over a folder
    monkeypatch.setattr(download, "_entries", lambda folder: {})
    assert download.obtain(Wanted(path, "net", (Link("x"),))) == [path]


def test_without_a_link_the_sentence_says_so(path):
    with pytest.raises(
        UserError, match="net.caffemodel is missing, and no link to it is known\n  get it elsewhere and put it"
    ):
        download.obtain(Wanted(path, "net"))


def test_a_path_is_a_link(path, tmp_path):
    (tmp_path / "copy").write_bytes(WEIGHTS)
    download.obtain(Wanted(path, "net", (Link(str(tmp_path / "absent")), Link(str(tmp_path / "copy")))))
    assert path.read_bytes() == (tmp_path / "copy").read_bytes() == WEIGHTS


def test_the_first_download_sets_the_digest_for_all_links(server, pages, path):
    wanted = Wanted(path, "net", (Link(f"{server}/weights"),))
    download.obtain(wanted)
    stamp = [len(WEIGHTS), path.stat().st_mtime_ns, path.stat().st_ctime_ns]
    facts = {"file": path.name, "link": f"{server}/weights", "stamp": stamp}
    assert entry(path) == {**facts, **digests(path, *download.DIGITS)}
    assert (entry(path)["sha1"], entry(path)["sha256"]) == (SHA1, SHA256)
    path.unlink()
    pages["/weights"] = pages["/mirror"] = b"another file under the same address"
    for page in "weights", "mirror":
        with pytest.raises(UserError, match=f"instead of {SHA256}, recorded in .*fetched.json"):
            download.obtain(Wanted(path, "net", (Link(f"{server}/{page}"),)))
    assert not path.exists()
    # Another card's file of that name has an entry of its own, and a published checksum outranks the recorded one.
    assert download.obtain(Wanted(path, "other", (Link(f"{server}/mirror"),))) == [path]
    path.unlink()
    digest = hashlib.sha256(pages["/mirror"]).hexdigest()
    assert download.obtain(Wanted(path, "net", (Link(f"{server}/mirror"),), digests={"sha256": digest})) == [path]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '"x"', '{"URL": 5}', '{"version": 2, "files": {}}', '{"version": 1, "files": {"net": {}}}', "\xff"],
)
def test_a_damaged_checksum_file_is_a_sentence_before_anything_is_fetched(server, pages, path, content):
    pages["/weights"] = page = Page(WEIGHTS)
    path.parent.mkdir()
    (path.parent / "fetched.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"fetched\.json"):
        download.obtain(Wanted(path, "net", (Link(f"{server}/weights"),)))
    assert page.asked == []
    assert (path.parent / "fetched.json").read_text(encoding="latin-1") == content


def test_other_entries_stay(server, path):
    put(path)
    download.obtain(Wanted(path, "first", (Link("x"),)))
    other = path.with_name("other")
    download.obtain(Wanted(other, "second", (Link(f"{server}/weights"),)))
    assert list(json.loads((path.parent / "fetched.json").read_text())["files"]) == ["first", "second"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_one_file_out_of_an_archive(server, pages, path, pack):
    pages["/all"] = pack([("readme", b"no"), ("../deep/net.caffemodel", WEIGHTS)])
    download.obtain(Wanted(path, "net", (Link(f"{server}/all", "net.caffemodel"),), digests={"sha1": SHA1}))
    assert path.read_bytes() == WEIGHTS
    assert names(path.parent) == ["fetched.json", "net.caffemodel"]
    assert not (path.parent.parent / "deep").exists()


def test_two_files_of_an_archive_are_downloaded_at_once(server, pages, path, monkeypatch):
    pages["/all"] = Page(zipped([("net.caffemodel", WEIGHTS), ("net_mean", b"mean")]))
    received, receive = [], http_files._receive
    monkeypatch.setattr(http_files, "_receive", lambda *arguments: received.append(receive(*arguments)))
    mean = Wanted(path.with_name("mean"), "net mean", (Link(f"{server}/all", "net_mean"),))
    wanted = Wanted(path, "net", (Link(f"{server}/all", "net.caffemodel"),))
    assert download.obtain(wanted, mean) == [path, mean.path]
    assert mean.path.read_bytes() == b"mean"
    assert len(received) == 1
    assert entry(path, "net mean")["link"] == f"{server}/all#net_mean"
    assert names(path.parent) == ["fetched.json", "mean", "net.caffemodel"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_without_the_file_or_cut_short_is_a_reason(server, pages, path, pack):
    whole = pack([("net.caffemodel", WEIGHTS), ("other", b"x" * 3000)])
    pages |= {"/all": whole, "/cut": whole[:200], "/none": WEIGHTS}
    for page, member in (("all", "mean.binaryproto"), ("cut", "net.caffemodel"), ("none", "net.caffemodel")):
        with pytest.raises(UserError, match=r"no link gives it \("):
            download.obtain(Wanted(path, "net", (Link(f"{server}/{page}", member),)))
        assert list(path.parent.iterdir()) == []
