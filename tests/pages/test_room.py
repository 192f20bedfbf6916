"""The room: nobody sees before they guess, and everybody finds their place again."""

import re

import pytest
from streamlit.testing.v1 import AppTest

from backend.kinds import Answers, Evaluation, HeadOracle, Sweep
from backend.store.live import Store
from backend.values import Ablation, Head
from pages.shared import lecture, school
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
    gone = words(explorer("room", room="zzzz", seat="abc"))
    assert "There is no room 'ZZZZ'" in gone
    assert "any more" not in gone
    app.text_input("room code").set_value("")
    next(b for b in app.button if b.label == "Come in").click().run()
    assert "Type the four letters first." in words(app)
    assert "There is no room" not in words(app)


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
    assert "1 of 2 have guessed." in words(teacher)
    assert "1 of 2 have guessed." in words(one)
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
    assert "label_kind, 5 shots. Find the " in words(app)
    assert "missed most; you have 10 switches." in words(app)
    assert "**10 switches left.**" in words(app)
    assert "0 of 2 have begun, none is done." in words(app)
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
    assert f"Room {code} has been closed." in words(app)
    assert "Open a room" in [b.label for b in app.button]


def test_what_a_slider_was_moved_to_counts_when_the_time_is_over(explorer: Explorer, filled: Store,
                                                                 monkeypatch: pytest.MonkeyPatch):
    teacher, code = opened(explorer, off=str(OFF))
    one, _ = pupil(explorer, code), pupil(explorer, code, "red", "owl")
    teacher.button("ask").click().run()
    one.run()
    assert "counts when the round closes" in words(one)
    one.slider[0].set_value(70).run()
    assert "Your guess: **" not in words(one)
    teacher.run()
    assert "0 of 2 have guessed." in words(teacher)
    again = explorer("room", room=code, seat=str(one.query_params["seat"]))
    assert again.slider[0].value == 70
    later = school.rooms()._clock() + 45
    monkeypatch.setattr(school.rooms(), "_clock", lambda: later)
    one.run()
    assert "You: 70\u00a0%, " in words(one)


def test_why_something_could_not_be_asked_stays_until_the_next_try(explorer: Explorer):
    teacher, _ = opened(explorer, off=str(OFF))  # nothing is stored, and the model of these tests has no weights
    teacher.button("ask").click().run()
    for _ in range(3):  # as the room's heartbeat does
        assert [error.value for error in teacher.error] == ["This model has no weights."]
        teacher.run()
    teacher.button("ask").click().run()
    assert len(teacher.error) == 1


def test_what_is_refused_stays_until_the_next_try_or_round(explorer: Explorer, filled: Store):
    teacher, code = opened(explorer)
    app = pupil(explorer, code)
    teacher.button("ask").click().run()
    teacher.button("reveal").click().run()
    app.run()
    app.session_state["refused"] = "This round is over.", (code, 1)
    for _ in range(3):
        app.run()
        assert "This round is over." in words(app)
    teacher.button("ask").click().run()
    app.run()
    assert "This round is over." not in words(app)


def test_who_comes_back_by_the_code_alone_can_teach_again(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    _, code = opened(explorer)
    app = pupil(explorer, code)
    back = explorer("room", room=code)
    assert not [b for b in back.button if b.key == "take over"]
    later = school.rooms()._clock() + 60
    monkeypatch.setattr(school.rooms(), "_clock", lambda: later)
    app.run()
    back.run()
    back.button("take over").click().run()
    assert calm(back)
    assert "Next question" in words(back)
    assert [str(one) for one in school.rooms().look(code).people] == ["blue fox"]


def test_those_who_come_late_find_the_code_beside_a_question(explorer: Explorer, filled: Store):
    teacher, code = opened(explorer)
    pupil(explorer, code)
    pictures = [one for one in teacher.main if one.type == "image"]
    assert len(pictures) == 1
    assert "Show the code" not in [one.proto.popover.label for one in teacher.get("popover")]
    teacher.button("ask").click().run()
    assert [one.proto.popover.label for one in teacher.get("popover")].count("Show the code") == 1
    (picture,) = [one for one in teacher.main if one.type == "image"]
    assert picture.proto.imgs[0].alt.endswith(f"/room?room={code}")


def test_a_lecture_s_first_page_leads_to_the_room_that_is_open(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(lecture.SETTING, "192.168.1.20:8501")
    monkeypatch.setattr(lecture, "at_the_machine", lambda: True)
    teacher, code = opened(explorer)
    teacher.switch_page("pages/tour.py").run()
    assert f"then Room and the code {code}" in words(teacher)
    assert f"Back to room {code}" in [one.proto.label for one in teacher.main.get("page_link")]
    (picture,) = [one for one in teacher.main if one.type == "image"]
    assert picture.proto.imgs[0].alt == f"QR code of http://192.168.1.20:8501/room?room={code}"


def test_a_presenter_is_told_how_to_get_at_the_sidebar(explorer: Explorer):
    teacher, _ = opened(explorer)
    assert "chosen in the sidebar or on Lab" in words(teacher)
    teacher.toggle("present").set_value(True).run()
    assert "in the sidebar, which is back when Presenter is off, or on Lab" in words(teacher)
