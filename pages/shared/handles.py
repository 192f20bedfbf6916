"""What all sessions share: the one store, the one queue that measures, the one loaded model, the tasks.

Everything is named by its identity: a model that has changed on the disk, or a task that was replaced under its name,
is another one. `store()`, `look()` and `here()` are cheap; `model()` imports torch and reads weights, so only the queue
calls it, in its own thread. Shared objects are read-only.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from threading import Lock, local
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from backend import demo
from backend.errors import DataError, HeadroomError, ModelError
from backend.kinds import Evaluation, Model, compute
from backend.models import gguf
from backend.models.identity import identify
from backend.models.info import BUNDLED, describe, folder_of
from backend.records import ModelInfo
from backend.runs import journal
from backend.runs.queue import Limits, Queue
from backend.store.catalogue import Catalogue, catalogue
from backend.store.live import Store, default_store
from backend.tables import precision
from backend.tables.precision import Beside
from backend.tasks import registry
from backend.tasks.task import Prompt, Task, iter_prompts
from backend.values import ModelId, Setup, TaskId

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel

AGE = 10  # seconds after which a model's folder, or a task's rows, are looked at again
HUB_AGE = 300  # seconds after which the hub is asked again: it takes its time, above all where there is no network


_P = ParamSpec("_P")
_T = TypeVar("_T")
_run = local()  # what the run under way in this thread has found out


def once_per_run(find: Callable[_P, _T]) -> Callable[_P, _T]:
    """Look once in a run of a page, however often it is asked; what is found must not be changed."""
    @wraps(find)
    def found(*args: _P.args, **more: _P.kwargs) -> _T:
        context = get_script_run_ctx(suppress_warning=True)
        if context is None:
            return find(*args, **more)
        if getattr(_run, "of", None) is not context.cursors:  # Streamlit makes new ones for each run
            _run.of, _run.found = context.cursors, {}
        key = find, args, *more.items()
        if key not in _run.found:
            _run.found[key] = find(*args, **more)
        known: _T = _run.found[key]
        return known

    return found


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The results: this machine's own over the shipped ones."""
    return default_store()


def fragment(draw: Callable[_P, None], run_every: float | None = None) -> Callable[_P, None]:
    """A fragment that lets go of the store's connection when it was drawn alone, as `app.py` does after a whole run.

    Each run has a thread of its own, and what a thread leaves open waits for the garbage collector.
    """
    @wraps(draw)
    def drawn(*args: _P.args, **more: _P.kwargs) -> None:
        try:
            draw(*args, **more)
        finally:
            context = get_script_run_ctx(suppress_warning=True)
            if context is not None and context.fragment_ids_this_run:
                with suppress(HeadroomError):  # said by whoever needed it
                    store().close()

    return st.fragment(drawn, run_every=run_every)


@once_per_run
def known() -> Catalogue:
    """The models and tasks that have results."""
    return catalogue(store())


# --- models -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A model that is here: what it is, and its shape."""

    id: ModelId
    info: ModelInfo


@once_per_run
def look(name: str, dtype: str = "float32", bos: str = "auto") -> Found | ModelError:
    """A model as it is here now, without loading it; or the error that says why it is not, to be remembered too."""
    try:
        on_disk = name == BUNDLED or folder_of(name) is not None
    except ModelError as error:
        return error
    return (_look_at_folder if on_disk else _look_at_hub)(name, dtype, bos)


def look_again() -> None:
    """Remember nothing of what models look like."""
    _look_at_folder.clear()
    _look_at_hub.clear()


@st.cache_resource(show_spinner=False, max_entries=32, ttl=AGE)
def _look_at_folder(name: str, dtype: str, bos: str) -> Found | ModelError:
    return _found(name, dtype, bos)


@st.cache_resource(show_spinner="Looking at the model …", max_entries=32, ttl=HUB_AGE)
def _look_at_hub(name: str, dtype: str, bos: str) -> Found | ModelError:
    return _found(name, dtype, bos)


def _found(name: str, dtype: str, bos: str) -> Found | ModelError:
    try:
        found = Found(identify(name, dtype=dtype, bos=bos), describe(name))
    except ModelError as error:
        return error
    store().learn(found.id, found.info)  # what is stored of another shape is none of it
    return found


def beside_float32(of: ModelId) -> Beside:
    """What the precision of a model changes against float32, as far as both are stored."""
    return store().derived(f"beside float32: {of!r}", lambda _: precision.beside_float32(
        of, store().by_key(Evaluation.KIND).values(), store().get))


