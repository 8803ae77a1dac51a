"""One file from several places: the first that gives the right content wins, a half one is never left."""

import shutil
import sys
import tarfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
import requests

from sentiment import locks, verbose
from sentiment.console import FULL, UserError
from sentiment.files import digest, read_json, replacing, write_json
from sentiment.progress import SECONDS_BETWEEN_LINES

TIMEOUT = 60  # seconds without an answer, or without its next bytes
RECORD = "fetched.json"  # beside the files: where each came from, with its digest


@dataclass(frozen=True)
class Link:
    """An address (or a plain path) of a file; ``member`` is its base name inside the archive the address gives."""

    url: str
    member: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A file wanted at ``path``, where it is had, and what is known of its content (None: not published)."""

    path: Path
    links: tuple = ()
    size: int | None = None
    sha1: str | None = None
    sha256: str | None = None
    where: str = ""


def obtain(wanted, fetch=True, say=print) -> Path:
    """The file's path, downloaded first when it is not there.

    Parameters
    ----------
    wanted : Wanted
    fetch : bool
        Try the links.
    say : callable
        Takes a line for each link tried.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        No link gave the file: the sentence says which file to put where.
    """
    if wanted.path.is_file():
        return wanted.path
    reasons = first_of(wanted.links if fetch else (), lambda link: _fetch(link, wanted), wanted.path.name, say)
    if wanted.path.is_file():
        return wanted.path
    tried = f"no link gives it ({reasons})" if reasons else "no link to it is known"
    where = f" ({wanted.where})" if wanted.where else ""
    raise UserError(f"{wanted.path.name} is missing and {tried}: get it elsewhere{where} and put it at {wanted.path}")


def first_of(links, take, name, say=print) -> str:
    """Try links in order until one gives what is wanted.

    Parameters
    ----------
    links : sequence of Link
    take : callable
        Gets the thing from one link; an OSError, ValueError or archive error means the next one.
    name : str
        Of the thing, for the lines printed.
    say : callable

    Returns
    -------
    str
        Empty when one gave it; else why none did.
    """
    failures = []
    for link in links:
        say(f"fetching {name} from {link.url}")
        try:
            take(link)
        except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            if isinstance(error, OSError) and error.errno in FULL:  # no link helps there
                raise UserError(f"cannot write {error.filename or name}: {error.strerror}") from error
            failures.append(_reason(error))
            say(f"  not from there: {failures[-1]}")
        else:
            return ""
    return "; ".join(dict.fromkeys(failures))


def check(path, wanted):
    """Hold a file against what is known of it.

    Raises
    ------
    ValueError
        Says what differs.
    """
    size = path.stat().st_size
    if wanted.size is not None and size != wanted.size:
        raise ValueError(f"{size:,} bytes instead of {wanted.size:,}")
    for algorithm in ("sha1", "sha256"):
        expected = getattr(wanted, algorithm)
        if expected is not None and (found := digest(path, algorithm)) != expected:
            raise ValueError(f"{algorithm} {found} instead of {expected}")
    with open(path, "rb") as file:
        start = file.read(256).lstrip().lower()
    if not start or start.startswith((b"<!doctype", b"<html")):
        raise ValueError("a web page, not the file" if start else "an empty answer")


def _fetch(link, wanted):
    """Bring one link's file to its place, checked, and note its digest."""
    with locks.held(wanted.path.parent, f"fetching {wanted.path.name}"), replacing(wanted.path) as part:
        if wanted.path.is_file():  # by another process, while this one waited
            shutil.copyfile(wanted.path, part)
        elif link.member is None:
            download(link, part)
        else:
            with TemporaryDirectory(prefix=".fetch.", suffix=".part", dir=wanted.path.parent) as folder:
                archive = Path(folder) / "archive"
                download(link, archive)
                if extract(archive, {link.member: part}):
                    raise ValueError(f"the archive has no file {link.member}")
        check(part, wanted)
        _trust(wanted.path, link, part)


def download(link, path):
    """Write what a link gives to ``path``, with its progress: a bar on a terminal, a line now and then elsewhere."""
    if "://" in link.url:
        bar = True if sys.stderr.isatty() and not verbose.enabled() else _Lines()
        pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT)(link.url, str(path), None)
    else:
        shutil.copyfile(Path(link.url).expanduser(), path)


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


def _trust(path, link, part):
    """Hold a link's answer against its first one: where no digest was published, the first download sets it."""
    book = path.parent / RECORD
    entries = read_json(book) if book.is_file() else {}
    key = link.url if link.member is None else f"{link.url}#{link.member}"
    found = digest(part, "sha256")
    if entries.setdefault(key, {"file": path.name, "size": part.stat().st_size, "sha256": found})["sha256"] != found:
        raise ValueError(f"not the file that came from there before (its SHA-256 then stands in {book})")
    write_json(book, entries)


def extract(archive, targets) -> list[str]:
    """Write files of a tar or zip archive, chosen by their base names, so that no path in it decides where they go.

    Parameters
    ----------
    archive : Path
    targets : dict of str to Path
        Base name in the archive -> where it is to lie.

    Returns
    -------
    list of str
        The names the archive does not have.

    Raises
    ------
    ValueError
        It is no archive of either kind.
    """
    missing = dict(targets)
    for name, content in _members(archive):
        target = missing.pop(name, None)
        if target is not None:
            with content() as packed, open(target, "wb") as out:
                shutil.copyfileobj(packed, out)
    return list(missing)


def _members(archive):
    """Base name and opener of each plain file in an archive."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for entry in tar:
                if entry.isfile():
                    yield Path(entry.name).name, partial(tar.extractfile, entry)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                yield Path(name).name, partial(packed.open, name)
    else:
        raise ValueError("not an archive")


def _reason(error):
    """An error of the network or a check in a few words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)
