"""The tour asks before it tells, and tells only what is stored."""

from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from backend import stats, tables
from backend.errors import ModelError
from backend.kinds import (
    Answers,
    Evaluation,
    FFNOracle,
    HeadOracle,
    HeadScores,
    InductionScores,
    PrefixMatching,
    Sweep,
    Unit,
)
from backend.records import ModelInfo, Questions
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import ModelId, parse_exact
from pages.shared import handles, lecture, verdicts
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, are_here, bodies, calm, setups_of, words

IN_CONTEXT = [task.name for task in MINI.values() if task.group == "in-context"]
N_STEPS = 11


def records(units: list[Unit]) -> list:
    return [made_up.record(unit, INFO) for unit in units]


@pytest.mark.parametrize("step", range(1, N_STEPS + 1))
def test_every_step_stands_on_an_empty_store_and_asks_before_it_tells(explorer: Explorer, step: int):
    app = explorer("tour", step=str(step))
    assert not app.exception
    assert app.header[0].value.startswith(f"{step} · ")
    if app.radio:
        assert not any("<h3" in body for body in bodies(app))
        app.radio[0].set_value(app.radio[0].options[0]).run()
        assert not app.exception
        assert "Not measured yet" in words(app) or app.error  # the model of these tests has no weights


def test_next_and_back_walk_through_the_steps(explorer: Explorer):
    app = explorer("tour")
    for step in range(2, N_STEPS + 1):
        app.button("next").click().run()
        assert app.header[0].value.startswith(f"{step} · ")
    assert app.button("next").disabled
    app.button("back").click().run()
    assert app.header[0].value.startswith(f"{N_STEPS - 1} · ")


def test_learning_from_examples_shows_the_mean_of_the_stored_accuracies(explorer: Explorer, store: Store):
    units = [Evaluation(s) for s in setups_of(IN_CONTEXT, shots=(0, 1, 5))]
    made_up.fill(store, units, INFO)
    app = explorer("tour", step="1")
    app.radio[0].set_value("nearly always").run()
    assert calm(app)
    stored = {unit.setup.n_shots: [] for unit in units}
    for unit, record in zip(units, records(units), strict=True):
        assert isinstance(record, Answers)
        stored[unit.setup.n_shots].append(record.outcomes().mean())
    first, last = (wording.percent(float(np.mean(stored[n]))) for n in (0, 5))
    assert f"From {first} without examples to {last} with 5" in words(app)


def test_looking_back_counts_the_stored_heads(explorer: Explorer, store: Store):
    unit = PrefixMatching(MODEL)
    made_up.fill(store, [unit], INFO)
    record = made_up.record(unit, INFO)
    assert isinstance(record, InductionScores)
    n = int((np.array(record.mean) >= 0.3).sum())
    app = explorer("tour", step="3")
    app.radio[0].set_value("none").run()
    assert calm(app)
    assert f"It is **{verdicts.LOOK_BACK[verdicts.looking_back(n, 12)]}**" in words(app)
    assert f"{wording.how_many(n, 'head').capitalize()} of 12 look back" in words(app)


def test_sharing_heads_compares_pairs_within_and_across_groups(explorer: Explorer, store: Store):
    units = [made_up.importance(s) for s in setups_of(list(MINI))]
    made_up.fill(store, units, INFO)
    app = explorer("tour", step="6")
    app.radio[0].set_value("the same kind").run()
    assert calm(app)
    scores = [r.scores() for r in records(units) if isinstance(r, HeadScores)]
    rhos = {True: [], False: []}
    tasks = list(MINI.values())
    for i, a in enumerate(tasks):
        for j in range(i):
            rhos[a.group == tasks[j].group].append(stats.spearman(scores[i], scores[j]))
    title, _ = verdicts.kinds_agree(stats.grouping(stats.spearman_matrix(scores), [task.group for task in tasks]))
    assert title in words(app)
    assert f"ρ = {np.mean(rhos[True]):.2f} against {np.mean(rhos[False]):.2f}" in title


