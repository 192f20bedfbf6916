"""What a store knows about: models and tasks, read from its results alone, whether or not they are here themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .. import demo
from ..kinds import Model, Unit
from ..records import ModelInfo
from ..tasks import registry
from ..values import ModelId, TaskId
from .live import Store


class Catalogue:
    """The models and tasks that results belong to, those with most results first.

    Args:
        units: the results, by their keys.
        earlier: the catalogue of results most of which are the same ones: what came since is added to it.
    """

    def __init__(self, units: Mapping[str, Unit[Any]], earlier: Catalogue | None = None) -> None:
        self._keys = frozenset(units)
        known = earlier if earlier is not None and earlier._keys <= self._keys else None
        self._models: Counter[ModelId] = known._models.copy() if known else Counter()
        self._tasks: dict[ModelId, Counter[TaskId]] = (
            {model: tasks.copy() for model, tasks in known._tasks.items()} if known else {})
        for key in self._keys - known._keys if known else self._keys:
            unit = units[key]
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
        found = [model for model in self._models if name in (None, model.name)]
        return sorted(found, key=lambda model: (-self._models[model], model))

    def tasks(self, model: ModelId, name: str | None = None) -> list[TaskId]:
        """The tasks that a model has results of; of one name only where it is given."""
        counts = self._tasks.get(model, Counter())
        return sorted([task for task in counts if name in (None, task.name)], key=lambda task: (-counts[task], task))

    def n_results(self, model: ModelId) -> int:
        return self._models[model]


def catalogue(store: Store) -> Catalogue:
    """What is in a store now; in a demo what came with Headroom, and results of models and tasks that it lists."""
    if demo.on():
        return store.derived("catalogue", lambda earlier: Catalogue(_listed(store), earlier))
    return store.derived("catalogue", lambda earlier: Catalogue(store.by_key(), earlier))


def _listed(store: Store) -> dict[str, Unit[Any]]:
    shipped = store.shipped.by_key() if store.shipped else {}
    tasks = set(registry.known())
    return {key: unit for key, unit in store.by_key().items() if key in shipped or (
        demo.shows_model(unit.model.name) and (unit.task is None or unit.task.name in tasks))}


def info_of(model: ModelId, store: Store) -> ModelInfo | None:
    """The shape of a model as it is stored beside its results."""
    return store.get(Model(model))
