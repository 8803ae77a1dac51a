"""Open files, and write files so that they appear completely or not at all."""

import contextlib
import os
import secrets
import stat

from .. import names
from ..errors import CaffeError

# the largest message that protobuf accepts, and so the limit of Caffe's binary files (io.cpp)
MAX_BINARY_BYTES = 2**31 - 1


@contextlib.contextmanager
def open_binary(path):
    """Open a regular file that is not empty, as (file, size in bytes); CaffeError if that fails."""
    with _open(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CaffeError(f"Could not open file {path}: it is not a regular file.")
        if status.st_size == 0:
            raise CaffeError(f"{path} is empty: copy or download it again.")
        try:
            yield file, status.st_size
        except OSError as error:
            raise refusal("Could not read", path, error) from error


def read_text(path, limit=4 * 2**20):
    """The text of a file of at most ``limit`` bytes; CaffeError if it cannot be read or is not a text.

    Bytes that are not UTF-8 are represented as `names` describes.
    """
    with _open(path) as file:
        try:
            content = bytearray()  # read(limit) would allocate that much for any file
            while len(content) <= limit and (more := file.read(2**16)):
                content += more
        except OSError as error:
            raise refusal("Could not read", path, error) from error
    if len(content) > limit:
        raise CaffeError(f"{path} has more than {limit} bytes, too many for a definition: name the .prototxt file.")
    if 0 in content:
        raise CaffeError(_not_text(path, content, content.index(0)))
    return names.of_bytes(bytes(content)).removeprefix("\ufeff")


@contextlib.contextmanager
def replacing(path):
    """The name of a temporary file in the folder of ``path``, to which it is renamed when the block has succeeded.

    It is flushed to the disk first, so that even after a power failure ``path`` is the old file or the new one. If the
    block fails, the temporary file is removed. Errors of the file system become CaffeErrors.
    """
    if "\0" in os.fsdecode(path):
        raise CaffeError(f"Could not write {path!r}: a file name cannot contain a zero byte.")
    target = os.path.realpath(names.for_os(path))  # of a link, the target is replaced
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:40]}.{secrets.token_hex(6)}.tmp")
    if os.path.lexists(target) and not os.path.isfile(target):
        raise CaffeError(f"Could not write {path}: it exists and is not a regular file.")
    if not os.path.isdir(folder):
        raise CaffeError(f"Could not write {path}: the folder {folder} does not exist; create it first.")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            _flush(temporary, os.O_RDWR)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        with contextlib.suppress(OSError):  # not every file system can flush a folder
            _flush(folder, os.O_RDONLY)
    except OSError as error:
        raise refusal("Could not write", os.path.abspath(path), error) from error


def write_whole(path, *parts):
    """Write the concatenation of bytes-like ``parts`` to the file ``path``, completely or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(parts)


def _open(path):
    try:
        return open(names.for_os(path), "rb")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise refusal("Could not open file", path, error) from error


def _flush(path, flags):
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refusal(what, path, error):
    """The CaffeError for a path and the system's error; it explains escapes that were meant as parts of the path."""
    reason, advice = getattr(error, "strerror", None) or error, ""
    if not os.fsdecode(path).isprintable() and any(ord(character) < 32 for character in os.fsdecode(path)):
        path, advice = repr(path), "; a backslash begins an escape in definitions, so write paths with forward slashes"
    return CaffeError(f"{what} {path}: {reason}{advice}.")


def _not_text(path, content, offset):
    line = content.count(b"\n", 0, offset) + 1
    column = offset - (content.rfind(b"\n", 0, offset) + 1) + 1
    return (
        f"{path}:{line}:{column}: byte 0x{content[offset]:02x} is not text; a definition is a text file, "
        "so name the .prototxt file, or save it as UTF-8."
    )
