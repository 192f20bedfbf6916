"""The Overlap page compares what is stored: correlations, top heads, and heads that many tasks need."""

import base64
import io
from collections.abc import Iterable

import numpy as np
import pytest
from PIL import Image

from backend import stats
from backend.kinds import Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from pages.shared import charts, curves, looking, matrices
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, calm, setup_of, words
from tests.pages.shown import run_shown_python

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
    assert f"14 tasks rank their heads alike at {curves.rho(pairs.mean())} on average" in words(app)
    assert "Not measured yet" not in words(app)


def test_the_authors_variant_is_another_number_and_says_so(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap")
    app.toggle(key="as authors").set_value(True).run()
    pairs = stats.off_diagonal(stats.spearman_matrix([scores(store, task) for task in MINI], as_authors=True))
    assert calm(app)
    assert f"As in the authors' code, index lists correlate at {curves.rho(pairs.mean())}" in words(app)
    assert "which is not how alike the rankings are" in words(app)


def test_the_two_chosen_tasks_are_shown_side_by_side(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap", task="antonym")
    app.selectbox(key="overlap tasks:b").set_value("pick").run()
    rho = stats.spearman(scores(store, "antonym"), scores(store, "pick"))
    assert calm(app)
    assert f"antonym and pick rank the heads alike at {curves.rho(rho)}" in words(app)


def test_a_clicked_cell_names_its_pair():
    assert matrices.picked({"selection": {charts.CLICK: [{"row": "a", "column": "b"}]}}) == ("a", "b")
    assert matrices.picked({"selection": {charts.CLICK: []}}) is None
    assert matrices.picked(None) is None


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
    assert f"0 and 5 shots agree at {curves.rho(mean)}" in words(app)
    rho = stats.spearman(scores(store, "antonym", 0), scores(store, "antonym", 5))
    assert f"antonym, 0-shot and antonym, 5-shot rank the heads alike at {curves.rho(rho)}" in words(app)


def test_the_overlap_of_top_heads_stands_beside_chance(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap", view="Top heads")
    everything = [scores(store, task) for task in MINI]
    mean = stats.off_diagonal(stats.overlap_matrix(everything, 0.2)).mean()
    chance = stats.topk_overlap_chance(INFO.n_layers * INFO.n_heads, 2)
    assert calm(app)
    assert (f"Tasks share {charts.percent(mean)} of their top 20 % of heads on average, chance would give "
            f"{charts.percent(chance)}") in words(app)
    curve = curves.overlap_table(everything, (0.2, 0.5))
    assert curve["mean"][0] == pytest.approx(mean)
    assert (curve["low"] <= curve["mean"]).all()


def test_heads_are_counted_by_the_tasks_that_need_them(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    app = explorer("overlap", view="Heads that many need")
    counts = stats.topk_counts([scores(store, task) for task in MINI], 0.2)
    assert calm(app)
    assert f"{(counts == 0).sum()} of 12 heads are in no task's top" in words(app)
    assert f"is in the top 20 % of {counts.max()} of 14 tasks" in words(app)
    assert curves.counts_table(counts, 0.2, len(MINI))["heads"].sum() == 12


@pytest.mark.parametrize("view", VIEWS)
def test_with_some_tasks_missing_the_others_are_compared(explorer: Explorer, store: Store, view: str):
    made_up.fill(store, importance(list(MINI)[:3], (0, 1, 5)), INFO)
    app = explorer("overlap", view=view)
    assert calm(app)
    assert "Not measured yet" in words(app)
    assert len(app.main.markdown) > 3


def test_a_damaged_result_counts_as_missing(explorer: Explorer, store: Store):
    made_up.fill(store, importance(), INFO)
    store._cache.set(made_up.importance(setup_of("pick", 5)).key, b"no such thing")
    app = explorer("overlap")
    assert calm(app)
    assert "13 tasks rank" in words(app)
    assert "(1 of 14 results)" in words(app)


def test_the_shown_python_gives_the_shown_record(explorer: Explorer, store: Store, monkeypatch):
    made_up.fill(store, importance(), INFO)
    shown = run_shown_python(explorer("overlap", view="Tasks"), monkeypatch)
    assert [r.scores("per-token").tolist() for r in shown[0]["records"]] == [scores(store, t).tolist() for t in MINI]
    assert shown[0]["printed"].strip() == str(stats.spearman_matrix([scores(store, task) for task in MINI]))
    a, b = shown[1]["records"]
    assert shown[1]["printed"].strip() == str(stats.spearman(a.scores("per-token"), b.scores("per-token")))


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_shows_python_that_runs(explorer: Explorer, store: Store, monkeypatch, view: str):
    made_up.fill(store, importance(shots=(0, 1, 5)), INFO)
    shown = run_shown_python(explorer("overlap", view=view), monkeypatch)
    assert len(shown) == {"Top heads": 3}.get(view, 2)
    assert all(one["printed"].strip() for one in shown)


def test_a_cell_shows_its_two_maps_while_it_is_hovered_over():
    a, b = np.eye(3, 4), np.ones((3, 4))
    picture = Image.open(io.BytesIO(base64.b64decode(looking.two_maps(a, b).partition(",")[2])))
    strength = np.asarray(picture)[..., 3] / 255
    cell = picture.height // 3
    left = strength[cell // 2::cell, cell // 2::cell][:, :4]
    assert np.allclose(left > 0.9, a[::-1])  # layer 0 at the bottom
    assert (strength[cell // 2::cell, -4 * cell + cell // 2::cell] > 0.9).all()
    large = looking.two_maps(np.ones((64, 72)), np.ones((64, 72)))
    assert len(large) < 20_000
    table = matrices.matrix_table(a, list("abc"), list("wxyz"), "rho").assign(image="data:")
    spec = matrices.matrix(table, "rho", rows=list("abc"), columns=list("wxyz")).to_dict()
    assert {"field": "image", "type": "nominal"} in spec["layer"][0]["encoding"]["tooltip"]


def test_the_colours_of_correlations_reach_to_zero_unless_all_are_high():
    assert matrices.span(np.array([0.87, np.nan, 0.99])) == (pytest.approx(0.8), 1.0)
    assert matrices.span(np.array([0.2, 0.9])) == (0.0, 1.0)
    assert matrices.span(np.array([-0.4, 0.9])) == (-0.4, 1.0)


def test_an_unknown_view_in_the_address_shows_the_first(explorer: Explorer):
    app = explorer("overlap", view="no such view")
    assert calm(app)
    assert app.segmented_control(key="view").value == VIEWS[0]


def test_rankings_that_have_little_in_common_are_not_called_alike():
    said = [curves.agreement(rho) for rho in (0.91, 0.05, -0.4, np.nan)]
    assert said == ["rank the heads alike at ρ\u00a0=\u00a00.91", "rank the heads independently, at ρ\u00a0=\u00a00.05",
                    "rank the heads the other way round, at ρ\u00a0=\u00a0−0.40",
                    "cannot be set against each other: ρ undefined, for all values are equal"]
