"""Mean activations over a task's training prompts: what mean ablation puts in place of a component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..records import ModelInfo, Record, require, require_lengths, require_shape, require_within
from ..values import Setup
from .prompts import prompts_of
from .shapes import check_heads
from .unit import CountTokens, OfTraining, Option, Progress, Topic

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

N_TRAIN = Option("n_train", 200, "training prompts behind importance and means (the study: up to 2500)", least=1)


@dataclass(frozen=True)
class Activations(Record):
    """Mean activations over training prompts."""

    n_examples: int
    n_positions: int
    heads: Sequence[Sequence[Sequence[float]]]  # [layer][head][d_head]: mean z
    ffns: Sequence[Sequence[float]]  # [layer][d_model]: mean of what the FFN adds

    def check(self) -> None:
        require_within("n_examples", [self.n_examples], 1)
        require_within("n_positions", [self.n_positions], 1)
        require(bool(self.heads and self.heads[0] and self.ffns), "heads or ffns holds no layer")
        require_lengths(len(self.heads), "layers", ffns=self.ffns)
        check_heads(None, len(self.heads[0][0]), heads=self.heads)
        require_shape("ffns", self.ffns, len(self.heads), len(self.ffns[0]))


@dataclass(frozen=True)
class Means(OfTraining[Activations]):
    """The mean activations over the first `setup.n_examples` training prompts."""

    KIND = "means"
    RECORD = Activations
    STANDS_IN = True
    TITLE = "means"
    DEFINITION = "mean head outputs z and FFN outputs over training prompts, every position counted once"
    TOPICS = {"means": Topic("means", "mean activations, for mean ablation", training=True, rank=4)}
    OPTIONS = (N_TRAIN,)

    setup: Setup

    def check(self, record: Activations, info: ModelInfo | None) -> None:
        require(record.n_examples <= self.setup.n_examples, f"n_examples holds {record.n_examples} where "
                f"{self.setup.n_examples} were asked for")
        if info is not None:
            check_heads(info, info.d_head, heads=record.heads)
            require_shape("ffns", record.ffns, info.n_layers, info.d_model)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return count(self.setup, "train")

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Activations:
        return mean_activations(model, prompts_of(self.setup, "train"), progress)


def mean_activations(
    model: LoadedModel, prompts: Sequence[Prompt], progress: Progress | None = None, *, batch_tokens: int | None = None
) -> Activations:
    """Mean head output z and mean FFN output over all positions of the prompts with their gold answers.

    Every position of every prompt counts once, demonstrations included. Prompts that do not fit the model's context
    lose demonstrations from the front; if that is not enough, they are left out.

    Raises:
        BadInput: if no prompt is left.
    """
    from ..engine.means import mean_outputs

    found = mean_outputs(model, prompts, progress, batch_tokens=batch_tokens)
    return Activations(
        found.n_examples, found.n_positions,
        heads=tuple(tuple(tuple(row) for row in layer) for layer in found.heads.tolist()),
        ffns=tuple(tuple(row) for row in found.ffns.tolist()),
    )
