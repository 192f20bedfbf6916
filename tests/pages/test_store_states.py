"""Every page over a full, an empty, a partial and a damaged store: it says what is stored and what is missing.

The four states are made from one list of units per page: all of them, none, the first half, and all of which the second
half is damaged, each entry in another way. What a page says of the first half must not depend on the second.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from backend import stats
from backend.kinds import Copying, Evaluation, FFNOracle, Model, PrefixMatching, Unit
from backend.records import Record
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Ablation, Head, Setup
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, ROOT, Explorer, calm, is_here, setup_of, setups_of, words
from tests.pages.test_lab import answered

TASKS, TASK = list(MINI), next(iter(MINI))
IN_CONTEXT = [name for name, task in MINI.items() if task.group == "in-context"]
OFF = Ablation(frozenset({Head(1, 2)}), frozenset({0}))
PLAIN = Setup(INFO.name, INFO.revision)
ORDERS = ("own", "aggregate:mini", "reverse:own", *(f"random:{seed}" for seed in range(5)))
MISSING = "Not measured yet"


def every_task(unit: Callable[..., Unit], *more: object) -> list[Unit]:
    return [unit(setup, *more) for setup in setups_of(TASKS)]


# --- what each page has to say of the records that can be read ----------------------------------


def importance(records: Sequence) -> list[str]:
    raw, even = (stats.aggregate([record.scores(by) for record in records]) for by in ("per-token", "one-divisor"))
    return [wording.concentrated(raw, f"averaged over {len(records)} tasks", even=even)]


def losses(records: Sequence) -> list[str]:
    mean = np.mean([record.importance() for record in records], 0)
    return [f"averaged over {len(records)} tasks falls by {wording.points(mean.max())[1:]}"]


def accuracies(records: Sequence) -> list[str]:
    before, after = records[::2], records[1::2]
    if len(before) < len(TASKS):
        return [f"{len(before)} of {len(TASKS)} measured"]
    return ["averaged over 14 tasks goes from {} to {}".format(
        *(wording.percent(np.mean([r.outcomes().mean() for r in part])) for part in (before, after)))]


def break_point(records: Sequence) -> list[str]:
    accuracy, removed = records[0].accuracy(), records[0].removed
    fine = next((i - 1 for i, a in enumerate(accuracy) if a < 0.9 * accuracy[0]), len(accuracy) - 1)
    return [f"By its own ranking, {wording.percent(stats.count(removed[fine][0], 12) / 12)} of the heads (95"]


def agreement(records: Sequence) -> list[str]:
    rhos = stats.off_diagonal(stats.spearman_matrix([record.scores("per-token") for record in records]))
    return [f"{len(records)} tasks rank their heads alike at {wording.rho(rhos.mean())} on average"]


def induction(records: Sequence) -> list[str]:
    means = [np.array(record.mean) for record in records]
    return [f"{stats.highest(mean, 1)[0]} leads in {name} with {mean.max():.2f}"
            for mean, name in zip(means, ("prefix matching", "copying"), strict=False)]


def learning(records: Sequence) -> list[str]:
    if len(records) < 3 * len(IN_CONTEXT):
        return []
    accuracy = [record.outcomes().mean() for record in records]
    first, last = (np.mean(part) for part in (accuracy[:len(IN_CONTEXT)], accuracy[-len(IN_CONTEXT):]))
    return [f"From {wording.percent(first)} without examples to {wording.percent(last)} with 5"]


def reveal(app: AppTest) -> AppTest:
    return app.radio[0].set_value(app.radio[0].options[0]).run()


def without_measuring(app: AppTest) -> AppTest:
    return app.toggle(key="live").set_value(False).run()


@dataclass(frozen=True)
class Case:
    """A page, what it reads, and what it says of that."""

    units: list[Unit]
    says: Callable[[Sequence], list[str]]
    address: dict[str, str] = field(default_factory=dict)
    then: Callable[[AppTest], AppTest] = lambda app: app
    record: Callable[[Unit], Record] = lambda unit: made_up.record(unit, INFO)


CASES = {
    "heads": Case(every_task(made_up.importance), importance, {"view": "Average"}),
    "ffns": Case(every_task(FFNOracle), losses, {"scope": "All tasks"}),
    "lab": Case([Evaluation(setup, off) for setup in setups_of(TASKS) for off in (Ablation(), OFF)],
                accuracies, {"scope": "All tasks", "off": str(OFF)}, without_measuring,
                lambda unit: answered(unit.setup, 0.4 if unit.ablation else 0.9)),
    "pruning": Case([made_up.pruning(setup_of(TASK, 5), "heads", order) for order in ORDERS], break_point,
                    {"task": TASK}),
    "overlap": Case(every_task(made_up.importance), agreement),
    "induction": Case([PrefixMatching(MODEL), Copying(MODEL)], induction),
    "tour": Case([Evaluation(s) for s in setups_of(IN_CONTEXT, shots=(0, 1, 5))], learning,
                 {"step": "1"}, reveal),
}
OTHERS = {"card", "playground", "runs", "room"}  # each in its own tests: many kinds, a model, counts, people


def damage(store: Store, units: Sequence[Unit]) -> None:
    """Spoil each entry, in turn: no result, cut short, another unit's, empty."""
    whole = [store._cache.get(unit.key) for unit in units]
    others = store._cache.get(Model(MODEL).key)
    ways: list[Callable[[bytes], bytes]] = [lambda _: b"no such thing", lambda entry: entry[:len(entry) // 2],
                                            lambda _: others, lambda _: b""]
    for unit, entry, way in zip(units, whole, cycle(ways), strict=False):
        store._cache.set(unit.key, way(entry))


def test_every_page_is_looked_at():
    pages = {path.stem for path in (ROOT / "pages").glob("*.py")} - {"__init__"}
    assert pages == set(CASES) | OTHERS


@pytest.mark.parametrize("state", ["full", "empty", "partial", "damaged"])
@pytest.mark.parametrize("page", CASES)
def test_a_page_says_what_is_stored_and_what_is_missing(explorer: Explorer, store: Store, page: str, state: str):
    case = CASES[page]
    half = case.units[:len(case.units) // 2]
    there = {"full": case.units, "empty": [], "partial": half, "damaged": half}[state]
    made_up.fill(store, [], INFO)
    store.put_all((unit, case.record(unit)) for unit in (case.units if state == "damaged" else there))
    if state == "damaged":
        damage(store, case.units[len(half):])
    app = case.then(explorer(page, **case.address))
    assert calm(app), (app.error, app.exception)
    said = words(app)
    for sentence in case.says([case.record(unit) for unit in there]) if there else []:
        assert sentence in said
    assert (MISSING in said) is (state != "full")
    assert ("damaged" in said) is (state == "damaged")


@pytest.mark.parametrize("state", ["full", "empty", "partial", "damaged"])
def test_the_playground_reads_whatever_is_stored(explorer: Explorer, store: Store, state: str,
                                                 monkeypatch: pytest.MonkeyPatch):
    from tests.models.small import small_model

    model = small_model("opt")
    is_here(monkeypatch, model)
    setup = made_up.setup(model.id, TASK, 1)
    strongest = PrefixMatching(model.id)
    units = {"full": [strongest, made_up.importance(setup)], "empty": [],
             "partial": [made_up.importance(setup)], "damaged": [strongest]}[state]
    made_up.fill(store, units, model.info)
    if state == "damaged":
        store._cache.set(strongest.key, b"no such thing")
    app = explorer("playground", task=TASK, shots="1")
    assert calm(app), (app.error, app.exception)
    mean = made_up.record(strongest, model.info).mean  # type: ignore[union-attr]
    first = stats.highest(np.array(mean), 1)[0] if state == "full" else Head(1, 0)
    assert f"{first} looks from the last token" in words(app)


@pytest.mark.parametrize("state", ["full", "empty", "partial", "damaged"])
def test_runs_counts_what_can_be_used(explorer: Explorer, store: Store, state: str):
    units = every_task(made_up.importance)
    made_up.fill(store, {"empty": [], "partial": units[:5]}.get(state, units), INFO)
    if state == "empty":
        store.delete_all(store.live_units())
    if state == "damaged":
        damage(store, units[:3])
    app = explorer("runs", section="Storage")
    assert calm(app)
    n = len(store.live_units())
    assert n == {"empty": 0, "partial": 6}.get(state, len(units) + 1)
    counted = wording.how_many(n, "result")
    assert f"{counted[0].upper()}{counted[1:]} of {wording.how_many(int(n > 0), 'model')}" in words(app)
    if n:
        next(button for button in app.main.button if button.key == "check").click().run()
        assert calm(app)
        assert ("is damaged" in words(app)) is (state == "damaged")
        assert (f"All {n} results can be read" in words(app)) is (state != "damaged")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists a process's open files")
def test_visits_leave_no_open_files_of_the_store_behind(explorer: Explorer, store: Store):
    def opened() -> int:
        return sum(str(store.folder) in os.path.realpath(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd"))

    gc.disable()
    try:
        explorer("heads")
        before = opened()
        for _ in range(5):
            explorer("heads")
        assert opened() <= before
    finally:
        gc.enable()


def a_fragment() -> None:
    """A fragment that looks into the store, first while the whole page is drawn, then alone."""
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    from pages.shared import handles

    context, looked = get_script_run_ctx(), st.session_state.setdefault("looked", [])
    assert context is not None

    def part() -> None:
        looked.append(handles.store().live_units())
        if len(looked) == 1:
            context.script_requests.request_rerun(RerunData(fragment_id_queue=list(context.fragment_storage._fragments)))

    handles.fragment(part)()


def test_a_fragment_that_is_drawn_alone_lets_go_of_the_store(store: Store, monkeypatch: pytest.MonkeyPatch):
    closed, close = [], Store.close

    def noted(self: Store) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Store, "close", noted)
    app = AppTest.from_function(a_fragment, default_timeout=60).run()
    assert not app.exception
    assert app.session_state["looked"] == [[], []]
    assert closed == [store]  # after the second: the whole page's run is let go of by app.py
