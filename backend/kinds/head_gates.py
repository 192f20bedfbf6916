"""Which heads help, which disturb, which do not matter? Gates that are learned under pressure to close and to open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import stats
from ..arrays import Float, Shaped
from ..errors import BadInput
from ..records import ModelInfo, require, require_lengths, require_within
from ..values import Head, Setup
from .head_importance import GRADIENT
from .orders import FIT, OfOrder, Order, dead_and_live, pairs_of
from .prompts import prompts_of
from .shapes import check_heads
from .unit import CountTokens, Progress, Topic
from .writes import HeadWrites

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

FREE_STEPS, STEPS = 60, 160  # of gradient descent: without pressure, then under each
BATCH = 8  # prompts of a step
RATE = 0.25  # of Adam, on logits
PRICE = 0.005  # nats that an open gate costs, or earns
START = 2.0  # the logit from which every gate begins: 0.88 open
N_LOSSES = 20  # means of as many steps that are kept of a fit
FACILITATES, INTERFERES, IRRELEVANT = CLASSES = ("facilitates", "interferes", "irrelevant")


@dataclass(frozen=True)
class GateOrder(Order):
    """Gates of every head, fitted under pressure to close and to open, and the order of heads by their sum."""

    MANY = ("closing", "opening")
    closing: Sequence[Sequence[float]]  # [layer][head]: the gate where an open one costs; 0 where there is no head
    opening: Sequence[Sequence[float]]  # [layer][head]: where an open one earns
    free_losses: tuple[float, ...]  # nats, means over consecutive steps without pressure
    closing_losses: tuple[float, ...]  # likewise under pressure, without what gates cost
    opening_losses: tuple[float, ...]

    def check(self) -> None:
        super().check()
        require(bool(self.closing and self.closing[0]), "closing holds no head")
        check_heads(None, closing=self.closing, opening=self.opening)
        for name in ("closing", "opening"):
            require_within(name, getattr(self, name), 0, 1)
        for name in ("free_losses", "closing_losses", "opening_losses"):
            require_lengths(N_LOSSES, "parts of a fit", **{name: getattr(self, name)})
            require_within(name, getattr(self, name), 0)

    def roles(self) -> Float[np.ndarray, "n_layers n_heads"]:
        """1 = facilitates, -1 = interferes, 0 = irrelevant: both gates' sum less 1."""
        return np.asarray(np.asarray(self.closing) + np.asarray(self.opening) - 1)

    def classes(self) -> Shaped[np.ndarray, "n_layers n_heads"]:
        """Each head's of the `CLASSES`: the largest of facilitation, interference and irrelevance.

        These are c, 1 - o and (1 - c) o, where c and o are a head's gates under pressure to close and to open.
        """
        c, o = np.asarray(self.closing), np.asarray(self.opening)
        return np.asarray(np.array(CLASSES)[np.argmax([c, 1 - o, (1 - c) * o], axis=0)])


@dataclass(frozen=True)
class HeadGates(OfOrder[GateOrder]):
    """Learned gates of heads, over training prompts; `setup.seed` draws the batches, too."""

    KIND = "gates"
    RECORD = GateOrder
    BACKWARDS = True
    TITLE = "learned gates"
    DEFINITION = (f"a gate per head (sigmoid), fitted by Adam ({RATE:g} on logits, {BATCH} prompts a step) to the mean "
                  f"cross-entropy of the gold answer's tokens, nats: {FREE_STEPS} steps freely, then {STEPS} with "
                  f"{PRICE:g} nats for each open gate to pay (pressure to close) or to earn (to open); a head that "
                  "stays open under the first facilitates, that closes under the second interferes, the rest is "
                  "irrelevant; in the order dead heads go first, then those with the lowest sum of both gates")
    SOURCE = ("after Nam et al. 2025, arXiv:2505.13737, who put the pressure on the gates' logits, clipped; here it is "
              "on the gates themselves")
    TOPICS = {"gates": Topic("learned gates", "gates of heads, learned under pressure to close and to open: which "
                             "facilitate, interfere, or are irrelevant", training=True, rank=6)}
    OPTIONS = (FIT,)

    setup: Setup

    def check(self, record: GateOrder, info: ModelInfo | None) -> None:
        super().check(record, info)
        check_heads(info, closing=record.closing, opening=record.opening)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        passes = (FREE_STEPS + 2 * STEPS) * BATCH / max(1, self.setup.n_examples)
        return round(GRADIENT * passes * count(self.setup, "train"))

    def measure(self, model: LoadedModel, basis: Sequence[HeadWrites], progress: Progress | None) -> GateOrder:
        dead, live = dead_and_live(model.info, basis[0])
        return head_gates(model, prompts_of(self.setup, "train"), live, dead, self.setup.seed, progress)


def head_gates(
    model: LoadedModel, prompts: Sequence[Prompt], live: Sequence[Head], dead: Sequence[Head] = (), seed: int = 0,
    progress: Progress | None = None, *, price: float = PRICE, free_steps: int = FREE_STEPS, steps: int = STEPS,
) -> GateOrder:
    """Gates of all heads, fitted freely and from there under pressure to close and to open; and the order by their sum.

    The loss is the mean over prompts of the gold answer's mean cross-entropy, in nats; under pressure to close
    `price` times the sum of the gates is added, under pressure to open it is taken away. So a head stays open under
    the first where closing it would cost more than `price` nats. Heads interfere < irrelevant < facilitate in the sum
    of both gates: about 0, 1 and 2.

    Args:
        dead: heads that go first, whatever their gates.
        seed: of the batches.

    Raises:
        BadInput: if no prompt fits the model's context, or none is given.
        ModelError: if the loss or its gradients are no numbers.
    """
    from ..engine.gradients import gold_pairs
    from ..engine.learned_gates import fit_gates

    found = gold_pairs(model, prompts)
    if not found.pairs:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to fit gates to.")
    total = free_steps + 2 * steps

    def fit(
        start: Float[np.ndarray, "n_layers n_heads"], price: float, n_steps: int, before: int
    ) -> tuple[Float[np.ndarray, "n_layers n_heads"], Float[np.ndarray, " {n_steps}"]]:
        def report(done: int, _: int) -> None:
            if progress is not None:
                progress(before + done, total)

        return fit_gates(model, found.pairs, start, price, n_steps, BATCH, RATE, seed, report)

    free, free_losses = fit(np.full((model.n_layers, model.n_heads), START), 0.0, free_steps, 0)
    closing, closing_losses = fit(free, price, steps, free_steps)
    opening, opening_losses = fit(free, -price, steps, free_steps + steps)
    there = np.zeros((model.n_layers, model.n_heads), bool)
    for head in (*dead, *live):
        there[head.layer, head.head] = True
    c, o = (np.where(there, 1 / (1 + np.exp(-logits)), 0.0) for logits in (closing, opening))
    both = c + o
    ranked = stats.order(np.array([both[head.layer, head.head] for head in live]))
    return GateOrder(pairs_of([*dead, *(live[i] for i in ranked)]), len(dead), len(found.pairs), found.skipped,
                     _rows(c), _rows(o), _means(free_losses), _means(closing_losses), _means(opening_losses))


def _rows(gates: Float[np.ndarray, "n_layers n_heads"]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in gates.tolist())


def _means(losses: Float[np.ndarray, " _"]) -> tuple[float, ...]:
    """Means over `N_LOSSES` consecutive parts of the steps; a part of no step has the last one's loss."""
    return tuple(float(part.mean()) if len(part) else float(losses[-1]) for part in np.array_split(losses, N_LOSSES))
