"""Opening a live store's file, whoever made it and whatever befell it: what stands beside diskcache, and why.

diskcache keeps results well: one SQLite file that several processes and threads read and write, whole after a kill.
It is no guard, though. It does what the file's own `Settings` table says before anybody can object (any PRAGMA, any
attribute of the cache object, any argument of its disk class), lets SQLite run triggers that somebody planted, writes
as it opens (so a read-only folder cannot be opened at all), and fails as a whole over one key that is no text or one
page that is missing. None of that can be turned off. So this module looks at the file first, by plain SQLite, read-only
and trusting nothing: only a file with diskcache's own tables, indexes and triggers, our settings and readable keys is
handed on.

Any other is set aside whole in the folder `set-aside`, and what is good in it taken into a new file. Where nothing can
be written, the file is read here, without diskcache.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import diskcache

from .. import limits
from ..errors import StoreError

FILE = "cache.db"
ASIDE = "set-aside"
SETTINGS: dict[str, Any] = {  # all of diskcache's, so that none is left for a file to decide
    # All in the one SQLite file, whatever its size: a killed process leaves no orphans. Nothing is ever evicted.
    "eviction_policy": "none", "cull_limit": 0, "size_limit": 2**62, "disk_min_file_size": 2**62,
    "disk_pickle_protocol": 0, "statistics": 0, "tag_index": 0, "sqlite_auto_vacuum": 1, "sqlite_cache_size": 2**13,
    "sqlite_journal_mode": "wal", "sqlite_synchronous": 1,
    "sqlite_mmap_size": 0,  # a file cut short while it is mapped would end the process
}
COUNTERS = ("count", "size", "hits", "misses")
GENERATION = "generation"
_RAW = 1  # diskcache's mode of values that are stored as they are
_LEAPS_AFTER = 1_000  # rows in a row that cannot be read, after which the search for the next one widens
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


FOREIGN = "it is pickled or lies in another file, which this program neither writes nor reads"


class ForeignError(StoreError):
    """A value that this program never writes."""


class Broken(StoreError):
    """A store's file that is not whole, found while it is in use."""


class PlainDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Strings, bytes and numbers inside the database; no pickles, no files named by it."""

    def put(self, key: Any) -> tuple[Any, bool]:
        assert isinstance(key, str)
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        return key if raw else None  # a pickled key is nobody's

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> tuple[int, int, None, Any]:
        assert isinstance(value, str | bytes | int | float), "JSON bytes, names and seconds are all that is stored"
        return 0, _RAW, None, sqlite3.Binary(value) if isinstance(value, bytes) else value

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode != _RAW or filename is not None or read:
            raise ForeignError(FOREIGN)
        return value

    def remove(self, file_path: str) -> None:
        """Nothing: the database names no files."""


@dataclass(frozen=True)
class Row:
    """One row of a store's file, as it lies there."""

    id: int
    key: str | None  # None: no text
    value: Any  # bytes, a number, or a text; None: pickled, or in another file
    stored: float | None  # when, Unix time

    @property
    def without_value(self) -> Row:
        """The same, lighter."""
        return Row(self.id, self.key, None, self.stored)

    @property
    def is_result(self) -> bool:
        return self.key is not None and len(self.key) == 32 and set(self.key) <= set("0123456789abcdef")


Keep = Callable[[Row], Iterable[tuple[str, Any]]]


@dataclass(frozen=True)
class Opened:
    """A store's file that is open."""

    cache: Any  # diskcache's, or `ReadOnly`
    read_only: str = ""  # why nothing can be written, as the end of a sentence; empty where it can
    told: tuple[str, ...] = ()  # what befell the file, one sentence each


