"""A model's own small files, as anybody may have written them: read within bounds, or told what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError

MOST_BYTES = 10_000_000  # of a config or an index; the largest known have a few
DEEPEST = 50  # objects and lists in each other; known configs have 6
LONGEST_LIST = 100_000  # of a config; known ones hold a value per layer, or per label
MOST = 2**53  # of a whole number that is no size of ours

# What no transformer of today comes near, and what can still be drawn and counted.
BOUNDS: Mapping[str, int] = {
    "n_layers": 1000, "n_heads": 1000, "d_model": 1_000_000, "d_head": 100_000, "d_ffn": 10_000_000,
    "max_positions": 1_000_000_000, "vocab_size": 100_000_000}


def read_object(file: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: it cannot be read, is too large, or holds anything but one object of texts, numbers, lists and
            objects within the bounds.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}.") from error
    if len(content) > most:
        raise ModelError(f"{file} cannot be read: it has more than {most // 1_000_000} MB.")
    return object_in(content, str(file))


def object_in(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object that a file's content is. Raises: ModelError: as `read_object`."""
    try:
        value = json.loads(content.decode("utf-8-sig"))
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ModelError(f"{where} cannot be read: it is nested too deep.") from None
    except UnicodeEncodeError:
        raise ModelError(f"{where} cannot be read: it holds half of a character.") from None
    except ValueError as error:  # also whole numbers of thousands of digits
        raise ModelError(f"{where} cannot be read: {str(error)[:200]}.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{where} cannot be read: it should hold an object, {{...}}.")
    return value


def check_plain(config: Mapping[str, Any], where: str) -> None:
    """Raises: ModelError: if a config is nested too deep, or holds lists or numbers beyond all that models have."""
    for key, value, depth in _values(config):
        if depth > DEEPEST:
            raise ModelError(f"{where} cannot be read: it is nested more than {DEEPEST} deep.")
        if isinstance(value, list) and len(value) > LONGEST_LIST:
            raise ModelError(f"{where} cannot be read: '{key[:60]}' lists {len(value):,} values.")
        if isinstance(value, int) and abs(value) > MOST:
            raise ModelError(f"{where} cannot be read: '{key[:60]}' is beyond {MOST:,}.")


def _values(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """(name, value, depth) of everything inside, without calling itself."""
    left: list[tuple[str, Any, int]] = [("", config, 0)]
    while left:
        name, value, depth = left.pop()
        yield name, value, depth
        if depth <= DEEPEST:
            if isinstance(value, dict):
                left += [(str(key), inner, depth + 1) for key, inner in value.items()]
            elif isinstance(value, list) and len(value) <= LONGEST_LIST:
                left += [(name, inner, depth + 1) for inner in value if not isinstance(inner, str)]


def config_class(folder: Path) -> Any:
    """The config in a folder as transformers reads it. Loads torch.

    Raises:
        ModelError: if its class refuses it.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # config classes raise whatever their arithmetic does
        raise ModelError(f"{folder / 'config.json'} cannot be used: {first_line(error)}. Put the config.json beside "
                         "the weights that they were saved with.") from error


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, in one line without a full stop."""
    return str(error).strip().split("\n")[0][:300].rstrip(".") or type(error).__name__


def size_of(size: str, key: str, value: Any, name: str) -> int:
    """A size that a config gives.

    Args:
        size: which of `BOUNDS`.
        key: how the config calls it.
        name: the model's.

    Raises:
        ModelError: if it is no whole number within the bounds.
    """
    if isinstance(value, list):
        if not value or any(other != value[0] for other in value):
            raise ModelError(f"The config of '{name}' gives {key} as a list: its layers differ in size, and "
                             "Headroom reads transformers whose layers are alike.")
        value = value[0]
    if type(value) is not int or not 1 <= value <= BOUNDS[size]:
        raise ModelError(f"The config of '{name}' gives {str(value)[:40]!r} as {key}: it takes a whole number from 1 "
                         f"to {BOUNDS[size]:,}. Put the config.json beside the weights that they were saved with.")
    return value
