"""Who computes what next, where several workers share a plan: the rules alone, whatever the workers are.

Units go by decreasing weight: a unit's own cost and that of the dearest chain that waits for it, so that nothing long
is left for the end. A worker that dies gives its unit back; a unit that was under way in `DEATHS` workers as they died
is given up, and the others go on. A worker that dies as often before it has begun, or refuses, is not asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..kinds.unit import Unit
from ..records import Record
from .plan import Step

DEATHS = 3  # of workers that had the same unit, after which it is given up


@dataclass(frozen=True)
class Ready:
    """A worker has its model in memory."""

    worker: int
    where: str  # its process and machine, in words
    seconds: float  # that it took


@dataclass(frozen=True)
class Answered:
    """A worker has measured a unit, or says why it cannot."""

    worker: int
    unit: Unit[Any]
    body: bytes = b""  # the packed result, as a store keeps it
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Died:
    """A worker is gone, with the unit that it had, if any; another one takes its number."""

    worker: int
    unit: Unit[Any] | None
    why: str


@dataclass(frozen=True)
class Refused:
    """A worker cannot work, and is not asked again."""

    worker: int
    why: str


News = Ready | Answered | Died | Refused


class Pool(Protocol):
    """Workers with a model each."""

    def __enter__(self) -> Pool: ...

    def __exit__(self, *_: object) -> None:
        """End all workers, whatever they are doing."""

    @property
    def n_workers(self) -> int:
        """How many there are, ready or getting ready."""

    def idle(self) -> Sequence[int]:
        """The workers that are ready and have nothing to do."""

    def give(self, worker: int, unit: Unit[Any], basis: Mapping[Unit[Any], Record]) -> None:
        """Let an idle worker measure a unit; `basis` holds the results that it builds on."""

    def news(self, seconds: float) -> Sequence[News]:
        """What has happened; waits for at most so long until something has."""

    def parts(self) -> Mapping[Unit[Any], tuple[int, int]]:
        """How far the units under way are: batches done, and in all (0 where that is not known yet)."""


class Schedule:
    """The units of a plan that are still to be given out, and those that are out."""

    def __init__(self, steps: Sequence[Step], weigh: Callable[[Step], float] = lambda step: step.cost) -> None:
        """
        Args:
            steps: what is to do, each after what it builds on.
            weigh: what one step costs, in any unit.
        """
        self._order = {step.unit: step for step in steps}
        self._waiting = dict(self._order)  # not given out
        self._open = set(self._order)  # not finished
        self._deaths: Counter[Unit[Any]] = Counter()
        self._weights: dict[Unit[Any], float] = {}
        behind: dict[Unit[Any], float] = {}
        for step in reversed(steps):
            self._weights[step.unit] = weight = weigh(step) + behind.get(step.unit, 0.0)
            for need in step.unit.needs():
                behind[need] = max(behind.get(need, 0.0), weight)
        self._by_weight = sorted(steps, key=lambda step: -self._weights[step.unit])  # equal ones as planned

    def __len__(self) -> int:
        """How many units are not finished."""
        return len(self._open)

    def weight(self, unit: Unit[Any]) -> float:
        """What a unit costs with the dearest chain that waits for it."""
        return self._weights[unit]

    def next(self, may: Callable[[Unit[Any]], bool] = lambda unit: True) -> Step | None:
        """The heaviest unit that can be computed now, which is given out by this; None: there is none for now.

        Args:
            may: whether a unit is ours to compute, asked of one after the other until the answer is yes.
        """
        for step in self._by_weight:
            unit = step.unit
            if unit in self._waiting and not any(need in self._open for need in unit.needs()) and may(unit):
                del self._waiting[unit]
                return step
        return None

    def finish(self, unit: Unit[Any]) -> Step:
        """A unit that was given out is computed, or cannot be: what waits for it may go on."""
        self._open.remove(unit)
        return self._order[unit]

    def lost(self, unit: Unit[Any]) -> bool:
        """The worker that had a unit died. Whether it is given up: otherwise another worker gets it."""
        self._deaths[unit] += 1
        if self._deaths[unit] >= DEATHS:
            return True
        self._waiting[unit] = self._order[unit]
        return False