def open_store(folder: Path, keep: Keep, why_not: str = "") -> Opened:
    """Open a folder's store, make it where there is none, and mend it where it is damaged.

    Args:
        keep: of a damaged file's row, the keys and values that a new file gets; none where it is no good.
        why_not: why it is only to be read, though it could be written.

    Raises:
        OSError, sqlite3.Error: if it can neither be used nor read.
    """
    path = folder / FILE
    if why_not:
        return _to_be_read(path, why_not)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
        why_not = "the folder or its file is write-protected"
        if writable:
            told = _mended(folder, keep) if path.exists() else ()
            return Opened(_diskcache(folder), "", told)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        why_not = (error.strerror or str(error)).lower()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise
        why_not = str(error)
    return _to_be_read(path, why_not)


def _to_be_read(path: Path, why_not: str) -> Opened:
    damage = fault(path) if path.exists() else ""
    return Opened(ReadOnly(path), why_not, (f"The store's file {path} is damaged ({damage}): what can be read of it is "
                                            "shown. It cannot be mended where nothing can be written.",) * bool(damage))


def _diskcache(folder: Path) -> diskcache.Cache:
    return diskcache.Cache(str(folder), disk=PlainDisk, **SETTINGS)


# --- looking ------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path, damaged: bool = False) -> Iterator[sqlite3.Connection]:
    """A file's database, for reading only; nothing in it is trusted, and texts come as bytes.

    Args:
        damaged: read it even where it is shorter than it says.
    """
    with closing(_connect(path, damaged)) as database:
        yield database


def _connect(path: Path, damaged: bool = False) -> sqlite3.Connection:
    """Beside other writers; where not even SQLite's own lock files can be made, as the file stands."""
    for how in ("mode=ro", "mode=ro&immutable=1"):
        database = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=60, check_same_thread=False)
        try:
            for pragma in ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON", "mmap_size=0",
                           *["writable_schema=ON"] * damaged):
                database.execute(f"PRAGMA {pragma}")
            database.text_factory = bytes
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return database
        except sqlite3.OperationalError as error:
            database.close()
            if "immutable" in how or not any(word in str(error) for word in ("unable to open", "readonly")):
                raise
        except sqlite3.Error:
            database.close()
            raise
    raise AssertionError("one of the two ways opens a file or says why not")


