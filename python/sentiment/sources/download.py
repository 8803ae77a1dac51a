"""Obtain a file from the first of several links that gives the right content.

If no checksum of a file is published, that of the first download is required from then on (trust on first use). The
checksum file ``fetched.json`` beside the files has an entry for each file's key (``caffenet``, ``caffenet mean``): its
origin, checksums, size and times, so that a file that was checked is not read again until it changes.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sentiment.sources import archives, http_files
from sentiment.utils import locks
from sentiment.utils.errors import FULL, UserError
from sentiment.utils.files import digests, read_json, replacing, write_json

DIGITS = {"sha256": 64, "sha384": 96, "sha1": 40, "md5": 32, "git_blob": 40}
"""Algorithm of `files.digests` that published checksums may use -> number of hexadecimal digits."""
CHECKSUM_FILE = "fetched.json"
VERSION = 1  # of the checksum file
LARGEST_ARCHIVE = 1 << 33  # bytes


@dataclass(frozen=True)
class Link:
    """The address or path of a file, or of an archive that contains it under the base name ``member``."""

    url: str
    member: str | None = None
    digests: dict[str, str] = field(default_factory=dict)  # of what it leads to, like those of `Wanted`


@dataclass(frozen=True)
class Wanted:
    """A file to be obtained, and what is published about it."""

    path: Path  # where it belongs
    key: str = field(compare=False)  # its entry in the checksum file
    links: tuple[Link, ...] = ()
    size: int | None = None  # bytes
    digests: dict[str, str] = field(default_factory=dict)  # algorithm (of DIGITS) -> hexadecimal digits
    where: str = ""  # where else to look for it, for messages
    read: Callable | None = field(default=None, compare=False)  # raises a UserError if a path has other content
    convert: Callable | None = field(default=None, compare=False)  # changes a fetched file of another format in place
    other: Callable | None = field(default=None, compare=False)  # a file's checksums -> which other file it is, or ""
    hint: str = ""  # how to use another file instead, for messages


def obtain(*wanted: Wanted) -> list[Path]:
    """Return the paths of files after downloading those that are missing; prints a line for each link tried.

    A `UserError` says which file to put where if no link gives it, or that a file that is there is the wrong one.
    """
    new, problems = [], []
    for file in wanted:
        if not file.path.is_file():
            problem = _fetch(file)
        elif (file.links or file.digests or file.where) and not _is_checked(file):  # else it is the user's own
            problem = _check_present(file)
        else:
            continue
        if problem:
            problems.append(problem)
        else:
            new.append(file)
    for file in new:  # last, since one archive may contain several of them
        forget(file.path.parent, file.links)
    if problems:
        raise UserError("\n".join(problems))
    return [file.path for file in wanted]


def first_of(
    links: Sequence[Link], folder: Path, use: Callable[[Link, Path], None], name: str, limit: int = LARGEST_ARCHIVE
) -> str:
    """Try links in order until one gives what is wanted; prints a line for each.

    Each link is passed to ``use`` with the path of its file, which is local or downloaded into ``folder``; after an
    OSError or ValueError the next link is tried. A downloaded file is kept (see `forget`) unless a ValueError said that
    it is the wrong one. A host that cannot be reached is tried once. A file of more than ``limit`` bytes is refused; an
    archive with a wanted member may be larger. Returns why all links failed, each reason once, or "" if one did not. A
    full disk is a `UserError`, since no other link helps.
    """
    failures: list[str] = []
    down: dict[str, str] = {}  # host -> why it cannot be reached
    for link in links:
        host = "/".join(link.url.split("/")[:3])
        if host in down:
            failures.append(down[host])
            continue
        print(f"fetching {name} from {link.url}", flush=True)
        try:
            use(link, _get(link, folder, LARGEST_ARCHIVE if link.member else limit))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise UserError(f"cannot write {name}: {error.strerror}") from error
            if isinstance(error, ValueError):
                forget(folder, [link])
            failures.append(http_files.reason(error))
            if http_files.is_down(error):
                down[host] = failures[-1]
            print(f"  failed: {failures[-1]}", flush=True)
        else:
            return ""
    reasons = Counter(failures)
    return "; ".join(f"{count} times {of}" if count > 1 < len(reasons) else of for of, count in reasons.most_common())


def _get(link, folder, limit):
    """The path of a link's file, which is downloaded from an address."""
    if "://" in link.url:
        path = http_files.fetch(link.url, folder, limit)
    else:
        path = Path(link.url).expanduser()
        if not path.is_file():
            raise ValueError(f"no file {path}")
    if difference := _difference(digests(path, *link.digests), link.digests):
        raise ValueError(f"what it leads to has {difference}")
    return path


def _difference(found, expected):
    """The first checksum that differs from the expected one, in words; empty if there is none."""
    differing = (of for of, digest in expected.items() if found[of] != digest)
    return next((f"{of} {found[of]} instead of {expected[of]}" for of in differing), "")


def forget(folder: Path, links: Sequence[Link]):
    """Remove what was downloaded from links into a folder, complete or not."""
    for link in links:
        http_files.forget(folder, link.url)


