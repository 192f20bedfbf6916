"""Very many numbers in a record: nested sequences to those who read them, one array inside.

A field of a record that may hold thousands of numbers says `Sequence[Sequence[float]]`. What was measured puts nested
tuples there, what is read from bytes `Numbers`: equal to these tuples, a quarter as large, and with nothing to make.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from .arrays import Shaped


class Numbers(Sequence[Any]):
    """An array of one axis or more as sequences that hold sequences: a row is `Numbers`, too, a number is Python's own.

    `np.asarray` gives the array itself. It cannot be written to.
    """

    __slots__ = ("array",)

    def __init__(self, array: Shaped[np.ndarray, "n ..."]) -> None:
        self.array = array.view()
        self.array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, at: Any) -> Any:
        found = self.array[at]
        return Numbers(found) if isinstance(found, np.ndarray) else found.item()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array.tolist()) if self.array.ndim == 1 else map(Numbers, self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Shaped[np.ndarray, "n ..."]:
        return np.array(self.array, dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Numbers):
            return np.array_equal(self.array, other.array)
        return isinstance(other, tuple) and self.nested() == other

    def __hash__(self) -> int:
        return hash(self.nested())

    def __repr__(self) -> str:
        return f"Numbers({self.array!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Numbers, (self.array,)

    def nested(self) -> tuple[Any, ...]:
        """The same as tuples in tuples."""
        return _nested(self.array.tolist(), self.array.ndim)


def _nested(lists: list[Any], depth: int) -> tuple[Any, ...]:
    if depth > 2:
        return tuple(_nested(inner, depth - 1) for inner in lists)
    return tuple(map(tuple, lists)) if depth == 2 else tuple(lists)


def extremes(values: Sequence[Any]) -> tuple[Any, Any] | None:
    """The lowest and the highest of nested numbers; None where there are none."""
    if isinstance(values, Numbers):
        return (values.array.min().item(), values.array.max().item()) if values.array.size else None
    while values and isinstance(values[0], tuple):
        values = tuple(chain.from_iterable(values))
    return (min(values), max(values)) if values else None
