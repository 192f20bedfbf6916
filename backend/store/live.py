"""Where results are kept: the only module that knows diskcache.

A live store (a folder with one SQLite file) lies over the shipped results (plain JSON files,
read-only). Both hold the same thing under a unit's key: the unit, its record, and a digest.

Values are JSON and nothing is ever unpickled, so that a store can come from someone else. Floats are
rounded to 7 significant digits when they are put, about the precision of float32: equal records are
then the same bytes. An entry whose digest does not match counts as missing, and `problems` says so.
Several processes and threads may read and write one store at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diskcache
import numpy as np

from backend.errors import BadInput, StoreError
from backend.results import KINDS, SCHEMA, Record, Setup, Unit

DIGITS = 7  # significant digits of a stored float
TOLERANCE = 1e-4  # of the largest number of a field: two machines' float32 results may differ by this much
MAX_BYTES = 2**30  # an entry that unpacks to more is refused
RECENT_BYTES = 2**24  # of JSON: the records read last, up to this much, are kept in memory (several times as large)

_ROOT = Path(__file__).resolve().parents[2]
SHIPPED = _ROOT / "cache" / "shipped"
LIVE = _ROOT / "cache" / "live"


def default_store() -> Store:
    """The store that pages and commands share: cache/live, or the folder named by HEADROOM_CACHE, over the shipped."""
    return Store(os.environ.get("HEADROOM_CACHE") or LIVE, shipped=SHIPPED)


# --- one entry ----------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """JSON with one spelling: sorted keys, no spaces, UTF-8.

    Raises:
        StoreError: if a number is NaN or infinite.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise StoreError("A result holds NaN or an infinite number and was not stored. In float16 that is an "
                         "overflow: use bfloat16 or float32.") from error


