"""Downloads against a server that answers slowly, half, wrongly, or otherwise than it did before."""

import threading

import pytest

from helpers.bad_server import Page, Server, serving
from sentiment.sources import http_files

BODY = bytes(range(256)) * 1000


@pytest.fixture
def pages():
    return {}


@pytest.fixture
def server(pages, monkeypatch):
    monkeypatch.setattr(http_files, "PAUSE", 0)
    with serving(pages) as address:
        yield address


@pytest.fixture
def fetch(server, tmp_path):
    def call(limit=256_000, path="/net"):
        return http_files.fetch(server + path, tmp_path, "net.caffemodel", limit)

    return call


def why(fetch, **more):
    with pytest.raises((OSError, ValueError)) as error:
        fetch(**more)
    return http_files.reason(error.value)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "page",
    [Page(BODY), Page(BODY, length=False), Page(BODY, ranges=False), Page(BODY, etag=None), Page(BODY, pause=1e-4)],
)
def test_a_whole_answer_is_the_file_whatever_the_server_says_of_it(pages, fetch, page):
    pages["/net"] = page
    assert fetch().read_bytes() == BODY
    assert page.asked == [None]


def test_a_connection_that_breaks_off_is_gone_on_with_at_once(pages, fetch):
    pages["/net"] = page = Page(BODY, stop=[81_920, 40_960])
    assert fetch().read_bytes() == BODY
    assert page.asked == [None, "bytes=81920-", "bytes=122880-"]


def test_what_came_is_gone_on_with_by_the_next_command(pages, fetch, tmp_path, capsys):
    pages["/net"] = Page(BODY, stop=[81_920, 81_920, 8_192])
    assert why(fetch) == "the connection broke off"
    assert len(left(tmp_path)) == 2
    pages["/net"] = page = Page(BODY)
    path = fetch()
    assert path.read_bytes() == BODY
    assert page.asked == ["bytes=172032-"]
    assert "going on at 0 MB" in capsys.readouterr().err
    assert fetch() == path and len(page.asked) == 1  # whole already


def test_parts_shorter_than_asked_for_are_put_together(pages, fetch, tmp_path):
    pages["/net"] = Page(BODY, stop=[81_920, 8_192, 8_192])
    assert why(fetch) == "the connection broke off"
    pages["/net"] = page = Page(BODY, most=1000)
    assert fetch().read_bytes() == BODY
    assert page.asked == [f"bytes={place}-" for place in range(98_304, len(BODY), 1000)]


def test_a_part_of_a_file_of_another_length_is_refused(pages, fetch):
    pages["/net"] = Page(BODY, stop=[81_920, 8_192, 8_192])
    assert why(fetch) == "the connection broke off"
    pages["/net"] = page = Page(BODY[:-1])  # under the same ETag
    assert fetch().read_bytes() == BODY[:-1]
    assert page.asked == ["bytes=98304-", None]


def test_what_replaces_a_part_is_not_gone_on_with_under_the_old_tag(pages, fetch, tmp_path, monkeypatch):
    pages["/net"] = Page(BODY, stop=[81_920, 8_192, 8_192])
    assert why(fetch) == "the connection broke off"
    # Another file without a tag comes instead, and the process is killed within it: nothing can tidy up.
    pages["/net"] = Page(BODY[::-1], etag=None, stop=[40_960])
    with monkeypatch.context() as killed:
        killed.setattr(http_files.Part, "remove", lambda self: None)
        killed.setattr(http_files.Part, "keep_if_useful", lambda self: None)
        killed.setattr(http_files, "ATTEMPTS", 1)
        why(fetch)
    pages["/net"] = page = Page(BODY)
    assert fetch().read_bytes() == BODY
    assert page.asked == [None]


