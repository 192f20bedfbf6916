"""One stored result as bytes: canonical JSON of a unit and its record, the same bytes for equal results.

Long arrays of numbers stand in it as bytes (`store.compact`); what is read is the same. Nothing is ever unpickled, so
that a store can come from someone else.

Floats are rounded to 7 significant digits when they are put, about the precision of float32. Of a model that was run in
16 bits, whose activations have 8 significant bits (bfloat16) or 11 (float16), the fields that a record names in `MANY`
keep 3 or 4: there, on the bundled model, bfloat16 moves a number by 3 % and float16 by 0.5 %, and the sums that are
told of them by about as much, while so few digits move these sums by 0.03 % and 0.003 %. Everything else keeps 7.
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
from typing import Any, NamedTuple, Self, cast

import numpy as np

from .. import limits
from ..arrays import Real
from ..errors import BadInput, StoreError
from ..kinds.unit import R, Unit
from ..records import ModelInfo, Record, to_plain
from ..values import ModelId
from . import compact

DIGITS = 7  # significant digits of a stored float
DIGITS_OF_MANY = {"bfloat16": 3, "float16": 4}  # of the fields in `MANY`, by the model's precision; else `DIGITS`
TOLERANCE = 1e-4  # of the largest number of a field: two machines' float32 results may differ by this much
_LONG = re.compile(rb"[1-9](?:\.?\d){%d}" % DIGITS)  # a number of more digits than these
Infos = Callable[[ModelId], ModelInfo | None]  # the shape of a model; None where nobody knows it
_NOT_FINITE = ("A result holds NaN or an infinite number and was not stored. In float16 that is an overflow: use "
               "bfloat16 or float32.")
RECENT_BYTES = 2**24  # of JSON: the records read last, up to this much, are kept in memory (several times as large)


def canonical(value: Any) -> bytes:
    """JSON with one spelling: sorted keys, no spaces, UTF-8.

    Raises:
        StoreError: if a number is NaN or infinite.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise StoreError(_NOT_FINITE) from error


