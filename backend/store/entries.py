"""One stored result as bytes: canonical JSON of a unit and its record, the same bytes for equal results.

Values are JSON and nothing is ever unpickled, so that a store can come from someone else. Floats are rounded to 7
significant digits when they are put, about the precision of float32.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from .. import limits
from ..errors import BadInput, StoreError
from ..kinds.unit import R, Unit
from ..records import ModelInfo, Record
from ..values import ModelId

DIGITS = 7  # significant digits of a stored float
TOLERANCE = 1e-4  # of the largest number of a field: two machines' float32 results may differ by this much
_LONG = re.compile(rb"[1-9](?:\.?\d){%d}" % DIGITS)  # a number of more digits than these
Infos = Callable[[ModelId], ModelInfo | None]  # the shape of a model; None where nobody knows it
RECENT_BYTES = 2**24  # of JSON: the records read last, up to this much, are kept in memory (several times as large)


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


def is_rounded(body: bytes) -> bool:
    """Whether no float of a packed result has more than 7 significant digits; False, too, where that is not plain."""
    record, found, _ = body.rpartition(b',"unit":{')
    return bool(found) and body.startswith(b'{"record":') and not _LONG.search(record)


def pack(unit: Unit[Any], record: Record) -> bytes:
    """What is stored for a unit, before compression: canonical JSON of unit and rounded record.

    Raises:
        BadInput: if the record is not of the unit's kind.
        StoreError: if a number is NaN or infinite.
    """
    if not isinstance(record, unit.RECORD):
        raise BadInput(f"A {type(record).__name__} is not the answer to {unit}: a {unit.RECORD.__name__} is.")
    return canonical({"unit": unit.to_json(), "record": rounded(record.to_json())})


def unpack(body: bytes, infos: Infos = lambda model: None) -> tuple[Unit[Any], Record]:
    """What `pack` packed: the unit, and a record that can be its answer.

    Args:
        infos: the shapes of models, which records must fit.

    Raises:
        StoreError: if it is anything else, or of another schema; names what does not fit.
    """
    value = read_json(body, limits.RESULT_BYTES, limits.RESULT_LISTS)
    if not isinstance(value, Mapping) or set(value) != {"unit", "record"}:
        raise StoreError("Not a stored result: it is no unit with its record.")
    unit = Unit.from_json(value["unit"])
    return unit, read_record(unit, value["record"], infos(unit.model))


def read_record(unit: Unit[R], value: Any, info: ModelInfo | None) -> R:
    """A record that can be a unit's answer; the only way in for records from outside.

    Args:
        info: the shape of the unit's model; None where nobody knows it.

    Raises:
        StoreError: names the field that is missing, of another type or size, or does not fit.
    """
    try:
        record = unit.RECORD.from_json(value)
        unit.check(cast(R, record), info)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # BadInput is a ValueError
        raise StoreError(f"Not a stored result: {str(error).rstrip('.')}.") from error
    return cast(R, record)


def read_json(body: bytes, most_bytes: int, most_lists: int) -> Any:
    """JSON of which is known, before any of it is made, that it is not too much.

    Raises:
        StoreError: if it is none, or larger than allowed.
    """
    if len(body) > most_bytes:
        raise StoreError(f"It is larger than {most_bytes // 2**20} MiB.")
    if body.count(b"[") + body.count(b"{") > most_lists or body.count(b'"') > 4 * most_lists:
        raise StoreError(f"It holds more than {most_lists:,} lists and objects, or texts.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"Not a stored result: {str(error).rstrip('.')}.") from error


def differences(a: Record, b: Record, tolerance: float = TOLERANCE) -> list[str]:
    """Where two records differ by more than rounding, one sentence per field; empty when they agree.

    Floats may differ by `tolerance` of the largest number of their field. Choices between options that are about
    equally likely may fall the other way on another processor: of the fields in `NEAR_TIES`, one value in a hundred, or
    a single one. All else must be equal.
    """
    if type(a) is not type(b):
        return [f"one is a {type(a).__name__}, the other a {type(b).__name__}"]
    told = []
    left, right = a.to_json(), b.to_json()
    for name in {**left, **right}:  # a rare field may be in one alone
        x, y = list(_leaves(left.get(name, []))), list(_leaves(right.get(name, [])))
        if [p for p, _ in x] != [p for p, _ in y]:
            told.append(f"{name}: of different shapes")
            continue
        other = sum(p != q for (_, p), (_, q) in zip(x, y, strict=True) if not (_float(p) or _float(q)))
        if other > (max(1, len(x) // 100) if name in a.NEAR_TIES else 0):
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


def inflate(packed: bytes) -> bytes:
    """Decompress, up to as much as a result may be.

    Raises:
        StoreError: if it is no compressed data, or too much.
    """
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(packed, limits.RESULT_BYTES)
    except zlib.error as error:
        raise StoreError(f"It cannot be decompressed ({error}).") from error
    if not unpacker.eof:
        raise StoreError(f"It is cut short, or larger than {limits.RESULT_BYTES // 2**20} MiB.")
    return body


class Recent:
    """The records read last, each with the very content it was read from, so that pages need not parse it again."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, tuple[bytes, Record, int]] = OrderedDict()
        self._size, self._lock = 0, threading.Lock()

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._records.clear()
            self._size = 0

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


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file or none of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
