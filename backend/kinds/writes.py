"""Which heads do anything at all? How much each head writes to the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import stats
from ..arrays import Bool, Float
from ..records import ModelInfo, Record, require, require_within
from ..values import Setup
from .prompts import prompts_of
from .shapes import check_heads
from .unit import CountTokens, OfTraining, Option, Progress, Topic

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

N_PROBE = 32
PROBE = Option("n_probe", N_PROBE, "training prompts on which it is measured what each head writes", least=1)


@dataclass(frozen=True)
class HeadWrites(Record):
    """How much every head writes to the residual stream, over training prompts."""

    MANY = ("norms",)
    n_examples: int
    n_positions: int
    norms: Sequence[Sequence[float]]  # [layer][head]: mean norm of what it writes; 0 where a layer has no heads

    def check(self) -> None:
        require_within("n_examples", [self.n_examples], 1)
        require_within("n_positions", [self.n_positions], 1)
        require(bool(self.norms and self.norms[0]), "norms holds no head")
        check_heads(None, norms=self.norms)
        require_within("norms", self.norms, 0)

    def shares(self) -> Float[np.ndarray, "n_layers n_heads"]:
        """Each head's part of what the heads of its layer write; 0 where they write nothing."""
        return stats.layer_parts(np.asarray(self.norms))

    def alive(self) -> Bool[np.ndarray, "n_layers n_heads"]:
        """Which heads do something; see `stats.alive`."""
        return stats.alive(self.shares())


@dataclass(frozen=True)
class Writes(OfTraining[HeadWrites]):
    """What each head writes over the first `setup.n_examples` training prompts."""

    KIND = "writes"
    RECORD = HeadWrites
    TITLE = "writes"
    DEFINITION = ("norm of what a head writes to the residual stream (its output z times its rows of the output "
                  "projection, no bias), mean over the positions of training prompts; a head is dead when its share of "
                  "its layer's write is below 1 % of the median head's")
    TOPICS = {"writes": Topic("writes", "how much each head writes, which tells dead heads", training=True, rank=2,
                              by_default=True)}
    OPTIONS = (PROBE,)
    COUNT = PROBE.name

    setup: Setup

    def check(self, record: HeadWrites, info: ModelInfo | None) -> None:
        require(record.n_examples <= self.setup.n_examples, f"n_examples holds {record.n_examples} where "
                f"{self.setup.n_examples} were asked for")
        check_heads(info, norms=record.norms)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return count(self.setup, "train")

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> HeadWrites:
        return head_writes(model, prompts_of(self.setup, "train"), progress)


def head_writes(
    model: LoadedModel, prompts: Sequence[Prompt], progress: Progress | None = None, *, batch_tokens: int | None = None
) -> HeadWrites:
    """How much each head writes: the norm of z times its rows of the output projection, mean over positions.

    Positions are those of the prompts with their gold answers, demonstrations included. The projection's bias is
    nobody's and left out. So is a norm that some architectures put behind their attention: shares are of what stands
    before it. Prompts that do not fit the model's context lose demonstrations from the front; if that is not enough,
    they are left out.

    Raises:
        BadInput: if no prompt is left.
    """
    from ..engine.writes import mean_writes

    found = mean_writes(model, prompts, progress, batch_tokens=batch_tokens)
    return HeadWrites(found.n_examples, found.n_positions, tuple(tuple(row) for row in found.norms.tolist()))
