"""Batches that fit the memory: where it runs out, half as much at a time, and the log says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from accelerate.utils.memory import should_reduce_batch_size

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


def in_batches(
    measure: Callable[[Sequence[int]], None], lengths: Sequence[int], batch_tokens: int,
    progress: Progress | None = None,
) -> None:
    """Measure items of about equal length together, the longest first.

    Args:
        measure: called with the indices of a batch; called again with fewer of them when memory ran out in it.
        lengths: tokens of each item. A batch's longest times its number of items stays within `batch_tokens`, unless it
            is one item.
        progress: called as progress(items done, items) after each batch.

    Raises:
        RuntimeError: the one that says that memory ran out, where a single item is too much.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    done = 0
    while done < len(order):
        longest = max(lengths[order[done]], 1)
        batch = order[done:done + max(1, batch_tokens // longest)]
        try:
            measure(batch)
        except Exception as error:
            if len(batch) == 1 or not should_reduce_batch_size(error):
                raise
            batch_tokens = smaller(longest * len(batch))
            continue
        done += len(batch)
        if progress is not None:
            progress(done, len(order))


def smaller(batch_tokens: int) -> int:
    """Half of a batch that was too large, and a line in the log."""
    log.warning("Out of memory: going on with passes of %d tokens.", batch_tokens // 2)
    return batch_tokens // 2
