"""The Overlap page compares what is stored: correlations, top heads, and heads that many tasks need."""

from collections.abc import Iterable

import numpy as np
import pytest

from backend import stats, tables
from backend.kinds import Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from pages.shared import charts
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, bodies, calm, setup_of, words

VIEWS = ("Tasks", "Shots", "Top heads", "Heads that many need")


def importance(tasks: Iterable[str] = tuple(MINI), shots: Iterable[int] = (5,)) -> Iterable[Unit]:
    return (made_up.importance(setup_of(task, n)) for task in tasks for n in shots)


def scores(store: Store, task: str, n_shots: int = 5) -> np.ndarray:
    return store.get(made_up.importance(setup_of(task, n_shots))).scores("per-token")


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_store_is_said_to_be_empty(explorer: Explorer, view: str):
    app = explorer("overlap", view=view)
    assert calm(app)
    assert "Not measured yet" in words(app)


def test_the_title_is_the_mean_correlation_of_what_is_stored(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap", task="antonym")
    pairs = stats.off_diagonal(stats.spearman_matrix([scores(store, task) for task in MINI]))
    assert calm(app)
    assert f"14 tasks rank their heads alike at {wording.rho(pairs.mean())} on average" in words(app)
    assert "Not measured yet" not in words(app)


def test_the_authors_variant_is_another_number_and_says_so(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap")
    app.toggle(key="as authors").set_value(True).run()
    pairs = stats.off_diagonal(stats.spearman_matrix([scores(store, task) for task in MINI], as_authors=True))
    assert calm(app)
    assert f"As in the authors' code, index lists correlate at {wording.rho(pairs.mean())}" in words(app)
    assert "which is not how alike the rankings are" in words(app)


def test_the_two_chosen_tasks_are_shown_side_by_side(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap", task="antonym")
    app.selectbox(key="overlap tasks:b").set_value("pick").run()
    rho = stats.spearman(scores(store, "antonym"), scores(store, "pick"))
    assert calm(app)
    assert f"antonym and pick rank the heads alike at {wording.rho(rho)}" in words(app)


def test_a_clicked_cell_names_its_pair():
    assert charts.picked({"selection": {charts.CLICK: [{"row": "a", "column": "b"}]}}) == ("a", "b")
    assert charts.picked({"selection": {charts.CLICK: []}}) is None
    assert charts.picked(None) is None


def test_like_tasks_can_be_put_beside_each_other(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap")
    app.toggle(key="clustered").set_value(True).run()
    assert calm(app)


def test_shots_are_compared_task_by_task(explorer: Explorer, store: Store):
    made_up.fill(store, importance(shots=(0, 1, 5)), INFO)
    app = explorer("overlap", task="antonym", view="Shots")
    mean = np.mean([stats.spearman(scores(store, task, 0), scores(store, task, 5)) for task in MINI])
    assert calm(app)
    assert f"0 and 5 shots agree at {wording.rho(mean)}" in words(app)
    rho = stats.spearman(scores(store, "antonym", 0), scores(store, "antonym", 5))
    assert f"antonym, 0-shot and antonym, 5-shot rank the heads alike at {wording.rho(rho)}" in words(app)


def test_the_overlap_of_top_heads_stands_beside_chance(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap", view="Top heads")
    everything = [scores(store, task) for task in MINI]
    mean = stats.off_diagonal(stats.overlap_matrix(everything, 0.2)).mean()
    chance = stats.topk_overlap_chance(INFO.n_layers * INFO.n_heads, 2)
    assert calm(app)
    assert (f"Tasks share {wording.percent(mean)} of their top 20 % of heads on average, chance would give "
            f"{wording.percent(chance)}") in words(app)
    curve = tables.overlap_table(everything, (0.2, 0.5))
    assert curve["mean"][0] == pytest.approx(mean)
    assert (curve["low"] <= curve["mean"]).all()


def test_heads_are_counted_by_the_tasks_that_need_them(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap", view="Heads that many need")
    counts = stats.topk_counts([scores(store, task) for task in MINI], 0.2)
    assert calm(app)
    assert f"{(counts == 0).sum()} of 12 heads are in no task's top" in words(app)
    assert f"is in the top 20 % of {counts.max()} of 14 tasks" in words(app)
    assert tables.counts_table(counts, 0.2, len(MINI))["heads"].sum() == 12


@pytest.mark.parametrize("view", VIEWS)
def test_with_some_tasks_missing_the_others_are_compared(explorer: Explorer, store: Store, view: str):
    made_up.fill(store, importance(list(MINI)[:3], (0, 1, 5)), INFO)
    app = explorer("overlap", view=view)
    assert calm(app)
    assert "Not measured yet" in words(app)
    assert len(bodies(app)) > 3


def test_a_damaged_result_counts_as_missing(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    store._cache.set(made_up.importance(setup_of("pick", 5)).key, b"no such thing")
    app = explorer("overlap")
    assert calm(app)
    assert "13 tasks rank" in words(app)
    assert "(1 of 14 results)" in words(app)


def test_an_unknown_view_in_the_address_shows_the_first(explorer: Explorer):
    app = explorer("overlap", view="no such view")
    assert calm(app)
    assert app.segmented_control(key="view").value == VIEWS[0]
