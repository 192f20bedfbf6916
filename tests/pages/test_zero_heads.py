"""Sixteen heads that do nothing, added to a model and to all of its results, change no headline of any page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import streamlit as st

from backend.kinds import (
    Activations,
    Attributions,
    Copying,
    Effects,
    Evaluation,
    FFNOracle,
    HeadImportance,
    HeadOracle,
    HeadScores,
    HeadWrites,
    InductionScores,
    Model,
    PrefixMatching,
    Pruning,
    ShuffledHeads,
    Sweep,
    Unit,
    Writes,
)
from backend.kinds.writes import N_PROBE
from backend.records import ModelInfo, Record
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Ablation, Head, Ranking, Setup, parse_exact
from pages.shared import handles, notes
from tests.pages import made_up
from tests.pages.conftest import are_here, bodies, calm, framed, opened

NARROW = made_up.model_info(4, 4)
WIDE = replace(NARROW, n_heads=8)  # four more in each of four layers
MODEL = made_up.model_id(NARROW)  # the same name: only the shape differs
ZEROS = tuple(Head(layer, head) for layer in range(4) for head in range(4, 8))
TASKS = list(MINI)[:5]
PAGES = [
    *(("heads", {"view": view}) for view in ("One task", "All tasks", "Shots", "Difference", "Average", "Calibration")),
    *(("heads", {"view": view, "by": "one-divisor"}) for view in ("One task", "Average")),
    *(("overlap", {"view": view}) for view in ("Tasks", "Shots", "Top heads", "Heads that many need")),
    *(("induction", {"view": view}) for view in ("Scores", "Against importance", "Function vectors",
                                                      "Knock-out", "Demonstrations", "Capacity")),
    *(("pruning", {"scope": scope, "view": view}) for scope in ("This task", "All tasks")
      for view in ("Heads", "FFNs", "Other tasks' rankings")),
]


def wanted() -> Iterator[Unit[Any]]:
    setups = made_up.setups(MODEL, TASKS, (0, 1, 5))
    for one in setups:
        yield from (made_up.importance(one), Evaluation(one))
        if one.n_shots == 5:
            yield from (FFNOracle(one), made_up.vectors(one), made_up.attribution(one))
            yield from (*made_up.demonstrations(one), *made_up.head_oracles(one))
            tasks = tuple(made_up.task_id(task) for task in TASKS)
            yield from made_up.knock_outs(one, tasks)
            for what in ("heads", "ffns"):
                for ranking in (Ranking.by(one.task), Ranking.by(*tasks), Ranking.by(one.task, reverse=True),
                                *(Ranking.random(seed, N_PROBE) for seed in range(5))):
                    yield Pruning(one, what, ranking)
            for task in tasks:
                yield Pruning(one, "heads", Ranking.by(task))
    for variant in PrefixMatching.VARIANTS:
        yield PrefixMatching(MODEL, variant)
    for variant in Copying.VARIANTS:
        yield Copying(MODEL, variant)


def alive(of: Setup) -> HeadWrites:
    n = of.n_examples
    return HeadWrites(n, 20 * n, tuple((1.0,) * NARROW.n_heads for _ in range(NARROW.n_layers)))


def padded(values: Any, of_zeros: float = 0.0) -> Any:
    return tuple((*row, *[of_zeros] * 4) for row in values)


def widened(unit: Unit[Any], record: Record) -> Record:
    """The same result of the model with the heads that do nothing."""
    if isinstance(record, ModelInfo):
        return replace(WIDE, name=record.name, revision=record.revision)
    if isinstance(record, HeadScores):
        return replace(record, block_per_token=tuple(map(padded, record.block_per_token)),
                       block_per_example=tuple(map(padded, record.block_per_example)))
    if isinstance(record, Attributions):
        return replace(record, block_signed=tuple(map(padded, record.block_signed)),
                       block_integrated=tuple(map(padded, record.block_integrated)))
    if isinstance(record, InductionScores):  # copying reads the projection's bias, whatever the head does
        mean = 0.93 if isinstance(unit, Copying) and unit.variant == "authors" else 0.0
        return replace(record, mean=padded(record.mean, mean), variance=padded(record.variance))
    if isinstance(record, Effects):
        return replace(record, effects=tuple(map(padded, record.effects)))
    if isinstance(record, HeadWrites):
        return replace(record, norms=padded(record.norms))
    if isinstance(unit, HeadOracle | ShuffledHeads):
        assert isinstance(record, Sweep)
        known, gold = (dict(zip(record.ablations, rows, strict=bool(rows))) for rows in (record.choices, record.gold))
        masks = tuple(map(str, HeadOracle.ablations(WIDE)))
        choices = tuple(known.get(mask, record.choices[0]) for mask in masks)
        return replace(record, ablations=masks, choices=choices, choices_norm=choices,
                       gold=tuple(gold.get(mask, record.gold[0]) for mask in masks) if gold else ())
    if isinstance(unit, Pruning) and unit.what == "heads":
        assert isinstance(record, Sweep)
        return pruned(record, last=unit.ranking.reverse)
    assert not isinstance(record, Activations)
    return record


def pruned(record: Sweep, last: bool) -> Sweep:
    """A curve with the zeros removed first, or last where the most important go first."""
    zeros = frozenset(ZEROS)
    masks = [parse_exact(mask) for mask in record.ablations]
    wide = [masks[0], *(Ablation(mask.heads if last else mask.heads | zeros) for mask in masks)]
    wide = wide[1:] if last else wide
    choices = record.choices if last else (record.choices[0], *record.choices)
    removed = tuple((len(mask.heads) / 32, 0.0) for mask in wide)
    return replace(record, ablations=tuple(map(str, wide)), choices=choices, choices_norm=choices, removed=removed)


def stored(store: Store, wide: bool) -> None:
    results: dict[Unit[Any], Record] = {}
    for unit in [Model(MODEL.weights), *wanted()]:
        for one in (*unit.needs(), unit):
            if one not in results:
                results[one] = alive(one.setup) if isinstance(one, Writes) else made_up.record(one, NARROW)
    for unit in list(results):
        if isinstance(unit, HeadImportance):
            writes = made_up.writes(unit.setup)
            results[writes] = alive(writes.setup)
    store.put_all((unit, widened(unit, record) if wide else record) for unit, record in results.items())




def headlines(page: str, parameters: dict[str, str]) -> list[str]:
    """Every finding that a page states, however its heads are called."""
    app = opened(page, task=TASKS[0], tasks=TASKS, **parameters)
    assert calm(app)
    said = [notes.plain(body) for body in bodies(app) if body.startswith("<h")]
    metric = [f"{one.label} {one.value}" for one in app.main.metric]
    return [text.replace("live head", "head") for text in (*said, *metric)]


def open_store(folder: Any, info: ModelInfo, monkeypatch: pytest.MonkeyPatch) -> Store:
    from backend.store import live

    monkeypatch.setenv("HEADROOM_CACHE", str(folder / "live"))
    monkeypatch.setattr(live, "SHIPPED", folder / "shipped")
    are_here(monkeypatch, info)
    framed(monkeypatch)
    st.cache_resource.clear()
    st.cache_data.clear()
    return handles.store()


def test_no_headline_of_any_page_knows_of_heads_that_do_nothing(tmp_path, monkeypatch):
    told: dict[str, dict[str, list[str]]] = {}
    for name, info in (("narrow", NARROW), ("wide", WIDE)):
        with monkeypatch.context() as patch:
            store = open_store(tmp_path / name, info, patch)
            stored(store, wide=name == "wide")
            told[name] = {f"{page} {parameters}": headlines(page, parameters) for page, parameters in PAGES}
    for page, said in told["narrow"].items():
        assert said, page
        assert told["wide"][page] == said, page
    assert any("rank their heads alike" in text for said in told["narrow"].values() for text in said)


def test_without_the_measurement_they_would_change_headlines(tmp_path, monkeypatch):
    """The property is the measurement's doing: where nothing says which heads are dead, zeros lift what is said."""
    told = []
    for name, info in (("narrow", NARROW), ("wide", WIDE)):
        with monkeypatch.context() as patch:
            store = open_store(tmp_path / name, info, patch)
            results = {unit: made_up.record(unit, NARROW) for task in TASKS
                       for unit in [made_up.importance(made_up.setup(MODEL, task))]}
            store.put_all((unit, widened(unit, record) if name == "wide" else record)
                          for unit, record in results.items())
            told.append(headlines("overlap", {"view": "Tasks"}))
    assert told[0] != told[1]


def test_the_wide_records_are_sound_and_differ_by_zeros_alone():
    one = made_up.setup(MODEL, TASKS[0])
    for unit in (made_up.importance(one), HeadOracle(one), Pruning(one), Pruning(one, "heads", Ranking.random(
            0, N_PROBE)), PrefixMatching(MODEL), Copying(MODEL)):
        record = widened(unit, made_up.record(unit, NARROW))
        record.check()
        unit.check(record, WIDE)
    scores = widened(made_up.importance(one), made_up.record(made_up.importance(one), NARROW)).scores()
    assert not scores[:, 4:].any()
    assert np.count_nonzero(scores) == 16
