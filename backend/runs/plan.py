"""What a run consists of: units in an order in which each finds what it builds on, and what they cost.

A cost is counted in tokens that pass through the whole model once. It is an estimate: a few prompts of
each setup are measured and the rest taken to be like them. Seconds come from units of the same kind that
this machine has computed, else from a short probe of the model at hand.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, DataError
from ..kinds import KINDS, Model, Unit
from ..kinds.prompts import task_of
from ..kinds.unit import Option, Topic, Wish, fetch_whole, with_needs
from ..records import ModelInfo
from ..store.live import Store
from ..tasks.registry import get_task, suite
from ..tasks.task import DEMOS, DRAWS, Prompt, iter_prompts
from ..values import ModelId, Setup, TaskId

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

LARGEST = 999_999_999  # of any number that can be asked for
N_EXAMPLES = 100  # queries of an evaluation, unless asked otherwise

_SAMPLE = 16  # prompts per setup that are measured
_CHARACTERS_PER_TOKEN = 4  # where no tokenizer is at hand

CountText = Callable[[str], int]


def guessed_tokens(text: str) -> int:
    """How many tokens a text has, about, where no tokenizer is at hand."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def topics() -> dict[str, Topic]:
    """What can be asked for, by the words of `--what`; quick answers first."""
    found = {name: topic for kind in KINDS.values() for name, topic in kind.TOPICS.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].rank))


def options(what: Iterable[str] | None = None) -> dict[str, Option]:
    """What can be chosen for some topics, or for all."""
    wanted = set(topics() if what is None else what)
    return {option.name: option for kind in KINDS.values() if wanted & set(kind.TOPICS) for option in kind.OPTIONS}


def usual_topics() -> tuple[str, ...]:
    """What is measured unless asked otherwise."""
    return tuple(name for name, topic in topics().items() if topic.by_default)


def identify_tasks(names: str) -> tuple[TaskId, ...]:
    """The tasks that a name, a suite, or several of them with commas between stand for, as their rows are here.

    Raises:
        BadInput: an unknown name.
        DataError: the rows of one cannot be had.
    """
    return tuple(TaskId(task.name, task.fingerprint) for task in suite(names))


@dataclass(frozen=True)
class Request:
    """What somebody wants to know about a model."""

    model: ModelId
    info: ModelInfo
    tasks: tuple[TaskId, ...] = ()
    shots: tuple[int, ...] = (0, 1, 5)
    what: tuple[str, ...] = field(default_factory=usual_topics)
    demos: str = "fixed"
    n_examples: int = N_EXAMPLES
    seeds: tuple[int, ...] = (0,)
    options: Mapping[str, Any] = field(default_factory=dict)  # of the topics, by name; defaults are filled in
    draws: int = DRAWS  # of fixed demonstrations

    def __post_init__(self) -> None:
        known = topics()
        if unknown := [topic for topic in self.what if topic not in known]:
            raise BadInput(f"Cannot measure '{unknown[0]}'. Known: {', '.join(known)}, all.")
        if not self.what:
            raise BadInput(f"Nothing to measure. Name some of: {', '.join(known)}, all.")
        if self.demos not in DEMOS:
            raise BadInput(f"Unknown way to draw demonstrations '{self.demos}'. Known: {', '.join(DEMOS)}.")
        choices = options()
        if odd := sorted(set(self.options) - set(choices)):
            raise BadInput(f"Unknown option '{odd[0]}'. Known: {', '.join(choices)}.")
        chosen = {name: option.default for name, option in choices.items()} | dict(self.options)
        object.__setattr__(self, "options", chosen)
        least = [("n_examples", self.n_examples, 1), ("draws", self.draws, 1),
                 *(("shots", shots, 0) for shots in self.shots), *(("seeds", seed, 0) for seed in self.seeds),
                 *((name, chosen[name], o.least) for name, o in choices.items() if o.least is not None)]
        for name, value, at_least in least:
            if value < at_least:
                raise BadInput(f"{name.replace('_', '-')} must be {at_least} or more, got {value}.")
            if value > LARGEST:
                raise BadInput(f"{name.replace('_', '-')} must be {LARGEST:,} or less, got one of {len(str(value))} "
                               "digits.")
        for ablation in chosen.get("off", ()):
            ablation.check(self.info.n_layers, self.info.n_heads, self.info.headless)
        if chosen.get("off") and not any(known[topic].masked for topic in self.what):
            object.__setattr__(self, "what", (*self.what, "masks"))
        object.__setattr__(self, "what", tuple(topic for topic in known if topic in self.what))

    @property
    def needs_tasks(self) -> bool:
        return any(topics()[name].per_task for name in self.what)

    @property
    def needs_training(self) -> bool:
        return any(topics()[name].training for name in self.what) or any(
            ablation.fill == "mean" for ablation in self.options.get("off", ()))

    @property
    def setups(self) -> tuple[Setup, ...]:
        """Every task at every number of shots and seed."""
        return tuple(Setup(self.model, task, n_shots, self.demos, self.n_examples, seed, self.draws)
                     for seed in self.seeds for n_shots in self.shots for task in self.tasks)


