"""Downloads against a server that answers slowly, half, wrongly, or otherwise than it did before."""

import gzip
import threading

import pytest

from helpers.bad_server import Page, Server
from sentiment.sources import http_files
from sentiment.utils import progress

BODY = bytes(range(256)) * 1000


@pytest.fixture
def pages():
    return {}


@pytest.fixture
def fetch(server, tmp_path):
    def call(limit=256_000, path="/net"):
        return http_files.fetch(server + path, tmp_path, limit)

    return call


def why(fetch, **more):
    with pytest.raises((OSError, ValueError)) as error:
        fetch(**more)
    return http_files.reason(error.value)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def parts(page):
    """The Range of each request that had one."""
    return [asked for asked in page.asked if asked]


@pytest.fixture
def cut_off(pages, fetch):
    """98,304 bytes of the file were downloaded."""
    pages["/net"] = Page(BODY, stop=[81_920, 0, 8_192, 0, 8_192])
    assert why(fetch) == "the connection broke off"


@pytest.mark.parametrize(
    "page",
    [Page(BODY), Page(BODY, length=False), Page(BODY, ranges=False), Page(BODY, etag=None), Page(BODY, pause=1e-4)],
)
def test_a_complete_answer_is_the_file_whatever_the_server_says_of_it(pages, fetch, page):
    pages["/net"] = page
    assert fetch().read_bytes() == BODY
    assert page.asked == [None]


def test_a_connection_that_breaks_off_is_resumed_at_once(pages, fetch):
    pages["/net"] = page = Page(BODY, stop=[81_920, 0, 40_960])
    assert fetch().read_bytes() == BODY
    assert parts(page) == ["bytes=81920-", "bytes=122880-"]


def test_the_next_command_resumes(pages, fetch, cut_off, tmp_path, capsys):
    assert len(left(tmp_path)) == 1
    pages["/net"] = page = Page(BODY)
    path = fetch()
    assert path.read_bytes() == BODY
    assert parts(page) == ["bytes=98304-"]
    assert "resuming at 0 MB" in capsys.readouterr().err
    assert fetch() == path and len(parts(page)) == 1  # complete already


@pytest.mark.parametrize(
    "changed",
    [
        Page(BODY[::-1], etag='"two"'),  # another file meanwhile
        Page(BODY[::-1], ranges=False),
        Page(BODY[::-1], shifted=1),
        Page(BODY[::-1], most=1000),
        Page(BODY[-2::-1]),  # of another length
    ],
    ids=["etag", "no ranges", "another part", "too short a part", "length"],
)
def test_two_files_are_never_spliced(pages, fetch, cut_off, changed):
    pages["/net"] = changed
    assert fetch().read_bytes() == changed.body


def test_a_part_that_is_refused_is_replaced_by_the_complete_file(pages, fetch, cut_off, monkeypatch):
    pages["/net"] = Page(BODY)
    get = http_files._get
    monkeypatch.setattr(http_files, "_get", lambda url, more=None: get(url + "/absent" if more else url, more))
    assert fetch().read_bytes() == BODY


def test_what_cannot_be_resumed_leaves_nothing(pages, fetch, tmp_path):
    pages["/net"] = page = Page(BODY, etag=None, stop=1000)
    assert why(fetch) == "the connection broke off"
    assert left(tmp_path) == []
    assert page.asked == [None] * 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(pages, fetch, status):
    pages["/net"] = page = Page(BODY, trouble=[(status, {"Retry-After": "0"}), (status, {})])
    assert fetch().read_bytes() == BODY
    assert len(page.asked) == 3


def test_a_server_that_stays_overloaded_is_given_up(pages, fetch, tmp_path):
    pages["/net"] = page = Page(BODY, trouble=[(503, {})] * 5)
    assert why(fetch) == "HTTP status 503"
    assert len(page.asked) == 3
    assert left(tmp_path) == []


def test_an_encoded_answer_is_decoded(pages, fetch):
    pages["/net"] = Page(gzip.compress(BODY), headers={"Content-Encoding": "gzip"})
    assert fetch().read_bytes() == BODY


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(BODY, 404), "HTTP status 404"),
        (Page(BODY, 403), "HTTP status 403"),
        (Page(BODY, 202), "HTTP status 202"),
        (Page(BODY, 206), "HTTP status 206"),  # nobody asked for a part
        (Page(BODY + b"x"), "256,001 bytes, more than the 256,000 expected"),
        (Page(BODY + b"x", length=False), "more than the 256,000 bytes expected"),
        (Page(b"", 302, {"Location": "/nowhere"}), "HTTP status 404"),
        (Page(b"", 302, {"Location": "file:///etc/passwd"}), "not a web address"),
    ],
)
def test_what_is_not_the_file_is_refused_in_a_few_words(pages, fetch, tmp_path, page, reason):
    pages["/net"] = page
    assert why(fetch) == reason
    assert left(tmp_path) == []


def test_a_redirect_is_followed(pages, fetch):
    pages["/net"] = Page(b"", 302, {"Location": "/there"})
    pages["/there"] = Page(BODY)
    assert fetch().read_bytes() == BODY


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/x", "no connection"),
        ("https://nowhere.invalid/x", "no such host, or no network"),
        ("ftp://127.0.0.1/x", "not a web address"),
    ],
)
def test_no_server_is_a_reason(tmp_path, url, reason):
    assert why(lambda: http_files.fetch(url, tmp_path, 10)) == reason
    assert left(tmp_path) == []


def test_no_certificate_and_no_proxy_are_reasons(server, tmp_path, monkeypatch):
    secure = server.replace("http://", "https://")
    assert why(lambda: http_files.fetch(f"{secure}/net", tmp_path, 10)) == "its certificate cannot be verified"
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    found = why(lambda: http_files.fetch("https://example.org/net", tmp_path, 10))
    assert found == "the proxy refuses the connection"


def test_silence_before_and_within_an_answer_is_given_up(pages, fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(http_files, "TIMEOUT", 0.2)
    pages["/net"] = Page(BODY, pause=1)
    assert why(fetch) == "no answer in time"
    release = threading.Event()
    monkeypatch.setattr(Server, "do_GET", lambda self: release.wait(10))
    assert why(fetch, path="/other") == "no answer in time"
    release.set()


@pytest.mark.parametrize("length", [True, False])
def test_a_long_download_shows_its_progress(pages, fetch, monkeypatch, capsys, length):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    pages["/large"] = Page(bytes(5_000_000), length=length)
    assert fetch(5_000_000, "/large").stat().st_size == 5_000_000
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert ("5/5 MB" if length else "5 MB") in lines[-1]


def test_what_was_downloaded_from_an_address_is_forgotten(server, pages, fetch, tmp_path):
    for path in "/net", "/other":
        pages[path] = Page(BODY, stop=10_000)
        assert why(fetch, path=path) == "the connection broke off"
    assert len(left(tmp_path)) == 2
    http_files.forget(tmp_path, f"{server}/net")
    assert len(left(tmp_path)) == 1
