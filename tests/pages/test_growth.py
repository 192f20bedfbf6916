"""The training of the bundled model on a slider, on Induction and in the Tour."""

from dataclasses import replace

import pytest

from backend.bundled import checkpoints
from backend.bundled.checkpoints import Checkpoint
from backend.kinds import Evaluation, PrefixMatching
from backend.store.live import Store
from backend.tasks.registry import suite
from pages.shared import charts, notes
from pages.shared import words as wording
from tests.pages import made_up, maps
from tests.pages.conftest import INFO, MODEL, Explorer, bodies, calm
from tests.pages.shown import run_lines

STEPS = [Checkpoint(step, 1000 * step, step / 100, 1.0, 1.0) for step in (0, 10, 100)]
TASKS = [task.name for task in suite("mini") if task.group == "in-context"]


@pytest.fixture
def trained(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Results of three checkpoints, of which the last is the bundled model: looks back from step 10 on."""
    monkeypatch.setattr(checkpoints, "known", lambda: STEPS)
    for one, score in zip(STEPS, (0.1, 0.4, 0.8), strict=True):
        model = MODEL if one is STEPS[-1] else replace(MODEL, name=one.name, digest=f"{one.step}")
        made_up.fill(store, [PrefixMatching(model)], INFO)
        record = store.get(PrefixMatching(model))
        assert record is not None
        mean = tuple(tuple(score if (i, j) == (1, 0) else 0.01 for j in range(INFO.n_heads))
                     for i in range(INFO.n_layers))
        store.put(PrefixMatching(model), replace(record, mean=mean), replace=True)
        for n_shots in (0, 5):
            made_up.fill(store, [Evaluation(made_up.setup(model, task, n_shots)) for task in TASKS], INFO)
        made_up.fill(store, [made_up.importance(made_up.setup(model, task, 5)) for task in TASKS], INFO)
    return store


def test_curves_maps_and_the_two_steps_are_on_the_page(explorer: Explorer, trained: Store, monkeypatch):
    app = explorer("induction", view="In training")
    assert calm(app), (app.error, app.exception)
    assert app.select_slider(key="training step").value == 100
    said = " ".join(map(notes.plain, bodies(app)))
    assert "Examples help from step 0 on, heads look back from step 10 on, 1 checkpoint later" in said
    shown = maps.given(app)
    assert shown["training grown matching"].map["label"] == "prefix matching at step 100"
    app.select_slider(key="training step").set_value(10).run()
    assert calm(app)
    assert maps.given(app)["training grown matching"].map["label"] == "prefix matching at step 10"
    lines = next(code.value for code in app.code if "growth_table" in code.value)
    assert "heads look back from 10" in run_lines(lines, monkeypatch)["printed"]


def test_the_tour_shows_it_below_its_own_map(explorer: Explorer, trained: Store):
    app = explorer("tour", step="3")
    app.radio[0].set_value(app.radio[0].options[0]).run()
    app.toggle("tour training").set_value(True).run()
    assert calm(app), (app.error, app.exception)
    assert app.main.select_slider


def test_another_model_has_no_training_to_show(explorer: Explorer, store: Store, monkeypatch):
    monkeypatch.setattr(checkpoints, "known", list)
    app = explorer("induction", view="In training")
    assert calm(app)
    assert not app.main.select_slider


@pytest.mark.parametrize(("formed", "learns", "said"), [
    (None, None, "No head looks back in this training, and examples never help"),
    (10, None, "Heads look back from step 10 on, and examples never help"),
    (None, 100, "Examples help from step 100 on, and no head looks back"),
    (10, 10, "Heads look back and examples help from the same checkpoint on, step 10"),
    (10, 1000, "Heads look back from step 10 on, examples help from step 1,000 on, 2 checkpoints later"),
    (100, 10, "Examples help from step 10 on, heads look back from step 100 on, 1 checkpoint later"),
])
def test_the_sentence_says_whether_they_come_together(formed, learns, said):
    assert wording.grown(formed, learns, [0, 10, 100, 1000]) == said


def test_the_chart_has_a_logarithmic_axis_shares_up_and_marks(trained: Store):
    from backend import tables
    from backend.tables import Grown

    table = tables.growth_table([Grown(step, step, trained.get(PrefixMatching(MODEL)), {}, {}, {}) for step in (0, 9)])
    spec = charts.growth(tables.growth_points(table), 9, 0.5, {"a mark": 9}).to_dict()
    lines = next(layer for layer in spec["layer"] if layer["mark"].get("type") == "line")
    assert lines["encoding"]["x"]["scale"]["type"] == "log"
    assert lines["encoding"]["y"]["scale"]["domain"] == [0, 1]
    data = [data for data in spec["datasets"].values() if data and data[0].get("name") == "a mark"]
    assert data[0][0]["place"] == 9
