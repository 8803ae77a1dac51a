"""make data and make models: tools/fetch.py as a user calls it, against a server on this machine."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
import pytest

from helpers.bad_server import Page, serving
from helpers.commands import largest_file
from helpers.made_up import weights
from helpers.packed import tarred, zipped
from sentiment.data import dataset
from sentiment.sources import archives, deepsent, download, http_files

CARD = "title: x\nabout: x\nfile: {}.caffemodel\nmean: [1, 2, 3]\n"


@pytest.fixture
def photographs(monkeypatch):
    """A dozen images by name, which are all the images there are."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), np.uint8)
    made = {f"{index}.jpg": cv2.imencode(".jpg", pixels)[1].tobytes() for index, pixels in enumerate(noise)}
    rows = {
        name: {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "label": index % 2,
            "agreement": 3 + index % 3,
        }
        for index, (name, data) in enumerate(made.items())
    }
    monkeypatch.setattr(dataset, "manifest", lambda: rows)
    return made


@pytest.fixture
def out(tmp_path):
    return tmp_path / "data" / "deepsent"


@pytest.fixture
def fetch(tool, out, tmp_path, capsys):
    """Call ``fetch data``, by default with an archive's content; gives status, output, errors."""

    def call(archive=None, *more):
        if archive is not None:
            path = tmp_path / "archive"
            path.write_bytes(archive)
            more = ("--archive", path, *more)
        status = tool("fetch", "data", "--out", out, *more)
        said = capsys.readouterr()
        return status, said.out, said.err.partition("error: ")[2]

    return call


def packed(photographs, change=None, folder="Agg_AMT_Candidates"):
    members = {**photographs, **(change or {})}
    return zipped([(f"{folder}/{name}", content) for name, content in members.items() if content is not None], 0)


def there(out):
    return sorted(path.name for path in out.parent.iterdir()) if out.parent.exists() else []


def test_an_archive_that_is_not_there(fetch, out, tmp_path):
    for archive in tmp_path / "nowhere.zip", tmp_path:
        status, _, error = fetch(None, "--archive", archive)
        assert status == 2 and f"ARCHIVE: {archive}: " in error and "DATA" in error
    assert not out.exists()


def test_data_from_an_archive(fetch, shared, out):
    images = {path.name: path.read_bytes() for path in (shared / "data" / "deepsent" / "images").iterdir()}
    status, said, _ = fetch(packed(images))
    assert status == 0 and said.endswith("has all 1,269 images\n")
    loaded = dataset.load(out)
    assert loaded.deepsent
    assert loaded.missing(dataset.manifest()) == []
    assert there(out) == ["deepsent"]
    assert fetch()[:2] == (0, f"{out} has all 1,269 images\n")


def test_what_is_missing_is_put_in_and_what_differs_is_named(fetch, photographs, out, monkeypatch):
    fetch(packed(photographs))
    first, second, *_ = sorted(photographs)
    (out / "images" / first).unlink()
    (out / "images" / second).write_bytes(b"cut")
    (out / "twitter_four_agrees.txt").unlink()
    (out / "notes.txt").write_text("mine")
    with serving({"/zip": packed(photographs)}) as server:
        monkeypatch.setattr(deepsent, "LINKS", (download.Link(f"{server}/zip"),))
        status, said, _ = fetch()
    assert status == 0
    assert f"1 of the images ({second}) differ" in said
    assert (out / "images" / first).read_bytes() == photographs[first]
    assert (out / "images" / second).read_bytes() == b"cut"
    assert len(dataset.load(out).labels["four_agrees"]) == 8
    assert (out / "notes.txt").read_text() == "mine"


