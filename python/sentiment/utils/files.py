"""Files that are complete or absent, and their checksums."""

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

PROJECT = Path(__file__).resolve().parents[3]  # the repository's root, where models/, splits/ and prototxt/ are

# Of this module, of `tempfile` and (.tmp) of the engine.
_TEMPORARY = re.compile(r"\..+\.[0-9a-z_]{8,12}\.(tmp|part(\.\w+)?)")


def default(name: str) -> Path:
    """Path of a folder that a command is not given (``runs``): in the repository, wherever the command is called from.

    It is relative if it is below the current folder.
    """
    path = PROJECT / name
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def temporary(path) -> Path:
    """A path beside ``path``, with its suffix, that no other process or thread uses, for what is to become ``path``."""
    path = Path(path)
    return path.with_name(f".{path.stem}.{secrets.token_hex(6)}.part{path.suffix}")


def half_written(folder) -> list[Path]:
    """Temporary files and folders in a folder, of running processes or left by killed ones."""
    return [path for path in Path(folder).glob(".*") if _TEMPORARY.fullmatch(path.name)]


def sweep(folder):
    """Remove the temporary files that killed processes left; call it only while holding the folder (`locks.held`)."""
    for path in half_written(folder):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path in the same folder that becomes ``path`` when the block ends without an error.

    A missing folder is created; a `UserError` says why the folder or file cannot be written. When the block raises, the
    temporary file is removed and ``path`` is not changed. Both paths have the same suffix, for writers that choose
    their format by it.
    """
    path = Path(path)
    part = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        size = part.stat().st_size
        os.replace(part, path)
        log.info("wrote %s (%s bytes)", path, f"{size:,}")
    except OSError as error:
        # Network errors have no errno, and an error about another file is about what the block reads.
        if error.errno is None or (error.filename is not None and Path(error.filename) not in {part, *path.parents}):
            raise
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_whole(path, content: str | bytes):
    """Write text (as UTF-8) or bytes to ``path``, completely or not at all."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def write_if_changed(path, content: str | bytes) -> bool:
    """Like `write_whole`, but do not touch a file that has this content already. Returns whether it was written."""
    data = content.encode() if isinstance(content, str) else content
    if Path(path).is_file() and Path(path).read_bytes() == data:
        return False
    write_whole(path, data)
    return True


def read_text(path, errors="strict") -> str:
    """The text of a UTF-8 file without a byte order mark; ``errors``, as for `open`, is for bytes that are not UTF-8.

    A `UserError` says that it is missing, unreadable or binary.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors=errors)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from error


def digests(path, *algorithms: str) -> dict[str, str]:
    """Hexadecimal digests of a file's content by algorithms of `hashlib`, reading it once.

    ``git_blob`` is the name that Git gives the content: the SHA-1 of ``blob <size>``, a zero byte and the content.
    """
    try:
        with open(path, "rb") as file:
            heads = {"git_blob": b"blob %d\0" % os.fstat(file.fileno()).st_size}
            states = {
                of: hashlib.new("sha1" if of in heads else of, heads.get(of, b""), usedforsecurity=False)
                for of in algorithms
            }
            while block := file.read(1 << 20):
                for state in states.values():
                    state.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return {algorithm: state.hexdigest() for algorithm, state in states.items()}


def sha256(path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    return digests(path, "sha256")["sha256"]


def read_json(path):
    """The value in a JSON file; a `UserError` names the line that is not valid JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error


def write_json(path, value):
    """Write a value as indented JSON, completely or not at all; keys keep their order, NaN is refused."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
