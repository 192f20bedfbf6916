"""What lies in people's files: bytes, text and JSON, read so that every fault is a sentence.

A file is known by its path and its stamp, so that what was read of it can be kept and an edited or replaced file is
seen at once.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DataError

Stamp = tuple[int, ...]

DEEPEST = 100  # levels of lists and objects; a row has a handful, and Python gives up near a thousand


def stamp(path: Path) -> Stamp | None:
    """(size, times, number) of a file as it is now; None where no file is. Costs microseconds.

    Beside size and time of change, the file's own number: a file put in another's place may carry its times.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a name that no file can have is none
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def read_text(path: Path) -> str:
    """A file's text. Raises: DataError: if it cannot be read, or is not UTF-8."""
    try:
        return decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error


def decoded(raw: str | bytes, where: str) -> str:
    """Text, or bytes as text, with `\\n` at the end of every line and no byte order mark.

    Raises:
        DataError: bytes that are not UTF-8, text that cannot be written as UTF-8.
    """
    try:
        if isinstance(raw, bytes):
            text = raw.decode("utf-8")
        else:
            (text := raw).encode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        unit = "byte" if isinstance(raw, bytes) else "character"
        raise DataError(f"{where} is not text in UTF-8 ({unit} {error.start}). Save it as UTF-8.") from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def json_lines(text: str, where: str) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of every line that is not blank.

    Raises:
        DataError: naming the first line that is no JSON, or holds what no text or number is.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{where}, line {number}"
            try:
                yield number, json_value(line, place)
            except json.JSONDecodeError as error:
                raise DataError(f"{place}: not valid JSON ({error.msg}, column {error.colno}). "
                                "Each line must be one complete JSON object.") from error


def json_value(text: str, place: str) -> Any:
    """The one value that a text holds.

    Raises:
        json.JSONDecodeError: if it holds none, or something behind it.
        DataError: values that JSON does not have or that cannot be used: NaN and infinities, numbers of thousands of
            digits, lists in lists a hundred deep, halves of characters.
    """
    value, rest = json_start(text, place)
    if rest.strip():
        raise json.JSONDecodeError("Extra data", text, len(text) - len(rest))
    return value


def json_start(text: str, place: str) -> tuple[Any, str]:
    """(the value that a text begins with, the text behind it). Raises: as `json_value`."""
    start = len(text) - len(text.lstrip(" \t\n\r"))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise DataError(f"{place}: lists or objects nested more than {DEEPEST} deep. {_PLAIN}") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # NaN by our own hand; integers beyond Python's limit of digits
        reason = str(error) if str(error).startswith("NaN") else "a number of thousands of digits"
        raise DataError(f"{place}: {reason}. {_PLAIN}") from None
    read = text[start:end]
    if read.count("[") + read.count("{") > DEEPEST and _deeper_than(DEEPEST, value):
        raise DataError(f"{place}: lists or objects nested more than {DEEPEST} deep. {_PLAIN}")
    if "\\ud" in read or "\\uD" in read:  # halves of pairs, which may be whole
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataError(f"{place}: half of a character (a lone \\ud800 to \\udfff), which is no text. Write the "
                            "character itself, or both of its halves.") from None
    return value, text[end:]


def kind(value: Any) -> str:
    """A JSON value's kind, as people say it."""
    if isinstance(value, str):
        return "empty" if not value.strip() else f"the text {value[:20]!r}"
    names = {bool: "true or false", int: "a number", float: "a fraction", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


_PLAIN = "A row holds texts and plain numbers."


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"NaN or an infinity ({constant}), which is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _deeper_than(levels: int, value: Any) -> bool:
    within = [value]
    for _ in range(levels):
        within = [inner for outer in within if isinstance(outer, dict | list)
                  for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return bool(within)