def test_ffns_and_pruning_say_what_the_sweeps_say(explorer: Explorer, store: Store):
    oracles = [FFNOracle(s) for s in setups_of(list(MINI))]
    curves = [made_up.pruning(s, "heads", ranking) for ranking in ("own", "random:0")
              for s in setups_of(list(MINI))]
    made_up.fill(store, oracles + curves, INFO)
    app = explorer("tour", step="7")
    app.radio[0].set_value("one in the middle").run()
    assert calm(app)
    losses = np.mean([r.importance() for r in records(oracles) if isinstance(r, Sweep)], 0)
    assert f"Without the FFN of layer {losses.argmax()} accuracy falls most" in words(app)
    app = explorer("tour", step="5")
    app.radio[0].set_value("half or more").run()
    assert calm(app)
    own = np.mean([r.accuracy() for r in records(curves[:len(MINI)])], 0)
    gone = [int(p / 20 * 12 + 1e-9) for p in range(19)]
    held = stats.can_go(own, gone, 0.9)
    assert f"{wording.percent(held / 12)} of the heads ({held:g} of 12; 95" in words(app)
    assert f"can go and {wording.percent(0.9)} of the accuracy stays" in words(app)


def test_a_guess_is_judged_by_what_is_stored(explorer: Explorer, store: Store):
    oracles = [FFNOracle(s) for s in setups_of(list(MINI))]
    made_up.fill(store, oracles, INFO)
    losses = np.mean([r.importance() for r in records(oracles) if isinstance(r, Sweep)], 0)
    right = ("that of the first layer", "one in the middle", "that of the last layer")[int(losses.argmax())]
    for guess in ("that of the first layer", "one in the middle", "that of the last layer"):
        app = explorer("tour", step="7")
        app.radio[0].set_value(guess).run()
        assert calm(app)
        assert (f"You guessed right: **{right}**" if guess == right else
                f"You guessed “{guess}”. It is **{right}**") in words(app)


def test_another_model_can_be_taken_and_the_tour_says_so(explorer: Explorer, store: Store,
                                                         monkeypatch: pytest.MonkeyPatch):
    other = made_up.model_info(2, 2, name="other")
    are_here(monkeypatch, INFO, other)
    made_up.fill(store, [FFNOracle(s) for s in made_up.setups(made_up.model_id(other), list(MINI))], other)
    app = explorer("tour", model="other", step="7")
    app.radio[0].set_value("that of the first layer").run()
    assert calm(app)
    assert "now taken with other" in words(app)
    assert "Without the FFN of layer" in words(app)
    next(b for b in app.main.button if b.label == "Use the bundled model").click().run()
    assert "now taken with" not in words(app)


def test_a_real_model_is_told_of_from_what_is_stored(explorer: Explorer, store: Store):
    tasks = list(map(made_up.task_id, MINI))
    made_up.fill(store, made_up.real_story(tasks), made_up.REAL)
    of = made_up.setups(made_up.model_id(made_up.REAL), tasks)
    pairs = {s.task.name: tuple(made_up.record(Evaluation(one), made_up.REAL) for one in (s.with_(n_shots=0), s))
             for s in of}
    table = tables.shots_table(pairs, dict.fromkeys(pairs, ""))
    told, at = verdicts.helped(table, 5)
    answers = verdicts.HELPED
    app = explorer("tour", step="10")
    assert "The model so far was trained for this story" in words(app)
    assert "**SmolLM2-135M** has 4 layers of 2 heads" in words(app)
    app.radio[0].set_value(answers[at]).run()
    assert calm(app)
    assert f"You guessed right: **{answers[at]}**" in words(app)
    assert told in words(app)
    assert "half of the importance averaged over 14 tasks" in words(app)
    app = explorer("tour", step="11")
    app.radio[0].set_value("about 70 %").run()
    assert "**SmolLM2-135M**, over the same 14 tasks: " in words(app)


def test_the_tour_goes_on_with_the_real_model(explorer: Explorer, store: Store):
    made_up.fill(store, made_up.real_story(list(map(made_up.task_id, MINI))), made_up.REAL)
    app = explorer("tour", step="10")
    app.radio[0].set_value(app.radio[0].options[0]).run()
    app.button("tour real").click().run()
    assert app.header[0].value.startswith("1 · ")
    assert "now taken with SmolLM2-135M" in words(app)


