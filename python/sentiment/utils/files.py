"""Files that are whole or absent, and their fingerprints."""

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from pathlib import Path

from sentiment.utils.errors import UserError

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parents[3]
"""The repository's root, where models/, splits/ and prototxt/ lie."""


def default(name):
    """Where a folder lies that a command is not given: in the repository, from wherever it is called.

    Parameters
    ----------
    name : str
        ``data/deepsent``, ``runs``, ``results`` and the like.

    Returns
    -------
    Path
        Relative to the current folder where that is above it, as make's is.
    """
    path = PROJECT / name
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


_TEMPORARY = re.compile(r"\..+\.[0-9a-z_]{8,12}\.(tmp|part(\.\w+)?)")  # the engine's end in tmp


def temporary(path):
    """A path beside ``path`` that no other process or thread has, for what is to become it; keeps the suffix."""
    path = Path(path)
    return path.with_name(f".{path.stem}.{secrets.token_hex(6)}.part{path.suffix}")


def half_written(folder):
    """What is being written into a folder, or was by a process that was killed."""
    return [path for path in Path(folder).glob(".*") if _TEMPORARY.fullmatch(path.name)]


def sweep(folder):
    """Remove what killed processes left in a folder half-written. Only for one who works there alone (`locks.held`)."""
    for path in half_written(folder):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path in the same folder that becomes ``path`` when the block ends well.

    The folder is made when missing. When the block raises, the temporary file goes and ``path`` is as it was.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    Path
        Has the suffix of ``path``, for writers that choose their format by it.

    Raises
    ------
    UserError
        The folder or file cannot be written.
    """
    path = Path(path)
    part = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        size = part.stat().st_size
        os.replace(part, path)
        log.info("wrote %s (%s bytes)", path, f"{size:,}")
    except OSError as error:
        # Errors of the network have no errno; one about another file comes from what the block reads. Both speak for
        # themselves.
        if error.errno is None or (error.filename is not None and Path(error.filename) not in {part, *path.parents}):
            raise
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_whole(path, content):
    """Write text (as UTF-8) or bytes to ``path``: at no moment does a part of it stand there."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(path) as part:
        part.write_bytes(data)


def write_if_changed(path, content) -> bool:
    """Like `write_whole`, but leave a file that already says the same untouched. Returns whether it was written."""
    data = content.encode() if isinstance(content, str) else content
    path = Path(path)
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    write_whole(path, data)
    return True


def read_text(path, errors="strict") -> str:
    """The text of a UTF-8 file, without the mark that some programs begin one with.

    ``errors`` says what becomes of other bytes, as for `open`; by default they are an error.

    Raises
    ------
    UserError
        It is missing, unreadable or binary.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors=errors)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from error


def digests(path, *algorithms) -> dict[str, str]:
    """Hexadecimal digests of a file's content by algorithms of `hashlib`; it is read once."""
    states = {algorithm: hashlib.new(algorithm) for algorithm in algorithms}
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                for state in states.values():
                    state.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return {algorithm: state.hexdigest() for algorithm, state in states.items()}


def sha256(path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    return digests(path, "sha256")["sha256"]


def settle(came, path):
    """Let a whole file in the same folder become ``path``.

    Raises
    ------
    UserError
        It cannot.
    """
    try:
        with open(came, "rb") as file:
            os.fsync(file.fileno())
        os.replace(came, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def read_json(path):
    """The value in a JSON file; a `UserError` names the line where it is none."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error


def write_json(path, value):
    """Write a value as indented JSON, whole or not at all; keys keep their order, NaN is refused."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
