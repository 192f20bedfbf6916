"""What a store knows about: models and tasks, read from its results alone, whether or not they are here themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from backend.kinds import Model, Unit
from backend.records import ModelInfo
from backend.store.live import Store
from backend.values import ModelId, TaskId


class Catalogue:
    """The models and tasks that results belong to, those with most results first."""

    def __init__(self, units: Iterable[Unit[Any]]) -> None:
        self._models: Counter[ModelId] = Counter()
        self._tasks: dict[ModelId, Counter[TaskId]] = {}
        for unit in units:
            if unit.model.dtype:  # a model's own record has none
                self._models[unit.model] += 1
                if unit.task is not None:
                    self._tasks.setdefault(unit.model, Counter())[unit.task] += 1

    @property
    def names(self) -> list[str]:
        """Names of all models that have results."""
        return sorted({model.name for model in self._models})

    def models(self, name: str | None = None) -> list[ModelId]:
        """The models that have results, each way of running one by itself; of one name only where it is given."""
        return [model for model, _ in self._models.most_common() if name in (None, model.name)]

    def tasks(self, model: ModelId, name: str | None = None) -> list[TaskId]:
        """The tasks that a model has results of; of one name only where it is given."""
        return [task for task, _ in self._tasks.get(model, Counter()).most_common() if name in (None, task.name)]

    def n_results(self, model: ModelId) -> int:
        return self._models[model]


def catalogue(store: Store) -> Catalogue:
    """What is in a store now."""
    return store.derived("catalogue", lambda: Catalogue(store.units()))


def info_of(model: ModelId, store: Store) -> ModelInfo | None:
    """The shape of a model as it is stored beside its results."""
    return store.get(Model(model))
