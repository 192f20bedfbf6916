"""The Lab shows stored accuracies as they are, and measures nothing unless it must."""

from dataclasses import replace

import numpy as np
import pytest

from backend import stats, tables
from backend.errors import ModelError
from backend.kinds import Answers, Evaluation, Influence, PrefixMatching
from backend.records import Questions
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.tasks.task import prompts
from backend.values import INTACT, Ablation, Head, Setup, parse_exact
from pages.map import scales
from pages.shared import handles, verdicts
from pages.shared import words as wording
from tests.pages import made_up, maps
from tests.pages.conftest import INFO, MODEL, Explorer, calm, setup_of, words

OFF = Ablation(frozenset({Head(1, 2)}), frozenset({0}))


def answered(setup: Setup, right: float) -> Answers:
    """A task's own questions, of which the first `right` (a share) are answered right."""
    asked = prompts(MINI[setup.task.name], setup.n_shots, setup.demos, setup.n_examples, setup.seed, draws=setup.draws)
    rows = []
    for i, prompt in enumerate(asked):
        row, gold = [-2.0] * len(prompt.example.options), prompt.example.gold[0]
        row[gold if i < round(right * len(asked)) else gold - 1] = -0.5
        rows.append(tuple(row))
    questions = Questions(tuple(p.doc for p in asked), tuple(p.example.gold for p in asked),
                          tuple(len(row) for row in rows), ("",) * len(asked),
                          draws=tuple(p.draw for p in asked if p.draw is not None))
    return Answers(questions, tuple(rows), tuple((5,) * len(row) for row in rows))


def put(store: Store, task: str, intact: float, ablated: float | None = None) -> tuple[Answers, Answers | None]:
    """Store both evaluations of a task."""
    setup = setup_of(task, 5)
    pair = answered(setup, intact), answered(setup, ablated) if ablated is not None else None
    for ablation, record in zip((INTACT, OFF), pair, strict=True):
        if record is not None:
            store.put(Evaluation(setup, ablation), record)
    return pair


def test_prompts_that_did_not_fit_are_counted_on_the_page(explorer: Explorer, store: Store):
    setup = setup_of("antonym", 5)
    whole = answered(setup.with_(n_examples=98), 0.9)
    skipped = tuple(max(whole.questions.docs) + i for i in (1, 2))
    dropped = tuple(2 if i < 3 else 0 for i in range(whole.questions.n))
    store.put(Evaluation(setup),
              replace(whole, questions=replace(whole.questions, dropped_demos=dropped, skipped=skipped)))
    said = words(explorer("lab", task="antonym"))
    assert "antonym, 5-shot: Too long for the model's context: 3 prompts lost demonstrations and 2 prompts were" in said


def test_the_numbers_shown_are_those_of_the_stored_evaluations(explorer: Explorer, store: Store):
    intact, ablated = put(store, "antonym", 0.9, 0.4)
    app = explorer("lab", task="antonym", off=str(OFF))
    assert calm(app)
    assert ablated is not None
    shown = {m.label: m.value for m in app.main.metric}
    before, after = intact.marks().right, ablated.marks().right
    assert shown == {"Intact": wording.percent(before.mean()), "Switched off": wording.percent(after.mean()),
                     "Change": wording.points(after.mean() - before.mean())}
    said = words(app)
    low, high = stats.accuracy_interval(ablated.marks())
    assert f"95 %: {100 * low:.1f}".rstrip("0").rstrip(".") in said
    assert wording.percent(high) in said
    assert wording.p_value(stats.paired_test(intact.marks(), ablated.marks()).p) in said
    assert f"chance {wording.percent(intact.questions.chance)}" in said
    change = f"goes from {wording.percent(0.9)} to {wording.percent(0.4)}"
    assert f"Without L1H2 and L0 FFN, accuracy on antonym {change}" in said


def test_the_questions_that_flipped_are_listed_with_their_prompt_and_log_likelihoods(explorer: Explorer, store: Store):
    intact, ablated = put(store, "antonym", 0.9, 0.4)
    app = explorer("lab", task="antonym", off=str(OFF))
    assert "50 questions of antonym turned wrong, none turned right" in words(app)
    assert len(app.dataframe[0].value) == 50
    first = prompts(MINI["antonym"], 5, "fixed", 100, 0)[40]
    assert app.code[-2].value == first.prefix + first.example.contexts[0]
    options = app.dataframe[1].value
    assert list(options["option"]) == [o.strip() for o in first.example.options]
    assert ablated is not None
    assert np.allclose(options["ablated"], ablated.loglikelihoods[40])
    assert np.allclose(options["intact"], intact.loglikelihoods[40])


