"""Where results are kept: the only module that knows diskcache.

A live store (a folder with one SQLite file) lies over the shipped results (plain JSON files,
read-only). Both hold the same thing under a unit's key: the unit, its record, and a digest.

An entry whose digest does not match counts as missing, and `problems` says so. Several processes and threads may read
and write one store at once. Results of an earlier schema stay where they are, named by `earlier`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import diskcache

from backend.errors import StoreError
from backend.kinds.unit import SCHEMA, R, Unit
from backend.records import Record
from backend.store.entries import Recent, canonical, differences, digest, inflate, pack, unpack
from backend.store.shipped import Shipped
from backend.values import ModelId, TaskId

T = TypeVar("T")
_ROOT = Path(__file__).resolve().parents[2]
SHIPPED = _ROOT / "cache" / "shipped"
LIVE = _ROOT / "cache" / "live"


def default_store() -> Store:
    """The store that pages and commands share: cache/live, or the folder named by HEADROOM_CACHE, over the shipped."""
    return Store(os.environ.get("HEADROOM_CACHE") or LIVE, shipped=SHIPPED)


# --- the store ----------------------------------------------------------------------------------


class Store:
    """Results by unit. Open one per process and share it between threads.

    Raises:
        StoreError: if the folder cannot be opened as a store.
    """

    def __init__(self, folder: str | Path, shipped: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.shipped = Shipped(Path(shipped)) if shipped else None
        self._damage: dict[str, str] = {}
        self._catalogue: tuple[int, dict[str, Unit[Any]]] = (-1, {})
        self._earlier: dict[str, tuple[str, Any]] = {}  # by key, the catalogue's entry as it is and as it reads
        self._derived: dict[str, tuple[int, Any]] = {}
        self._recent = Recent()
        with self._told():
            # All in the one SQLite file, whatever its size: a killed process leaves no orphans
            self._cache = diskcache.Cache(str(self.folder), disk=_PlainDisk, eviction_policy="none", cull_limit=0,
                                          size_limit=2**62, statistics=0, tag_index=0, disk_min_file_size=2**62)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection; the store opens again when used."""
        self._cache.close()

    def get(self, unit: Unit[R]) -> R | None:
        """The unit's result; None if there is none or it is damaged."""
        packed = self._packed(unit)
        if packed is not None:
            if (known := self._recent.get(unit.key, packed)) is not None:
                return cast(R, known)
            try:
                body = inflate(packed)
                stored, record = unpack(body)
                if stored.key == unit.key:
                    self._recent.keep(unit.key, packed, record, len(body))
                    return cast(R, record)
                self._note(unit, "its entry belongs to another unit")
            except StoreError as error:
                self._note(unit, str(error))
        return self.shipped.get(unit) if self.shipped else None

    def __contains__(self, unit: object) -> bool:
        """Whether an undamaged result is there: its digest is checked, its content not read."""
        return isinstance(unit, Unit) and (
            self._packed(unit) is not None or bool(self.shipped and unit in self.shipped))

    def put(self, unit: Unit[R], record: R, replace: bool = False) -> R:
        """Store a result and return the record as stored, floats rounded.

        Where the unit has a result that agrees to within rounding, that one stays and is returned.

        Raises:
            StoreError: if the unit has a different result and `replace` is not set, or a number is
                NaN or infinite, or the disk is full.
            BadInput: if the record is not of the unit's kind.
        """
        kept, generation = self._put(unit, record, replace)
        if generation == self._catalogue[0] + 1:  # the one change since: no need to read the whole catalogue again
            self._catalogue = generation, {**self._catalogue[1], unit.key: unit}
        return kept

    def put_all(self, results: Iterable[tuple[Unit[Any], Record]], replace: bool = False) -> None:
        """Store several results, all or none. Raises: as `put`."""
        with self._told(), self._cache.transact():
            for unit, record in results:
                self._put(unit, record, replace)

    def recomputing(self, unit: Unit) -> Recomputing:
        """This store as it would be without one result; what is put into it is not kept."""
        return Recomputing(self, unit)

    def delete(self, unit: Unit) -> bool:
        """Forget a result of the live store, if it is there; shipped ones stay."""
        return self.delete_all([unit]) == 1

    def delete_all(self, units: Iterable[Unit[Any]]) -> int:
        """Forget results of the live store, all or none; says how many there were."""
        gone = 0
        with self._told(), self._cache.transact():
            for unit in units:
                gone += bool(self._cache.delete(unit.key))
                self._cache.delete(_index(unit))
                self._cache.delete(_SECONDS + unit.key)
                self._damage.pop(unit.key, None)
            self._cache.incr(_GENERATION)
        return gone

    def units(self, kind: str | None = None, *, model: ModelId | str | None = None,
              task: TaskId | str | None = None) -> list[Unit[Any]]:
        """What is stored, live and shipped, in a fixed order.

        Args:
            kind: of one kind only.
            model: of this model, or of every model of this name.
            task: of this task, or of every task of this name.

        Raises:
            StoreError: if the live store cannot be read.
        """
        return sorted((u for u in self.by_key(kind).values() if (kind is None or kind == u.KIND)
                       and (model is None or model in (u.model, u.model.name))
                       and (task is None or (u.task is not None and task in (u.task, u.task.name)))),
                      key=lambda u: u.sort_key)

    def by_key(self, kind: str | None = None) -> dict[str, Unit[Any]]:
        """As `units`, by their keys and in no order; of the shipped ones only those of a kind, if one is given."""
        shipped = self.shipped.by_key(kind) if self.shipped else {}
        return {**shipped, **self._live_units()}

    def derived(self, name: str, make: Callable[[T | None], T]) -> T:
        """Something that follows from which results there are: made anew, from what it was, when that has changed."""
        self._live_units()
        generation, (made_at, known) = self._catalogue[0], self._derived.get(name, (-1, None))
        if made_at != generation:
            known = make(known)
            self._derived[name] = generation, known
        return cast(T, known)

    def earlier(self) -> dict[str, Any]:
        """Results that an earlier version wrote, by key: their descriptions as they stand (see `store.earlier`)."""
        self._live_units()
        return {key: value for key, (_, value) in self._earlier.items()}

    def earlier_record(self, key: str) -> Any:
        """The record of one of them, as it stands. Raises: StoreError: if it is damaged."""
        with self._told():
            value = self._cache.get(key)
        if not isinstance(value, bytes) or value[:64] != digest(value[64:]).encode():
            raise StoreError("its digest does not match its content")
        try:
            body = json.loads(inflate(value[64:]))
            if body["unit"] == self._earlier[key][1]:
                return body["record"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"it is no stored result: {error!r}") from error
        raise StoreError("its entry belongs to another unit")

    def earlier_time(self, key: str) -> float | None:
        """When one of them was stored, Unix time; None if it is not there."""
        with self._told(), closing(sqlite3.connect(f"{(self.folder / 'cache.db').resolve().as_uri()}?mode=ro",
                                                   uri=True)) as database:
            row = database.execute("SELECT store_time FROM Cache WHERE key = ?", (key,)).fetchone()
        return row[0] if row and isinstance(row[0], float) else None

    def take_over(self, key: str, unit: Unit[R], record: R) -> R:
        """Put the result of one of them under its new name, with the seconds that it took, and drop the old.

        Raises: as `put`; then nothing has changed.
        """
        with self._told(), self._cache.transact():
            kept, _ = self._put(unit, record)
            if (seconds := self._cache.get(_SECONDS + key)) is not None and self.seconds(unit) is None:
                self._cache.set(_SECONDS + unit.key, seconds)
            for name in (key, self._earlier[key][0], _SECONDS + key):
                self._cache.delete(name)
            self._cache.incr(_GENERATION)
        return kept

    def live_units(self) -> list[Unit[Any]]:
        """What this machine computed or imported: the units that `delete` can remove."""
        return sorted(self._live_units().values(), key=lambda u: u.sort_key)

    def size_bytes(self) -> int:
        """What the live store takes on the disk."""
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())

    def problems(self) -> list[str]:
        """What was found damaged so far, one sentence each."""
        return [*self._damage.values(), *(self.shipped.problems() if self.shipped else [])]

    def check(self) -> list[str]:
        """Read every entry, then say what is damaged."""
        for unit in self.units():
            self.get(unit)
        return self.problems()

    # Seconds a unit took on this machine: for estimates, never exported.

    def put_seconds(self, unit: Unit[Any], seconds: float) -> None:
        """Remember how long a unit took here."""
        with self._told():
            self._cache.set(_SECONDS + unit.key, float(seconds))

    def seconds(self, unit: Unit) -> float | None:
        """How long a unit took on this machine; None if it was not computed here."""
        with self._told():
            value = self._cache.get(_SECONDS + unit.key)
        return value if isinstance(value, float) else None

    # Helpers

    def _put(self, unit: Unit[R], record: R, replace: bool = False) -> tuple[R, int | None]:
        """As `put`; also the generation that this change began, None where nothing has changed."""
        body = pack(unit, record)
        new = cast(R, unpack(body)[1])
        with self._told(), self._cache.transact():
            old = self.get(unit)
            if old is not None and not replace:
                if told := differences(old, new):
                    raise StoreError(f"There is a different result of {unit} already ({'; '.join(told)}). "
                                     "It was kept; replace it on request only.")
                return old, None
            if old == new:
                return new, None
            packed = zlib.compress(body, 6)
            self._cache.set(unit.key, digest(packed).encode() + packed)
            self._cache.set(_index(unit), "")
            generation = self._cache.incr(_GENERATION)
        self._damage.pop(unit.key, None)
        self._recent.keep(unit.key, packed, new, len(body))
        return new, generation

    def _live_units(self) -> dict[str, Unit[Any]]:
        with self._told():
            generation = self._cache.get(_GENERATION) or 0
            if self._catalogue[0] != generation:
                known, units, earlier = self._catalogue[1], {}, {}
                for entry in self._cache:
                    if isinstance(entry, str) and entry.startswith(_INDEX):
                        key, _, text = entry.removeprefix(_INDEX).partition(" ")
                        try:
                            value = None if key in known else json.loads(text)
                            if isinstance(value, dict) and value.get("schema") in range(1, SCHEMA):
                                earlier[key] = entry, value
                            else:
                                units[key] = known.get(key) or Unit.from_json(value)
                        except (StoreError, ValueError, RecursionError) as error:
                            self._damage[key] = f"An entry of the store in {self.folder} was left out: {error}"
                self._catalogue, self._earlier = (generation, units), earlier
        return self._catalogue[1]

    def _packed(self, unit: Unit) -> bytes | None:
        """The compressed body, its digest checked."""
        try:
            with self._told():
                value = self._cache.get(unit.key)
        except _ForeignError as error:
            self._note(unit, str(error))
            return None
        if value is None:
            return None
        if not isinstance(value, bytes) or value[:64] != digest(value[64:]).encode():
            self._note(unit, "its digest does not match its content")
            return None
        return value[64:]

    def _note(self, unit: Unit[Any], what: str) -> None:
        self._damage[unit.key] = (f"The stored result of {unit} is damaged and counts as missing: {what.rstrip('.')}. "
                                  "Compute it again.")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database as sentences."""
        try:
            yield
        except diskcache.Timeout as error:
            raise StoreError(f"The store in {self.folder} is busy: another process has been writing for a minute. "
                             "Try again.") from error
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"The store in {self.folder} cannot be used ({error}). Free some space, make the folder "
                             "writable, name another one in HEADROOM_CACHE, or delete it: shipped results "
                             "are kept elsewhere.") from error


class Recomputing:
    """A store that lacks one unit and keeps nothing: to derive a stored result again beside it."""

    def __init__(self, store: Store, without: Unit) -> None:
        self.store, self.without = store, without

    def get(self, unit: Unit[R]) -> R | None:
        return None if unit == self.without else self.store.get(unit)

    def put(self, unit: Unit[R], record: R) -> R:
        return cast(R, unpack(pack(unit, record))[1])

    def put_seconds(self, unit: Unit[Any], seconds: float) -> None:
        """Nothing: the first time counts."""


_INDEX, _SECONDS, _GENERATION = "unit:", "seconds:", "generation"


def _index(unit: Unit) -> str:
    """The catalogue's entry of a unit: its key and its description."""
    return f"{_INDEX}{unit.key} {canonical(unit.to_json()).decode()}"


class _ForeignError(StoreError):
    """A value that this program never writes."""


class _PlainDisk(diskcache.Disk):
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
            raise _ForeignError("it is pickled or lies in another file, which this program neither writes nor reads")
        return value

    def remove(self, file_path: str) -> None:
        """Nothing: the database names no files."""


_RAW = 1  # diskcache's mode of values that are stored as they are


