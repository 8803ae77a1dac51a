"""Download one file over HTTP, resume an interrupted download, and say in a few words why one failed.

An unfinished download is the file ``.<hash>.<hash>.download``. The first hash is of the address, the second of what the
server says about the file (ETag or date, length), so that only the rest of the same file is appended.
"""

import hashlib
import logging
import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

import requests
from requests import exceptions

from sentiment.utils.progress import Progress

log = logging.getLogger(__name__)

TIMEOUT = 60  # seconds to wait for an answer or for its next bytes
ATTEMPTS = 3  # if the server is overloaded or the connection breaks off
PAUSE = 1  # seconds between two attempts
OVERLOADED = (429, 500, 502, 503, 504)  # HTTP statuses
BLOCK = 1 << 13  # bytes; at most one block is lost when a connection breaks off
MB = 1_000_000

_REASONS = (  # an error's class, a part of its text, and what it means; the first that fits is used
    (requests.Timeout, "", "no answer in time"),
    (requests.RequestException, "Read timed out", "no answer in time"),
    (exceptions.SSLError, "", "its certificate cannot be verified"),
    (exceptions.ProxyError, "", "the proxy refuses the connection"),
    (exceptions.ChunkedEncodingError, "", "the connection broke off"),
    (requests.ConnectionError, "Failed to resolve", "no such host, or no network"),
    (requests.ConnectionError, "", "no connection"),
    ((exceptions.InvalidURL, exceptions.InvalidSchema), "", "not a web address"),
)


def fetch(url: str, folder: Path, limit: int) -> Path:
    """Download a file into a folder and return its temporary path; an unfinished download is resumed.

    A file of more than ``limit`` bytes is refused. `reason` explains the OSError or ValueError that a failure raises.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _download(url, folder, limit)
        except requests.RequestException as error:
            overloaded = error.response is not None and error.response.status_code in OVERLOADED
            if not (overloaded or isinstance(error, exceptions.ChunkedEncodingError)):
                raise
            log.info("%s: %s; retrying in %g s", url, reason(error), PAUSE)
            time.sleep(PAUSE)
    return _download(url, folder, limit)


def forget(folder: Path, url: str):
    """Remove what was downloaded from an address into a folder."""
    for path in folder.glob(f".{_hash(url)}.*.download"):
        path.unlink(missing_ok=True)


def reason(error: OSError | ValueError) -> str:
    """Why `fetch`, or a check of what it downloaded, failed, in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"HTTP status {error.response.status_code}"
    for kind, text, meaning in _REASONS:
        if isinstance(error, kind) and text in str(error):
            return meaning
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)


def is_down(error: OSError | ValueError) -> bool:
    """Whether the host of an address could not be reached, so that its other addresses will fail too."""
    return isinstance(error, requests.ConnectionError)


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _download(url, folder, limit):
    """Try once; the rest of a file is requested after a first answer has shown that it is still the same file."""
    with ExitStack() as stack:
        response = stack.enter_context(_get(url))
        if response.status_code != 200:
            raise requests.HTTPError(response=response)
        length, version = _described(response)
        if length and length > limit:
            raise ValueError(f"{length:,} bytes, more than the {limit:,} expected")
        path = folder / f".{_hash(url)}.{_hash(f'{version} {length}')}.download"
        have = path.stat().st_size if version and path.is_file() else 0
        if have and have == length:
            return path
        if have:
            rest = stack.enter_context(_get(url, {"Range": f"bytes={have}-", "If-Range": version}))
            if rest.headers.get("Content-Range") == f"bytes {have}-{length - 1}/{length}":
                print(f"  resuming at {have // MB} MB", file=sys.stderr, flush=True)
                response = rest
            else:
                have = 0
        try:
            with open(path, "ab" if have else "wb") as file:
                _receive(response, file, length, limit)
        except BaseException:
            if not version:
                path.unlink(missing_ok=True)  # it cannot be resumed, since nothing identifies its content
            raise
        return path


def _get(url, more_headers=None):
    headers = {"Accept-Encoding": "identity"} | (more_headers or {})  # not compressed, so that bytes can be counted
    return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)


def _described(response):
    """A file's length in bytes and its validator (strong ETag or date); None where the server does not say."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    if not length.isdecimal() or headers.get("Content-Encoding", "identity") != "identity":
        return None, None
    tag = headers.get("ETag", "")
    return int(length), tag if tag.startswith('"') else headers.get("Last-Modified")


def _receive(response, file, length, limit):
    """Append an answer's bytes to an open file."""
    done = file.tell()
    is_small = length is not None and length < MB
    with nullcontext() if is_small else Progress("downloading", length and length // MB, done // MB, "MB") as bar:
        for block in response.iter_content(BLOCK):
            file.write(block)
            done += len(block)
            if done > limit:
                raise ValueError(f"more than the {limit:,} bytes expected")
            if bar and done // MB > bar.done:
                bar.advance(done // MB - bar.done)
    if length and done != length:
        raise exceptions.ChunkedEncodingError(f"{done:,} of {length:,} bytes")
