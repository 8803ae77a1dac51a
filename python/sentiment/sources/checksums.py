"""Trust on first sight: where no digest of a file is published, what was first had under a card sets it.

The book, ``fetched.json`` beside the files, has an entry for each by whose it is (``caffenet``, ``caffenet mean``), not
by what the file is called: where it came from, its digests, its size and when it was changed, so that a file that was
looked at is not read again.
"""

import contextlib

from sentiment.utils.errors import UserError
from sentiment.utils.files import digests, read_json, write_json

BOOK = "fetched.json"
VERSION = 1
ALGORITHMS = ("sha1", "sha256")


class Book:
    """The book of a folder.

    Raises
    ------
    UserError
        There is one, and it cannot be read.
    """

    def __init__(self, folder):
        self.path = folder / BOOK
        self.files = self._read()

    def _read(self):
        if not self.path.exists():
            return {}
        try:
            book = read_json(self.path)
            entries = book.get("files") if isinstance(book, dict) and book.get("version") == VERSION else None
            if isinstance(entries, dict) and all(_is_entry(entry) for entry in entries.values()):
                return entries
            problem = f"it is no book of version {VERSION}"
        except UserError as error:
            problem = str(error).removeprefix(f"{self.path}, ")
        raise UserError(
            f"{self.path} cannot be used ({problem}); move it away: the files there are then noted anew as they are"
        )

    def problem(self, wanted, found) -> str:
        """What a file's digests say against its being the one that was first had; empty where nothing does.

        A published digest outranks the book.
        """
        entry = self.files.get(wanted.key)
        if wanted.known or entry is None or entry["sha256"] == found["sha256"]:
            return ""
        whence = f" from {entry['link']}" * bool(entry.get("link"))
        return (
            f"not the file that was first had{whence}, whose SHA-256 stands in {self.path} (remove the entry of "
            f"{wanted.key!r} there to take it all the same)"
        )

    def known(self, wanted) -> dict[str, str]:
        """The digest by which a file is the one that was first had under a card; empty where none was."""
        entry = self.files.get(wanted.key)
        return {"sha256": entry["sha256"]} if entry else {}

    def knows(self, wanted) -> bool:
        """Whether the file that lies there was looked at and found right, and has not been changed since."""
        entry = self.files.get(wanted.key, {})
        same = entry.get("file") == wanted.path.name and entry.get("stamp") == _stamp(wanted.path)
        right = all(entry.get(name) == of for name, of in wanted.known.items())
        return same and right and wanted.size in (None, entry["stamp"][0])

    def note(self, key, path, found, link=None):
        """Enter a file that came by a link, or was put there, for one who holds the folder (`locks.held`).

        A folder that cannot be written to goes without.
        """
        self.files = self._read()  # another process may have entered others meanwhile
        whence = "#".join(filter(None, (link.url, link.member))) if link else self.files.get(key, {}).get("link")
        self.files[key] = {"file": path.name, "link": whence, **found, "stamp": _stamp(path)}
        with contextlib.suppress(UserError):
            write_json(self.path, {"version": VERSION, "files": self.files})


def _is_entry(entry):
    return isinstance(entry, dict) and {"file", "sha256"} <= set(entry)


def digests_of(path) -> dict[str, str]:
    """A file's digests by algorithm."""
    return digests(path, *ALGORITHMS)


def _stamp(path):
    """What changes when a file does, in the main."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
