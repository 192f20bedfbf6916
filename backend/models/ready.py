"""What is made ready for a model is kept beside the model, and is gone with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Protocol, TypeVar

N_KEPT = 64  # 14 tasks x 3 shot numbers and a few more
BYTES = 2**30  # over all that is kept


class Sized(Protocol):
    """Something that says how much memory it takes, or will take once it is used."""

    @property
    def state_bytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Ready:
    """The last things that were made ready, by name: at most `n_kept`, fewer where they would take more than `n_bytes`.

    What it keeps must not hold the model that it belongs to. Threads may share it.
    """

    def __init__(self, n_kept: int = N_KEPT, n_bytes: int = BYTES) -> None:
        self.n_kept, self.n_bytes = n_kept, n_bytes
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()  # the last used last
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """What has this name, made now unless it is kept; where two threads make it at a time, both get the first."""
        with self._lock:
            found = self._kept.get(name)
        if found is None:
            found = make()
        with self._lock:
            kept: T = self._kept.setdefault(name, found)
            self._kept.move_to_end(name)
            while len(self) > 1 and (len(self) > self.n_kept or self._bytes() > self.n_bytes):
                self._kept.popitem(last=False)
        return kept

    def _bytes(self) -> int:
        return sum(kept.state_bytes for kept in self._kept.values())
