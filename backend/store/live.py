"""Where results are kept: a live store over the shipped results.

A live store (a folder with one SQLite file, kept by diskcache, see `store.opening`) lies over the shipped results
(plain JSON files, read-only). Both hold the same thing under a unit's key: the unit, its record, and a digest; the live
one packs long arrays (`store.compact`), and reads entries of before, which are JSON throughout.

An entry whose digest does not match, or whose record cannot be its unit's answer (see `entries.read_record`), counts as
missing, and `problems` says so. Several processes and threads may read and write one store at once. A store that cannot
be written is read; what is measured is then kept in memory, up to a limit. Results of an earlier schema stay where they
are, named by `earlier`.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import diskcache

from .. import demo, limits, places
from ..errors import StoreError
from ..kinds.model import Model
from ..kinds.unit import SCHEMA, R, Unit
from ..places import SHIPPED
from ..records import ModelInfo, Record
from ..values import ModelId, TaskId
from . import opening
from .entries import (
    Deflated,
    Recent,
    canonical,
    differences,
    digest,
    inflate,
    is_rounded,
    json_size,
    pack,
    read_body,
    read_json,
    unpack,
)
from .opening import GENERATION, ForeignError, Row
from .shipped import Shipped

T = TypeVar("T")
KEPT_BYTES = 2**26  # of JSON: results that are kept in memory where nothing can be stored


def default_store() -> Store:
    """The store that pages and commands share: cache/live, or the folder named by HEADROOM_CACHE, over the shipped.

    A demo writes nothing into it.
    """
    return Store(places.live(), shipped=SHIPPED, why_not=demo.READ_ONLY if demo.on() else "")


# --- the store ----------------------------------------------------------------------------------


class Store:
    """Results by unit. Open one per process and share it between threads.

    Args:
        why_not: why nothing is to be stored in it, as the end of a sentence; empty where results are.

    Raises:
        StoreError: if the folder cannot be opened as a store.
    """

    def __init__(self, folder: str | Path, shipped: str | Path | None = None, why_not: str = "") -> None:
        self.folder = Path(folder)
        self._why_not = why_not
        self.shipped = Shipped(Path(shipped)) if shipped else None
        self._damage: dict[str, str] = {}
        self._catalogue: tuple[Any, dict[str, Unit[Any]]] = (None, {})
        self._earlier: dict[str, tuple[str, Any]] = {}  # by key, the catalogue's entry as it is and as it reads
        self._derived: dict[str, tuple[Any, Any]] = {}
        self._learned: dict[ModelId, ModelInfo] = {}
        self._recent = Recent()
        self._sound: dict[str, bytes] = {}  # by key, the digest of an entry that was read and found good
        self._kept: dict[str, tuple[Unit[Any], Record, int]] = {}  # where nothing can be written: what was measured
        self._told_once: list[str] = []  # what befell the file
        self._opening = threading.RLock()
        self._writes = threading.local()
        self._open()

    def _open(self) -> None:
        with self._told():
            opened = opening.open_store(self.folder, _worth_keeping, self._why_not)
        self._cache: Any = opened.cache
        self.read_only = opened.read_only  # why nothing can be stored; empty where it can
        self._told_once += opened.told
        self._file: tuple[int, int] | None = self._inode()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection; the store opens again when used."""
        self._cache.close()

    def get(self, unit: Unit[R]) -> R | None:
        """The unit's result; None if there is none or it is damaged."""
        if (found := self._live(unit)) is not None:
            return found
        if self.shipped and (shipped := self.shipped.get(unit, self.info)) is not None:
            return shipped
        return cast(R, kept[1]) if (kept := self._kept.get(unit.key)) else None

    def _live(self, unit: Unit[R]) -> R | None:
        """What `get` finds in the live store."""
        entry = self._entry(unit)
        if entry is None:
            return None
        if (known := self._recent.get(unit.key, entry)) is not None:
            return cast(R, known)
        try:
            body = inflate(entry[64:])
            stored, record = unpack(body, self._info_beside(unit))
            if stored.key != unit.key:
                raise StoreError("its entry belongs to another unit")
        except StoreError as error:
            self._note(unit, str(error))
            return None
        self._recent.keep(unit.key, entry, record, json_size(body))
        self._sound[unit.key] = entry[:64]
        return cast(R, record)

    def __contains__(self, unit: object) -> bool:
        """Whether an undamaged result is there: read once, and then again only where it has changed."""
        if not isinstance(unit, Unit):
            return False
        entry = self._entry(unit) if unit.key in self._sound else None
        return (entry is not None and entry[:64] == self._sound[unit.key]) or self.get(unit) is not None

    def info(self, model: ModelId) -> ModelInfo | None:
        """The shape of a model: as it is here, else as it is stored beside its results; None where nobody knows it."""
        if (known := self._learned.get(model.weights)) is not None:
            return known
        unit = Model(model)
        shipped = self.shipped.get(unit, self._learned.get) if self.shipped else None
        return shipped if shipped is not None else self._live(unit)

    def _info_beside(self, unit: Unit[Any]) -> Callable[[ModelId], ModelInfo | None]:
        """What a unit's record has to fit; a model's own record: what is known of the model otherwise."""
        if not isinstance(unit, Model):
            return self.info
        shipped = self.shipped.get(unit, self._learned.get) if self.shipped else None
        return lambda model: self._learned.get(model.weights, shipped)

    def learn(self, model: ModelId, info: ModelInfo) -> None:
        """Be told the shape of a model that is here: results of another shape are none of it."""
        if self._learned.get(model.weights) != info:
            self._learned[model.weights] = info
            self._forget()

    def _forget(self) -> None:
        """Look at results anew: what they have to fit has changed."""
        self._recent.clear()
        self._sound.clear()
        if self.shipped:
            self.shipped.forget()

    def put(self, unit: Unit[R], record: R, replace: bool = False) -> R:
        """Store a result and return the record as stored, floats rounded.

        Where the unit has a result that agrees to within rounding, that one stays and is returned. Where the store can
        only be read, the result is kept in memory until the process ends or others take its room.

        Raises:
            StoreError: if the unit has a different result and `replace` is not set, or the record cannot be the unit's
                answer, or a number is NaN or infinite, or the disk is full.
            BadInput: if the record is not of the unit's kind.
        """
        kept, generation = self._put(unit, record, replace)
        if generation is not None and self._catalogue[0] == (generation - 1, self._file):
            # the one change since: no need to read the whole catalogue again
            self._catalogue = (generation, self._file), {**self._catalogue[1], unit.key: unit}
        return kept

    def _keep(self, unit: Unit[R], record: R, size: int) -> R:
        """Keep a result where nothing can be stored, and forget those that have been kept longest."""
        with self._opening:
            self._kept.setdefault(unit.key, (unit, record, size))
            while sum(size for *_, size in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
                del self._kept[next(iter(self._kept))]
        return record

    def refuse_to_write(self) -> None:
        """Raises: StoreError: where nothing can be stored; why, and what to do."""
        if self.read_only:
            raise StoreError(f"Nothing can be stored or deleted here: {self.read_only}." if self._why_not else
                             f"The store in {self.folder} can only be read ({self.read_only}). Make the folder "
                             "writable, or name another one in HEADROOM_CACHE.")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """All that is written, or none. Raises: StoreError: where nothing can be stored."""
        self.refuse_to_write()
        with self._told():
            self._open_again()
            with self._cache.transact():
                self._writes.depth = getattr(self._writes, "depth", 0) + 1
                try:
                    yield
                finally:
                    self._writes.depth -= 1

    def put_all(self, results: Iterable[tuple[Unit[Any], Record | Deflated]], replace: bool = False) -> None:
        """Store several results, all or none. Raises: as `put`; also where the store can only be read.

        Args:
            results: each a record, or bytes that `unpack` has read and found to be the unit's answer: those of a new
                result go in as they are.
        """
        with self._writing():
            for unit, record in results:
                if not isinstance(record, Deflated):
                    self._put(unit, record, replace)
                elif isinstance(unit, Model) or not is_rounded(record.body) or self.get(unit) is not None:
                    self._put(unit, unpack(record.body, self._info_beside(unit))[1], replace)
                else:
                    self._write(unit, record.packed)

    def recomputing(self, unit: Unit[Any]) -> Recomputing:
        """This store as it would be without one result; what is put into it is not kept."""
        return Recomputing(self, unit)

    def delete(self, unit: Unit[Any]) -> bool:
        """Forget a result of the live store, if it is there; shipped ones stay."""
        return self.delete_all([unit]) == 1

    def delete_all(self, units: Iterable[Unit[Any]]) -> int:
        """Forget results of the live store, all or none; says how many there were."""
        gone = 0
        with self._writing():
            for unit in units:
                gone += bool(self._cache.delete(unit.key))
                self._cache.delete(_index(unit))
                self._cache.delete(_SECONDS + unit.key)
                self._damage.pop(unit.key, None)
            self._cache.incr(GENERATION)
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
        body = read_json(inflate(_undamaged(value)[64:]), limits.RESULT_BYTES, limits.RESULT_LISTS)
        if not isinstance(body, dict) or set(body) != {"unit", "record"}:
            raise StoreError("it is no stored result")
        if body["unit"] != self._earlier[key][1]:
            raise StoreError("its entry belongs to another unit")
        return body["record"]

    def earlier_time(self, key: str) -> float | None:
        """When one of them was stored, Unix time; None if it is not there."""
        with self._told(), opening.reading(self.folder / opening.FILE) as database:
            row = database.execute("SELECT store_time FROM Cache WHERE key = ?", (key,)).fetchone()
        return row[0] if row and isinstance(row[0], float) else None

    def take_over(self, key: str, unit: Unit[R], record: R) -> R:
        """Put the result of one of them under its new name, with the seconds that it took, and drop the old.

        Raises: as `put`; then nothing has changed.
        """
        with self._writing():
            kept, _ = self._put(unit, record)
            if (seconds := self._cache.get(_SECONDS + key)) is not None and self.seconds(unit) is None:
                self._cache.set(_SECONDS + unit.key, seconds)
            for name in (key, self._earlier[key][0], _SECONDS + key):
                self._cache.delete(name)
            self._cache.incr(GENERATION)
        return kept

    def live_units(self) -> list[Unit[Any]]:
        """What this machine computed or imported: the units that `delete` can remove."""
        return sorted(self._live_units().values(), key=lambda u: u.sort_key)

    def size_bytes(self) -> int:
        """What the live store takes on the disk."""
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())

    def problems(self) -> list[str]:
        """What was found damaged so far, one sentence each."""
        return [*self._told_once, *self._damage.values(), *(self.shipped.problems() if self.shipped else [])]

    def set_aside(self) -> list[Path]:
        """Folders with what was taken out of this store because it was damaged."""
        return sorted(path for path in (self.folder / opening.ASIDE).glob("*") if path.is_dir())

    def check(self) -> list[str]:
        """Read every entry, live ones, shipped ones and those behind others, then say what is damaged."""
        self.examine()
        return self.problems()

    def examine(self) -> Examined:
        """Read every row of the live store's file and every shipped result, however they are filed."""
        n_shipped = self.shipped.check(self.info) if self.shipped else 0
        known = self._live_units().keys() | self._earlier.keys()
        self._damage.clear()
        listed: dict[str, Row] = {}
        sound: dict[str, str] = {}  # by key, the description of a result that can be read
        damaged: list[Row] = []
        path, n_live = self.folder / opening.FILE, 0
        for row in opening.rows(path) if path.exists() else ():
            key = row.key or f"row {row.id}"
            if key.startswith(_INDEX):
                listed[key.removeprefix(_INDEX).partition(" ")[0]] = row
            elif row.is_result:
                n_live += 1
                try:
                    sound[key] = self._examine(row)
                except StoreError as error:
                    damaged.append(row.without_value)
                    self._damage[key] = self._sentence(self._catalogue[1].get(key, key), str(error))
            elif key != GENERATION and not _is_seconds(row):
                damaged.append(row)
                self._damage[key] = f"The store in {self.folder} holds something that is no result, under '{key[:60]}'."
        gone = {row.key for row in damaged}
        for key, row in listed.items():
            if key not in sound or key not in known:
                damaged.append(row)
                if key not in gone:
                    self._damage[key] = (f"The list of the store in {self.folder} names a result that is not there, or "
                                         f"not so: {str(row.key).partition(' ')[2][:200]}")
        unlisted = {f"{_INDEX}{key} {text}": "" for key, text in sound.items() if key not in listed or key not in known}
        for name in unlisted:
            self._damage[name] = (f"A result in {self.folder} is missing from its list: "
                                  f"{name.partition(' ')[2][:200]}")
        return Examined(n_live, n_shipped, damaged, list(unlisted.items()))

    def _examine(self, row: Row) -> str:
        """The description of a row's result. Raises: StoreError: if it is damaged, whatever schema wrote it."""
        assert row.key is not None
        body = inflate(_undamaged(row.value)[64:])
        if row.key in self._earlier:
            self.earlier_record(row.key)
            return canonical(self._earlier[row.key][1]).decode()
        unit, _ = unpack(body, self.info)
        if unit.key != row.key:
            raise StoreError("its entry belongs to another unit")
        return canonical(unit.to_json()).decode()

    def repair(self, found: Examined) -> Path | None:
        """Take what is damaged out of the live store, so that it can be measured again, and list what was not listed.

        Returns the folder in which what was taken out is kept; None where nothing was.

        Raises:
            StoreError: if the store can only be read.
        """
        self.refuse_to_write()
        with self._told():
            place = opening.set_rows_aside(self.folder, found.damaged, found.unlisted)
        self._damage.clear()
        self._catalogue = (None, {})  # the count of changes itself may be among what was taken out
        self._derived.clear()
        self._forget()
        return place

    # Seconds a unit took on this machine: for estimates, never exported.

    def put_seconds(self, unit: Unit[Any], seconds: float) -> None:
        """Remember how long a unit took here."""
        if self.read_only:
            return
        with self._told():
            self._cache.set(_SECONDS + unit.key, float(seconds))

    def seconds(self, unit: Unit[Any]) -> float | None:
        """How long a unit took on this machine; None if it was not computed here."""
        try:
            with self._told():
                value = self._cache.get(_SECONDS + unit.key)
        except ForeignError:
            return None
        return value if isinstance(value, float) and 0 <= value < math.inf else None

    # Helpers

    def _put(self, unit: Unit[R], record: R, replace: bool = False) -> tuple[R, int | None]:
        """As `put`; also the generation that this change began, None where nothing has changed."""
        body = pack(unit, record)
        new = cast(R, unpack(body, self._info_beside(unit))[1])
        if self.read_only:
            return self._keep(unit, new, json_size(body)), None
        with self._writing():
            old = self.get(unit)
            if old is not None and not replace and (unit.is_whole(old) or not unit.is_whole(new)):
                if told := differences(old, new, unit=unit):
                    raise StoreError(f"There is a different result of {unit} already ({'; '.join(told)}). "
                                     "It was kept; replace it on request only.")
                return old, None
            if old == new:
                return new, None
            entry, generation = self._write(unit, Deflated.of(body).packed)
        if isinstance(unit, Model):
            self._forget()
        self._recent.keep(unit.key, entry, new, json_size(body))
        return new, generation

    def _write(self, unit: Unit[Any], packed: bytes) -> tuple[bytes, int]:
        """Put a result's compressed bytes under its unit: the entry, and the generation that this change began."""
        entry = digest(packed).encode() + packed
        self._cache.set(unit.key, entry)
        self._cache.set(_index(unit), "")
        generation = self._cache.incr(GENERATION)
        self._damage.pop(unit.key, None)
        return entry, generation

    def _live_units(self) -> dict[str, Unit[Any]]:
        try:
            return self._list()
        except opening.Broken:  # while it was in use: what is good in it is taken into a new file
            return self._list()

    def _list(self) -> dict[str, Unit[Any]]:
        with self._told():
            self._open_again()
            generation = self._cache.get(GENERATION) or 0
            if self._catalogue[0] != (generation, self._file):
                known, units, earlier = self._catalogue[1], {}, {}
                for entry in self._cache:
                    if isinstance(entry, str) and entry.startswith(_INDEX):
                        key, _, text = entry.removeprefix(_INDEX).partition(" ")
                        try:
                            value = None if key in known else read_json(text.encode(), limits.UNIT_BYTES, 1000)
                            if isinstance(value, dict) and value.get("schema") in range(1, SCHEMA):
                                earlier[key] = entry, value
                                continue
                            unit = known.get(key) or Unit.from_json(value)
                            if unit.key != key:
                                raise StoreError("it is filed under another result's name.")
                            units[key] = unit
                        except (StoreError, ValueError, RecursionError) as error:
                            self._damage[key] = f"An entry of the store in {self.folder} was left out: {error}"
                self._catalogue, self._earlier = ((generation, self._file), units), earlier
        return self._catalogue[1]

    def _inode(self) -> tuple[int, int]:
        """Which file is open; nothing where there is none."""
        try:
            found = os.stat(self.folder / opening.FILE)
        except OSError:
            return 0, 0
        return found.st_dev, found.st_ino

    def _open_again(self) -> None:
        """Follow another process that has set the file aside, or somebody who deleted the folder; mend what broke."""
        if self._inode() != self._file and not getattr(self._writes, "depth", 0):
            with self._opening:
                if self._inode() != self._file:
                    self._open()

    def _entry(self, unit: Unit[Any]) -> bytes | None:
        """A digest, found right, and the compressed body that it is of."""
        try:
            with self._told():
                self._open_again()
                value = self._cache.get(unit.key)
            return None if value is None else _undamaged(value)
        except (ForeignError, opening.Broken, _DamagedEntry) as error:
            self._note(unit, str(error))
            return None

    def _note(self, unit: Unit[Any], what: str) -> None:
        self._damage[unit.key] = self._sentence(unit, what)

    @staticmethod
    def _sentence(unit: Unit[Any] | str, what: str) -> str:
        return f"The stored result of {unit} is damaged and counts as missing: {what.rstrip('.')}. Compute it again."

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database as sentences."""
        try:
            yield
        except diskcache.Timeout as error:
            raise StoreError(f"The store in {self.folder} is busy: another process has been writing for a minute. "
                             "Try again.") from error
        except (sqlite3.Error, OSError) as error:
            if opening.of_the_content(error):
                self._file = None  # opened anew, and mended, when it is used next
                raise opening.Broken(f"a part of the store's file cannot be read ({error})") from error
            raise StoreError(f"The store in {self.folder} cannot be used ({error}). Free some space, make the folder "
                             "writable, or name another one in HEADROOM_CACHE.") from error


@dataclass(frozen=True)
class Examined:
    """All of a store, looked at."""

    n_live: int
    n_shipped: int
    damaged: list[Row]  # of the live store's file: what `repair` takes out
    unlisted: list[tuple[str, Any]]  # sound results that the live store's list lacks: what `repair` adds


class _DamagedEntry(StoreError):
    """An entry whose digest does not match."""


def _undamaged(value: Any) -> bytes:
    """An entry: 64 digits and the compressed body. Raises: StoreError: if the digest is not the body's."""
    if value is None:
        raise _DamagedEntry(opening.FOREIGN)
    if not isinstance(value, bytes) or value[:64] != digest(value[64:]).encode():
        raise _DamagedEntry("its digest does not match its content")
    return value


