"""The Heads page shows what is stored, and offers what is not."""

from dataclasses import replace

import numpy as np
import pytest

from backend import stats, tables
from backend.kinds import FFNOracle, HeadImportance, HeadOracle, HeadScores, PrefixMatching, Pruning, Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Ablation, Head, Ranking
from pages.map import scales
from pages.shared import lecture, verdicts
from tests.pages import made_up, maps
from tests.pages.conftest import INFO, MODEL, Explorer, calm, setup_of, setups_of, words
from tests.pages.shown import asked_by_commands

UNIT = made_up.importance(setup_of("antonym", 5))


def stored(store: Store) -> HeadScores:
    record = store.put(UNIT, made_up.record(UNIT, INFO))
    assert isinstance(record, HeadScores)
    return record


def test_an_empty_store_is_said_to_be_empty_and_an_offer_is_made(explorer: Explorer):
    app = explorer("heads", task="antonym")
    assert calm(app)
    assert "Not measured yet:** head importance of antonym, 5-shot" in words(app)
    assert any(button.label == "Measure now" for button in app.main.button)
    assert any("precompute --model bundled --what importance" in code.value for code in app.code)


def test_what_is_stored_of_other_numbers_of_examples_is_one_click_away(explorer: Explorer, store: Store):
    """A long task's importance over 40 examples where pages ask for 200, and its FFNs over 30 questions."""
    of = setup_of("antonym", 5)
    few = HeadImportance(of.with_(n_examples=40))
    made_up.fill(store, [few, FFNOracle(of.with_(n_examples=30, draws=5))], INFO)
    app = explorer("heads", task="antonym")
    (other,) = [button for button in app.main.button if button.label == "Show it with 40 training examples"]
    app = other.click().run()
    assert calm(app)
    assert app.sidebar.number_input("train").value == 40
    assert list(app.dataframe[0].value["head"])[:1] == [
        str(head) for head in stats.highest(made_up.record(few, INFO).scores("per-token"), 1)[:1]]
    assert not any("Show it" in button.label for button in app.main.button)
    app = explorer("ffns", task="antonym")
    (other,) = [button for button in app.main.button if button.label.startswith("Show it")]
    assert other.label == "Show it with 5 draws, 30 questions"
    app = other.click().run()
    assert calm(app)
    assert "Not measured yet" not in words(app)
    assert "n = 30" in words(app)


