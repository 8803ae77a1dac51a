"""One process at a time in a folder: the second one says so and waits.

The lock is the system's own (``flock``) on a file ``.sentiment.lock`` in the folder. It ends with the process that
holds it, even a killed one, so a file left behind blocks nobody. A process that holds a folder must not ask for it
again: it would wait for itself.
"""

import contextlib
import fcntl
import os
import platform
from pathlib import Path

from sentiment.utils.errors import UserError, say
from sentiment.utils.files import sweep

NAME = ".sentiment.lock"


@contextlib.contextmanager
def held(folder: str | Path, doing: str):
    """Hold a folder exclusively while a block runs; temporary files that killed processes left in it are removed.

    A missing folder is created; a `UserError` says why it cannot be written to. If another process holds it, say what
    that one is ``doing`` (``training``) and wait; the caller has to look again at what it has made meanwhile. If the
    file system has no locks, as some network file systems, warn and continue without one.
    """
    path = Path(folder).resolve() / NAME
    with contextlib.ExitStack() as stack:
        while True:
            try:
                with contextlib.suppress(FileExistsError):  # a file stands there: the next line reports it
                    path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path, "ab+", buffering=0))
            except OSError as error:
                raise UserError(f"cannot write {path}: {error.strerror}") from error
            alone = _lock(file, path)
            if not alone or _is_at(path, file):
                break
            file.close()  # its holder removed it, so another process may hold a new one by now
        if alone:
            with contextlib.suppress(OSError):  # a full disk refuses this line; the lock holds without it
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}, {doing}\n".encode())
            sweep(path.parent)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()  # before the lock ends, so that a waiting process sees that it is gone


def _lock(file, path) -> bool:
    """Lock an open file, waiting if need be. Returns whether the file system could."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or "another process"
        say(f"{path.parent} is in use ({holder}); waiting for it to end")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        say(f"warning: cannot lock {path} ({error.strerror}); let no other process work in that folder meanwhile")
        return False
    return True


def _is_at(path, file) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False