def which_is_faster(shape: ModelInfo) -> str:
    """Which precision is the faster one here, measured now: less than a second, once torch is there."""
    from backend.models.loading import choose_precision

    return choose_precision(shape).why


class _Shelf:
    """The one model in memory. Another takes its place, and is read only once the first is gone."""

    def __init__(self) -> None:
        self._held: LoadedModel | None = None
        self._lock = Lock()

    def get(self, name: str, wanted: ModelId, bos: str) -> LoadedModel:
        from backend.models.loading import load_model

        with self._lock:
            if self._held is None or self._held.id != wanted:
                self._held = None
                gc.collect()
                self._held = load_model(name, dtype=wanted.dtype, bos=bos)
                self._held.quick = True
            if self._held.id != wanted:
                held, self._held = self._held.id, None
                look_again()
                raise ModelError(f"'{name}' has changed since this page looked at it: its digest was {wanted.digest} "
                                 f"and is {held.digest}. Reload the page; results of the two are kept apart.")
            return self._held


@st.cache_resource(show_spinner=False)
def _shelf() -> _Shelf:
    return _Shelf()


def model(name: str, wanted: ModelId) -> LoadedModel:
    """A model in memory, which is the very one wanted.

    Args:
        name: `bundled`, a hub id or a folder's path: where it is.

    Raises:
        ModelError: it cannot be loaded, or has changed meanwhile.
    """
    return _shelf().get(name, wanted, "always" if wanted.bos else "never")


_found_at: dict[ModelId, str] = {}  # where the models are that the queue was asked for


def _load(wanted: ModelId) -> LoadedModel:
    """The queue's model; its shape is stored beside its results, so that they can be browsed when it is gone."""
    loaded = model(_found_at[wanted], wanted)
    compute(Model(loaded.id), store(), loaded)
    return loaded


@st.cache_resource(show_spinner=False)
def _queue() -> Queue:
    journal.keep_in(store().folder)
    return Queue(store(), _load)


def queue(name: str, wanted: ModelId) -> Queue:
    """The queue that measures for all sessions, told where a model is (see `model`)."""
    _found_at[wanted] = name
    return _queue()


def limits() -> Limits:
    """What a visitor may ask of this server."""
    return _queue().limits


def model_names() -> list[str]:
    """The bundled model, those that were made here or a demo lists, then all others that the store has results of."""
    return list(dict.fromkeys([BUNDLED, *gguf.made(), *(demo.models() if demo.on() else ()), *known().names]))


# --- tasks --------------------------------------------------------------------------------------


@once_per_run
def task_names() -> list[str]:
    """Everything that can be asked here, by name; reads no rows."""
    return registry.known()


def _looked_for(name: str) -> Task | HeadroomError:
    """A task that is here, its rows read and found good; or why it is not."""
    return _read(name) if name.startswith("own:") else _remembered(name)  # a file of one's own may change any time


@st.cache_resource(show_spinner=False, max_entries=256, ttl=AGE)
def _remembered(name: str) -> Task | HeadroomError:
    """A hub takes its time to fail."""
    return _read(name)


def _read(name: str) -> Task | HeadroomError:
    try:
        task = registry.get_task(name)
        return task if task.fingerprint else DataError(f"Task '{name}' has no rows.")
    except HeadroomError as error:
        return error


@once_per_run
def here(name: str) -> TaskId | None:
    """A task as its rows are here now; None where they are not. Reads them, from the hub if need be."""
    task = _looked_for(name)
    return None if isinstance(task, HeadroomError) else TaskId(name, task.fingerprint)


def why_not_here(wanted: TaskId) -> str:
    """Why a task's very rows are not here, in a sentence; empty where they are."""
    task = _looked_for(wanted.name)
    if isinstance(task, HeadroomError):
        return f"The rows of '{wanted.name}' are not here. {task}"
    return "" if task.fingerprint == wanted.digest else (
        f"The rows of '{wanted.name}' here have digest {task.fingerprint}; these results are of {wanted.digest}.")


def task(wanted: TaskId) -> Task:
    """A task with the very rows that are wanted. Raises: DataError: if they are not here."""
    if problem := why_not_here(wanted):
        raise DataError(problem)
    found = _looked_for(wanted.name)
    assert isinstance(found, Task)
    return found


@st.cache_resource(show_spinner=False, max_entries=32)
def prompts(setup: Setup) -> Sequence[Prompt]:
    """The validation prompts of a setup. Raises: DataError: if its rows are not here."""
    return list(iter_prompts(task(setup.task), setup.n_shots, setup.demos, setup.n_examples, setup.seed,
                             draws=setup.draws))
