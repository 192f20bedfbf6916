"""Which heads statistics are over: those that do something, as far as that is measured.

A dead head's scores are zeros, or rounding, in every task: left in, they lift every rank correlation and overlap, count
as heads that "can go", and make random controls harmless. Where it is not measured which heads are dead, statistics
are over all heads, and say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.kinds import Writes
from backend.kinds.writes import N_PROBE
from backend.records import ModelInfo
from backend.values import Ablation, Head, Setup, TaskId
from pages.shared import blocks, handles, selection, words


@dataclass(frozen=True, eq=False)
class Living:
    """The heads that statistics are over.

    Attributes:
        mask: (n_layers, n_heads) of bool: heads that there are, and that are not known to be dead.
        dead: None where it is not measured.
        measured: how that is known, a sentence for `blocks.provenance`; or how to find out.
    """

    mask: np.ndarray
    dead: frozenset[Head] | None
    measured: str

    @property
    def known(self) -> np.ndarray | None:
        """The mask, where it is measured which heads are dead: what tables of pruning count."""
        return None if self.dead is None else self.mask

    @property
    def n(self) -> int:
        return int(self.mask.sum())

    @property
    def heads(self) -> list[Head]:
        return [Head(int(layer), int(head)) for layer, head in np.argwhere(self.mask)]

    def of(self, scores: np.ndarray) -> np.ndarray:
        """(n,): the scores of these heads, from (n_layers, n_heads)."""
        return np.asarray(scores[self.mask])

    @property
    def over(self) -> str:
        """`24 live heads of 40`, or `40 heads, dead or alive` where that is unknown: for captions."""
        return words.heads_over(self.n, None if self.dead is None else len(self.dead))

    @property
    def called(self) -> str:
        """`live heads` where some are known to be dead, else `heads`."""
        return "live heads" if self.dead else "heads"

    # Lines of Python that do the same

    @property
    def _some(self) -> bool:
        return not self.mask.all() or self.dead is not None

    @property
    def index(self) -> str:
        """What leaves the other heads out of an array of scores."""
        return "[live]" * self._some

    @property
    def argument(self) -> str:
        """What tells a function of them."""
        return ", heads=live" * self._some

    @property
    def given(self) -> dict[str, Any]:
        """What the lines name first."""
        return {"dead": Ablation(self.dead)} if self.dead else {}

    @property
    def lines(self) -> list[str]:
        """Lines that make `live`."""
        if not self._some:
            return []
        shape, headless = self.mask.shape, list(selection.info().headless)
        first = f"live = dead.head_mask{shape} == 1" if self.dead else f"live = np.ones({shape}, bool)"
        return [first, *([f"live[{headless}] = False"] if headless else [])]


def now(tasks: Iterable[TaskId] | None = None, shots: Iterable[int] | None = None) -> Living:
    """The live heads of the chosen model: those that do something in any of these tasks, at any number of shots.

    Args:
        tasks: the tasks that are compared and the chosen one by default.
        shots: the chosen number by default.
    """
    setup = selection.current()
    those = [*selection.compared().values(), setup.task] if tasks is None else tasks
    return _now(tuple(dict.fromkeys(those)), tuple(shots) if shots is not None else (setup.n_shots,))


@handles.once_per_run
def _now(tasks: tuple[TaskId, ...], shots: tuple[int, ...]) -> Living:
    return of(selection.info(), [selection.current(task, n) for n in shots for task in tasks])


def of(info: ModelInfo, setups: Iterable[Setup]) -> Living:
    """The live heads of a model: those that do something in any of these setups."""
    units = [writes(setup) for setup in setups]
    records = [record for unit in units if (record := blocks.fetch(unit)) is not None]
    there = info.there
    if not records:
        return Living(there, None, "Which heads are dead is not measured; this tells: " + "; ".join(
            blocks.command_lines(units, look=False).splitlines()))
    mask = there & np.any([record.alive() for record in records], axis=0)
    dead = frozenset(Head(int(layer), int(head)) for layer, head in np.argwhere(there & ~mask))
    n = sum(record.n_examples for record in records)
    return Living(mask, dead, words.dead_heads(sorted(dead), int(there.sum()), n, len(records)))


def writes(of: Setup) -> Writes:
    """What the heads write, as pages ask for it."""
    return Writes(of.with_(n_examples=N_PROBE))


def known_for(setups: Iterable[Setup]) -> bool:
    """Whether it is measured for all of some setups which heads are dead: then random orders are of live heads."""
    return all(blocks.fetch(writes(setup)) is not None for setup in setups)


def facts(of: Setup) -> Mapping[str, np.ndarray]:
    """Each head's share of what its layer writes, where that is stored; for maps."""
    record = blocks.fetch(writes(of))
    return {} if record is None else {"share of its layer's write": record.shares()}
