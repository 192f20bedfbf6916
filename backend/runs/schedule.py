"""Who computes what next, where several workers share a plan: the rules alone, whatever the workers are.

Units go by decreasing weight: a unit's own cost and that of the dearest chain that waits for it, so that nothing long
is left for the end. A unit that is long beside the whole goes out in pieces, where it can be measured so. Of units that
weigh about the same a worker gets one of a setup whose prompts it has ready, else of one that no other has.

A worker that dies gives back what it had; what three of them had as they died is given up, and the others go on. A
worker that dies as often before it has begun, or refuses, is not asked again.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..kinds.unit import Unit
from ..records import Record
from .plan import Step

NEAR = 0.5  # of the heaviest unit's weight: from there on it counts what a worker has at hand
FINE = 32  # a share is no longer than the whole takes, by this, where a unit can be measured in pieces: nobody waits
# long for it at the end, and little is lost with a worker
DEATHS = 3  # of workers that had the same unit, after which it is given up


@dataclass(frozen=True)
class Share:
    """What a worker gets at a time: a unit, or one of its pieces."""

    step: Step
    number: int = 0
    of: int = 1

    @property
    def unit(self) -> Unit[Any]:
        return self.step.unit

    def __str__(self) -> str:
        return str(self.unit) + (f", part {self.number + 1} of {self.of}" if self.of > 1 else "")


@dataclass(frozen=True)
class Ready:
    """A worker has its model in memory."""

    worker: int
    where: str  # its process and machine, in words
    seconds: float  # that it took


@dataclass(frozen=True)
class Answered:
    """A worker has measured its share, or says why it cannot."""

    worker: int
    share: Share
    body: bytes = b""  # the packed result, as a store keeps it; of a piece its record alone
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Died:
    """A worker is gone, with the share that it had, if any; another one takes its number."""

    worker: int
    share: Share | None
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

    def give(self, worker: int, share: Share, basis: Mapping[Unit[Any], Record]) -> None:
        """Let an idle worker measure a share; `basis` holds the results that it builds on."""

    def news(self, seconds: float) -> Sequence[News]:
        """What has happened; waits for at most so long until something has."""

    def parts(self) -> Mapping[Share, tuple[int, int]]:
        """How far the shares under way are: batches done, and in all (0 where that is not known yet)."""


class Schedule:
    """The shares of a plan that are still to be given out, and those that are out."""

    def __init__(self, steps: Sequence[Step], weigh: Callable[[Step], float] = lambda step: step.cost,
                 pieces: Callable[[Step], int] = lambda step: 1) -> None:
        """
        Args:
            steps: what is to do, each after what it builds on.
            weigh: what one step costs, in any unit.
            pieces: into how many shares it goes.
        """
        weights: dict[Unit[Any], float] = {}
        behind: dict[Unit[Any], float] = {}  # the dearest chain that waits for it
        shares = []
        for step in reversed(steps):
            of = pieces(step)
            weights[step.unit] = weight = weigh(step) / of + behind.get(step.unit, 0.0)
            shares += [Share(step, number, of) for number in reversed(range(of))]
            for need in step.unit.needs():
                behind[need] = max(behind.get(need, 0.0), weight)
        shares.reverse()
        self._shares = sorted(shares, key=lambda share: -weights[share.unit])  # equal ones as planned
        self._weights = [weights[share.unit] for share in self._shares]
        self._rank = {share: rank for rank, share in enumerate(self._shares)}
        ranks: dict[Unit[Any], list[int]] = {}
        for rank, share in enumerate(self._shares):
            ranks.setdefault(share.unit, []).append(rank)
        self._needs = [{rank for need in share.unit.needs() for rank in ranks.get(need, ())} for share in self._shares]
        self._waiting: list[list[int]] = [[] for _ in self._shares]  # the ranks that need a rank
        for rank, needs in enumerate(self._needs):
            for before in needs:
                self._waiting[before].append(rank)
        self._free = [rank for rank, needs in enumerate(self._needs) if not needs]  # can be given out, in order
        self._n_open = len(self._shares)
        self._deaths: Counter[Share] = Counter()

    def __len__(self) -> int:
        """How many shares are not finished."""
        return self._n_open

    def heaviest(self, shares: Iterable[Share]) -> Share:
        """The one that costs most with the dearest chain that waits for it."""
        return min(shares, key=self._rank.__getitem__)

    def next(self, may: Callable[[Unit[Any]], bool] = lambda unit: True,
             dislike: Callable[[Unit[Any]], int] = lambda unit: 0) -> Share | None:
        """The heaviest share that can be computed now, which is given out by this; None: there is none for now.

        Args:
            may: whether a unit is ours to compute, asked of one after the other until the answer is yes.
            dislike: among shares of `NEAR` the weight of the heaviest, one of a unit of the least goes first.
        """
        if not self._free:
            return None
        least = NEAR * self._weights[self._free[0]]
        near = [rank for rank in self._free if self._weights[rank] >= least]
        near.sort(key=lambda rank: dislike(self._shares[rank].unit))  # equal ones by weight
        for rank in (*near, *self._free[len(near):]):
            if may(self._shares[rank].unit):
                self._free.remove(rank)
                return self._shares[rank]
        return None

    def finish(self, share: Share) -> None:
        """A share that was given out is computed, or cannot be: what waits for it may go on."""
        done = self._rank[share]
        self._n_open -= 1
        for rank in self._waiting[done]:
            self._needs[rank].remove(done)
            if not self._needs[rank]:
                insort(self._free, rank)

    def lost(self, share: Share) -> bool:
        """The worker that had a share died. Whether it is given up: otherwise another worker gets it."""
        self._deaths[share] += 1
        if self._deaths[share] >= DEATHS:
            return True
        insort(self._free, self._rank[share])
        return False


def n_shares(most: int, total: float, weight: float, n_workers: int) -> int:
    """Into how many shares a step goes, so that none is longer than a part of the time that all take together.

    Args:
        most: pieces that it can be measured in.
        total, weight: what all steps cost, and this one.
    """
    return max(1, min(most, math.ceil(FINE * n_workers * weight / total))) if total else 1
