"""What all sessions share: the one store, the one loaded model, the tasks; nothing here computes a result.

`store()` and `info()` are cheap; `model()` imports torch and reads weights, so only code that is about to
measure calls it. Shared objects are read-only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from backend.errors import ModelError
from backend.models.info import BUNDLED, describe
from backend.results import ModelInfo
from backend.store.live import Store, default_store
from backend.tasks import registry
from backend.tasks.task import Task

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The results: this machine's own over the shipped ones."""
    return default_store()


@st.cache_resource(show_spinner="Looking at the model …", max_entries=16, ttl=60)
def look(name: str) -> ModelInfo | ModelError:
    """A model's shape and revision, without loading it; of a model that is not here, from its imported results.

    Neither here nor among the results: the error that says so, as a value, so that it is remembered too.
    """
    try:
        return describe(name)
    except ModelError as error:
        for unit in store().units(kind="model", model=name):
            record = store().get(unit)
            if isinstance(record, ModelInfo):
                return record
        return error


def info(name: str) -> ModelInfo:
    """As `look`. Raises: ModelError."""
    found = look(name)
    if isinstance(found, ModelError):
        raise found
    return found


@st.cache_resource(show_spinner="Loading the model …", max_entries=1)
def model(name: str, dtype: str = "float32") -> LoadedModel:
    """The one model in memory; another takes its place. Raises: ModelError."""
    from backend.models.loading import load_model

    return load_model(name, dtype=dtype)


@st.cache_data(show_spinner=False, ttl=30)
def model_names() -> list[str]:
    """The bundled model, then every other one that the store has results of; only the bundled one's are shipped."""
    return list(dict.fromkeys([BUNDLED, *sorted({unit.setup.model for unit in store().live_units()})]))


def suite(model_name: str) -> Mapping[str, Task]:
    """The 14 tasks that are compared: the bundled model's own, or the study's."""
    return {task.name: task for task in registry.suite("mini" if model_name == BUNDLED else "paper")}


def tasks(model_name: str) -> Mapping[str, Task]:
    """Everything a model can be asked: its suite first, then the rest, and tasks of one's own."""
    own = {name: registry.get_task(name) for name in registry.known() if name.startswith("own:")}
    more = {} if model_name == BUNDLED else {t.name: t for t in registry.suite("held-out,mini")}
    return {**suite(model_name), **more, **own}