def test_a_link_with_other_images_is_left_for_the_next(fetch, photographs, out, monkeypatch):
    first, second, third, *_ = sorted(photographs)
    smaller = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    bad = {
        "/empty": packed(dict.fromkeys(photographs, b"")),
        "/pages": packed(photographs, {first: b"<html>"}),
        "/small": packed(photographs, {first: smaller, second: smaller}),
        "/lacking": packed(photographs, {third: None}),
        "/tar": tarred([("readme", b"no images")]),
        "/html": b"<html>quota exceeded",
        "/dead": Page(b"", 503),
    }
    pages = {**bad, "/zip": packed(photographs, folder="twitterDataset-4604b72/images")}
    monkeypatch.setattr(http_files, "PAUSE", 0)
    with serving(pages) as server:
        links = tuple(download.Link(server + page) for page in pages)
        monkeypatch.setattr(deepsent, "LINKS", links)
        status, said, _ = fetch()
        reasons = [line.partition("failed: ")[2] for line in said.splitlines() if "failed: " in line]
        assert status == 0 and len(reasons) == len(bad)
        assert reasons[0].startswith("12 of the images (")
        assert reasons[1].startswith(f"1 of the images ({first}) differ") and f"ARCHIVE={server}/pages" in reasons[1]
        assert reasons[2].startswith(f"2 of the images ({first}, {second}) differ")
        assert reasons[3:] == [
            f"1 of the images ({third}) are not in the archive",
            "the archive has none of the images",
            "not a complete tar or zip archive",
            "HTTP status 503",
        ]
        assert (out / "images" / first).read_bytes() == photographs[first]
        assert there(out) == ["deepsent"]

        out.rename(out.with_name("whole"))
        monkeypatch.setattr(deepsent, "LINKS", links[:-1])
        status, _, error = fetch()
        assert status == 2 and not out.exists()
        assert "the DeepSent images cannot be downloaded (" in error and "make data ARCHIVE=FILE" in error
        # Re-encoded images are accepted from a user, but not files that are not images.
        status, said, _ = fetch(None, "--archive", f"{server}/small")
        assert status == 0 and f"2 of the images ({first}, {second}) differ" in said
        out.rename(out.with_name("small"))
        assert f"1 of the images ({first})" in fetch(None, "--archive", f"{server}/pages")[2]


def test_an_archive_without_the_images_leaves_nothing(fetch, out):
    status, _, error = fetch(zipped([("Agg_AMT_Candidates/a.jpg", b"x")]))
    assert status == 2 and "/archive: the archive has none of the images; " in error
    assert there(out) == []


def test_a_folder_of_something_else_is_refused(fetch, out):
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("mine")
    status, _, error = fetch()
    assert status == 2 and f"{out} holds other files" in error and "--out" in error
    (out / "Agg_AMT_Candidates").mkdir()
    assert fetch()[2].endswith("; give it as DATA\n")
    assert there(out.with_name("deepsent") / "x") == ["Agg_AMT_Candidates", "thesis.txt"]


@pytest.mark.parametrize("labels", [False, True])
def test_no_images_are_added_to_a_users_own(fetch, photographs, out, labels):
    (out / "images").mkdir(parents=True)
    (out / "images" / "mine.jpg").write_bytes(next(iter(photographs.values())))
    if labels:
        (out / "twitter_five_agrees.txt").write_text("mine.jpg 1\n")
        (out / "images" / "mine.jpg").unlink()
    assert f"{out} holds other files" in fetch(packed(photographs))[2]
    assert len(list((out / "images").iterdir())) == 1 - labels
    assert not (out / "twitter_four_agrees.txt").exists()


def test_what_was_emptied_is_filled_again(fetch, photographs, out):
    assert fetch(packed(photographs))[0] == 0
    shutil.rmtree(out / "images")
    (out / "models").mkdir()
    (out / ".DS_Store").touch()
    assert fetch(packed(photographs))[:2] == (
        0,
        f"fetching the DeepSent images from {out.parents[1]}/archive\n{out} has all 12 images\n",
    )


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second disk")
def test_images_on_another_disk_are_completed_there(fetch, photographs, out):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        out.mkdir(parents=True)
        (out / "images").symlink_to(other)
        assert fetch(packed(photographs))[0] == 0
        assert sorted(os.listdir(other)) == sorted(photographs)


def test_a_complete_archive_is_kept_when_the_disk_is_full(fetch, photographs, out, monkeypatch):
    page = Page(packed(photographs))
    received, receive = [], http_files._receive
    monkeypatch.setattr(http_files, "_receive", lambda *arguments: received.append(receive(*arguments)))
    with serving({"/zip": page}) as server:
        monkeypatch.setattr(deepsent, "LINKS", (download.Link(f"{server}/zip"),))
        with monkeypatch.context() as full:

            def no_room(*_):
                raise OSError(errno.ENOSPC, "No space left on device")

            full.setattr(archives.shutil, "copyfileobj", no_room)
            assert "No space left" in fetch()[2]
        assert fetch()[0] == 0
        assert page.asked == [None, None]
        assert len(received) == 1
    assert there(out) == ["deepsent"]


def test_a_link_to_a_larger_disk_is_followed(fetch, photographs, out, tmp_path):
    (tmp_path / "large").mkdir()
    out.parent.mkdir()
    out.symlink_to(tmp_path / "large")
    assert fetch(packed(photographs))[0] == 0
    assert out.is_symlink() and len(list((tmp_path / "large" / "images").iterdir())) == 12


