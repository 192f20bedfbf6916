"""What a run consists of: units in an order in which each finds what it builds on, and what they cost.

A cost is counted in tokens that pass through the whole model once. It is an estimate: a few prompts of
each setup are measured and the rest taken to be like them. Seconds come from units of the same kind that
this machine has computed, else from a short probe of the model at hand.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from backend import service, stats
from backend.errors import BadInput
from backend.results import ModelInfo, Setup, Unit
from backend.store.live import Store
from backend.tasks.registry import get_task, suite
from backend.tasks.task import DEMOS, Prompt, iter_prompts
from backend.values import Ablation

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel

# What can be asked for, and what it is, in the words of `--help`.
TOPICS = {
    "accuracy": "every option's log-likelihood, nothing switched off",
    "importance": "gradient importance of every head, in both reductions",
    "ffns": "accuracy with each FFN off",
    "heads": "accuracy with each single head off: as many evaluations as there are heads",
    "pruning": "accuracy as heads, or FFNs, are removed: by own, aggregate, reversed and random rankings",
    "combined": "accuracy as heads and FFNs are removed together: a map",
    "transfer": "accuracy as heads are removed by every other task's ranking",
    "induction": "prefix matching and copying of every head",
    "variants": "the other definitions of prefix matching (authors) and copying (olsson)",
    "means": "mean activations, for mean ablation",
}
WITHOUT_TASKS = ("induction", "variants")
NEEDS_TRAINING = ("importance", "pruning", "combined", "transfer", "means")
N_RANDOM = 5  # random rankings behind a band

_SAMPLE = 16  # prompts per setup that are measured
_CHARACTERS_PER_TOKEN = 4  # where no tokenizer is at hand
_GRADIENT = 3  # a forward and a backward pass, in forward passes

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Request:
    """What somebody wants to know about a model."""

    info: ModelInfo
    tasks: tuple[str, ...] = ()
    shots: tuple[int, ...] = (0, 1, 5)
    what: tuple[str, ...] = ("accuracy", "importance", "ffns", "pruning", "induction")
    demos: str = "fixed"
    n_examples: int = service.N_EXAMPLES
    n_train: int = service.N_TRAIN
    seeds: tuple[int, ...] = (0,)
    n_random: int = N_RANDOM
    n_sequences: int = service.N_SEEDS
    dtype: str = "float32"
    off: tuple[Ablation, ...] = ()  # evaluated beside the intact model

    def __post_init__(self) -> None:
        if unknown := [topic for topic in self.what if topic not in TOPICS]:
            raise BadInput(f"Cannot measure '{unknown[0]}'. Known: {', '.join(TOPICS)}, all.")
        if not self.what:
            raise BadInput(f"Nothing to measure. Name some of: {', '.join(TOPICS)}, all.")
        if self.demos not in DEMOS:
            raise BadInput(f"Unknown way to draw demonstrations '{self.demos}'. Known: {', '.join(DEMOS)}.")
        for name, value, least in [("examples", self.n_examples, 1), ("training examples", self.n_train, 1),
                                   ("random rankings", self.n_random, 0), ("random sequences", self.n_sequences, 1),
                                   *(("shots", shots, 0) for shots in self.shots)]:
            if value < least:
                raise BadInput(f"The number of {name} must be {least} or more, got {value}.")
        for ablation in self.off:
            ablation.check(self.info.n_layers, self.info.n_heads)

    @property
    def needs_tasks(self) -> bool:
        return bool(self.off or set(self.what) - set(WITHOUT_TASKS))

    @property
    def needs_training(self) -> bool:
        return bool(set(self.what) & set(NEEDS_TRAINING)) or any(ablation.fill == "mean" for ablation in self.off)


@dataclass(frozen=True)
class Step:
    """One unit of a plan."""

    unit: Unit
    done: bool  # stored already
    cost: int  # tokens through the whole model


@dataclass(frozen=True)
class Plan:
    """All units of a request, each after those that it builds on."""

    request: Request
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


def make(request: Request, store: Store, count_tokens: CountTokens | None = None) -> Plan:
    """The plan of a request: what there is, what is to do and what that costs.

    Raises:
        BadInput: more shots than a task has training examples.
        DataError: a task's rows cannot be had, or a split that is needed is empty.
    """
    steps = []
    for unit in units(request):
        done = unit in store
        steps.append(Step(unit, done, 0 if done else cost(unit, request.info, count_tokens)))
    return Plan(request, tuple(steps))


def units(request: Request) -> list[Unit]:
    """The units of a request, each once and after those that it builds on; quick answers first."""
    found: dict[Unit, None] = {}
    for unit in _asked(request):
        for needed in _with_needs(unit):
            found.setdefault(needed)
    return list(found)


def of_unit(unit: Unit, info: ModelInfo, store: Store) -> Plan:
    """The plan of one result: it, and what it builds on."""
    return Plan(Request(info, what=("accuracy",)), tuple(
        Step(u, done := u in store, 0 if done else cost(u, info)) for u in _with_needs(unit)))


def _asked(request: Request) -> Iterator[Unit]:
    yield service.model_record(request.info)
    what, setups = set(request.what), _setups(request) if request.needs_tasks else []
    plain = Setup(request.info.name, request.info.revision, request.dtype)
    if "induction" in what:
        yield service.prefix_matching(plain, "exact", request.n_sequences)
        yield service.copying(plain, "authors", request.n_sequences)
    if "variants" in what:
        yield service.prefix_matching(plain, "authors", request.n_sequences)
        yield service.copying(plain, "olsson", request.n_sequences)
    for setup in setups:
        if "accuracy" in what:
            yield service.evaluation(setup)
        for ablation in request.off:
            yield service.evaluation(setup, ablation, request.n_train)
        if "importance" in what:
            yield service.head_importance(setup, request.n_train)
        if "ffns" in what:
            yield service.ffn_oracle(setup)
        if "means" in what:
            yield service.means(setup, request.n_train)
    aggregates = _aggregates(request.tasks)
    for setup in setups:
        aggregate = aggregates.get(setup.task, [])
        if "pruning" in what:
            randoms = [f"random:{seed}" for seed in range(request.n_random)]
            for parts in ("heads", "ffns"):
                for ranking in ["own", *aggregate, "most-important", *randoms]:
                    yield service.pruning(setup, parts, ranking, request.n_train)
        if "combined" in what:
            for ranking in ["own", *aggregate]:
                yield service.pruning(setup, "combined", ranking, request.n_train)
        if "transfer" in what:
            for other in request.tasks:
                if other != setup.task:
                    yield service.pruning(setup, "heads", f"task:{other}", request.n_train)
    if "heads" in what:  # the longest by far, so it goes last
        yield from map(service.head_oracle, setups)


def _setups(request: Request) -> list[Setup]:
    if not request.tasks:
        raise BadInput("No task named. Give one, several with commas between, or a suite such as mini or paper.")
    setups = []
    for seed in request.seeds:
        for n_shots in request.shots:
            for name in request.tasks:
                setup = service.setup(request.info, name, n_shots, request.demos, request.n_examples, seed,
                                      request.dtype)
                splits = ["validation", *(["train"] if request.needs_training else [])]
                for split in splits:  # what cannot be asked is said now, not after hours
                    next(iter_prompts(get_task(name), n_shots, request.demos, 1, seed, split))  # type: ignore[arg-type]
                setups.append(setup)
    return setups


def _aggregates(tasks: Sequence[str]) -> dict[str, list[str]]:
    """Per task, the aggregate ranking to prune it by: its whole suite's if that is asked for, else its peers' here."""
    rankings: dict[str, list[str]] = {}
    groups = {name: {task.name for task in suite(name)} for name in ("paper", "mini")}
    held_out = {task.name for task in suite("held-out")}
    for name, members in groups.items():
        if members <= set(tasks):
            for task in members | (held_out if name == "paper" else set()):
                rankings[task] = [f"aggregate:{name}"]
    rest = [task for task in tasks if task not in rankings]
    return rankings | {task: [f"aggregate:{'+'.join(rest)}"] for task in rest if len(rest) > 1}


def _with_needs(unit: Unit) -> Iterator[Unit]:
    for needed in service.needs(unit):
        yield from _with_needs(needed)
    yield unit


# --- cost ---------------------------------------------------------------------------------------


def cost(unit: Unit, info: ModelInfo, count_tokens: CountTokens | None = None) -> int:
    """About how many tokens pass through the whole model to compute a unit, not counting what it builds on."""
    if unit.kind == "model":
        return 0
    if unit.kind in ("prefix_matching", "copying"):
        length = min(info.max_positions, 4 * (service.N_SEEDS + 25))
        return int(unit.option("n_seeds")) * length
    read = _tokens(unit.setup, "train" if unit.kind in ("head_importance", "means") else "validation", count_tokens)
    if unit.kind == "evaluation":
        return read
    if unit.kind == "head_importance":
        return _GRADIENT * read
    if unit.kind == "means":
        return read
    if unit.kind == "pruning":
        return _points(unit.option("what"), info) * read
    # An oracle starts each pass at the layer where it differs: half of the layers on average
    passes = 1 + (info.n_layers + 1) / 2 * (info.n_heads if unit.kind == "head_oracle" else 1)
    return round(passes * read)


def _points(what: str, info: ModelInfo) -> int:
    """Evaluations of a pruning curve, or of the combined map: steps that remove the same are measured once."""
    n_heads = info.n_layers * info.n_heads
    heads, ffns = {"heads": (10, 1), "ffns": (1, 10), "combined": (8, 6)}[what]
    return (len({stats.count(p / 10, n_heads) for p in range(heads)})
            * len({stats.count(p / 10, info.n_layers) for p in range(ffns)}))


@lru_cache(maxsize=4096)
def _tokens(setup: Setup, split: str, count_tokens: CountTokens | None) -> int:
    """Tokens that one evaluation, or one pass over the training prompts, reads."""
    task = get_task(setup.task)
    sample: list[Prompt] = []
    for prompt in iter_prompts(task, setup.n_shots, setup.demos, None, setup.seed, split):  # type: ignore[arg-type]
        sample.append(prompt)
        if len(sample) == min(_SAMPLE, setup.n_examples):
            break
    n = min(setup.n_examples, len(task.rows(split)))  # type: ignore[arg-type]
    count = count_tokens or (lambda text: math.ceil(len(text) / _CHARACTERS_PER_TOKEN))
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
    once = count(sample[0].prefix) if shared else 0
    return once + round(total * n / len(sample))


# --- time ---------------------------------------------------------------------------------------


def rates(info: ModelInfo, store: Store, dtype: str = "float32",
          count_tokens: CountTokens | None = None) -> dict[str, float]:
    """Tokens per second of each kind of unit that this machine has computed for this model."""
    spent: dict[str, list[tuple[int, float]]] = {}
    for unit in store.live_units():
        if (unit.setup.model, unit.setup.revision, unit.setup.dtype) == (info.name, info.revision, dtype):
            seconds = store.seconds(unit)
            recent = spent.setdefault(unit.kind, [])
            if seconds and len(recent) < _SAMPLE:
                recent.append((cost(unit, info, count_tokens), seconds))
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
            rate = rates.get(step.unit.kind) or general
            if rate is None:
                return None
            total += step.cost / rate
    return total


def probe(model: LoadedModel, plan: Plan, at_most: float = 5.0) -> float | None:
    """Tokens per second of a short evaluation: a few prompts of the plan, read once to warm up, then timed.

    None if the plan needs no prompts. Takes about `at_most` seconds, at least two passes.
    """
    from backend.kinds.evaluation import evaluate

    setup = next((s.unit.setup for s in plan.to_do if s.unit.setup.task), None)
    if setup is None:
        return None
    task = get_task(setup.task)
    some = list(iter_prompts(task, setup.n_shots, setup.demos, 4, setup.seed))
    evaluate(model, some[:1], metric=task.metric)
    began, passes = time.perf_counter(), 0
    while passes == 0 or (time.perf_counter() - began < at_most / 2 and passes < 3):
        evaluate(model, some, metric=task.metric)
        passes += 1
    elapsed = time.perf_counter() - began
    each = setup.with_(n_examples=len(some))
    return passes * _tokens(each, "validation", lambda text: len(model.encode(text))) / max(elapsed, 1e-9)
