"""Which heads does the loss lean on? Gradient importance of every head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.errors import BadInput
from backend.kinds.means import N_TRAIN
from backend.kinds.prompts import prompts_of
from backend.kinds.unit import CountTokens, OfTask, Progress, Topic, Wish
from backend.records import ModelInfo, Record
from backend.values import Setup

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel

REDUCTIONS = ("per-token", "per-example")
_GRADIENT = 3  # a forward and a backward pass, in forward passes


@dataclass(frozen=True)
class HeadScores(Record):
    """Gradient importance of every head, in both reductions, with what bootstrap needs.

    Examples are kept in blocks of consecutive ones (at most 32), so that the stability of a
    ranking can be found without the gradients.
    """

    n_examples: int  # that were used
    skipped: tuple[int, ...]  # rows that did not fit the model's context
    block_sizes: tuple[int, ...]  # examples per block
    block_positions: tuple[tuple[int, ...], ...]  # [block][layer]: positions that carry a gradient
    block_per_token: tuple[tuple[tuple[float, ...], ...], ...]  # [block][layer][head]: sum over examples, positions
    block_per_example: tuple[tuple[tuple[float, ...], ...], ...]  # [block][layer][head]: sum over examples
    n_spanning: int = 0  # examples whose answer begins with a token that holds some of the context's text

    def scores(self, reduction: str = "per-token", blocks: np.ndarray | None = None) -> np.ndarray:
        """(n_layers, n_heads): the importance; higher means more important.

        Args:
            reduction: "per-token" (the authors' code) or "per-example" (the paper's formula).
            blocks: which blocks to use, with repetition (bootstrap); all of them when None.
        """
        which = np.arange(len(self.block_sizes)) if blocks is None else blocks
        if reduction == "per-token":
            total = np.asarray(self.block_per_token)[which].sum(0)
            return total / np.asarray(self.block_positions)[which].sum(0)[:, None]
        if reduction == "per-example":
            return np.asarray(self.block_per_example)[which].sum(0) / np.asarray(self.block_sizes)[which].sum()
        raise BadInput(f"Unknown reduction '{reduction}'. Known: {', '.join(REDUCTIONS)}.")

    @property
    def left_out(self) -> tuple[int, int]:
        return 0, len(self.skipped)


@dataclass(frozen=True)
class HeadImportance(OfTask[HeadScores]):
    """Gradient importance over the first `setup.n_examples` training prompts."""

    KIND = "head_importance"
    RECORD = HeadScores
    TITLE = "head importance"
    DEFINITION = ("per-token: sum over examples and positions of |sum over d_head of z * dL/dz| / positions that "
                  "carry a gradient; per-example: mean over examples of |sum over positions and d_head of z * "
                  "dL/dz|; L = mean cross-entropy of the gold answer's tokens, nats")
    SOURCE = "Bansal et al. 2023, arXiv:2212.09095; after Michel et al. 2019, arXiv:1905.10650"
    TOPICS = {"importance": Topic("importance", "gradient importance of every head, in both reductions", training=True,
                                  by_default=True)}
    OPTIONS = (N_TRAIN,)
    TRAINING = True

    setup: Setup

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return _GRADIENT * count(self.setup, "train")

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[HeadImportance]:
        for setup in wish.setups:
            yield cls(setup.with_(n_examples=wish.options["n_train"]))

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> HeadScores:
        from backend.engine.gradients import head_importance

        return head_importance(model, prompts_of(self.setup, "train"), progress)
