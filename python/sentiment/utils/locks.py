"""One process at a time in a folder: the second one says so and waits.

The lock is the system's own (``flock``) on a file ``.sentiment.lock`` in the folder. It ends with the process that
holds it, however that ends, so a file that a killed process left is in nobody's way. Who holds a folder must not ask
for it again, or waits for itself.
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
def held(folder, doing):
    """Have a folder for oneself while a block runs, rid of what killed processes left in it half-written.

    Where another process has it, say so on stderr and wait; what it made meanwhile has to be looked at again. Where
    the file system knows no locks, as some network file systems, warn and go on without one.

    Parameters
    ----------
    folder : str or Path
        Is made when missing.
    doing : str
        What the block does, for the one who waits, as ``training``.

    Raises
    ------
    UserError
        The folder cannot be made or written to.
    """
    path = Path(folder).resolve() / NAME
    with contextlib.ExitStack() as stack:
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path, "ab+", buffering=0))
            except OSError as error:
                blocked = isinstance(error, FileExistsError)
                problem = f"{path.parent} is a file" if blocked else error.strerror
                raise UserError(f"cannot write {path}: {problem}") from error
            alone = _lock(file, path)
            if not alone or _is_there(file, path):
                break
            file.close()  # its holder removed it, so others may hold a new one by now
        if alone:
            with contextlib.suppress(OSError):  # a full disk takes no name, and the lock holds without one
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}, {doing}\n".encode())
            sweep(path.parent)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is held; who waits for it sees that it is gone


def _lock(file, path):
    """Lock an open file, waiting if need be; whether that worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or "another process"
        say(f"{path.parent} is in use ({holder}); waiting for it to end")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        say(f"warning: no lock on {path} ({error.strerror}); let no other process work in that folder meanwhile")
        return False
    return True


def _is_there(file, path):
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False