def test_a_way_of_asking_that_shows_less_or_is_not_allowed_is_not_offered(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    names = list(MINI)
    made_up.fill(store, [made_up.importance(one) for one in setups_of(names[:-1])], INFO)
    made_up.fill(store, [HeadImportance(setup_of(names[-1]).with_(n_examples=500))], INFO)
    assert not any("Show it" in b.label for b in explorer("heads", task=names[0], view="All tasks").main.button)
    one = {"task": names[-1]}
    assert any("Show it with 500" in button.label for button in explorer("heads", **one).main.button)
    monkeypatch.setattr(lecture, "most_questions", lambda: 200)
    assert not any("Show it" in button.label for button in explorer("heads", **one).main.button)


def test_the_title_and_the_table_say_what_is_stored(explorer: Explorer, store: Store):
    record = stored(store)
    app = explorer("heads", task="antonym")
    scores = record.scores("per-token")
    top, half = stats.highest(scores, 1)[0], stats.concentration(scores)
    assert calm(app)
    assert f"{half} heads of 12 hold half of the importance for antonym, by either divisor; {top} leads" in words(app)
    table = app.dataframe[0].value
    assert list(table["head"])[:2] == [str(h) for h in stats.highest(scores, 1)[:2]]
    assert table["importance"][0] == scores[top.layer, top.head]


def test_the_definition_in_the_address_is_the_one_that_is_shown(explorer: Explorer, store: Store):
    record = stored(store)
    app = explorer("heads", task="antonym", by="per-example")
    assert app.dataframe[0].value["importance"].max() == record.scores("per-example").max()
    assert "as in the paper" in words(app)


def test_every_view_draws_with_all_with_some_and_with_no_results(explorer: Explorer, store: Store):
    for n in (0, 2, len(MINI)):
        made_up.fill(store, [made_up.importance(s) for s in setups_of(list(MINI)[:n])], INFO)
        for view in ("One task", "All tasks", "Shots", "Difference", "Average"):
            app = explorer("heads", task=next(iter(MINI)), view=view)
            assert calm(app), (view, n, app.error, app.exception)
    assert "Not measured yet" not in words(explorer("heads", view="Average"))


def test_chosen_heads_are_marked_and_lead_to_lab(explorer: Explorer, store: Store):
    stored(store)
    app = explorer("heads", task="antonym", off="L1H2")
    assert list(app.dataframe[0].value.query("chosen")["head"]) == ["L1H2"]
    assert maps.given(app)["importance"].off == "L1H2"
    table = tables.grid_table(stored(store).scores(), Ablation(frozenset({Head(1, 2)})))
    assert list(table.query("off")["name"]) == ["L1H2"]


def test_the_map_is_given_the_scores_their_ranks_and_the_scale_that_is_asked_for(explorer: Explorer, store: Store):
    scores = stored(store).scores("per-token")
    app = explorer("heads", task="antonym")
    given = maps.given(app)["importance"].map
    assert given["values"] == scales.plain(scores)
    assert given["ranks"] == scales.ranks(scores)
    assert given["scale"] == scales.best_scale(scores)
    app.segmented_control("scale").set_value("per layer").run()
    given = maps.given(app)["importance"].map
    assert (given["scale"], given["legend"]) == ("per layer", "importance (per layer colours)")
    assert given["values"] == scales.plain(scores)  # colours alone are made comparable
    assert given["shades"] == np.round(1000 * scales.shades(scores, "per layer").strength).tolist()
    assert given["facts"] == []


def test_the_map_says_what_else_is_known_of_a_head(explorer: Explorer, store: Store):
    stored(store)
    unit = PrefixMatching(MODEL)
    record = store.put(unit, made_up.record(unit, INFO))
    facts = maps.given(explorer("heads", task="antonym"))["importance"].map["facts"]
    assert [fact["label"] for fact in facts] == ["prefix matching"]
    assert facts[0]["values"] == scales.plain(np.array(record.mean))


def test_a_damaged_result_counts_as_missing(explorer: Explorer, store: Store):
    stored(store)
    store._cache.set(UNIT.key, b"no such thing")
    app = explorer("heads", task="antonym")
    assert calm(app)
    assert "Not measured yet" in words(app)
    assert "damaged" in words(app)


def test_a_small_map_opens_large(explorer: Explorer, store: Store):
    made_up.fill(store, [made_up.importance(s) for s in setups_of(list(MINI), (0, 1, 5))], INFO)
    app = explorer("heads", view="All tasks", task="antonym")
    app.button("open plural").click().run()
    assert calm(app)
    assert "of the importance for plural" in words(app)
    shots = explorer("heads", view="Shots", task="antonym")
    shots.button("open 1-shot").click().run()
    assert "antonym, 1-shot" in words(shots)


def test_the_difference_is_between_two_tasks_or_two_numbers_of_shots(explorer: Explorer, store: Store):
    made_up.fill(store, [made_up.importance(s) for s in setups_of(["antonym", "plural"], (0, 5))], INFO)
    for other in (("plural", 5), ("antonym", 0)):
        a, b = (stats.shares(store.get(made_up.importance(setup_of(*one))).scores("per-token"))
                for one in (("antonym", 5), other))
        app = explorer("heads", view="Difference", task="antonym")
        app.selectbox("other task").set_value("plural" if other[0] == "plural" else "antonym, 0-shot").run()
        assert calm(app)
        top = stats.highest(abs(a - b), 1)[0]
        assert f"{top} sets them apart most" in words(app)


# --- calibration ------------------------------------------------------------------------------------


def calibrated(store: Store, task: str = "antonym", *more: Unit) -> None:
    of = setup_of(task)
    units = [made_up.importance(of), made_up.attribution(of), HeadOracle(of), made_up.writes(of)]
    made_up.fill(store, [*units, *more], INFO)


def test_a_score_stands_against_what_removals_cost(explorer: Explorer, store: Store):
    calibrated(store)
    app = explorer("heads", task="antonym", view="Calibration", off="L1H2")
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    of = setup_of("antonym")
    record, oracle = store.get(made_up.importance(of)), store.get(HeadOracle(of))
    alive = store.get(made_up.writes(of)).alive()
    table = tables.calibration_table([record], [oracle], "per-token", Ablation(frozenset({Head(1, 2)})), alive)
    (row,) = tables.tells_table({"per-token": [record]}, {"zero": [oracle]}, "per-token", alive).query(
        "`measured in` == 'loss'").to_dict("records")
    assert verdicts.tells(row, 11, "live heads", "antonym") in words(app)
    assert verdicts.unseen(table, made_up.N_QUESTIONS) in words(app)
    assert verdicts.misses(tables.missed_table(table, "loss"), "loss") in words(app)
    *_, heads, every = (frame.value for frame in app.dataframe)
    assert list(heads["head"]) == list(table["name"])
    assert list(heads["loss added"]) == list(table["loss added"])
    assert list(heads.query("chosen")["head"]) == ["L1H2"]
    assert set(every["score"]) == set(tables.SCORES)
    assert set(every["in its place"]) == {"zero"}
    assert "Not stored, so not here: mean, resample, optimal." in words(app)
    given = maps.given(app)["calibration"].map
    drawn = {mark["name"]: mark["y"] for mark in given["marks"]}
    assert drawn == dict(zip(table["name"], table["loss added"], strict=True))


@pytest.mark.parametrize(("widget", "value", "said"), [
    ("calibrated score", "integrated", "The integrated score"),
    ("calibrated cost", "accuracy", "removal costs in accuracy"),
    ("calibrated of", "all tasks", "for the mean of 1 task")])
def test_each_choice_of_a_calibration_is_shown(explorer: Explorer, store: Store, widget: str, value: str, said: str):
    calibrated(store)
    app = explorer("heads", task="antonym", view="Calibration")
    app.segmented_control(key=widget).set_value(value).run()
    assert calm(app), (app.error, app.exception)
    assert said.lower() in words(app).lower()


@pytest.mark.parametrize(("widget", "value", "unit"), [
    ("calibrated place", "optimal", HeadOracle(setup_of("antonym"), "optimal")),
    ("calibrated on", "training prompts", HeadOracle(setup_of("antonym"), on="train"))])
def test_a_removal_that_is_not_measured_is_offered(explorer: Explorer, store: Store, widget: str, value: str,
                                                   unit: Unit):
    calibrated(store)
    app = explorer("heads", task="antonym", view="Calibration")
    app.segmented_control(key=widget).set_value(value).run()
    assert calm(app), (app.error, app.exception)
    assert asked_by_commands(app) == [unit]
    made_up.fill(store, [unit], INFO)
    app.run()
    assert "Not measured yet" not in words(app)
    assert calm(app), (app.error, app.exception)


def test_an_oracle_without_losses_shows_its_accuracy_and_offers_the_loss(explorer: Explorer, store: Store):
    calibrated(store)
    unit = HeadOracle(setup_of("antonym"))
    store.put(unit, replace(store.get(unit), gold=()), replace=True)
    app = explorer("heads", task="antonym", view="Calibration")
    assert calm(app), (app.error, app.exception)
    assert "the answers alone were kept" in words(app)
    assert "by what their removal costs in accuracy" in words(app)
    assert asked_by_commands(app) == [unit]
    assert any(button.label == "Measure now" for button in app.main.button)


def test_pruning_goes_by_the_score_that_is_offered(explorer: Explorer, store: Store):
    ranking = Ranking.by(made_up.task_id("antonym"), reduction="integrated")
    unit = Pruning(setup_of("antonym"), "heads", ranking)
    made_up.fill(store, [unit], INFO)
    app = explorer("pruning", task="antonym")
    app.segmented_control(key="ranked by").set_value("integrated").run()
    assert not app.exception
    assert unit not in asked_by_commands(app)
    assert any(one.ranking.reduction == "integrated" for one in asked_by_commands(app) if isinstance(one, Pruning))
    assert "Heads ranked by integrated gradients" in words(app)