def _is_seconds(row: Row) -> bool:
    return row.key is not None and row.key.startswith(_SECONDS) and isinstance(row.value, float)


def _worth_keeping(row: Row) -> Iterable[tuple[str, Any]]:
    """What a new file gets of a damaged one's row: a result whose digest matches, with its place in the list."""
    if _is_seconds(row):
        assert row.key is not None
        return [(row.key, row.value)]
    if not row.is_result:
        return []
    assert row.key is not None
    try:
        unit = read_body(inflate(_undamaged(row.value)[64:]))["unit"]
        return [(row.key, row.value), (f"{_INDEX}{row.key} {canonical(unit).decode()}", "")]
    except (StoreError, KeyError, TypeError):
        return []


class Recomputing:
    """A store that lacks one unit and keeps nothing: to derive a stored result again beside it."""

    def __init__(self, store: Store, without: Unit[Any]) -> None:
        self.store, self.without = store, without

    def get(self, unit: Unit[R]) -> R | None:
        return None if unit == self.without else self.store.get(unit)

    def put(self, unit: Unit[R], record: R) -> R:
        return cast(R, unpack(pack(unit, record), self.store.info)[1])

    def put_seconds(self, unit: Unit[Any], seconds: float) -> None:
        """Nothing: the first time counts."""


_INDEX, _SECONDS = "unit:", "seconds:"


def _index(unit: Unit[Any]) -> str:
    """The catalogue's entry of a unit: its key and its description."""
    return f"{_INDEX}{unit.key} {canonical(unit.to_json()).decode()}"
