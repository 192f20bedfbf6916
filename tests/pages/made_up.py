"""Stores full of made-up results, for pages: the truth of the numbers is another test's business.

Every record follows from its unit alone, so two stores hold the same. Importance falls off from head to head in a
pattern that tasks share in part; accuracies fall as components go; nothing is measured and torch is not loaded.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backend import service, stats
from backend.results import (
    Answers,
    HeadScores,
    InductionScores,
    ModelInfo,
    Questions,
    Record,
    Setup,
    Sweep,
    Unit,
)
from backend.store.live import Store
from backend.values import INTACT, Ablation, Head

N_QUESTIONS, N_OPTIONS, N_BLOCKS = 40, 4, 6
SHARES: dict[str, list[tuple[float, float]]] = {  # (heads, FFNs) removed, as the service does, without its torch
    "heads": [(p / 10, 0.0) for p in range(10)], "ffns": [(0.0, p / 10) for p in range(10)],
    "combined": [(h / 10, f / 10) for h in range(8) for f in range(6)]}


def model_info(n_layers: int = 3, n_heads: int = 4, name: str = "bundled") -> ModelInfo:
    """A model that exists only on paper, shaped like an OPT."""
    d_model = 8 * n_heads
    n_params = n_layers * (4 * d_model * d_model + 8 * d_model * d_model) + 1000 * d_model
    return ModelInfo(name, "made-up", "opt", n_layers, n_heads, d_model, 8, 4 * d_model, n_params, 256, 1000,
                     "float32", 4 * n_params)


def record(unit: Unit, info: ModelInfo) -> Record:
    """What a unit might have answered."""
    rng = np.random.default_rng(zlib.crc32(unit.key.encode()))
    if unit.kind == "model":
        return info
    if unit.kind in ("prefix_matching", "copying"):
        return _induction(unit, info)
    if unit.kind == "head_importance":
        return _importance(unit, info, rng)
    if unit.kind == "evaluation":
        return _evaluation(unit, info)
    return _sweep(unit, info)


def fill(store: Store, units: Iterable[Unit], info: ModelInfo) -> None:
    """Put a made-up record for every unit, and for what it builds on."""
    results: dict[Unit, Record] = {service.model_record(info): info}
    for unit in units:
        for one in (*service.needs(unit), unit):
            results.setdefault(one, record(one, info))
    store.put_all(results.items())


def filled(folder: Path, units: Iterable[Unit], info: ModelInfo) -> None:
    """The same into a folder's store, which is closed again."""
    with Store(folder) as store:
        fill(store, units, info)


def setups(info: ModelInfo, tasks: Sequence[str], shots: Sequence[int] = (5,), **more: Any) -> list[Setup]:
    return [service.setup(info, task, n_shots, **more) for n_shots in shots for task in tasks]


# --- inside -------------------------------------------------------------------------------------


def _shape_of(info: ModelInfo, task: str = "") -> np.ndarray:
    """(n_layers, n_heads): what all tasks share, and with a task what is its own."""
    def draw(name: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(name.encode())).lognormal(0, 1, (info.n_layers, info.n_heads))

    return draw(info.name) * draw(f"{info.name} {task}") ** 0.6 if task else draw(info.name)


def _importance(unit: Unit, info: ModelInfo, rng: np.random.Generator) -> HeadScores:
    shape = _shape_of(info, unit.setup.task) * 1e-3
    n = unit.setup.n_examples
    sizes = [len(part) for part in np.array_split(np.arange(n), min(N_BLOCKS, n))]
    blocks = [shape * size * rng.lognormal(0, 0.25, shape.shape) for size in sizes]

    def plain(arrays: list[np.ndarray]) -> Any:
        return tuple(tuple(tuple(float(f"{x:.7g}") for x in row) for row in a.tolist()) for a in arrays)

    return HeadScores(n, (), tuple(sizes), tuple((20 * s,) * info.n_layers for s in sizes),
                          plain([20 * b for b in blocks]), plain([b * 0.3 for b in blocks]))


def _induction(unit: Unit, info: ModelInfo) -> InductionScores:
    scores = _shape_of(info) * (0.8 if unit.option("variant") in ("exact", "olsson") else 0.9)
    scores = scores / (1 + scores)
    if unit.kind == "copying":
        scores = scores[:, ::-1] * 0.7

    def plain(array: np.ndarray) -> Any:
        return tuple(tuple(float(f"{x:.7g}") for x in row) for row in array.tolist())

    return InductionScores(int(unit.option("n_seeds")), plain(scores), plain(scores * (1 - scores) / 9),
                           "drawn without replacement from made-up tokens", 201)


def _questions(setup: Setup) -> Questions:
    n = min(setup.n_examples, N_QUESTIONS)
    rng = np.random.default_rng(zlib.crc32(setup.task.encode()))
    return Questions(tuple(range(n)), tuple((int(g),) for g in rng.integers(N_OPTIONS, size=n)), (N_OPTIONS,) * n,
                     ("",) * n)


def _choices(setup: Setup, info: ModelInfo, ablation: Ablation) -> tuple[int, ...]:
    """Right with a chance that falls with the importance of what is off; the same questions are hard every time."""
    questions = _questions(setup)
    shape = _shape_of(info, setup.task)
    lost = sum(shape[h.layer, h.head] for h in ablation.heads) / shape.sum()
    lost += sum(1.5 / (layer + 2) for layer in ablation.ffns) / info.n_layers
    skill = 0.95 * max(0.0, 1 - 1.3 * lost**1.5) if setup.n_shots else 0.3
    rng = np.random.default_rng(zlib.crc32(f"{setup.task} hard".encode()))
    hard, guesses = rng.random(questions.n), rng.integers(N_OPTIONS, size=questions.n)
    return tuple(int(g[0]) if h < skill else int(guess)
                 for h, g, guess in zip(hard, questions.gold, guesses, strict=True))


def _evaluation(unit: Unit, info: ModelInfo) -> Answers:
    choices = _choices(unit.setup, info, unit.ablation)
    lls = tuple(tuple(-1.0 if i == choice else -3.0 - i for i in range(N_OPTIONS)) for choice in choices)
    return Answers(_questions(unit.setup), lls, ((5,) * N_OPTIONS,) * len(choices))


def _sweep(unit: Unit, info: ModelInfo) -> Sweep:
    removed: Sequence[tuple[float, float]] = ()
    if unit.kind == "ffn_oracle":
        ablations = [INTACT, *(Ablation(ffns=frozenset({layer})) for layer in range(info.n_layers))]
    elif unit.kind == "head_oracle":
        ablations = [INTACT, *(Ablation(frozenset({Head(layer, head)})) for layer in range(info.n_layers)
                               for head in range(info.n_heads))]
    else:
        basis = [record(need, info) for need in service.needs(unit)]
        heads, ffns = service.pruning_orders(unit, basis, info.n_layers, info.n_heads)
        removed = SHARES[unit.option("what")]
        ablations = [Ablation(frozenset(heads[:stats.count(h, len(heads))]),
                              frozenset(ffns[:stats.count(f, len(ffns))]))
                     for h, f in removed]
    choices = tuple(_choices(unit.setup, info, ablation) for ablation in ablations)
    return Sweep(_questions(unit.setup), tuple(map(str, ablations)), choices, choices, tuple(removed))
