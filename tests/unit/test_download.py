"""Downloads against servers on this machine that answer well, badly, half or not at all."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sentiment import download
from sentiment.console import UserError
from sentiment.download import Link, Wanted
from sentiment.files import read_json

WEIGHTS = bytes(range(256)) * 50
SHA1 = hashlib.sha1(WEIGHTS).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Answers by path; ``pages`` maps a path to bytes, and some paths misbehave."""

    pages = {}

    def do_GET(self):
        body = self.pages.get(self.path)
        if self.path == "/half":
            body = WEIGHTS
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write((body or b"")[: len(WEIGHTS) // 2] if self.path == "/half" else body or b"")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """Base address of a server; set what it has with ``Server.pages``."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    Server.pages = {"/weights": WEIGHTS, "/gone": b"<!DOCTYPE html><title>Sorry</title>", "/empty": b""}
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models" / "net.caffemodel"


def quiet(line):
    """Nobody listens."""


def test_the_first_link_with_the_right_content_wins(server, path):
    said = []
    links = [Link(f"{server}/{name}") for name in ("absent", "gone", "empty", "half", "weights")]
    assert download.obtain(Wanted(path, tuple(links), size=len(WEIGHTS), sha1=SHA1), say=said.append) == path
    assert path.read_bytes() == WEIGHTS
    reasons = [line.strip() for line in said if line.startswith("  ")]
    assert reasons[0] == "not from there: HTTP status 404"
    assert len(reasons) == 4
    assert sorted(file.name for file in path.parent.iterdir()) == ["fetched.json", "net.caffemodel"]


@pytest.mark.parametrize(
    ("page", "known", "reason"),
    [
        ("absent", {}, "HTTP status 404"),
        ("gone", {}, "a web page, not the file"),
        ("empty", {}, "an empty answer"),
        ("half", {}, "the connection broke off"),
        ("weights", {"size": 5}, "12,800 bytes instead of 5"),
        ("weights", {"sha1": "0" * 40}, f"sha1 {SHA1} instead of {'0' * 40}"),
        ("weights", {"sha256": "0" * 64}, "sha256 .* instead of 0+"),
    ],
)
def test_no_link_is_one_sentence_with_file_and_place(server, path, page, known, reason):
    wanted = Wanted(path, (Link(f"{server}/{page}"),), where="the authors' page", **known)
    sentence = (
        rf"net\.caffemodel is missing and no link gives it \({reason}\): get it elsewhere \(the authors' page\) and"
    )
    with pytest.raises(UserError, match=rf"{sentence} put it at {path}"):
        download.obtain(wanted, say=quiet)
    assert not path.parent.exists() or list(path.parent.iterdir()) == []


def test_a_dead_host_is_a_reason(path):
    with pytest.raises(UserError, match="no link gives it .no connection."):
        download.obtain(Wanted(path, (Link("http://127.0.0.1:9/weights"),)), say=quiet)


def test_a_silent_host_is_given_up(server, path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    monkeypatch.setattr(Server, "do_GET", lambda self: release.wait(10))
    with pytest.raises(UserError, match="no link gives it .no answer in time."):
        download.obtain(Wanted(path, (Link(f"{server}/weights"),)), say=quiet)
    release.set()


def test_a_long_download_says_how_far_it_is(server, path, monkeypatch, capsys):
    download.obtain(Wanted(path, (Link(f"{server}/weights"),)), say=quiet)
    assert capsys.readouterr().err == ""
    path.unlink()
    monkeypatch.setattr(download, "SECONDS_BETWEEN_LINES", 0)
    Server.pages["/large"] = bytes(5_000_000)
    download.obtain(Wanted(path, (Link(f"{server}/large"),)), say=quiet)
    said = capsys.readouterr().err.splitlines()
    assert "  1 of 5 MB" in said
    assert said[-1] == "  5 of 5 MB"
    assert path.stat().st_size == 5_000_000


def test_what_is_there_is_not_fetched(path):
    path.parent.mkdir()
    path.write_text("put there by hand")
    assert download.obtain(Wanted(path, (Link("http://127.0.0.1:9/x"),))) == path


def test_without_a_link_the_sentence_says_so(path):
    with pytest.raises(
        UserError, match="net.caffemodel is missing and no link to it is known: get it elsewhere and put it"
    ):
        download.obtain(Wanted(path))


def test_a_path_is_a_link(path, tmp_path):
    (tmp_path / "copy").write_bytes(WEIGHTS)
    download.obtain(Wanted(path, (Link(str(tmp_path / "absent")), Link(str(tmp_path / "copy")))), say=quiet)
    assert path.read_bytes() == WEIGHTS


def test_the_first_download_sets_the_digest(server, path):
    wanted = Wanted(path, (Link(f"{server}/weights"),))
    download.obtain(wanted, say=quiet)
    entry = read_json(path.parent / "fetched.json")[f"{server}/weights"]
    assert entry == {"file": path.name, "size": len(WEIGHTS), "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    path.unlink()
    Server.pages["/weights"] = b"another file under the same address"
    with pytest.raises(UserError, match="not the file that came from there before"):
        download.obtain(wanted, say=quiet)
    assert not path.exists()


def archive(kind, members):
    """Bytes of a tar.gz or zip archive."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as packed:
            for name, content in members.items():
                packed.writestr(name, content)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_one_file_out_of_an_archive(server, path, kind):
    Server.pages["/all"] = archive(kind, {"readme": b"no", "../deep/net.caffemodel": WEIGHTS})
    download.obtain(Wanted(path, (Link(f"{server}/all", "net.caffemodel"),), sha1=SHA1), say=quiet)
    assert path.read_bytes() == WEIGHTS
    assert sorted(file.name for file in path.parent.iterdir()) == ["fetched.json", "net.caffemodel"]
    assert not (path.parent.parent / "deep").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_without_the_file_or_cut_short_is_a_reason(server, path, kind):
    whole = archive(kind, {"net.caffemodel": WEIGHTS, "other": b"x" * 3000})
    Server.pages |= {"/all": whole, "/cut": whole[:200], "/none": WEIGHTS}
    for page, member in (("all", "mean.binaryproto"), ("cut", "net.caffemodel"), ("none", "net.caffemodel")):
        with pytest.raises(UserError, match=r"no link gives it \("):
            download.obtain(Wanted(path, (Link(f"{server}/{page}", member),)), say=quiet)
        assert not path.exists()


def test_extract_takes_only_what_is_asked_for(tmp_path):
    packed = tmp_path / "archive"
    packed.write_bytes(archive("zip", {"a/1.jpg": b"1", "a/2.jpg": b"2", "__MACOSX/._1.jpg": b"x"}))
    targets = {name: tmp_path / "out" / name for name in ("1.jpg", "3.jpg")}
    (tmp_path / "out").mkdir()
    assert download.extract(packed, targets) == ["3.jpg"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["1.jpg"]
