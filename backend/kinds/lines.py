"""Units as text that people run: lines of Python, and commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import product
from typing import Any

from .. import places
from ..values import Ablation, ModelId, Ranking, Setup, TaskId
from .unit import Unit

_WIDTH = 116


def expression(value: Any, known: Mapping[Any, str]) -> str:
    """Python that makes a value, in which `known` values stand as names."""
    if (name := known.get(value) if value.__hash__ else None) is not None:
        return name
    if isinstance(value, Ablation):
        return f"parse_exact({str(value)!r})"
    if isinstance(value, tuple):
        return f"({', '.join(expression(v, known) for v in value)}{',' * (len(value) == 1)})"
    if isinstance(value, Ranking) and value.is_random:
        return f"Ranking.random({value.seed}{f', {value.n_train}' * bool(value.n_train)})"
    if isinstance(value, Ranking) and value.method:
        (task,) = value.tasks
        usual = Ranking.fitted(value.method, task)
        more = [f"{name}={getattr(value, name)!r}" for name in ("n_train", "reduction")
                if getattr(value, name) != getattr(usual, name)]
        return f"Ranking.fitted({', '.join([repr(value.method), expression(task, known), *more])})"
    if isinstance(value, Ranking) and value.tasks:
        given = [f"*{known[value.tasks]}"] if value.tasks in known else [expression(t, known) for t in value.tasks]
        usual = Ranking.by(*value.tasks)
        given += [f"{name}={getattr(value, name)!r}" for name in ("n_train", "reduction", "reverse")
                  if getattr(value, name) != getattr(usual, name)]
        return f"Ranking.by({', '.join(given)})"
    if isinstance(value, Unit | Setup | ModelId | TaskId | Ranking):
        parts, by_place = [], True
        for f in fields(value):  # type: ignore[arg-type]
            inner = getattr(value, f.name)
            default = f.default if f.default is not MISSING else (
                f.default_factory() if f.default_factory is not MISSING else MISSING)
            if inner == default and not isinstance(value, Setup):
                by_place = False
            elif by_place and default is MISSING:
                parts.append(expression(inner, known))
            else:
                parts.append(f"{f.name}={expression(inner, known)}")
        return f"{type(value).__name__}({', '.join(parts)})"
    return repr(value)


def python(unit: Unit[Any], load: str, *after: str, over: Sequence[tuple[TaskId, int]] = (),
           also: Mapping[str, Unit[Any]] | None = None, given: Mapping[str, Any] | None = None) -> str:
    """Python that gets a unit's record (`record`), stored or measured, and then the lines `after`.

    Args:
        load: the arguments of `load_model`, as they are written.
        over: tasks and numbers of shots to get such a record of, each; they are then `records`, in this order.
        also: further units, by the names that their records get; with `over` each is a list like `records`, unless it
            needs no task.
        given: values that the lines name first, hashable ones.
    """
    also, given = also or {}, given or {}
    known: dict[Any, str] = {unit.model: "model"}
    body = [f"model = {expression(unit.model, {})}"]
    if over:
        tasks, shots = (tuple(dict.fromkeys(some)) for some in zip(*over, strict=True))
        body.append(f"tasks = {_listed(tasks)}")
        known[tuple(sorted(tasks))] = "tasks"
    for name, value in given.items():
        body.append(f"{name} = {_listed(value) if isinstance(value, tuple) else expression(value, known)}")
        known[value] = name
    if (setup := unit.setup) is not None:
        if over:
            known |= {setup.task: "task"}
        made = expression(setup, known)
        if over and len(shots) > 1 and not setup.n_shots:
            raise ValueError("The lines loop over numbers of shots: give a setup that has some, it knows the draws.")
        if over:
            made = made.replace(f"n_shots={setup.n_shots}", "n_shots=n_shots" if len(shots) > 1 else
                                f"n_shots={shots[0]}")
            body += _wrapped_loop(f"setups = [{made}", _loop(over, tasks, shots))
            known.pop(setup.task)
        else:
            body.append(f"setup = {made}")
        known |= {setup: "setup", setup.task: "setup.task"}
    known |= {one.setup: f"setup.with_(n_examples={one.setup.n_examples})" for one in also.values()
              if setup is not None and one.setup not in (None, setup) and one.setup.with_(
                  n_examples=setup.n_examples) == setup}
    if over:
        body.append(f"records = [get({expression(unit, known)}) for setup in setups]")
    else:
        body += [f"unit = {expression(unit, known)}", "record = get(unit)"]
    for name, one in also.items():
        each = over and one.setup is not None
        body.append(f"{name} = " + (f"[get({expression(one, known)}) for setup in setups]" if each else
                                    f"get({expression(one, known)})"))
    return with_imports([*body, *after], load)


def with_imports(lines: Sequence[str], load: str = "") -> str:
    """The lines behind the imports that their names need.

    Args:
        load: the arguments of `load_model`, where the lines `get` what is stored or else measured.
    """
    from .unit import KINDS

    start = ["store = default_store()", f"loaded = cache(lambda: load_model({load}))  # where something is missing", "",
             "", "def get(unit):", "    return fetch(unit, store) or compute(unit, store, loaded())", "", ""] \
        if load else []
    text = "\n".join([*start, *lines])
    ours = places.NAME
    homes = dict.fromkeys(("fetch", "compute"), f"{ours}.kinds")
    homes |= {kind.__name__: f"{ours}.kinds" if kind.__module__.startswith(__package__) else kind.__module__
              for kind in KINDS.values()}
    homes |= {"load_model": f"{ours}.models.loading", "default_store": f"{ours}.store.live", "cache": "functools",
              "get_task": f"{ours}.tasks.registry", "prompts": f"{ours}.tasks.task", "weights": f"{ours}.models.info"}
    homes |= dict.fromkeys(("Setup", "ModelId", "TaskId", "Head", "Ranking", "parse_exact"), f"{ours}.values")
    wanted: dict[str, list[str]] = {}
    for name, home in homes.items():
        if re.search(rf"(?<![\w.]){name}[(.]", text):
            wanted.setdefault(home, []).append(name)
    imports = [f"from {home} import {', '.join(sorted(names, key=str.casefold))}" for home, names in
               sorted(wanted.items(), key=lambda one: (one[0].startswith(ours), one))]
    if rooms := [room for room in ("lens", "stats", "tables") if re.search(rf"(?<![\w.]){room}\.", text)]:
        imports.insert(bool(wanted.get("functools")), f"from {ours} import {', '.join(rooms)}")
    if re.search(r"(?<![\w.])np\.", text):
        imports.insert(bool(wanted.get("functools")), "import numpy as np")
    return "\n".join([*imports, "", *start, *lines])


def _loop(over: Sequence[tuple[TaskId, int]], tasks: Sequence[TaskId], shots: Sequence[int]) -> str:
    """How a list goes over tasks and numbers of shots."""
    if len(shots) == 1 and len(over) == len(tasks):
        return "for task in tasks"
    if list(over) == list(product(tasks, shots)):
        return f"for task in tasks for n_shots in {shots}"
    if list(over) == [(task, n) for n, task in product(shots, tasks)]:
        return f"for n_shots in {shots} for task in tasks"
    return f"for task, n_shots in [{', '.join(f'(tasks[{tasks.index(task)}], {n})' for task, n in over)}]"


def _wrapped_loop(start: str, loop: str) -> list[str]:
    return [f"{start} {loop}]"] if len(start) + len(loop) < _WIDTH else [start, f"          {loop}]"]


def _listed(values: Sequence[Any]) -> str:
    """A tuple, as many of its members to a line as fit."""
    items = [expression(value, {}) for value in values]
    short = f"({', '.join(items)}{',' * (len(items) == 1)})"
    return short if len(short) < _WIDTH - 20 else "\n".join(["(", *_wrapped(items), ")"])


def commands(units: Iterable[Unit[Any]], model: Sequence[str]) -> str:
    """The commands that make these units, those of one kind and manner together; empty where none can.

    Args:
        model: the arguments that name the model and how it is run.
    """
    import shlex

    lines: dict[tuple[str, ...], dict[str, None]] = {}
    for unit in units:
        if not (given := unit.arguments()):
            continue
        place = given.index("--tasks") + 1 if "--tasks" in given else 0
        names = lines.setdefault(tuple(given[:place] + [""] * bool(place) + given[place + 1:]) if place
                                 else tuple(given), {})
        names.setdefault(given[place] if place else "")
    made = []
    for pattern, names in lines.items():
        given = [",".join(names) if part == "" else part for part in pattern]
        made.append(f"{places.COMMAND} {shlex.join(['precompute', *model, *given])}")
    return "\n".join(made)


def _wrapped(items: Sequence[str]) -> list[str]:
    """Items with commas, as many to a line as fit."""
    lines = ["   "]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > _WIDTH and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {item},"
    return lines


