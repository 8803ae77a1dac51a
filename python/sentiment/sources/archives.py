"""Extract single files from tar and zip archives of any origin.

The paths in an archive do not decide where a file is written, links out of the archive are not followed, and an archive
that unpacks to too much is refused.
"""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from sentiment.utils.errors import FULL
from sentiment.utils.files import sha256

LARGEST = (1 << 31) - 1  # bytes of a file; a .caffemodel cannot be larger
LARGEST_NAME = 1 << 20  # bytes of a file's name in a tar archive
LARGEST_TAR = 1 << 33  # bytes that a tar archive, which is read to its end, may unpack to
_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_DAMAGED = (  # what reading a damaged or encrypted archive raises
    *(OSError, EOFError, RuntimeError, NotImplementedError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@dataclass(frozen=True)
class Member:
    """A file wanted from an archive."""

    path: Path  # where to write it
    limit: int = LARGEST  # bytes; a larger file of its name is skipped
    sha256: str | None = None  # if known, the file that has it is preferred among those of its name


def extract(archive: Path, wanted: dict[str, Member]) -> tuple[list[str], list[str]]:
    """Write files of an archive, chosen by their base names (in any case).

    The archive is a tar (compressed by gzip, bzip2, xz or not at all) or a zip, whatever it is called. Returns the
    names that it does not contain, and the names of files that were written although their SHA-256 is another one. A
    ValueError says that it is not an archive, is damaged, or unpacks to too much; an OSError that the disk is full.
    """
    names = {name.casefold(): name for name in wanted}
    right = {}  # name of a file that was written -> whether its SHA-256 is the known one
    try:
        for path, size, content in _files(archive):
            base_name = PurePosixPath(path.replace("\\", "/")).name  # also of a Windows path
            name = names.get(base_name.casefold())
            if name is None or right.get(name):
                continue
            member = wanted[name]
            if size <= member.limit:
                with content() as packed, open(member.path, "wb") as file:
                    shutil.copyfileobj(packed, file)
                right[name] = member.sha256 is None or member.sha256 == sha256(member.path)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise ValueError(f"a damaged or encrypted archive ({error or type(error).__name__})") from error
    return [name for name in wanted if name not in right], [name for name in right if not right[name]]


def _files(archive):
    """Yield each file's path, its size and a function that opens it; a hard link stands for the file it leads to."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, tarinfo=_Entry) as tar:
            unpacked, plain = 0, {}
            for entry in tar:
                unpacked += entry.size
                if unpacked > LARGEST_TAR:
                    raise ValueError(f"it unpacks to more than {LARGEST_TAR:,} bytes")
                if entry.isreg():
                    plain.setdefault(entry.name, entry)
                file = plain.get(entry.linkname) if entry.islnk() else entry
                if file is not None and file.isreg():
                    yield entry.name, file.size, partial(tar.extractfile, file)
            while tar.fileobj.read(1 << 20):
                pass  # the checksum of a compressed stream is at its end
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                    yield info.filename, info.file_size, partial(packed.open, info)
    else:
        raise ValueError("not a complete tar or zip archive")


class _Entry(tarfile.TarInfo):
    """A tar entry that refuses an extremely long name, since tarfile reads names into memory."""

    def _proc_member(self, archive):
        if self.type in _NAMES and self.size > LARGEST_NAME:
            raise tarfile.ReadError(f"a name of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]  # CPython's hook for subclasses, not in typeshed
