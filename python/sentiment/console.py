"""How a command ends: a user's mistake is one sentence and status 2, never a traceback."""

import errno
import sys
from pathlib import Path

from sentiment import verbose


class UserError(Exception):
    """One sentence: what is wrong, where (file, line), what to do."""


# What the machine or the user's paths did wrong. Any other OSError is a fault of ours and keeps its traceback.
_OUTSIDE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EROFS}
_OUTSIDE |= {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.EIO, errno.EMFILE}


def run(main, argv=None):
    """Call a command's ``main(argv)`` and turn its end into an exit status.

    Parameters
    ----------
    main : callable
        Takes the argument list (None: ``sys.argv``) and returns an exit status or None.
    argv : list of str, optional

    Returns
    -------
    int
        What ``main`` returned (None is 0); 2 after a `UserError`, the engine's ``CaffeError`` or a path or disk that
        refuses, printed on stderr as ``tool: error: sentence``; 130 after Ctrl-C.
    """
    tool = Path(sys.argv[0]).stem or "python"
    verbose.disable()  # each command of a process for itself
    try:
        return main(argv) or 0
    except KeyboardInterrupt as stop:
        print(f"{tool}: {stop}" if str(stop) else f"{tool}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) went away; a second complaint at interpreter exit would be noise.
        sys.stdout = None
        return 141
    except (UserError, OSError, RuntimeError) as error:
        sentence = sentence_of(error)
        verbose.log.info("this error:", exc_info=sentence is not None)
        if sentence is None:
            raise
        print(f"{tool}: error: {sentence}", file=sys.stderr)
        return 2


def sentence_of(error) -> str | None:
    """The sentence a user should read of an exception, or None for a fault that is ours."""
    # Where the engine is a real Caffe build there is no caffe.errors, so ask only what is loaded already.
    engine = getattr(sys.modules.get("caffe.errors"), "CaffeError", UserError)
    if isinstance(error, (UserError, engine)):
        return str(error)
    if isinstance(error, OSError) and error.errno in _OUTSIDE:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return None
