"""What is seen first is what shows most, whatever it is called."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from backend.kinds import Evaluation, FFNOracle
from backend.models.identity import identify
from backend.store.live import Store
from backend.tasks.task import DRAWS
from backend.values import Setup
from pages.map import scales
from pages.shared import first, handles
from pages.shared.first import Shown
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, bodies, calm, framed, opened, setup_of, words
from tests.tables.records import answered, importance, sweep


def test_one_dark_cell_is_one_head_and_an_even_map_is_all_of_them():
    peak = np.zeros((3, 4))
    peak[1, 2] = 5.0
    assert first.heads_shown(peak) == pytest.approx(1)
    assert first.heads_shown(np.full((3, 4), 2.0)) == pytest.approx(12)
    two = np.zeros((3, 4))
    two[0, 0] = two[0, 1] = 1.0
    assert first.heads_shown(two) == pytest.approx(2)
    assert first.heads_shown(np.zeros((3, 4))) == 0


def test_heads_are_counted_on_the_scale_that_the_map_opens_with():
    scores = 10.0 ** -np.arange(12).reshape(3, 4)
    assert scales.best_scale(scores) != "raw"
    raw = scales.shades(scores).strength
    assert first.heads_shown(scores) > 2 * raw.sum() ** 2 / (raw ** 2).sum()


def test_layers_without_heads_count_for_nothing():
    assert first.heads_shown(np.array([[1.0, 1.0], [0.0, 0.0]])) == pytest.approx(2)


def test_what_the_model_can_do_comes_first_then_most_pages_then_most_heads_then_the_order():
    assert first.most({"a": Shown(False, 4, 9.0), "b": Shown(True, 3, 2.0)}) == "b"
    assert first.most({"a": Shown(True, 3, 9.0), "b": Shown(True, 4, 2.0)}) == "b"
    assert first.most({"a": Shown(True, 4, 2.0), "b": Shown(True, 4, 9.0)}) == "b"
    assert first.most({"a": Shown(True, 4, 2.0), "b": Shown(True, 4, 2.0)}) == "a"


def test_a_task_is_done_where_its_accuracy_is_told_from_chance():
    assert first.shown(None, None, answered([1] * 20), False).able
    assert not first.shown(None, None, answered([1, 0] * 10), False).able  # of two options
    assert not first.shown(None, None, answered([1] * 7 + [0] * 3), False).able  # so few questions do not tell
    assert not first.shown(None, None, None, False).able


def test_an_ffn_page_has_something_to_say_where_some_ffn_is_missed():
    right, wrong = [1] * 20, [0] * 20
    assert first.shown(None, sweep([right, right]), None, False).pages == 0
    assert first.shown(None, sweep([right, wrong]), None, False).pages == 1
    assert first.shown(importance([[1.0, 1.0]]), sweep([right, wrong]), answered(right), True) == Shown(True, 4, 2.0)


def stored(store: Store, task: str, *rows: list[float], missed: bool = True) -> None:
    """All that pages ask of a task, its importance as given."""
    setup = setup_of(task)
    made_up.fill(store, [made_up.pruning(setup, "heads"), Evaluation(setup)], INFO)
    ablations = FFNOracle.ablations(INFO)
    rows_of = [[1] * 20, [1 - missed] * 20, *[[1] * 20] * (len(ablations) - 2)]
    oracle = sweep(rows_of, ablations)
    behind = replace(oracle.questions, draws=tuple(i % setup.draws for i in range(20)))
    store.put(FFNOracle(setup), replace(oracle, questions=behind), replace=True)
    store.put(made_up.importance(setup), importance(rows), replace=True)


EVEN, PEAK = [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]


def test_pages_open_on_the_task_that_shows_most(explorer: Explorer, store: Store):
    stored(store, "label_kind", EVEN, EVEN, EVEN, missed=False)  # an even map, but FFNs would be empty
    stored(store, "past", PEAK, [0.0, 1.0, 0.0, 0.0], PEAK)
    stored(store, "plural", EVEN, EVEN, PEAK)
    app = explorer("heads")
    assert app.sidebar.selectbox("task").value == "plural"
    assert "task" not in app.query_params


def test_in_a_session_the_first_task_stays_the_first(explorer: Explorer, store: Store):
    stored(store, "past", EVEN, PEAK, PEAK)
    app = explorer("heads")
    assert app.sidebar.selectbox("task").value == "past"
    stored(store, "plural", EVEN, EVEN, PEAK)
    app.run()
    assert app.sidebar.selectbox("task").value == "past"
    assert explorer("heads").sidebar.selectbox("task").value == "plural"


def test_it_is_worked_out_once_for_what_is_stored(store: Store, monkeypatch: pytest.MonkeyPatch):
    stored(store, "past", EVEN, PEAK, PEAK)
    setups = {name: setup_of(name) for name in ("past", "plural")}
    assert first.task(setups, 200, store) == "past"
    made_up.fill(store, [Evaluation(setup_of("past", n_shots=1))], INFO)  # none of these
    monkeypatch.setattr(first, "shown", None)
    assert first.task(setups, 200, store) == "past"


def test_with_nothing_stored_it_is_a_task_that_needs_its_demonstrations(explorer: Explorer):
    assert explorer("heads").sidebar.selectbox("task").value == "label_kind"


@pytest.mark.parametrize("page", ["heads", "ffns", "pruning", "overlap", "induction"])
def test_on_the_shipped_results_a_bare_address_shows_something(
        page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path))
    framed(monkeypatch)
    st.cache_resource.clear()
    st.cache_data.clear()
    app = opened(page)
    assert calm(app)
    said = words(app)
    assert any(body.startswith("<h2") for body in bodies(app))
    assert "Not measured yet" not in said
    assert "No FFN's removal lowers accuracy" not in said
    if page == "heads":
        setup = Setup(identify("bundled"), made_up.task_id(app.sidebar.selectbox("task").value), 5, draws=DRAWS)
        scores = handles.store().get(made_up.importance(setup)).scores()
        assert first.heads_shown(scores) > scores.size / 3  # far from one dark cell