def test_the_study_stands_beside_what_holds_here(explorer: Explorer, store: Store):
    sweeps = [made_up.pruning(s, "ffns") for s in setups_of(list(MINI))]
    made_up.fill(store, sweeps, INFO)
    app = explorer("tour", step="11")
    app.segmented_control("tour scale").set_value("FFNs").run()
    app.radio[0].set_value("about 20 %").run()
    assert calm(app)
    assert "You guessed right: **about 20 %**" in words(app)
    mean = np.mean([r.accuracy() for r in records(sweeps)], 0)
    held = stats.can_go(mean, [int(p / 20 * INFO.n_layers + 1e-9) for p in range(19)], 0.9)  # FFNs that really go
    assert (f"OPT-66B spares about 20 % of its FFNs; this model {wording.percent(held / 3)} of its FFNs "
            f"({held:g} of 3; 95") in words(app)


def test_steps_are_named_in_the_control_and_numbered_in_the_address(explorer: Explorer):
    app = explorer("tour", step="4")
    (control,) = [one for one in app.main.segmented_control if one.key == "step"]
    assert control.options[:4] == ["1 Examples", "2 Off", "3 Look back", "4 Knock out"]
    app.button("next").click().run()
    assert app.query_params["step"] == "5"
    assert app.header[0].value.startswith("5 · ")
    app.query_params["step"] = "2"  # as Back does in a browser
    app.run()
    assert app.header[0].value.startswith("2 · ")


def test_the_first_example_is_one_that_only_examples_let_the_model_answer(explorer: Explorer, store: Store):
    of = setups_of(IN_CONTEXT[:1], shots=(0, 1))
    docs = tuple(prompt.doc for prompt in handles.prompts(of[1]))
    n = len(docs)
    bare = Questions(docs, ((0,),) * n, (2,) * n, ("",) * n)
    asked = replace(bare, draws=tuple(i % of[1].draws for i in range(n)))
    right, wrong = (-1.0, -3.0), (-3.0, -1.0)
    lengths = ((5, 5),) * n
    store.put(Evaluation(of[0]), Answers(bare, (right, right, right, wrong) + (right,) * (n - 4), lengths))
    store.put(Evaluation(of[1]), Answers(asked, (wrong, right, right, right) + (right,) * (n - 4), lengths))
    app = explorer("tour", step="1")
    assert app.number_input("tour question").value == 4
    assert "It then bets 12\u00a0% on the right answer" in words(app)
    assert "With 1 example the model answers **right**" in words(app)
    assert "**0 shots** are the bare question" in words(app)


def test_switching_off_says_whether_the_guess_was_right(explorer: Explorer, store: Store):
    (of,) = setups_of(IN_CONTEXT[:1])
    made_up.fill(store, [Evaluation(of), HeadOracle(of)], INFO)
    (oracle,) = records([HeadOracle(of)])
    alone = tables.need_table(np.zeros((INFO.n_layers, INFO.n_heads)), oracle)
    told, at = verdicts.missed_alone(alone)
    right = ("the model breaks down", "hardly anything", "it depends on the head")[at]
    app = explorer("tour", step="2")
    app.radio[0].set_value(right).run()
    assert f"You guessed right: **{right}**" in words(app)
    assert told in words(app)


def test_knocking_out_begins_with_all_heads_that_look_back(explorer: Explorer, store: Store):
    made_up.fill(store, [PrefixMatching(MODEL)], INFO)
    (record,) = records([PrefixMatching(MODEL)])
    everyone = int((np.array(record.mean) >= 0.3).sum())
    app = explorer("tour", step="4")
    (control,) = [one for one in app.main.segmented_control if str(one.key).startswith("tour k")]
    assert control.value == everyone > 3


def test_one_number_of_heads_is_no_choice(explorer: Explorer, store: Store):
    (record,) = records([PrefixMatching(MODEL)])
    store.put(PrefixMatching(MODEL), replace(record, mean=((0.9, 0.8, 0.0, 0.0), *((0.0,) * 4 for _ in range(2)))))
    app = explorer("tour", step="4")
    assert not [one for one in app.main.segmented_control if str(one.key).startswith("tour k")]
    assert "the 2 heads that look back most" in app.radio[0].label