@dataclass(frozen=True)
class Step:
    """One unit of a plan."""

    unit: Unit[Any]
    done: bool  # stored already
    cost: int  # tokens through the whole model


@dataclass(frozen=True)
class Plan:
    """All units that are asked for, each after those that it builds on."""

    steps: tuple[Step, ...]

    @property
    def to_do(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.done)

    @property
    def n_done(self) -> int:
        return sum(step.done for step in self.steps)

    @property
    def cost(self) -> int:
        """Tokens through the whole model that are still to be computed."""
        return sum(step.cost for step in self.to_do)


def make(request: Request, store: Store, count_text: CountText | None = None) -> Plan:
    """The plan of a request: what there is, what is to do and what that costs.

    Raises:
        BadInput: more shots than a task has training examples.
        DataError: a task's rows cannot be had, or a split that is needed is empty.
    """
    return of_units(asked(request), request.info, store, count_text)


def of_units(asked: Iterable[Unit[Any]], info: ModelInfo, store: Store, count_text: CountText | None = None) -> Plan:
    """The plan of some results: they, and what they build on."""
    count = Counting(count_text)
    return Plan(tuple(Step(unit, done := is_done(unit, store), 0 if done else unit.cost(info, count))
                      for unit in with_needs(asked)))


def is_done(unit: Unit[Any], store: Store) -> bool:
    """Whether a result is stored, with all that is measured of it now."""
    return unit in store and (type(unit).is_whole is Unit.is_whole or fetch_whole(unit, store) is not None)


def asked(request: Request, find: Callable[[str], Sequence[TaskId]] | None = None) -> list[Unit[Any]]:
    """The units that a request names, the model's own record first; without what they build on.

    Args:
        find: the tasks that names stand for, where their rows need not be here.
    """
    if request.needs_tasks and find is None:
        _check_rows(request)
    wish = Wish(request.model, request.setups if request.needs_tasks else (), request.options, find or identify_tasks)
    found: dict[Unit[Any], None] = {Model(request.model): None}
    for topic in request.what:
        for kind in KINDS.values():
            if topic in kind.TOPICS:
                found |= dict.fromkeys(kind.asked(topic, wish))
    return list(found)


def units(request: Request) -> list[Unit[Any]]:
    """The units of a request, each once and after those that it builds on; quick answers first."""
    return with_needs(asked(request))


def _check_rows(request: Request) -> None:
    """What cannot be asked is said now, not after hours."""
    if not request.tasks:
        raise BadInput("No task named. Give one, several with commas between, or a suite such as mini or paper.")
    for setup in request.setups:
        for split in ["validation", *(["train"] if request.needs_training else [])]:
            next(iter_prompts(get_task(setup.task.name), setup.n_shots, setup.demos, 1, setup.seed,
                              split, setup.draws))  # type: ignore[arg-type]


