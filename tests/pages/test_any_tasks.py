"""Any tasks that have results are compared, of whichever suite or mix."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.kinds import Evaluation, Influence
from backend.store.live import Store
from backend.values import Ablation, Head, TaskId
from tests.pages import made_up
from tests.pages.conftest import Explorer, browse, calm, words
from tests.pages.test_elsewhere import n_charts
from tests.pages.test_lab import answered

LESS = Ablation(frozenset({Head(1, 2)}))
SMALL = made_up.model_info(4, 6, name="far/away")
FOUR = ["antonym", "capital", "plural", "pick"]
FOUR_VIEWS = [*(("overlap", {"view": view}) for view in ("Tasks", "Shots", "Top heads", "Heads that many need")),
              ("heads", {"view": "All tasks"}), ("heads", {"view": "Average"}),
              ("lab", {"scope": "All tasks", "off": "L1H2"}), ("ffns", {"scope": "All tasks"}),
              *(("pruning", {"scope": "All tasks", "view": view})
                for view in ("Heads", "FFNs", "Heads and FFNs", "Other tasks' rankings"))]


@pytest.fixture(scope="session")
def results_of_four_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    units = list(made_up.everything(made_up.model_id(SMALL), list(map(made_up.task_id, FOUR)), LESS))
    with Store(folder) as store:
        store.put_all((unit, answered(unit.setup, 0.4 if unit.ablation else 0.9)) for unit in units
                      if isinstance(unit, Evaluation))
        made_up.fill(store, [unit for unit in units if not isinstance(unit, Evaluation | Influence)], SMALL)
    return folder


@pytest.mark.parametrize(("page", "address"), FOUR_VIEWS, ids=str)
def test_four_tasks_with_results_are_what_is_compared(explorer: Explorer, results_of_four_tasks: Path,
                                                      monkeypatch: pytest.MonkeyPatch, page: str,
                                                      address: dict[str, str]):
    browse(monkeypatch, results_of_four_tasks)
    app = explorer(page, model=SMALL.name, task="antonym", **address)
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    assert n_charts(app) > 0
    assert app.sidebar.multiselect("tasks").placeholder == "the usual 4 tasks"
    assert ", ".join(FOUR) in app.sidebar.multiselect("tasks").help


def test_a_visitor_compares_any_tasks(explorer: Explorer, store: Store):
    here = list(map(made_up.task_id, ("antonym", "pick")))
    mixed = [*here, TaskId("piqa", "elsewhere"), TaskId("own:mine", "gone")]
    made_up.fill(store, map(made_up.importance, made_up.setups(made_up.model_id(SMALL), mixed)), SMALL)
    app = explorer("overlap", model=SMALL.name)
    assert "4 tasks rank their heads alike" in words(app)  # of the study's suite, piqa is alone
    assert "2 tasks rank their heads alike" in words(explorer("overlap", model=SMALL.name, task="antonym"))
    chosen = explorer("overlap", model=SMALL.name, tasks=["piqa", "own:mine"])
    assert calm(chosen), (chosen.error, chosen.exception)
    assert "2 tasks rank their heads alike" in words(chosen)
    assert "Not measured yet" not in words(chosen)
    chosen.sidebar.multiselect("tasks").set_value(["piqa", "own:mine", "pick"]).run()
    assert "3 tasks rank their heads alike" in words(chosen)
