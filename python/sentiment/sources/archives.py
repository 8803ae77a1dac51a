"""Files out of tar and zip archives that nobody vouches for: no path in them counts, no link, nothing too large."""

import hashlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from sentiment.utils.errors import UserError

BLOCK = 1 << 20  # bytes
LARGEST = (1 << 31) - 1  # bytes of a member: no .caffemodel is longer
LARGEST_NAME = 1 << 20  # bytes
LARGEST_TAR = 1 << 33  # bytes a tar archive may unpack to, which has to be read to its end
_DAMAGED = (OSError, EOFError, RuntimeError, NotImplementedError)  # what reading a damaged or locked one raises
_OF_KINDS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Member:
    """A file wanted from an archive.

    Attributes
    ----------
    path : Path
        Where it is to lie.
    limit : int
        Bytes that it may have.
    sha256 : str or None
        Where it is known: among files of one name the one that has it is taken.
    """

    path: Path
    limit: int = LARGEST
    sha256: str | None = None


def extract(archive, wanted) -> tuple[list[str], list[str]]:
    """Write files of an archive, chosen by their base names (of any case), so that no path in it decides where they go.

    Parameters
    ----------
    archive : Path
        Tar (packed by gzip, bzip2, xz or not) or zip, whatever it is called.
    wanted : dict of str to Member
        By base name.

    Returns
    -------
    missing, differing : list of str
        Names that the archive does not have, and those of files that are not what is known of them, but are written.

    Raises
    ------
    ValueError
        It is no whole archive, a damaged one, or one that would unpack to too much.
    UserError
        A file cannot be written.
    """
    names = {name.casefold(): name for name in wanted}
    found = dict.fromkeys(names.values())  # None, or whether it is what is known of it
    too_large = {}
    try:
        for name, size, content in _members(archive):
            name = names.get(name.casefold())
            if name is None or found[name]:
                continue
            member = wanted[name]
            if size > member.limit:
                too_large[name] = size
                continue
            with content() as packed:
                digest = _pour(packed, member.path, size)
            found[name] = member.sha256 in (None, digest)
    except (*_DAMAGED, *_OF_KINDS) as error:
        raise ValueError(f"a damaged or locked archive ({error or type(error).__name__})") from error
    missing = [name for name, right in found.items() if right is None]
    if refused := [name for name in missing if name in too_large]:
        name = refused[0]
        raise ValueError(f"{name} in it has {too_large[name]:,} bytes, and it may have {wanted[name].limit:,}")
    return missing, [name for name, right in found.items() if right is False]


def _pour(packed, path, limit):
    """Write a member to its place; its SHA-256."""
    digest = hashlib.sha256()
    try:
        with open(path, "wb") as out:
            for block in _blocks(packed, limit):
                digest.update(block)
                out.write(block)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return digest.hexdigest()


def _blocks(packed, limit):
    """A member's bytes; a ValueError where it has more than it says, or cannot be read."""
    left = limit
    while True:
        try:
            block = packed.read(min(BLOCK, left + 1))
        except OSError as error:  # not to be taken for one of writing
            raise ValueError(f"a damaged archive ({error})") from error
        if not block:
            return
        left -= len(block)
        if left < 0:
            raise ValueError(f"a file in it has more than the {limit:,} bytes it says")
        yield block


class _Entry(tarfile.TarInfo):
    """An entry of a tar archive whose name, which is read into memory, is no book."""

    def _proc_member(self, archive):
        if self.type in _NAMES and self.size > LARGEST_NAME:
            raise tarfile.ReadError(f"a name of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]  # typeshed leaves out what CPython says to extend


_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


def _members(archive):
    """Base name, bytes and opener of each plain file in an archive; a hard link is the file it leads to."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, tarinfo=_Entry) as tar:
            unpacked, plain = 0, {}
            for entry in tar:
                unpacked += entry.size
                if unpacked > LARGEST_TAR:
                    raise ValueError(f"it unpacks to more than {LARGEST_TAR:,} bytes")
                if entry.isreg():
                    plain.setdefault(entry.name, entry)
                if file := entry if entry.isreg() else entry.islnk() and plain.get(entry.linkname):
                    yield _base(entry.name), file.size, partial(tar.extractfile, file)
            _read_on(tar.fileobj)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                    yield _base(info.filename), info.file_size, partial(packed.open, info)
    else:
        raise ValueError("no whole tar or zip archive")


def _base(name):
    """The last part of a path, of Windows too."""
    return PurePosixPath(name.replace("\\", "/")).name


def _read_on(stream):
    """Read a packed stream to its end, where its checksum is."""
    left = LARGEST_TAR
    while left > 0 and (block := stream.read(BLOCK)):
        left -= len(block)
