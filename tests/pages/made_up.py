"""Stores full of made-up results, for pages: the truth of the numbers is another test's business.

Every record follows from its unit alone, so two stores hold the same. Importance falls off from head to head in a
pattern that tasks share in part; accuracies fall as components go; nothing is measured and torch is not loaded.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from backend.kinds import (
    Activations,
    Answers,
    Attribution,
    Attributions,
    Constants,
    Copying,
    Effects,
    Evaluation,
    FFNOracle,
    FunctionVectors,
    GateOrder,
    Greedy,
    GreedyOrder,
    HeadGates,
    HeadImportance,
    HeadOracle,
    HeadScores,
    HeadWrites,
    InductionScores,
    Influence,
    Influences,
    Iterative,
    IterativeOrder,
    KnockOut,
    Means,
    Model,
    Order,
    PrefixMatching,
    Pruning,
    Relabelled,
    ShuffledHeads,
    Sweep,
    Unit,
    Writes,
)
from backend.kinds.function_vectors import MEANS
from backend.kinds.head_gates import N_LOSSES
from backend.kinds.knock_out import EVERY_SORT, SHARES, ranked_on
from backend.kinds.oracles import FILLS
from backend.kinds.pruning import pruning_steps
from backend.kinds.writes import N_PROBE
from backend.models import smollm2
from backend.records import ModelInfo, Questions, Record
from backend.runs.plan import identify_tasks
from backend.store.live import Store
from backend.tasks.registry import get_task
from backend.tasks.task import DRAWS
from backend.values import INTACT, N_FIT, Ablation, Head, ModelId, Ranking, Setup, TaskId, parse_exact

N_QUESTIONS, N_OPTIONS, N_BLOCKS = 40, 4, 6
LARGE = 1000  # heads; models with more get fewer blocks, so that their stores are made in seconds
N_TRAIN = 200  # training prompts, as pages ask


# --- models, tasks, setups, units -----------------------------------------------------------------


def model_info(n_layers: int = 3, n_heads: int = 4, name: str = "bundled") -> ModelInfo:
    """A model that exists only on paper, shaped like an OPT."""
    d_model = 8 * n_heads
    n_params = n_layers * (4 * d_model * d_model + 8 * d_model * d_model) + 1000 * d_model
    return ModelInfo(name, "made-up", "opt", n_layers, n_heads, d_model, 8, 4 * d_model, n_params, 256, 1000,
                     "float32", 4 * n_params)


def model_id(info: ModelInfo, **more: Any) -> ModelId:
    """What such a model is called in every key."""
    return ModelId(info.name, info.revision, **({"digest": "0123456789ab"} | more))


@cache
def task_id(name: str) -> TaskId:
    """A task as its rows are here; the mini suite's never change."""
    return TaskId(name, get_task(name).fingerprint)


def setup(model: ModelId, task: str | TaskId, n_shots: int = 5, **more: Any) -> Setup:
    return Setup(model, task if isinstance(task, TaskId) else task_id(task), n_shots, **({"draws": DRAWS} | more))


def setups(model: ModelId, tasks: Sequence[str | TaskId], shots: Sequence[int] = (5,), **more: Any) -> list[Setup]:
    return [setup(model, task, n_shots, **more) for n_shots in shots for task in tasks]


def importance(of: Setup) -> HeadImportance:
    """Head importance as pages ask for it."""
    return HeadImportance(of.with_(n_examples=N_TRAIN))


def attribution(of: Setup) -> Attribution:
    """Signed and integrated gradients as pages ask for them."""
    return Attribution(of.with_(n_examples=N_TRAIN))


def means(of: Setup) -> Means:
    """Mean activations as pages ask for them."""
    return Means(of.with_(n_examples=N_TRAIN))


def writes(of: Setup) -> Writes:
    """What heads write, as pages ask for it."""
    return Writes(of.with_(n_examples=N_PROBE))


def vectors(of: Setup) -> FunctionVectors:
    """Function vectors, as pages ask for them."""
    return FunctionVectors(of.with_(n_examples=MEANS))


def gates(of: Setup) -> HeadGates:
    """Learned gates, as pages ask for them."""
    return HeadGates(of.with_(n_examples=N_FIT))


def knock_outs(of: Setup, tasks: Iterable[TaskId], fill: str = "zero") -> list[KnockOut]:
    """The knock-out curves of a task, as pages ask for them: ranked on the other tasks."""
    return [KnockOut(of, sort, ranked_on(of.task, list(tasks)), fill) for sort in EVERY_SORT]