def digest(body: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def rounded(value: Any) -> Any:
    """The same JSON value, each float with 7 significant digits."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list | tuple) else value


def pack(unit: Unit, record: Record) -> bytes:
    """What is stored for a unit, before compression: canonical JSON of unit and rounded record.

    Raises:
        BadInput: if the record is not of the unit's kind.
        StoreError: if a number is NaN or infinite.
    """
    if not isinstance(record, KINDS[unit.kind]):
        raise BadInput(f"A {type(record).__name__} is not the answer to {unit}: a {KINDS[unit.kind].__name__} is.")
    return canonical({"unit": unit.to_json(), "record": rounded(record.to_json())})


def unpack(body: bytes) -> tuple[Unit, Record]:
    """What `pack` packed.

    Raises:
        StoreError: if it is anything else, or of another schema.
    """
    try:
        value = json.loads(body)
        unit = Unit.from_json(value["unit"])
        return unit, KINDS[unit.kind].from_json(value["record"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # BadInput is a ValueError
        raise StoreError(f"Not a stored result: {str(error).rstrip('.')}.") from error


def differences(a: Record, b: Record, tolerance: float = TOLERANCE) -> list[str]:
    """Where two records differ by more than rounding, one sentence per field; empty when they agree.

    Floats may differ by `tolerance` of the largest number of their field; all else must be equal.
    """
    if type(a) is not type(b):
        return [f"one is a {type(a).__name__}, the other a {type(b).__name__}"]
    told = []
    left, right = a.to_json(), b.to_json()
    for name in left:
        x, y = list(_leaves(left[name])), list(_leaves(right[name]))
        if [p for p, _ in x] != [p for p, _ in y]:
            told.append(f"{name}: of different shapes")
            continue
        other = sum(p != q for (_, p), (_, q) in zip(x, y, strict=True) if not (_float(p) or _float(q)))
        if other:
            told.append(f"{name}: {other} of {len(x)} values differ")
        numbers = np.array([(p, q) for (_, p), (_, q) in zip(x, y, strict=True) if _float(p) or _float(q)], float)
        if numbers.size:
            scale, gap = np.abs(numbers).max(), np.abs(numbers[:, 0] - numbers[:, 1]).max()
            if gap > tolerance * scale:
                told.append(f"{name}: up to {gap:.2g} apart, where the largest is {scale:.3g}")
    return told


def _float(value: Any) -> bool:
    return isinstance(value, float)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every plain value of a JSON value with the way to it."""
    if isinstance(value, Mapping):
        for k, v in value.items():
            yield from _leaves(v, (*path, k))
    elif isinstance(value, list | tuple):
        for i, v in enumerate(value):
            yield from _leaves(v, (*path, i))
    else:
        yield path, value


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
        self._catalogue: tuple[int, dict[str, Unit]] = (-1, {})
        self._recent = _Recent()
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

    def get(self, unit: Unit) -> Record | None:
        """The unit's result; None if there is none or it is damaged."""
        packed = self._packed(unit)
        if packed is not None:
            if (known := self._recent.get(unit.key, packed)) is not None:
                return known
            try:
                body = inflate(packed)
                stored, record = unpack(body)
                if stored.key == unit.key:
                    self._recent.keep(unit.key, packed, record, len(body))
                    return record
                self._note(unit, "its entry belongs to another unit")
            except StoreError as error:
                self._note(unit, str(error))
        return self.shipped.get(unit) if self.shipped else None

    def __contains__(self, unit: object) -> bool:
        """Whether an undamaged result is there: its digest is checked, its content not read."""
        return isinstance(unit, Unit) and (
            self._packed(unit) is not None or bool(self.shipped and unit.key in self.shipped.entries(unit.kind)))

    def put(self, unit: Unit, record: Record, replace: bool = False) -> Record:
        """Store a result and return the record as stored, floats rounded.

        Where the unit has a result that agrees to within rounding, that one stays and is returned.

        Raises:
            StoreError: if the unit has a different result and `replace` is not set, or a number is
                NaN or infinite, or the disk is full.
            BadInput: if the record is not of the unit's kind.
        """
        body = pack(unit, record)
        new = unpack(body)[1]
        with self._told(), self._cache.transact():
            old = self.get(unit)
            if old is not None and not replace:
                if told := differences(old, new):
                    raise StoreError(f"There is a different result of {unit} already ({'; '.join(told)}). "
                                     "It was kept; replace it on request only.")
                return old
            if old == new:
                return new
            packed = zlib.compress(body, 6)
            self._cache.set(unit.key, digest(packed).encode() + packed)
            self._cache.set(_index(unit), "")
            self._cache.incr(_GENERATION)
        self._damage.pop(unit.key, None)
        return new

    def put_all(self, results: Iterable[tuple[Unit, Record]], replace: bool = False) -> None:
        """Store several results, all or none. Raises: as `put`."""
        with self._told(), self._cache.transact():
            for unit, record in results:
                self.put(unit, record, replace)

    def recomputing(self, unit: Unit) -> Recomputing:
        """This store as it would be without one result; what is put into it is not kept."""
        return Recomputing(self, unit)

    def delete(self, unit: Unit) -> bool:
        """Forget a result of the live store, if it is there; shipped ones stay."""
        return self.delete_all([unit]) == 1

    def delete_all(self, units: Iterable[Unit]) -> int:
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

    def units(self, **filters: Any) -> list[Unit]:
        """What is stored, live and shipped, in a fixed order.

        Args:
            filters: `kind`, `ablation`, any field of `Setup`, or any option of the kind (ranking, variant, ...):
                keep the units where each equals the value given; a list or set means any of them.

        Raises:
            StoreError: if the live store cannot be read.
        """
        found = dict(self._live_units())
        if self.shipped:
            found = {u.key: u for u in self.shipped.units(filters.get("kind"))} | found
        tests = [(name, set(wanted) if isinstance(wanted, list | set | tuple | frozenset) else {wanted})
                 for name, wanted in filters.items()]
        return sorted((u for u in found.values() if all(_value(u, name) in wanted for name, wanted in tests)),
                      key=_sort_key)

    def live_units(self) -> list[Unit]:
        """What this machine computed or imported: the units that `delete` can remove."""
        return sorted(self._live_units().values(), key=_sort_key)

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

    def put_seconds(self, unit: Unit, seconds: float) -> None:
        """Remember how long a unit took here."""
        with self._told():
            self._cache.set(_SECONDS + unit.key, float(seconds))

    def seconds(self, unit: Unit) -> float | None:
        """How long a unit took on this machine; None if it was not computed here."""
        with self._told():
            value = self._cache.get(_SECONDS + unit.key)
        return value if isinstance(value, float) else None

    # Helpers

    def _live_units(self) -> dict[str, Unit]:
        with self._told():
            generation = self._cache.get(_GENERATION) or 0
            if self._catalogue[0] != generation:
                known, units = self._catalogue[1], {}
                for entry in self._cache:
                    if isinstance(entry, str) and entry.startswith(_INDEX):
                        key, _, text = entry.removeprefix(_INDEX).partition(" ")
                        try:
                            units[key] = known.get(key) or Unit.from_json(json.loads(text))
                        except (StoreError, ValueError) as error:
                            self._damage[key] = f"An entry of the store in {self.folder} was left out: {error}"
                self._catalogue = (generation, units)
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

    def _note(self, unit: Unit, what: str) -> None:
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


class _Recent:
    """The records read last, each with the very content it was read from, so that pages need not parse it again."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, tuple[bytes, Record, int]] = OrderedDict()
        self._size, self._lock = 0, threading.Lock()

    def get(self, key: str, content: bytes) -> Record | None:
        """What this content was last time; None if it is not known, or another."""
        with self._lock:
            known = self._records.get(key)
            if known is None or known[0] != content:
                return None
            self._records.move_to_end(key)
            return known[1]

    def keep(self, key: str, content: bytes, record: Record, size: int) -> None:
        """Remember a record that was `size` bytes of JSON, and forget those that were not asked for longest."""
        with self._lock:
            self._size += size - self._records.pop(key, (b"", record, 0))[2]
            self._records[key] = (content, record, size)
            while self._size > RECENT_BYTES:
                self._size -= self._records.popitem(last=False)[1][2]


class Recomputing:
    """A store that lacks one unit and keeps nothing: to derive a stored result again beside it."""

    def __init__(self, store: Store, without: Unit) -> None:
        self.store, self.without = store, without

    def get(self, unit: Unit) -> Record | None:
        return None if unit == self.without else self.store.get(unit)

    def put(self, unit: Unit, record: Record) -> Record:
        return unpack(pack(unit, record))[1]

    def put_seconds(self, unit: Unit, seconds: float) -> None:
        """Nothing: the first time counts."""


def inflate(packed: bytes) -> bytes:
    """Decompress, up to `MAX_BYTES`.

    Raises:
        StoreError: if it is no compressed data, or too much.
    """
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(packed, MAX_BYTES)
    except zlib.error as error:
        raise StoreError(f"It cannot be decompressed ({error}).") from error
    if not unpacker.eof:
        raise StoreError(f"It is cut short, or larger than {MAX_BYTES // 2**20} MiB.")
    return body


_INDEX, _SECONDS, _GENERATION = "unit:", "seconds:", "generation"
_SETUP_FIELDS = frozenset(Setup.__dataclass_fields__)


def _index(unit: Unit) -> str:
    """The catalogue's entry of a unit: its key and its description."""
    return f"{_INDEX}{unit.key} {canonical(unit.to_json()).decode()}"


def _value(unit: Unit, name: str) -> Any:
    if name in ("kind", "ablation"):
        return getattr(unit, name)
    return getattr(unit.setup, name) if name in _SETUP_FIELDS else unit.option(name)


def _sort_key(unit: Unit) -> tuple[Any, ...]:
    return list(KINDS).index(unit.kind), unit.setup, unit.options, str(unit.ablation)


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


# --- shipped results ----------------------------------------------------------------------------


class Shipped:
    """Results that come with the program: one JSON file per kind, one line per result; read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._damage: dict[str, str] = {}
        self._read: dict[str, dict[str, dict[str, Any]]] = {}
        self._parsed: dict[str, dict[str, Unit]] = {}
        self._recent = _Recent()

    def entries(self, kind: str) -> dict[str, dict[str, Any]]:
        """The file of a kind: key -> {"unit", "record", "sha256"}; empty if there is none."""
        if kind not in self._read:
            self._file(kind)
        return self._read[kind]

    def get(self, unit: Unit) -> Record | None:
        """The unit's result; None if there is none or it is damaged."""
        entry = self.entries(unit.kind).get(unit.key)
        if entry is None:
            return None
        if (known := self._recent.get(unit.key, b"")) is not None:
            return known
        try:
            body = canonical({"unit": entry["unit"], "record": entry["record"]})
            if digest(body) != entry["sha256"]:
                raise StoreError("its digest does not match its content")
            record = KINDS[unit.kind].from_json(entry["record"])
            self._recent.keep(unit.key, b"", record, len(body))
            return record
        except (StoreError, ValueError, KeyError, TypeError, AttributeError) as error:
            del self.entries(unit.kind)[unit.key]
            self._damage[unit.key] = f"The shipped result of {unit} is damaged and counts as missing: {error}."
            return None

    def units(self, kind: Any = None) -> list[Unit]:
        """What there is, of one kind or of all."""
        kinds = [kind] if isinstance(kind, str) and kind in KINDS else KINDS
        return [self._parsed[k][key] for k in kinds for key in self.entries(k)]

    def problems(self) -> list[str]:
        """What was found damaged so far, one sentence each."""
        return list(self._damage.values())

    def _file(self, kind: str) -> None:
        path = self.folder / f"{kind}.json"
        pairs = []
        try:
            value: Any = json.loads(path.read_bytes()) if path.exists() else {"schema": SCHEMA, "results": []}
            if value["schema"] != SCHEMA:
                raise StoreError(f"it is of schema {value['schema']}, this version reads schema {SCHEMA}")
            pairs = [(Unit.from_json(entry["unit"]), entry) for entry in value["results"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StoreError) as error:
            self._damage[kind] = f"The shipped results in {path} cannot be read and count as missing: {error}."
        self._parsed[kind] = {unit.key: unit for unit, _ in pairs}
        self._read[kind] = {unit.key: entry for unit, entry in pairs}


def ship(folder: str | Path, results: Iterable[tuple[Unit, Record]]) -> list[Path]:
    """Write results into the shipped files, beside what is there; equal results give equal bytes.

    Results of an earlier revision of the same model, or of other rows of the same task, are dropped.
    Returns the files, one per kind.

    Raises:
        StoreError: if a number is NaN or infinite, or a file cannot be written.
    """
    folder = Path(folder)
    new = {unit.key: (unit, rounded(record.to_json())) for unit, record in results}
    revisions = {u.setup.model: u.setup.revision for u, _ in new.values()}
    data = {(u.setup.model, u.setup.task): u.setup.data for u, _ in new.values()}
    old = Shipped(folder)
    kept = {u.key: (u, record.to_json()) for u in old.units()
            if revisions.get(u.setup.model, u.setup.revision) == u.setup.revision
            and data.get((u.setup.model, u.setup.task), u.setup.data) == u.setup.data
            and (record := old.get(u)) is not None}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            entries = sorted((e for e in (kept | new).values() if e[0].kind == kind), key=lambda e: _sort_key(e[0]))
            path = folder / f"{kind}.json"
            if entries:
                lines = b",\n".join(_line(unit.to_json(), record) for unit, record in entries)
                replace_file(path, b'{"schema":%d,"results":[\n%s\n]}\n' % (SCHEMA, lines))
                written.append(path)
            elif path.exists():
                path.unlink()
    except OSError as error:
        raise StoreError(f"The shipped results in {folder} cannot be written: {error}.") from error
    return written


def _line(unit: dict[str, Any], record: dict[str, Any]) -> bytes:
    """One shipped result: what it is, its digest, then the numbers."""
    body = canonical({"unit": unit, "record": record})
    return b'{"unit":%s,"sha256":"%s","record":%s}' % (canonical(unit), digest(body).encode(), canonical(record))


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file or none of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
