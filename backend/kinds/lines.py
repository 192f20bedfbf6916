"""Units as text that people run: lines of Python, and commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from backend.kinds.unit import Unit
from backend.values import Ablation, ModelId, Ranking, Setup, TaskId

_WIDTH = 116


def expression(value: Any, known: dict[Any, str]) -> str:
    """Python that makes a value, in which `known` values stand as names."""
    if (name := known.get(value) if value.__hash__ else None) is not None:
        return name
    if isinstance(value, Ablation):
        return f"parse_exact({str(value)!r})"
    if isinstance(value, tuple):
        return f"({', '.join(expression(v, known) for v in value)}{',' * (len(value) == 1)})"
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


def python(unit: Unit[Any], load: str, *after: str, over: Sequence[tuple[TaskId, int]] = ()) -> str:
    """Python that gets a unit's record (`record`), stored or measured, and then the lines `after`.

    Args:
        load: the arguments of `load_model`, as they are written.
        over: tasks and numbers of shots to get such a record of, each; they are then `records`, in this order.
    """
    known: dict[Any, str] = {unit.model: "model"}
    body, indent = [f"model = {expression(unit.model, {})}"], ""
    if over:
        body += ["records = []", "for task, n_shots in ["]
        body += [*_wrapped([f"({expression(task, {})}, {n_shots})" for task, n_shots in over]), "]:"]
        indent = "    "
    if unit.setup is not None:
        setup = unit.setup
        if over:
            known |= {setup.task: "task"}
        made = expression(setup, known)
        if over:
            made = made.replace(f"n_shots={setup.n_shots}", "n_shots=n_shots")
        body.append(f"{indent}setup = {made}")
        known = {unit.model: "model", setup: "setup", (setup.task,): "(setup.task,)"}  # a ranking by its own importance
    body.append(f"{indent}unit = {expression(unit, known)}")
    body.append(f"{indent}record = fetch(unit, store) or compute(unit, store, load_model({load}))")
    body += [f"{indent}records.append(record)"] * bool(over)
    return with_imports([*body, *after], also=("store = default_store()",))


def with_imports(lines: Sequence[str], also: Sequence[str] = ()) -> str:
    """The lines behind the imports that their names need."""
    from backend.kinds.unit import KINDS

    text = "\n".join([*also, *lines])
    homes = dict.fromkeys(("fetch", "compute"), "backend.kinds")
    homes |= {kind.__name__: "backend.kinds" if kind.__module__.startswith("backend.kinds.") else kind.__module__
              for kind in KINDS.values()}
    homes |= {"load_model": "backend.models.loading", "default_store": "backend.store.live",
              "get_task": "backend.tasks.registry", "prompts": "backend.tasks.task"}
    homes |= dict.fromkeys(("Setup", "ModelId", "TaskId", "Ranking", "parse_exact"), "backend.values")
    wanted: dict[str, list[str]] = {}
    for name, home in homes.items():
        if f"{name}(" in text or f"{name}." in text:
            wanted.setdefault(home, []).append(name)
    imports = [f"from {home} import {', '.join(sorted(names, key=str.casefold))}" for home, names in
               sorted(wanted.items())]
    if rooms := [room for room in ("lens", "stats") if f"{room}." in text]:
        imports.insert(0, f"from backend import {', '.join(rooms)}")
    return "\n".join([*imports, "", *also, *lines])


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
        made.append(shlex.join(["python", "-m", "backend", "precompute", *model, *given]))
    return "\n".join(made)


def _wrapped(items: Sequence[str]) -> list[str]:
    """Items with commas, as many to a line as fit."""
    lines = ["   "]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > _WIDTH and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {item},"
    return lines


