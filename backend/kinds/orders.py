"""What orders of heads that were fitted to training prompts have in common: the record, what it must fit, its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .. import limits
from ..records import ModelInfo, Record, require, require_within
from ..values import N_FIT, Head
from .shapes import check_examples
from .unit import OfTraining, Option, Unit
from .writes import N_PROBE, HeadWrites, Writes

FIT = Option("n_fit", N_FIT, "training prompts to which an order of heads is fitted", least=1)


@dataclass(frozen=True)
class Order(Record):
    """In which order heads go: dead ones first, in the order of the model, then as it was found for the others."""

    heads: Sequence[tuple[int, int]]  # (layer, head), the first to go first
    n_dead: int
    n_examples: int  # training prompts that were used
    skipped: tuple[int, ...]  # rows that did not fit the model's context

    def check(self) -> None:
        require_within("heads", self.heads, 0, limits.HEADS - 1)
        named = np.asarray(self.heads, int).reshape(-1, 2) @ (limits.HEADS, 1)
        require(len(np.unique(named)) == len(named) > 0, "heads names none, or one twice")
        require_within("n_dead", [self.n_dead], 0, len(self.heads))
        require_within("n_examples", [self.n_examples], 1)
        require_within("skipped", self.skipped, 0)

    def order(self) -> list[Head]:
        """The heads, the first to go first."""
        return [Head(*pair) for pair in self.heads]

    @property
    def left_out(self) -> tuple[int, int]:
        return 0, len(self.skipped)


O = TypeVar("O", bound=Order)  # noqa: E741


class OfOrder(OfTraining[O]):
    """An order found on the first `setup.n_examples` training prompts. Which heads are dead is told by `Writes`."""

    COUNT = FIT.name

    def check(self, record: O, info: ModelInfo | None) -> None:
        check_examples(self.setup, record.n_examples, record.skipped)
        if info is not None:  # as many as it has, none twice, each of them there
            layer, head = np.asarray(record.heads).T
            require(len(layer) == info.there.sum() and (layer < info.n_layers).all() and (head < info.n_heads).all()
                    and bool(info.there[layer, head].all()), "heads names others than this model's")

    def needs(self) -> Sequence[Unit[Any]]:
        return [Writes(self.setup.with_(n_examples=N_PROBE))]


def dead_and_live(info: ModelInfo, writes: HeadWrites) -> tuple[list[Head], list[Head]]:
    """The heads that do nothing, and those that do something, in the order of the model."""
    alive = writes.alive()
    return ([head for head in info.heads if not alive[head.layer, head.head]],
            [head for head in info.heads if alive[head.layer, head.head]])


def pairs_of(heads: Sequence[Head]) -> tuple[tuple[int, int], ...]:
    """Heads as records hold them."""
    return tuple((head.layer, head.head) for head in heads)