def test_each_step_has_a_mask_of_its_own(explorer: Explorer):
    app = explorer("tour", step="2", off="L1H2")
    app.button("next").click().run()
    assert app.session_state["off"] == ""
    app.button("back").click().run()
    assert app.session_state["off"] == "L1H2"


def test_nothing_leads_back_from_a_step_into_the_mask_of_another(explorer: Explorer):
    app = explorer("tour", step="2", off="L1H2")
    app.sidebar.text_input("off").set_value("L1H2,L2H0").run()
    assert len(app.session_state["trail"].texts) > 1
    for button, mask in (("next", ""), ("back", "L1H2,L2H0")):
        app.button(button).click().run()
        assert app.session_state["off"] == mask
        assert app.session_state["trail"].texts == (mask,)


def test_keys_step_only_for_a_presenter(explorer: Explorer):
    app = explorer("tour", step="2")
    assert not app.button("next").proto.shortcut
    app.toggle("present").set_value(True).run()
    assert calm(app)
    assert [app.button(key).proto.shortcut for key in ("back", "next", "page back", "page on")] == [
        "left", "right", "pageup", "pagedown"]
    app.button("page on").click().run()
    assert app.header[0].value.startswith("3 · ")


def test_the_picture_of_the_model_follows_what_is_off(explorer: Explorer):
    app = explorer("tour", step="2", off="L1H2")
    (picture,) = [m.value for m in app.main.markdown if m.value.startswith("<svg")]
    assert 'aria-label="Picture of the model, 3 layers of 4 heads' in picture
    assert "1 of 12 heads off: L1H2" in picture
    app.sidebar.text_input("off").set_value("F0,L1H2,L2H0").run()
    (picture,) = [m.value for m in app.main.markdown if m.value.startswith("<svg")]
    assert "2 of 12 heads and 1 of 3 FFNs off: L1H2, L2H0 and L0 FFN" in picture


@pytest.fixture
def elsewhere(store: Store, monkeypatch: pytest.MonkeyPatch) -> ModelId:
    """SmolLM2, of which results are stored and no weights are here; what it is with which prefix matching."""
    def not_here(name: str, *_: object, **__: object) -> ModelInfo:
        if name == INFO.name:
            return INFO
        raise ModelError("The weights of SmolLM2-135M are not here. `python -m backend smollm2`, or the button on "
                         "Runs > Models, fetches them (99 MB).")

    made_up.fill(store, [*made_up.real_story(list(map(made_up.task_id, MINI))),
                         PrefixMatching(made_up.model_id(made_up.REAL))], made_up.REAL)
    monkeypatch.setattr(handles, "describe", not_here)
    monkeypatch.setattr(handles, "identify", lambda name, dtype="float32", bos="auto": made_up.model_id(not_here(name)))
    return made_up.model_id(made_up.REAL)


@pytest.mark.parametrize(("step", "off"), [("1", ""), ("2", ""), ("2", "L0H1"), ("3", ""), ("4", ""), ("5", ""),
                                           ("6", ""), ("7", ""), ("8", ""), ("9", ""), ("10", ""), ("11", "")])
def test_a_tour_without_weights_says_so_before_the_guess_and_calmly_after(explorer: Explorer, elsewhere: ModelId,
                                                                          step: str, off: str):
    app = explorer("tour", model="SmolLM2-135M", step=step, off=off)
    assert calm(app)
    before = [one.value for one in app.main.caption if "needs the model itself" in one.value]
    assert len(before) == (step in ("1", "2", "4", "5", "8", "9"))
    for line in before:
        assert line.count("are not here") == 1
        assert "`python -m backend smollm2`" in line
        assert "\\`" not in line
    app.radio[0].set_value(app.radio[0].options[0]).run()
    assert calm(app)
    if step in ("2", "4"):
        assert ("It cannot be measured here. The weights of SmolLM2-135M are not here. `python -m backend smollm2`"
                in words(app))
    if step == "2":
        assert "with each head off in turn, which answers the question" in words(app)
        assert "Try it" not in words(app)


def test_the_real_model_is_not_told_to_be_the_bundled_one(explorer: Explorer, elsewhere: ModelId):
    app = explorer("tour", model="SmolLM2-135M", step="10")
    assert "The model so far" not in words(app)
    assert "with which you take the tour, has 4 layers" in words(app)


