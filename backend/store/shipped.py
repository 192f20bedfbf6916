"""Results that come with the program: one JSON file per kind, one line per result; read when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from .. import limits
from ..errors import StoreError
from ..kinds.unit import KINDS, SCHEMA, R, Unit, with_needs
from ..records import Record
from .entries import Infos, Recent, canonical, digest, plain, read_json, read_record, replace_file


class Shipped:
    """Results that come with the program: one JSON file per kind, one line per result; read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._damage: dict[str, str] = {}
        self._read: dict[str, dict[str, dict[str, Any]]] = {}
        self._parsed: dict[str, dict[str, Unit[Any]]] = {}
        self._recent = Recent()
        self._checked: set[str] = set()  # keys whose digest was found right

    def entries(self, kind: str) -> dict[str, dict[str, Any]]:
        """The file of a kind: key -> {"unit", "record", "sha256"}; empty if there is none."""
        if kind not in self._read:
            self._file(kind)
        return self._read[kind]

    def __contains__(self, unit: object) -> bool:
        """Whether an undamaged result is there: its digest is checked, once."""
        return isinstance(unit, Unit) and self._body(unit) is not None

    def get(self, unit: Unit[R], infos: Infos = lambda model: None) -> R | None:
        """The unit's result; None if there is none or it is damaged.

        Args:
            infos: the shapes of models, which records must fit.
        """
        if (known := self._recent.get(unit.key, b"")) is not None:
            return cast(R, known)
        if (body := self._body(unit)) is None:
            return None
        try:
            record = read_record(unit, self.entries(unit.KIND)[unit.key]["record"], infos(unit.model))
            self._recent.keep(unit.key, b"", record, len(body))
            return record
        except StoreError as error:
            self._drop(unit, str(error))
            return None

    def forget(self) -> None:
        """Look at records anew: what they have to fit has changed."""
        self._recent.clear()

    def check(self, infos: Infos) -> int:
        """Read every result; says how many there are, the damaged ones among them. `problems` names these."""
        units = self.units()
        for unit in units:
            self.get(unit, infos)
        return len(units)

    def _body(self, unit: Unit[Any]) -> bytes | None:
        """The canonical bytes of a result whose digest matches; None if there is none such."""
        entry = self.entries(unit.KIND).get(unit.key)
        if entry is None:
            return None
        if unit.key in self._checked:
            return b""
        try:
            body = canonical({"unit": entry["unit"], "record": entry["record"]})
            if digest(body) != entry["sha256"]:
                raise StoreError("its digest does not match its content")
        except (StoreError, ValueError, KeyError, TypeError) as error:
            self._drop(unit, str(error))
            return None
        self._checked.add(unit.key)
        return body

    def _drop(self, unit: Unit[Any], why: str) -> None:
        self.entries(unit.KIND).pop(unit.key, None)
        self._parsed[unit.KIND].pop(unit.key, None)
        self._damage[unit.key] = (f"The shipped result of {unit} is damaged and counts as missing: "
                                  f"{why.rstrip('.')}.")

    def units(self, kind: str | None = None) -> list[Unit[Any]]:
        """What there is, of one kind or of all."""
        return [*self.by_key(kind).values()]

    def by_key(self, kind: str | None = None) -> dict[str, Unit[Any]]:
        """The same, by their keys."""
        found: dict[str, Unit[Any]] = {}
        for one in [kind] if kind is not None else [*KINDS]:
            self.entries(one)
            found |= self._parsed[one]
        return found

    def problems(self) -> list[str]:
        """What was found damaged so far, one sentence each."""
        return list(self._damage.values())

    def _file(self, kind: str) -> None:
        path = self.folder / f"{kind}.json"
        pairs = []
        try:
            value: Any = {"schema": SCHEMA, "results": []}
            if path.exists():
                if path.stat().st_size > limits.SHIPPED_BYTES:
                    raise StoreError(f"it is larger than {limits.SHIPPED_BYTES // 2**20} MiB")
                value = read_json(path.read_bytes(), limits.SHIPPED_BYTES, limits.SHIPPED_LISTS)
            if value["schema"] != SCHEMA:
                raise StoreError(f"it is of schema {value['schema']}, this version reads schema {SCHEMA}")
            pairs = [(Unit.from_json(entry["unit"]), entry) for entry in value["results"]]
            if odd := [unit for unit, _ in pairs if kind != unit.KIND]:
                raise StoreError(f"it holds results of another kind, for example {odd[0]}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, StoreError) as error:
            self._damage[kind] = f"The shipped results in {path} cannot be read and count as missing: {error}."
        self._parsed[kind] = {unit.key: unit for unit, _ in pairs}
        self._read[kind] = {unit.key: entry for unit, entry in pairs}
        if len(self._read[kind]) < len(pairs):
            self._damage[f"{kind} twice"] = f"The shipped results in {path} hold some results more than once."


def ship(folder: str | Path, results: Iterable[tuple[Unit[Any], Record]]) -> list[Path]:
    """Write results into the shipped files, beside what is there; equal results give equal bytes.

    Results of another state of the same model, or of other rows of the same task (or of one that they build on), are
    dropped.
    Returns the files, one per kind.

    Raises:
        StoreError: if a number is NaN or infinite, or a file cannot be written.
    """
    folder = Path(folder)
    new = {unit.key: (unit, plain(unit, record)) for unit, record in results}
    models = {u.model.name: u.model.weights for u, _ in new.values()}
    rows = {(u.model.name, u.task.name): u.task for u, _ in new.values() if u.task}
    old = Shipped(folder)
    kept = {u.key: (u, record.to_json()) for u in old.units()
            if models.get(u.model.name, u.model.weights) == u.model.weights
            and all(rows.get((u.model.name, task.name), task) == task for one in with_needs([u]) if (task := one.task))
            and (record := old.get(u)) is not None}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            entries = sorted((e for e in (kept | new).values() if kind == e[0].KIND),
                             key=lambda e: e[0].sort_key)
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


