"""Results that come with the program: one JSON file per kind, one line per result.

Which results there are is read off the beginnings of the lines; the numbers behind them, most of the bytes, when they
are asked for. A file that is written in another way (by hand, by a formatter) is read whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from .. import limits
from ..errors import StoreError
from ..kinds.unit import KINDS, SCHEMA, R, Unit, with_needs
from ..records import Record
from .entries import Infos, Recent, canonical, digest, plain, read_json, read_record, replace_file

_HEAD, _TAIL = b'{"schema":%d,"results":[\n' % SCHEMA, b"\n]}\n"
_LINE = re.compile(rb'\{"unit":(\{.*?\}),"sha256":"([0-9a-f]{64})","record":(.*)\}', re.DOTALL)


class _Line(NamedTuple):
    """A result as it stands in its file: canonical JSON of its unit and its record, and the digest of both."""

    unit: bytes
    sha256: str
    record: bytes


class Shipped:
    """What is in the folder of shipped results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._damage: dict[str, str] = {}
        self._lines: dict[str, dict[str, _Line]] = {}  # kind -> key -> line
        self._units: dict[str, dict[str, Unit[Any]]] = {}
        self._recent = Recent()
        self._checked: set[str] = set()  # keys whose digest was found right

    def __contains__(self, unit: object) -> bool:
        """Whether an undamaged result is there: its digest is checked, once."""
        return isinstance(unit, Unit) and self._line(unit) is not None

    def get(self, unit: Unit[R], infos: Infos = lambda model: None) -> R | None:
        """The unit's result; None if there is none or it is damaged.

        Args:
            infos: the shapes of models, which records must fit.
        """
        if (known := self._recent.get(unit.key, b"")) is not None:
            return cast(R, known)
        if (line := self._line(unit)) is None:
            return None
        try:
            value = read_json(line.record, limits.RESULT_BYTES, limits.RESULT_LISTS)
            record = read_record(unit, value, infos(unit.model))
            self._recent.keep(unit.key, b"", record, len(line.record))
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

    def _line(self, unit: Unit[Any]) -> _Line | None:
        """The line of a result whose digest matches; None if there is none such."""
        line = self._of(unit.KIND).get(unit.key)
        if line is None or unit.key in self._checked:
            return line
        if digest(b'{"record":%s,"unit":%s}' % (line.record, line.unit)) != line.sha256:
            self._drop(unit, "its digest does not match its content")
            return None
        self._checked.add(unit.key)
        return line

    def _drop(self, unit: Unit[Any], why: str) -> None:
        self._lines[unit.KIND].pop(unit.key, None)
        self._units[unit.KIND].pop(unit.key, None)
        self._damage[unit.key] = (f"The shipped result of {unit} is damaged and counts as missing: "
                                  f"{why.rstrip('.')}.")

    def units(self, kind: str | None = None) -> list[Unit[Any]]:
        """What there is, of one kind or of all."""
        return [*self.by_key(kind).values()]

    def by_key(self, kind: str | None = None) -> dict[str, Unit[Any]]:
        """The same, by their keys."""
        found: dict[str, Unit[Any]] = {}
        for one in [kind] if kind is not None else [*KINDS]:
            self._of(one)
            found |= self._units[one]
        return found

    def problems(self) -> list[str]:
        """What was found damaged so far, one sentence each."""
        return list(self._damage.values())

    def _of(self, kind: str) -> dict[str, _Line]:
        """The lines of a kind's file by their keys; empty if there is none."""
        if kind not in self._lines:
            self._look(kind)
        return self._lines[kind]

    def _look(self, kind: str) -> None:
        path = self.folder / f"{kind}.json"
        pairs = []
        try:
            if path.exists():
                if path.stat().st_size > limits.SHIPPED_BYTES:
                    raise StoreError(f"it is larger than {limits.SHIPPED_BYTES // 2**20} MiB")
                content = path.read_bytes()
                lines = _as_shipped(content) or _as_json(content)
                pairs = [(Unit.from_json(read_json(line.unit, limits.UNIT_BYTES, limits.RESULT_LISTS)), line)
                         for line in lines]
            if odd := [unit for unit, _ in pairs if kind != unit.KIND]:
                raise StoreError(f"it holds results of another kind, for example {odd[0]}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, StoreError) as error:
            self._damage[kind] = f"The shipped results in {path} cannot be read and count as missing: {error}."
            pairs = []
        self._units[kind] = {unit.key: unit for unit, _ in pairs}
        self._lines[kind] = {unit.key: line for unit, line in pairs}
        if len(self._lines[kind]) < len(pairs):
            self._damage[f"{kind} twice"] = f"The shipped results in {path} hold some results more than once."


def _as_shipped(content: bytes) -> list[_Line] | None:
    """The lines of a file as `ship` writes them, none of them parsed; None where anything is written otherwise."""
    if not (content.startswith(_HEAD) and content.endswith(_TAIL)):
        return None
    found = [_LINE.fullmatch(line) for line in content[len(_HEAD):-len(_TAIL)].split(b",\n")]
    if not all(found):
        return None
    return [_Line(one[1], one[2].decode(), one[3]) for one in found if one]


def _as_json(content: bytes) -> list[_Line]:
    """The same of any JSON that says it. Raises: StoreError, KeyError, TypeError, ...: if it does not."""
    value = read_json(content, limits.SHIPPED_BYTES, limits.SHIPPED_LISTS)
    if value["schema"] != SCHEMA:
        raise StoreError(f"it is of schema {value['schema']}, this version reads schema {SCHEMA}")
    return [_Line(canonical(entry["unit"]), str(entry.get("sha256")), canonical(entry.get("record")))
            for entry in value["results"]]


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
                replace_file(path, _HEAD + b",\n".join(_written(unit, record) for unit, record in entries) + _TAIL)
                written.append(path)
            elif path.exists():
                path.unlink()
    except OSError as error:
        raise StoreError(f"The shipped results in {folder} cannot be written: {error}.") from error
    return written


def _written(unit: Unit[Any], record: dict[str, Any]) -> bytes:
    """One shipped result: what it is, its digest, then the numbers."""
    what, body = canonical(unit.to_json()), canonical({"unit": unit.to_json(), "record": record})
    return b'{"unit":%s,"sha256":"%s","record":%s}' % (what, digest(body).encode(), canonical(record))