# --- cost ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counting:
    """Tokens of prompts: of a few, and the rest taken to be like them."""

    count_text: CountText | None = None

    def __call__(self, setup: Setup, split: str) -> int:
        return _tokens(setup, split, self.count_text)


@lru_cache(maxsize=4096)
def _tokens(setup: Setup, split: str, count_text: CountText | None) -> int:
    """Tokens that one evaluation, or one pass over the training prompts, reads."""
    task = task_of(setup)
    sample: list[Prompt] = []
    for prompt in iter_prompts(task, setup.n_shots, setup.demos, None, setup.seed, split,  # type: ignore[arg-type]
                               setup.draws):
        sample.append(prompt)
        if len(sample) == min(_SAMPLE, setup.n_examples):
            break
    n = min(setup.n_examples, len(task.rows(split)))  # type: ignore[arg-type]
    count = count_text or guessed_tokens
    total = 0
    shared = setup.demos == "fixed" and split == "validation"
    for prompt in sample:
        options = range(len(prompt.example.options)) if split == "validation" else prompt.example.gold[:1]
        total += 0 if shared else count(prompt.prefix)
        contexts = {context: count(context) for context in {prompt.example.contexts[i] for i in options}}
        total += sum(contexts.values())
        for i in options:  # together with its context, as it is read: alone it may be cut otherwise
            context = prompt.example.contexts[i]
            total += max(count(context + prompt.example.options[i]) - contexts[context], 1)
    once = sum(map(count, {prompt.prefix for prompt in sample})) if shared else 0  # each draw is read once
    return once + round(total * n / len(sample))


# --- time ---------------------------------------------------------------------------------------


def rates(model: ModelId, info: ModelInfo, store: Store, count_text: CountText | None = None) -> dict[str, float]:
    """Tokens per second of each kind of unit that this machine has computed for this model."""
    spent: dict[str, list[tuple[int, float]]] = {}
    for unit in store.live_units():
        recent = spent.setdefault(unit.KIND, [])
        if unit.model == model and len(recent) < _SAMPLE and (seconds := store.seconds(unit)):
            with suppress(BadInput, DataError):  # its rows are not here any more
                recent.append((unit.cost(info, Counting(count_text)), seconds))
    return {kind: sum(c for c, _ in pairs) / sum(s for _, s in pairs) for kind, pairs in spent.items() if pairs}


def seconds(steps: Iterable[Step], rates: dict[str, float]) -> float | None:
    """How long steps will take; None where nothing is known of this machine's speed.

    Args:
        rates: tokens per second by kind; "" stands for kinds that were not measured.
    """
    total = 0.0
    general = rates.get("") or rates.get("evaluation")
    for step in steps:
        if step.cost and not step.done:
            rate = rates.get(step.unit.KIND) or general
            if rate is None:
                return None
            total += step.cost / rate
    return total


def probe(model: LoadedModel, plan: Plan, at_most: float = 5.0) -> float | None:
    """Tokens per second of a short evaluation: a few prompts of the plan, read once to warm up, then timed.

    None if the plan needs no prompts. Takes about `at_most` seconds, at least two passes.
    """
    from ..kinds.evaluation import evaluate

    setup = next((s.unit.setup for s in plan.to_do if s.unit.setup is not None), None)
    if setup is None:
        return None
    task = get_task(setup.task.name)
    some = list(iter_prompts(task, setup.n_shots, setup.demos, 4, setup.seed,
                             draws=setup.draws))
    evaluate(model, some[:1], metric=task.metric)
    began, passes = time.perf_counter(), 0
    while passes == 0 or (time.perf_counter() - began < at_most / 2 and passes < 3):
        evaluate(model, some, metric=task.metric)
        passes += 1
    elapsed = time.perf_counter() - began
    each = setup.with_(n_examples=len(some))
    return passes * _tokens(each, "validation", lambda text: len(model.encode(text))) / max(elapsed, 1e-9)