@pytest.mark.parametrize(
    "changed",
    [
        Page(BODY[::-1], etag='"two"'),  # another file meanwhile
        Page(BODY[::-1], ranges=False),
        Page(BODY[::-1], trouble=[(416, {})]),
        Page(BODY[::-1], shifted=1),
    ],
    ids=["etag", "no ranges", "416", "another part"],
)
def test_two_files_are_never_spliced(pages, fetch, changed):
    pages["/net"] = Page(BODY, stop=[81_920, 8_192, 8_192])
    assert why(fetch) == "the connection broke off"
    pages["/net"] = changed
    assert fetch().read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    "page", [Page(BODY, etag=None, stop=1000), Page(BODY, headers={"Accept-Ranges": "none"}, stop=1000)]
)
def test_what_cannot_be_gone_on_with_leaves_nothing(pages, fetch, tmp_path, page):
    pages["/net"] = page
    assert why(fetch) == "the connection broke off"
    assert left(tmp_path) == []
    assert page.asked == [None] * 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(pages, fetch, status):
    pages["/net"] = page = Page(BODY, trouble=[(status, {"Retry-After": "0"}), (status, {})])
    assert fetch().read_bytes() == BODY
    assert len(page.asked) == 3


def test_a_server_that_stays_in_trouble_or_asks_for_an_hour_is_left(pages, fetch, tmp_path):
    pages["/net"] = page = Page(BODY, trouble=[(503, {})] * 5)
    assert why(fetch) == "HTTP status 503"
    assert len(page.asked) == 3
    pages["/net"] = page = Page(BODY, trouble=[(429, {"Retry-After": "3600"})])
    assert why(fetch) == "HTTP status 429"
    assert len(page.asked) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(BODY, 404), "HTTP status 404"),
        (Page(BODY, 403), "HTTP status 403"),
        (Page(BODY, 202), "HTTP status 202"),
        (Page(BODY, 206), "HTTP status 206"),  # nobody asked for a part
        (Page(BODY, headers={"Content-Type": "text/html; charset=utf-8"}), "a web page, not the file"),
        (Page(b'{"error": "quota"}', headers={"Content-Type": "application/json"}), "a web page, not the file"),
        (Page(BODY, headers={"Content-Encoding": "gzip"}), "packed on the way, though that was not asked for"),
        (Page(BODY + b"x"), "256,001 bytes, and it may have 256,000"),
        (Page(BODY + b"x", length=False), "more than the 256,000 bytes it may have"),
        (Page(b"", 302, {"Location": "/nowhere"}), "HTTP status 404"),
        (Page(b"", 302, {"Location": "file:///etc/passwd"}), "no address of the web"),
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
        ("ftp://127.0.0.1/x", "no address of the web"),
    ],
)
def test_no_server_is_a_reason(tmp_path, url, reason):
    assert why(lambda: http_files.fetch(url, tmp_path, "net", 10)) == reason
    assert left(tmp_path) == []


def test_no_certificate_and_no_proxy_are_reasons(server, tmp_path, monkeypatch):
    secure = server.replace("http://", "https://")
    assert why(lambda: http_files.fetch(f"{secure}/net", tmp_path, "net", 10)) == "its certificate cannot be trusted"
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    found = why(lambda: http_files.fetch("https://example.org/net", tmp_path, "net", 10))
    assert found == "the proxy does not let it through"


def test_silence_before_and_within_an_answer_is_given_up(pages, fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(http_files, "TIMEOUT", 0.2)
    pages["/net"] = Page(BODY, pause=1)
    assert why(fetch) == "no answer in time"
    release = threading.Event()
    monkeypatch.setattr(Server, "do_GET", lambda self: release.wait(10))
    assert why(fetch, path="/other") == "no answer in time"
    release.set()


def test_a_long_download_says_how_far_it_is(pages, fetch, monkeypatch, capsys):
    pages["/net"] = Page(BODY)
    fetch()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(http_files, "SECONDS_BETWEEN_LINES", 0)
    pages["/large"] = Page(bytes(5_000_000))
    assert fetch(5_000_000, "/large").stat().st_size == 5_000_000
    said = capsys.readouterr().err.splitlines()
    assert "  1 of 5 MB" in said
    assert said[-1] == "  5 of 5 MB"


def test_what_came_by_all_addresses_is_forgotten(pages, fetch, tmp_path):
    for path in "/net", "/other":
        pages[path] = Page(BODY, stop=10_000)
        assert why(fetch, path=path) == "the connection broke off"
    assert len(left(tmp_path)) == 4
    http_files.forget(tmp_path, "net.caffemodel")
    assert left(tmp_path) == []
