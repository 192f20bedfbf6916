"""What every view tells people to run is what it needs and what it shows: commands, and lines of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from backend.kinds import Evaluation, Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Ablation, Head
from pages.shared import blocks
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, VIEWS, Explorer, calm, opened, words
from tests.pages.shown import asked_by_commands, run_shown_python
from tests.pages.test_lab import answered

OFF = Ablation(frozenset({Head(1, 2)}))
TASKS = list(map(made_up.task_id, MINI))
STEPS = [("tour", {"step": str(step)}) for step in range(1, 9)]
OTHERWISE: list[tuple[str, dict[str, Any]]] = [  # choices of the sidebar that a command has to carry
    *(("pruning", {"scope": scope, "view": view, "by": "per-example", "tasks": ["pick", "antonym"]})
      for scope in ("This task", "All tasks") for view in ("Heads", "FFNs", "Heads and FFNs", "Other tasks' rankings")),
    ("lab", {"off": "mean:L1H2,F0", "seed": "3", "n": "7"}), ("lab", {"off": "L1H2", "scope": "All shots", "demos":
                                                                     "per-query"}),
    ("heads", {"view": "All tasks", "dtype": "bfloat16", "seed": "2", "shots": "1"}),
    ("ffns", {"bos": "always", "n": "12", "demos": "per-query"}), ("induction", {"bos": "always"}),
]


@pytest.mark.parametrize(("page", "address"), [*VIEWS, *OTHERWISE, *STEPS], ids=str)
def test_the_commands_of_an_empty_store_make_exactly_what_is_missing(
        explorer: Explorer, monkeypatch: pytest.MonkeyPatch, page: str, address: dict[str, Any]):
    offered: list[Unit[Any]] = []
    offer = blocks.offer

    def noted(units: list[Unit[Any]], *args: Any, **options: Any) -> None:
        offered.extend(units)
        offer(units, *args, **options)

    app = explorer(page, **{"task": "antonym", **address})
    if page == "lab":
        app.toggle("live").set_value(False)
    if page == "tour" and app.radio:
        app.radio[0].set_value(app.radio[0].options[0])
    monkeypatch.setattr(blocks, "offer", noted)
    app.run()
    assert not app.exception
    assert bool(offered) == ("Not measured yet" in words(app))
    assert page == "tour" or offered
    assert set(asked_by_commands(app)) == set(offered)


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which nothing is missing."""
    folder = tmp_path_factory.mktemp("full")
    with Store(folder) as store:
        units = list(made_up.everything(MODEL, TASKS, OFF))
        made_up.fill(store, [unit for unit in units if not isinstance(unit, Evaluation)], INFO)
        store.put_all((unit, answered(unit.setup, 0.4 if unit.ablation else 0.9)) for unit in units
                      if isinstance(unit, Evaluation))
    return folder


@pytest.mark.parametrize(("page", "address"), VIEWS, ids=str)
def test_every_view_shows_python_that_prints_without_measuring(
        explorer: Explorer, full: Path, monkeypatch: pytest.MonkeyPatch, page: str, address: dict[str, Any]):
    monkeypatch.setenv("HEADROOM_CACHE", str(full))
    st.cache_resource.clear()
    app = opened(page, task="antonym", **address)
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    shown = run_shown_python(app, monkeypatch)
    assert shown
    assert all(one["printed"].strip() for one in shown)
