"""Pages over stores that were damaged, planted or write-protected: what is good is shown, the rest is said."""

from __future__ import annotations

import os
import sqlite3

import pytest
import streamlit as st

from backend.kinds import HeadImportance, Model
from backend.store import opening
from backend.store.live import Store
from backend.tasks.mini import MINI
from pages.shared import handles
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, calm, setup_of, words
from tests.store import attacks

TASKS = list(MINI)


@pytest.fixture
def filled(store: Store) -> Store:
    """Importance of every task but the last."""
    made_up.fill(store, [made_up.importance(setup_of(task)) for task in TASKS[:-1]], INFO)
    store.close()
    return store


def opened_again() -> Store:
    st.cache_resource.clear()
    return handles.store()


def test_pages_show_what_a_damaged_file_holds_and_storage_names_it(filled: Store, explorer: Explorer):
    with sqlite3.connect(filled.folder / "cache.db") as database:
        database.execute("UPDATE Cache SET key = CAST(x'ff' || substr(key, 2) AS TEXT) WHERE key LIKE 'unit:%'")
    database.close()
    assert len(opened_again().units()) == len(TASKS)
    app = explorer("heads", view="Average")
    assert calm(app)
    assert f"averaged over {len(TASKS) - 1} tasks" in words(app)
    app = explorer("runs", section="Storage")
    assert calm(app)
    assert f"{len(TASKS)} good results were taken from it" in words(app)
    assert str(filled.folder / "set-aside") in words(app)


@pytest.mark.parametrize("section", ["Storage", "Models"])
def test_results_that_are_none_close_no_section(filled: Store, explorer: Explorer, section: str):
    unit = HeadImportance(setup_of(TASKS[0])).to_json()
    bad = [(unit | {"setup": unit["setup"] | {"n_shots": "5"}}, {}), (unit | {"setup": unit["setup"] | {
        "seed": 10**30}}, {}), (unit, made_up.record(HeadImportance(setup_of(TASKS[0])), INFO).to_json() | {
            "block_sizes": [10**30]})]
    attacks.plant(filled.folder, bad)
    opened_again()
    app = explorer("runs", section=section)
    assert calm(app)
    if section == "Storage":
        next(button for button in app.main.button if button.key == "check").click().run()
        assert calm(app)
        assert "n_shots holds '5'" in words(app)
        assert "whole number beyond" in words(app)


def test_scores_of_another_shape_than_the_model_here_are_not_drawn(filled: Store, explorer: Explorer):
    """The model's own record is in no store: its config says how many heads it has."""
    filled.delete(Model(MODEL))
    unit = made_up.importance(setup_of(TASKS[-1]))
    small = made_up.record(unit, made_up.model_info(3, 2))
    attacks.plant(filled.folder, [(unit.to_json(), small.to_json())])
    assert unit in opened_again()
    app = explorer("heads", task=TASKS[-1])
    assert calm(app)
    assert "Not measured yet" in words(app)
    assert "holds 2 where there are 4" in words(app)


def test_a_store_that_cannot_be_written_is_browsed_and_says_so(filled: Store, explorer: Explorer,
                                                               monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening.os, "access", lambda path, mode: not mode & os.W_OK)
    store = opened_again()
    assert store.read_only
    app = explorer("heads", view="Average")
    assert calm(app)
    assert f"averaged over {len(TASKS) - 1} tasks" in words(app)
    assert "Nothing can be stored here (the folder or its file is write-protected)" in words(app)
    unit = made_up.importance(setup_of(TASKS[-1]))
    store.put(unit, made_up.record(unit, INFO))  # as the queue does
    app = explorer("heads", view="Average")
    assert f"averaged over {len(TASKS)} tasks" in words(app)
    app = explorer("runs", section="Storage")
    assert calm(app)
    assert "This store can only be read" in words(app)
    assert unit not in Store(filled.folder)
