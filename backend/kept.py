"""Values that were worked out lately, up to a size of all together."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(dict[K, V], Generic[K, V]):
    """Values by what they were worked out from. All are forgotten when one more would be too much.

    Args:
        most: how much all may be together, in whatever `keep` counts.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = self._room = most

    def keep(self, key: K, value: V, size: int) -> V:
        """Remember a value of this size; what is larger than all may be is not remembered."""
        if self._room < size:
            self.clear()
            self._room = self._most
        if size <= self._room:
            self._room -= size
            self[key] = value
        return value
