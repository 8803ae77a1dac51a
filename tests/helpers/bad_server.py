"""A server on this machine that answers well, slowly, half, wrongly or not at all."""

import contextlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 1000  # bytes of an answer written at a time


class Page:
    """What an address has, and how it is given.

    Parameters
    ----------
    body : bytes
    status : int
    headers : dict
        Beside those that follow from what is given.
    ranges : bool
        Give parts that are asked for.
    etag : str or None
    stop : int or list of int
        Break off after so many bytes: each time, or at each request in turn (0: not).
    pause : float
        Seconds between blocks.
    hold : int
        Give no more than so many bytes until ``go`` is set.
    trouble : list of (int, dict)
        Statuses and headers that are answered first, a request each.
    length : bool
        Say how many bytes will come.
    shifted : int
        Give parts from so many bytes further on than was asked for.
    most : int
        Give no part of more bytes.
    """

    def __init__(self, body=b"", status=200, headers=None, ranges=True, etag='"one"', stop=0, pause=0, hold=1 << 40,
                 trouble=(), length=True, shifted=0, most=1 << 40):  # fmt: skip
        self.body, self.status, self.headers, self.ranges, self.etag = body, status, headers or {}, ranges, etag
        self.stops = stop if isinstance(stop, list) else None
        self.stop, self.pause, self.trouble, self.length, self.shifted = stop, pause, list(trouble), length, shifted
        self.most = most
        self.hold, self.go = hold, threading.Event()
        self.asked = []  # the Range of each request

    def stop_now(self):
        """After how many bytes this answer breaks off."""
        if self.stops is None:
            return self.stop
        return self.stops.pop(0) if self.stops else 0


class Server(BaseHTTPRequestHandler):
    """Answers by ``pages``: a path -> a `Page`, or bytes."""

    protocol_version = "HTTP/1.1"
    pages = {}

    def do_GET(self):
        page = self.pages.get(self.path, Page(b"gone", 404))
        page = page if isinstance(page, Page) else Page(page)
        page.asked.append(self.headers.get("Range"))
        if page.trouble:
            status, headers = page.trouble.pop(0)
            return self.answer(status, headers, b"", page)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") == page.etag
        headers = dict(page.headers)
        headers |= {"ETag": page.etag} if page.etag else {}
        if not (start and same and page.ranges):
            return self.answer(page.status, headers, page.body, page)
        first = int(start[1])
        if first >= len(page.body):
            return self.answer(416, {}, b"", page)
        first += page.shifted
        part = page.body[first:][: page.most]
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(page.body)}"
        return self.answer(206, headers, part, page)

    def answer(self, status, headers, body, page):
        self.close_connection = True
        stop = page.stop_now()  # before the headers, after which the next request may come
        with contextlib.suppress(OSError):  # who asked went away
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if page.length:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            body = body[: stop or len(body)]
            self.give(body[: page.hold], page)
            if len(body) > page.hold:
                page.go.wait()
                self.give(body[page.hold :], page)

    def give(self, body, page):
        for place in range(0, len(body), BLOCK if page.pause else max(1, len(body))):
            self.wfile.write(body[place : place + BLOCK] if page.pause else body)
            self.wfile.flush()
            time.sleep(page.pause)

    def log_message(self, *args):
        """Say nothing."""


@contextlib.contextmanager
def serving(pages):
    """Serve pages; gives the server's address."""
    Server.pages = pages
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