def demonstrations(of: Setup, off: Ablation = INTACT) -> list[Unit[Any]]:
    """What the pages ask of demonstrations under a mask, beside evaluations."""
    return [Evaluation(of.with_(n_shots=0), off), Evaluation(of, off), Relabelled(of, "shuffled", off),
            Relabelled(of, "made-up", off), Influence(of, off)]


def head_oracles(of: Setup) -> list[Unit[Any]]:
    """The three oracles behind what recognition and learning need."""
    return [HeadOracle(of.with_(n_shots=0)), ShuffledHeads(of), HeadOracle(of)]


def pruning(of: Setup, what: str = "heads", ranking: str = "own") -> Pruning:
    """A curve by a ranking as the command line names it."""
    return Pruning(of, what, Ranking.parse(ranking, of.task, identify_tasks))


def everything(model: ModelId, tasks: Sequence[TaskId], off: Ablation, shots: Sequence[int] = (0, 1, 5), *,
               each_head: Sequence[TaskId] | None = None) -> Iterator[Unit[Any]]:
    """All that any view of any page reads: at every number of shots what is set side by side, else at the last.

    Args:
        each_head: the tasks of which it is known what each head's removal does, the bulk of it all; None: all.
    """
    for one in setups(model, tasks, shots):
        yield from (importance(one), writes(one), Evaluation(one), Evaluation(one, off))
    for one in setups(model, tasks, shots[-1:]):
        own, reverse = Ranking.by(one.task), Ranking.by(one.task, reverse=True)
        yield from (FFNOracle(one), vectors(one), Pruning(one, "combined", own), attribution(one), gates(one))
        yield from (*knock_outs(one, tasks), *demonstrations(one), *demonstrations(one, off))
        if each_head is None or one.task in each_head:
            yield from (*head_oracles(one), *(HeadOracle(one, fill) for fill in FILLS[1:]))
        for what in ("heads", "ffns"):
            for ranking in (own, Ranking.by(*tasks), reverse, *(Ranking.random(seed, N_PROBE) for seed in range(5))):
                yield Pruning(one, what, ranking)
    for ranking in map(Ranking.by, tasks):
        for one in setups(model, tasks, shots[-1:]):
            yield Pruning(one, "heads", ranking)
    for variant in PrefixMatching.VARIANTS:
        yield PrefixMatching(model, variant)
    for variant in Copying.VARIANTS:
        yield Copying(model, variant)


# --- records ----------------------------------------------------------------------------------------


REAL = model_info(4, 2, name=smollm2.NAME)  # the real model that the Tour tells of, on paper


def real_story(tasks: Sequence[TaskId]) -> Iterator[Unit[Any]]:
    """What the Tour tells of a real model."""
    for one in setups(model_id(REAL), tasks, (0, 5)):
        yield Evaluation(one)
        if one.n_shots:
            yield from (importance(one), writes(one), pruning(one), pruning(one, "ffns"))


def record(unit: Unit[Any], info: ModelInfo) -> Record:
    """What a unit might have answered."""
    if unit.RECORD is ModelInfo:
        return info
    if unit.RECORD is InductionScores:
        return _induction(unit, info)
    if unit.RECORD is Attributions:
        return _attributions(unit, info)
    if unit.RECORD is Constants:
        return _constants(unit, info)
    if unit.RECORD is HeadScores:
        return _importance(unit, info)
    if unit.RECORD is HeadWrites:
        return _writes(unit, info)
    if unit.RECORD is Activations:
        return _means(unit, info)
    if isinstance(unit, Iterative | Greedy | HeadGates):
        return _order(unit, info)
    if isinstance(unit, FunctionVectors):
        return _effects(unit, info)
    if isinstance(unit, Evaluation | Relabelled):
        return _evaluation(unit, info)
    if isinstance(unit, Influence):
        return _influences(unit, info)
    return _sweep(unit, info)


def fill(store: Store, units: Iterable[Unit[Any]], info: ModelInfo) -> None:
    """Put a made-up record for every unit, for what it builds on, and for its model's shape."""
    wanted = list(units)
    models = {unit.model for unit in wanted} or {model_id(info)}
    results: dict[Unit[Any], Record] = {
        Model(model): replace(info, name=model.name, revision=model.revision) for model in models}
    for unit in wanted:
        for one in (*unit.needs(), unit):
            if one not in results:
                results[one] = record(one, info)
    store.put_all(results.items())