def check(path: Path, wanted: Wanted) -> dict[str, str]:
    """Check a file's content, size and checksums; a ValueError says what differs. Returns its checksums."""
    size, found = path.stat().st_size, digests(path, *DIGITS)
    if wanted.other and (other := wanted.other(found)):
        raise ValueError(f"it is {other}")
    if wanted.read:  # before the size and checksums, since it says what the file is
        _say(wanted.read, path)
    if wanted.size not in (None, size):
        raise ValueError(f"{size:,} bytes instead of {wanted.size:,}")
    if problem := _difference(found, known_digests(wanted)):
        if not wanted.digests:
            checksums = wanted.path.parent / CHECKSUM_FILE
            problem += f", recorded in {checksums} (remove its entry {wanted.key!r} to accept this file)"
        raise ValueError(problem)
    return found


def _say(use, path):
    """Call a function with a path; the ValueError for its `UserError` says what is wrong with the file, in short."""
    try:
        use(path)
    except UserError as error:
        raise ValueError(f"it {str(error).removeprefix(str(path)).partition(';')[0].strip()}") from error


def known_digests(wanted: Wanted) -> dict[str, str]:
    """The checksums that a file must have: the published ones, else that of the first download, if any.

    A `UserError` says that the checksum file cannot be read.
    """
    entry = _entries(wanted.path.parent).get(wanted.key)
    return wanted.digests or ({"sha256": entry["sha256"]} if entry else {})


def _entries(folder):
    """The entries of a folder's checksum file by their keys."""
    path = folder / CHECKSUM_FILE
    if not path.exists():
        return {}
    content = read_json(path)
    with suppress(AttributeError, KeyError, TypeError):  # the content is of another form
        if content["version"] == VERSION and all(of["sha256"] for of in content["files"].values()):
            return content["files"]
    raise UserError(
        f"{path} is not a checksum file of version {VERSION}; move it away to have the files recorded again"
    )


def _stamp(path):
    """A file's size and times, which change when it does."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _is_checked(wanted):
    """Whether the file that is there was checked already and has not changed since."""
    entry = _entries(wanted.path.parent).get(wanted.key, {})
    same = entry.get("file") == wanted.path.name and entry.get("stamp") == _stamp(wanted.path)
    right = all(entry.get(algorithm) == of for algorithm, of in wanted.digests.items())
    return same and right and wanted.size in (None, entry["stamp"][0])


def _check_present(wanted):
    """Check a file that is there already, and record its checksums; returns what is wrong with it, or ""."""
    try:
        found = check(wanted.path, wanted)
    except ValueError as error:
        advice = "move it away to download the right one" if wanted.links else "move it away"
        hint = f", or {wanted.hint}" if wanted.hint else ""
        return f"{wanted.path} is not the right file: {error}; {advice}{hint}"
    with suppress(UserError), locks.held(wanted.path.parent, "recording a checksum"):  # a read-only folder has no lock
        _record(wanted, found)
    return ""


def _fetch(wanted):
    """Take a file from the first of its links that gives the right one; returns what to do if none does, or ""."""
    path, limit = wanted.path, archives.LARGEST if wanted.convert else wanted.size or archives.LARGEST

    def put(link, source):
        with replacing(path) as new:
            if link.member is None:
                shutil.copyfile(source, new)
            elif archives.extract(source, {link.member: archives.Member(new, limit, wanted.digests.get("sha256"))})[0]:
                raise ValueError(f"the archive has no file {link.member} of up to {limit:,} bytes")
            if wanted.convert:
                _say(wanted.convert, new)
            found = check(new, wanted)
        _record(wanted, found, link)

    tried = "no link to it is known"
    if wanted.links:
        with locks.held(path.parent, f"fetching {path.name}"):
            if path.is_file():  # fetched by another process while this one waited
                return ""
            known_digests(wanted)  # a damaged checksum file is reported before anything is downloaded
            reasons = first_of(wanted.links, path.parent, put, path.name, limit)
        if not reasons:
            return ""
        count = len(wanted.links)
        tried = f"{f'none of its {count} links' if count > 1 else 'no link'} gives it ({reasons})"
    facts = [f"{wanted.size:,} bytes"] if wanted.size else []
    known = ", ".join([*facts, *(f"{of} {digest}" for of, digest in list(wanted.digests.items())[:1])])
    lines = [
        f"{path.name} is missing, and {tried}",
        f"get it elsewhere{known and f' ({known})'} and put it at {path}",
        wanted.where and f"where to look: {wanted.where}",
        wanted.hint and f"or {wanted.hint}",
    ]
    return "\n  ".join(filter(None, lines))


def _record(wanted, found, link=None):
    """Record a file's checksums while the folder is locked; nothing is recorded in a read-only folder."""
    files = _entries(wanted.path.parent)
    origin = "#".join(filter(None, (link.url, link.member))) if link else files.get(wanted.key, {}).get("link")
    files[wanted.key] = {"file": wanted.path.name, "link": origin, **found, "stamp": _stamp(wanted.path)}
    with suppress(UserError):
        write_json(wanted.path.parent / CHECKSUM_FILE, {"version": VERSION, "files": files})
