"""The best constant in place of each head: what optimal ablation puts there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Float
from ..records import ModelInfo, Record, require, require_within
from ..values import Setup
from .head_importance import GRADIENT
from .means import N_TRAIN
from .prompts import prompts_of
from .shapes import check_examples, check_heads
from .unit import CountTokens, OfTraining, Progress, Topic

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

STEPS, BATCH, RATE = 20, 8, 0.1  # of Adam; prompts a step; first step, in root mean squares of a head's output
N_JUDGED = 64  # training prompts on which it is told whether the constant or the mean leaves the lower loss


@dataclass(frozen=True)
class Constants(Record):
    """A constant output for each head, with the training loss that it leaves when the head is replaced alone."""

    n_examples: int
    skipped: tuple[int, ...]  # rows that did not fit the model's context
    heads: Sequence[Sequence[Sequence[float]]]  # [layer][head][d_head]: what stands in for z
    intact: float  # mean loss of the intact model, nats
    before: Sequence[Sequence[float]]  # [layer][head]: with the head's mean in its place; 0 where no heads are
    after: Sequence[Sequence[float]]  # with the constant; all three over the first `N_JUDGED` prompts

    def check(self) -> None:
        require_within("n_examples", [self.n_examples], 1)
        require_within("intact", [self.intact], 0)
        require(bool(self.heads and self.heads[0]), "heads holds no head")
        check_heads(None, len(self.heads[0][0]), heads=self.heads)
        check_heads(None, before=self.before, after=self.after)
        require(len(self.before) == len(self.heads) and len(self.before[0]) == len(self.heads[0]),
                f"before holds {len(self.before)} layers of {len(self.before[0])} heads where heads holds "
                f"{len(self.heads)} of {len(self.heads[0])}")
        require_within("after", self.after, 0)
        require(bool((np.asarray(self.before) >= np.asarray(self.after)).all()),
                "after holds a higher loss than before")
        require_within("skipped", self.skipped, 0)

    @property
    def left_out(self) -> tuple[int, int]:
        return 0, len(self.skipped)


@dataclass(frozen=True)
class OptimalConstants(OfTraining[Constants]):
    """The constants that leave the loss on the first `setup.n_examples` training prompts lowest."""

    KIND = "optimal_constants"
    RECORD = Constants
    STANDS_IN = True
    BACKWARDS = True
    TITLE = "optimal constants"
    DEFINITION = (f"a* = argmin over a of the mean loss on training prompts with a in place of a head's output z at "
                  f"every position, one head at a time; Adam from the head's mean, {STEPS} steps of {BATCH} prompts, "
                  f"the mean where that ends higher over the first {N_JUDGED} prompts; L = mean cross-entropy of the "
                  "gold answer's tokens, nats")
    SOURCE = "Li and Janson 2024, arXiv:2409.09951"
    TOPICS = {"optimal": Topic("optimal constants", "the best constant in place of each head, by gradient descent",
                               training=True, rank=9)}
    OPTIONS = (N_TRAIN,)

    setup: Setup

    def check(self, record: Constants, info: ModelInfo | None) -> None:
        check_examples(self.setup, record.n_examples, record.skipped)
        if info is not None:
            check_heads(info, info.d_head, heads=record.heads)
            check_heads(info, before=record.before)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        """Each step reads its prompts once for every head, from the head's layer on; so does the loss, twice."""
        each = info.n_all_heads * (info.n_layers + 1) / 2 / info.n_layers
        n = self.setup.n_examples
        read = GRADIENT * STEPS * min(BATCH, n) + 2 * min(N_JUDGED, n)
        return round(each * read / n * count(self.setup, "train"))

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Constants:
        return optimal_constants(model, prompts_of(self.setup, "train"), self.setup.seed, progress)


def optimal_constants(model: LoadedModel, prompts: Sequence[Prompt], seed: int = 0, progress: Progress | None = None,
                      *, steps: int = STEPS) -> Constants:
    """The constant output of each head, in place of its own at every position, that leaves the loss lowest.

    Of the loss with the head alone replaced: mean cross-entropy of the gold answer's tokens, nats, mean over prompts.
    Source: Li and Janson 2024, arXiv:2409.09951, who fit constants on the data's own distribution.

    Args:
        seed: which prompts each step takes.

    Raises:
        BadInput: if there are no prompts, or none fits.
        ModelError: if the losses are no numbers.
    """
    from ..engine.constants import fit
    from ..engine.gradients import gold_pairs
    from ..errors import BadInput

    found = gold_pairs(model, prompts)
    if not found.pairs:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to fit constants to.")
    fitted = fit(model, found.pairs, steps, BATCH, RATE, N_JUDGED, seed, progress)

    def rows(values: Float[np.ndarray, "_ _"]) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(map(float, row)) for row in values)

    return Constants(len(found.pairs), found.skipped, tuple(rows(layer) for layer in fitted.heads.numpy()),
                     fitted.intact, rows(fitted.before), rows(fitted.after))