def test_all_tasks_are_compared_group_by_group(explorer: Explorer, store: Store):
    pairs = {name: put(store, name, 0.9, 0.5) for name in MINI}
    app = explorer("lab", scope="All tasks", off=str(OFF))
    assert calm(app)
    shown = {m.label: m.value for m in app.main.metric}
    for group in dict.fromkeys(task.group for task in MINI.values()):
        mean = np.mean([b.outcomes().mean() for name, (_, b) in pairs.items() if MINI[name].group == group and b])
        assert shown[group.capitalize()] == wording.percent(mean)
    assert f"averaged over {len(MINI)} tasks goes from" in words(app)


@pytest.mark.parametrize("off", ["", str(OFF)])
@pytest.mark.parametrize("scope", ["This task", "All tasks"])
def test_with_nothing_or_little_stored_the_page_stands(explorer: Explorer, store: Store, scope: str, off: str):
    for stored in (None, "antonym"):
        if stored:
            put(store, stored, 0.9)
        app = explorer("lab", task="plural", scope=scope, off=off)
        assert not app.exception
        assert [e.value for e in app.error] == ["This model has no weights."]
        app.toggle("live").set_value(False).run()
        assert calm(app)
        assert "Not measured yet" in words(app)


def test_with_measuring_off_what_is_missing_is_offered_not_measured(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9)
    app = explorer("lab", task="antonym")
    assert calm(app)
    app.toggle("live").set_value(False).run()
    app.sidebar.text_input("off").set_value("L1H2, L0 FFN").run()
    assert app.session_state["off"] == str(OFF)
    assert "Not measured yet:** accuracy without L1H2 and L0 FFN" in words(app)


