"""How far would the loss move without a head? Its signed gradient, at the intact model and on the way to none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Float, Real
from ..errors import BadInput
from ..records import ModelInfo, Record, require, require_lengths, require_within
from ..values import Setup
from .head_importance import GRADIENT, block_sums, blocks_of
from .head_importance import REDUCTIONS as OF_IMPORTANCE
from .means import N_TRAIN
from .prompts import prompts_of
from .shapes import check_examples, check_heads
from .unit import CountTokens, OfTraining, Option, Progress, Topic, one_of, part

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

STEPS = (0.1, 0.3, 0.5, 0.7, 0.9)  # gates of all heads at which gradients are averaged
REDUCTIONS = SIGNED, INTEGRATED = ("signed", "integrated")
RANKED_BY = (*OF_IMPORTANCE, *REDUCTIONS)  # what gradients say of heads, by any of which these are ranked


REDUCTION = Option("reduction", "per-token", f"how gradients rank heads: {', '.join(RANKED_BY)}",
                   read=one_of(RANKED_BY, "is no reduction"), metavar="NAME")


@dataclass(frozen=True)
class Attributions(Record):
    """What removing each head adds to the loss, as gradients tell it: sums over blocks of examples.

    Blocks are those of `HeadScores`: a draw of demonstrations each where several are shared, at most 32 consecutive
    ones elsewhere.
    """

    SUMMED = ("block_signed", "block_integrated")
    n_examples: int  # that were used
    skipped: tuple[int, ...]  # rows that did not fit the model's context
    block_sizes: tuple[int, ...]  # examples per block
    block_signed: Sequence[Sequence[Sequence[float]]]  # [block][layer][head]: sum over examples, nats
    block_integrated: Sequence[Sequence[Sequence[float]]]  # the same, gradients averaged over `STEPS`

    def check(self) -> None:
        require_within("n_examples", [self.n_examples], 1)
        require_within("block_sizes", self.block_sizes, 1)
        require(sum(self.block_sizes) == self.n_examples, f"block_sizes holds {sum(self.block_sizes)} examples, where "
                f"n_examples is {self.n_examples}")
        require_lengths(len(self.block_sizes), "blocks", block_signed=self.block_signed,
                        block_integrated=self.block_integrated)
        require(bool(self.block_signed[0] and self.block_signed[0][0]), "block_signed holds no head")
        first = self.block_signed[0]
        for signed, integrated in zip(self.block_signed, self.block_integrated, strict=True):
            check_heads(None, first=first, block_signed=signed, block_integrated=integrated)
        require_within("skipped", self.skipped, 0)

    def scores(self, reduction: str = INTEGRATED) -> Float[np.ndarray, "n_layers n_heads"]:
        """How far the loss rises without each head, nats; below 0: it falls.

        Args:
            reduction: "signed" (first order at the intact model) or "integrated" (gradients averaged over `STEPS`).
        """
        sums, weights = self.sums(reduction)
        return np.asarray(sums.sum(0) / weights.sum(0))

    def sums(
        self, reduction: str
    ) -> tuple[Real[np.ndarray, "n_blocks n_layers n_heads"], Real[np.ndarray, "n_blocks 1 1"]]:
        """What each block adds to the scores (n_blocks, n_layers, n_heads), and its examples (n_blocks, 1, 1)."""
        if reduction not in REDUCTIONS:
            raise BadInput(f"Unknown reduction '{reduction}'. Known: {', '.join(REDUCTIONS)}.")
        return (np.asarray(self.block_signed if reduction == SIGNED else self.block_integrated),
                np.asarray(self.block_sizes, float)[:, None, None])

    @property
    def left_out(self) -> tuple[int, int]:
        return 0, len(self.skipped)


@dataclass(frozen=True)
class Attribution(OfTraining[Attributions]):
    """Signed first order and its average over gates, over the first `setup.n_examples` training prompts."""

    KIND = "attribution"
    RECORD = Attributions
    BACKWARDS = True
    TITLE = "attribution"
    DEFINITION = ("signed: mean over examples of -sum over positions and d_head of z * dL/dz, the change of loss by a "
                  "head's removal to first order; integrated: the same with the gradient averaged over gates "
                  "0.1, 0.3, 0.5, 0.7 and 0.9 that multiply all heads at once; L = mean cross-entropy of the gold "
                  "answer's tokens, nats")
    SOURCE = ("Nanda 2023, Attribution patching; Sundararajan et al. 2017, arXiv:1703.01365; Hanna et al. 2024, "
              "arXiv:2403.17806")
    TOPICS = {"attribution": Topic("attribution", "signed gradients of every head, at the intact model and averaged "
                                   "on the way to none", training=True, rank=5)}
    OPTIONS = (N_TRAIN,)

    setup: Setup

    def check(self, record: Attributions, info: ModelInfo | None) -> None:
        check_examples(self.setup, record.n_examples, record.skipped)
        check_heads(info, block_signed=record.block_signed[0])

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return (1 + len(STEPS)) * GRADIENT * count(self.setup, "train")

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Attributions:
        return attribution(model, prompts_of(self.setup, "train"), progress)


def attribution(
    model: LoadedModel, prompts: Sequence[Prompt], progress: Progress | None = None, *, batch_tokens: int | None = None
) -> Attributions:
    """How far the loss on the gold answer moves without each head, as gradients tell it; nats, mean over prompts.

    A gate g multiplies a head's output z at every position; L is the mean cross-entropy of the gold answer's tokens.
    `signed`: -dL/dg at g = 1, which is L(g = 0) - L(g = 1) to first order. `integrated`: -dL/dg averaged over
    `STEPS`, all heads behind one common gate, so that the heads' scores add up to L(no heads) - L(intact) as far as
    five steps of the integral reach. Positive: the head helps. Prompts that do not fit the model's context lose
    demonstrations from the front; if that is not enough, they are skipped.
    Source: Nanda 2023 (attribution patching); Sundararajan et al. 2017, arXiv:1703.01365 (integrated gradients).

    Raises:
        BadInput: if there are no prompts, or none fits.
        ModelError: if the gradients are no numbers.
    """
    from ..engine.gradients import gate_gradients, gold_pairs

    found = gold_pairs(model, prompts)

    def at(gate: float, turn: int) -> Float[np.ndarray, "n n_layers n_heads"]:
        return -gate_gradients(model, found.pairs, part(progress, turn, 1 + len(STEPS)), batch_tokens=batch_tokens,
                               prefixes=found.prefixes, gate=gate)[1]

    signed = at(1.0, 0)
    integrated = np.mean([at(gate, turn) for turn, gate in enumerate(STEPS, 1)], axis=0)
    blocks = blocks_of(len(found.pairs), found.draws)
    return Attributions(len(found.pairs), found.skipped, tuple(map(len, blocks)), block_sums(signed, blocks),
                        block_sums(integrated, blocks))