def filled(folder: Path, units: Iterable[Unit[Any]], info: ModelInfo) -> None:
    """The same into a folder's store, which is closed again."""
    with Store(folder) as store:
        fill(store, units, info)


# --- inside -------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _shape_of(info: ModelInfo, task: str = "") -> np.ndarray:
    """(n_layers, n_heads): what all tasks share, and with a task what is its own; 0 where there are no heads."""
    def draw(name: str) -> np.ndarray:
        drawn = np.random.default_rng(zlib.crc32(name.encode())).lognormal(0, 1, (info.n_layers, info.n_heads))
        drawn[list(info.headless)] = 0
        return drawn

    return draw(info.name) * draw(f"{info.name} {task}") ** 0.6 if task else draw(info.name)


@lru_cache(maxsize=64)  # rankings of many tasks read the same ones again and again
def _importance(unit: Unit[Any], info: ModelInfo) -> HeadScores:
    assert unit.setup is not None
    rng = np.random.default_rng(zlib.crc32(unit.key.encode()))
    shape = _shape_of(info, unit.setup.task.name) * 1e-3
    n = unit.setup.n_examples
    sizes = [len(part) for part in np.array_split(np.arange(n), min(N_BLOCKS if shape.size < LARGE else 2, n))]
    blocks = [shape * size * rng.lognormal(0, 0.25, shape.shape) for size in sizes]

    def plain(arrays: list[np.ndarray]) -> Any:
        return tuple(tuple(tuple(float(f"{x:.7g}") for x in row) for row in a.tolist()) for a in arrays)

    return HeadScores(n, (), tuple(sizes), tuple((20 * s,) * info.n_layers for s in sizes),
                          plain([20 * b for b in blocks]), plain([b * 0.3 for b in blocks]))


@lru_cache(maxsize=64)
def _attributions(unit: Unit[Any], info: ModelInfo) -> Attributions:
    """As the importance of another draw; signed next to nothing, and below 0 for every third head."""
    found = _importance(unit, info)
    rows = np.asarray(found.block_per_example)
    sign = np.where(np.arange(rows[0].size).reshape(rows[0].shape) % 3, 1.0, -1.0)

    def plain(array: np.ndarray) -> Any:
        return tuple(tuple(tuple(float(f"{x:.7g}") for x in row) for row in block) for block in array.tolist())

    return Attributions(found.n_examples, (), found.block_sizes, plain(rows * sign * 1e-2), plain(rows))


def _constants(unit: Unit[Any], info: ModelInfo) -> Constants:
    assert unit.setup is not None
    row = (0.5,) * info.d_head
    return Constants(unit.setup.n_examples, (), ((row,) * info.n_heads,) * info.n_layers, 0.1,
                     ((0.25,) * info.n_heads,) * info.n_layers, ((0.2,) * info.n_heads,) * info.n_layers)


def _induction(unit: Unit[Any], info: ModelInfo) -> InductionScores:
    scores = _shape_of(info) * (0.8 if unit.variant in ("exact", "olsson") else 0.9)
    scores = scores / (1 + scores)
    if isinstance(unit, Copying):
        scores = scores[:, ::-1] * 0.7

    def plain(array: np.ndarray) -> Any:
        return tuple(tuple(float(f"{x:.7g}") for x in row) for row in array.tolist())

    return InductionScores(unit.n_sequences, plain(scores), plain(scores * (1 - scores) / 9),
                           "drawn without replacement from made-up tokens", 201)


def _means(unit: Unit[Any], info: ModelInfo) -> Activations:
    assert unit.setup is not None
    row = (0.25,) * info.d_head
    return Activations(unit.setup.n_examples, 20 * unit.setup.n_examples, ((row,) * info.n_heads,) * info.n_layers,
                       ((0.5,) * info.d_model,) * info.n_layers)


@lru_cache(maxsize=64)  # every task's knock-out is ranked by all others
def _effects(unit: FunctionVectors, info: ModelInfo) -> Effects:
    """Of heads that prefix matching ranks otherwise; every second head's is below 0."""
    rng = np.random.default_rng(zlib.crc32(unit.key.encode()))
    scores = _shape_of(info, unit.setup.task.name)[:, ::-1] * np.where(np.arange(info.n_heads) % 2, -0.1, 1)
    mean = 0.3 * scores / np.abs(scores).max()
    n, draws = unit.n_trials if scores.size < LARGE else 2, unit.setup.draws
    effects = mean * rng.lognormal(-0.02, 0.2, (n, 1, 1))
    return Effects(unit.setup.n_examples, 0.9, (0.4,) * n, tuple(tuple(
        tuple(float(f"{x:.7g}") for x in row) for row in one) for one in effects.tolist()),
        tuple(i % draws for i in range(n)) if draws > 1 else (), (0,) * (unit.setup.n_examples + n), ())


