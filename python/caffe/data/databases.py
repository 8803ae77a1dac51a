"""Databases of records, LMDB or LevelDB: opened for reading, and made anew (db_lmdb.cpp, db_leveldb.cpp).

LevelDB needs plyvel, an extra, and writes to its folder even when it is only read.
"""

import contextlib
import os
import shutil
import tempfile
import weakref

import lmdb

from .. import names
from ..errors import AbsentError, CaffeError
from ..formats.storage import refusal
from ..runtime.glog import log

#: how a backend is named on command lines -> in messages, a file that each database has, the place of Caffe's log line
BACKENDS = {"lmdb": ("LMDB", "data.mdb", "db_lmdb.cpp:35"), "leveldb": ("LevelDB", "CURRENT", "db_leveldb.cpp:18")}

_FIRST_BYTES = 2**24  # of an LMDB's map
_open_databases = weakref.WeakValueDictionary()


def _plyvel():
    try:
        import plyvel
    except ImportError:
        try:
            import plyvel_next as plyvel  # the same library where plyvel has no wheels
        except ImportError:
            raise AbsentError(
                "A LevelDB requires plyvel, which is not installed: pip install plyvel (with Python 3.13 or later: "
                "plyvel-next), or make an LMDB of it."
            ) from None
    return plyvel


class _Lmdb:
    def __init__(self, path):
        self.environment = lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False, create=False)
        weakref.finalize(self, self.environment.close)

    @contextlib.contextmanager
    def cursor(self):
        """A cursor with lmdb's methods ``first``, ``next``, ``set_key``, ``key`` and ``value``."""
        with self.environment.begin(buffers=False) as transaction, transaction.cursor() as cursor:
            yield cursor


class _LevelDb:
    def __init__(self, path):
        # absolute, because LevelDB knows by their paths which databases a process has open
        self._database = _plyvel().DB(os.path.abspath(path), create_if_missing=False)
        weakref.finalize(self, self._database.close)

    @contextlib.contextmanager
    def cursor(self):
        """A cursor with the methods of the LMDB's."""
        try:
            with self._database.raw_iterator(verify_checksums=True) as iterator:
                yield _LevelDbCursor(iterator)
        except _plyvel().Error as error:
            raise CaffeError(f"A LevelDB is damaged, so make it again: {_reason(error)}.") from None


class _LevelDbCursor:
    def __init__(self, iterator):
        self._iterator = iterator
        self.key, self.value = iterator.key, iterator.value

    def first(self):
        self._iterator.seek_to_first()
        return self._iterator.valid()

    def next(self):
        self._iterator.next()
        return self._iterator.valid()

    def set_key(self, key):
        self._iterator.seek(key)
        return self._iterator.valid() and self.key() == key


def check_backend(kind):
    """Raise CaffeError unless there is a backend of this name."""
    if kind not in BACKENDS:
        raise CaffeError(f"Unknown database backend '{kind}'; use {' or '.join(BACKENDS)}.")


def open_database(source, kind="lmdb"):
    """The database in this folder, opened if it is not open already.

    It is shared, because a folder can be opened once per process (and a LevelDB by one process only).
    """
    check_backend(kind)
    title, _, place = BACKENDS[kind]
    path = names.for_os(source)
    for other, (other_title, file, _) in BACKENDS.items():
        if other != kind and os.path.exists(os.path.join(path, file)):
            raise CaffeError(
                f"The database {source} is of the kind {other_title}, not {title}: choose the backend {other} "
                f"(backend: {other.upper()} in a definition)."
            )
    key = None  # if there is no such file, opening it will fail
    with contextlib.suppress(OSError, ValueError):
        lasting = {"lmdb": "data.mdb", "leveldb": "LOCK"}[kind]
        status = os.stat(os.path.join(path, lasting) if os.path.isdir(path) else path)
        key = status.st_dev, status.st_ino  # differs if the database has been replaced
    database = _open_databases.get(key)
    if database is None:
        engine = lmdb if kind == "lmdb" else _plyvel()
        try:
            database = (_Lmdb if kind == "lmdb" else _LevelDb)(os.fsencode(path))
        except engine.Error as error:
            reason = _reason(error).removeprefix(f"{os.fsencode(path).decode('utf-8', 'replace')}: ")
            raise refusal(f"Could not open the {title}", source, reason) from None
        if key is not None:
            _open_databases[key] = database
    log(place, f"Opened {kind} {source}")
    return database


def _reason(error):
    """The text of an error of lmdb, plyvel (bytes) or the system."""
    text = getattr(error, "strerror", None) or (error.args or (error,))[0]
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


@contextlib.contextmanager
def new_database(database, kind="lmdb"):
    """A function that writes [(key, Datum)] to a new database, which appears completely or not at all."""
    check_backend(kind)
    if os.path.lexists(database):
        raise CaffeError(f"{database} exists already; remove it or name another database.")
    engine = lmdb if kind == "lmdb" else _plyvel()
    folder = os.path.dirname(os.path.abspath(database))
    try:
        temporary = tempfile.mkdtemp(prefix=f".{os.path.basename(database)}.", dir=folder)
    except OSError as error:
        raise CaffeError(f"Could not write {database}: {error.strerror}.") from None
    try:
        if kind == "lmdb":
            opened = lmdb.open(os.fsencode(temporary), map_size=_FIRST_BYTES)
            put = _put_lmdb
        else:
            opened = engine.DB(os.fsencode(temporary), create_if_missing=True)
            put = _put_leveldb
        with contextlib.closing(opened):
            log(BACKENDS[kind][2], f"Opened {kind} {database}")
            yield lambda records: put(opened, [_item(key, datum) for key, datum in records])
        os.chmod(temporary, 0o755)
        os.rename(temporary, database)
    except (OSError, engine.Error) as error:
        raise CaffeError(f"Could not write {database!r}: {_reason(error)}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _item(key, datum):
    return key.encode("utf-8", "surrogateescape"), datum.SerializeToString(deterministic=True)


def _put_lmdb(environment, items):
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in items:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
        else:
            return


def _put_leveldb(database, items):
    with database.write_batch() as batch:
        for key, value in items:
            batch.put(key, value)