def command(root, *words):
    return [sys.executable, str(root / "tools" / "fetch.py"), *map(str, words)]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_download_that_is_stopped_is_resumed(root, tmp_path, end):
    body = weights() + b"\x0a\x00" * 2_000_000  # names of the net, one after the other
    page = Page(body, hold=400_000)
    with serving({"/net": page}) as server:
        (tmp_path / "net.yaml").write_text(CARD.format("net") + f"links: [{server}/net]\n")
        words = command(root, "models", "net", "--models", tmp_path)
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 300
        while not any(path.stat().st_size > 300_000 for path in tmp_path.glob(".*.download")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(end)
        process.communicate()
        assert process.returncode == (-end if end == signal.SIGKILL else 128 + end)
        assert not (tmp_path / "net.caffemodel").exists()
        page.go.set()
        again = subprocess.run(words, capture_output=True, text=True, check=True)
    (resumed,) = filter(None, page.asked)
    assert int(resumed.removeprefix("bytes=").removesuffix("-")) >= 300_000
    assert "resuming at 0 MB" in again.stderr
    assert (tmp_path / "net.caffemodel").read_bytes() == body
    left = {path.name for path in tmp_path.iterdir()} - {".sentiment.lock"}
    assert left == {"net.yaml", "net.caffemodel", "fetched.json"}


def test_two_commands_for_one_file_fetch_it_once(root, tmp_path):
    page = Page(weights() + b"\x0a\x00" * 300_000, pause=0.001)
    with serving({"/net": page}) as server:
        (tmp_path / "net.yaml").write_text(CARD.format("net") + f"links: [{server}/net]\n")
        words = command(root, "models", "net", "--models", tmp_path)
        both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert page.asked == [None]


def test_a_full_disk_is_no_reason_to_try_the_next_link(tool, tmp_path, capsys):
    page = Page(weights() + b"\x0a\x00" * 300_000)
    with serving({"/net": page, "/other": page}) as server:
        (tmp_path / "net.yaml").write_text(CARD.format("net") + f"links: [{server}/net, {server}/other]\n")
        with largest_file(100_000):
            assert tool("fetch", "models", "net", "--models", tmp_path) == 2
    assert "cannot write net.caffemodel: File too large; " in capsys.readouterr().err
    assert page.asked == [None]
    assert not (tmp_path / "net.caffemodel").exists()


def test_models_continues_after_one_that_cannot_be_obtained(tool, tmp_path, capsys):
    for name in ("gone", "there"):
        (tmp_path / f"{name}.yaml").write_text(CARD.format(name))
    (tmp_path / "there.caffemodel").touch()
    assert tool("fetch", "models", "all", "--models", tmp_path) == 2
    printed = capsys.readouterr()
    assert "error: gone.caffemodel is missing" in printed.err
    assert f"there: {tmp_path}/there.caffemodel, mean (1.0, 2.0, 3.0)" in printed.out
    assert printed.out.endswith("1 of 2 obtained: there\n")


def test_a_card_says_what_to_do_next(tool, tmp_path, capsys):
    (tmp_path / "net.yaml").write_text(CARD.format("net") + "next: test {weights} with {mean}\n")
    (tmp_path / "net.caffemodel").touch()
    assert tool("fetch", "models", "net", "--models", tmp_path) == 0
    assert f"\ntest {tmp_path}/net.caffemodel with 1,2,3\n" in capsys.readouterr().out


def test_a_folder_without_cards_is_a_sentence(tool, tmp_path, capsys):
    assert tool("fetch", "models", "all", "--models", tmp_path) == 2
    assert f"there are no cards in {tmp_path}" in capsys.readouterr().err


def test_a_model_that_cannot_be_obtained_says_where_to_look_and_what_to_do(tool, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(
        "title: x\nabout: x\nfile: mine.caffemodel\nmean: [1, 2, 3]\nlinks: [http://127.0.0.1:9/x]\nwhere: our page\n"
    )
    assert tool("fetch", "models", "mine", "--models", tmp_path) == 2
    assert capsys.readouterr().err.partition("error: ")[2] == (
        "mine.caffemodel is missing, and no link gives it (no connection)\n"
        f"  get it elsewhere and put it at {tmp_path}/mine.caffemodel\n"
        "  where to look: our page\n  or use any other file as it is by INIT=path\n"
    )


def test_a_mean_converted_to_numpy_and_back_is_the_same_file(tool, shared, tmp_path):
    mean = shared / "data" / "weights" / "ilsvrc_2012_mean.binaryproto"
    assert tool("convert_mean", mean, "--out", tmp_path / "mean.npy") == 0
    assert np.load(tmp_path / "mean.npy").shape == (3, 256, 256)
    assert tool("convert_mean", tmp_path / "mean.npy") == 0
    assert (tmp_path / "mean.binaryproto").read_bytes() == mean.read_bytes()
    np.save(tmp_path / "mean.npy", np.ones((256, 256, 3)))
    assert tool("convert_mean", tmp_path / "mean.npy") == 2
    assert tool("convert_mean", tmp_path / "nowhere") == 2
