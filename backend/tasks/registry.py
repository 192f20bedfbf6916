"""Every task by its name, and the suites: what `--tasks` and the task menu understand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from .. import demo
from ..errors import BadInput
from . import harness, own
from .paper import HELD_OUT, PAPER, STUDY
from .task import Metric, Task

SUITES = ("paper", "held-out", "mini", "all")


def get_task(name: str) -> Task:
    """The task of that name: 'piqa', a task of the mini suite, 'own:<name or path>', 'lm_eval:<task>'.

    Raises:
        BadInput: if there is none; the message lists the known ones and the closest.
        DataError: if a task of one's own cannot be read, or a demo does not list it.
    """
    check_listed(name)
    kind, colon, rest = name.partition(":")
    if colon and kind == "own":
        return own.find(rest)
    if colon and kind == "lm_eval":
        return harness.load_task(rest)
    tasks = _built_in()
    if name not in tasks:
        close = get_close_matches(name.lower(), [*tasks, *SUITES], n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise BadInput(f"Unknown task '{name}'.{hint} Known: {', '.join(known())}; or own:<name or path of a JSONL "
                       f"file>, lm_eval:<task>.")
    return tasks[name]


@dataclass(frozen=True)
class About:
    """What can be said of a task from its name alone."""

    title: str
    group: str  # as `Task.group`, or "unknown"
    about: str
    metric: Metric = "acc"


def about(name: str) -> About:
    """What a task is called and asks, without its rows: for results of it that were computed elsewhere.

    No file is read. Own tasks and the harness's are known by their names only; they count as scored by accuracy.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == "own":
        return About(rest, "own", "A task of someone's own rows.")
    if colon and kind == "lm_eval":
        return About(rest, "lm_eval", harness.about(rest))
    if task := _built_in().get(name):
        return About(task.title, task.group, task.about, task.metric)
    return About(name, "unknown", "A task that this version of Headroom does not have.")


def suite(names: str) -> list[Task]:
    """The tasks of a suite or of a comma list of suites and tasks, each once, in the order named.

    'paper' is the study's 14, 'held-out' MathQA and LAMBADA, 'mini' the bundled model's suite,
    'all' the three together.

    Raises: as `get_task`; BadInput also if nothing is named.
    """
    members: dict[str, list[str]] = {"paper": list(STUDY), "held-out": list(HELD_OUT), "mini": list(_mini()),
                                     "all": list(_built_in())}
    wanted = [part.strip() for part in names.split(",") if part.strip()]
    if not wanted:
        raise BadInput(f"No task named. Give one, several with commas between, or a suite: {', '.join(SUITES)}.")
    tasks = [get_task(name) for part in wanted for name in members.get(part, [part])]
    return list({task.name: task for task in tasks}.values())


def known() -> list[str]:
    """Names of all tasks that are at hand: built in, and kept ones of one's own; in a demo those that it lists."""
    if demo.on():
        return [*_mini(), *demo.tasks()]
    return [*_built_in(), *(f"own:{name}" for name in own.kept())]


def check_listed(name: str) -> None:
    """Raises: DataError: if this is a demo, and it does not list the task."""
    if demo.on():
        demo.check_task(name, tuple(_mini()))


@cache
def _built_in() -> Mapping[str, Task]:
    return {**PAPER, **_mini()}


def _mini() -> Mapping[str, Task]:
    """The bundled model's tasks, imported when first asked for: their word lists are long."""
    from .mini import MINI

    return MINI