def _order(unit: Iterative | Greedy | HeadGates, info: ModelInfo) -> Order:
    """Heads by what their task needs, the dead one first; each method sees it a little differently."""
    rng = np.random.default_rng(zlib.crc32(unit.key.encode()))
    seen = _shape_of(info, unit.setup.task.name) * rng.lognormal(0, 0.1, (info.n_layers, info.n_heads))
    dead = dead_head(info)
    live = sorted((head for head in info.heads if head != dead), key=lambda head: seen[head.layer, head.head])
    n, heads = len(live), tuple((head.layer, head.head) for head in (dead, *live))
    given = (heads, 1, unit.setup.n_examples, ())
    falling = tuple(float(f"{x:.7g}") for x in np.linspace(0.95, 0.25, n))
    if isinstance(unit, Iterative):
        return IterativeOrder(*given, falling[::-1])
    if isinstance(unit, Greedy):
        return GreedyOrder(*given, falling, falling[::-1])
    place = np.zeros((info.n_layers, info.n_heads))
    place[tuple(np.transpose(heads))] = np.arange(n + 1) / n  # a quarter facilitates, a quarter interferes

    def plain(gates: np.ndarray) -> Any:
        return tuple(tuple(float(f"{x:.7g}") for x in row) for row in gates.tolist())

    losses = tuple(float(f"{x:.7g}") for x in np.linspace(1, 0.1, N_LOSSES))
    return GateOrder(*given, plain(np.where(place > 0.75, 0.95, 0.05)), plain(np.where(place < 0.25, 0.05, 0.95)),
                     losses, losses, losses)


def dead_head(info: ModelInfo) -> Head:
    """The one head that does nothing, where it is known."""
    return Head(info.attending[0], info.n_heads - 1)


def _writes(unit: Unit[Any], info: ModelInfo) -> HeadWrites:
    assert unit.setup is not None
    norms = np.ones((info.n_layers, info.n_heads))
    norms[list(info.headless)] = 0
    norms[dead_head(info).layer, dead_head(info).head] = 1e-5
    n = unit.setup.n_examples
    return HeadWrites(n, 20 * n, tuple(tuple(row) for row in norms.tolist()))


def _questions(setup: Setup) -> Questions:
    return _asked(setup.task.name, min(setup.n_examples, N_QUESTIONS), setup.draws)


@cache
def _asked(task: str, n: int, draws: int) -> Questions:
    rng = np.random.default_rng(zlib.crc32(task.encode()))
    return Questions(tuple(range(n)), tuple((int(g),) for g in rng.integers(N_OPTIONS, size=n)), (N_OPTIONS,) * n,
                     ("",) * n, draws=tuple(i % draws for i in range(n)) if draws > 1 else ())


def _choices(setup: Setup, info: ModelInfo, lost: float) -> tuple[int, ...]:
    """Right with a chance that falls with what is lost; the same questions are hard every time."""
    skill = 0.95 * max(0.0, 1 - 1.3 * lost**1.5) if setup.n_shots else 0.3
    gold, hard, guesses = _answers(setup.task, _questions(setup))
    return tuple(np.where(hard < skill, gold, guesses).tolist())