def test_a_tour_with_another_model_begins_with_nothing_off(explorer: Explorer, elsewhere: ModelId):
    app = explorer("tour", step="2", off="L1H2")
    for _ in range(8):
        app.button("next").click().run()
    app.sidebar.text_input("off").set_value("L0H1").run()
    app.radio[0].set_value(app.radio[0].options[0]).run()
    app.button("tour real").click().run()
    assert (app.session_state["model"], app.session_state["off"]) == ("SmolLM2-135M", "")
    app.button("next").click().run()
    assert app.session_state["off"] == ""
    assert app.session_state["trail"].texts == ("",)


def test_the_answer_stands_below_its_question(explorer: Explorer, store: Store):
    (of,) = setups_of(IN_CONTEXT[:1])
    made_up.fill(store, [Evaluation(of), HeadOracle(of)], INFO)
    app = explorer("tour", step="2")
    app.radio[0].set_value("hardly anything").run()
    (column,) = [one for one in app.main.columns if one.radio]
    assert any("You guessed" in one.value for one in column.markdown)


def test_two_heads_that_cost_little_alone_can_be_tried_together(explorer: Explorer, store: Store):
    (of,) = setups_of(IN_CONTEXT[:1])
    made_up.fill(store, [Evaluation(of), HeadOracle(of)], INFO)
    (oracle,) = records([HeadOracle(of)])
    alone = tables.need_table(np.zeros((INFO.n_layers, INFO.n_heads)), oracle)
    pair = verdicts.worst_pair(alone)
    assert pair is not None
    made_up.fill(store, [Evaluation(of, parse_exact(",".join(pair)))], INFO)
    app = explorer("tour", step="2")
    app.radio[0].set_value("hardly anything").run()
    assert app.button("tour pair").label == f"{pair[0]} and {pair[1]} cost most alone: switch both off"
    app.button("tour pair").click().run()
    assert calm(app)
    assert app.session_state["off"] == str(parse_exact(",".join(pair)))
    assert "Off alone, they change accuracy by " in words(app)


def test_what_a_presenter_needs_no_more_is_on_the_first_step_alone(explorer: Explorer,
                                                                   monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(lecture.SETTING, "192.168.1.20:8501")
    monkeypatch.setattr(lecture, "at_the_machine", lambda: True)
    intro, invitation = "Headroom shows which **attention heads**", "Open a room for this class"
    app = explorer("tour", present="true")
    assert (intro in words(app), invitation in links(app)) == (True, True)
    app.button("next").click().run()
    assert (intro in words(app), invitation in links(app)) == (False, False)
    assert "in the sidebar" not in words(app)  # which is hidden
    app.toggle("present").set_value(False).run()
    assert (intro in words(app), invitation in links(app)) == (True, False)


def links(app: AppTest) -> list[str]:
    return [one.proto.label for one in app.main.get("page_link")]


def test_a_presenter_finds_undo_where_the_map_is(explorer: Explorer, store: Store):
    (of,) = setups_of(IN_CONTEXT[:1])
    made_up.fill(store, [Evaluation(of), HeadOracle(of)], INFO)
    app = explorer("tour", step="2", present="true")
    app.radio[0].set_value("hardly anything").run()
    assert calm(app)
    assert "in the sidebar" not in words(app).replace(FOOT, "")
    assert "tour steps" in app.session_state["maps"]
    app.toggle("present").set_value(False).run()
    assert "Undo and Clear are in the sidebar" in words(app)


FOOT = "with the sidebar's model and details"


def test_the_foot_says_what_the_sidebar_changes(explorer: Explorer):
    app = explorer("tour")
    assert f"{FOOT} (in step 10 with the usual ones); each step chooses its own task and shots" in words(app)


def test_the_first_step_says_what_its_task_asks(explorer: Explorer):
    app = explorer("tour")
    said = [one.value for one in app.main.caption]
    assert MINI[IN_CONTEXT[0]].about in said
    app.selectbox("tour task").set_value(IN_CONTEXT[1]).run()
    assert MINI[IN_CONTEXT[1]].about in [one.value for one in app.main.caption]
