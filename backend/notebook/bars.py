"""A bar that shows how far a measurement is, in a notebook and in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..kinds.unit import Progress


@contextmanager
def bar(name: str, wanted: bool = True) -> Iterator[Progress | None]:
    """A `Progress` whose bar appears at its first word and is gone at the end; None where no bar is wanted.

    A measurement that builds on another tells of that one first, in another number of steps: the bar begins again.
    """
    if not wanted:
        yield None
        return
    from tqdm.auto import tqdm  # looks for a notebook around it

    shown: Any = None

    def tell(done: int, total: int) -> None:
        nonlocal shown
        if shown is None:
            shown = tqdm(desc=name, total=total, leave=False)
        elif shown.total != total or done < shown.n:
            shown.reset(total)
        shown.update(done - shown.n)

    try:
        yield tell
    finally:
        if shown is not None:
            shown.close()
