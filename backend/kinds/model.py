"""The shape of a model, stored beside its results so that they can be browsed where the model is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backend.kinds.unit import CountTokens, OfModel, Progress
from backend.records import ModelInfo
from backend.values import ModelId

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel


@dataclass(frozen=True)
class Model(OfModel[ModelInfo]):
    """Name, revision and shape of a model; the same however it is run."""

    KIND = "model"
    RECORD = ModelInfo
    TITLE = "model"
    DEFINITION = "shape and size of the model"

    model: ModelId

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", self.model.weights)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return 0

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> ModelInfo:
        return model.info
