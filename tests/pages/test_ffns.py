"""The FFNs page shows each layer's effect as it is stored, for one task and for all."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from backend import stats, tables
from backend.kinds import Evaluation, FFNOracle, Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Ablation, Head
from pages.shared import charts
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, calm, setup_of, setups_of, words

OFFS = [Ablation(frozenset(Head(layer, head) for head in range(INFO.n_heads))) for layer in range(INFO.n_layers)]


def units(*tasks: str) -> Iterable[Unit]:
    for setup in setups_of(tasks):
        yield from (FFNOracle(setup), made_up.importance(setup))


def oracle(store: Store, task: str = "antonym"):
    return store.get(FFNOracle(setup_of(task, 5)))


def test_an_empty_store_is_said_to_be_empty_in_every_view(explorer: Explorer):
    for scope in ("This task", "All tasks"):
        for view in ("FFNs", "FFNs and heads"):
            app = explorer("ffns", task="antonym", scope=scope, view=view)
            assert calm(app)
            assert "Not measured yet" in words(app)
    assert any("precompute" in code.value for code in app.code)


def test_prompts_that_did_not_fit_are_counted_on_the_page(explorer: Explorer, store: Store):
    unit = FFNOracle(setup_of("antonym", 5))
    whole = made_up.record(unit, INFO)
    skipped = tuple(max(whole.questions.docs) + i for i in (1, 2))
    store.put(unit, replace(whole, questions=replace(whole.questions, skipped=skipped)))
    assert "antonym, 5-shot: Too long for the model's context: 2 prompts were skipped." in words(
        explorer("ffns", task="antonym"))


def test_the_title_and_the_table_say_what_is_stored(explorer: Explorer, store: Store):
    made_up.fill(store, units("antonym"), INFO)
    app = explorer("ffns", task="antonym")
    accuracy = oracle(store).accuracy()
    assert calm(app)
    worst = int(accuracy[1:].argmin())
    assert f"Without the L{worst} FFN, accuracy on antonym falls by " \
           f"{wording.points(accuracy[0] - accuracy[1 + worst])[1:]}" in words(app)
    shown = app.dataframe[0].value.set_index("removed" if "removed" in app.dataframe[0].value else "name")
    for layer in range(INFO.n_layers):
        assert shown.loc[f"L{layer} FFN", "accuracy"] == accuracy[1 + layer]
        assert shown.loc[f"L{layer} FFN", "change"] == pytest.approx(accuracy[1 + layer] - accuracy[0])


def test_the_mean_over_tasks_is_the_mean_of_what_is_stored(explorer: Explorer, store: Store):
    made_up.fill(store, units(*MINI), INFO)
    app = explorer("ffns", scope="All tasks")
    records = {task: oracle(store, task) for task in MINI}
    mean = tables.mean_effects_table(records)
    by_hand = sum(r.importance() for r in records.values()) / len(records)
    assert mean["change"].tolist() == pytest.approx((-by_hand).tolist())
    assert f"averaged over {len(MINI)} tasks falls by {wording.points(by_hand.max())[1:]}" in words(app)
    assert calm(app)
    assert "Not measured yet" not in words(app)


def test_with_some_tasks_missing_the_others_are_shown_and_counted(explorer: Explorer, store: Store):
    made_up.fill(store, units(*list(MINI)[:3]), INFO)
    app = explorer("ffns", scope="All tasks")
    assert calm(app)
    assert "averaged over 3 tasks" in words(app)
    assert f"({len(MINI) - 3} of {len(MINI)} results)" in words(app)


def test_heads_and_ffns_stand_side_by_side(explorer: Explorer, store: Store):
    made_up.fill(store, units("antonym"), INFO)
    app = explorer("ffns", task="antonym", view="FFNs and heads")
    importance = store.get(made_up.importance(setup_of("antonym", 5))).scores("per-token")
    top = int(stats.layer_shares(importance).argmax())
    assert f"For antonym, heads matter most in layer {top}" in words(app)
    made_up.fill(store, (Evaluation(setup_of("antonym", 5), off) for off in (Ablation(), *OFFS)),
                 INFO)
    app.segmented_control(key="heads by").set_value("switching them off").run()
    assert calm(app)
    assert "accuracy without any head of the layer" in words(app)


def test_a_damaged_result_counts_as_missing(explorer: Explorer, store: Store):
    made_up.fill(store, units("antonym"), INFO)
    store._cache.set(FFNOracle(setup_of("antonym", 5)).key, b"no such thing")
    app = explorer("ffns", task="antonym")
    assert calm(app)
    assert "Not measured yet" in words(app)
    assert "damaged" in words(app)


def test_chosen_ffns_are_marked(store: Store):
    made_up.fill(store, units("antonym"), INFO)
    table = tables.effects_table(oracle(store), Ablation(ffns=frozenset({1})))
    assert table.query("off")["name"].tolist() == ["L1 FFN"]


def test_an_unknown_view_in_the_address_shows_the_first(explorer: Explorer):
    app = explorer("ffns", view="no such view")
    assert calm(app)
    assert app.segmented_control(key="view").value == "FFNs"


def test_where_nothing_is_lost_no_layer_is_said_to_matter(explorer: Explorer, store: Store):
    for setup in setups_of(list(MINI)):
        unit = FFNOracle(setup)
        made = made_up.record(unit, INFO)
        store.put(unit, replace(made, choices=(made.choices[0],) * 4, choices_norm=(made.choices_norm[0],) * 4))
    made_up.fill(store, [made_up.importance(s) for s in setups_of(list(MINI))], INFO)
    app = explorer("ffns", scope="All tasks")
    assert calm(app)
    assert "No FFN's removal lowers any task's accuracy" in words(app)
    beside = explorer("ffns", view="FFNs and heads", task="antonym")
    assert calm(beside)
    assert "no FFN is missed" in words(beside)
    assert "undefined" not in words(beside)
    x = charts.layer_effects(tables.effects_table(oracle(store))).to_dict()["layer"][0]["encoding"]["x"]
    assert x["scale"]["domain"] == [-0.05, 0.05]
