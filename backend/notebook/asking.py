"""What a notebook asks for: accuracy with something off, importance, and what is stored already.

The units are the command line's, with its defaults: what one has measured the other finds. Nothing here loads torch
before something has to be measured; `fetch` needs neither weights nor rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from .. import demo, places
from ..errors import BadInput
from ..kinds import Evaluation, HeadImportance, Model
from ..kinds import fetch as fetch_unit
from ..kinds.head_importance import REDUCTIONS
from ..kinds.means import N_TRAIN
from ..kinds.unit import R, Unit, compute, compute_together, fetch_whole
from ..records import ModelInfo
from ..runs.plan import N_EXAMPLES
from ..store.live import Store
from ..tasks import own
from ..tasks import task as reading
from ..tasks.registry import SUITES, get_task, suite
from ..tasks.task import DRAWS, Prompt, Row, Split, Task
from ..values import INTACT, Ablation, Head, ModelId, Setup, TaskId, parse
from .bars import bar
from .results import ABLATED_NAME, INTACT_NAME, Accuracies, Importance

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

Off = str | Ablation | Iterable[Head | str | Sequence[int]]
Place = Store | str | Path | None  # a store, its folder, or the one that pages and commands use


def open_store(path: str | Path | None = None) -> Store:
    """The results in a folder, over those that come with Headroom; each folder is opened once.

    Args:
        path: by default where pages and commands keep theirs: `HEADROOM_CACHE`, or the place of this machine.

    Raises:
        StoreError: if the folder cannot be opened as a store.
    """
    folder = places.live() if path is None else Path(path).expanduser()
    return _opened(folder.absolute(), demo.READ_ONLY if demo.on() else "")


@cache
def _opened(folder: Path, why_not: str) -> Store:
    return Store(folder, places.SHIPPED, why_not)


def _store(store: Place) -> Store:
    return store if isinstance(store, Store) else open_store(store)


def task(given: str | Path | Iterable[Row], name: str | None = None, template: str | None = None) -> Task:
    """A task: by name, from a file of your own, or of rows that stand here.

    Args:
        given: "capital", "own:NAME", "own:FILE" or "lm_eval:NAME", as for the command line; the path of a JSONL file or
            a task's folder; or rows, each with "query", "options" and "gold", of which half serve as demonstrations.
        name, template: of rows and files, instead of the file's own; see `tasks.own`.

    Raises:
        BadInput: no such task, or a name or template that cannot be used.
        DataError: rows that cannot be read: each is named.
    """
    if isinstance(given, str) and name is None and template is None:
        return get_task(given)
    if isinstance(given, str | Path):
        if not (path := str(given).removeprefix("own:")) or ":" in path.partition("/")[0]:
            raise BadInput(f"Only a task of your own takes a name and a template, not '{given}'. Give a file.")
        return own.read_task(path, name, template)
    try:
        text = json.dumps(list(given), ensure_ascii=False)
    except TypeError as error:
        raise BadInput(f"These rows cannot be a task: {error}. Give a list of rows such as {_ROW}.") from error
    return own.parse_task(text, name, template)


_ROW = '{"query": "France", "options": ["Rome", "Paris"], "gold": 1}'


def prompts(task: str | Task, shots: int = 5, n: int | None = N_EXAMPLES, *, split: Split = "validation",
            demos: str = "fixed", draws: int = DRAWS, seed: int = 0) -> list[Prompt]:
    """The prompts that `evaluate` asks, or with `split="train"` those of `head_importance`; see `tasks.task.prompts`.

    Args:
        n: how many; all where None.

    Raises:
        BadInput: no such task, or more shots than it has training rows.
        DataError: its rows cannot be had.
    """
    (one,) = _single(task)
    return reading.prompts(one, shots, demos, n, seed, split, draws)


def evaluate(
    model: LoadedModel, task: str | Task | Iterable[str | Task], shots: int = 5,
    off: Off | Mapping[str, Off] | None = None, n: int = N_EXAMPLES, *, seed: int = 0, demos: str = "fixed",
    draws: int = DRAWS, store: Place = None, progress: bool = True,
) -> Accuracies:
    """How well a model answers a task, intact and with heads and FFNs off; measured where it is not stored.

    Args:
        task: one, several, or names as for `--tasks`: "capital", "capital,antonym", "mini".
        off: a mask as `Ablation` reads it, or several by names of your own; "L4" is every head of layer 4.
        n: questions; `demos`, `draws` and `seed` as for the command line.
        store: where results are looked for and kept; by default where pages and commands keep theirs.
        progress: show a bar while something is measured.

    Raises:
        BadInput: a mask, task or number that cannot be; also where another task is kept under the name of your own.
        DataError: rows that cannot be had.
        ModelError: the model returns numbers that are none.
    """
    masks = _masks(off, _loaded(model).info)
    tasks, results = _tasks(task), _store(store)
    wanted = [(name, Evaluation(Setup(model.id, TaskId(one.name, one.fingerprint), shots, demos, n, seed, draws), mask))
              for one in tasks for name, mask in masks.items()]
    names, units = zip(*wanted, strict=True)
    return Accuracies(names, units, tuple(_measured(units, tasks, model, results, progress)))


def head_importance(
    model: LoadedModel, task: str | Task, shots: int = 5, n: int = N_TRAIN.default, *, reduction: str = "per-token",
    seed: int = 0, demos: str = "fixed", draws: int = DRAWS, store: Place = None, progress: bool = True,
) -> Importance:
    """How strongly a model's loss on a task depends on each head; measured where it is not stored.

    Args:
        n: training prompts.
        reduction: "per-token", "one-divisor" or "per-example", see `HeadScores.scores`; all three are kept.

    Raises: as `evaluate`.
    """
    _check(reduction)
    tasks, results = _single(task), _store(store)
    setup = Setup(_loaded(model).id, TaskId(tasks[0].name, tasks[0].fingerprint), shots, demos, n, seed, draws)
    unit = HeadImportance(setup)
    (record,) = _measured([unit], tasks, model, results, progress)
    return Importance(unit, record, model.info, reduction)


@overload
def fetch(what: Unit[R], *, store: Place = None) -> R | None: ...


@overload
def fetch(
    what: Literal["accuracy"], model: str | ModelId | LoadedModel = ..., task: str | TaskId | Task = ...,
    shots: int = ..., off: Off | Mapping[str, Off] | None = ..., n: int | None = ..., *, seed: int = ...,
    demos: str = ..., draws: int = ..., store: Place = ...,
) -> Accuracies | None: ...


@overload
def fetch(
    what: Literal["importance"], model: str | ModelId | LoadedModel = ..., task: str | TaskId | Task = ...,
    shots: int = ..., *, n: int | None = ..., reduction: str = ..., seed: int = ..., demos: str = ..., draws: int = ...,
    store: Place = ...,
) -> Importance | None: ...


def fetch(
    what: str | Unit[R], model: str | ModelId | LoadedModel = "bundled", task: str | TaskId | Task = "",
    shots: int = 5, off: Off | Mapping[str, Off] | None = None, n: int | None = None, *, reduction: str = "per-token",
    seed: int = 0, demos: str = "fixed", draws: int = DRAWS, store: Place = None,
) -> Accuracies | Importance | R | None:
    """What is stored, or None: nothing is measured, and neither the model's weights nor the task's rows are needed.

    Args:
        what: "accuracy" (what `evaluate` gives), "importance" (what `head_importance` gives), or a unit of any kind,
            whose record is returned.
        model: a name as `open_store().units()` has it, an identity, or a loaded model.
        task: a name, or several names with commas between or a suite for "accuracy"; an identity; a task.
        n: questions or training prompts; by default as many as `evaluate` and `head_importance` take.

    Raises:
        BadInput: something unknown is asked for, or several models or tasks of that name are stored.
    """
    results = _store(store)
    if isinstance(what, Unit):
        return fetch_unit(what, results)
    if what not in ("accuracy", "importance"):
        raise BadInput(f"Cannot fetch '{what}'. Known: accuracy, importance, or a unit of any kind: "
                       "fetch(PrefixMatching(model.id)).")
    _check(reduction)
    kind: type[Unit[Any]] = Evaluation if what == "accuracy" else HeadImportance
    count = n or (N_EXAMPLES if what == "accuracy" else N_TRAIN.default)
    wish = {"n_shots": shots, "demos": demos, "n_examples": count, "seed": seed, "draws": draws}
    asked = [_stored_setup(results, kind, model, one, wish) for one in _named(task)]
    setups = [setup for setup in asked if setup is not None]
    if len(setups) < len(asked):
        return None
    info = results.info(setups[0].model)
    if what == "importance":
        if len(setups) > 1:
            raise BadInput("Importance is of one task at a time. Name one.")
        unit = HeadImportance(setups[0])
        scores = results.get(unit)
        return Importance(unit, scores, info, reduction) if scores is not None and info is not None else None
    wanted = [(name, Evaluation(setup, mask)) for setup in setups for name, mask in _masks(off, info).items()]
    records = [results.get(unit) for _, unit in wanted]
    found = tuple(record for record in records if record is not None)
    names, units = zip(*wanted, strict=True)
    return Accuracies(names, units, found) if len(found) == len(records) else None


def _stored_setup(store: Store, kind: type[Unit[Any]], model: str | ModelId | LoadedModel, task: str | TaskId,
                  wish: Mapping[str, Any]) -> Setup | None:
    """The one setup of such results. Raises: BadInput: if there are several."""
    identity = model if isinstance(model, str | ModelId) else model.id
    found = {unit.setup for unit in store.units(kind.KIND, model=identity, task=task)
             if unit.setup is not None and unit.setup == unit.setup.with_(**wish)}
    if len(found) > 1:
        told = "; ".join(sorted(f"{one.model} (digest {one.model.digest}) on {one.task} (digest {one.task.digest})"
                                for one in found))
        raise BadInput(f"Several models or tasks of these names are stored: {told}. Say which with their identities, "
                       "as in fetch(..., model=unit.model, task=unit.task) of one of open_store().units().")
    return next(iter(found), None)


def _named(task: str | TaskId | Task) -> list[str | TaskId]:
    """The tasks that are asked for, as the store knows them; a single name need not be known here."""
    if isinstance(task, Task):
        return [TaskId(task.name, task.fingerprint)]
    if isinstance(task, TaskId):
        return [task]
    if task in SUITES or "," in task or not task:
        return [one.name for one in suite(task)]
    return [task]


def _tasks(task: str | Task | Iterable[str | Task]) -> list[Task]:
    """The tasks that are asked for, each once."""
    given = [task] if isinstance(task, str | Task) else list(task)
    found = [found for one in given for found in ([one] if isinstance(one, Task) else suite(one))]
    if not found:
        raise BadInput("No task named. Give one, several, or a suite such as 'mini'.")
    return list({one.name: one for one in found}.values())


def _single(task: str | Task) -> list[Task]:
    tasks = _tasks(task)
    if len(tasks) > 1:
        raise BadInput(f"One task at a time here, not {len(tasks)}. Name one of: {', '.join(t.name for t in tasks)}.")
    return tasks


def _masks(off: Off | Mapping[str, Off] | None, info: ModelInfo | None) -> dict[str, Ablation]:
    """What is off, by name, the intact model first. Raises: BadInput: a mask that cannot be, or is not the model's."""
    named = off if isinstance(off, Mapping) else {} if off is None else {ABLATED_NAME: off}
    masks = {str(name): _mask(one, info) for name, one in named.items()}
    if INTACT_NAME in masks:
        raise BadInput(f"'{INTACT_NAME}' is what the model with nothing off is called. Give the mask another name.")
    return {INTACT_NAME: INTACT, **{name: mask for name, mask in masks.items() if mask}}


