"""The shape of a model, stored beside its results so that they can be browsed where the model is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..records import ModelInfo, require
from ..values import ModelId
from .unit import CountTokens, OfModel, Progress

if TYPE_CHECKING:
    from ..models.loading import LoadedModel


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

    def check(self, record: ModelInfo, info: ModelInfo | None) -> None:
        for name in ("name", "revision"):
            told, named = getattr(record, name), getattr(self.model, name)
            require(told == named, f"{name} holds '{told[:60]}', where the model is '{named[:60]}'")
        for name, size in (info.shape if info else {}).items():
            require(getattr(record, name) == size, f"{name} holds {getattr(record, name)}, where this very model is "
                    f"known to have {size}")

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> ModelInfo:
        return model.info
