"""Which heads does the loss lean on? Gradient importance of every head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Float, Int, Real
from ..errors import BadInput
from ..records import ModelInfo, Record, require, require_lengths, require_shape, require_within
from ..values import Head, Setup
from .means import N_TRAIN
from .prompts import prompts_of
from .shapes import check_examples, check_heads
from .unit import CountTokens, OfTraining, Progress, Topic

if TYPE_CHECKING:
    from ..engine.trees import Scored
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

N_BLOCKS = 32  # examples are kept in this many sums, for bootstrap
REDUCTIONS = ("per-token", "one-divisor", "per-example")
GRADIENT = 3  # a forward and a backward pass, in forward passes


@dataclass(frozen=True)
class HeadScores(Record):
    """Gradient importance of every head, in both reductions, with what bootstrap needs.

    Examples are kept in blocks, of one draw of demonstrations each where several are shared, of
    consecutive ones (at most 32) elsewhere: so that the stability of a ranking can be found without
    the gradients, and knows what was drawn together.
    """

    SUMMED = ("block_per_token", "block_per_example")
    n_examples: int  # that were used
    skipped: tuple[int, ...]  # rows that did not fit the model's context
    block_sizes: tuple[int, ...]  # examples per block
    block_positions: Sequence[Sequence[int]]  # [block][layer]: positions that carry a gradient
    block_per_token: Sequence[Sequence[Sequence[float]]]  # [block][layer][head]: sum over examples, positions
    block_per_example: Sequence[Sequence[Sequence[float]]]  # [block][layer][head]: sum over examples
    n_spanning: int = 0  # examples whose answer begins with a token that holds some of the context's text

    def check(self) -> None:
        require(self.n_examples >= 1, f"n_examples holds {self.n_examples}")
        require_within("block_sizes", self.block_sizes, 1)
        require(sum(self.block_sizes) == self.n_examples, f"block_sizes holds {sum(self.block_sizes)} examples, where "
                f"n_examples is {self.n_examples}")
        require_lengths(len(self.block_sizes), "blocks", block_positions=self.block_positions,
                        block_per_token=self.block_per_token, block_per_example=self.block_per_example)
        n_layers = len(self.block_positions[0])
        require_shape("block_positions", self.block_positions, len(self.block_sizes), n_layers)
        require_within("block_positions", self.block_positions, 1)
        for per_token, per_example in zip(self.block_per_token, self.block_per_example, strict=True):
            require_lengths(n_layers, "layers", block_per_token=per_token, block_per_example=per_example)
            check_heads(None, block_per_token=per_token, block_per_example=per_example)
        require_within("block_per_token", self.block_per_token, 0)
        require_within("skipped", self.skipped, 0)
        require_within("n_spanning", [self.n_spanning], 0, self.n_examples)

    def scores(
        self, reduction: str = "per-token", blocks: Int[np.ndarray, " _"] | None = None
    ) -> Float[np.ndarray, "n_layers n_heads"]:
        """The importance; higher means more important.

        Args:
            reduction: "per-token" (the authors' code: the last layer divided by the answer's positions alone, so that
                it cannot be compared with the others), "one-divisor" (the same with every layer divided by all
                positions) or "per-example" (the paper's formula).
            blocks: which blocks to use, with repetition (bootstrap); all of them when None.
        """
        sums, weights = self.sums(reduction)
        which = np.arange(len(sums)) if blocks is None else blocks
        return np.asarray(sums[which].sum(0) / weights[which].sum(0))

    def sums(
        self, reduction: str
    ) -> tuple[Real[np.ndarray, "n_blocks n_layers n_heads"], Real[np.ndarray, " n_blocks #n_layers 1"]]:
        """What each block adds to the scores (n_blocks, n_layers, n_heads), and to what they are divided by
        (n_blocks, n_layers or 1, 1)."""
        if reduction == "per-token":
            return np.asarray(self.block_per_token), np.asarray(self.block_positions, float)[:, :, None]
        if reduction == "one-divisor":
            positions = np.asarray(self.block_positions, float).max(1)
            return np.asarray(self.block_per_token), positions[:, None, None]
        if reduction == "per-example":
            return np.asarray(self.block_per_example), np.asarray(self.block_sizes, float)[:, None, None]
        raise BadInput(f"Unknown reduction '{reduction}'. Known: {', '.join(REDUCTIONS)}.")

    @property
    def left_out(self) -> tuple[int, int]:
        return 0, len(self.skipped)


@dataclass(frozen=True)
class HeadImportance(OfTraining[HeadScores]):
    """Gradient importance over the first `setup.n_examples` training prompts."""

    KIND = "head_importance"
    RECORD = HeadScores
    BACKWARDS = True
    TITLE = "head importance"
    DEFINITION = ("per-token: sum over examples and positions of |sum over d_head of z * dL/dz| / positions that "
                  "carry a gradient, in the last layer the answer's; one-divisor: the same / all positions in every "
                  "layer; per-example: mean over examples of |sum over positions and d_head of z * "
                  "dL/dz|; L = mean cross-entropy of the gold answer's tokens, nats")
    SOURCE = "Bansal et al. 2023, arXiv:2212.09095; after Michel et al. 2019, arXiv:1905.10650"
    TOPICS = {"importance": Topic("importance", "gradient importance of every head, in both reductions", training=True,
                                  rank=2, by_default=True)}
    OPTIONS = (N_TRAIN,)

    setup: Setup

    def check(self, record: HeadScores, info: ModelInfo | None) -> None:
        check_examples(self.setup, record.n_examples, record.skipped)
        for per_token, per_example in zip(record.block_per_token, record.block_per_example, strict=True):
            check_heads(info, block_per_token=per_token, block_per_example=per_example)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return GRADIENT * count(self.setup, "train")

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> HeadScores:
        return head_importance(model, prompts_of(self.setup, "train"), progress)


def head_importance(
    model: LoadedModel, prompts: Sequence[Prompt], progress: Progress | None = None, *, batch_tokens: int | None = None
) -> HeadScores:
    """How strongly the loss on the gold answer depends on each head, over training prompts.

    L is the mean cross-entropy, in nats, of the gold continuation's tokens given the context; z a head's output
    before the output projection. A gate g = 1 that multiplies z at every position has dL/dg = sum over d_head of
    z * dL/dz there. `per-token`: the sum over examples and positions of |dL/dg|, divided by the positions that carry
    a gradient. `per-example`: the mean over examples of |sum over positions of dL/dg|. Higher means more important.
    Source: Bansal et al. 2023, arXiv:2212.09095, code (per-token) and text (per-example, after Michel et al. 2019,
    arXiv:1905.10650).

    Each prompt's loss is its own mean, so neither batch size nor padding changes the score beyond rounding. Prompts
    that do not fit the model's context lose demonstrations from the front; if that is not enough, they are skipped.

    Raises:
        BadInput: if there are no prompts, or none fits.
        ModelError: if the gradients are no numbers.
    """
    from ..engine.gradients import gold_pairs

    found = gold_pairs(model, prompts)
    return importance_of_pairs(model, found.pairs, found.skipped, progress, batch_tokens=batch_tokens,
                               prefixes=found.prefixes, draws=found.draws)


def importance_of_pairs(
    model: LoadedModel, pairs: Sequence[Scored], skipped: tuple[int, ...] = (), progress: Progress | None = None, *,
    batch_tokens: int | None = None, prefixes: Sequence[int] | None = None, draws: Sequence[int] = (),
    off: Collection[Head] = (),
) -> HeadScores:
    """As `head_importance`, over given (context, gold continuation) pairs in token ids; see `engine.gradients`.

    Args:
        draws: per pair, the draw of demonstrations that it shares with others; each becomes a block.
        off: heads that are off meanwhile; their own scores are 0.
    """
    from ..engine.gradients import gate_gradients

    absolute, signed = gate_gradients(model, pairs, progress, batch_tokens=batch_tokens, prefixes=prefixes, off=off)
    signed, blocks = np.abs(signed), blocks_of(len(pairs), draws)
    positions = np.array([[len(p.ids) - 1] * (model.n_layers - 1) + [len(p.continuation)] for p in pairs])

    return HeadScores(
        n_examples=len(pairs), skipped=skipped, n_spanning=sum(p.spans for p in pairs),
        block_sizes=tuple(len(block) for block in blocks),
        block_positions=tuple(tuple(int(n) for n in positions[block].sum(0)) for block in blocks),
        block_per_token=block_sums(absolute, blocks), block_per_example=block_sums(signed, blocks),
    )


def blocks_of(n: int, draws: Sequence[int]) -> list[Int[np.ndarray, " _"]]:
    """Which of n examples are kept in one sum: those of a draw of demonstrations, or consecutive ones."""
    return [np.flatnonzero(np.asarray(draws) == draw) for draw in sorted(set(draws))] or np.array_split(
        np.arange(n), min(N_BLOCKS, n))


def block_sums(
    values: Float[np.ndarray, "n n_layers n_heads"], blocks: Sequence[Int[np.ndarray, " _"]]
) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """[block][layer][head]: (n, n_layers, n_heads) values, summed over each block's examples."""
    return tuple(tuple(tuple(map(float, row)) for row in values[block].sum(0)) for block in blocks)