def _mask(off: Off, info: ModelInfo | None) -> Ablation:
    """A mask of a model; of one that nobody knows, as it is given."""
    if isinstance(off, str) and info is not None:
        mask, problems = parse(off, info.n_layers, info.n_heads, info.headless)
        if problems:
            raise BadInput(problems[0])
        return mask
    mask = off if isinstance(off, Ablation) else Ablation(off)
    if info is not None:
        mask.check(info.n_layers, info.n_heads, info.headless)
    return mask


def _loaded(model: LoadedModel) -> LoadedModel:
    if not hasattr(model, "id") or not hasattr(model, "info"):
        raise BadInput(f"{str(model)[:60]!r} is no loaded model. Load it: load_model(...); what is stored of one that "
                       "is not here is found by fetch(...).")
    return model


def _check(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise BadInput(f"Unknown reduction '{reduction}'. Known: {', '.join(REDUCTIONS)}.")


def _measured(units: Sequence[Unit[R]], tasks: Sequence[Task], model: LoadedModel, store: Store,
              progress: bool) -> list[R]:
    """The results of units, in order; first the model's own record, as a run of the command line keeps it."""
    store.learn(model.id, model.info)
    compute(Model(model.id), store, model)
    with own.at_hand(tasks):
        missing = [unit for unit in units if fetch_whole(unit, store) is None]
        if missing:
            _keep(tasks, missing[0])
        if len(missing) > 1:
            _together(missing, model, store, progress)
        found = []
        for unit in units:
            with bar(str(unit), progress) as tell:
                found.append(compute(unit, store, model, tell))
        return found


def _together(units: Sequence[Unit[R]], model: LoadedModel, store: Store, progress: bool) -> None:
    """Measure at once what is cheaper so: masks that share their questions."""
    for company in dict.fromkeys(unit.company for unit in units):
        some = [unit for unit in units if unit.company == company]
        if company is not None and len(some) > 1 and some[0].gains(model):
            with bar(f"{some[0].setup}, {len(some)} masks", progress) as tell:
                compute_together(some, store, model, tell)


def _keep(tasks: Iterable[Task], first: Unit[Any]) -> None:
    """Results name their tasks: pages and later commands find one's own by that name.

    Raises: as `reading.prompts`, before anything is kept, if the tasks cannot be asked as a unit asks them.
    """
    setup = first.setup
    assert setup is not None
    split: Split = "train" if isinstance(first, HeadImportance) else "validation"
    for one in tasks:
        next(reading.iter_prompts(one, setup.n_shots, setup.demos, 1, setup.seed, split, setup.draws))
    for one in tasks:
        if isinstance(one, own.OwnTask):
            own.keep(one)