@cache
def _answers(task: TaskId, questions: Questions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each question what is right, how hard it is, and what is guessed where it is too hard."""
    rng = np.random.default_rng(zlib.crc32(f"{task} hard".encode()))
    return np.array([g[0] for g in questions.gold]), rng.random(questions.n), rng.integers(N_OPTIONS, size=questions.n)


def _lost(task: str, info: ModelInfo, kept_heads: np.ndarray, kept_ffns: np.ndarray) -> float:
    """How much of what a task needs is off: of its heads' importance, and of FFNs, early ones more."""
    shape, each = _shape_of(info, task), 1.5 / (np.arange(info.n_layers) + 2)
    return float((shape * (1 - kept_heads)).sum() / shape.sum() + (each * (1 - kept_ffns)).sum() / info.n_layers)


def _evaluation(unit: Evaluation | Relabelled, info: ModelInfo) -> Answers:
    off, task = unit.ablation, unit.task.name
    lost = _lost(task, info, off.head_mask(info.n_layers, info.n_heads), off.ffn_mask(info.n_layers))
    lost = min(1.0, lost + {"shuffled": 0.5, "made-up": 0.2}[unit.labels] if isinstance(unit, Relabelled) else lost)
    choices = _choices(unit.setup, info, lost)
    lls = tuple(tuple(-1.0 if i == choice else -3.0 - i for i in range(N_OPTIONS)) for choice in choices)
    return Answers(_questions(unit.setup), lls, ((5,) * N_OPTIONS,) * len(choices))


def _influences(unit: Influence, info: ModelInfo) -> Influences:
    """The nearest demonstration helps most, the first hurts; a mask takes half of it."""
    asked, k = _questions(unit.setup), unit.setup.n_shots
    rng = np.random.default_rng(zlib.crc32(unit.key.encode()))
    effects = np.linspace(-0.2, 1, k) * (0.5 if unit.ablation else 1) + rng.normal(0, 0.1, (len(asked.docs), k))
    return Influences(asked, (1,) * len(asked.docs), (-2.0,) * len(asked.docs), tuple(
        tuple(min(0.0, float(f"{-2 - x:.7g}")) for x in row) for row in effects.tolist()))


def _sweep(unit: Unit[Any], info: ModelInfo) -> Sweep:
    assert unit.setup is not None
    removed: Sequence[tuple[float, float]] = ()
    if isinstance(unit, FFNOracle):
        steps = _masks((INTACT, *(Ablation(ffns=frozenset({layer})) for layer in range(info.n_layers))), info)
    elif isinstance(unit, HeadOracle):
        steps = _masks(list(map(parse_exact, unit.named(info))), info)
    elif isinstance(unit, ShuffledHeads):
        steps = _masks((INTACT, *(Ablation(frozenset({head})) for head in info.heads)), info)
    elif isinstance(unit, KnockOut):
        removed = [(share, 0.0) for share in SHARES]
        basis = [record(need, info) for need in unit.needs() if not isinstance(need, Means)]
        steps = _masks(unit.ablations(basis, info), info)
    elif isinstance(unit, Pruning):
        removed = unit.steps
        steps = _pruning_steps(unit.ranking, unit.what, tuple(unit.needs()), info, tuple(removed))
    else:
        raise NotImplementedError(f"No made-up record of {type(unit).__name__}.")
    more = 0.5 if isinstance(unit, ShuffledHeads) else 0.0
    choices = tuple(_choices(unit.setup, info, min(1.0, more + _lost(unit.setup.task.name, info, *kept)))
                    for _, *kept in steps)
    gold = tuple(_gold(unit, info, *kept) for _, *kept in steps) if isinstance(unit, FFNOracle | HeadOracle) else ()
    return Sweep(_questions(unit.setup), tuple(text for text, *_ in steps), choices, choices, tuple(removed), gold)


def _gold(unit: FFNOracle | HeadOracle, info: ModelInfo, *kept: np.ndarray) -> tuple[float, ...]:
    """How likely the right answers are: less the more is lost, less so where something stands in, noisily."""
    fill = getattr(unit, "fill", "zero")
    lost = _lost(unit.setup.task.name, info, *kept) * (1 if fill == "zero" else 0.5)
    rng = np.random.default_rng(zlib.crc32(f"{unit.setup.task} {fill} {lost}".encode()))
    n = _questions(unit.setup).n
    return tuple(float(f"{x:.7g}") for x in -0.3 - lost * rng.lognormal(0, 0.3, n))


def _masks(ablations: Sequence[Ablation], info: ModelInfo) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [(str(a), a.head_mask(info.n_layers, info.n_heads), a.ffn_mask(info.n_layers)) for a in ablations]


@lru_cache(maxsize=64)  # every task is pruned by the same aggregate, and by every other task's ranking
def _pruning_steps(ranking: Ranking, what: str, needs: tuple[Unit[Any], ...], info: ModelInfo,
                   removed: tuple[tuple[float, float], ...]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    unit = Pruning(Setup(ModelId(info.name, info.revision, ""), TaskId("any", "")), what, ranking)
    orders = unit.orders([record(need, info) for need in needs], info.n_layers, info.n_heads, info.headless)
    return _masks(pruning_steps(*orders, removed), info)