def fault(path: Path) -> str:
    """What is wrong with a store's file, as the end of a sentence; empty where nothing is.

    Raises: sqlite3.OperationalError: if it cannot be looked at, which says nothing of what is in it.
    """
    try:
        with reading(path) as database:
            if odd := sorted(_schema(database) - _made_by_diskcache()):
                return f"it holds '{odd[0][1][:40]}', which this program never makes"
            (sound,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if sound != b"ok":
                return str(sound.decode(errors="replace").strip().splitlines()[-1])
            for text, kind in database.execute("SELECT key, typeof(value) FROM Cache WHERE typeof(key) = 'text'"):
                text.decode()
                if kind == b"text" and not text.startswith(b"unit:"):
                    return "it holds a text where results are"
    except UnicodeDecodeError:
        return "one of its keys is no text"
    except sqlite3.OperationalError as error:
        if _of_the_place(error):
            raise
        return str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def of_the_content(error: Exception) -> bool:
    """Whether an error is about what is in a store's file, not about locks, rights or room."""
    return isinstance(error, sqlite3.DatabaseError) and (
        not isinstance(error, sqlite3.OperationalError) or "decode" in str(error))


def _of_the_place(error: sqlite3.Error) -> bool:
    return any(word in str(error) for word in ("locked", "busy", "unable to open", "readonly", "full", "disk I/O"))


def _schema(database: sqlite3.Connection) -> set[tuple[str, str, str]]:
    return {tuple((part or b"").decode(errors="replace") for part in row)  # type: ignore[misc]
            for row in database.execute("SELECT type, name, sql FROM sqlite_master")}


@cache
def _made_by_diskcache() -> set[tuple[str, str, str]]:
    """Tables, indexes and triggers of a new store."""
    with tempfile.TemporaryDirectory() as folder:
        _diskcache(Path(folder)).close()
        with reading(Path(folder) / FILE) as database:
            return _schema(database)


def _has_rows(database: sqlite3.Connection) -> bool:
    """Whether the table of results is the one that diskcache makes; another of that name is not looked into."""
    return any(one[:2] == ("table", "Cache") for one in _schema(database) & _made_by_diskcache())


def rows(path: Path) -> Iterator[Row]:
    """All rows of a store's file that can be read, in the order in which they were stored, each by itself."""
    with reading(path, damaged=True) as database:
        if not _has_rows(database):
            return
        last, step, misses = 0, 1, 0
        while last < 2**53:
            try:
                for row in database.execute(
                        "SELECT rowid, key, typeof(key), raw, mode, filename, value, typeof(value), store_time "
                        "FROM Cache WHERE rowid > ? ORDER BY rowid", (last,)):
                    last, step, misses = row[0], 1, 0
                    yield _row(*row)
                return
            except sqlite3.DatabaseError as error:  # a page that is missing or no page: on to the rows behind it
                if "locked" in str(error):
                    raise
                misses += 1
                step = 2 * step if misses > _LEAPS_AFTER else 1
                last += step


def _row(rowid: int, key: Any, key_type: bytes, raw: Any, mode: Any, filename: Any, value: Any, value_type: bytes,
         stored: Any) -> Row:
    text = None
    if key_type == b"text" and raw == 1:
        try:
            text = key.decode()
        except UnicodeDecodeError:
            text = None
    if mode != _RAW or filename is not None:
        value = None
    elif value_type == b"text":
        value = value.decode(errors="replace")
    return Row(rowid, text, value, stored if isinstance(stored, float) else None)


# --- mending ------------------------------------------------------------------------------------


def _mended(folder: Path, keep: Keep) -> tuple[str, ...]:
    """Take over what is good of a damaged file, and put our settings into a sound one; says what was done."""
    path = folder / FILE
    if not fault(path):
        _set_right(path)
        return ()
    with _alone(folder):
        if not (why := fault(path)):  # another process has mended it meanwhile
            return ()
        kept = _taken_over(folder, keep)
        place = _set_aside(folder)
    results = f"{kept} good result{'s' * (kept != 1)}"
    return (f"The store's file {path} was damaged ({why}). {results} {'was' if kept == 1 else 'were'} taken from it "
            f"into a new one; the damaged file is kept whole in {place}. What is missing can be measured again.",)


def _set_right(path: Path) -> None:
    """Our settings in a file whose tables are diskcache's, whatever it held, a generation that can be counted, and
    nothing that would count as missing after a time."""
    with reading(path) as database:
        found = dict(database.execute("SELECT key, value FROM Settings"))
        wanted = {name.encode(): value.encode() if isinstance(value, str) else value
                  for name, value in SETTINGS.items()}
        settings = {name: value for name, value in found.items() if name not in map(str.encode, COUNTERS)}
        counted = database.execute("SELECT raw, mode, typeof(value) = 'integer' AND value BETWEEN 0 AND ?, filename, "
                                   "expire_time FROM Cache WHERE key = ?", (limits.NUMBER, GENERATION)).fetchall()
        (ends,) = database.execute("SELECT EXISTS (SELECT 1 FROM Cache WHERE expire_time IS NOT NULL)").fetchone()
    countable = counted in ([], [(1, _RAW, True, None, None)])
    if settings == wanted and countable and not ends:
        return
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        database.execute("PRAGMA trusted_schema=OFF")
        database.execute(f"DELETE FROM Settings WHERE key NOT IN ({','.join('?' * len(COUNTERS))})", COUNTERS)
        database.executemany("INSERT OR REPLACE INTO Settings VALUES (?, ?)", SETTINGS.items())
        database.execute("UPDATE Cache SET expire_time = NULL WHERE expire_time IS NOT NULL")
        if not countable:
            database.execute("DELETE FROM Cache WHERE key = ?", (GENERATION,))
            _insert(database, GENERATION, int(time.time()), None)


def _taken_over(folder: Path, keep: Keep) -> int:
    """Make a new file beside the damaged one, with what is good in it; says how many results."""
    n_results = 0
    with tempfile.TemporaryDirectory(dir=folder, prefix=".mending-") as place:
        _diskcache(Path(place)).close()
        with closing(sqlite3.connect(Path(place) / FILE)) as database:
            with database:
                for row in _readable(folder / FILE):
                    kept = list(keep(row))
                    n_results += row.is_result and bool(kept)
                    for key, value in kept:
                        _insert(database, key, value, row.stored)
                _insert(database, GENERATION, int(time.time()), None)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (Path(place) / FILE).replace(folder / f".{FILE}.new")
    return n_results


def _readable(path: Path) -> Iterator[Row]:
    try:
        yield from rows(path)
    except sqlite3.DatabaseError:  # no database at all
        return


def _insert(database: sqlite3.Connection, key: str, value: Any, stored: float | None) -> None:
    database.execute("INSERT OR IGNORE INTO Cache (key, raw, mode, value, store_time) VALUES (?, 1, ?, ?, ?)",
                     (key, _RAW, value, time.time() if stored is None else stored))


def _set_aside(folder: Path) -> Path:
    """Put the new file in the damaged one's place, and that where it is out of the way."""
    place = place_aside(folder)
    for name in (f"{FILE}-wal", f"{FILE}-shm"):
        if (folder / name).exists():
            shutil.move(folder / name, place / name)
    try:
        os.link(folder / FILE, place / FILE)
    except OSError:  # a file system without links
        shutil.copy2(folder / FILE, place / FILE)
    (folder / f".{FILE}.new").replace(folder / FILE)
    return place


def place_aside(folder: Path) -> Path:
    """A new folder in a store's, for what is taken out of the store and not thrown away."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        place = folder / ASIDE / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            place.mkdir(parents=True)
            return place
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, "too many things set aside within a second", str(folder / ASIDE))


def set_rows_aside(folder: Path, chosen: Iterable[Row], add: Iterable[tuple[str, Any]] = ()) -> Path | None:
    """Take rows out of a store's file, each kept as a file in the folder returned; and add others.

    Returns None where nothing was taken out.
    """
    taken, added = {row.id: row.key for row in chosen}, list(add)
    place = place_aside(folder) if taken else None
    if place:
        for row in rows(folder / FILE):
            if row.id in taken:
                value = row.value if isinstance(row.value, bytes) else repr(row.value).encode()
                (place / f"{row.id}.value").write_bytes(value)
        (place / "keys.json").write_text(json.dumps(taken, indent=1))
    with closing(sqlite3.connect(folder / FILE, timeout=60)) as database, database:
        database.execute("PRAGMA trusted_schema=OFF")
        database.executemany("DELETE FROM Cache WHERE rowid = ?", [(row,) for row in taken])
        for key, value in added:
            _insert(database, key, value, None)
        database.execute("UPDATE Cache SET value = value + 1 WHERE key = ?", (GENERATION,))
    return place


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time mends a folder."""
    import fcntl

    with open(folder / ".mending", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- reading alone ------------------------------------------------------------------------------


class ReadOnly:
    """What of diskcache's interface reading needs, over a file that cannot be written; damaged rows count as missing.

    Args:
        path: the file; an empty store where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._database: sqlite3.Connection | None = None
        if path.exists():
            with suppress(sqlite3.DatabaseError):  # no database at all: nothing to read
                database = _connect(path, damaged=True)
                self._database = database if _has_rows(database) else None

    def get(self, key: str) -> Any:
        """A value, or None. Raises: ForeignError: if it is pickled or names a file."""
        if self._database is None:
            return None
        with self._lock:
            row = self._database.execute(
                "SELECT rowid, key, typeof(key), raw, mode, filename, value, typeof(value), store_time "
                "FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchone()
        if row is None:
            return None
        if row[4] != _RAW or row[5] is not None:
            raise ForeignError(FOREIGN)
        return _row(*row).value

    def __iter__(self) -> Iterator[str | None]:
        return (row.key for row in _readable(self._path)) if self._database is not None else iter(())

    def close(self) -> None:
        """Nothing: the one connection serves all threads, and closes with this object."""

    def transact(self) -> NoReturn:
        raise AssertionError("a store that can only be read refuses before it writes")
