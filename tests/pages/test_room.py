"""The room: nobody sees before they guess, and everybody finds their place again."""

import re

import pytest
from streamlit.testing.v1 import AppTest

from backend.kinds import Answers, Evaluation, HeadOracle, Sweep
from backend.store.live import Store
from backend.values import Ablation, Head
from pages.shared import school
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, calm, setup_of, words

OFF = Ablation(frozenset({Head(1, 2), Head(2, 3)}))


def html(app: AppTest) -> str:
    return "\n".join(str(one.proto.body) for one in app.main.get("html"))


@pytest.fixture
def filled(store: Store) -> Store:
    """Everything that a teacher can ask about one task."""
    of = setup_of("label_kind")
    heads = [Ablation(frozenset({Head(layer, head)})) for layer in range(3) for head in range(4)]
    masks = [Ablation(), OFF, *heads]
    made_up.fill(store, [HeadOracle(of), *(Evaluation(of, mask) for mask in masks)], INFO)
    return store


def opened(explorer: Explorer, **more: str) -> tuple[AppTest, str]:
    teacher = explorer("room", task="label_kind", **more)
    teacher.button("open room").click().run()
    return teacher, str(teacher.session_state["my room"])


def pupil(explorer: Explorer, code: str, colour: str = "blue", animal: str = "fox") -> AppTest:
    app = explorer("room", room=code)
    app.pills("colour").set_value(colour).run()
    app.pills("animal").set_value(animal).run()
    app.button("sit down").click().run()
    assert calm(app)
    return app


def test_a_room_is_opened_shown_and_come_into_by_its_code(explorer: Explorer):
    teacher, code = opened(explorer)
    assert f"Room {code}" in words(teacher)
    assert teacher.query_params["room"] == code
    app = explorer("room")
    app.text_input("room code").set_value(f" {code.lower()} ")
    next(b for b in app.button if b.label == "Come in").click().run()
    assert "Who are you today?" in words(app)
    app.button("sit down").click().run()
    teacher.run()
    assert str(school.rooms().look(code).people[0]) in html(teacher)


def test_a_wrong_code_is_said_to_be_one(explorer: Explorer):
    app = explorer("room")
    app.text_input("room code").set_value("QQQQ")
    next(b for b in app.button if b.label == "Come in").click().run()
    assert "There is no room 'QQQQ'" in words(app)
    assert "There is no room ZZZZ any more" in words(explorer("room", room="zzzz", seat="abc"))


def test_an_accuracy_is_guessed_before_it_is_seen(explorer: Explorer, filled: Store):
    teacher, code = opened(explorer, off=str(OFF))
    one, other = pupil(explorer, code), pupil(explorer, code, "red", "owl")
    teacher.button("ask").click().run()
    assert calm(teacher)
    record = filled.get(Evaluation(setup_of("label_kind"), OFF))
    assert isinstance(record, Answers)
    truth = wording.percent(float(record.outcomes().mean()))
    one.run()
    said = words(one) + html(one)
    assert "label_kind, 5 shots: how often is the model right without L1H2 and L2H3?" in said
    assert f"It is {truth}" not in said + words(teacher) + html(teacher)
    assert 'role="timer"' in html(one)
    one.slider[0].set_value(70)
    next(b for b in one.button if b.label == "Guess").click().run()
    assert "Your guess: **70" in words(one)
    teacher.run()
    assert "**1 of 2** have guessed" in words(teacher)
    teacher.button("reveal").click().run()
    other.run()
    one.run()
    off_by = wording.points(abs(0.7 - float(record.outcomes().mean()))).removeprefix("+")
    for app in (teacher, one, other):
        assert calm(app)
        assert f"It is {truth} (95\u00a0%: " in words(app)
        assert re.search(rf"blue fox(, you</b>)?: 70\u00a0%, {off_by} off", html(app))
    assert f"You: 70\u00a0%, {off_by} off" in words(one)
    assert "You: " not in words(other)


def test_the_intact_accuracy_is_not_told_where_it_is_the_question(explorer: Explorer, filled: Store):
    teacher, code = opened(explorer)
    app = pupil(explorer, code)
    teacher.button("ask").click().run()
    app.run()
    assert "with nothing off?" in words(app)
    assert "With nothing off: **" not in words(app)


def test_of_three_heads_the_one_that_is_missed_most_is_right(explorer: Explorer, filled: Store):
    teacher, code = opened(explorer, off="L0H0,L1H2,L2H3")
    app = pupil(explorer, code)
    teacher.segmented_control("ask kind").set_value("heads").run()
    teacher.button("ask").click().run()
    assert calm(teacher)
    app.run()
    of = setup_of("label_kind")
    left = {str(h): filled.get(Evaluation(of, Ablation(frozenset({h})))).outcomes().mean()
            for h in (Head(0, 0), Head(1, 2), Head(2, 3))}
    worst = min(left, key=lambda name: left[name])
    app.segmented_control[0].set_value(worst).run()  # the only one who is here: all have guessed
    assert calm(app)
    assert f"Most is lost without {worst}" in words(app)
    assert ", right. Place 1 of 1." in words(app)


def test_a_race_shows_what_each_switch_left(explorer: Explorer, filled: Store):
    teacher, code = opened(explorer)
    app, _ = pupil(explorer, code), pupil(explorer, code, "red", "owl")
    teacher.segmented_control("ask kind").set_value("race").run()
    teacher.button("ask").click().run()
    assert calm(teacher)
    oracle = filled.get(HeadOracle(setup_of("label_kind")))
    assert isinstance(oracle, Sweep)
    app.run()
    assert "**10 switches left.**" in words(app)
    next(one for one in app.pills if one.label == "Layer 0").set_value("L0H1").run()
    assert calm(app)
    assert "**9 switches left.** Least is left without L0H1" in words(app)
    layer = next(one for one in app.pills if one.label == "Layer 0")
    assert f"**L0H1** {wording.percent(float(oracle.accuracy()[2]))}" in layer.options
    teacher.button("reveal").click().run()
    assert "Missed most" in words(teacher)


def test_a_reload_keeps_ones_place(explorer: Explorer):
    _, code = opened(explorer)
    app = pupil(explorer, code, "green", "newt")
    again = explorer("room", room=code, seat=str(app.query_params["seat"]))
    assert "You are the **green newt**" in words(again)
    assert "Who are you today?" not in words(again)


def test_those_who_guess_have_no_sidebar_and_the_teacher_has(explorer: Explorer):
    teacher, code = opened(explorer)
    assert teacher.sidebar.selectbox("task").value == "label_kind"
    assert not pupil(explorer, code).sidebar.selectbox


def test_somebody_takes_over_from_a_teacher_who_is_away(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    teacher, code = opened(explorer)
    app = pupil(explorer, code)
    assert not [b for b in app.button if b.key == "take over"]
    later = school.rooms()._clock() + 60
    monkeypatch.setattr(school.rooms(), "_clock", lambda: later)
    app.run()
    app.button("take over").click().run()
    assert calm(app)
    assert "Next question" in words(app)
    assert app.sidebar.selectbox("task").value == "label_kind"
    teacher.run()
    teacher.button("take over").click().run()  # the room is the teacher's own
    assert "Next question" in words(teacher)


def test_a_room_that_is_closed_sends_everybody_to_the_door(explorer: Explorer):
    teacher, code = opened(explorer)
    app = pupil(explorer, code)
    teacher.button("close room").click().run()
    app.run()
    assert calm(app)
    assert f"There is no room {code} any more" in words(app)
    assert "Open a room" in [b.label for b in app.button]