def digest(body: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def digits(unit: Unit[Any], field: str) -> tuple[int, bool]:
    """To how many significant digits the floats of a record's field are kept; and whether it is the largest along its
    first axis that has so many, and the others of its place as many decimals."""
    kind = unit.RECORD
    if unit.model.dtype not in DIGITS_OF_MANY or field not in (*kind.MANY, *kind.SUMMED):
        return DIGITS, False
    return DIGITS_OF_MANY[unit.model.dtype], field in kind.SUMMED


_WHOLE = frozenset((int, bool, str, type(None)))  # what is never rounded


def rounded(value: Any, n_digits: int = DIGITS, summed: bool = False, blobs: list[bytes] | None = None) -> Any:
    """The same JSON value, each float with so many significant digits.

    Args:
        summed: as `digits` says it; what is no long array keeps `DIGITS` then.
        blobs: takes the bytes of long arrays, which are described in their place; None: these stay lists.

    Raises:
        StoreError: if a number of a long array is NaN or infinite.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{n_digits}g}")
    if isinstance(value, Mapping):
        return {k: rounded(value[k], n_digits, summed, blobs) for k in sorted(value)}
    if not isinstance(value, list | tuple | np.ndarray):
        return value
    if (array := compact.array_of(value)) is None:
        if blobs is not None and (masks := compact.masks_bytes(value)) is not None:
            blobs.append(masks[1])
            return {compact.MARK: masks[0]}
        n_digits, kinds = DIGITS if summed else n_digits, set(map(type, value))
        if kinds <= _WHOLE:
            return list(value)
        if kinds == {float}:
            return [float(f"{v:.{n_digits}g}") for v in value]
        return [rounded(v, n_digits, False, blobs) for v in value]
    try:
        if blobs is not None:
            told, body = compact.array_bytes(array, n_digits, summed)
            blobs.append(body)
            return {compact.MARK: told}
        return (array if array.dtype.kind == "i" else compact.rounded_array(array, n_digits, summed)).tolist()
    except ValueError as error:
        raise StoreError(_NOT_FINITE) from error


def plain(unit: Unit[Any], record: Record, blobs: list[bytes] | None = None) -> dict[str, Any]:
    """A unit's record as JSON, each field rounded as it is kept. Args and Raises: as `rounded`."""
    return {name: rounded(value, *digits(unit, name), blobs)
            for name, value in sorted(to_plain(record, arrays=True).items())}


def is_rounded(body: bytes) -> bool:
    """Whether no float of a packed result has more than 7 significant digits; False, too, where that is not plain."""
    text = compact.split(body)[0] if compact.is_compact(body) else body  # arrays hold no more digits
    record, found, _ = text.rpartition(b',"unit":{')
    return bool(found) and text.startswith(b'{"record":') and not _LONG.search(record)


def pack(unit: Unit[Any], record: Record) -> bytes:
    """What is stored for a unit, before compression: canonical JSON of unit and rounded record, long arrays behind it.

    Raises:
        BadInput: if the record is not of the unit's kind.
        StoreError: if a number is NaN or infinite.
    """
    if not isinstance(record, unit.RECORD):
        raise BadInput(f"A {type(record).__name__} is not the answer to {unit}: a {unit.RECORD.__name__} is.")
    blobs: list[bytes] = []
    body = canonical({"unit": unit.to_json(), "record": plain(unit, record, blobs)})
    return b"".join([compact.MAGIC, body, b"\n", *blobs]) if blobs else body


def unpack(body: bytes, infos: Infos = lambda model: None) -> tuple[Unit[Any], Record]:
    """What `pack` packed: the unit, and a record that can be its answer.

    Args:
        infos: the shapes of models, which records must fit.

    Raises:
        StoreError: if it is anything else, or of another schema; names what does not fit.
    """
    value = read_body(body)
    unit = Unit.from_json(value["unit"])
    return unit, read_record(unit, value["record"], infos(unit.model))


def read_body(body: bytes) -> dict[str, Any]:
    """The unit and the record of what `pack` packed, as JSON; long arrays of the record are arrays.

    Raises:
        StoreError: if it is anything else, or larger than allowed.
    """
    text, arrays = compact.split(body) if compact.is_compact(body) else (body, None)
    if len(body) > limits.RESULT_BYTES:
        raise StoreError(f"It is larger than {limits.RESULT_BYTES // 2**20} MiB.")
    filling = None if arrays is None else compact.Filling(arrays)
    value = read_json(text, limits.RESULT_BYTES, limits.RESULT_LISTS, filling)
    if not isinstance(value, dict) or set(value) != {"unit", "record"}:
        raise StoreError("Not a stored result: it is no unit with its record.")
    if filling is not None and filling.left:
        raise StoreError("Not a stored result: it holds bytes that are no array's.")
    return value


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


def read_json(body: bytes, most_bytes: int, most_lists: int,
              each: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """JSON of which is known, before any of it is made, that it is not too much.

    Args:
        each: what an object of it means, inner ones first.

    Raises:
        StoreError: if it is none, or larger than allowed.
    """
    if len(body) > most_bytes:
        raise StoreError(f"It is larger than {most_bytes // 2**20} MiB.")
    if body.count(b"[") + body.count(b"{") > most_lists or body.count(b'"') > 4 * most_lists:
        raise StoreError(f"It holds more than {most_lists:,} lists and objects, or texts.")
    try:
        return json.loads(body, object_hook=each)
    except (ValueError, RecursionError, StoreError) as error:
        raise StoreError(f"Not a stored result: {str(error).rstrip('.')}.") from error


def differences(a: Record, b: Record, tolerance: float = TOLERANCE, unit: Unit[Any] | None = None) -> list[str]:
    """Where two records differ by more than rounding, one sentence per field; empty when they agree.

    Floats may differ by `tolerance` of the largest number of their field. Choices between options that are about
    equally likely may fall the other way on another processor: of the fields in `NEAR_TIES`, one value in a hundred, or
    a single one. All else must be equal.

    Args:
        unit: whose records they are; where it keeps fewer digits of a field, numbers may also differ by one in the last
            of these.
    """
    if type(a) is not type(b):
        return [f"one is a {type(a).__name__}, the other a {type(b).__name__}"]
    told = []
    left, right = to_plain(a, arrays=True), to_plain(b, arrays=True)
    for name in {**left, **right}:  # a rare field may be in one alone
        found = _beside(left.get(name, []), right.get(name, []))
        if found is None:
            told.append(f"{name}: of different shapes")
            continue
        n, other, numbers = found
        if other > (max(1, n // 100) if name in a.NEAR_TIES else 0):
            told.append(f"{name}: {other} of {n} values differ")
        if numbers.size:
            scale, gaps = np.abs(numbers).max(), np.abs(numbers[:, 0] - numbers[:, 1])
            last = _last_digit(numbers, *digits(unit, name), left.get(name)) if unit is not None else 0.0
            gap = gaps[gaps > tolerance * scale + last]
            if gap.size:
                told.append(f"{name}: up to {gap.max():.2g} apart, where the largest is {scale:.3g}")
    return told


def _last_digit(numbers: Real[np.ndarray, "n 2"], kept: int, summed: bool, value: Any,
                ) -> Real[np.ndarray, " n"] | float:
    """By how much two roundings of about the same numbers differ at most, where few digits are kept: one and a half in
    the last of them, for one of the two may have been rounded never."""
    if kept == DIGITS:
        return 0.0
    largest = np.abs(numbers).max(1)
    if summed and (array := compact.array_of(value)) is not None and array.ndim > 1:
        largest = np.broadcast_to(largest.reshape(array.shape).max(0), array.shape).reshape(-1)
    return np.asarray(1.5 * 10.0 ** (1 - kept) * largest)


def _beside(left: Any, right: Any) -> tuple[int, int, Real[np.ndarray, "n 2"]] | None:
    """Of two JSON values of one shape: how many numbers and texts each holds, how many that are no floats differ, and
    the floats side by side; None where their shapes differ."""
    one, two = compact.array_of(left), compact.array_of(right)
    if one is not None and two is not None and one.shape == two.shape:
        if one.dtype.kind == two.dtype.kind == "i":
            return one.size, int((one != two).sum()), np.zeros((0, 2))
        return one.size, 0, np.stack([one.reshape(-1), two.reshape(-1)], 1).astype(float)
    x, y = list(_leaves(left)), list(_leaves(right))
    if [p for p, _ in x] != [p for p, _ in y]:
        return None
    pairs = [(p, q) for (_, p), (_, q) in zip(x, y, strict=True)]
    floats = np.array([pair for pair in pairs if _float(pair[0]) or _float(pair[1])], float).reshape(-1, 2)
    return len(x), sum(p != q for p, q in pairs if not (_float(p) or _float(q))), floats


def _float(value: Any) -> bool:
    return isinstance(value, float)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every plain value of a JSON value with the way to it."""
    if isinstance(value, Mapping):
        for k, v in value.items():
            yield from _leaves(v, (*path, k))
    elif isinstance(value, list | tuple | np.ndarray):
        for i, v in enumerate(value):
            yield from _leaves(v, (*path, i))
    else:
        yield path, value


def json_size(body: bytes) -> int:
    """About how many bytes of JSON a packed result is: what it takes in memory is several times as much."""
    if not compact.is_compact(body):
        return len(body)
    text, arrays = compact.split(body)
    return len(text) + 3 * len(arrays)


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


class Deflated(NamedTuple):
    """The bytes of a result, and the same compressed, as a store keeps them."""

    body: bytes
    packed: bytes

    @classmethod
    def of(cls, body: bytes) -> Self:
        return cls(body, zlib.compress(body, 6))

    @classmethod
    def from_raw(cls, raw: bytes, most: int) -> Self | None:
        """What stands in a zip; None if it is no whole stream, something follows it, or it is more than `most` bytes.
        """
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            body = unpacker.decompress(raw, most + 1)
        except zlib.error:
            return None
        if not unpacker.eof or unpacker.unused_data or len(body) > most:
            return None
        return cls(body, b"\x78\xda" + raw + zlib.adler32(body).to_bytes(4, "big"))  # head and tail as of RFC 1950


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
