"""One file over HTTP, by pooch: goes on where an earlier try stopped, takes no more than it should, says why it failed.

What came so far lies beside where the file is to be, as ``.<name>.<hash of the address>.download``. What the server
said of it (``.json`` beside it) decides whether the rest may be asked for: only under the same ETag or date, for a
file that changed meanwhile must not be spliced.
"""

import contextlib
import glob
import hashlib
import json
import logging
import re
import sys
import time
from pathlib import Path

import pooch
import requests
from urllib3.exceptions import NameResolutionError, ReadTimeoutError

from sentiment.utils.files import write_json
from sentiment.utils.progress import SECONDS_BETWEEN_LINES

log = logging.getLogger(__name__)

TIMEOUT = 60  # seconds without an answer, or without its next bytes
ATTEMPTS = 3  # at a link whose server or connection is troubled
PAUSE, LONGEST_PAUSE = 1, 30  # seconds before another; a server that asks for a longer one is left
TROUBLED = (429, 500, 502, 503, 504)
BLOCK = 1 << 13  # bytes; a part of one is lost when a connection breaks off
PAGES = ("text/html", "application/xhtml+xml", "application/json")  # what says in a browser why there is no file


class _Anew(ValueError):
    """The server does not go on with what came before."""


def fetch(url, folder, name, limit) -> Path:
    """Download a file; an earlier try that stopped is gone on with.

    Parameters
    ----------
    url : str
    folder : Path
        Where it comes to lie, under a name of its own.
    name : str
        What it will be called, for that name.
    limit : int
        Bytes; a longer answer is refused.

    Returns
    -------
    Path
        The whole file, for the caller to move or remove.

    Raises
    ------
    OSError, ValueError
        It cannot be had: `reason` says why. What can be gone on with stays.
    """
    part = Part(folder, name, url)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            while _take(url, part, limit):  # a part of what was asked for, as some caches give it
                pass
            return part.path
        except (requests.RequestException, _Anew) as error:
            pause = _pause(error, part)
            if pause is None or attempt == ATTEMPTS:
                raise
            log.info("%s: %s, once more in %g s", url, error, pause)
            time.sleep(pause)
        finally:
            part.keep_if_useful()
    raise AssertionError


def forget(folder, name, url=None):
    """Remove what came of a file, by one address or by all."""
    if url is not None:
        Part(folder, name, url).remove()
        return
    for path in Path(folder).glob(f".{glob.escape(name)}.*.download*"):
        path.unlink(missing_ok=True)


