"""One file from several places: the first that gives the right content wins, a half one is never taken for it."""

import shutil
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sentiment.sources import archives, checksums, http_files
from sentiment.sources.archives import LARGEST, Member
from sentiment.utils import locks
from sentiment.utils.errors import FULL, UserError
from sentiment.utils.files import replacing, settle

LARGEST_ARCHIVE = 1 << 33  # bytes


@dataclass(frozen=True)
class Link:
    """An address (or a plain path) of a file; ``member`` is its base name inside the archive the address gives."""

    url: str
    member: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A file wanted at ``path``, where it is had, and what is known of its content (None: not published).

    ``key`` says whose file it is, for the book of what was first had. ``looks`` takes a path and raises a ValueError
    where what lies there cannot be such a file: what is asked before trusting what came. ``otherwise`` is what a user
    may do who wants another file.
    """

    path: Path
    key: str
    links: tuple = ()
    size: int | None = None
    sha1: str | None = None
    sha256: str | None = None
    where: str = ""
    looks: Callable | None = None
    otherwise: str = ""

    @property
    def known(self):
        """The published digests by algorithm."""
        return {name: of for name in checksums.ALGORITHMS if (of := getattr(self, name)) is not None}


def obtain(wanted, fetch=True, say=print, along=()) -> Path:
    """The file's path, downloaded first when it is not there.

    Parameters
    ----------
    wanted : Wanted
    fetch : bool
        Try the links.
    say : callable
        Takes a line for each link tried.
    along : sequence of Wanted
        Taken along where they are missing and the same archive has them.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        No link gave the file: the sentence says which file to put where. Or the file there is not the one it should be.
    """
    if wanted.path.is_file():
        return _there(wanted)
    book = checksums.Book(wanted.path.parent)  # one that cannot be read is found before anything is fetched
    links = wanted.links if fetch else ()
    reasons = first_of(links, lambda link: _fetch(link, wanted, along, book), wanted.path.name, say)
    if wanted.path.is_file():
        return _there(wanted)
    tried = f"no link gives it ({reasons})" if reasons else "no link to it is known"
    where = f" ({wanted.where})" if wanted.where else ""
    raise UserError(f"{wanted.path.name} is missing and {tried}: get it elsewhere{where} and put it at {wanted.path}")


def first_of(links, take, name, say=print) -> str:
    """Try links in order until one gives what is wanted.

    Parameters
    ----------
    links : sequence of Link
    take : callable
        Gets the thing from one link; an OSError or ValueError means the next one.
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
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:  # no link helps there
                raise UserError(f"cannot write {name}: {error.strerror}") from error
            failures.append(http_files.reason(error))
            say(f"  not from there: {failures[-1]}")
        else:
            return ""
    return "; ".join(dict.fromkeys(failures))


def check(path, wanted) -> dict[str, str]:
    """Hold a file against what is known of it.

    Returns
    -------
    dict of str to str
        Its digests.

    Raises
    ------
    ValueError
        Says what differs.
    """
    size = path.stat().st_size
    if wanted.size is not None and size != wanted.size:
        raise ValueError(f"{size:,} bytes instead of {wanted.size:,}")
    with open(path, "rb") as file:
        start = file.read(256).lstrip().lower()
    if not start or start.startswith((b"<!doctype", b"<html")):
        raise ValueError("a web page, not the file" if start else "an empty file")
    found = checksums.digests_of(path)
    for algorithm, expected in wanted.known.items():
        if found[algorithm] != expected:
            raise ValueError(f"{algorithm} {found[algorithm]} instead of {expected}")
    if wanted.looks:
        wanted.looks(path)
    return found


def is_local(link) -> bool:
    """Whether a link is a path on this machine."""
    return "://" not in link.url


@contextmanager
def opened(link, folder, name, limit=LARGEST_ARCHIVE):
    """What a link gives as a path on this machine while a block takes it: where it lies, or downloaded into a folder.

    What was downloaded goes when the block ends well or with a ValueError; else it is there for the next try.
    """
    if is_local(link):
        path = Path(link.url).expanduser()
        if not path.is_file():
            raise ValueError(f"no file {path}")
        yield path
        return
    path = http_files.fetch(link.url, folder, name, limit)
    try:
        yield path
    except ValueError:  # it is not what is wanted; a full disk or an interrupt leaves it for the next try
        http_files.forget(folder, name, link.url)
        raise
    http_files.forget(folder, name)


def _there(wanted):
    """A file that lies there, if it is what it should be; where nothing is known of it, it is from now on."""
    path = wanted.path
    if not (wanted.links or wanted.known or wanted.where):  # a user's own
        return path
    book = checksums.Book(path.parent)
    if book.knows(wanted):
        return path
    try:
        found = check(path, wanted)
        problem = book.problem(wanted, found)
    except ValueError as error:
        problem = str(error)
    if problem:
        fetched = ", and it is fetched" if wanted.links else ""
        sentence = f"{path} is not what is wanted there: {problem}; move it away{fetched}"
        raise UserError("; or ".join(filter(None, [sentence, wanted.otherwise])))
    with suppress(UserError), locks.held(path.parent, "noting what is there"):  # none in a folder that is read-only
        book.note(wanted.key, path, found)
        http_files.forget(path.parent, path.name)
    return path


def _fetch(link, wanted, along, book):
    """Bring one link's file to its place, checked, and note its digests."""
    folder, name = wanted.path.parent, wanted.path.name
    with locks.held(folder, f"fetching {name}"):
        if wanted.path.is_file():  # by another process, while this one waited
            return
        limit = LARGEST_ARCHIVE if link.member else wanted.size or LARGEST
        with opened(link, folder, name, limit) as came:
            if link.member:
                _unpack(came, link, wanted, along, book)
            else:
                _place(came, wanted, link, book)


def _unpack(packed, link, wanted, along, book):
    """Take a file out of an archive, and those others that are wanted and in it."""
    members = {link.member: wanted}
    for other in along:
        if not other.path.is_file():
            members |= {of.member: other for of in other.links if of.url == link.url and of.member}
    with TemporaryDirectory(prefix=".fetch.", suffix=".part", dir=wanted.path.parent) as folder:
        taken = {name: Member(Path(folder) / name, of.size or LARGEST, of.sha256) for name, of in members.items()}
        missing, _ = archives.extract(packed, taken)
        if link.member in missing:
            raise ValueError(f"the archive has no file {link.member}")
        _place(taken[link.member].path, wanted, link, book)
        for name, other in members.items():
            if other is not wanted and name not in missing:
                with suppress(ValueError):  # it is fetched, and refused, in its turn
                    _place(taken[name].path, other, Link(link.url, name), book)


def _place(came, wanted, link, book):
    """Put what came to its place if it is what is wanted."""
    found = check(came, wanted)
    if problem := book.problem(wanted, found):
        raise ValueError(problem)
    if is_local(link) and not link.member:
        with replacing(wanted.path) as part:
            shutil.copyfile(came, part)
    else:
        settle(came, wanted.path)
    book.note(wanted.key, wanted.path, found, link)
