"""What every view tells people to run is what it needs and what it shows: commands, and lines of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from backend import tables
from backend.kinds import Evaluation, HeadOracle, Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Ablation, Head
from pages.shared import blocks, handles
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, VIEWS, Explorer, browse, calm, opened, setups_of, words
from tests.pages.shown import asked_by_commands, note_tables, prints_the_table, run_lines
from tests.pages.test_lab import answered

OFF = Ablation(frozenset({Head(1, 2)}))
TASKS = list(map(made_up.task_id, MINI))
STEPS = [("tour", {"step": str(step)}) for step in range(1, 12)]
OTHERWISE: list[tuple[str, dict[str, Any]]] = [  # choices of the sidebar that a command has to carry
    *(("pruning", {"scope": scope, "view": view, "by": "per-example", "tasks": ["pick", "antonym"]})
      for scope in ("This task", "All tasks") for view in ("Heads", "FFNs", "Heads and FFNs", "Other tasks' rankings")),
    ("lab", {"off": "L1H2", "against": "mean:L2H0"}), ("heads", {"view": "Models"}),
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
        units = [*made_up.everything(MODEL, TASKS, OFF), *map(HeadOracle, setups_of(list(MINI)))]
        made_up.fill(store, [unit for unit in units if not isinstance(unit, Evaluation)], INFO)
        store.put_all(((unit, answered(unit.setup, 0.4 if unit.ablation else 0.9)) for unit in units
                       if isinstance(unit, Evaluation)), replace=True)  # some were put for what builds on them
        made_up.fill(store, made_up.real_story(TASKS), made_up.REAL)
    return folder


@pytest.fixture
def shown(full: Path, explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[pd.DataFrame, str]]:
    """What the pages draw over the full store: every table that is offered as CSV, and the lines beside it.

    Pages may measure masks that nobody has asked for before: made-up results.
    """
    browse(monkeypatch, full)

    def measure(units: list[Unit[Any]], *_: Any, **__: Any) -> bool:
        made_up.fill(handles.store(), units, INFO)
        return True

    monkeypatch.setattr(blocks, "measure", measure)
    return note_tables(monkeypatch)


LESS_USUAL: list[tuple[str, dict[str, Any]]] = [  # what the tables are made with beside the records
    ("heads", {"view": "One task", "by": "per-example", "off": "L1H2,L0H1"}),
    ("heads", {"view": "Shots", "off": "L1H2"}),
    ("ffns", {"off": "F1"}), ("ffns", {"scope": "All tasks", "off": "F1"}),
    ("overlap", {"view": "Tasks", "off": "L1H2", "by": "per-example"}),
    ("induction", {"view": "Scores", "off": "L1H2"}),
    ("pruning", {"scope": "This task", "view": "Heads", "tasks": ["pick", "plural"]}),
    ("pruning", {"scope": "All tasks", "view": "Other tasks' rankings", "tasks": ["pick", "antonym", "plural"]}),
]


@pytest.mark.parametrize(("page", "address"), [*VIEWS, *LESS_USUAL, *STEPS, ("runs", {})], ids=str)
def test_the_lines_beside_every_chart_print_the_table_of_its_csv(
        shown: list[tuple[pd.DataFrame, str]], explorer: Explorer, monkeypatch: pytest.MonkeyPatch, page: str,
        address: dict[str, Any]):
    app = opened(page, **{"task": "antonym", **address})
    if page == "tour" and app.radio:
        app.radio[0].set_value(app.radio[0].options[0])
        shown.clear()
        app.run()
    assert calm(app), (app.error, app.exception)
    assert shown
    for table, lines in shown:
        prints_the_table(lines, table, monkeypatch)


@pytest.mark.parametrize(("widget", "value", "page", "address"), [
    ("capacity lines", "shots", "induction", {"view": "Capacity"}),
    ("capacity of", "copying", "induction", {"view": "Capacity"}),
    ("show", "variance", "induction", {"view": "Scores"}),
    ("importance of", "all tasks", "induction", {"view": "Against importance"}),
    ("map ranking", "aggregate ranking", "pruning", {"view": "Heads and FFNs", "scope": "This task"}),
    ("tour scale", "FFNs", "tour", {"step": "11"}),
], ids=str)
def test_so_do_those_of_a_page_s_own_choices(shown: list[tuple[pd.DataFrame, str]], explorer: Explorer,
                                             monkeypatch: pytest.MonkeyPatch, widget: str, value: str, page: str,
                                             address: dict[str, Any]):
    app = opened(page, **{"task": "antonym", **address})
    app.get_by_key(widget).set_value(value)
    app.run()
    if page == "tour":
        app.radio[0].set_value(app.radio[0].options[0])
        app.run()
    shown.clear()
    app.run()
    assert calm(app), (app.error, app.exception)
    if page != "pruning":  # only a task's own map is in the store
        assert shown
    for table, lines in shown:
        prints_the_table(lines, table, monkeypatch)


def test_what_a_chart_says_beside_its_table_is_printed_too(shown: list[tuple[pd.DataFrame, str]], explorer: Explorer,
                                                          monkeypatch: pytest.MonkeyPatch):
    app = opened("pruning", task="antonym", view="Heads", scope="This task")
    limits = app.dataframe[0].value
    table, lines = shown[-1]
    assert set(table["ranking"]) == {"own ranking", "aggregate ranking", "most important first", "random order"}
    assert str(limits.to_string()) in run_lines(lines, monkeypatch)["printed"]
    opened("lab", task="antonym", off="L1H2", scope="All tasks")
    table, lines = shown[-1]
    assert tables.groups_table(table).to_string() in run_lines(lines, monkeypatch)["printed"]
    app = opened("overlap", task="antonym", view="Tasks")
    names = run_lines(shown[-1][1], monkeypatch)
    row = tables.agreement_table(names["pair"], heads=names["live"]).iloc[0]
    assert f"(95\u00a0%: {row['95 % from']:.2f} to {row['to']:.2f})" in words(app)
    assert tables.agreement_table(names["pair"], heads=names["live"]).to_string() in names["printed"]