def reason(error) -> str:
    """An error of `fetch`, or of a check of what came, in a few words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.Timeout) or _caused_by(error, ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate cannot be trusted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let it through"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no such host, or no network" if _caused_by(error, NameResolutionError) else "no connection"
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return "no address of the web"
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)


class Part:
    """What came of a file so far, and what the server said of it."""

    def __init__(self, folder, name, url):
        self.path = Path(folder) / f".{name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.download"
        self.told = self.path.with_name(f"{self.path.name}.json")

    def about(self):
        """``validator`` and ``total`` of what came; empty where nothing can be gone on with."""
        try:
            about = json.loads(self.told.read_bytes()) if self.path.stat().st_size else {}
        except (OSError, ValueError):
            return {}
        kinds = {"validator": str, "total": int}
        right = isinstance(about, dict) and all(isinstance(about.get(key), kind) for key, kind in kinds.items())
        return about if right else {}

    def keep_if_useful(self):
        """Remove what nothing can go on with; what is whole by its length stays for its caller."""
        if self.told.exists() and not self.about():
            self.remove()

    def remove(self):
        """Remove it."""
        for path in (self.path, self.told):
            with contextlib.suppress(OSError):
                path.unlink()


def _take(url, part, limit):
    """One request: for the whole file, or the rest of it. Whether some is left after the answer."""
    about = part.about()
    have = part.path.stat().st_size if about else 0
    if have and have == about["total"]:
        return False
    headers = {"Accept-Encoding": "identity"}  # bytes that can be counted, and asked for from some place on
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": about["validator"]}
    with open(part.path, "ab" if have else "wb") as file:
        answer = _Answer(file, part, have, limit)
        bar = True if sys.stderr.isatty() and not log.isEnabledFor(logging.INFO) else _Lines()
        download = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=BLOCK, timeout=TIMEOUT, headers=headers, hooks={"response": answer.begins}
        )
        try:
            download(url, answer, None)
        except BaseException:
            if not answer.resumable:
                part.remove()
            raise
    return answer.resumable and answer.have < answer.total


class _Answer:
    """What pooch writes an answer's bytes to, once its beginning has been found right."""

    def __init__(self, file, part, have, limit):
        self.file, self.part, self.have, self.limit = file, part, have, limit
        self.resumable, self.total = bool(have), part.about().get("total", 0)

    def begins(self, response, **_):
        """Look at status and headers before anything is written."""
        if response.is_redirect or response.status_code >= 400:
            return  # requests goes on with the one and raises for the other
        headers = response.headers
        length = headers.get("Content-Length", "")
        length = int(length) if length.isdecimal() else None
        if response.status_code == 206 and self.have:
            given = headers.get("Content-Range", "")
            if not length or not re.match(rf"bytes {self.have}-\d+/({self.total}|\*)$", given):
                self.resumable = False
                raise _Anew("another part of it than was asked for")
            print(f"  going on at {self.have / 1e6:.0f} MB", file=sys.stderr, flush=True)
        elif response.status_code == 200:
            self.part.told.unlink(missing_ok=True)  # first: what comes now is not what it told of
            self.file.seek(0)
            self.file.truncate()
            self.have, self.resumable = 0, False
        else:
            raise ValueError(f"HTTP status {response.status_code}")
        if headers.get("Content-Type", "").split(";")[0].strip().lower() in PAGES:
            raise ValueError("a web page, not the file")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError("packed on the way, though that was not asked for")
        if length is not None and self.have + length > self.limit:
            raise ValueError(f"{self.have + length:,} bytes, and it may have {self.limit:,}")
        tag = headers.get("ETag", "")
        validator = tag if tag.startswith('"') else headers.get("Last-Modified")
        if not self.have and validator and length and headers.get("Accept-Ranges") != "none":
            write_json(self.part.told, {"validator": validator, "total": length})
            self.resumable, self.total = True, length
        # What pooch counts to; a length that is none would end in int().
        headers["Content-Length"] = str(length or 0)

    def write(self, block):
        """Take some bytes, up to the limit."""
        self.have += len(block)
        if self.have > self.limit:
            self.resumable = False
            raise ValueError(f"more than the {self.limit:,} bytes it may have")
        self.file.write(block)

    def flush(self):
        """Bytes are whole at the end, or are asked for again."""


class _Lines:
    """What pooch takes for a progress bar: lines, of a download that takes long enough for one."""

    total = 0  # bytes; pooch sets it, to 0 where the server does not say

    def __init__(self):
        self.done, self.said = 0, time.monotonic()

    def update(self, count):
        self.done += count
        if time.monotonic() - self.said >= SECONDS_BETWEEN_LINES:
            self.said = time.monotonic()
            of = f" of {self.total / 1e6:.0f}" if self.total else ""
            print(f"  {self.done / 1e6:.0f}{of} MB", file=sys.stderr, flush=True)

    def reset(self):
        self.done = 0

    def close(self):
        pass


def _pause(error, part):
    """Seconds before another try; None where one would be in vain."""
    if isinstance(error, _Anew):
        return 0
    if isinstance(error, requests.HTTPError):
        if error.response.status_code == 416:  # what came is longer than what is there
            part.remove()
            return 0
        asked = error.response.headers.get("Retry-After", "")
        pause = int(asked) if asked.isdecimal() else PAUSE
        return pause if error.response.status_code in TROUBLED and pause <= LONGEST_PAUSE else None
    return PAUSE if isinstance(error, requests.exceptions.ChunkedEncodingError) else None


def _caused_by(error, kind):
    """Whether an error of that kind is behind this one."""
    behind, seen = [error], set()
    while behind:
        one = behind.pop()
        if isinstance(one, kind):
            return True
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            behind += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return False