def test_a_model_that_cannot_be_loaded_is_a_sentence_and_stored_results_stay(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> None:
        raise ModelError("The weights are gone. Fetch them again.")

    monkeypatch.setattr(handles, "model", fails)
    intact, _ = put(store, "antonym", 0.9)
    app = explorer("lab", task="antonym", off=str(OFF))
    assert not app.exception
    assert [e.value for e in app.error] == ["The weights are gone. Fetch them again."]
    assert {m.label: m.value for m in app.main.metric}["Intact"] == wording.percent(intact.outcomes().mean())


def test_presets_choose_what_they_say(explorer: Explorer, store: Store):
    setup = setup_of("antonym", 5)
    units = [made_up.importance(setup), PrefixMatching(MODEL)]
    made_up.fill(store, units, INFO)
    put(store, "antonym", 0.9)
    importance, matching = (made_up.record(unit, INFO) for unit in units)
    app = explorer("lab", task="antonym")
    app.session_state["presets"] = True
    app.toggle("live").set_value(False).run()

    def chosen() -> Ablation:
        return parse_exact(app.session_state["off"])

    app.slider("preset share").set_value(25).run()
    app.button("preset lowest").click().run()
    assert chosen() == Ablation(frozenset(stats.lowest(importance.scores("per-token"), 0.25)))
    app.slider("preset k").set_value(3).run()
    app.button("preset induction").click().run()
    assert chosen() == Ablation(frozenset(stats.highest(np.array(matching.mean), 1)[:3]))
    app.button("preset random").click().run()
    assert len(chosen().heads) == 3
    assert all(head.layer >= 1 for head in chosen().heads)
    before = chosen()
    app.button("invert").click().run()
    assert len(chosen().heads) == INFO.n_layers * INFO.n_heads - 3
    maps.press(app, "undo")
    assert chosen() == before
    maps.press(app, "redo")
    assert chosen() != before
    maps.press(app, "clear")
    assert not chosen()


def test_mean_ablation_is_part_of_the_mask_and_the_address(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9)
    app = explorer("lab", task="antonym")
    app.toggle("live").set_value(False).run()
    app.sidebar.text_input("off").set_value("L1H2").run()
    app.segmented_control("fill").set_value("mean").run()
    assert app.session_state["off"] == "mean:L1H2"
    app.segmented_control("fill").set_value("zero").run()
    assert app.session_state["off"] == "L1H2"


def test_tried_masks_are_kept_with_what_they_did(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9, 0.4)
    app = explorer("lab", task="antonym", off=str(OFF))
    tried = app.dataframe[-1].value
    assert list(tried["off"]) == [str(OFF)]
    assert tried["intact"][0] == pytest.approx(0.9)
    assert tried["ablated"][0] == pytest.approx(0.4)


def test_the_map_is_given_what_is_off_and_how_important_each_head_is(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9, 0.4)
    unit = made_up.importance(setup_of("antonym", 5))
    scores = store.put(unit, made_up.record(unit, INFO)).scores("per-token")
    given = maps.given(explorer("lab", task="antonym", off="L1H2,F2"))["lab grid"]
    assert given.off == "L1H2,F2"
    assert given.map["ffns"]
    assert given.map["values"] == scales.plain(scores)
    assert given.map["state"] == "off"
    none = maps.given(explorer("lab", task="plural"))["lab grid"]
    assert none.map["values"] is None
    assert none.map["shape"] == [3, 4]



def test_the_picture_of_the_model_is_drawn_only_where_it_is_unfolded(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9, 0.4)
    app = explorer("lab", task="antonym", off=str(OFF))
    assert not any(m.value.startswith("<svg") for m in app.main.markdown)
    app.session_state["picture"] = True
    app.run()
    (picture,) = [m.value for m in app.main.markdown if m.value.startswith("<svg")]
    assert "1 of 12 heads and 1 of 3 FFNs off: L1H2 and L0 FFN" in picture
    assert "1 of 12 heads and 1 of 3 FFNs off: L1H2 and L0 FFN." in words(app)


def test_one_task_is_compared_at_every_number_of_shots(explorer: Explorer, store: Store):
    for n_shots, ablated in ((0, 0.3), (1, 0.5), (5, 0.4)):
        setup = setup_of("antonym", n_shots)
        for ablation, right in ((INTACT, 0.9), (OFF, ablated)):
            store.put(Evaluation(setup, ablation), answered(setup, right))
    app = explorer("lab", task="antonym", scope="All shots", off=str(OFF))
    assert calm(app)
    assert {m.label: m.value for m in app.main.metric} == {
        "0-shot": wording.percent(0.3), "1-shot": wording.percent(0.5), "5-shot": wording.percent(0.4)}
    said = words(app)
    assert f"goes from {wording.percent(0.9)} to {wording.percent(0.3)} 0-shot" in said
    assert "60 questions of antonym, 0-shot, turned wrong, none turned right" in said  # the most, so shown first
    tried = app.dataframe[-1].value
    assert list(tried["shots"]) == [5, 1, 0]
    assert np.allclose(tried["change"], [-0.5, -0.4, -0.6])
    assert (tried["95 % from"] <= tried["change"]).all()
    assert (tried["change"] <= tried["to"]).all()


def test_a_mask_has_a_name_that_its_address_carries(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9, 0.4)
    app = explorer("lab", task="antonym", off=str(OFF), name="the two")
    assert app.text_input("name").value == "the two"
    assert list(app.dataframe[-1].value["name"]) == ["the two"]
    assert "name=the+two" in app.code[-1].value
    app.toggle("live").set_value(False).run()
    app.sidebar.text_input("off").set_value("L2H0").run()
    assert app.text_input("name").value == ""  # another mask has no name yet
    maps.press(app, "undo")
    assert app.text_input("name").value == "the two"


def test_nothing_turned_is_said_in_a_sentence(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9, 0.9)
    app = explorer("lab", task="antonym", off=str(OFF))
    assert calm(app)
    assert "No answer on antonym turned from right to wrong or back" in words(app)


def test_a_preset_can_rank_by_another_task_or_by_the_mean(explorer: Explorer, store: Store):
    units = {name: made_up.importance(setup_of(name, 5)) for name in MINI}
    made_up.fill(store, units.values(), INFO)
    scores = {name: made_up.record(unit, INFO).scores("per-token") for name, unit in units.items()}
    put(store, "antonym", 0.9)
    app = explorer("lab", task="antonym")
    app.session_state["presets"] = True
    app.toggle("live").set_value(False).run()
    for ranking, wanted in (("plural", scores["plural"]), ("mean of all tasks", stats.aggregate([*scores.values()]))):
        app.selectbox("preset ranking").set_value(ranking).run()
        app.button("preset lowest").click().run()
        assert parse_exact(app.session_state["off"]) == Ablation(frozenset(stats.lowest(wanted, 0.3)))


def test_what_each_demonstration_does_is_drawn_only_where_it_is_unfolded(explorer: Explorer, store: Store):
    setup = setup_of("antonym")
    put(store, "antonym", 0.9, 0.4)
    for unit in (Influence(setup), Influence(setup, OFF)):
        store.put(unit, made_up.record(unit, INFO))
    app = explorer("lab", task="antonym", off=str(OFF))
    assert "Influence: " not in words(app)
    app.session_state["influences"] = True
    app.run()
    assert calm(app), (app.error, app.exception)
    table = tables.influence_table({"intact": store.get(Influence(setup)), "ablated": store.get(Influence(setup, OFF))})
    assert verdicts.adds_most(table, "antonym", wording.components(OFF)) in words(app)
    assert "demonstration 5 (nearest) adds" in words(app)
